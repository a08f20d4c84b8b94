//! One interface: the program that steers its frames, and the sockets of stacks: of AF_XDP on its queues, or at the far
//! ends of cables, there packet sockets where AF_XDP is not to be had.

use super::carriers::Upon;
use super::cutter::Cutting;
use super::hop::Hop;
use crate::lifetime::LinkSpec;
use anyhow::Context;
use sidestep_control::StackId;
use sidestep_netlink::{Link, LinkKind};
use sidestep_nic::xdp::{self, BusyPoll, OpenError, Options, Socket};
use sidestep_nic::{any, packet};
use sidestep_shm::Region;
use sidestep_steering::{Mode, QUEUES_MAX, Steering, SteeringError, Wanted};
use sidestep_wire::Mac;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes as _;

/// Longest frame beyond the IP packet: Ethernet's header and a VLAN tag.
const LINK_HEADERS: usize = 18;

/// A call that finds nothing goes on at once; one that finds something takes no more than this.
const BUSY_POLL: BusyPoll = BusyPoll { us: 20, budget: 64 };

/// How often a queue that a stack had until lately is tried again, and after what time: the kernel lets go of the buffers
/// of a closed socket in its own time, and says until then that the queue is taken.
const TRIES: u32 = 25;
const TRY_AGAIN: Duration = Duration::from_millis(2);

/// An interface that frames are steered from.
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) station: Mac,
    /// Its longest IP packet.
    pub(crate) mtu: u32,
    /// The longest one of it and of all that lies upon it and has addresses.
    pub(crate) packet_bytes: u32,
    /// What was said of it, or of the bond whose port it is.
    pub(super) said: String,
    /// The bond as whose port it was named.
    pub(crate) bond: Option<String>,
    /// What its frames are for: itself, and what lies upon it.
    pub(crate) upon: Vec<Upon>,
    /// Addresses in VLANs that the steering program has.
    pub(super) addresses: BTreeSet<(IpAddr, u16)>,
    /// Others take frames that arrive here, such as macvlans of containers.
    pub(super) is_shared: bool,
    /// Frames may be sent by it: it is no port of a bond that sends by another.
    pub(super) sends: bool,
    /// A virtual cable: what comes by it was never on a wire.
    pub(crate) is_virtual: bool,
    /// Identity in stacks: its own, or that of the bond whose port it is.
    pub(crate) network: u64,
    pub(super) own_network: u64,
    pub(crate) steering: Steering,
    /// Why it is served by packet sockets, where AF_XDP was asked for.
    pub(crate) fallback: Option<String>,
    /// Whether XDP might have been native, had the driver been able to.
    pub(crate) is_second_choice: bool,
    /// The sockets of stacks.
    pub(crate) queues: Vec<Queue>,
    /// Frames that came by queues which were not there before, as far as was seen to.
    pub(super) beyond: u64,
    /// How many queues there were when sockets were last opened on all of them; 0 before.
    pub(super) queues_seen: u32,
    /// On how many of them every stack has a socket, or else a cable.
    pub(super) queues_settled: u32,
    /// Queues that stacks had and have no more.
    pub(crate) released: BTreeSet<u32>,
    copying: xdp::Copying,
    /// Whether checksums are left to the card or the kernel, if it was said.
    checksums_left: Option<bool>,
    /// It is on the bus of virtual devices, of which each driver lets a card finish checksums.
    is_virtio: bool,
    /// By which long segments of all stacks leave.
    pub(super) cutter: Cutting,
    /// Most queues that one stack gets.
    queues_max: usize,
    /// Whether programs are to drive it.
    busy_poll: bool,
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
    pub(crate) socket: OwnedFd,
    rings: Rings,
    pub(crate) zero_copy: bool,
    /// The buffers are in huge pages.
    pub(crate) huge_pages: bool,
    /// Checksums of what is sent are left to the card or the kernel.
    pub(crate) leaves_checksums: bool,
    /// Programs were asked to drive it, and whether they do.
    pub(crate) busy_poll: Option<bool>,
    /// Frames lost so far, of those that the kernel tells of only once.
    lost: Cell<u64>,
}

