//! TCP sockets: what joins connections to tables, listeners, wires and readiness. TCP's own rules are in
//! `sidestep-tcp`.

use crate::fast_open::Fast;
use crate::hops::Way;
use crate::memory::{Core, Stack};
use crate::networks::{mss, shorter};
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::{Endpoint, Error, Offers, Ready, Result};
use sidestep_shm::{Foreign, ForeignMut, NONE, Nanos};
use sidestep_tcp::{self as tcp, Env, Events, Settings, State, Tcb, ecn_field};
use sidestep_wire::{Seq, tcp::Repr};
use std::hash::{DefaultHasher, Hasher};

/// How long TIME-WAIT lasts on a wire. Its two rings deliver every frame once and in order, so no old duplicate can
/// arrive later; the state is kept only to answer a peer that missed our last ACK for want of buffers.
const TIME_WAIT: Nanos = Nanos::from_secs(1);
/// On a network: as long as in Linux (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_NETWORK: Nanos = Nanos::from_secs(60);

/// The most that a receive buffer grows to; what window scales are chosen for.
pub(crate) const RCV_BUF_MOST: u32 = 8 << 20;

/// How bytes are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// More follows at once (MSG_MORE).
    pub(crate) more: bool,
    /// The last byte is urgent (MSG_OOB).
    pub(crate) urgent: bool,
    /// The last byte ends a record (MSG_EOR).
    pub(crate) record: bool,
}

/// How far an outgoing connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectState {
    /// Not begun.
    Idle,
    /// Waiting for the peer.
    Connecting,
    /// Established, or was.
    Connected,
}

