//! The deadlines of a connection, and what happens at each.
//!
//! Deadlines are plain times; nothing is registered anywhere. The stack asks for the earliest one when it has worked
//! on the connection, and calls [`Tcb::on_timer`] then or later; a call too early does nothing.

use crate::rtt::RTO_MAX;
use crate::state::{Error, Events, State};
use crate::tcb::{Env, Marks, Tcb};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest wait for an acknowledgement of ours (the least that Linux has).
pub(crate) const DELAYED_ACK: Nanos = Nanos::from_millis(40);
/// Longest that a corked partial segment is held (tcp(7)).
pub(crate) const CORK_MAX: Nanos = Nanos::from_millis(200);
/// Retransmissions for a connection that no program holds any more (`tcp_orphan_retries`).
const ORPHAN_RETRIES: u8 = 8;

/// What there is a deadline for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// Retransmission where something is outstanding, else the persist timer (RFC 6298; RFC 9293 3.8.6.1).
    Retransmit = 0,
    DelayedAck = 1,
    Cork = 2,
    Keepalive = 3,
    /// The end of TIME-WAIT, or of an orphan's FIN-WAIT-2.
    Linger = 4,
    /// When the next segment may leave, where they are spread over time.
    Release = 5,
}

const TIMERS: usize = 6;

/// What [`Timer::Retransmit`] is set for. Stored as a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// To send again, or to probe a closed window.
    Retransmission = 0,
    /// To probe the tail (RFC 8985 section 7).
    TailProbe = 1,
    /// To call lost what has not arrived by then (RFC 8985 section 6).
    Reordering = 2,
}

/// One deadline for each [`Timer`], [`Nanos::NEVER`] where it is not set.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Deadlines([Nanos; TIMERS]);

impl Deadlines {
    pub(crate) const NONE: Self = Self([Nanos::NEVER; TIMERS]);

    #[inline]
    pub(crate) const fn at(&self, timer: Timer) -> Nanos {
        self.0[timer as usize]
    }

    #[inline]
    pub(crate) const fn set(&mut self, timer: Timer, at: Nanos) {
        self.0[timer as usize] = at;
    }

    /// Sets a deadline that is not set yet.
    #[inline]
    pub(crate) fn set_if_idle(&mut self, timer: Timer, at: Nanos) {
        if self.at(timer) == Nanos::NEVER {
            self.set(timer, at);
        }
    }

    #[inline]
    pub(crate) const fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = Nanos::NEVER;
    }

    #[inline]
    fn earliest(&self) -> Nanos {
        self.0
            .iter()
            .fold(Nanos::NEVER, |earliest, at| earliest.min(*at))
    }

    /// Whether the deadline has come; it is cleared then.
    fn take_due(&mut self, timer: Timer, now: Nanos) -> bool {
        let due = self.at(timer) <= now;
        if due {
            self.clear(timer);
        }
        due
    }
}

impl Tcb {
    /// The earliest deadline, [`Nanos::NEVER`] if there is none.
    #[inline]
    pub fn next_timeout(&self) -> Nanos {
        if self.state == State::Closed as u8 {
            Nanos::NEVER
        } else {
            self.deadlines.earliest()
        }
    }

    /// The earliest of the deadlines that [`on_expected`](Self::on_expected) may have set; all others are where they were.
    #[inline]
    pub const fn plain_timeout(&self) -> Nanos {
        let (ack, again) = (
            self.deadlines.at(Timer::DelayedAck),
            self.deadlines.at(Timer::Retransmit),
        );
        if ack.0 < again.0 { ack } else { again }
    }

    /// Does what is due at `env.now`; harmless if nothing is.
    pub fn on_timer(&mut self, env: &mut Env<'_, '_>) -> Events {
        if self.state() == State::Closed {
            return self.events(Events::empty());
        }
        if self.deadlines.take_due(Timer::Linger, env.now) {
            return self.finish(env);
        }
        if self.deadlines.take_due(Timer::DelayedAck, env.now) && self.is(Marks::ACK_PENDING) {
            // The reply that was waited for did not come (RFC 5681 4.2).
            self.marks.remove(Marks::PINGPONG);
            self.marks.insert(Marks::ACK_NOW);
        }
        if self.deadlines.take_due(Timer::Cork, env.now) {
            self.marks.remove(Marks::MORE | Marks::HELD);
            self.marks.insert(Marks::UNCORKED | Marks::SEND_DUE);
        }
        if self.deadlines.take_due(Timer::Release, env.now) {
            self.marks.insert(Marks::SEND_DUE);
        }
        let mut events = Events::empty();
        if self.deadlines.take_due(Timer::Retransmit, env.now) {
            match core::mem::take(&mut self.wait) {
                wait if wait == Wait::TailProbe as u8 => self.on_tail_probe_deadline(env),
                wait if wait == Wait::Reordering as u8 => self.on_reordering_deadline(env),
                _ => events |= self.on_retransmit_deadline(env),
            }
        }
        if self.state() != State::Closed && self.deadlines.take_due(Timer::Keepalive, env.now) {
            events |= self.on_keepalive_deadline(env);
        }
        self.events(events)
    }

