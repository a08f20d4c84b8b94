//! The wires of a stack: its ends of shared-memory links to other stacks, and what is queued for each.

use crate::express::Reader;
use crate::hops::Way;
use crate::input::From;
use crate::memory::{Core, Stack, WIRES_MAX};
use crate::socket::{Kind, SocketFlags};
use crate::{Error, Ready, Result};
use sidestep_nic::memif::{self, Geometry, Role};
use sidestep_nic::{Port, PortStats, any, on_port};
use sidestep_shm::{Ahead, NONE, Nanos, Steps, Use};
use sidestep_tcp::Env;
use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Frames taken from one wire before others have their turn.
pub(crate) const RX_BATCH: usize = 64;
/// Frames taken from a queue of a network before anything is sent there: what is sent is answered at once by whoever is
/// near, and what the ring has no room for is lost.
const NETWORK_BATCH: usize = 1024;
/// Frames sent over a queue of a network after which it is looked what came, before more are sent: a quarter of what the
/// ring holds.
pub(crate) const UNHEARD_MAX: u64 = 512;
/// Sockets beyond which those of the next frames are fetched ahead, as the processor's caches hold no more.
const SOCKETS_IN_CACHE: u32 = 512;
/// Most rounds over all wires in one poll, so that a flood does not keep the caller for ever.
const ROUNDS_MAX: usize = 4;
/// How soon to try again to send on a wire whose ring was full.
const ROOM_RETRY: Nanos = Nanos::from_micros(100);
/// Batches taken at most from a wire that is being closed: more than its ring holds.
const DRAIN_ROUNDS: usize = 64;

/// The life of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WireState {
    /// Entry not in use.
    Free = 0,
    /// Carries frames.
    Open = 1,
    /// The other end is gone; connections over it are reset.
    Closed = 2,
}

/// What is needed to add a wire to a stack.
#[derive(Clone, Copy, Debug)]
pub struct WireSetup {
    /// The wire's identity, the same at both ends.
    pub id: u64,
    /// The stack at the other end.
    pub peer_stack: u64,
    /// Where rings and buffers lie in the wire's memory.
    pub geometry: Geometry,
    /// Our part in the memif protocol.
    pub role: Role,
}

/// An entry.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Wire {
    pub(crate) id: u64,
    /// The stack at the other end of a wire between stacks.
    peer_stack: u64,
    /// The identity of the network that a wire is a queue of.
    pub(crate) network: u64,
    pub(crate) state: u32,
    pub(crate) generation: u32,
    pub(crate) is_network: u8,
    /// Of a wire between stacks: 1 for the slave, who allocated the memory.
    is_slave: u8,
    _reserved: [u8; 6],
    /// Of a wire between stacks.
    geometry: Geometry,
    pub(crate) port: any::State,
}

impl Wire {
    pub(crate) const fn is_open(&self) -> bool {
        self.state == WireState::Open as u32
    }

    /// Whether strangers are at the other end, who have hardware addresses, routers, and time.
    pub(crate) const fn is_network(&self) -> bool {
        self.is_network != 0
    }

    const fn kind(&self) -> WireKind {
        if self.is_network() {
            return WireKind::Network {
                network: self.network,
            };
        }
        let role = if self.is_slave == 0 {
            Role::Master
        } else {
            Role::Slave
        };
        WireKind::Memif {
            peer_stack: self.peer_stack,
            role,
            geometry: self.geometry,
        }
    }
}

/// What a process must attach to use a wire.
#[derive(Clone, Copy, Debug)]
pub struct WireToAttach {
    /// Index in the table.
    pub index: u32,
    /// The entry's life.
    pub generation: u32,
    /// Identity of the wire.
    pub id: u64,
    /// What it is.
    pub kind: WireKind,
}

/// What a wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireKind {
    /// A link to another stack, in shared memory.
    Memif {
        /// The stack at the other end.
        peer_stack: u64,
        /// Our part in the protocol.
        role: Role,
        /// Where rings and buffers lie.
        geometry: Geometry,
    },
    /// A queue of an interface.
    Network {
        /// The network's identity.
        network: u64,
    },
}

impl WireToAttach {
    /// Whether it is a queue of an interface.
    pub const fn is_network(&self) -> bool {
        matches!(self.kind, WireKind::Network { .. })
    }