/// What it takes beside a socket to use it.
enum Rings {
    Xdp {
        geometry: xdp::Geometry,
        /// Takes long segments.
        cutter: Option<OwnedFd>,
        buffers: Arc<Region>,
    },
    Packet(packet::Geometry),
}

/// A socket that no stack has yet.
pub(crate) struct Opened {
    pub(crate) state: any::State,
    pub(crate) attachment: any::Attachment,
    pub(crate) parts: Parts,
}

/// What is kept of it.
pub(crate) struct Parts {
    queue: u32,
    socket: OwnedFd,
    rings: Rings,
    zero_copy: bool,
    huge_pages: bool,
    busy_poll: bool,
    leaves_checksums: bool,
}

/// What a program needs to use a queue: rings, socket, and the memory of buffers that are not the socket's own.
pub(crate) struct Mapping {
    pub(crate) geometry: Vec<u8>,
    pub(crate) socket: OwnedFd,
    pub(crate) buffers: Option<OwnedFd>,
    /// What takes its long segments.
    pub(crate) cutter: Option<OwnedFd>,
}

impl Opened {
    /// An AF_XDP socket on that queue.
    pub(crate) fn xdp(
        queue: u32,
        (state, at, report): (xdp::State, xdp::Attachment, xdp::Report),
        leaves_checksums: bool,
    ) -> io::Result<Self> {
        let parts = Parts {
            queue,
            socket: at.socket_fd().try_clone_to_owned()?,
            rings: Rings::Xdp {
                geometry: *state.geometry(),
                buffers: Arc::clone(at.umem()),
                cutter: None,
            },
            zero_copy: report.zero_copy,
            huge_pages: report.huge_pages,
            busy_poll: report.busy_poll,
            leaves_checksums,
        };
        Ok(Self {
            state: state.into(),
            attachment: at.into(),
            parts,
        })
    }

    /// Whether the kernel copies its frames, as they lie in an AF_XDP socket's ring.
    pub(super) const fn is_copied(&self) -> bool {
        !self.parts.zero_copy && matches!(self.parts.rings, Rings::Xdp { .. })
    }

    /// The same, with a socket that takes long segments.
    pub(super) fn with_cutter(self, socket: OwnedFd) -> io::Result<Self> {
        let Self {
            mut state,
            attachment,
            mut parts,
        } = self;
        let attachment = match (attachment, &mut parts.rings) {
            (any::Attachment::Xdp(at), Rings::Xdp { cutter, .. }) if state.cut_segments() => {
                *cutter = Some(socket.try_clone()?);
                at.with_cutter(socket)?.into()
            }
            (attachment, _) => attachment,
        };
        Ok(Self {
            state,
            attachment,
            parts,
        })
    }

    /// A packet socket.
    pub(crate) fn packet((state, at): (packet::State, packet::Attachment)) -> io::Result<Self> {
        let parts = Parts {
            queue: 0,
            socket: at.socket_fd().try_clone_to_owned()?,
            rings: Rings::Packet(*state.geometry()),
            zero_copy: false,
            huge_pages: false,
            busy_poll: false,
            leaves_checksums: false,
        };
        Ok(Self {
            state: state.into(),
            attachment: at.into(),
            parts,
        })
    }
}

