//! What to send next: new data as the windows, Nagle's algorithm and the cork allow, retransmissions, probes,
//! acknowledgements, resets (RFC 9293 3.7.4, 3.8.6.2.1).

use crate::congestion::Pause;
use crate::limited::By;
use crate::recovery::Phase;
use crate::recovery::scoreboard::ticks;
use crate::search::Probe;
use crate::send_queue::{Place, SendQueue};
use crate::state::State;
use crate::tcb::{Env, Marks, Rare, Tcb};
use crate::timer::{CORK_MAX, DELAYED_ACK, Timer, Wait};
use sidestep_shm::{ChunkPool, Foreign, ForeignMut, Nanos};
use sidestep_wire::Seq;
use sidestep_wire::plain::Plain;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};

/// A segment to send. It counts as sent once it was taken from [`Tcb::poll_transmit`].
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// Its header.
    pub repr: Repr,
    /// Bytes of payload.
    pub payload_len: usize,
    /// Whether its IP header is to say that we understand marks: ECT(0) (RFC 3168).
    pub ect: bool,
    place: Place,
}

impl Transmit {
    /// Takes in `next`, which was polled after this and goes on where it ends, if both are segments of one burst that
    /// differ in nothing but that: as one long segment, to be cut into such as were `cut` bytes long before. False where
    /// it must leave by itself.
    pub fn absorb(&mut self, next: &Self, cut: usize) -> bool {
        let (whole, last) = (self.repr, next.repr);
        let mut expected = whole;
        #[expect(clippy::cast_possible_truncation, reason = "less than 64 KiB")]
        let end = whole.seq + self.payload_len as u32;
        expected.seq = end;
        expected.flags |= last.flags & Flags::PSH;
        // What ends in a shorter one, or is pushed, ends there; marks of congestion are told once only.
        let is_open = self.payload_len.is_multiple_of(cut) && whole.flags == Flags::ACK;
        let fits = (1..=cut).contains(&next.payload_len) && next.ect == self.ect;
        if !is_open || !fits || last != expected {
            return false;
        }
        self.payload_len += next.payload_len;
        self.repr.flags = last.flags;
        true
    }

    /// Writes the payload from the send queue into `dst`. To be called before anything else is done with the
    /// connection. Returns how many bytes; `payload_len` if `dst` holds as many.
    #[inline]
    pub fn copy_payload(&self, pool: &ChunkPool<'_>, dst: &mut ForeignMut<'_>) -> usize {
        SendQueue::copy_from(pool, self.place, &mut dst.first(self.payload_len))
    }
}

/// A segment that was decided on; its header is built once, at the end.
#[derive(Clone, Copy)]
struct Outgoing {
    seq: Seq,
    flags: Flags,
    len: u32,
    place: Place,
    /// Holds data that was not sent before.
    fresh: bool,
}

impl Outgoing {
    #[inline]
    const fn bare(seq: Seq, flags: Flags) -> Self {
        Self {
            seq,
            flags,
            len: 0,
            place: Place::NOWHERE,
            fresh: false,
        }
    }
}

impl Tcb {
    /// Queues bytes to send. Returns how many: as many as the buffer and the pool have room for, none where the state
    /// does not allow to send. `push` is false where the program says that more follows (MSG_MORE).
    #[inline]
    pub fn send(&mut self, env: &mut Env<'_, '_>, src: Foreign<'_>, push: bool) -> usize {
        if !self.can_send() {
            return 0;
        }
        let room = self.buffer_room() as usize;
        // Who found no room is not let in by a smaller piece: full is full until there is room again.
        let bytes = if self.unsent_low == 0 && src.len() <= room && !self.is(Marks::NO_SPACE) {
            self.snd.append(env.pool, src)
        } else {
            let bytes = self.snd.append(env.pool, src.first(self.send_space()));
            self.rare.set(Rare::WRITER_WAITS, bytes < src.len());
            bytes
        };
        self.limited.set(By::Nothing, env.now);
        if bytes < src.len() {
            self.marks.insert(Marks::NO_SPACE);
        }
        self.marks.set(Marks::MORE | Marks::HELD, !push);
        self.marks.insert(Marks::SEND_DUE);
        bytes
    }

    /// Whether the state allows the program to send.
    #[inline]
    pub fn can_send(&self) -> bool {
        self.state().can_send() && !self.is(Marks::FIN_QUEUED)
    }

