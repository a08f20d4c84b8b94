//! The memory of a stack: what lies in it, in which order, and how a process gets at it.
//!
//! ```text
//!  0        LockWord                      everybody, by compare-and-swap
//!  64       Header, Counters              ┐
//!           Slot       [SLOTS]            │
//!           Wire       [WIRES_MAX]        │ only the holder of the lock reads or writes
//!           Waiter     [WAITERS]          │
//!           EpollSet   [SETS_MAX]         │
//!           TimerSlot  [..]               │
//!           RouteHint  [ROUTE_HINTS]      │
//!           Hop        [HOPS_MAX]         │
//!           PathLimit  [PATHS]            │
//!           KnownServer[COOKIES]          │
//!           OwnKeys    [OWNERS]           │
//!           flow and port tables          │
//!           Watch      [watches_max]      │
//!           FarHolders [sockets and sets] │
//!           Socket     [sockets_max]      │
//!           ChunkMeta, chunks             │
//!           what a bad link holds         ┘
//! ```

use crate::config::Config;
use crate::counters::Counters;
use crate::express::Recent;
use crate::fast_keys::{FastKeys, OWNERS, OwnKeys};
use crate::fast_open::{COOKIES, KnownServer};
use crate::flows;
use crate::holders::{FarHolders, SLOTS};
use crate::hops::{HOPS_MAX, Hop, Stations};
use crate::links::Links;
use crate::output::{Pending, Reply};
use crate::paths::{PATHS, PathLimit};
use crate::ready::{EpollSet, Waiter, Watch};
use crate::slots::Slot;
use crate::socket::Socket;
use crate::timers::{TIMER_SLOTS, TimerWheel};
use crate::udp::RouteHint;
use crate::wires::Wire;
use sidestep_nic::fault::{self, Lines};
use sidestep_shm::{
    CHUNK_BYTES, Carver, ChunkMeta, ChunkPool, FreeList, Layout, Locked, NONE, Nanos, PoolHead,
    Region, Span, Steps,
};
use sidestep_wire::Mac;
use std::io;
use std::os::fd::OwnedFd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The slot number that the agent locks with; it holds no sockets.
pub const AGENT_SLOT: u32 = 1 << 16;
/// Wires of a stack.
pub(crate) const WIRES_MAX: usize = 256;
/// Hops that are noted as in doubt at a time.
pub(crate) const DOUBTED_MAX: u32 = 7;
/// Threads that can be woken singly; each has an eventfd.
pub const WAITERS: usize = 32;
/// Epoll sets with accelerated members.
pub(crate) const SETS_MAX: usize = 1024;
/// Remembered ways to UDP peers.
pub(crate) const ROUTE_HINTS: usize = 1024;

const MAGIC: u64 = u64::from_be_bytes(*b"SIDESTEP");
const VERSION: u32 = 6;

