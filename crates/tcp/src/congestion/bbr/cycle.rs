//! The states of BBR, and when one follows another (section 4.3): Startup, Drain, the four phases in which the bandwidth
//! is probed, and the look at the empty path's round trip.

use super::{Bbr, INFINITE, On};
use sidestep_shm::Nanos;

/// Gains by a hundred: of the pacing rate over the bandwidth, of the window over the path's product.
const STARTUP_PACING: u64 = 277;
const CWND: u64 = 200;
/// Least growth by a hundred in a round trip that says that the pipe is not full, and rounds without.
const FULL_GROWTH: u64 = 125;
const FULL_ROUNDS: u32 = 3;
/// Events of loss in a round trip that end Startup, where the loss rate is high.
const FULL_LOSSES: u32 = 6;
/// Rounds after which Drain ends whatever is in flight.
const DRAIN_ROUNDS: u32 = 3;
/// Reno's period, as far as there is to be coexistence with it.
const RENO_ROUNDS_MAX: u32 = 63;
const PROBE_RTT_INTERVAL: Nanos = Nanos::from_secs(5);
const PROBE_RTT_SPAN: Nanos = Nanos::from_millis(200);
const MIN_RTT_LASTS: Nanos = Nanos::from_secs(10);
/// Share of the long-term limit by a hundred that is left to others.
const HEADROOM: u32 = 15;

/// The states. Stored as a byte; one that is none of them reads as [`Mode::Startup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    Startup = 0,
    Drain = 1,
    Down = 2,
    Cruise = 3,
    Refill = 4,
    Up = 5,
    ProbeRtt = 6,
}

impl Mode {
    pub(super) const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Drain,
            2 => Self::Down,
            3 => Self::Cruise,
            4 => Self::Refill,
            5 => Self::Up,
            6 => Self::ProbeRtt,
            _ => Self::Startup,
        }
    }

    /// One of the phases in which the bandwidth is probed from time to time.
    pub(super) const fn probes_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// Sends more than is known to arrive, or will.
    pub(super) const fn accelerates(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }

    /// Gains of pacing rate and window, by a hundred.
    pub(super) const fn gains(self) -> (u64, u64) {
        match self {
            Self::Startup => (STARTUP_PACING, CWND),
            Self::Drain => (50, CWND),
            Self::Down => (90, CWND),
            Self::Cruise | Self::Refill => (100, CWND),
            Self::Up => (125, 225),
            Self::ProbeRtt => (100, 50),
        }
    }
}

/// What the acknowledgements at hand are answers to. Stored as a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Acks {
    /// No probing.
    Init = 0,
    /// Sending at the estimated bandwidth to fill the pipe.
    Refilling = 1,
    /// More is in flight from now on.
    Starting = 2,
    /// Feedback of that comes in.
    Feedback = 3,
    /// Probing has stopped, feedback still comes in.
    Stopping = 4,
}

impl Bbr {
    pub(super) const fn mode(&self) -> Mode {
        Mode::from_byte(self.mode)
    }

    const fn enter(&mut self, mode: Mode) {
        self.mode = mode as u8;
    }

    const fn acks(&mut self, phase: Acks) {
        self.ack_phase = phase as u8;
    }

    const fn acks_are(&self, phase: Acks) -> bool {
        self.ack_phase == phase as u8
    }

    pub(super) const fn start_round(&mut self) {
        self.next_round_delivered = self.sampler.delivered;
    }

    /// Whether the bandwidth no longer grows (4.3.1.2).
    pub(super) fn check_full_bw(&mut self, on: &On) {
        if self.full_bw_now != 0 || self.round_start == 0 || on.sample.is_app_limited {
            return;
        }
        if on.sample.rate * 100 >= self.full_bw * FULL_GROWTH {
            self.reset_full_bw(on.sample.rate);
            return;
        }
        self.full_bw_count += 1;
        if self.full_bw_count >= FULL_ROUNDS {
            (self.full_bw_now, self.full_bw_reached) = (1, 1);
        }
    }

    const fn reset_full_bw(&mut self, rate: u64) {
        (self.full_bw, self.full_bw_count, self.full_bw_now) = (rate, 0, 0);
    }

