//! `HyStart++` (RFC 9406): the first slow start ends when round trips become longer, before the queue overflows.

use super::Growth;
use crate::recovery::scoreboard::{span, ticks};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// By how much longer a round trip must be: an eighth, but neither less nor more than this.
const INCREASE_MIN: Nanos = Nanos::from_millis(4);
const INCREASE_MAX: Nanos = Nanos::from_millis(16);
/// Round trips measured before a round says anything.
const SAMPLES: u8 = 8;
/// Rounds of conservative slow start.
const ROUNDS: u8 = 5;
/// How much slower the window grows in these.
pub(super) const GROWTH_DIVISOR: u32 = 4;
/// Below this least round trip milliseconds are the peer's scheduling, and no queue: a wire of this host.
const RTT_MIN_NS: u64 = 100_000;
/// No round trip was measured.
const UNKNOWN: u32 = u32::MAX;

/// How slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As it is.
    Full,
    /// More slowly, to see whether the delay was a chance.
    Slower,
    /// It has ended.
    Enough,
}

/// What it remembers; round trips in ticks.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct HyStart {
    last_min: u32,
    current_min: u32,
    /// What the conservative phase began with, [`UNKNOWN`] in no such phase.
    baseline: u32,
    samples: u8,
    rounds: u8,
    _reserved: [u8; 2],
}

impl HyStart {
    pub(super) const START: Self = Self {
        last_min: UNKNOWN,
        current_min: UNKNOWN,
        baseline: UNKNOWN,
        samples: 0,
        rounds: 0,
        _reserved: [0; 2],
    };

    /// An acknowledgement in slow start (RFC 9406 4.2).
    pub(super) fn on_ack(&mut self, ack: &Growth) -> Pace {
        if ack.min_rtt_ns < RTT_MIN_NS {
            return Pace::Full;
        }
        if let Some(rtt) = ack.rtt {
            self.current_min = self.current_min.min(ticks(rtt));
            self.samples = self.samples.saturating_add(1);
        }
        self.judge();
        if ack.round_over {
            if self.baseline != UNKNOWN {
                self.rounds += 1;
                if self.rounds >= ROUNDS {
                    return Pace::Enough;
                }
            }
            (self.last_min, self.current_min) = (self.current_min, UNKNOWN);
            self.samples = 0;
        }
        if self.baseline == UNKNOWN {
            Pace::Full
        } else {
            Pace::Slower
        }
    }

    /// Enters the conservative phase, or leaves it.
    fn judge(&mut self) {
        if self.samples < SAMPLES || self.current_min == UNKNOWN {
            return;
        }
        if self.baseline != UNKNOWN {
            if self.current_min < self.baseline {
                self.baseline = UNKNOWN;
            }
            return;
        }
        if self.last_min == UNKNOWN {
            return;
        }
        let last = span(self.last_min);
        let increase = Nanos((last.0 / 8).clamp(INCREASE_MIN.0, INCREASE_MAX.0));
        if self.current_min >= ticks(last + increase) {
            (self.baseline, self.rounds) = (self.current_min, 0);
        }
    }
}
