//! Which frames that arrive at an interface go to an AF_XDP socket; all others go on to the kernel untouched.
//!
//! A [`Steering`] is an XDP program (`bpf/steer.c`) attached to one interface, with the tables that it looks into:
//! which [`Flow`]s are accelerated and by which stacks, and which socket a stack has on each queue. It belongs to the
//! process that attached it, whose death in whatever way detaches it. Nothing here opens AF_XDP sockets or reads
//! frames; it is slow path only and needs root (CAP_NET_ADMIN and CAP_BPF).
//!
//! Several stacks may share a flow, as with `SO_REUSEPORT`. Which of them has a packet is decided by a hash of both
//! ends' addresses and ports: the same one for as long as the same stacks share it. When they change, most packets
//! change hands, so a [`Connection`] that must not is entered by itself.
//!
//! What the program steers: TCP and UDP packets in IPv4 and IPv6, untagged or with one VLAN tag (802.1Q), to one of this
//! host's [`Station`]s and addressed to a flow that was added; and ICMP errors (unreachable, too big, time exceeded, parameter problem) that quote the beginning
//! of a packet from there, to whoever has that packet's answers. What it leaves to the kernel: everything else; among it
//! fragments, packets with IPv6 extension headers, two tags or a provider's (802.1ad), ARP, all other ICMP, frames for
//! other stations, and frames for which no socket is there. It sees tags that are in the frame only: an interface whose
//! driver takes them out (`rxvlan` of ethtool, see [`hides_tags`]) makes VLANs look like none.
//!
//! The kernel lets one process's memory be on each queue. Further stacks get a veth each, a *hop*: what is for them goes
//! to its near end by [`Steering::set_hop_device`], and what they send over their own end leaves by a [`Relay`].
//!
//! Where there is no AF_XDP, or no room for another XDP program, the same program runs in the kernel's traffic control
//! ([`Mode::TrafficControl`]): behind XDP and packet sockets, before the kernel's stack. Every stack has a hop then, and a
//! packet socket at its far end, which must be in another network namespace, and have a [`Swallow`].
//!
//! ```text
//!                ┌─ socket at (stack, queue) ──────────────────────────────▶ stack
//!   interface ◀─▶┤
//!        ▲       └─ hop device of the stack ─▶ near end ═veth═ far end ◀─▶ socket of another stack
//!        └───────────────── Relay ────────────────┘
//! ```

mod attach;
mod error;
mod features;
mod flow;
mod group;
mod relay;

pub use attach::{Mode, Wanted};
pub use error::SteeringError;
pub use features::{Driver, Spreading, driver, hides_tags, leaves_checksums, spreading};
pub use flow::{Connection, Flow, Protocol, Station};
pub use relay::{Relay, Swallow};

use attach::table;
use aya::Ebpf;
use aya::maps::{Array, DevMap, HashMap, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use group::Group;
use rustix::rand::GetRandomFlags;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Queues of an interface that can be steered, counted from 0; what lies above is the kernel's.
pub const QUEUES_MAX: u32 = 64;
/// Stacks that can share an interface.
pub const STACKS_MAX: u32 = 64;
/// Stacks that can share a flow.
pub const GROUP_MAX: usize = 16;

/// In the place of a stack, in the table of connections: the program adds one, and 0 is the kernel.
const KERNEL: u32 = u32::MAX;

/// The program, or nothing where the build had no clang.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.o"));

/// The same for traffic control.
static BEHIND: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer-tc.o"));

/// Whether the program is in this build: not where that had no clang.
pub const IS_BUILT: bool = !STEER.is_empty();
const STEER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steer.o"));

/// What came of the frames that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that went to a socket, or on a hop to one.
    pub redirected: u64,
    /// Frames that went on to the kernel.
    pub passed: u64,
    /// Frames for stacks that were lost because they came by queues that the interface did not have before; see
    /// [`Steering::set_queues`].
    pub beyond: u64,
}

/// The program on one interface. Detached when dropped, and when the process ends in whatever way.
pub struct Steering {
    /// First to be dropped: detached before anything else goes.
    _link: FdLink,
    mode: Mode,
    flows: HashMap<MapData, [u8; 24], group::Value>,
    connections: HashMap<MapData, [u8; 44], u32>,
    /// How many there are, so that the program need not look for any where there are none.
    connections_count: u32,
    /// How many flows of one VLAN there are.
    vlan_flows: u32,
    addresses: HashMap<MapData, [u8; 20], u32>,
    stations: HashMap<MapData, [u8; 8], u32>,
    /// What is in that table.
    stations_entered: BTreeSet<Station>,
    stacks: Stacks,
    settings: Array<MapData, [u8; 32]>,
    counters: PerCpuArray<MapData, [u64; 3]>,
    everything_to: Option<u32>,
    station: [u8; 6],
    salt: [u8; 4],
    queues: u32,
    /// Changes of tables and settings so far: each ends what the program remembers of frames.
    changes: u32,
    _program: Ebpf,
}

