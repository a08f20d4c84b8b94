//! Probes on idle connections (RFC 9293 3.8.4, RFC 1122 4.2.3.6).

use crate::state::Events;
use crate::tcb::{Env, Marks, Tcb};
use crate::timer::Timer;
use sidestep_shm::Nanos;

/// `tcp_keepalive_time`, `tcp_keepalive_intvl`, `tcp_keepalive_probes`.
const IDLE_S: u16 = 7200;
const INTERVAL_S: u16 = 75;
const COUNT: u8 = 9;

impl Tcb {
    pub(crate) fn keepalive_idle_s(&self) -> u16 {
        if self.keep_idle_s == 0 {
            IDLE_S
        } else {
            self.keep_idle_s
        }
    }

    pub(crate) fn keepalive_interval_s(&self) -> u16 {
        if self.keep_interval_s == 0 {
            INTERVAL_S
        } else {
            self.keep_interval_s
        }
    }

    pub(crate) fn keepalive_count(&self) -> u8 {
        if self.keep_count == 0 {
            COUNT
        } else {
            self.keep_count
        }
    }

    /// Sets or clears the deadline as the option says.
    pub(crate) fn start_keepalive(&mut self, now: Nanos) {
        if self.is(Marks::KEEPALIVE) && self.state().is_synchronized() {
            let idle = Nanos::from_secs(u64::from(self.keepalive_idle_s()));
            self.deadlines.set(Timer::Keepalive, now + idle);
        } else {
            self.deadlines.clear(Timer::Keepalive);
        }
    }

    /// The deadline was set by an estimate: what came meanwhile only left its time, so look at that first.
    pub(crate) fn on_keepalive_deadline(&mut self, env: &mut Env<'_, '_>) -> Events {
        if !self.is(Marks::KEEPALIVE) {
            return Events::empty();
        }
        if self.is_outstanding() || self.has_unsent() {
            // The retransmission or persist timer finds out whether the peer lives.
            self.start_keepalive(env.now);
            return Events::empty();
        }
        let idle = Nanos::from_secs(u64::from(self.keepalive_idle_s()));
        if env.now - self.last_rx < idle {
            self.start_keepalive(self.last_rx);
            return Events::empty();
        }
        let user = Nanos::from_millis(u64::from(self.user_timeout_ms));
        let silent = if user == Nanos::ZERO {
            self.keep_probes >= self.keepalive_count()
        } else {
            self.keep_probes > 0 && env.now - self.last_rx >= user
        };
        if silent {
            let events = self.time_out(env);
            self.reset_in_sequence();
            return events;
        }
        self.keep_probes = self.keep_probes.saturating_add(1);
        self.marks.insert(Marks::PROBE_DUE);
        let interval = Nanos::from_secs(u64::from(self.keepalive_interval_s()));
        self.deadlines.set(Timer::Keepalive, env.now + interval);
        Events::empty()
    }
}