/// The first table: identity, capacities, and the small state of everything.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) sockets_max: u32,
    pub(crate) chunks_max: u32,
    pub(crate) checksums: u32,
    pub(crate) snd_buf_bytes: u32,
    pub(crate) rcv_buf_bytes: u32,
    pub(crate) id: u64,
    pub(crate) netns: u64,
    pub(crate) secret: u64,
    pub(crate) name: [u8; 32],
    /// The latest time that the stack has seen; it never runs backwards.
    pub(crate) now: Nanos,
    /// The connection that the last segment belonged to, as index + 1: the next one often does too.
    pub(crate) last_flow: u32,
    /// Not 0: some socket could not queue what it was given for want of buffers, and waits to be told of room.
    pub(crate) starved: u32,
    /// Counts changes to the table of wires, so that each process attaches what is new.
    pub(crate) wire_changes: u32,
    /// Wires in use lie below this index.
    pub(crate) wires_end: u32,
    /// Slot + 1 of the process that spins in the stack; 0 for none.
    pub(crate) spinner: u32,
    /// Threads that sleep on the stack's doorbell: the sum over all slots.
    pub(crate) sleepers: u32,
    /// Not 0: the doorbell is rung although no thread sleeps, for the agent, until somebody polls.
    pub(crate) guarded: u32,
    /// Waiter + 1 of the sleeping thread that wakes for the stack's timers; 0 for none.
    pub(crate) timekeeper: u32,
    pub(crate) isn_count: u32,
    /// Counts what has changed of the ways to UDP peers.
    pub(crate) route_changes: u32,
    /// Whether listeners whose queue is full answer with cookies.
    pub(crate) syn_cookies: u32,
    /// What may be opened fast, as `net.ipv4.tcp_fastopen` has it.
    pub(crate) fast_open: u32,
    /// When a cookie was last sent; 0 for never.
    pub(crate) cookie_sent_at: Nanos,
    /// Oldest and newest socket in TIME-WAIT that nobody holds.
    pub(crate) time_wait_head: u32,
    pub(crate) time_wait_tail: u32,
    /// When the first of what is known of paths is out of date; 0 while nothing is known.
    pub(crate) paths_until: Nanos,
    pub(crate) sockets: FreeList,
    pub(crate) watches: FreeList,
    pub(crate) timers: TimerWheel,
    /// Whom the last datagram was for: the next one often is for the same.
    pub(crate) recent: Recent,
    /// Hops over which connections have not been answered in time, since somebody took the list, and how many: one more
    /// than there is room for where it was too short.
    pub(crate) doubted: [u32; DOUBTED_MAX as usize],
    pub(crate) doubts: u32,
    /// Counts changes of what leads where on networks, from 1 on once a way is remembered.
    pub(crate) ways: u32,
    /// Frames that a bad link can hold; 0 where there is none.
    pub(crate) held_max: u32,
    /// [`Offers`](crate::Offers), as bits.
    pub(crate) offers: u32,
    /// How often in a row opening fast was given up, when the last time, and for how long at first.
    pub(crate) fast_pauses: u32,
    pub(crate) fast_keys: FastKeys,
    /// When these were taken from the kernel.
    pub(crate) fast_keys_at: Nanos,
    pub(crate) fast_paused_at: Nanos,
    pub(crate) fast_pause: Nanos,
    /// Of these, the bytes that may wait to be sent.
    pub(crate) unsent_low: u32,
    _reserved: u32,
}

/// A process's view of a stack's tables. Only the lock's holder has it.
pub struct Stack<'m> {
    pub(crate) wires: &'m mut [Wire],
    pub(crate) core: Core<'m>,
    /// What this process has mapped of the wires. Not shared.
    pub(crate) links: Links,
    /// What is done to frames on their way; off unless the program is to see a bad link.
    pub(crate) faults: Lines<'m>,
}

/// All tables but the wires: what a frame that came from a wire is worked into.
pub(crate) struct Core<'m> {
    pub(crate) header: &'m mut Header,
    pub(crate) counters: &'m mut Counters,
    pub(crate) slots: &'m mut [Slot],
    pub(crate) waiters: &'m mut [Waiter],
    pub(crate) sets: &'m mut [EpollSet],
    pub(crate) timer_slots: &'m mut [u32],
    pub(crate) routes: &'m mut [RouteHint],
    pub(crate) hops: &'m mut [Hop],
    pub(crate) paths: &'m mut [PathLimit],
    pub(crate) servers: &'m mut [KnownServer],
    pub(crate) own_keys: &'m mut [OwnKeys],
    pub(crate) pending: &'m mut [Pending],
    /// For each wire the number of its network, 0 for a wire between stacks.
    pub(crate) networks: &'m mut [u8],
    /// Longest IP packet of the network of each wire, 0 for a wire between stacks.
    pub(crate) mtus: &'m mut [u32],
    /// The hardware address of the interface that each wire is a queue of.
    pub(crate) own_stations: &'m mut [Mac],
    /// The index of that interface.
    pub(crate) devices: &'m mut [u32],
    /// 1 for each wire whose frames may have unfinished checksums.
    pub(crate) unfinished: &'m mut [u8],
    /// Longest frame of each wire, as its port said when it was attached.
    pub(crate) frame_bytes: &'m mut [u32],
    pub(crate) flows: &'m mut [u64],
    pub(crate) ports: &'m mut [u32],
    pub(crate) watches: &'m mut [Watch],
    /// Holders of each socket, and then of each set, that have no bit in its own word.
    pub(crate) far_holders: &'m mut [FarHolders],
    pub(crate) sockets: &'m mut [Socket],
    pub(crate) pool: ChunkPool<'m>,
    /// Waiters to wake when the lock is given back. Not shared: each holder takes care of its own.
    pub(crate) wake: u64,
    /// Owners to send SIGURG when the lock is given back. Not shared.
    pub(crate) urgent_owners: Vec<i32>,
    /// Packets that answer without a socket, until the wire in hand is flushed. Not shared.
    pub(crate) replies: Vec<Reply>,
    /// The stations of an answer to the frame in hand. Not shared.
    pub(crate) back: Stations,
    /// The socket for which the frame in hand seems to be, `NONE` where there was no [preview](crate::preview). Not shared.
    pub(crate) guess: u32,
}