impl Stack<'_> {
    /// A new TCP socket held by `slot`.
    pub fn new_stream(&mut self, flags: SocketFlags, slot: u32) -> Result<SocketRef> {
        let index = self.core.alloc_socket(Kind::Stream)?;
        let (rcv, snd) = (
            self.core.header.rcv_buf_bytes,
            self.core.header.snd_buf_bytes,
        );
        let s = self.core.at(index);
        s.set(flags, true);
        (s.rcv_buf_bytes, s.snd_buf_bytes) = (rcv, snd);
        self.core.hold(index, slot);
        Ok(self.core.reference(index))
    }

    /// From now on connections offer this.
    pub fn set_offers(&mut self, offers: Offers) {
        self.core.header.offers = offers.bits();
        self.core.header.unsent_low = offers.unsent_low;
        if offers.snd_buf_bytes != 0 {
            self.core.header.snd_buf_bytes = offers.snd_buf_bytes;
        }
    }

    /// Gives a socket its local address, which its kernel socket has reserved.
    pub fn bind(&mut self, r: SocketRef, local: Endpoint) -> Result<()> {
        let s = self.core.socket(r)?;
        s.local = local;
        s.set(SocketFlags::BOUND, true);
        s.template.forget();
        if s.kind() == Kind::Datagram {
            self.core.remove_port(r.index);
            self.core.insert_port(r.index);
        }
        Ok(())
    }

    /// Begins to open a connection that goes the given `way`.
    pub fn connect(
        &mut self,
        now: Nanos,
        r: SocketRef,
        ends: (Endpoint, Endpoint),
        way: impl Into<Way>,
    ) -> Result<()> {
        self.connect_with(now, r, ends, way.into(), None)
            .map(|_| ())
    }

    /// The same, perhaps fast; returns how many bytes were queued.
    pub(crate) fn connect_with(
        &mut self,
        now: Nanos,
        r: SocketRef,
        ends: (Endpoint, Endpoint),
        way: Way,
        fast: Option<Fast<'_, '_>>,
    ) -> Result<usize> {
        let now = self.core.advance(now);
        let (local, remote) = ends;
        if self.core.socket(r)?.tcb.state() != State::Closed {
            return Err(Error::IsConnected);
        }
        self.check_way(&way)?;
        let core = &mut self.core;
        let (iss, ts_offset) = core.secrets(&local, &remote);
        core.set_way(r.index, way);
        let s = core.at(r.index);
        (s.local, s.remote) = (local, remote);
        s.set(SocketFlags::BOUND, true);
        let settings = core.settings(r.index);
        // A wire delivers in order, so nothing of the old connection can be mistaken for the new one's.
        if let Some(old) = core
            .find_flow(&local, &remote)
            .filter(|old| core.is_replaceable(*old))
        {
            core.free_socket(old);
        }
        core.insert_flow(r.index)?;
        core.counters.tcp_connects += 1;
        let s = &mut core.sockets[r.index as usize];
        let mut env = Env {
            now,
            pool: &mut core.pool,
        };
        s.tcb
            .connect(&mut env, &settings, local.port, remote.port, iss, ts_offset);
        let queued = fast.map_or(0, |fast| core.open_fast(r.index, fast));
        self.flush_socket(r.index);
        Ok(queued)
    }

    /// Whether this process can send that way.
    fn check_way(&mut self, way: &Way) -> Result<()> {
        let now = self.core.now();
        let entry = self.wires.get_mut(way.wire as usize);
        let open = entry.filter(|w| w.is_open()).ok_or(Error::Unreachable)?;
        let attached = self
            .links
            .port(way.wire, open, &mut self.faults, now)
            .is_some();
        let known = attached && self.core.is_current(way);
        known.then_some(()).ok_or(Error::Unreachable)
    }

    /// Whether the stack still has a connection of these endpoints that a new one cannot replace.
    pub fn has_flow(&self, local: &Endpoint, remote: &Endpoint) -> bool {
        self.core
            .find_flow(local, remote)
            .is_some_and(|index| !self.core.is_replaceable(index))
    }

    /// How far a connection is; an error that ended it is taken.
    pub fn connect_state(&mut self, r: SocketRef) -> Result<ConnectState> {
        let s = self.core.socket(r)?;
        if let Some(error) = s.take_error() {
            return Err(error);
        }
        Ok(match s.tcb.state() {
            State::SynSent | State::SynReceived => ConnectState::Connecting,
            State::Closed if !s.has(SocketFlags::WAS_CONNECTED) => ConnectState::Idle,
            _ => ConnectState::Connected,
        })
    }

    /// Queues bytes to send, and sends what may go now. `more`: the program says that more follows at once.
    pub fn send(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &[Foreign<'_>],
        more: bool,
    ) -> Result<usize> {
        let manner = Manner {
            more,
            ..Manner::default()
        };
        self.send_parts(now, r, parts, manner)
    }

    /// As [`send`](Self::send); the last byte ends a record (MSG_EOR).
    pub fn send_record(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &[Foreign<'_>],
    ) -> Result<usize> {
        let manner = Manner {
            record: true,
            ..Manner::default()
        };
        self.send_parts(now, r, parts, manner)
    }

    /// The same, in whatever manner.
    pub(crate) fn send_parts(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &[Foreign<'_>],
        Manner {
            more,
            urgent,
            record,
        }: Manner,
    ) -> Result<usize> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        let s = core.socket(r)?;
        if let Some(error) = s.take_error() {
            return Err(error);
        }
        if s.has(SocketFlags::SHUT_WRITE) {
            return Err(Error::Pipe);
        }
        match s.tcb.state() {
            State::Established | State::CloseWait => {}
            State::SynSent if s.tcb.is_held() => return Err(Error::Unopened),
            State::SynSent | State::SynReceived => return Err(Error::WouldBlock),
            _ if s.has(SocketFlags::WAS_CONNECTED) => return Err(Error::Pipe),
            _ => return Err(Error::NotConnected),
        }
        let s = &mut core.sockets[r.index as usize];
        let mut queued = 0;
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            let env = &mut Env {
                now,
                pool: &mut core.pool,
            };
            let n = if urgent && last {
                s.tcb.send_urgent(env, *part)
            } else {
                s.tcb.send(env, *part, !more && last)
            };
            queued += n;
            if n < part.len() {
                break;
            }
        }
        let wanted = parts.iter().any(|p| !p.is_empty());
        if queued == 0 && wanted && s.tcb.send_space() > 0 {
            core.header.starved = 1;
        }
        let total: usize = parts.iter().map(Foreign::len).sum();
        if queued == total && record {
            core.sockets[r.index as usize].tcb.end_record(&mut Env {
                now,
                pool: &mut core.pool,
            });
        }
        let s = &mut core.sockets[r.index as usize];
        if s.has(SocketFlags::STAMPED)
            && queued > 0
            && (queued == total || s.has(SocketFlags::NONBLOCK))
        {
            core.stamp_written(r.index);
        }
        if core.sockets[r.index as usize].tcb.wants_output() {
            self.flush_socket(r.index);
        }
        if queued == 0 && wanted {
            Err(Error::WouldBlock)
        } else {
            Ok(queued)
        }
    }

    /// Takes received bytes; 0 at the end of the stream.
    pub fn recv(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        peek: bool,
    ) -> Result<usize> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        core.socket(r)?;
        let s = &mut core.sockets[r.index as usize];
        if s.kind() != Kind::Stream {
            return Err(Error::NotConnected);
        }
        // Bytes are there to be read after a shutdown of this side too, as in Linux.
        if s.tcb.recv_len() > 0 {
            let mut done = 0;
            let mut env = Env {
                now,
                pool: &mut core.pool,
            };
            for part in parts {
                let n = if peek {
                    s.tcb.peek_at(&env, done, part)
                } else {
                    s.tcb.recv(&mut env, part, false)
                };
                done += n;
                if n < part.len() {
                    break;
                }
            }
            if s.tcb.wants_output() {
                self.flush_socket(r.index);
            }
            return Ok(done);
        }
        if s.error == Error::Pipe as u32 + 1 {
            // Reset after the peer had ended its direction: that end is what a reader sees, as in Linux.
            return Ok(0);
        }
        if let Some(error) = s.take_error() {
            return Err(error);
        }
        if s.has(SocketFlags::SHUT_READ) || s.tcb.at_eof() {
            return Ok(0);
        }
        match s.tcb.state() {
            State::Closed if !s.has(SocketFlags::WAS_CONNECTED) => Err(Error::NotConnected),
            State::Closed => Ok(0),
            _ => Err(Error::WouldBlock),
        }
    }

    /// Drops up to `most` received bytes, or counts them if they are to stay (MSG_TRUNC); 0 at the end of the stream.
    pub fn discard(&mut self, now: Nanos, r: SocketRef, most: usize, peek: bool) -> Result<usize> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        core.socket(r)?;
        let s = &mut core.sockets[r.index as usize];
        if s.kind() != Kind::Stream || s.tcb.recv_len() == 0 {
            return self.recv(now, r, &mut [], peek);
        }
        if peek {
            return Ok(s.tcb.recv_len().min(most));
        }
        let done = s.tcb.discard(
            &mut Env {
                now,
                pool: &mut core.pool,
            },
            most,
        );
        if s.tcb.wants_output() {
            self.flush_socket(r.index);
        }
        Ok(done)
    }

    /// Bytes that can be read at once.
    pub fn recv_len(&mut self, r: SocketRef) -> Result<usize> {
        let core = &mut self.core;
        core.socket(r)?;
        let s = &core.sockets[r.index as usize];
        Ok(if s.kind() == Kind::Datagram {
            s.udp.first_len(&core.pool)
        } else {
            s.tcb.recv_len()
        })
    }

    /// As FIONREAD counts: nothing at a mark that a reader steps over.
    pub fn readable_len(&mut self, r: SocketRef) -> Result<usize> {
        let tcb = &self.core.socket(r)?.tcb;
        let at_mark = tcb.at_mark() && !tcb.oob_inline();
        if at_mark { Ok(0) } else { self.recv_len(r) }
    }

    /// Bytes that a send on a stream takes now. Where that is none, the next that come are told of, as after a send that
    /// would block.
    pub fn send_room(&mut self, r: SocketRef) -> Result<usize> {
        let tcb = &mut self.core.socket(r)?.tcb;
        let room = tcb.send_space();
        if room == 0 {
            tcb.want_space();
        }
        Ok(room)
    }

    /// Ends one or both directions.
    pub fn shutdown(&mut self, now: Nanos, r: SocketRef, read: bool, write: bool) -> Result<()> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        core.socket(r)?;
        let mut wires = Vec::new();
        let s = &mut core.sockets[r.index as usize];
        match s.kind() {
            Kind::Stream => {
                if matches!(
                    s.tcb.state(),
                    State::Closed | State::SynSent | State::TimeWait
                ) {
                    return Err(Error::NotConnected);
                }
                if write && !s.has(SocketFlags::SHUT_WRITE) {
                    s.set(SocketFlags::SHUT_WRITE, true);
                    s.tcb.shutdown_write(&mut Env {
                        now,
                        pool: &mut core.pool,
                    });
                }
            }
            Kind::Listener if read => {
                // As in Linux: no more connections, but the socket stays.
                wires = core.abort_children(r.index);
                core.remove_port(r.index);
                core.at(r.index).kind = Kind::Stream as u8;
            }
            _ => s.set(
                SocketFlags::SHUT_WRITE,
                write || s.has(SocketFlags::SHUT_WRITE),
            ),
        }
        if read {
            core.at(r.index).set(SocketFlags::SHUT_READ, true);
        }
        core.notify(r.index, Ready::IN | Ready::OUT | Ready::RDHUP);
        self.flush_socket(r.index);
        for wire in wires {
            self.flush_wire(wire);
        }
        Ok(())
    }

    /// `slot` lets go of a socket; when the last one does, it is closed as its protocol wants.
    pub fn close(&mut self, now: Nanos, r: SocketRef, slot: u32) {
        self.core.advance(now);
        if self.core.socket(r).is_ok() {
            self.let_go(r.index, slot);
        }
    }

    pub(crate) fn let_go(&mut self, index: u32, slot: u32) {
        if self.core.unhold(index, slot) {
            return;
        }
        match self.core.at(index).kind() {
            Kind::Free => {}
            Kind::Datagram => self.core.free_socket(index),
            Kind::Listener => {
                let wires = self.core.abort_children(index);
                self.core.free_socket(index);
                for wire in wires {
                    self.flush_wire(wire);
                }
            }
            Kind::Stream => {
                let wire = self.core.at(index).wire;
                self.core.drop_watches(index);
                self.core.end_connection(index);
                self.flush_wire(wire);
            }
        }
    }

    /// Works on the connection itself: options and information.
    pub fn tcb(&mut self, r: SocketRef) -> Result<&mut Tcb> {
        self.core.socket(r).map(|s| &mut s.tcb)
    }

    /// Sends what a change of options made due, and sees to deadlines that it set.
    pub fn flush(&mut self, now: Nanos, r: SocketRef) {
        self.core.advance(now);
        let Ok(s) = self.core.socket(r) else { return };
        let (due, wants_output) = (s.tcb.next_timeout(), s.tcb.wants_output());
        self.core.schedule(r.index, due);
        if wants_output {
            self.flush_socket(r.index);
        }
    }
}