impl Interface {
    /// Attaches the steering program; that for packet sockets, where the interface or the kernel has no AF_XDP and nothing
    /// special of it was asked for.
    pub(crate) fn attach(link: &Link, spec: &LinkSpec) -> anyhow::Result<Self> {
        let station = link.mac.filter(|_| link.ethernet);
        let station = station.context("it has no Ethernet frames")?;
        let (steering, fallback) = attach(link.index, station, spec)?;
        let network = crate::wires::random().context("random numbers")?;
        Ok(Self {
            name: link.name.clone(),
            index: link.index,
            station,
            mtu: link.mtu,
            packet_bytes: link.mtu,
            said: spec.said.clone(),
            bond: None,
            upon: Vec::new(),
            addresses: BTreeSet::new(),
            is_shared: false,
            sends: true,
            // What the kernel merged for packet sockets, it has verified, and left without a checksum.
            is_virtual: matches!(link.kind, LinkKind::Veth { .. })
                || steering.mode() == Mode::TrafficControl,
            network,
            own_network: network,
            is_second_choice: spec.mode == Wanted::Auto && steering.mode() == Mode::Generic,
            steering,
            fallback,
            queues: Vec::new(),
            beyond: 0,
            queues_seen: 0,
            queues_settled: 0,
            // Those of an agent before this one.
            released: (0..QUEUES_MAX).collect(),
            copying: spec.copying,
            checksums_left: spec.checksums_left,
            is_virtio: link.bus.as_deref() == Some("virtio"),
            cutter: if spec.cuts {
                Cutting::Untried
            } else {
                Cutting::Off
            },
            queues_max: spec.queues.unwrap_or(usize::MAX),
            busy_poll: spec.busy_poll,
        })
    }