    /// Bytes until as much is queued as the buffer is told to have.
    #[inline]
    pub(crate) const fn buffer_room(&self) -> u32 {
        self.snd_buf_bytes.saturating_sub(self.snd.len())
    }

    /// Whether poll(2) should say so: as on Linux, when at least a third of the buffer is free, and less than half of
    /// what TCP_NOTSENT_LOWAT allows is unsent.
    #[inline]
    pub fn writable(&self) -> bool {
        let room = self.buffer_room();
        room >= self.snd.len() / 2
            && room > 0
            && (self.unsent_low == 0 || self.is_below_low())
            && !(self.is(Marks::NO_SPACE) && self.is_full_of_pieces())
    }

    #[cold]
    const fn is_below_low(&self) -> bool {
        self.unsent_bytes().saturating_mul(2) < self.unsent_low
    }

    /// Whether output may have made room below TCP_NOTSENT_LOWAT, which acknowledgements do not tell of.
    #[inline]
    pub fn sent_makes_room(&self) -> bool {
        self.unsent_low != 0 && self.unsent_low != u32::MAX && self.writable()
    }

    /// Asks for [`Events::WRITABLE`](crate::Events::WRITABLE) when there is room again, as a write that found none does.
    pub fn want_space(&mut self) {
        self.marks.insert(Marks::NO_SPACE);
        self.rare.insert(Rare::WRITER_WAITS);
    }

    /// Whether a segment of `bytes` is a whole one, and another one is queued behind it.
    #[inline]
    pub fn has_whole_unsent(&self, bytes: usize) -> bool {
        let mss = u32::from(self.mss);
        bytes == mss as usize && self.unsent_bytes() >= mss
    }

    /// Bytes queued and not yet acknowledged (SIOCOUTQ).
    pub const fn send_len(&self) -> usize {
        self.snd.len() as usize
    }

    /// Bytes queued and not yet sent (SIOCOUTQNSD).
    pub const fn unsent_len(&self) -> usize {
        self.unsent_bytes() as usize
    }

    /// The next segment to send; call until there is none. Taking it counts as sending: sequence numbers and timers
    /// move on.
    #[inline]
    pub fn poll_transmit(&mut self, env: &mut Env<'_, '_>) -> Option<Transmit> {
        if !self.wants_output() {
            return None;
        }
        let Some(segment) = self.next_segment(env) else {
            self.marks.remove(Marks::OUTPUT);
            return None;
        };
        self.counters.segments_out += 1;
        Some(Transmit {
            repr: self.header(segment, env.now),
            payload_len: segment.len as usize,
            ect: segment.len > 0 && segment.fresh && self.ecn.marks_welcome(),
            place: segment.place,
        })
    }

    #[inline]
    fn next_segment(&mut self, env: &mut Env<'_, '_>) -> Option<Outgoing> {
        if self.is(Marks::RST_DUE | Marks::SYN_DUE) {
            return self.special_segment(env);
        }
        match self.state() {
            State::Closed | State::Listen => return None,
            State::SynSent | State::SynReceived => return self.handshake_segment(env),
            _ => {}
        }
        if self.is(Marks::ACK_NOW) && self.blocks.any() {
            // Blocks go in segments of their own, so that text never has to make room for them.
            return Some(Outgoing::bare(self.snd_nxt, Flags::ACK));
        }
        if self.is(Marks::RETRANSMIT | Marks::TAIL_PROBE_DUE)
            && let Some(segment) = self.urgent_segment(env)
        {
            return Some(segment);
        }
        if self.is(Marks::SEND_DUE) {
            let lost = self.scoreboard.lost_bytes() > 0 && !self.asks_by_new_data();
            let segment = if lost {
                self.retransmit(env, false)
            } else {
                self.new_segment(env)
            };
            if segment.is_some() {
                // Where a program waits for room, it is told from this whether it is that which holds things up.
                let due = self.has_unsent()
                    || self.scoreboard.lost_bytes() > 0
                    || self.is(Marks::NO_SPACE);
                self.marks.set(Marks::SEND_DUE, due);
                return segment;
            }
            self.marks.remove(Marks::SEND_DUE);
        }
        if self.is(Marks::PROBE_DUE) {
            self.marks.remove(Marks::PROBE_DUE);
            return Some(self.probe_segment(env));
        }
        self.is(Marks::ACK_NOW)
            .then(|| Outgoing::bare(self.snd_nxt, Flags::ACK))
    }

