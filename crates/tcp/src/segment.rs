//! A segment arrives (RFC 9293 3.10.7.4): the fast path for the next expected one, and the steps for all others.

use crate::recv_queue::chunks_ahead_max;
use crate::state::{Events, State};
use crate::tcb::{Env, Marks, Tcb};
use crate::validate::{Verdict, is_older};
use sidestep_shm::{ChunkPool, Foreign, ForeignMut, Nanos};
use sidestep_wire::Seq;
use sidestep_wire::plain::Plain;
use sidestep_wire::tcp::{Flags, Repr};

/// Most text that IP carries.
const MESSAGE_MAX: usize = u16::MAX as usize;

/// Where a reader who waits wants the next bytes: they go there without a stop in the receive queue.
pub struct Sink<'s, 'm> {
    into: &'s mut ForeignMut<'m>,
    filled: usize,
}

impl<'s, 'm> Sink<'s, 'm> {
    /// Fills `into` from its start.
    pub const fn new(into: &'s mut ForeignMut<'m>) -> Self {
        Self { into, filled: 0 }
    }

    /// Bytes that it holds already.
    #[inline]
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// Takes as much of `payload` as there is room for. Returns how much.
    #[inline]
    pub fn fill(&mut self, payload: Foreign<'_>) -> usize {
        let n = self.into.skip(self.filled).copy_from_foreign(payload);
        self.filled += n;
        n
    }

    /// Takes all of `payload`, or nothing.
    #[inline]
    fn take(&mut self, payload: Foreign<'_>) -> bool {
        let fits = payload.len() <= self.into.len() - self.filled;
        if fits {
            self.fill(payload);
        }
        fits
    }
}

impl Tcb {
    /// Takes a segment for this connection, its checksum already verified.
    pub fn on_segment(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        payload: Foreign<'_>,
    ) -> Events {
        if let Some(plain) = Plain::of(seg)
            && self.expects(&plain, payload.len())
        {
            return self.on_expected_elsewhere(env, &plain, payload);
        }
        self.counters.segments_in += 1;
        let events = self.on_any_segment(env, seg, payload);
        self.events(events)
    }

    #[inline(never)]
    fn on_expected_elsewhere(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Plain,
        payload: Foreign<'_>,
    ) -> Events {
        self.on_expected(env, seg, payload, None)
    }