    /// Ends Startup where the pipe is full or loses much (4.3.1.3), and Drain where the queue is gone.
    pub(super) fn check_startup_and_drain(&mut self, on: &On) {
        let loses = self.loss_round_start != 0
            && on.in_recovery
            && self.losses_in_round >= if on.has_sack { FULL_LOSSES } else { 1 };
        if self.mode() == Mode::Startup
            && self.full_bw_reached == 0
            && loses
            && self.is_inflight_too_high(on)
        {
            self.undo_mode = Mode::Startup as u8 + 1;
            self.full_bw_reached = 1;
            self.inflight_long = self.bdp(on).max(self.inflight_latest);
        }
        if self.mode() == Mode::Startup && self.full_bw_reached != 0 {
            self.enter(Mode::Drain);
            self.drain_start_round = self.round_count;
        }
        let drained = on.inflight <= self.inflight_at(100, on)
            || self.round_count > self.drain_start_round + DRAIN_ROUNDS;
        if self.mode() == Mode::Drain && drained {
            self.start_down(on);
        }
    }

    pub(super) fn start_down(&mut self, on: &On) {
        self.reset_congestion_signals();
        self.up_acked_per_inc = INFINITE;
        // A random wait, so that flows do not probe together.
        self.rounds_since_up = self.random() & 1;
        self.probe_wait = Nanos::from_millis(2000 + u64::from(self.random() % 1000));
        self.cycle_began = on.now;
        self.acks(Acks::Stopping);
        self.start_round();
        self.enter(Mode::Down);
    }

    pub(super) fn start_refill(&mut self) {
        self.reset_short_term();
        (self.up_rounds, self.up_acked) = (0, 0);
        self.probe_precautionary = 0;
        self.acks(Acks::Refilling);
        self.start_round();
        self.enter(Mode::Refill);
    }

    fn start_up(&mut self, on: &On) {
        self.acks(Acks::Starting);
        self.start_round();
        self.reset_full_bw(on.sample.rate);
        self.enter(Mode::Up);
        self.raise_slope(on);
    }

    /// The cycle (4.3.3).
    pub(super) fn update_cycle(&mut self, on: &On) {
        if self.full_bw_reached == 0 || self.adapt_long_term(on) || !self.mode().probes_bw() {
            return;
        }
        match self.mode() {
            Mode::Down | Mode::Cruise if self.is_time_to_probe(on) => self.start_refill(),
            Mode::Down => {
                let room = on.inflight <= self.with_headroom(on)
                    && on.inflight <= self.quantized(self.product(self.max_bw(), 100, on), on);
                if room {
                    self.enter(Mode::Cruise);
                }
            }
            Mode::Refill if self.round_start != 0 => {
                // After a round trip the pipe is full.
                self.is_probe_sample = 1;
                self.start_up(on);
            }
            Mode::Up if self.is_time_to_go_down(on) => {
                self.probe_too_high = 0;
                self.start_down(on);
            }
            _ => {}
        }
    }

    fn is_time_to_probe(&self, on: &On) -> bool {
        let target = self.bdp(on).min(on.cwnd) / on.mss.max(1);
        on.now > self.cycle_began + self.probe_wait
            || self.rounds_since_up >= target.min(RENO_ROUNDS_MAX)
    }

    const fn is_time_to_go_down(&mut self, on: &On) -> bool {
        if self.probe_too_high != 0 && on.inflight >= self.inflight_long {
            self.probe_precautionary = 1;
            return true;
        }
        if on.is_cwnd_limited && on.cwnd >= self.inflight_long {
            self.reset_full_bw(on.sample.rate);
            return false;
        }
        self.full_bw_now != 0
    }

    /// What may be in flight with room left for others.
    pub(super) fn with_headroom(&self, on: &On) -> u32 {
        if self.inflight_long == INFINITE {
            return INFINITE;
        }
        let part = u64::from(self.inflight_long) * u64::from(HEADROOM) / 100;
        let headroom = u32::try_from(part).unwrap_or(INFINITE).max(on.mss);
        self.inflight_long
            .saturating_sub(headroom)
            .max(on.least_cwnd())
    }

    fn raise_slope(&mut self, on: &On) {
        let growth = 1_u32 << self.up_rounds.min(30);
        self.up_rounds = (self.up_rounds + 1).min(30);
        self.up_acked_per_inc = (on.cwnd / growth).max(on.mss);
    }

    fn probe_long_term_upward(&mut self, on: &On) {
        if !on.is_cwnd_limited || on.cwnd < self.inflight_long {
            return;
        }
        self.up_acked = self.up_acked.saturating_add(on.delivered);
        if self.up_acked >= self.up_acked_per_inc {
            let steps = self.up_acked / self.up_acked_per_inc;
            self.up_acked -= steps * self.up_acked_per_inc;
            self.inflight_long = self
                .inflight_long
                .saturating_add(steps.saturating_mul(on.mss));
        }
        if self.round_start != 0 {
            self.raise_slope(on);
        }
    }