    /// A RST, or a SYN, which goes before all else.
    #[cold]
    fn special_segment(&mut self, env: &mut Env<'_, '_>) -> Option<Outgoing> {
        if self.is(Marks::RST_DUE) {
            let acks = if self.rare.contains(Rare::RST_ACKS) {
                Flags::ACK
            } else {
                Flags::empty()
            };
            return Some(Outgoing::bare(self.reset_seq, Flags::RST | acks));
        }
        match self.state() {
            State::Closed | State::Listen => None,
            _ => self.handshake_segment(env),
        }
    }

    #[inline]
    fn new_segment(&mut self, env: &mut Env<'_, '_>) -> Option<Outgoing> {
        let Some((len, fin)) = self.plan_segment(env) else {
            if self.is(Marks::PACED) && self.unsent_bytes() == 0 {
                self.model_on_all_sent(env);
            }
            return None;
        };
        let begins = self.last_tx != env.now;
        let mut segment = self.data_segment(env, self.snd_nxt, len, fin);
        if len == u32::from(self.mss) && self.ends_burst(begins) {
            segment.flags |= Flags::PSH;
        }
        if self.phase != Phase::Open as u8 {
            self.note_sent_in_recovery(len);
        }
        Some(segment)
    }

    /// How much to send next: bytes, and whether the FIN goes with them. None while it is better, or necessary, to wait.
    #[inline]
    fn plan_segment(&mut self, env: &Env<'_, '_>) -> Option<(u32, bool)> {
        let now = env.now;
        let flight = self.flight_bytes();
        let unsent = self.unsent_bytes();
        let fin = self.fin_is_unsent();
        if unsent == 0 && !fin {
            if self.is(Marks::NO_SPACE) && self.rare.contains(Rare::WRITER_WAITS) && flight > 0 {
                self.limited.set(By::Buffer, now);
            }
            return None;
        }
        if self.is(Marks::PACED) && self.waits_for_pace(now) {
            return None;
        }
        self.revalidate_window(now);
        let window = self.snd_wnd.saturating_sub(flight);
        let congestion = self.congestion.cwnd.saturating_sub(self.pipe_bytes());
        if self.searches != 0 {
            match self.plan_probe(now, unsent, window.min(congestion)) {
                Probe::No => {}
                Probe::Wait => return None,
                Probe::Send(len) => return Some((len, false)),
            }
        }
        let mss = u32::from(self.mss);
        let mut next = unsent.min(mss);
        if self.is(Marks::SPECIAL) {
            next = self.within_record(env.pool, self.snd_nxt, next);
        }
        let len = next.min(window).min(congestion);
        if len < next {
            let by_peer = window < congestion;
            self.marks.set(Marks::CWND_LIMITED, !by_peer);
            return self.plan_squeezed(len, by_peer, now);
        }
        if window <= len && fin && unsent == 0 {
            // A lone FIN takes room in the peer's window, too.
            return self.plan_squeezed(0, true, now);
        }
        let whole = len == unsent;
        if whole && len < mss && !fin && self.holds_partial(now) {
            return None;
        }
        self.marks.remove(Marks::CWND_LIMITED);
        self.limited.set(By::Nothing, now);
        Some((len, fin && whole && window > len))
    }

    /// A window leaves room for part of a segment only: sent if that is much of what the peer ever offered
    /// (RFC 9293 3.8.6.2.1), else held; and the persist timer sees to it that it is not held for ever.
    fn plan_squeezed(&mut self, len: u32, by_peer: bool, now: Nanos) -> Option<(u32, bool)> {
        if by_peer {
            self.limited.set(By::Peer, now);
        }
        if by_peer && len > 0 && len >= self.snd_wnd_max / 2 {
            return Some((len, false));
        }
        if !self.is_outstanding() {
            if self.deadlines.at(Timer::Retransmit) == Nanos::NEVER {
                self.stalled_since = now;
            }
            if self.deadlines.at(Timer::Retransmit) == Nanos::NEVER {
                let at = self.retransmit_at(now);
                self.wait_until(Wait::Retransmission, at);
            }
        }
        None
    }

    /// Whether a partial segment at the end of the queue waits for more: under a cork for 200 ms at most, by Nagle's
    /// algorithm while another partial one is unacknowledged (Minshall's variant, as Linux).
    #[inline]
    fn holds_partial(&mut self, now: Nanos) -> bool {
        if self.is(Marks::CORK | Marks::HELD) && !self.is(Marks::UNCORKED) {
            self.deadlines.set_if_idle(Timer::Cork, now + CORK_MAX);
            return true;
        }
        !self.is(Marks::NODELAY | Marks::UNCORKED | Marks::URGENT)
            && self.snd_sml.gt(self.snd_una)
            && self.snd_sml.le(self.snd_nxt)
    }

