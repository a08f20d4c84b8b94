//! Whether a segment may be believed: PAWS (RFC 7323 section 5), the window (RFC 9293 3.10.7.4, first check), and the
//! defences of RFC 5961 against blind resets, SYNs and data.

use crate::state::{Error, Events, State};
use crate::tcb::{Env, Marks, Rare, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr, Timestamps};

/// Least time between two answers to segments that should not have come (`tcp_invalid_ratelimit`; RFC 5961 section 7).
const CHALLENGE_INTERVAL: Nanos = Nanos::from_millis(500);
/// After this long without a word a timestamp says nothing (RFC 7323 5.5).
const PAWS_IDLE: Nanos = Nanos::from_secs(24 * 24 * 3600);

/// What the checks say about a segment.
pub(crate) enum Verdict {
    /// Go on with it.
    Accept,
    /// It has done all it may.
    Done(Events),
}

impl Tcb {
    /// Checks a segment in any synchronized state or SYN-RECEIVED. What needs an answer has got one due.
    pub(crate) fn validate(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        payload_len: usize,
    ) -> Verdict {
        let drop = Verdict::Done(Events::empty());
        let is_reset = seg.flags.contains(Flags::RST);
        if !is_reset && !self.passes_paws(seg, env.now) {
            if self.is(Marks::TIMESTAMPS) && seg.options.timestamps.is_some() {
                self.answer_unacceptable(seg, payload_len, env.now);
            }
            return drop;
        }
        if !self.is_in_window(seg, payload_len) && !self.is_simultaneous_open(seg) {
            if !is_reset {
                self.on_unacceptable(seg, payload_len, env.now);
            }
            return drop;
        }
        if is_reset {
            return Verdict::Done(self.on_reset(env, seg));
        }
        if seg.flags.contains(Flags::SYN) && !self.is_simultaneous_open(seg) {
            // RFC 5961 section 4: whatever its sequence number.
            self.challenge(env.now);
            return drop;
        }
        if !seg.flags.contains(Flags::ACK) {
            return drop;
        }
        Verdict::Accept
    }

    /// The timestamp is not older than the newest one in sequence (RFC 7323 5.3).
    pub(crate) fn passes_paws(&self, seg: &Repr, now: Nanos) -> bool {
        if !self.is(Marks::TIMESTAMPS) {
            return true;
        }
        let Some(ts) = seg.options.timestamps else {
            // RFC 7323 3.2 would rather have it dropped; Linux takes it, and so do peers count on it who lose options
            // on the way.
            return true;
        };
        !is_older(ts.value, self.ts_recent) || now - self.last_rx > PAWS_IDLE
    }

    /// RFC 9293 3.10.7.4, first: some part of the segment lies in the window. At a closed window, what begins at RCV.NXT
    /// is let through for its acknowledgement or RST; its text is dropped later.
    fn is_in_window(&self, seg: &Repr, payload_len: usize) -> bool {
        if seg.seq == self.rcv_nxt {
            return true;
        }
        let in_window = |seq: Seq| seq.ge(self.rcv_nxt) && seq.lt(self.rcv_adv);
        let seq_len = seg.seq_len(payload_len);
        if seq_len == 0 {
            // Who has filled our window acknowledges from its end: two who have filled each other's, and lost text of both,
            // would hear nothing of each other any more (as Linux).
            let is_ack = seg.flags & (Flags::ACK | Flags::RST) == Flags::ACK;
            return in_window(seg.seq) || (is_ack && seg.seq == self.rcv_adv);
        }
        in_window(seg.seq) || in_window(seg.seq + seq_len - 1)
    }

    /// The SYN-ACK of a peer that opened at the same time: its SYN is known already (RFC 9293 3.5).
    pub(crate) fn is_simultaneous_open(&self, seg: &Repr) -> bool {
        self.state() == State::SynReceived
            && !self.rare.contains(Rare::PASSIVE)
            && seg.flags.contains(Flags::SYN | Flags::ACK)
            && seg.seq == self.irs
            && seg.ack == self.snd_nxt
    }

