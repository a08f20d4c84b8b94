//! `HyStart` (Ha and Rhee 2011), as Linux has it: the first slow start ends before the queue overflows, when
//! acknowledgements of one window fill half of a round trip, or round trips have become longer than the shortest one.
//!
//! `HyStart++` (RFC 9406) takes five more round trips to be sure, in which the window triples: more than most queues hold.
//! Instead of that, a window that was told enough too early goes on growing by a twentieth in a round trip (`cubic`).

use super::Growth;
use crate::recovery::scoreboard::{span, ticks};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// By how much longer a round trip must be: by half, but neither less nor more than this. (Linux: by an eighth. What others
/// send at the beginning of their round trips would end slow start then, and leave the link to them for long.)
const INCREASE_MIN: Nanos = Nanos::from_millis(4);
const INCREASE_MAX: Nanos = Nanos::from_millis(16);
/// Round trips measured in a round before it says anything.
const SAMPLES: u8 = 8;
/// Smaller windows say nothing, in segments.
const WINDOW_MIN: u32 = 16;
/// Acknowledgements of one train are no further apart.
const TRAIN_GAP: Nanos = Nanos::from_millis(2);
/// For how long receivers may gather what they acknowledge: four times what a card takes at once, a millisecond at most.
const GATHER_MAX_NS: u64 = 1_000_000;
const GATHER_BYTES: u64 = 4 * 65_536;
/// Below this least round trip milliseconds are the peer's scheduling, and no queue: a wire of this host.
const RTT_MIN_NS: u64 = 100_000;
/// No round trip was measured.
const UNKNOWN: u32 = u32::MAX;

/// What it remembers of the present round; times in ticks.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct HyStart {
    begun_at: u32,
    /// The last acknowledgement of the train with which it began.
    train_at: u32,
    min_rtt: u32,
    samples: u8,
    _reserved: [u8; 3],
}

impl HyStart {
    pub(super) const START: Self = Self {
        begun_at: 0,
        train_at: 0,
        min_rtt: UNKNOWN,
        samples: 0,
        _reserved: [0; 3],
    };

    /// An acknowledgement in slow start with a window of `cwnd` bytes. Whether that is enough.
    pub(super) fn on_ack(&mut self, ack: &Growth, cwnd: u32) -> bool {
        let now = ticks(ack.now);
        if ack.round_over {
            (self.begun_at, self.train_at) = (now, now);
            (self.min_rtt, self.samples) = (UNKNOWN, 0);
        }
        let Some(rtt) = ack.rtt else {
            return false;
        };
        if ack.min_rtt_ns < RTT_MIN_NS || cwnd < WINDOW_MIN * ack.mss {
            return false;
        }
        let train = self.is_train_long(ack, cwnd, now);
        self.min_rtt = self.min_rtt.min(ticks(rtt));
        if self.samples < SAMPLES {
            self.samples += 1;
            return train;
        }
        let least = ack.min_rtt_ns;
        let increase = (least / 2).clamp(INCREASE_MIN.0, INCREASE_MAX.0);
        train || self.min_rtt > ticks(Nanos(least + increase))
    }

    /// Whether acknowledgements have come one after the other for half of the least round trip, or for all of it where what
    /// they acknowledge was spread over time.
    fn is_train_long(&mut self, ack: &Growth, cwnd: u32, now: u32) -> bool {
        if span(now.wrapping_sub(self.train_at)) > TRAIN_GAP {
            return false;
        }
        self.train_at = now;
        // At twice a window in a round trip, which is how fast slow start sends.
        let gather = GATHER_BYTES * ack.srtt_ns / (2 * u64::from(cwnd.max(1)));
        let whole = ack.min_rtt_ns + gather.min(GATHER_MAX_NS);
        let long = if ack.paced { whole } else { whole / 2 };
        span(now.wrapping_sub(self.begun_at)).0 > long
    }
}