    /// Forgets, bit by bit, a congestion window that was not used for long.
    #[inline]
    pub(crate) fn revalidate_window(&mut self, now: Nanos) {
        if self.congestion.is_review_due(now) {
            self.review_window(now);
        }
    }

    #[cold]
    fn review_window(&mut self, now: Nanos) {
        if self.has_model() {
            return;
        }
        let idle = if self.is_outstanding() {
            Nanos::ZERO
        } else {
            now - self.last_tx
        };
        let pause = Pause {
            idle,
            rto: self.rtt.rto(self.backoff),
            keeps: self.rare.contains(Rare::KEEPS_WINDOW),
        };
        self.congestion.review(now, u32::from(self.mss), pause);
    }

    /// Whether our FIN is due and SND.NXT has not passed it.
    #[inline]
    pub(crate) fn fin_is_unsent(&self) -> bool {
        self.is(Marks::FIN_QUEUED)
            && !self.is(Marks::FIN_ACKED)
            && self.state().is_synchronized()
            && self.flight_bytes() <= self.snd.len()
    }

    /// A segment with text, a FIN, or both, that begins at `seq`.
    #[inline]
    fn data_segment(&mut self, env: &mut Env<'_, '_>, seq: Seq, len: u32, fin: bool) -> Outgoing {
        let place = if len > 0 {
            self.snd.locate(env.pool, self.snd_una, seq)
        } else {
            Place::NOWHERE
        };
        let text_end = seq + len;
        let end = text_end + u32::from(fin);
        let fresh = seq == self.snd_nxt;
        let mut flags = Flags::ACK;
        if fin {
            flags |= Flags::FIN;
            self.marks.insert(Marks::FIN_SENT);
            self.rare.set(Rare::FIN_ALONE, len == 0);
        }
        if fresh {
            self.note_data_sent(env, end);
            if end == seq + 1 && fin && self.may_probe_tail() {
                // A FIN by itself has its own two round trips, as in Linux.
                self.watch(env.now);
            }
        } else {
            self.note_data_repeated(env, seq, end);
        }
        if fresh && len < u32::from(self.mss) {
            self.snd_sml = end;
        }
        if self.is(Marks::PACED) {
            self.note_paced(env, len);
        }
        let ends_record =
            self.is(Marks::SPECIAL) && len > 0 && self.ends_record(env.pool, text_end);
        if len > 0 && text_end == self.snd_una + self.snd.len() {
            flags.set(Flags::PSH, !self.is(Marks::MORE));
            self.deadlines.clear(Timer::Cork);
            self.marks.remove(Marks::UNCORKED);
        } else if ends_record {
            flags |= Flags::PSH;
        }
        Outgoing {
            seq,
            flags,
            len,
            place,
            fresh,
        }
    }

    /// A segment leaves of a connection that spreads them.
    #[cold]
    fn note_paced(&mut self, env: &mut Env<'_, '_>, len: u32) {
        let sent = self.scoreboard.last_sent(env.pool).unwrap_or(0);
        self.model_on_sent(env, len, sent);
        self.note_pace(len, env.now);
    }

    /// Moves the send sequence on over a segment, and sets the timers that watch it.
    #[inline]
    pub(crate) fn note_data_sent(&mut self, env: &mut Env<'_, '_>, end: Seq) {
        let now = env.now;
        self.counters.data_segments_out += 1;
        self.time_segment(end, now);
        self.scoreboard
            .push(env.pool, end, ticks(now), self.rtt.grain);
        let flight = self.flight_bytes();
        self.snd_nxt = end;
        if flight == 0 {
            self.stalled_since = now;
            self.watch(now);
        } else {
            // From the second segment on it is probed for sooner.
            let second = flight <= u32::from(self.mss);
            let due = second || self.wait == Wait::Retransmission as u8;
            if due && self.may_probe_tail() {
                self.watch(now);
            }
        }
        self.note_sent(now);
    }

    /// A segment goes once more.
    #[cold]
    fn note_data_repeated(&mut self, env: &mut Env<'_, '_>, seq: Seq, end: Seq) {
        self.counters.retransmits += 1;
        self.counters.data_segments_out += 1;
        self.counters.bytes_repeated += u64::from(end.0.wrapping_sub(seq.0));
        self.marks.remove(Marks::RTT_TIMED);
        self.note_repeated(env, seq, end);
        if seq == self.snd_una {
            let at = self.retransmit_at(env.now);
            self.wait_until(Wait::Retransmission, at);
        }
        self.note_sent(env.now);
    }