    /// The stack at the other end, if one is.
    pub const fn peer_stack(&self) -> Option<u64> {
        match self.kind {
            WireKind::Memif { peer_stack, .. } => Some(peer_stack),
            WireKind::Network { .. } => None,
        }
    }
}

impl Stack<'_> {
    /// Adds our end of a wire; each process attaches it when it next looks.
    pub fn add_wire(&mut self, setup: &WireSetup) -> Result<u32> {
        let free = self.new_wire(setup.id)?;
        let wire = &mut self.wires[free];
        wire.peer_stack = setup.peer_stack;
        wire.is_slave = u8::from(setup.role == Role::Slave);
        wire.geometry = setup.geometry;
        // Memory does not corrupt what it carries; `checksums` is looked at beside the port's word.
        let mut port = memif::State::new(setup.role, &setup.geometry);
        port.vouch_rx_checksums(true);
        port.skip_tx_checksums(true);
        wire.port = port.into();
        Ok(self.wire_added(free))
    }

    pub(crate) fn new_wire(&mut self, id: u64) -> Result<usize> {
        let free = self
            .wires
            .iter()
            .position(|w| w.state == WireState::Free as u32)
            .ok_or(Error::TableFull)?;
        let wire = &mut self.wires[free];
        let generation = wire.generation.wrapping_add(1);
        wire.zero();
        wire.generation = generation;
        wire.id = id;
        wire.state = WireState::Open as u32;
        Ok(free)
    }

    pub(crate) fn wire_added(&mut self, free: usize) -> u32 {
        let header = &mut self.core.header;
        header.wires_end = header.wires_end.max(u32::try_from(free + 1).unwrap_or(0));
        header.wire_changes = header.wire_changes.wrapping_add(1);
        u32::try_from(free).unwrap_or(NONE)
    }

    /// The open wire to another stack. To itself a stack has two; the first is for those who connect.
    pub fn wire_to(&self, peer_stack: u64) -> Option<u32> {
        let end = self.wires_end();
        (0..)
            .zip(&self.wires[..end])
            .find(|(_, w)| w.is_open() && !w.is_network() && w.peer_stack == peer_stack)
            .map(|(i, _)| i)
    }

    /// All open wires.
    pub fn open_wires(&self) -> impl Iterator<Item = WireToAttach> + '_ {
        let end = self.wires_end();
        (0..)
            .zip(&self.wires[..end])
            .filter(|(_, w)| w.is_open())
            .map(|(index, w)| WireToAttach {
                index,
                generation: w.generation,
                id: w.id,
                kind: w.kind(),
            })
    }

    /// The first open wire that this process is not attached to. Cheap when nothing changed.
    pub fn unattached_wire(&mut self) -> Option<WireToAttach> {
        if self.links.seen_changes == self.core.header.wire_changes {
            return None;
        }
        let missing = self
            .open_wires()
            .find(|w| !self.links.has(w.index, w.generation));
        if missing.is_none() {
            self.links.seen_changes = self.core.header.wire_changes;
        }
        missing
    }

    /// Whether some process changed the table of wires since this process last caught up.
    #[inline]
    pub const fn wires_changed(&self) -> bool {
        self.links.seen_changes != self.core.header.wire_changes
    }

    /// The other end of a wire is gone: connections over it are reset, the entry is free. Those over a queue of a network
    /// go on over another, if it has one.
    pub fn close_wire(&mut self, index: u32) {
        // What the other end sent before it ended is still in the ring.
        for _ in 0..DRAIN_ROUNDS {
            if (index as usize) >= WIRES_MAX || self.poll_wire(index as usize, None) == 0 {
                break;
            }
        }
        self.reset_over_network(index);
        self.drop_wire(index);
    }

    /// Where this is the last queue of a network, ends connections over it, and tells peers: they would not learn of it.
    pub(crate) fn reset_over_network(&mut self, index: u32) {
        let group = self.core.networks.get(index as usize).copied();
        let Some(group) = group.filter(|group| *group != 0) else {
            return;
        };
        let is_other = |(at, of): (usize, &u8)| *of == group && at != index as usize;
        if self.core.networks.iter().enumerate().any(is_other) {
            return;
        }
        for socket in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(socket);
            if s.wire == index && s.kind() == Kind::Stream {
                self.core.on_network_lost(socket);
            }
        }
        self.flush_wire(index);
    }

    fn drop_wire(&mut self, index: u32) {
        let Some(wire) = self.wires.get_mut(index as usize).filter(|w| w.is_open()) else {
            return;
        };
        wire.state = WireState::Free as u32;
        self.faults.forget(index);
        self.core.header.wire_changes = self.core.header.wire_changes.wrapping_add(1);
        self.empty_wire(index);
        // Threads that sleep look at the wires anew.
        self.core.wake = u64::MAX;
    }

    /// A wire is no queue of its network any more: sockets go on over another queue, if there is one.
    pub(crate) fn empty_wire(&mut self, index: u32) {
        let group = core::mem::take(&mut self.core.networks[index as usize]);
        let other = self.core.queue_of(group);
        for socket in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(socket);
            if s.wire != index || s.kind() == Kind::Free || s.kind() == Kind::Listener {
                continue;
            }
            match other {
                Some(other) => self.core.move_socket(socket, other),
                None => {
                    self.core.cancel_output(socket);
                    self.core.on_wire_lost(socket);
                }
            }
        }
        self.core.move_routes(index, other);
        match other {
            Some(other) => self.flush_wire(other),
            None if group != 0 => self.core.forget_hops_of(group),
            None => {}
        }
    }

    /// Keeps this process's attachment of a wire, as it is in its `generation`.
    pub fn attach_wire(
        &mut self,
        index: u32,
        generation: u32,
        attachment: impl Into<any::Attachment>,
    ) {
        self.links.attach(index, generation, attachment.into());
        let now = self.core.now();
        let wire = &mut self.wires[index as usize];
        if let Some(port) = self.links.port(index, wire, &mut self.faults, now) {
            let longest = u32::try_from(port.caps().frame_bytes_max).unwrap_or(u32::MAX);
            self.core.frame_bytes[index as usize] = longest;
        }
    }

    /// Lets go of this process's attachments of wires that are no more.
    pub fn detach_closed(&mut self) {
        for index in 0..WIRES_MAX {
            if !self.wires[index].is_open() {
                self.links.detach(u32::try_from(index).unwrap_or(NONE));
            }
        }
    }

    /// What the next poll will read first: to be fetched before the stack's lock is taken.
    pub fn ahead(&self) -> Arc<Ahead> {
        self.links.ahead.clone()
    }

    /// Takes what came in, serves timers, sends what is due. Call often. Returns how many frames came in.
    pub fn poll(&mut self, now: Nanos) -> usize {
        self.poll_for(now, None)
    }

    /// As [`poll`](Self::poll), for a reader who takes what comes for it.
    #[inline]
    pub(crate) fn poll_for(
        &mut self,
        now: Nanos,
        mut reader: Option<&mut Reader<'_, '_>>,
    ) -> usize {
        self.core.advance(now);
        if self.is_guarded() {
            self.end_guard();
        }
        let mut frames = 0;
        for _ in 0..ROUNDS_MAX {
            let mut more = false;
            for index in 0..self.wires_end() {
                let taken = self.poll_wire(index, reader.as_deref_mut());
                frames += taken;
                more |= taken >= RX_BATCH;
            }
            if !more {
                break;
            }
        }
        if self.core.has_turned() {
            self.serve_timers();
            let paths_until = self.core.header.paths_until;
            if paths_until != Nanos::ZERO && paths_until <= self.core.now() {
                self.forget_old_paths();
            }
        }
        if self.core.header.starved != 0 {
            self.core.feed_starved();
        }
        frames
    }

    fn poll_wire(&mut self, index: usize, mut reader: Option<&mut Reader<'_, '_>>) -> usize {
        let wire = &mut self.wires[index];
        if !wire.is_open() {
            return 0;
        }
        let network = wire.is_network();
        let number = u32::try_from(index).unwrap_or(NONE);
        let (mut taken, mut broken) = self.take_frames(number, reader.as_deref_mut());
        while network
            && (RX_BATCH..NETWORK_BATCH).contains(&taken)
            && self.core.replies.is_empty()
            && !broken
        {
            let (more, is_broken) = self.take_frames(number, reader.as_deref_mut());
            (taken, broken) = (taken + more, is_broken);
            if more == 0 {
                break;
            }
        }
        if self.core.has_pending(number) || !self.core.replies.is_empty() {
            self.flush_wire(number);
        }
        if network && taken > 0 {
            self.flush_siblings(number);
        }
        if broken {
            self.drop_wire(number);
        }
        taken
    }

    /// Takes what came over a wire without sending anything, after much was sent without a look at that.
    #[cold]
    pub(crate) fn listen_to(&mut self, wire: u32) {
        let mut taken = 0;
        while taken < NETWORK_BATCH {
            match self.take_frames(wire, None) {
                (0, _) => break,
                (more, _) => taken += more,
            }
        }
    }

    /// Works a batch of frames in. Returns how many there were, and whether the wire is broken.
    #[inline]
    fn take_frames(
        &mut self,
        number: u32,
        mut reader: Option<&mut Reader<'_, '_>>,
    ) -> (usize, bool) {
        let now = self.core.now();
        let Some(wire) = self.wires.get_mut(number as usize).filter(|w| w.is_open()) else {
            return (0, false);
        };
        let network = wire.is_network();
        let Some(port) = self.links.port(number, wire, &mut self.faults, now) else {
            return (0, false);
        };
        let core = &mut self.core;
        on_port!(port, port => {
            let from = From {
                wire: number,
                verify: !port.caps().rx_checksum_vouched || core.header.checksums != 0,
                network,
            };
            let taken = if core.header.sockets.used() > SOCKETS_IN_CACHE {
                let mut preview = core.preview(&mut port);
                let taken = port.rx_batch(RX_BATCH, |frame| {
                    core.guess = preview.next();
                    core.on_frame(from, frame, reader.as_deref_mut());
                });
                core.guess = NONE;
                taken
            } else {
                port.rx_batch(RX_BATCH, |frame| {
                    core.on_frame(from, frame, reader.as_deref_mut());
                })
            };
            core.counters.rx_frames += taken as u64;
            if taken > 0 && !network {
                self.links.ahead.set(port.rx_lines());
            }
            (taken, port.is_broken())
        })
    }

    /// Serves the timers that are due.
    fn serve_timers(&mut self) {
        // Each is due once, and what it sends may make others due.
        let mut steps = Steps::new(self.core.sockets.len() * 4);
        while let Some(index) = self.core.pop_due() {
            steps.step();
            let wire = self.core.on_timer(index);
            if let Some(wire) = wire {
                self.flush_wire(wire);
            }
        }
    }

    /// A time before which no timer is due. Soon, where a socket waits for room on a wire: nobody tells of that.
    pub fn next_timer(&self) -> Nanos {
        let waits_for_room =
            (0..self.core.header.wires_end).any(|wire| self.core.has_pending(wire));
        let retry = if waits_for_room {
            self.core.now() + ROOM_RETRY
        } else {
            Nanos::NEVER
        };
        let arrival = self.faults.next_due();
        self.core.next_timer().min(retry).min(arrival)
    }

    /// Whether frames wait on a wire that this process is attached to.
    #[inline]
    pub fn rx_pending(&mut self) -> bool {
        let now = self.core.now();
        (0..self.wires_end()).any(|i| {
            let wire = &mut self.wires[i];
            wire.is_open()
                && self
                    .links
                    .port(
                        u32::try_from(i).unwrap_or(NONE),
                        wire,
                        &mut self.faults,
                        now,
                    )
                    .is_some_and(|p| p.rx_pending())
        })
    }

    /// Asks the other ends for wake-ups, as a thread of the process in `slot` is about to sleep; true when frames wait
    /// already. `raise` is to raise a [`barrier`](sidestep_shm::barrier): else a frame may come unseen.
    pub fn arm(&mut self, slot: u32, raise: impl FnOnce()) -> bool {
        if let Some(s) = self.core.slots.get_mut(slot as usize) {
            s.sleepers += 1;
            self.core.header.sleepers += 1;
        }
        self.each_port(|port| port.rx_wakeups(true));
        raise();
        self.rx_pending()
    }

    /// A thread of the process in `slot` that slept is back. Wake-ups end with the last.
    pub fn disarm(&mut self, slot: u32) {
        if let Some(s) = self.core.slots.get_mut(slot as usize)
            && let Some(fewer) = s.sleepers.checked_sub(1)
        {
            s.sleepers = fewer;
            self.fewer_sleepers(1);
        }
    }

    pub(crate) fn fewer_sleepers(&mut self, count: u32) {
        let before = self.core.header.sleepers;
        self.core.header.sleepers = before.saturating_sub(count);
        if before != 0 && self.core.header.sleepers == 0 {
            self.each_port(|port| port.rx_wakeups(false));
        }
    }

    /// Whether a thread sleeps on the doorbell.
    pub const fn has_sleepers(&self) -> bool {
        self.core.header.sleepers != 0
    }

    /// Asks the other ends for wake-ups although no thread sleeps: whoever calls this waits on the doorbell for those
    /// that have better things to do. True when frames wait already. It ends when somebody polls. `raise` as in
    /// [`arm`](Self::arm).
    pub fn stand_guard(&mut self, raise: impl FnOnce()) -> bool {
        self.core.header.guarded = 1;
        self.each_port(|port| port.rx_wakeups(true));
        raise();
        self.rx_pending()
    }

    /// Whether nobody has polled since somebody stood guard.
    pub const fn is_guarded(&self) -> bool {
        self.core.header.guarded != 0
    }

    /// Somebody polls, and so looks after the stack himself.
    #[cold]
    fn end_guard(&mut self) {
        self.core.header.guarded = 0;
        if self.core.header.sleepers == 0 {
            self.each_port(|port| port.rx_wakeups(false));
        }
    }

    fn each_port(&mut self, mut f: impl FnMut(&mut any::AnyPort<'_>)) {
        let now = self.core.now();
        for index in 0..self.wires_end() {
            let wire = &mut self.wires[index];
            if wire.is_open()
                && let Some(mut port) = self.links.port(
                    u32::try_from(index).unwrap_or(NONE),
                    wire,
                    &mut self.faults,
                    now,
                )
            {
                f(&mut port);
            }
        }
    }

    /// The waiter that wakes for the stack's timers becomes `waiter`, unless another is.
    pub fn keep_time(&mut self, waiter: u32) -> bool {
        let h = &mut self.core.header;
        let free = h.timekeeper == 0 || h.timekeeper == waiter + 1;
        if free {
            h.timekeeper = waiter + 1;
        }
        free
    }

    /// `waiter` no longer wakes for the stack's timers.
    pub fn leave_time(&mut self, waiter: u32) {
        if self.core.header.timekeeper == waiter + 1 {
            self.core.header.timekeeper = 0;
        }
    }

    /// Counters of a wire's port.
    pub fn wire_stats(&self, index: u32) -> Option<PortStats> {
        self.wires
            .get(index as usize)
            .filter(|w| w.is_open())
            .map(|w| w.port.stats())
    }

    pub(crate) fn wires_end(&self) -> usize {
        (self.core.header.wires_end as usize).min(WIRES_MAX)
    }
}