    /// A segment outside of the window: an old one, a probe, or a forged one.
    fn on_unacceptable(&mut self, seg: &Repr, payload_len: usize, now: Nanos) {
        let state = self.state();
        let opening = state == State::SynReceived || self.is_half_open();
        if opening && seg.flags.contains(Flags::SYN) && seg.seq == self.irs {
            // The peer has not had our SYN-ACK.
            self.marks.insert(Marks::SYN_DUE);
            return;
        }
        if state == State::TimeWait
            && seg.flags.contains(Flags::FIN)
            && seg.seq + seg.seq_len(payload_len) == self.rcv_nxt
        {
            // The peer has not had our last acknowledgement (RFC 9293 3.10.7.4, eighth).
            self.marks.insert(Marks::ACK_NOW);
            self.restart_time_wait(now);
            return;
        }
        if payload_len > 0 && seg.seq.lt(self.rcv_nxt) && state.is_synchronized() {
            let end = seg.seq + u32::try_from(payload_len).unwrap_or(0);
            self.note_arrived_twice(seg.seq, end.min(self.rcv_nxt));
        }
        self.answer_unacceptable(seg, payload_len, now);
    }

    /// The acknowledgement that an unacceptable segment is owed. For one without text, or with a SYN, it is limited: so two
    /// ends never answer each other for ever, and a SYN gets its challenge as one in the window does (as Linux).
    fn answer_unacceptable(&mut self, seg: &Repr, payload_len: usize, now: Nanos) {
        if seg.seq_len(payload_len) > 0 && !seg.flags.contains(Flags::SYN) {
            self.marks.insert(Marks::ACK_NOW);
        } else {
            self.challenge(now);
        }
    }

    /// Sends a challenge acknowledgement, unless one was sent just now (RFC 5961 section 7).
    pub(crate) fn challenge(&mut self, now: Nanos) {
        if self.challenged_at != Nanos::ZERO && now - self.challenged_at < CHALLENGE_INTERVAL {
            self.counters.challenges_suppressed += 1;
            return;
        }
        self.challenged_at = now.max(Nanos(1));
        self.marks.insert(Marks::ACK_NOW);
    }

    /// A RST in the window: believed only at RCV.NXT (RFC 5961 section 3).
    fn on_reset(&mut self, env: &mut Env<'_, '_>, seg: &Repr) -> Events {
        if seg.seq != self.rcv_nxt {
            self.challenge(env.now);
            return Events::empty();
        }
        match self.state() {
            State::SynReceived if !self.rare.contains(Rare::PASSIVE) => {
                self.fail(env, Error::Refused);
                Events::REFUSED | Events::CLOSED
            }
            State::CloseWait => {
                self.fail(env, Error::BrokenPipe);
                Events::RESET | Events::CLOSED
            }
            State::TimeWait => self.finish(env),
            _ => {
                self.fail(env, Error::Reset);
                Events::RESET | Events::CLOSED
            }
        }
    }

    /// Keeps the newest timestamp of a segment that reaches what we acknowledged last (RFC 7323 4.3). One that is older, and
    /// was let through all the same, is where the peer's time begins anew (5.5).
    #[inline]
    pub(crate) fn take_timestamp(&mut self, seq: Seq, timestamps: Option<Timestamps>) {
        if self.is(Marks::TIMESTAMPS)
            && let Some(ts) = timestamps
            && (seq.le(self.rcv_acked) || is_older(ts.value, self.ts_recent))
        {
            self.ts_recent = ts.value;
        }
    }
}

/// Whether one timestamp is older than another, modulo 2^32.
#[inline]
pub(crate) const fn is_older(value: u32, than: u32) -> bool {
    value.wrapping_sub(than).cast_signed() < 0
}
