//! What BBR believes of the path: how much it carries, how much may be in flight for long and for now (sections 4.5
//! and 4.6), and the window and the rate that follow.

use super::cycle::Mode;
use super::{Bbr, INFINITE, On, beta};

/// The loss rate by a hundred that a queue may have.
const LOSS_THRESHOLD: u64 = 2;
/// Rounds of half the window in which the largest burst of acknowledgements is remembered.
const EXTRA_ACKED_ROUNDS: u32 = 5;
/// What the pacing rate leaves of the bandwidth, by a hundred, so that queues drain in the end.
const PACED: u64 = 99;
/// Bytes that leave together at most, and how many such lots are in flight at least.
const QUANTUM_MAX: u64 = 64 << 10;
const QUANTA: u64 = 3;

impl Bbr {
    pub(super) fn max_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    /// A cycle of probing is over: the one before the last is forgotten.
    pub(super) const fn advance_max_bw(&mut self) {
        if self.max_bw[1] != 0 {
            self.max_bw = [self.max_bw[1], 0];
        }
    }

    pub(super) fn update_latest_signals(&mut self, on: &On) {
        let sample = &on.sample;
        self.loss_round_start = 0;
        self.bw_latest = self.bw_latest.max(sample.rate);
        self.inflight_latest = self.inflight_latest.max(sample.delivered);
        let ahead = sample
            .prior_delivered
            .wrapping_sub(self.loss_round_delivered);
        if sample.is_some && ahead.cast_signed() >= 0 {
            self.loss_round_delivered = self.sampler.delivered;
            self.loss_round_start = 1;
        }
    }

    pub(super) const fn advance_latest_signals(&mut self, on: &On) {
        if self.loss_round_start != 0 {
            self.bw_latest = on.sample.rate;
            self.inflight_latest = on.sample.delivered;
        }
    }

    pub(super) const fn reset_congestion_signals(&mut self) {
        (self.loss_in_round, self.bw_latest, self.inflight_latest) = (0, 0, 0);
    }

    pub(super) const fn reset_short_term(&mut self) {
        (self.bw_short, self.inflight_short) = (u64::MAX, INFINITE);
    }

    /// The bandwidth, rounds, and once a round what its losses mean.
    pub(super) fn update_congestion_signals(&mut self, on: &On) {
        let sample = &on.sample;
        self.round_start = 0;
        let ahead = sample
            .prior_delivered
            .wrapping_sub(self.next_round_delivered);
        if sample.is_some && ahead.cast_signed() >= 0 {
            self.start_round();
            self.round_count = self.round_count.wrapping_add(1);
            self.rounds_since_up = self.rounds_since_up.saturating_add(1);
            self.round_start = 1;
        }
        if sample.rate > 0 && (sample.rate >= self.max_bw() || !sample.is_app_limited) {
            self.max_bw[1] = self.max_bw[1].max(sample.rate);
        }
        if self.loss_round_start == 0 {
            return;
        }
        if self.loss_in_round != 0 && !self.mode().accelerates() {
            if self.bw_short == u64::MAX {
                self.bw_short = self.max_bw();
            }
            if self.inflight_short == INFINITE {
                self.inflight_short = on.cwnd;
            }
            self.bw_short = self.bw_latest.max(self.bw_short / 10 * 7);
            self.inflight_short = self.inflight_latest.max(beta(self.inflight_short));
        }
        self.loss_in_round = 0;
    }

    /// How much more than expected was acknowledged at once, lately (4.5.9).
    pub(super) fn update_aggregation(&mut self, on: &On) {
        let span = (on.now - self.extra_acked_began).0;
        let expected = u128::from(self.bw) * u128::from(span) / 1_000_000_000;
        let mut expected = u32::try_from(expected).unwrap_or(INFINITE);
        if self.extra_acked_delivered <= expected {
            (self.extra_acked_delivered, expected) = (0, 0);
            self.extra_acked_began = on.now;
        }
        self.extra_acked_delivered = self.extra_acked_delivered.saturating_add(on.delivered);
        let extra = (self.extra_acked_delivered - expected).min(on.cwnd);
        let rounds = if self.full_bw_reached != 0 {
            EXTRA_ACKED_ROUNDS
        } else {
            1
        };
        if self.round_start != 0 {
            self.extra_acked_rounds += 1;
            if self.extra_acked_rounds >= rounds {
                self.extra_acked_rounds = 0;
                self.extra_acked = [self.extra_acked[1], 0];
            }
        }
        self.extra_acked[1] = self.extra_acked[1].max(extra);
    }

    /// The product of a bandwidth and the least round trip, times a gain by a hundred.
    pub(super) fn product(&self, bw: u64, gain: u64, on: &On) -> u32 {
        if self.min_rtt == INFINITE || bw == 0 {
            return on.initial_cwnd();
        }
        let ns = u128::from(self.min_rtt) << 10;
        let bytes = u128::from(bw) * ns * u128::from(gain) / 100_000_000_000;
        u32::try_from(bytes).unwrap_or(INFINITE >> 1)
    }

    pub(super) fn bdp(&self, on: &On) -> u32 {
        self.product(self.bw, 100, on)
    }