impl Core<'_> {
    /// Tells sockets that waited for buffers, once there are some again.
    #[cold]
    fn feed_starved(&mut self) {
        if !self.pool.has_room(Use::Send) {
            return;
        }
        self.header.starved = 0;
        for index in 0..self.header.sockets.fresh() {
            if self.at(index).kind() == Kind::Stream {
                self.notify(index, Ready::OUT | Ready::WRNORM);
            }
        }
    }

    /// The network by which a connection goes will be gone after what is sent now.
    pub(crate) fn on_network_lost(&mut self, index: u32) {
        let now = self.now();
        let events = self.sockets[index as usize].tcb.on_network_lost(&mut Env {
            now,
            pool: &mut self.pool,
        });
        self.on_events(index, events);
    }

    /// The wire that a socket used is gone.
    fn on_wire_lost(&mut self, index: u32) {
        let s = self.at(index);
        if s.kind() == Kind::Datagram {
            if s.has(SocketFlags::CONNECTED) {
                s.fail(Error::Refused);
                self.set_way(index, Way::from(NONE));
                self.notify(index, Ready::ERR);
            }
            return;
        }
        let now = self.now();
        let s = &mut self.sockets[index as usize];
        let events = s.tcb.on_link_lost(&mut Env {
            now,
            pool: &mut self.pool,
        });
        self.set_way(index, Way::from(NONE));
        self.on_events(index, events);
    }
}
