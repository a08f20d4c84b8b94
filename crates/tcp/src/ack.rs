//! What an acknowledgement does: SND.UNA, the send window, the round trip, and our FIN (RFC 9293 3.10.7.4, fifth).

use crate::recovery::{Acked, Phase};
use crate::state::{Events, State};
use crate::tcb::{Env, Marks, Rare, Tcb};
use crate::timer::Timer;
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr};

impl Tcb {
    /// Takes the acknowledgement and window of a valid segment. None if the segment is to be dropped.
    pub(crate) fn on_ack(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        payload_len: usize,
    ) -> Option<Events> {
        let ack = seg.ack;
        if ack.gt(self.snd_nxt) {
            self.challenge(env.now);
            return None;
        }
        if ack.lt(self.snd_una) {
            if ack.lt(self.snd_una - self.snd_wnd_max) {
                // RFC 5961 section 5: too old to be the peer's.
                self.challenge(env.now);
                return None;
            }
            self.on_overtaken_ack(env, seg);
            return Some(Events::empty());
        }
        let mut events = Events::empty();
        let window = self.window_of(seg);
        let mut acked = Acked {
            pipe_before: self.pipe_bytes(),
            echo: seg.options.timestamps.map(|ts| ts.echo),
            ..Acked::default()
        };
        let una = self.snd_una;
        if ack != una {
            acked.bytes = ack.0.wrapping_sub(una.0);
            acked.delivered = self.scoreboard.advance(env.pool, una, ack);
            events |= self.take_acknowledged(env, ack, acked.echo);
        } else {
            acked.duplicate = payload_len == 0
                && window == self.snd_wnd
                && !seg.flags.contains(Flags::FIN)
                && self.is_outstanding();
        }
        self.on_sack_blocks(env, ack, &seg.options.sack, &mut acked);
        if acked.bytes > 0 {
            self.rearm_retransmit(env.now);
        }
        let news = acked.bytes > 0 || acked.delivered.bytes > 0;
        self.on_echo(env, seg.flags, news);
        let undisturbed = self.phase == Phase::Open as u8
            && self.dup_acks == 0
            && !acked.duplicate
            && seg.options.sack.is_empty();
        if !undisturbed {
            self.on_disturbed_ack(env, &acked);
        } else if acked.bytes > 0 {
            let sent = acked.delivered.newest.map(|newest| newest.0);
            self.on_progress(env, acked.bytes, acked.pipe_before, (sent, acked.echo));
        }
        // Also what was overtaken, where it acknowledges more: its window belongs to that (as Linux; with the older one
        // counted from the newer SND.UNA we would send beyond any window that was offered).
        let newer = self.snd_wl1.lt(seg.seq) || (self.snd_wl1 == seg.seq && self.snd_wl2.le(ack));
        if acked.bytes > 0 || newer {
            self.update_send_window(seg.seq, ack, window, env.now);
        }
        if self.has_unsent() {
            // Also where the segment's window is not news: its acknowledgement may have made room.
            self.marks.insert(Marks::SEND_DUE);
        }
        if self.is(Marks::FIN_ACKED) {
            events |= self.on_fin_acked(env);
        }
        Some(events)
    }

    /// An acknowledgement that a newer one has overtaken: what it says of holes is news all the same.
    fn on_overtaken_ack(&mut self, env: &mut Env<'_, '_>, seg: &Repr) {
        let mut acked = Acked {
            pipe_before: self.pipe_bytes(),
            echo: seg.options.timestamps.map(|ts| ts.echo),
            ..Acked::default()
        };
        self.on_sack_blocks(env, seg.ack, &seg.options.sack, &mut acked);
        if acked.delivered.bytes > 0 || acked.repeated.is_some() {
            self.on_disturbed_ack(env, &acked);
        }
    }

    /// Takes a newer window. One that has opened ends probing; one that answers a probe shows that the peer lives.
    #[inline]
    pub(crate) fn update_send_window(&mut self, seq: Seq, ack: Seq, window: u32, now: Nanos) {
        let before = self.snd_wnd;
        self.take_window(seq, ack, window);
        if !self.is_outstanding() {
            self.retries = 0;
            if self.snd_wnd > before {
                if !self.is(Marks::ORPHANED) || self.fits_next() {
                    self.backoff = 0;
                }
                if self.deadlines.at(Timer::Retransmit) != Nanos::NEVER {
                    self.end_probing(now);
                }
            }
        }
        if self.has_unsent() {
            self.marks.insert(Marks::SEND_DUE);
        }
    }