    #[inline]
    fn note_sent(&mut self, now: Nanos) {
        self.last_tx = now;
        if now - self.last_data_rx < DELAYED_ACK {
            self.marks.insert(Marks::PINGPONG);
        }
    }

    /// What does not wait for the windows: the first of what is lost, or a tail probe.
    #[cold]
    fn urgent_segment(&mut self, env: &mut Env<'_, '_>) -> Option<Outgoing> {
        if self.is(Marks::RETRANSMIT) {
            self.marks.remove(Marks::RETRANSMIT);
            if let Some(segment) = self.retransmit(env, true) {
                return Some(segment);
            }
        }
        let due = self.is(Marks::TAIL_PROBE_DUE);
        self.marks.remove(Marks::TAIL_PROBE_DUE);
        (due && self.is_outstanding()).then(|| self.tail_probe(env))
    }

    /// The first of what is lost, if the congestion window has room for it; `urgent` where it goes anyway. What lies
    /// beyond the peer's window, which it has taken back then, waits.
    #[cold]
    fn retransmit(&mut self, env: &mut Env<'_, '_>, urgent: bool) -> Option<Outgoing> {
        if !urgent && self.is(Marks::PACED) && self.waits_for_pace(env.now) {
            return None;
        }
        let (start, end) = self.scoreboard.first_lost(env.pool, self.snd_una)?;
        let mut len = end.0.wrapping_sub(start.0).min(u32::from(self.mss));
        if self.is(Marks::SPECIAL) {
            len = self.within_record(env.pool, start, len);
        }
        let room = self.congestion.cwnd.saturating_sub(self.pipe_bytes());
        let offered = (start + len).le(self.snd_una + self.snd_wnd);
        if !urgent && (len > room || (!offered && start != self.snd_una)) {
            return None;
        }
        Some(self.repeat(env, start, start + len))
    }

    /// What lies between two sequence numbers, once more; the FIN if it is among them.
    fn repeat(&mut self, env: &mut Env<'_, '_>, start: Seq, end: Seq) -> Outgoing {
        let text_end = self.snd_una + self.snd.len();
        let fin = self.is(Marks::FIN_SENT) && end.gt(text_end);
        let len = end.min(text_end).0.wrapping_sub(start.0);
        let mut segment = self.data_segment(env, start, len, fin);
        if len != 0 && len == u32::from(self.opening.text_bytes()) && start == self.iss + 1 {
            // What a SYN brought is pushed, as it was then.
            segment.flags |= Flags::PSH;
        } else if self.ended_burst(end) && self.scoreboard.goes_on_at(env.pool, self.snd_una, start)
        {
            // As it was then, where it does not go alone now.
            segment.flags |= Flags::PSH;
        }
        segment
    }

    /// New data if the peer has room for it, else the last segment again (RFC 8985 7.3): the FIN by itself where it went so.
    fn tail_probe(&mut self, env: &mut Env<'_, '_>) -> Outgoing {
        let window = self.snd_wnd.saturating_sub(self.flight_bytes());
        let len = self.unsent_bytes().min(window).min(u32::from(self.mss));
        let again = len == 0;
        let segment = if again {
            let last = if self.rare.contains(Rare::FIN_ALONE) {
                1
            } else {
                self.flight_bytes().min(u32::from(self.mss))
            };
            self.repeat(env, self.snd_nxt - last, self.snd_nxt)
        } else {
            let fin = self.fin_is_unsent() && len == self.unsent_bytes() && window > len;
            self.data_segment(env, self.snd_nxt, len, fin)
        };
        self.note_tail_probe(self.snd_nxt, again);
        segment
    }

    /// Asks a silent peer for an acknowledgement: with what its window has room for, else with an old sequence number
    /// (as Linux; RFC 9293 3.8.6.1 and 3.8.4).
    #[cold]
    fn probe_segment(&mut self, env: &mut Env<'_, '_>) -> Outgoing {
        let window = self.snd_wnd.saturating_sub(self.flight_bytes());
        let len = self.unsent_bytes().min(window).min(u32::from(self.mss));
        if len > 0 && !self.is_outstanding() {
            return self.data_segment(env, self.snd_nxt, len, false);
        }
        if self.has_unsent() && !self.is_outstanding() {
            let at = self.retransmit_at(env.now);
            self.wait_until(Wait::Retransmission, at);
        }
        self.counters.probes += 1;
        Outgoing::bare(self.snd_una - 1, Flags::ACK)
    }