impl Core<'_> {
    /// A segment for a connection; `field` is what its IP header says of congestion ([`ecn_field`]).
    #[inline]
    pub(crate) fn on_segment(
        &mut self,
        index: u32,
        segment: &Repr,
        payload: Foreign<'_>,
        field: u8,
    ) {
        let now = self.now();
        let socket = &mut self.sockets[index as usize];
        if field == ecn_field::CE {
            socket.tcb.on_congestion_experienced(segment.seq);
        }
        let events = socket.tcb.on_segment(
            &mut Env {
                now,
                pool: &mut self.pool,
            },
            segment,
            payload,
        );
        if segment.flags.contains(sidestep_wire::tcp::Flags::SYN) {
            socket.tcb.on_first_field(field);
        }
        let due = socket.tcb.next_timeout();
        if due < socket.timer_at {
            self.schedule(index, due);
        }
        if !events.is_empty() {
            self.on_events(index, events);
        }
    }

    /// What a connection's change means for tables and watchers.
    #[inline]
    pub(crate) fn on_events(&mut self, index: u32, events: Events) {
        if events.contains(Events::OUTPUT) {
            self.queue_output(index);
        }
        let more = events.difference(Events::OUTPUT);
        if more == Events::READABLE && !self.at(index).has(SocketFlags::DEFERRED) {
            self.notify(index, Ready::IN | Ready::RDNORM);
        } else if !more.is_empty() {
            self.on_more_events(index, more);
        }
    }

    #[inline(never)]
    fn on_more_events(&mut self, index: u32, events: Events) {
        if events.contains(Events::CONNECTED) {
            self.on_connected(index);
        }
        if events.contains(Events::URGENT) {
            self.signal_owner(index);
        }
        if events.contains(Events::ACKNOWLEDGED) {
            self.tell_progress(index);
        }
        if events.intersects(Events::RESET | Events::REFUSED | Events::TIMED_OUT) {
            self.counters.tcp_resets_received += u64::from(events.contains(Events::RESET));
            self.counters.tcp_timeouts += u64::from(events.contains(Events::TIMED_OUT));
            let s = self.at(index);
            if let Some(error) = s.tcb.error() {
                s.fail(from_tcp(error));
            }
        }
        if events.intersects(Events::READABLE | Events::PEER_CLOSED)
            && self.at(index).has(SocketFlags::DEFERRED)
        {
            self.offer_child(index);
        }
        let mut ready = Ready::empty();
        if events.intersects(Events::READABLE | Events::PEER_CLOSED) {
            ready |= Ready::IN | Ready::RDNORM;
        }
        if events.contains(Events::URGENT_READABLE) {
            ready |= Ready::PRI;
        }
        if events.contains(Events::PEER_CLOSED) {
            ready |= Ready::RDHUP | Ready::HUP;
        }
        if events.intersects(Events::WRITABLE | Events::CONNECTED) {
            ready |= Ready::OUT | Ready::WRNORM;
        }
        if events.intersects(Events::CLOSED | Events::RESET | Events::REFUSED | Events::TIMED_OUT) {
            ready = Ready::from_bits_retain(0xffff);
        }
        if !ready.is_empty() {
            self.notify(index, ready);
        }
        if events.contains(Events::TIME_WAIT) && self.at(index).holders == 0 {
            self.enter_time_wait(index);
        }
        if events.intersects(Events::CONFIRMED | Events::CLOSED) {
            self.end_fast_pending(index, events.contains(Events::RESET));
        }
        if events.contains(Events::CLOSED) {
            self.on_closed(index);
        }
    }

    fn on_connected(&mut self, index: u32) {
        let s = self.at(index);
        s.set(SocketFlags::WAS_CONNECTED, true);
        if s.has(SocketFlags::STAMPED) {
            s.tcb.watch_acknowledgements(true);
        }
        if !s.has(SocketFlags::CHILD) {
            self.learn_of_server(index);
            return;
        }
        let parent = s.parent;
        let seconds = self.at(parent).tcb.defer_accept();
        if seconds > 0 {
            let at = self.now() + Nanos::from_secs(u64::from(seconds));
            let s = self.at(index);
            s.set(SocketFlags::DEFERRED, true);
            s.tcb.release_at(at);
            self.schedule(index, at);
            return;
        }
        self.offer_child(index);
    }

    /// A child is ready to be accepted.
    fn offer_child(&mut self, index: u32) {
        let s = self.at(index);
        s.set(SocketFlags::DEFERRED, false);
        let parent = s.parent;
        self.unlink_child(index);
        self.link_child(parent, index, true);
        self.notify(parent, Ready::IN | Ready::RDNORM);
    }

    /// The connection is CLOSED: out of the flow table, and gone if nobody holds it and nothing is to be sent.
    fn on_closed(&mut self, index: u32) {
        self.remove_flow(index);
        let s = self.at(index);
        if s.has(SocketFlags::CHILD) && !s.has(SocketFlags::ACCEPTABLE) {
            self.unlink_child(index);
        }
        self.free_if_done(index);
    }

    /// After output: timers anew, and the end of a connection that only had its RST to send.
    pub(crate) fn after_output(&mut self, index: u32) {
        let tcb = &self.at(index).tcb;
        let (due, room) = (tcb.next_timeout(), tcb.sent_makes_room());
        self.schedule(index, due);
        if room {
            self.notify(index, Ready::OUT | Ready::WRNORM);
        }
        if self.at(index).has(SocketFlags::STAMPED) {
            self.tell_progress(index);
        }
        self.free_if_done(index);
    }

    pub(crate) fn free_if_done(&mut self, index: u32) {
        let s = self.at(index);
        let held = s.holders != 0 || s.has(SocketFlags::CHILD);
        if !held
            && s.kind() == Kind::Stream
            && s.tcb.state() == State::Closed
            && !s.tcb.wants_output()
        {
            self.free_socket(index);
        }
    }

    /// Looks at a socket whose time has come; returns the wire to flush if it has something to send.
    pub(crate) fn on_timer(&mut self, index: u32) -> Option<u32> {
        let now = self.now();
        let s = &mut self.sockets[index as usize];
        if s.kind() != Kind::Stream {
            return None;
        }
        let generation = s.generation;
        let events = s.tcb.on_timer(&mut Env {
            now,
            pool: &mut self.pool,
        });
        let suspicious = s.tcb.take_suspicion();
        let due = s.tcb.next_timeout();
        let waited = s.has(SocketFlags::DEFERRED) && !s.tcb.awaits_release();
        let unanswered = s.tcb.is_unanswered().then_some(s.hop);
        self.schedule(index, due);
        if let Some(hop) = unanswered {
            self.doubt_hop(hop);
        }
        if suspicious {
            self.pause_fast_open();
        }
        if waited {
            self.offer_child(index);
        }
        self.on_events(index, events);
        let s = self.at(index);
        (s.generation == generation && s.has(SocketFlags::PENDING)).then_some(s.wire)
    }

    /// Nobody holds a connection any more.
    fn end_connection(&mut self, index: u32) {
        let now = self.now();
        let s = &mut self.sockets[index as usize];
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        // SO_LINGER with a time of zero asks for a reset.
        let events = if s.linger == 1 {
            s.tcb.abort(&mut env)
        } else {
            s.tcb.close(&mut env)
        };
        let due = s.tcb.next_timeout();
        self.schedule(index, due);
        let generation = self.at(index).generation;
        self.on_events(index, events);
        if self.at(index).generation != generation {
            return;
        }
        match self.at(index).tcb.state() {
            State::Closed => self.on_closed(index),
            State::TimeWait => self.enter_time_wait(index),
            _ => {}
        }
    }

    /// What a connection is opened with, once its ends and its way are known.
    pub(crate) fn settings(&self, index: u32) -> Settings {
        let s = &self.sockets[index as usize];
        let packet = shorter(self.packet_bytes_max(s.wire, self.vlan(s.hop)), s.mtu);
        Settings {
            path_mss: self.path_mss(index),
            time_wait: if s.hop == NONE {
                TIME_WAIT
            } else {
                TIME_WAIT_NETWORK
            },
            ..self.offers_of(index, &s.remote, packet)
        }
    }

    /// What of it does not depend on the way, but for how long a packet may be: for a connection with the buffers of a socket.
    pub(crate) fn offers_of(&self, index: u32, remote: &Endpoint, packet: usize) -> Settings {
        let s = &self.sockets[index as usize];
        let offers = Offers::from_bits(self.header.offers, self.header.unsent_low);
        Settings {
            timestamps: offers.timestamps,
            window_scale: offers.window_scale,
            sack: offers.sack,
            ecn: offers.ecn,
            mss: mss(&remote.addr, packet).max(536),
            rcv_buf_bytes: s.rcv_buf_bytes,
            rcv_buf_bytes_max: s.rcv_buf_bytes.max(RCV_BUF_MOST),
            snd_buf_bytes: s.snd_buf_bytes,
            unsent_low: offers.unsent_low,
            slow_start_after_idle: offers.slow_start_after_idle,
            burst_segments: offers.burst_segments,
            ..Settings::default()
        }
    }

    /// Initial sequence number (RFC 6528) and timestamp offset of a connection.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "hash and clock are cut to 32 bits on purpose"
    )]
    pub(crate) fn secrets(&self, local: &Endpoint, remote: &Endpoint) -> (Seq, u32) {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.header.secret);
        hasher.write(&local.addr.0);
        hasher.write(&remote.addr.0);
        hasher.write_u32(u32::from(local.port) << 16 | u32::from(remote.port));
        let hash = hasher.finish();
        let clock = (self.now().0 / 4_000) as u32;
        (Seq((hash as u32).wrapping_add(clock)), (hash >> 32) as u32)
    }
}

fn from_tcp(error: tcp::Error) -> Error {
    match error {
        tcp::Error::Reset => Error::Reset,
        tcp::Error::Refused => Error::Refused,
        tcp::Error::TimedOut => Error::TimedOut,
        tcp::Error::BrokenPipe => Error::Pipe,
        tcp::Error::NetUnreachable => Error::NetUnreachable,
        tcp::Error::ProtocolUnreachable => Error::NoProtocol,
        _ => Error::Unreachable,
    }
}