    /// What is needed at least for lots of segments to follow each other.
    pub(super) fn quantized(&self, cap: u32, on: &On) -> u32 {
        let mss = u64::from(on.mss);
        let quantum = (self.pacing_rate / 1000).min(QUANTUM_MAX).max(2 * mss);
        let budget = u32::try_from(QUANTA * quantum).unwrap_or(INFINITE);
        let cap = cap.max(budget).max(on.least_cwnd());
        if self.mode() == Mode::Up {
            cap.saturating_add(2 * on.mss)
        } else {
            cap
        }
    }

    pub(super) fn inflight_at(&self, gain: u64, on: &On) -> u32 {
        self.quantized(self.product(self.bw, gain, on), on)
    }

    /// Whether the sample lost more than a queue should.
    pub(super) fn is_inflight_too_high(&self, on: &On) -> bool {
        let sample = &on.sample;
        is_too_much(sample.lost, sample.inflight) || (sample.lost > 0 && !on.has_sack)
    }

    pub(super) fn note_loss(&mut self, on: &On) {
        if self.loss_in_round == 0 {
            self.loss_round_delivered = self.sampler.delivered;
            self.save_upon_loss(on);
        }
        self.loss_in_round = 1;
    }

    /// So many bytes are found lost, the newest of them of the run sent then (4.5.10.2).
    pub(super) fn on_lost(&mut self, on: &On, bytes: u32, sent: Option<u32>) {
        self.sampler.lost = self.sampler.lost.wrapping_add(bytes);
        self.losses_in_round = self.losses_in_round.saturating_add(1);
        self.note_loss(on);
        if self.is_probe_sample == 0 {
            return;
        }
        let Some(mark) = sent.and_then(|sent| self.sampler.mark_of(sent)).copied() else {
            return;
        };
        let lost = self.sampler.lost.wrapping_sub(mark.lost);
        if is_too_much(lost, mark.inflight) || !on.has_sack {
            // How much of what was in flight the losses still left within the threshold.
            let (before, lost_before) = (
                u64::from(mark.inflight.saturating_sub(bytes)),
                u64::from(lost.saturating_sub(bytes)),
            );
            let allowed = (LOSS_THRESHOLD * before).saturating_sub(100 * lost_before);
            let at_loss = before + allowed / (100 - LOSS_THRESHOLD);
            let at_loss = u32::try_from(at_loss).unwrap_or(INFINITE);
            self.on_inflight_too_high(on, at_loss, mark.is_app_limited());
        }
    }

    pub(super) fn save_cwnd(&mut self, cwnd: u32, in_recovery: bool) {
        self.prior_cwnd = if !in_recovery && self.mode() != Mode::ProbeRtt {
            cwnd
        } else {
            self.prior_cwnd.max(cwnd)
        };
    }

    fn save_upon_loss(&mut self, on: &On) {
        self.save_cwnd(on.cwnd, on.in_recovery);
        self.undo_mode = 0;
        self.undo_bw_short = self.bw_short;
        self.undo_inflight_short = self.inflight_short;
        self.undo_inflight_long = self.inflight_long;
    }

    /// What was taken for losses were none. Returns the window to go back to.
    pub(super) fn undo(&mut self) -> u32 {
        self.loss_in_round = 0;
        self.bw_short = self.bw_short.max(self.undo_bw_short);
        self.inflight_short = self.inflight_short.max(self.undo_inflight_short);
        self.inflight_long = self.inflight_long.max(self.undo_inflight_long);
        self.back_to_probing();
        self.prior_cwnd
    }

    pub(super) fn set_pacing_rate(&mut self, gain: u64) {
        let rate = u128::from(self.bw) * u128::from(gain * PACED) / 10_000;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if rate > 0 && (self.full_bw_reached != 0 || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// The window (4.6.4).
    pub(super) fn cwnd(&self, cwnd: u32, on: &On) -> u32 {
        let (_, gain) = self.mode().gains();
        let extra = self.extra_acked[0].max(self.extra_acked[1]);
        let cap = self.product(self.bw, gain, on).saturating_add(extra);
        let cap = self.quantized(cap, on);
        let grown = cwnd.saturating_add(on.delivered);
        let mut cwnd = cwnd;
        if self.full_bw_reached != 0 {
            cwnd = grown.min(cap);
        } else if cwnd < cap || self.sampler.delivered < on.initial_cwnd() {
            cwnd = grown;
        }
        cwnd = cwnd.max(on.least_cwnd());
        if self.mode() == Mode::ProbeRtt {
            cwnd = cwnd.min(self.probe_rtt_cwnd(on));
        }
        let long = match self.mode() {
            Mode::Down | Mode::Refill | Mode::Up => self.inflight_long,
            Mode::ProbeRtt | Mode::Cruise => self.with_headroom(on),
            Mode::Startup | Mode::Drain => INFINITE,
        };
        cwnd.min(long.min(self.inflight_short).max(on.least_cwnd()))
    }

    pub(super) fn probe_rtt_cwnd(&self, on: &On) -> u32 {
        let (_, gain) = Mode::ProbeRtt.gains();
        self.product(self.bw, gain, on).max(on.least_cwnd())
    }
}

const fn is_too_much(lost: u32, inflight: u32) -> bool {
    lost as u64 * 100 > inflight as u64 * LOSS_THRESHOLD
}