/// Where each stack is.
enum Stacks {
    /// For XDP: its sockets, and the near end of its veth.
    Xdp {
        sockets: XskMap<MapData>,
        hops: DevMap<MapData>,
    },
    /// For traffic control: the near end of its veth.
    Behind(Array<MapData, u32>),
}

impl Stacks {
    fn of(program: &mut Ebpf, wanted: Wanted) -> Result<Self, SteeringError> {
        if wanted == Wanted::Only(Mode::TrafficControl) {
            let cables = table(program, "cables")?;
            return Ok(Self::Behind(Array::try_from(cables)?));
        }
        Ok(Self::Xdp {
            sockets: XskMap::try_from(table(program, "sockets")?)?,
            hops: DevMap::try_from(table(program, "hops")?)?,
        })
    }

    fn sockets(&mut self) -> Result<&mut XskMap<MapData>, SteeringError> {
        match self {
            Self::Xdp { sockets, .. } => Ok(sockets),
            Self::Behind(_) => Err(SteeringError::NoTable("sockets")),
        }
    }

    fn set_hop(&mut self, place: u32, ifindex: u32) -> Result<(), SteeringError> {
        match self {
            Self::Xdp { hops, .. } => attach::set_device(hops, place, ifindex),
            Self::Behind(cables) => Ok(cables.set(place, ifindex, 0)?),
        }
    }
}

impl Steering {
    /// Attaches the program to an interface whose hardware address is `station`; nothing is steered yet.
    ///
    /// Frames for several buffers (jumbo) are understood. Fails where another XDP program is there, privilege is
    /// missing, the interface or the mode is not there, or this was built without clang; the error says what to do.
    pub fn attach(ifindex: u32, station: [u8; 6], wanted: Wanted) -> Result<Self, SteeringError> {
        let (mut program, link, mode);
        if wanted == Wanted::Only(Mode::TrafficControl) {
            program = attach::load(BEHIND)?;
            link = attach::attach_behind(&mut program, "steer", ifindex)?;
            mode = Mode::TrafficControl;
        } else {
            program = attach::load(OBJECT)?;
            (link, mode) = attach::attach(&mut program, "steer", ifindex, wanted)?;
        }
        let mut steering = Self {
            _link: link,
            mode,
            flows: HashMap::try_from(table(&mut program, "flows")?)?,
            connections: HashMap::try_from(table(&mut program, "connections")?)?,
            connections_count: 0,
            vlan_flows: 0,
            addresses: HashMap::try_from(table(&mut program, "addresses")?)?,
            stations: HashMap::try_from(table(&mut program, "stations")?)?,
            stations_entered: BTreeSet::new(),
            stacks: Stacks::of(&mut program, wanted)?,
            settings: Array::try_from(table(&mut program, "settings")?)?,
            counters: PerCpuArray::try_from(table(&mut program, "counters")?)?,
            everything_to: None,
            station,
            salt: salt()?,
            queues: u32::MAX,
            changes: 0,
            _program: program,
        };
        steering.store_settings()?;
        Ok(steering)
    }

    /// Where the program runs.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Has a stack serve a flow, beside those that do already; one that does goes on. At most [`GROUP_MAX`] can.
    pub fn add(&mut self, flow: &Flow, stack: u32) -> Result<(), SteeringError> {
        let member = member(stack)?;
        for key in flow.keys() {
            let mut group = self.group(&key)?;
            let is_new = group.is_empty();
            group.add(member)?;
            self.flows.insert(key, group.value(), 0)?;
            self.vlan_flows += u32::from(is_new && flow.vlan.is_some());
        }
        self.store_settings()
    }