/// A stack in memory that others may share.
pub type SharedStack = Locked<Stack<'static>>;

struct Tables {
    header: Span<Header>,
    counters: Span<Counters>,
    slots: Span<Slot>,
    wires: Span<Wire>,
    waiters: Span<Waiter>,
    sets: Span<EpollSet>,
    timer_slots: Span<u32>,
    routes: Span<RouteHint>,
    hops: Span<Hop>,
    paths: Span<PathLimit>,
    servers: Span<KnownServer>,
    own_keys: Span<OwnKeys>,
    pending: Span<Pending>,
    networks: Span<u8>,
    mtus: Span<u32>,
    own_stations: Span<Mac>,
    devices: Span<u32>,
    unfinished: Span<u8>,
    frame_bytes: Span<u32>,
    flows: Span<u64>,
    ports: Span<u32>,
    watches: Span<Watch>,
    far_holders: Span<FarHolders>,
    sockets: Span<Socket>,
    pool_head: Span<PoolHead>,
    chunk_meta: Span<ChunkMeta>,
    chunks: Span<[u8; CHUNK_BYTES]>,
    faults: Span<fault::State>,
    held: Span<fault::Held>,
    frames: Span<fault::Frame>,
    bytes: usize,
}

fn tables(sockets_max: usize, chunks_max: usize, held_max: usize) -> Tables {
    let mut layout: Layout = SharedStack::layout();
    let header = layout.table(1);
    let counters = layout.table(1);
    let slots = layout.table(SLOTS);
    let wires = layout.table(WIRES_MAX);
    let waiters = layout.table(WAITERS);
    let sets = layout.table(SETS_MAX);
    let timer_slots = layout.table(TIMER_SLOTS);
    let routes = layout.table(ROUTE_HINTS);
    let hops = layout.table(HOPS_MAX);
    let paths = layout.table(PATHS);
    let servers = layout.table(COOKIES);
    let own_keys = layout.table(OWNERS);
    let pending = layout.table(WIRES_MAX);
    let networks = layout.table(WIRES_MAX);
    let mtus = layout.table(WIRES_MAX);
    let own_stations = layout.table(WIRES_MAX);
    let devices = layout.table(WIRES_MAX);
    let unfinished = layout.table(WIRES_MAX);
    let frame_bytes = layout.table(WIRES_MAX);
    let flows = layout.table(flows::words(sockets_max));
    let ports = layout.table((sockets_max * 2).next_power_of_two().min(8192));
    let watches = layout.table(sockets_max * 2);
    let far_holders = layout.table(sockets_max + SETS_MAX);
    let sockets = layout.table(sockets_max);
    let pool_head = layout.table(1);
    let chunk_meta = layout.table(chunks_max);
    let chunks = layout.table(chunks_max);
    let faults = layout.table(1);
    let held = layout.table(held_max);
    let frames = layout.table(held_max);
    Tables {
        header,
        counters,
        slots,
        wires,
        waiters,
        sets,
        timer_slots,
        routes,
        hops,
        paths,
        servers,
        own_keys,
        pending,
        networks,
        mtus,
        own_stations,
        devices,
        unfinished,
        frame_bytes,
        flows,
        ports,
        watches,
        far_holders,
        sockets,
        pool_head,
        chunk_meta,
        chunks,
        faults,
        held,
        frames,
        bytes: layout.bytes(),
    }
}

fn tables_of(config: &Config) -> Tables {
    tables(config.sockets_max, config.chunks_max, held_max(config))
}

/// Frames that can be on their way over a bad link.
const fn held_max(config: &Config) -> usize {
    if config.faults.is_some() {
        fault::HELD_MAX
    } else {
        0
    }
}

/// Names how stacks of this build lie in memory; never 0. An agent whose stacks lie otherwise can serve none of them.
pub fn layout() -> u32 {
    // What has another size or place shows in the places of what comes behind it.
    let tables = tables(64, 64, 1);
    let places = [
        tables.counters.offset(),
        tables.networks.offset(),
        tables.flows.offset(),
        tables.sockets.offset(),
        tables.pool_head.offset(),
        tables.chunks.offset(),
        tables.held.offset(),
        tables.bytes,
    ];
    let sum = places.iter().fold(VERSION, |sum, place| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the rest would tell nothing more"
        )]
        let place = *place as u32;
        (sum ^ place).wrapping_mul(0x0100_0193)
    });
    sum | 1
}

