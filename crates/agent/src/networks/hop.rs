//! Sharing a queue. The kernel has one pool of buffers for each queue of an interface, so one stack at a time can have a
//! socket on it, and a packet socket belongs where nobody else's frames come. A further stack, and each that has a packet
//! socket, gets a virtual cable: the steering program puts its frames into the near end or out of the far one, its socket
//! is at the far end, and what it sends comes out at the near end, from where it leaves by the interface. All of that is
//! the kernel's work, so no stack depends on another, nor on the agent being quick.
//!
//! The far ends are in network namespaces without a name, one for each user: nobody but us sees them, and they end with us.

use super::interface::{Interface, Opened};
use anyhow::Context;
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::net::netdevice::name_to_index;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use sidestep_netlink::Cables;
use sidestep_nic::packet;
use sidestep_nic::xdp::{Options, Socket};
use sidestep_steering::{Mode, Relay, Steering, Swallow, Wanted};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, OwnedFd};

/// A namespace of far ends.
pub(super) struct Hidden(OwnedFd);

/// Whose far ends are together in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FarEndsOf {
    /// The stacks of that user.
    User(u32),
    /// Long segments.
    Segments,
}

/// The namespaces of all far ends, made when they are first needed.
#[derive(Default)]
pub(super) struct Hiding(BTreeMap<FarEndsOf, Hidden>);

impl Hiding {
    /// The namespace of those.
    pub(super) fn place(&mut self, of: FarEndsOf) -> anyhow::Result<&Hidden> {
        Ok(match self.0.entry(of) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Hidden::new()?),
        })
    }
}

/// A stack's cable. Its near end must be removed by whoever lets go of it.
pub(crate) struct Hop {
    /// The near end.
    pub(crate) index: u32,
    _relay: Relay,
    _far: FarEnd,
}

/// What is attached at the far end.
#[expect(dead_code, reason = "held for as long as the cable")]
enum FarEnd {
    /// Everything that comes goes to the AF_XDP socket.
    Xdp(Box<Steering>),
    /// What the packet socket has seen goes no further.
    Packet(Swallow),
}

impl Hidden {
    /// A new one.
    fn new() -> anyhow::Result<Self> {
        let made = std::thread::spawn(|| {
            #[expect(
                deprecated,
                reason = "what it warns of, unsharing descriptors, is not done here"
            )]
            rustix::thread::unshare(UnshareFlags::NEWNET)?;
            // Nothing is to be said by the kernel there: it would leave by the interface.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open("/proc/thread-self/ns/net", flags, FileMode::empty())
        });
        let fd = made
            .join()
            .map_err(|_| anyhow::anyhow!("a thread failed"))?;
        Ok(Self(fd.context("a network namespace")?))
    }

    /// Lays a cable whose far end is there.
    pub(super) fn lay(&self, name: &str, mtu: u32, cables: &mut Cables) -> anyhow::Result<()> {
        Ok(cables.lay(name, self.0.as_fd(), mtu)?)
    }

    /// Runs `work` there, on a thread of its own; what it opens stays there.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.0.as_fd(), kind)?;
                work()
            });
            inside
                .join()
                .map_err(|_| anyhow::anyhow!("a thread failed"))?
        })
    }
}

impl Hop {
    /// Lays a cable for stack `number` of the interface's tables, and opens a socket at its far end.
    pub(super) fn lay(
        interface: &Interface,
        number: u32,
        (hidden, cables): (&Hidden, &mut Cables),
        options: &Options,
    ) -> anyhow::Result<(Self, Opened)> {
        let name = format!("sst{}.{number}", interface.index);
        // Left over from one that could not be removed.
        if let Ok(old) = index_of(&name) {
            let _ = cables.remove(old);
        }
        hidden.lay(&name, interface.mtu, cables)?;
        let index = index_of(&name)?;
        let laid = Self::connect(interface, index, &name, (hidden, cables), options);
        if laid.is_err() {
            let _ = cables.remove(index);
        }
        laid
    }

    fn connect(
        interface: &Interface,
        index: u32,
        name: &str,
        (hidden, cables): (&Hidden, &mut Cables),
        options: &Options,
    ) -> anyhow::Result<(Self, Opened)> {
        let mode = Wanted::Only(interface.steering.mode());
        cables.switch_on(index)?;
        let (far, opened) = hidden.inside(|| {
            let far = index_of(name)?;
            Cables::open()?.switch_on(far)?;
            if mode == Wanted::Only(Mode::TrafficControl) {
                let swallow = Swallow::attach(far)?;
                let options = packet::Options {
                    frame_bytes_max: options.frame_bytes_max,
                    ..packet::Options::default()
                };
                let opened = Opened::packet(packet::open(far, &options)?)?;
                return Ok((FarEnd::Packet(swallow), opened));
            }
            let mut everything = Steering::attach(far, [0; 6], mode)?;
            let (state, attachment, report) = Socket::create(options)?.bind(far, 0)?;
            everything.set_socket(0, 0, attachment.socket_fd())?;
            everything.steer_everything(Some(0))?;
            let opened = Opened::xdp(0, (state, attachment, report), false)?;
            Ok((FarEnd::Xdp(Box::new(everything)), opened))
        })?;
        // The interface's driver may not send what a native program hands it, as a veth whose peer has none.
        let relay = match mode {
            Wanted::Only(Mode::Native) => Wanted::Auto,
            other => other,
        };
        let relay = Relay::attach(index, interface.index, relay)?;
        let hop = Self {
            index,
            _relay: relay,
            _far: far,
        };
        Ok((hop, opened))
    }
}

/// The index of a link in the namespace of the calling thread.
pub(super) fn index_of(name: &str) -> anyhow::Result<u32> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        flags,
        None,
    )?;
    Ok(name_to_index(socket, name)?)
}
