//! What an acknowledgement does: SND.UNA, the send window, the round trip, and our FIN (RFC 9293 3.10.7.4, fifth).

use crate::state::{Events, State};
use crate::tcb::{Env, Marks, Tcb};
use crate::timer::{FIN_WAIT_2, Timer};
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
        if ack.gt(self.snd_max) {
            self.challenge(env.now);
            return None;
        }
        if ack.lt(self.snd_una) {
            if ack.lt(self.snd_una - self.snd_wnd_max) {
                // RFC 5961 section 5: too old to be the peer's.
                self.challenge(env.now);
                return None;
            }
            return Some(Events::empty());
        }
        let mut events = Events::empty();
        let window = self.window_of(seg);
        if ack != self.snd_una {
            let echo = seg.options.timestamps.map(|ts| ts.echo);
            events |= self.advance_una(env, ack, echo);
        } else if payload_len == 0
            && window == self.snd_wnd
            && !seg.flags.contains(Flags::FIN)
            && self.is_outstanding()
        {
            self.on_duplicate_ack();
        }
        if self.snd_wl1.lt(seg.seq) || (self.snd_wl1 == seg.seq && self.snd_wl2.le(ack)) {
            self.update_send_window(seg.seq, ack, window);
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

    /// Takes a newer window. One that has opened ends probing; one that answers a probe shows that the peer lives.
    #[inline]
    pub(crate) fn update_send_window(&mut self, seq: Seq, ack: Seq, window: u32) {
        let before = self.snd_wnd;
        self.take_window(seq, ack, window);
        if !self.is_outstanding() {
            self.retries = 0;
            if self.snd_wnd > before {
                self.backoff = 0;
                self.deadlines.clear(Timer::Retransmit);
            }
        }
        if self.has_unsent() {
            self.marks.insert(Marks::SEND_DUE);
        }
    }

    /// Whether queued data or a FIN has not been sent.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent_bytes() > 0 || self.fin_is_unsent()
    }

    /// Moves SND.UNA to `ack`, which acknowledges something new.
    #[inline]
    pub(crate) fn advance_una(
        &mut self,
        env: &mut Env<'_, '_>,
        ack: Seq,
        echo: Option<u32>,
    ) -> Events {
        let acked = ack.0.wrapping_sub(self.snd_una.0);
        let flight_before = self.flight_bytes();
        let queued = self.snd.len();
        let was_writable = self.writable();
        self.snd_una = ack;
        self.snd_nxt = self.snd_nxt.max(ack);
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
        self.on_progress(acked, flight_before);
        self.rearm_retransmit(env.now);
        if self.writable() && (!was_writable || self.is(Marks::NO_SPACE)) {
            self.marks.remove(Marks::NO_SPACE);
            return Events::WRITABLE;
        }
        Events::empty()
    }

    /// Our FIN is acknowledged: on from FIN-WAIT-1, CLOSING or LAST-ACK.
    fn on_fin_acked(&mut self, env: &mut Env<'_, '_>) -> Events {
        match self.state() {
            State::FinWait1 => {
                self.set_state(State::FinWait2);
                if self.is(Marks::ORPHANED) {
                    self.deadlines.set(Timer::Linger, env.now + FIN_WAIT_2);
                }
                Events::DRAINED
            }
            State::Closing => self.enter_time_wait(env) | Events::DRAINED,
            State::LastAck => self.finish(env) | Events::DRAINED,
            _ => Events::empty(),
        }
    }
}