    /// Where the program runs.
    pub(crate) const fn mode_name(&self) -> &'static str {
        match self.steering.mode() {
            Mode::Native => "native",
            Mode::Generic => "generic",
            Mode::TrafficControl => "packet",
        }
    }

    /// Whether it is served by packet sockets.
    pub(crate) const fn is_packet(&self) -> bool {
        matches!(self.steering.mode(), Mode::TrafficControl)
    }

    /// How sockets of this interface are to be.
    pub(crate) fn options(&self) -> Options {
        Options {
            finish_checksums: self.leaves_checksums(true) || self.leaves_checksums(false),
            frame_bytes_max: self.mtu as usize + LINK_HEADERS,
            copying: self.copying,
            busy_poll: self.busy_poll.then_some(BUSY_POLL),
            ..Options::default()
        }
    }

    /// Whether checksums of what stacks send are left to the card, where the kernel copies frames or not.
    ///
    /// Without copying the driver says that it finishes them. What the kernel copies reaches drivers without what most of them
    /// go by (`skb->protocol`, `network_header`), so that some send wrong ones; that of virtio goes by nothing else than
    /// what it is told. Where a card cannot, the kernel does, no sooner than the program.
    fn leaves_checksums(&self, zero_copy: bool) -> bool {
        let can = || match zero_copy {
            true => sidestep_steering::driver(self.index).is_some_and(|d| d.finishes_checksums),
            false => self.checksums_left == Some(true) || self.is_virtio_that_finishes(),
        };
        self.checksums_left != Some(false) && can()
    }

    fn is_virtio_that_finishes(&self) -> bool {
        self.is_virtio && sidestep_steering::leaves_checksums(self.index) == Some(true)
    }

    /// Sockets on the queues that nobody has, as many as a stack gets, and whether it has all of the interface with these.
    pub(crate) fn open_queues(&mut self, id: StackId) -> Result<(Vec<Opened>, bool), OpenError> {
        let options = self.options();
        if self.steering.mode() == Mode::TrafficControl {
            return Ok((Vec::new(), false));
        }
        let (mut opened, mut all) = (Vec::new(), true);
        let had = self.queues_of(id).filter(|q| q.hop.is_none()).count();
        for queue in 0..QUEUES_MAX {
            let has = |taken: &Queue| taken.hop.is_none() && taken.queue == queue;
            if let Some(taken) = self.queues.iter().find(|taken| has(taken)) {
                all &= taken.stack == id;
                continue;
            }
            if had + opened.len() >= self.queues_max {
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
                Ok(mut bound) => {
                    let leaves = self.leaves_checksums(bound.2.zero_copy);
                    let leaves = leaves && bound.0.finish_checksums();
                    opened.push(Opened::xdp(queue, bound, leaves)?);
                }
                // Beyond the last one.
                Err(OpenError::NoQueue { .. }) => {
                    self.queues_seen = queue;
                    break;
                }
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
    /// What was opened becomes a stack's.
    pub(crate) fn of(
        parts: Parts,
        hop: Option<Hop>,
        stack: StackId,
        (id, wire): (u64, u32),
    ) -> Self {
        Self {
            queue: parts.queue,
            hop,
            stack,
            id,
            wire,
            socket: parts.socket,
            rings: parts.rings,
            zero_copy: parts.zero_copy,
            huge_pages: parts.huge_pages,
            leaves_checksums: parts.leaves_checksums,
            busy_poll: parts.busy_poll.then_some(false),
            lost: Cell::new(0),
        }
    }

    /// An attachment of the agent's own.
    pub(crate) fn attachment(&self) -> io::Result<any::Attachment> {
        let socket = self.socket.try_clone()?;
        match &self.rings {
            Rings::Xdp {
                geometry,
                buffers,
                cutter,
            } => {
                let at = xdp::Attachment::new(socket, Arc::clone(buffers), geometry)?;
                Ok(match cutter {
                    Some(cutter) => at.with_cutter(cutter.try_clone()?)?.into(),
                    None => at.into(),
                })
            }
            Rings::Packet(geometry) => packet::Attachment::new(socket, geometry).map(Into::into),
        }
    }

    /// Whether its long segments are cut by the kernel or the card.
    pub(crate) const fn cuts(&self) -> bool {
        matches!(&self.rings, Rings::Xdp { cutter, .. } if cutter.is_some())
    }

    /// Frames lost so far: because the program did not take them in time, and for other reasons.
    pub(crate) fn lost(&self) -> (u64, u64) {
        match &self.rings {
            Rings::Xdp { .. } => {
                let counters = xdp::KernelCounters::of(&self.socket).unwrap_or_default();
                let full = counters.rx_ring_full + counters.rx_no_buffer;
                (full, counters.rx_dropped)
            }
            Rings::Packet(_) => {
                let more = packet::frames_lost(&self.socket).unwrap_or(0);
                self.lost.set(self.lost.get() + u64::from(more));
                (self.lost.get(), 0)
            }
        }
    }

    /// What a program needs to use it.
    pub(crate) fn mapping(&self) -> io::Result<Mapping> {
        let (geometry, buffers, cutter) = match &self.rings {
            Rings::Xdp {
                geometry,
                buffers,
                cutter,
            } => {
                let buffers = buffers.fd();
                let buffers =
                    buffers.ok_or_else(|| io::Error::other("buffers without a descriptor"))?;
                (
                    geometry.as_bytes(),
                    Some(buffers.try_clone_to_owned()?),
                    cutter.as_ref().map(OwnedFd::try_clone).transpose()?,
                )
            }
            Rings::Packet(geometry) => (geometry.as_bytes(), None, None),
        };
        Ok(Mapping {
            geometry: geometry.to_vec(),
            socket: self.socket.try_clone()?,
            buffers,
            cutter,
        })
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Attaches a steering program, and says why it is that for packet sockets, if that was not asked for.
fn attach(index: u32, station: Mac, spec: &LinkSpec) -> anyhow::Result<(Steering, Option<String>)> {
    let is_choosy = spec.mode != Wanted::Auto || spec.copying != xdp::Copying::Auto;
    let behind = Wanted::Only(Mode::TrafficControl);
    let why = match xdp::is_there() {
        Err(error) if spec.mode != behind => anyhow::Error::from(error),
        _ => match Steering::attach(index, station.0, spec.mode) {
            Err(error @ SteeringError::NoSuchMode { .. }) => error.into(),
            other => return Ok((other?, None)),
        },
    };
    if is_choosy {
        return Err(why);
    }
    let steering = Steering::attach(index, station.0, behind).with_context(|| {
        format!("{why}; and packet sockets, which would do instead, are not to be had")
    })?;
    Ok((steering, Some(why.to_string())))
}
