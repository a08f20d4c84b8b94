//! One interface: the program that steers its frames, and the AF_XDP sockets of stacks on its queues.

use super::hop::Hop;
use crate::lifetime::LinkSpec;
use anyhow::Context;
use sidestep_control::StackId;
use sidestep_netlink::{Link, LinkKind};
use sidestep_nic::xdp::{self, Geometry, OpenError, Options, Report, Socket, State};
use sidestep_shm::Region;
use sidestep_steering::{Mode, QUEUES_MAX, Steering};
use sidestep_wire::Mac;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Longest frame beyond the IP packet: Ethernet's header and a VLAN tag.
const LINK_HEADERS: usize = 18;

/// How often a queue that a stack had until lately is tried again, and after what time: the kernel lets go of the buffers
/// of a closed socket in its own time, and says until then that the queue is taken.
const TRIES: u32 = 25;
const TRY_AGAIN: Duration = Duration::from_millis(2);

/// An interface that frames are steered from.
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) station: Mac,
    pub(crate) mtu: u32,
    /// A virtual cable: what comes by it was never on a wire.
    pub(crate) is_virtual: bool,
    /// Identity in stacks.
    pub(crate) network: u64,
    pub(crate) steering: Steering,
    /// The sockets of stacks.
    pub(crate) queues: Vec<Queue>,
    /// Queues that stacks had and have no more.
    pub(crate) released: BTreeSet<u32>,
    copying: xdp::Copying,
    /// Most queues that one stack gets.
    queues_max: usize,
}

/// A stack's socket: on a queue of the interface, where there is at most one for each, or at the end of a cable.
pub(crate) struct Queue {
    /// The queue; of the cable, if there is one.
    pub(crate) queue: u32,
    pub(crate) hop: Option<Hop>,
    pub(crate) stack: StackId,
    /// Identity of the wire.
    pub(crate) id: u64,
    /// Its index in the stack.
    pub(crate) wire: u32,
    pub(crate) geometry: Geometry,
    pub(crate) socket: OwnedFd,
    buffers: Arc<Region>,
    pub(crate) report: Report,
}

/// A socket that no stack has yet.
pub(crate) struct Opened {
    pub(crate) queue: u32,
    pub(crate) state: State,
    pub(crate) attachment: xdp::Attachment,
    pub(crate) report: Report,
}

impl Interface {
    /// Attaches the steering program.
    pub(crate) fn attach(link: &Link, spec: &LinkSpec) -> anyhow::Result<Self> {
        let station = link.mac.filter(|_| link.ethernet);
        let station = station.context("it has no Ethernet frames")?;
        let steering = Steering::attach(link.index, station.0, spec.mode)?;
        Ok(Self {
            name: link.name.clone(),
            index: link.index,
            station,
            mtu: link.mtu,
            is_virtual: matches!(link.kind, LinkKind::Veth { .. }),
            network: crate::wires::random().context("random numbers")?,
            steering,
            queues: Vec::new(),
            released: BTreeSet::new(),
            copying: spec.copying,
            queues_max: spec.queues.unwrap_or(usize::MAX),
        })
    }

    /// Where the program runs.
    pub(crate) const fn mode_name(&self) -> &'static str {
        match self.steering.mode() {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }

    /// How sockets of this interface are to be.
    pub(crate) fn options(&self) -> Options {
        Options {
            frame_bytes_max: self.mtu as usize + LINK_HEADERS,
            copying: self.copying,
            ..Options::default()
        }
    }

    /// Sockets on the queues that nobody has, as many as a stack gets, and whether these are all of the interface.
    pub(crate) fn open_queues(&mut self) -> Result<(Vec<Opened>, bool), OpenError> {
        let options = self.options();
        let (mut opened, mut all) = (Vec::new(), true);
        for queue in 0..QUEUES_MAX {
            let has = |taken: &Queue| taken.hop.is_none() && taken.queue == queue;
            if self.queues.iter().any(has) {
                all = false;
                continue;
            }
            if opened.len() >= self.queues_max {
                // There may be more.
                all = false;
                break;
            }
            let mut tries = if self.released.remove(&queue) {
                TRIES
            } else {
                1
            };
            let bound = loop {
                let bound = Socket::create(&options)?.bind(self.index, queue);
                tries -= 1;
                match bound {
                    Err(OpenError::Taken { .. }) if tries > 0 => std::thread::sleep(TRY_AGAIN),
                    bound => break bound,
                }
            };
            match bound {
                Ok((state, attachment, report)) => opened.push(Opened {
                    queue,
                    state,
                    attachment,
                    report,
                }),
                // Beyond the last one.
                Err(OpenError::NoQueue { .. }) => break,
                Err(OpenError::Taken { .. }) => all = false,
                Err(error) => return Err(error),
            }
        }
        Ok((opened, all))
    }

    /// The queues that a stack has.
    pub(crate) fn queues_of(&self, stack: StackId) -> impl Iterator<Item = &Queue> {
        self.queues.iter().filter(move |queue| queue.stack == stack)
    }
}

impl Queue {
    /// What was opened becomes a stack's. Gives the attachment back, which is the agent's own.
    pub(crate) fn of(
        opened: Opened,
        hop: Option<Hop>,
        stack: StackId,
        (id, wire): (u64, u32),
    ) -> io::Result<(Self, xdp::Attachment)> {
        let at = opened.attachment;
        let queue = Self {
            queue: opened.queue,
            hop,
            stack,
            id,
            wire,
            geometry: *opened.state.geometry(),
            socket: at.socket_fd().try_clone_to_owned()?,
            buffers: Arc::clone(at.umem()),
            report: opened.report,
        };
        Ok((queue, at))
    }

    /// An attachment of the agent's own.
    pub(crate) fn attachment(&self) -> io::Result<xdp::Attachment> {
        let socket = self.socket.try_clone()?;
        xdp::Attachment::new(socket, Arc::clone(&self.buffers), &self.geometry)
    }

    /// What the kernel counts for it.
    pub(crate) fn kernel_counters(&self) -> xdp::KernelCounters {
        xdp::KernelCounters::of(&self.socket).unwrap_or_default()
    }

    /// The socket and the memory of its buffers, for a program.
    pub(crate) fn descriptors(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let buffers = self.buffers.fd();
        let buffers = buffers.ok_or_else(|| io::Error::other("buffers without a descriptor"))?;
        Ok((self.socket.try_clone()?, buffers.try_clone_to_owned()?))
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