    /// Whether the window has room for a whole segment, or for all there is to send.
    #[cold]
    fn fits_next(&self) -> bool {
        self.snd_wnd >= self.unsent_bytes().min(u32::from(self.mss))
    }

    /// The peer's window has opened for what waited for it, with nothing outstanding.
    #[cold]
    fn end_probing(&mut self, now: Nanos) {
        self.counters.busy_ns += (now - self.stalled_since).0;
        self.deadlines.clear(Timer::Retransmit);
    }

    /// Whether queued data or a FIN has not been sent.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent_bytes() > 0 || self.fin_is_unsent()
    }

    /// Moves SND.UNA to `ack`, which acknowledges something new, while nothing is amiss.
    #[inline]
    pub(crate) fn advance_una(
        &mut self,
        env: &mut Env<'_, '_>,
        ack: Seq,
        echo: Option<u32>,
    ) -> Events {
        let una = self.snd_una;
        let flight_before = self.flight_bytes();
        let sent = self
            .scoreboard
            .advance_undisturbed(env.pool, una, (ack, self.snd_nxt));
        let events = self.take_acknowledged(env, ack, echo);
        let acked = ack.0.wrapping_sub(una.0);
        self.on_progress(env, acked, flight_before, (sent, echo));
        self.rearm_retransmit(env.now);
        events
    }

    /// Moves SND.UNA and drops what is acknowledged from the queue.
    #[inline]
    fn take_acknowledged(&mut self, env: &mut Env<'_, '_>, ack: Seq, echo: Option<u32>) -> Events {
        let acked = ack.0.wrapping_sub(self.snd_una.0);
        let queued = self.snd.len();
        let was_writable = self.writable();
        self.snd_una = ack;
        let data = acked.min(queued);
        if data > 0 {
            self.snd.consume(env.pool, data, ack);
            self.counters.bytes_acked += u64::from(data);
        }
        if acked > queued && self.is(Marks::FIN_SENT) {
            self.marks.insert(Marks::FIN_ACKED);
        }
        self.retries = 0;
        self.measure_round_trip(ack, echo, env.now);
        let mut events = Events::empty();
        if self.is(Marks::NO_SPACE | Marks::SPECIAL | Marks::HELD) {
            events = self.on_awaited_ack(env, data);
        }
        if self.writable() && (!was_writable || self.is(Marks::NO_SPACE)) {
            self.marks.remove(Marks::NO_SPACE);
            events |= Events::WRITABLE;
        }
        events
    }

    /// SND.UNA has moved on, and something more than the queue depends on it.
    #[cold]
    fn on_awaited_ack(&mut self, env: &mut Env<'_, '_>, acked: u32) -> Events {
        // What a write with MSG_MORE has left waits no longer, as in Linux, though it is not pushed.
        self.marks.remove(Marks::HELD);
        if self.is(Marks::NO_SPACE) {
            self.grow_send_buffer(env, acked);
        }
        if !self.is(Marks::SPECIAL) {
            return Events::empty();
        }
        if self.snd.records != 0 {
            self.drop_records(env);
        }
        if self.rare.contains(Rare::WATCHED) {
            Events::ACKNOWLEDGED
        } else {
            Events::empty()
        }
    }

    /// Our FIN is acknowledged: on from FIN-WAIT-1, CLOSING or LAST-ACK.
    fn on_fin_acked(&mut self, env: &mut Env<'_, '_>) -> Events {
        match self.state() {
            State::FinWait1 => {
                self.set_state(State::FinWait2);
                if self.is(Marks::ORPHANED) {
                    return self.wait_for_fin(env) | Events::DRAINED;
                }
                Events::DRAINED
            }
            State::Closing => self.enter_time_wait(env) | Events::DRAINED,
            State::LastAck => self.finish(env) | Events::DRAINED,
            _ => Events::empty(),
        }
    }
}
