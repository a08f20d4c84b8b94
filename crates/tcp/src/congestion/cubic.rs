//! CUBIC (RFC 9438): after a loss the window comes back to where it was by a cubic function of time, lingers there, and
//! goes on to find out more; and it is never less than what Reno would have.
//!
//! Windows are counted in segments here, as in the RFC.

use super::{Congestion, Growth};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a loss leaves of the window (4.6).
const BETA: f64 = 0.7;
/// How fast the function grows, in segments a second cubed (4.1).
const C: f64 = 0.4;
/// By how much the Reno-friendly window grows in a round trip until it has made up for the loss (4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// By how much of itself the window grows at least in a round trip before there was a loss, where slow start ended for
/// delays: what there is room for is not known yet (as Linux).
const SEARCH: f64 = 0.05;

/// How often a round trip the function is looked at, for how long not at most, and after how much of the window
/// anyway: what comes between counts together, so that the window does not grow amid a train of acknowledgements (as
/// Linux, by its own measure).
const LOOKS: u64 = 4;
const LOOK_AFTER: Nanos = Nanos(1_000_000_000 / 32);
const LOOK_PART: u32 = 2;

/// What it remembers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Cubic {
    /// Since when the window grows by the function: when it was last reduced.
    epoch: Nanos,
    /// When the window last grew.
    grown_at: Nanos,
    /// The Reno-friendly window (`W_est`); 0 until the present period of congestion avoidance has begun.
    friendly: f64,
    /// Where the function levels out (`W_max`), and the window before the loss (`cwnd_prior`), 0 if there was none.
    origin: f32,
    prior: f32,
    /// Seconds until it levels out (`K`).
    plateau_s: f32,
    /// What the window has grown by, less whole bytes.
    rest: f32,
}

impl Cubic {
    pub(super) const START: Self = Self {
        epoch: Nanos::ZERO,
        grown_at: Nanos::ZERO,
        friendly: 0.0,
        origin: 0.0,
        prior: 0.0,
        plateau_s: 0.0,
        rest: 0.0,
    };

    /// Congestion avoidance begins with a window of so many segments (4.2). The time in which the loss was mended
    /// counts: the function is one of the time since the reduction (Ha, Rhee and Xu 2008), so that paths on which that
    /// takes a round trip of many milliseconds do not stand back for it each time.
    fn begin(&mut self, now: Nanos, srtt_ns: u64, cwnd: f64) {
        let mended = Nanos(2 * srtt_ns);
        self.epoch = if now - self.epoch > mended {
            now
        } else {
            self.epoch
        };
        self.grown_at = now;
        self.friendly = cwnd;
        self.rest = 0.0;
        if cwnd < f64::from(self.origin) {
            self.plateau_s = narrow(((f64::from(self.origin) - cwnd) / C).cbrt());
        } else {
            (self.origin, self.plateau_s) = (narrow(cwnd), 0.0);
        }
    }

    /// The function at so many seconds (equation 1).
    fn window(&self, t_s: f64) -> f64 {
        let t = t_s - f64::from(self.plateau_s);
        C * t * t * t + f64::from(self.origin)
    }
}

/// An acknowledgement in congestion avoidance.
pub(super) fn on_ack(state: &mut Congestion, ack: &Growth) {
    let cubic = &mut state.cubic;
    let begins = cubic.friendly == 0.0;
    state.acked_bytes = state.acked_bytes.saturating_add(ack.acked_bytes);
    let recent = ack.now - cubic.grown_at < Nanos(ack.srtt_ns / LOOKS).min(LOOK_AFTER);
    if !begins && recent && state.acked_bytes < state.cwnd / LOOK_PART {
        return;
    }
    let mss = f64::from(ack.mss.max(1));
    let cwnd = f64::from(state.cwnd.max(1)) / mss;
    let acked = f64::from(core::mem::take(&mut state.acked_bytes)) / mss;
    if begins {
        cubic.begin(ack.now, ack.srtt_ns, cwnd);
    }
    // Time in which the program used less than the window does not count (5.8).
    let idle = (ack.now - cubic.grown_at).0;
    if idle > 2 * ack.srtt_ns.max(1_000_000) {
        cubic.epoch = cubic.epoch + Nanos(idle);
    }
    cubic.grown_at = ack.now;
    let t_s = seconds((ack.now - cubic.epoch).0);
    // 4.3: what Reno would have by now.
    let made_up = cubic.friendly >= f64::from(cubic.prior);
    cubic.friendly += if made_up { 1.0 } else { ALPHA } * acked / cwnd;
    let grown = if cubic.window(t_s) < cubic.friendly {
        (cubic.friendly - cwnd).clamp(0.0, acked)
    } else {
        // 4.4 and 4.5: on the way to where the function is a round trip later.
        let target = cubic.window(t_s + seconds(ack.srtt_ns));
        (target.clamp(cwnd, 1.5 * cwnd) - cwnd) / cwnd * acked
    };
    let grown = if cubic.prior == 0.0 {
        grown.max(SEARCH * acked)
    } else {
        grown
    };
    let bytes = grown * mss + f64::from(cubic.rest);
    cubic.rest = narrow(bytes.fract());
    state.cwnd = state.cwnd.saturating_add(whole(bytes));
}

/// A loss (4.6). The window goes by itself, not by what was in flight of it, as it grows only where it is used.
pub(super) fn on_loss(state: &mut Congestion, now: Nanos, mss: u32) {
    let cubic = &mut state.cubic;
    let window = f64::from(state.cwnd) / f64::from(mss.max(1));
    // 4.7: one that did not come back to where the last was leaves room for others.
    cubic.origin = narrow(if window < f64::from(cubic.origin) {
        window * (1.0 + BETA) / 2.0
    } else {
        window
    });
    cubic.prior = narrow(window);
    (cubic.epoch, cubic.friendly) = (now, 0.0);
    state.ssthresh = whole(f64::from(state.cwnd) * BETA);
}

/// After a timeout the function begins where the window then is (4.8): the loss says nothing of where it was.
pub(super) const fn on_timeout(state: &mut Congestion) {
    state.cubic.origin = 0.0;
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of hours fit")]
const fn seconds(ns: u64) -> f64 {
    ns as f64 * 1e-9
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate"
)]
const fn whole(bytes: f64) -> u32 {
    bytes as u32
}

#[expect(clippy::cast_possible_truncation, reason = "six digits are enough")]
const fn narrow(value: f64) -> f32 {
    value as f32
}