    /// Has a stack serve a flow no longer; one that no stack serves is the kernel's. Returns whether it did.
    pub fn remove(&mut self, flow: &Flow, stack: u32) -> Result<bool, SteeringError> {
        let member = member(stack)?;
        let mut served = false;
        for key in flow.keys() {
            let mut group = self.group(&key)?;
            if !group.remove(member) {
                continue;
            }
            served = true;
            if group.is_empty() {
                let was_there = existed(self.flows.remove(&key))?;
                self.vlan_flows -= u32::from(was_there && flow.vlan.is_some());
            } else {
                self.flows.insert(key, group.value(), 0)?;
            }
        }
        self.store_settings()?;
        Ok(served)
    }

    /// Who serves what has that key now.
    fn group(&self, key: &[u8; 24]) -> Result<Group, SteeringError> {
        match self.flows.get(key, 0) {
            Ok(value) => Ok(Group::of(value)),
            Err(MapError::KeyNotFound) => Ok(Group::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has a stack serve a connection, whoever serves its flow, if anybody does, and whoever served it before.
    pub fn add_connection(
        &mut self,
        connection: &Connection,
        stack: u32,
    ) -> Result<(), SteeringError> {
        member(stack)?;
        self.enter_connection(connection, stack)
    }

    /// Leaves a connection to the kernel, whoever serves its flow.
    pub fn add_kernels(&mut self, connection: &Connection) -> Result<(), SteeringError> {
        self.enter_connection(connection, KERNEL)
    }

    fn enter_connection(
        &mut self,
        connection: &Connection,
        whose: u32,
    ) -> Result<(), SteeringError> {
        let key = connection.key();
        let is_new = match self.connections.get(&key, 0) {
            Ok(_) => false,
            Err(MapError::KeyNotFound) => true,
            Err(error) => return Err(error.into()),
        };
        self.connections.insert(key, whose, 0)?;
        self.connections_count += u32::from(is_new);
        self.store_settings()
    }

    /// Leaves a connection to its flow again. Returns whether it was there.
    pub fn remove_connection(&mut self, connection: &Connection) -> Result<bool, SteeringError> {
        let was_there = existed(self.connections.remove(&connection.key()))?;
        self.connections_count -= u32::from(was_there);
        self.store_settings()?;
        Ok(was_there)
    }

    /// Enters an address of this host, in a VLAN or (0) without a tag: flows of any address take packets to the entered
    /// ones only, and so do those of one address where there are further [stations](Self::set_stations).
    pub fn add_address(&mut self, address: IpAddr, vlan: u16) -> Result<(), SteeringError> {
        let key = flow::place_key(address, vlan);
        self.addresses.insert(key, 0, 0)?;
        self.store_settings()
    }

    /// Takes an address out again. Returns whether it was there.
    pub fn remove_address(&mut self, address: IpAddr, vlan: u16) -> Result<bool, SteeringError> {
        let was_there = existed(self.addresses.remove(&flow::place_key(address, vlan)))?;
        self.store_settings()?;
        Ok(was_there)
    }

    /// Hands all frames, of whatever kind, to one stack (raw access), or goes by flow again.
    pub fn steer_everything(&mut self, to: Option<u32>) -> Result<(), SteeringError> {
        to.map(member).transpose()?;
        self.everything_to = to;
        self.store_settings()
    }

    /// Follows the interface's hardware address.
    pub fn set_station(&mut self, station: [u8; 6]) -> Result<(), SteeringError> {
        self.station = station;
        self.store_settings()
    }

    /// Says how many queues the interface has, on each of which there are sockets. A frame for a stack that comes by a
    /// further one, on which it has none yet, is lost and counted as [beyond](Counters::beyond), for the kernel would reset
    /// its connection. Unlimited at first.
    pub fn set_queues(&mut self, queues: u32) -> Result<(), SteeringError> {
        self.queues = queues;
        self.store_settings()
    }

    /// The interfaces of this host that frames arriving here are for, beside this one itself: those upon it.
    pub fn set_stations(&mut self, others: &BTreeSet<Station>) -> Result<(), SteeringError> {
        // Groups have all zeros in each of the VLANs.
        let groups = others.iter().map(|station| Station {
            address: [0; 6],
            vlan: station.vlan,
        });
        let wanted: BTreeSet<_> = others.iter().copied().chain(groups).collect();
        for gone in self.stations_entered.difference(&wanted) {
            existed(self.stations.remove(&gone.key()))?;
        }
        for new in wanted.difference(&self.stations_entered) {
            self.stations.insert(new.key(), 0, 0)?;
        }
        self.stations_entered = wanted;
        self.store_settings()
    }

    /// Names the socket that a stack has on a queue; it must be bound to that queue of this interface, or its frames
    /// are lost. The kernel forgets a socket that is closed, and its frames pass.
    pub fn set_socket(
        &mut self,
        stack: u32,
        queue: u32,
        socket: impl AsFd,
    ) -> Result<(), SteeringError> {
        let place = place(stack, queue)?;
        let socket = socket.as_fd().as_raw_fd();
        Ok(self.stacks.sockets()?.set(place, socket, 0)?)
    }

    /// Takes a stack's socket on a queue out, if there is one.
    pub fn clear_socket(&mut self, stack: u32, queue: u32) -> Result<(), SteeringError> {
        let place = place(stack, queue)?;
        Ok(self.stacks.sockets()?.unset(place)?)
    }

    /// Names the veth by which a stack gets its frames on the queues on which it has no socket: its near end, in this
    /// network namespace, for which a [`Relay`] does the way back. It goes from the table when it is removed.
    ///
    /// The stack's own end needs a program first that hands its socket everything
    /// ([`steer_everything`](Self::steer_everything)), in native mode where this one is; a near end that would lose
    /// frames for want of it is refused, by kernels that tell (6.3). Frames longer than the veth's MTU are lost.
    pub fn set_hop_device(&mut self, stack: u32, ifindex: u32) -> Result<(), SteeringError> {
        let place = u32::from(member(stack)?);
        if self.mode == Mode::Native && features::sends(ifindex) == Some(false) {
            return Err(SteeringError::NoSending(ifindex));
        }
        self.stacks.set_hop(place, ifindex)
    }

    /// Takes a stack's veth out, if there is one.
    pub fn clear_hop_device(&mut self, stack: u32) -> Result<(), SteeringError> {
        let place = u32::from(member(stack)?);
        self.stacks.set_hop(place, attach::NO_DEVICE)
    }

    /// What came of the frames so far, on all processors.
    pub fn counters(&self) -> Result<Counters, SteeringError> {
        let each = self.counters.get(&0, 0)?;
        Ok(each
            .iter()
            .fold(Counters::default(), |sum, count| Counters {
                redirected: sum.redirected + count[0],
                passed: sum.passed + count[1],
                beyond: sum.beyond + count[2],
            }))
    }

    /// Tells the program of the settings, and then that something has changed: what it looked up before that, in whatever
    /// state the tables were, it looks up again. So this comes after every change of a table.
    fn store_settings(&mut self) -> Result<(), SteeringError> {
        self.settings.set(0, self.settings(), 0)?;
        self.changes = self.changes.wrapping_add(1);
        Ok(self.settings.set(0, self.settings(), 0)?)
    }

    /// `struct settings` of the program.
    fn settings(&self) -> [u8; 32] {
        let everything_to = self.everything_to.map_or(0, |stack| stack + 1);
        let has_stations = u16::from(!self.stations_entered.is_empty());
        let mut settings = [0; 32];
        settings[..4].copy_from_slice(&everything_to.to_ne_bytes());
        settings[4..10].copy_from_slice(&self.station);
        settings[10..12].copy_from_slice(&has_stations.to_ne_bytes());
        settings[12..16].copy_from_slice(&self.salt);
        settings[16..20].copy_from_slice(&self.connections_count.to_ne_bytes());
        settings[20..24].copy_from_slice(&self.vlan_flows.to_ne_bytes());
        settings[24..28].copy_from_slice(&self.queues.to_ne_bytes());
        settings[28..].copy_from_slice(&self.changes.to_ne_bytes());
        settings
    }
}

/// A stack as a group has it.
fn member(stack: u32) -> Result<u8, SteeringError> {
    match u8::try_from(stack) {
        Ok(member) if stack < STACKS_MAX => Ok(member),
        _ => Err(SteeringError::OutOfRange("stack")),
    }
}

/// What nobody outside knows of the hash.
fn salt() -> Result<[u8; 4], SteeringError> {
    let mut salt = [0; 4];
    rustix::rand::getrandom(&mut salt, GetRandomFlags::empty()).map_err(io::Error::from)?;
    Ok(salt)
}

/// Index in the table of sockets.
fn place(stack: u32, queue: u32) -> Result<u32, SteeringError> {
    member(stack)?;
    if queue >= QUEUES_MAX {
        return Err(SteeringError::OutOfRange("queue"));
    }
    Ok(stack * QUEUES_MAX + queue)
}

/// Whether what was removed was there.
fn existed(removed: Result<(), MapError>) -> Result<bool, SteeringError> {
    match removed {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