/// A new stack in shared memory.
pub fn create(config: &Config) -> io::Result<SharedStack> {
    let bytes = tables_of(config).bytes;
    initialise(Region::create("sidestep-stack", bytes)?, config)
}

/// A new stack in memory of this process alone, for tests.
pub fn create_private(config: &Config) -> io::Result<SharedStack> {
    let bytes = tables_of(config).bytes;
    initialise(Region::private(bytes)?, config)
}

/// Maps a stack that another process made. Fails where the memory is not one of this version.
pub fn attach(fd: OwnedFd) -> io::Result<SharedStack> {
    let region = Region::attach(fd)?;
    let found = found_in(&region).map(|(_, tables)| tables);
    let tables = found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not the memory of a stack of this version",
        )
    })?;
    Locked::new(region, |carver| carve(carver, &tables))
}

/// Where a table is, and how many of its entries were ever used.
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) count: usize,
}

/// Tables in memory that anybody may be writing to.
pub(crate) struct Places {
    pub(crate) sockets: Place,
    pub(crate) watches: Place,
}

/// Where the entries of sockets and watches are.
pub(crate) fn places(region: &Region) -> Option<Places> {
    let (header, tables) = found_in(region)?;
    let used = |list: &FreeList, count: usize| count.min(list.fresh() as usize);
    Some(Places {
        sockets: Place {
            offset: tables.sockets.offset(),
            count: used(&header.sockets, tables.sockets.count()),
        },
        watches: Place {
            offset: tables.watches.offset(),
            count: used(&header.watches, tables.watches.count()),
        },
    })
}

/// A copy of the header, and the tables that it says there are: none where these are not what the memory holds.
fn found_in(region: &Region) -> Option<(Header, Tables)> {
    let mut layout: Layout = SharedStack::layout();
    let place: Span<Header> = layout.table(1);
    let mut bytes = vec![0; size_of::<Header>()];
    region
        .foreign(place.offset(), bytes.len())?
        .copy_to(&mut bytes);
    let header = Header::read_from_bytes(&bytes).ok()?;
    let (sockets, chunks) = (header.sockets_max as usize, header.chunks_max as usize);
    let held = header.held_max as usize;
    let plausible = header.magic == MAGIC
        && header.version == VERSION
        && sockets > 0
        && sockets < 1 << 24
        && chunks < 1 << 24
        && held <= fault::HELD_MAX;
    let tables = plausible.then(|| tables(sockets, chunks, held))?;
    (tables.bytes == region.bytes()).then_some((header, tables))
}