    /// Takes the next segment of an undisturbed connection, which it [expects](Self::expects): each check of the long way is
    /// known to pass. What a `sink` has room for goes there and is read already.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    pub fn on_expected(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Plain,
        payload: Foreign<'_>,
        sink: Option<&mut Sink<'_, '_>>,
    ) -> Events {
        debug_assert!(self.expects(seg, payload.len()));
        self.counters.segments_in += 1;
        let mut events = Events::empty();
        if let Some(ts) = seg.timestamps
            && self.rcv_acked == seg.seq
        {
            // What reaches beyond what we acknowledged last does not count (RFC 7323 4.3); it is not older, as was seen.
            self.ts_recent = ts.value;
        }
        self.last_rx = env.now;
        let window = u32::from(seg.window) << self.snd_wscale;
        if seg.ack != self.snd_una {
            events |= self.advance_una(env, seg.ack, seg.timestamps.map(|ts| ts.echo));
            self.update_send_window(seg.seq, seg.ack, window, env.now);
        } else if window != self.snd_wnd {
            self.update_send_window(seg.seq, seg.ack, window, env.now);
        } else {
            (self.snd_wl1, self.snd_wl2) = (seg.seq, seg.ack);
        }
        if !payload.is_empty() {
            let flags = if seg.push { Flags::PSH } else { Flags::empty() };
            let is_empty = self.rcv.len() == 0;
            if sink.is_some_and(|sink| is_empty && sink.take(payload)) {
                self.note_text(payload.len(), flags, env.now);
                self.note_read(env);
            } else {
                events |= self.append_text(env, flags, payload);
            }
        }
        self.events(events)
    }

    /// Whether a segment is the next one of an undisturbed connection (header prediction).
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "compared before")]
    pub fn expects(&self, seg: &Plain, payload_len: usize) -> bool {
        // Those that were not agreed on are for the long way.
        let timestamps = match seg.timestamps {
            Some(ts) if is_older(ts.value, self.ts_recent) => return false,
            Some(_) => Marks::TIMESTAMPS,
            None => Marks::empty(),
        };
        let marks = Marks::TIMESTAMPS | Marks::FIN_RECEIVED;
        let acked = seg.ack.0.wrapping_sub(self.snd_una.0);
        let sent = self.snd_nxt.0.wrapping_sub(self.snd_una.0);
        self.is_calm()
            && self.marks.intersection(marks) == timestamps
            && seg.seq == self.rcv_nxt
            && self.snd_wl1.le(seg.seq)
            && payload_len <= MESSAGE_MAX
            && (seg.seq + payload_len as u32).le(self.rcv_adv)
            && self.rcv.is_contiguous()
            && acked <= sent
            && (payload_len > 0 || acked > 0)
    }

    /// Appends text that begins at RCV.NXT and fits the window.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    fn append_text(&mut self, env: &mut Env<'_, '_>, flags: Flags, payload: Foreign<'_>) -> Events {
        let taken = self.rcv.append(env.pool, payload);
        if taken < payload.len() {
            return self.append_what_fits(env, flags, payload, taken);
        }
        self.note_text(taken, flags, env.now);
        Events::READABLE
    }

    /// The same where the pool was exhausted after so many bytes. What waits behind a hole is worth less than what is next.
    #[cold]
    fn append_what_fits(
        &mut self,
        env: &mut Env<'_, '_>,
        flags: Flags,
        payload: Foreign<'_>,
        mut taken: usize,
    ) -> Events {
        self.clear_ahead(env.pool);
        taken += self.rcv.append(env.pool, payload.skip(taken));
        if taken < payload.len() {
            self.counters.dropped_no_buffer += 1;
        }
        if taken == 0 {
            return Events::empty();
        }
        self.note_text(taken, flags, env.now);
        Events::READABLE
    }

    /// Moves RCV.NXT on over text that was kept.
    #[inline]
    fn note_text(&mut self, taken: usize, flags: Flags, now: Nanos) {
        self.counters.bytes_received += taken as u64;
        self.counters.data_segments_in += 1;
        #[expect(clippy::cast_possible_truncation, reason = "at most a window")]
        {
            self.rcv_nxt += taken as u32;
        }
        self.acknowledge_data(taken, flags, now);
    }

    #[inline]
    fn note_alive(&mut self, env: &Env<'_, '_>) {
        self.last_rx = env.now;
        self.keep_probes = 0;
    }

    fn on_any_segment(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        payload: Foreign<'_>,
    ) -> Events {
        match self.state() {
            State::Closed | State::Listen => {
                if !seg.flags.contains(Flags::RST) {
                    self.refuse(seg, payload.len());
                }
                return Events::empty();
            }
            State::SynSent => {
                self.last_rx = env.now;
                return self.on_segment_in_syn_sent(env, seg, payload);
            }
            _ => {}
        }
        match self.validate(env, seg, payload.len()) {
            Verdict::Accept => {}
            Verdict::Done(events) => return events,
        }
        let mut events = Events::empty();
        if self.state() == State::SynReceived {
            if !(seg.ack.gt(self.snd_una) && seg.ack.le(self.snd_nxt)) {
                self.reset_with(seg.ack);
                return events;
            }
            events |= self.open_from_both_ends(env, seg);
            self.on_third_segment(seg.flags, payload.len());
        }
        if self.is_half_open() {
            self.on_third_segment(seg.flags, payload.len());
            events |= self.complete_fast_open(env, seg);
        }
        self.note_marks(seg.flags);
        let Some(more) = self.on_ack(env, seg, payload.len()) else {
            return events;
        };
        events |= more;
        self.note_alive(env);
        self.take_timestamp(seg.seq, seg.options.timestamps);
        if self.state() == State::Closed {
            return events;
        }
        let seq = if seg.flags.contains(Flags::SYN) {
            seg.seq + 1
        } else {
            seg.seq
        };
        if self.urgent_in != 0 || seg.flags.contains(Flags::URG) {
            events |= self.on_urgent(env, seg, seq, payload);
        }
        events | self.on_text_and_fin(env, seq, seg.flags, payload)
    }

    /// Takes text and FIN of a valid segment whose first byte of text has number `seq` (3.10.7.4, seventh and eighth).
    pub(crate) fn on_text_and_fin(
        &mut self,
        env: &mut Env<'_, '_>,
        seq: Seq,
        flags: Flags,
        payload: Foreign<'_>,
    ) -> Events {
        let end = seq + u32::try_from(payload.len()).unwrap_or(0);
        let fin = flags.contains(Flags::FIN);
        if payload.is_empty() && !fin {
            return Events::empty();
        }
        if !self.state().can_receive() {
            // The peer has sent its FIN before: only repetitions can come, which are acknowledged again.
            self.marks.insert(Marks::ACK_NOW);
            if self.state() == State::TimeWait && fin {
                self.restart_time_wait(env.now);
            }
            return Events::empty();
        }
        if self.is(Marks::ORPHANED) && !payload.is_empty() && end.gt(self.rcv_nxt) {
            // Nobody will read it, and the peer must know (RFC 9293 3.6.1, RFC 2525 2.17): by a reset where the peer is, who
            // may not have had our FIN.
            let events = self.abort(env);
            self.reset_with(self.snd_una);
            return events;
        }
        let mut events = Events::empty();
        if !payload.is_empty() {
            events |= self.on_text(env, seq, flags, payload);
        }
        if fin && !self.is(Marks::FIN_RECEIVED) && end.ge(self.rcv_nxt) && end.le(self.rcv_adv) {
            self.marks.insert(Marks::FIN_RECEIVED);
            self.rcv_fin = end;
            if payload.is_empty() && end != self.rcv_nxt {
                self.counters.segments_ahead += 1;
            }
        }
        if fin && self.rcv_fin == end && end.gt(self.rcv_nxt) && self.is(Marks::SACK_PERMITTED) {
            // The peer is told of it as of text: it may be all that has come to say that what is before it is missing.
            self.blocks.add(end, end + 1);
        }
        if self.is(Marks::FIN_RECEIVED) {
            self.marks.insert(Marks::ACK_NOW);
            if self.rcv_nxt == self.rcv_fin {
                events |= self.on_fin(env);
            }
        }
        events
    }

    /// Takes text: what is new of it, as far as the window goes.
    fn on_text(
        &mut self,
        env: &mut Env<'_, '_>,
        seq: Seq,
        flags: Flags,
        payload: Foreign<'_>,
    ) -> Events {
        let known = usize::try_from(self.rcv_nxt - seq)
            .unwrap_or(0)
            .min(payload.len());
        let seq = seq.max(self.rcv_nxt);
        let edge = if self.is(Marks::FIN_RECEIVED) {
            self.rcv_fin
        } else {
            self.rcv_adv
        };
        let room = usize::try_from(edge - seq).unwrap_or(0);
        let new = payload.skip(known).first(room);
        if known > 0 || new.len() < payload.len() - known {
            // Repeated or beyond the window: the peer should hear at once where we are (RFC 5681 4.2).
            self.marks.insert(Marks::ACK_NOW);
        }
        if known > 0 {
            let from = seq - u32::try_from(known).unwrap_or(0);
            self.note_arrived_twice(from, seq);
        }
        if new.is_empty() {
            return Events::empty();
        }
        if seq != self.rcv_nxt {
            self.keep_ahead(env, seq, new);
            return Events::empty();
        }
        let hole = !self.rcv.is_contiguous();
        let events = self.append_text(env, flags, new);
        if hole {
            let before = self.rcv_nxt;
            self.rcv_nxt = self.rcv.advance(env.pool, before);
            self.blocks.advance(self.rcv_nxt);
            self.counters.bytes_received += u64::from(self.rcv_nxt.0.wrapping_sub(before.0));
            self.marks.insert(Marks::ACK_NOW);
        }
        events
    }

    /// Keeps text that came ahead of a hole, and tells the peer.
    fn keep_ahead(&mut self, env: &mut Env<'_, '_>, seq: Seq, text: Foreign<'_>) {
        self.marks.insert(Marks::ACK_NOW);
        self.counters.segments_ahead += 1;
        self.counters.data_segments_in += 1;
        let chunks_max = chunks_ahead_max(self.rcv_buf_bytes);
        let kept = self.rcv.insert_ahead(env.pool, seq, text, chunks_max);
        if self.is(Marks::SACK_PERMITTED) && kept > 0 {
            self.blocks.add(seq, seq + kept);
        }
    }

    /// Text came that was here already: with SACK the peer is told (RFC 2883).
    pub(crate) fn note_arrived_twice(&mut self, from: Seq, to: Seq) {
        if self.is(Marks::SACK_PERMITTED) {
            self.blocks.note_repeated(from, to);
        }
    }

    /// Drops what waits behind holes; the peer will not hear of it again.
    pub(crate) fn clear_ahead(&mut self, pool: &mut ChunkPool<'_>) {
        self.rcv.clear_ahead(pool);
        self.blocks.clear();
    }

    /// The peer's FIN is next in sequence (3.10.7.4, eighth).
    fn on_fin(&mut self, env: &mut Env<'_, '_>) -> Events {
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.clear_ahead(env.pool);
        let events = match self.state() {
            State::Established => {
                self.set_state(State::CloseWait);
                Events::empty()
            }
            State::FinWait1 if !self.is(Marks::FIN_ACKED) => {
                self.set_state(State::Closing);
                Events::empty()
            }
            _ => self.enter_time_wait(env),
        };
        events | Events::READABLE | Events::PEER_CLOSED
    }
}