    /// SYN, or SYN-ACK. In SYN-RECEIVED also plain acknowledgements.
    #[cold]
    fn handshake_segment(&mut self, env: &mut Env<'_, '_>) -> Option<Outgoing> {
        if !self.is(Marks::SYN_DUE) {
            let ack_due = self.is(Marks::ACK_NOW) && self.state() == State::SynReceived;
            return ack_due.then(|| Outgoing::bare(self.snd_nxt, Flags::ACK));
        }
        self.marks.remove(Marks::SYN_DUE);
        let end = self.iss + 1;
        let again = if self.is_half_open() {
            self.note_syn_ack_sent()
        } else {
            self.snd_nxt != self.iss
        };
        let mut len = 0;
        if again {
            self.counters.retransmits += 1;
            self.marks.remove(Marks::RTT_TIMED);
            self.give_up_fast_open();
        } else {
            self.time_segment(end, env.now);
            len = self.take_syn_text();
        }
        self.snd_nxt = self.snd_nxt.max(end + len);
        let at = self.retransmit_at(env.now);
        self.wait_until(Wait::Retransmission, at);
        let acks = self.state() != State::SynSent;
        let flags = if acks {
            Flags::SYN | Flags::ACK
        } else {
            Flags::SYN
        };
        let ecn = self.ecn_syn_flags(acks);
        Some(Outgoing {
            len,
            place: if len > 0 {
                self.snd.locate(env.pool, end, end)
            } else {
                Place::NOWHERE
            },
            ..Outgoing::bare(self.iss, flags | ecn)
        })
    }

    /// The header of a segment that leaves now. What it acknowledges and announces is noted.
    #[inline]
    fn header(&mut self, segment: Outgoing, now: Nanos) -> Repr {
        let mut repr = Repr {
            src_port: self.local_port,
            dst_port: self.remote_port,
            seq: segment.seq,
            ack: self.rcv_nxt,
            flags: segment.flags,
            window: 0,
            urgent: 0,
            options: Options::default(),
        };
        if segment.flags.intersects(Flags::SYN | Flags::RST) {
            self.finish_special_header(&mut repr, now);
            return repr;
        }
        if segment.len == 0 && self.blocks.any() {
            repr.options.sack = self.blocks.take();
        }
        repr.flags |= self.ecn_flags(segment.fresh, segment.len);
        if self.is(Marks::URGENT) {
            self.put_urgent(&mut repr);
        }
        let plain = self.plain_header(now);
        repr.window = plain.window;
        repr.options.timestamps = plain.timestamps;
        repr
    }

    /// What the header of a segment says that leaves now and is neither SYN nor RST; its sequence number is the caller's.
    #[inline]
    pub(crate) fn plain_header(&mut self, now: Nanos) -> Plain {
        let plain = Plain {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            window: self.announce_window(),
            push: false,
            timestamps: self.timestamps_option(now),
        };
        if self.quick_acks > 0 && self.is(Marks::ACK_NOW | Marks::ACK_PENDING) {
            self.quick_acks -= 1;
        }
        self.note_ack_sent();
        plain
    }

    /// The rest of the header of a SYN or RST.
    #[cold]
    fn finish_special_header(&mut self, repr: &mut Repr, now: Nanos) {
        let acks = repr.flags.contains(Flags::ACK);
        if repr.flags.contains(Flags::RST) {
            self.marks.remove(Marks::RST_DUE);
            repr.ack = if acks { self.reset_ack } else { Seq(0) };
            if acks {
                // RFC 7323 3.2.
                repr.options.timestamps = self.timestamps_option(now);
            }
            return;
        }
        repr.window = self.announce_syn_window();
        repr.options = self.syn_options(now);
        if acks {
            self.note_ack_sent();
        } else {
            repr.ack = Seq(0);
        }
    }

    #[inline]
    pub(crate) fn timestamps_option(&self, now: Nanos) -> Option<Timestamps> {
        self.is(Marks::TIMESTAMPS).then(|| self.timestamps(now))
    }

    #[inline]
    pub(crate) const fn timestamps(&self, now: Nanos) -> Timestamps {
        Timestamps {
            value: self.ts_now(now),
            echo: self.ts_recent,
        }
    }
}