fn carve(carver: &mut Carver<'_>, t: &Tables) -> io::Result<Stack<'static>> {
    let header = carver.one(t.header)?;
    let counters = carver.one(t.counters)?;
    let (slots, wires) = (carver.table(t.slots)?, carver.table(t.wires)?);
    let (waiters, sets) = (carver.table(t.waiters)?, carver.table(t.sets)?);
    let timer_slots = carver.table(t.timer_slots)?;
    let routes = carver.table(t.routes)?;
    let hops = carver.table(t.hops)?;
    let (paths, servers) = (carver.table(t.paths)?, carver.table(t.servers)?);
    let own_keys = carver.table(t.own_keys)?;
    let pending = carver.table(t.pending)?;
    let (networks, mtus) = (carver.table(t.networks)?, carver.table(t.mtus)?);
    let own_stations = carver.table(t.own_stations)?;
    let devices = carver.table(t.devices)?;
    let unfinished = carver.table(t.unfinished)?;
    let frame_bytes = carver.table(t.frame_bytes)?;
    let flows = carver.table(t.flows)?;
    let ports = carver.table(t.ports)?;
    let watches = carver.table(t.watches)?;
    let far_holders = carver.table(t.far_holders)?;
    let sockets = carver.table(t.sockets)?;
    let pool_head = carver.one(t.pool_head)?;
    let pool = ChunkPool::new(
        pool_head,
        carver.table(t.chunk_meta)?,
        carver.table(t.chunks)?,
    );
    let faults = Lines::new(
        carver.one(t.faults)?,
        carver.table(t.held)?,
        carver.table(t.frames)?,
    );
    let core = Core {
        header,
        counters,
        slots,
        waiters,
        sets,
        timer_slots,
        routes,
        hops,
        paths,
        servers,
        own_keys,
        pending,
        networks,
        mtus,
        own_stations,
        devices,
        unfinished,
        frame_bytes,
        flows,
        ports,
        watches,
        far_holders,
        sockets,
        pool,
        wake: 0,
        urgent_owners: Vec::new(),
        replies: Vec::new(),
        back: Stations::WIRE,
        guess: NONE,
    };
    Ok(Stack {
        wires,
        core,
        links: Links::new(),
        faults,
    })
}

fn initialise(region: Region, config: &Config) -> io::Result<SharedStack> {
    let tables = tables_of(config);
    let narrow = |n: usize| {
        u32::try_from(n).map_err(|_| io::Error::other("a stack of such a size is not possible"))
    };
    let (sockets_max, chunks_max) = (narrow(config.sockets_max)?, narrow(config.chunks_max)?);
    Locked::new(region, |carver| {
        let mut stack = carve(carver, &tables)?;
        if let Some(spec) = &config.faults {
            stack.faults.begin(spec);
        }
        let h = &mut *stack.core.header;
        h.magic = MAGIC;
        h.version = VERSION;
        h.sockets_max = sockets_max;
        h.chunks_max = chunks_max;
        h.held_max = u32::try_from(held_max(config)).unwrap_or(0);
        h.checksums = u32::from(config.checksums);
        h.syn_cookies = u32::from(config.syn_cookies);
        h.fast_open = config.fast_open;
        h.snd_buf_bytes = config.snd_buf_bytes;
        h.rcv_buf_bytes = config.rcv_buf_bytes;
        h.id = config.id;
        h.netns = config.netns;
        h.secret = config.secret;
        let name = config.name.as_bytes();
        let n = name.len().min(h.name.len() - 1);
        h.name[..n].copy_from_slice(&name[..n]);
        h.time_wait_head = NONE;
        h.time_wait_tail = NONE;
        Ok(stack)
    })
}

impl Stack<'_> {
    /// The stack's identity.
    pub const fn id(&self) -> u64 {
        self.core.header.id
    }

    /// The network namespace that its addresses belong to.
    pub const fn netns(&self) -> u64 {
        self.core.header.netns
    }

    /// Counters since the stack was created.
    pub const fn counters(&self) -> &Counters {
        self.core.counters
    }

    /// Counts a socket, or a destination, that was left to the kernel.
    pub const fn count_handover(&mut self, why: crate::Handover) {
        self.core.counters.handed_over[why as usize] += 1;
    }

    /// Whether any process has the stack mapped.
    pub fn has_clients(&self) -> bool {
        self.core.has_clients()
    }

    /// When the stack was last worked on.
    pub const fn last_polled(&self) -> Nanos {
        self.core.header.now
    }

    /// The waiters to wake, one bit each, and whether [owners](Self::take_owners) are to be told, now that the lock is given back. Take them before that.
    #[inline]
    pub const fn take_wakes(&mut self) -> u64 {
        core::mem::replace(&mut self.core.wake, 0)
    }

    /// The only spinning process, as its slot.
    pub fn spinner(&self) -> Option<u32> {
        self.core.header.spinner.checked_sub(1)
    }

    /// Claims the right to spin for `slot`; false while another process has it.
    pub fn claim_spin(&mut self, slot: u32) -> bool {
        let free = self.core.header.spinner == 0;
        if free {
            self.core.header.spinner = slot + 1;
        }
        free
    }

    /// Gives the right to spin back.
    pub fn release_spin(&mut self, slot: u32) {
        if self.core.header.spinner == slot + 1 {
            self.core.header.spinner = 0;
        }
    }
}

impl Core<'_> {
    /// Moves the stack's time on; it never runs backwards.
    #[inline]
    pub(crate) fn advance(&mut self, now: Nanos) -> Nanos {
        if now > self.header.now {
            if self.header.now == Nanos::ZERO {
                self.start_timers(now);
            }
            self.header.now = now;
        }
        self.header.now
    }

    /// For a walk along sockets: no list of them is longer than their table.
    pub(crate) const fn socket_steps(&self) -> Steps {
        Steps::new(self.sockets.len())
    }

    /// The same for watches.
    pub(crate) const fn watch_steps(&self) -> Steps {
        Steps::new(self.watches.len())
    }

    /// The stack's time.
    #[inline]
    pub(crate) const fn now(&self) -> Nanos {
        self.header.now
    }
}