    /// What is due cannot leave, for the way to the peer is not known at the moment. The peer is waited for no longer for that:
    /// time counts as if it had been sent and lost. Handshakes wait for whoever looks for the way; the reset of a connection
    /// that has ended waits for nobody, which would be kept for it.
    #[cold]
    pub fn on_held_back(&mut self, now: Nanos) {
        if self.state() == State::Closed {
            self.marks.remove(Marks::OUTPUT);
            return;
        }
        let is_opening = matches!(self.state(), State::SynSent | State::SynReceived);
        let is_set = self.deadlines.at(Timer::Retransmit) != Nanos::NEVER;
        if is_opening || is_set || !(self.is_outstanding() || self.has_unsent()) {
            return;
        }
        if !self.is_outstanding() && self.retries == 0 {
            self.stalled_since = now;
        }
        self.wait_until(Wait::Retransmission, self.retransmit_at(now));
    }

    /// The retransmission timer (RFC 6298 5.4 to 5.7), or the persist timer when nothing is outstanding.
    fn on_retransmit_deadline(&mut self, env: &mut Env<'_, '_>) -> Events {
        let handshake =
            matches!(self.state(), State::SynSent | State::SynReceived) || self.is_half_open();
        let outstanding = self.is_outstanding() || handshake;
        if !outstanding && !self.has_unsent() {
            return Events::empty();
        }
        let gives_up = self.gives_up(env.now, handshake);
        self.suspect_fast_open(gives_up);
        if gives_up {
            return self.time_out(env);
        }
        self.retries = self.retries.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1);
        if handshake {
            self.marks.remove(Marks::RTT_TIMED);
            self.marks.insert(Marks::SYN_DUE);
        } else if outstanding {
            self.on_retransmission_timeout(env);
        } else {
            self.marks.insert(Marks::PROBE_DUE);
        }
        Events::empty()
    }

    /// Whether the peer has had its chances (RFC 9293 3.8.3, RFC 5482).
    fn gives_up(&self, now: Nanos, handshake: bool) -> bool {
        let retries_max = if handshake {
            self.syn_retries
        } else if self.is(Marks::ORPHANED) {
            self.data_retries.min(ORPHAN_RETRIES)
        } else {
            self.data_retries
        };
        if self.gives_up_probing() {
            return true;
        }
        let waited = now - self.stalled_since;
        let user = Nanos::from_millis(u64::from(self.user_timeout_ms));
        // With a user timeout of its own, a connection is not given up by count.
        if user != Nanos::ZERO {
            waited >= user
        } else {
            self.retries >= retries_max
        }
    }

    /// Whether an orphan has waited long enough for a closed window to open: until its probes are as seldom as they get (as
    /// Linux). A peer that answers them would have it wait for ever, and nobody is left who could end it.
    fn gives_up_probing(&self) -> bool {
        self.is(Marks::ORPHANED) && !self.is_outstanding() && self.rtt.rto(self.backoff) == RTO_MAX
    }

    /// Ends the connection because the peer is silent.
    pub(crate) fn time_out(&mut self, env: &mut Env<'_, '_>) -> Events {
        let error = Error::from_byte(self.soft_error).unwrap_or(Error::TimedOut);
        self.fail(env, error);
        Events::TIMED_OUT | Events::CLOSED
    }

    /// Starts the retransmission timer over (RFC 6298 5.3), or stops it when all is acknowledged.
    #[inline]
    pub(crate) fn rearm_retransmit(&mut self, now: Nanos) {
        self.counters.busy_ns += (now - self.stalled_since).0;
        if self.is_outstanding() {
            self.stalled_since = now;
            self.watch(now);
        } else {
            self.deadlines.clear(Timer::Retransmit);
        }
    }

    /// Sets the deadline that is right for what is outstanding now.
    #[inline]
    pub(crate) fn watch(&mut self, now: Nanos) {
        let at = self.retransmit_at(now);
        let probe = now + self.probe_after();
        if probe <= at && self.may_probe_tail() {
            self.wait_until(Wait::TailProbe, probe);
        } else {
            self.wait_until(Wait::Retransmission, at);
        }
    }

    #[inline]
    pub(crate) fn wait_until(&mut self, wait: Wait, at: Nanos) {
        self.wait = wait as u8;
        self.deadlines.set(Timer::Retransmit, at);
    }

    /// When to lose patience, from now on; not after the user timeout.
    #[inline]
    pub(crate) fn retransmit_at(&self, now: Nanos) -> Nanos {
        let at = now + self.rtt.rto(self.backoff);
        if self.user_timeout_ms == 0 {
            return at;
        }
        let limit = self.stalled_since + Nanos::from_millis(u64::from(self.user_timeout_ms));
        if limit > now { at.min(limit) } else { at }
    }
}