    /// What probing taught of the long-term limit; true where the state is decided by that.
    fn adapt_long_term(&mut self, on: &On) -> bool {
        if self.acks_are(Acks::Starting) && self.round_start != 0 {
            self.acks(Acks::Feedback);
        }
        if self.acks_are(Acks::Stopping) && self.round_start != 0 {
            self.is_probe_sample = 0;
            self.acks(Acks::Init);
            if self.mode().probes_bw() && !on.sample.is_app_limited {
                self.advance_max_bw();
            }
            if self.mode().probes_bw() && self.probe_precautionary != 0 && self.probe_too_high == 0
            {
                self.start_refill();
                return true;
            }
        }
        if on.sample.is_some && !self.is_inflight_too_high(on) && self.inflight_long != INFINITE {
            self.inflight_long = self.inflight_long.max(on.sample.inflight);
            if self.mode() == Mode::Up {
                self.probe_long_term_upward(on);
            }
        }
        false
    }

    /// More was lost while probing than the path's queue should lose.
    pub(super) fn on_inflight_too_high(&mut self, on: &On, inflight: u32, app_limited: bool) {
        self.probe_too_high = 1;
        self.is_probe_sample = 0;
        if !app_limited {
            let target = self.bdp(on).min(on.cwnd);
            self.inflight_long = inflight.max(super::beta(target));
        }
        if self.mode() == Mode::Up {
            self.undo_mode = Mode::Up as u8 + 1;
            self.start_down(on);
        }
    }

    /// The least round trip, and whether it is old (4.3.4).
    pub(super) fn update_min_rtt(&mut self, on: &On) {
        self.probe_rtt_expired = u8::from(on.now > self.probe_rtt_min_at + PROBE_RTT_INTERVAL);
        if let Some(rtt) = on.rtt
            && (rtt < self.probe_rtt_min || self.probe_rtt_expired != 0)
        {
            (self.probe_rtt_min, self.probe_rtt_min_at) = (rtt, on.now);
        }
        let expired = on.now > self.min_rtt_at + MIN_RTT_LASTS;
        if self.probe_rtt_min < self.min_rtt || expired {
            (self.min_rtt, self.min_rtt_at) = (self.probe_rtt_min, self.probe_rtt_min_at);
        }
    }

    /// Empties the path for a moment where its round trip was not seen for long. Returns the window to go back to.
    pub(super) fn check_probe_rtt(&mut self, on: &On) -> Option<u32> {
        if self.mode() != Mode::ProbeRtt && self.probe_rtt_expired != 0 && self.idle_restart == 0 {
            self.save_cwnd(on.cwnd, on.in_recovery);
            self.enter(Mode::ProbeRtt);
            self.probe_rtt_done_at = Nanos::ZERO;
            self.acks(Acks::Stopping);
            self.start_round();
        }
        let mut back = None;
        if self.mode() == Mode::ProbeRtt {
            self.sampler.mark_app_limited(on.inflight);
            if self.probe_rtt_done_at == Nanos::ZERO {
                if on.inflight <= self.probe_rtt_cwnd(on) {
                    self.probe_rtt_done_at = on.now + PROBE_RTT_SPAN;
                    self.probe_rtt_round_done = 0;
                    self.start_round();
                }
            } else {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done != 0 {
                    back = self.check_probe_rtt_done(on);
                }
            }
        }
        if on.delivered > 0 {
            self.idle_restart = 0;
        }
        back
    }

    pub(super) fn check_probe_rtt_done(&mut self, on: &On) -> Option<u32> {
        let done = self.probe_rtt_done_at != Nanos::ZERO && on.now > self.probe_rtt_done_at;
        if !done {
            return None;
        }
        self.probe_rtt_min_at = on.now;
        self.reset_short_term();
        if self.full_bw_reached != 0 {
            self.start_down(on);
            self.enter(Mode::Cruise);
        } else {
            self.enter(Mode::Startup);
        }
        Some(self.prior_cwnd)
    }

    /// The losses that changed the state were none.
    pub(super) fn back_to_probing(&mut self) {
        self.reset_full_bw(0);
        let undo = core::mem::take(&mut self.undo_mode);
        if self.mode() == Mode::ProbeRtt {
            return;
        }
        if undo == Mode::Startup as u8 + 1 && self.mode() != Mode::Startup {
            self.full_bw_reached = 0;
            self.enter(Mode::Startup);
        } else if undo == Mode::Up as u8 + 1 && self.mode() != Mode::Up {
            self.start_refill();
        }
    }
}
