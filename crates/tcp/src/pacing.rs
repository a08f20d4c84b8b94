//! Segments spread over time instead of sent as fast as windows allow: where SO_MAX_PACING_RATE limits the rate, and
//! where the congestion control is one of rates. Nothing of it is looked at for other connections.
//!
//! The stack's timers have ticks of a millisecond, so what a tick has room for leaves together; the rate over longer
//! times is kept exactly.

use crate::congestion::Algorithm;
use crate::tcb::{Marks, Tcb};
use crate::timer::Timer;
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was not used of the rate is made up for if it is not older than this: timers come late.
const CREDIT: Nanos = Nanos::from_millis(2);
/// The window over the round trip is taken times this by a hundred: in slow start, so that the window can double in a
/// round trip, and beyond, so that the window stays what limits (`tcp_pacing_ss_ratio`, `tcp_pacing_ca_ratio`).
const SLOW_START_PERCENT: u64 = 200;
const AVOIDANCE_PERCENT: u64 = 120;

/// When the next segment may leave, and how fast.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Pacing {
    next: Nanos,
    /// Bytes a second at which the model of the path sends, and that arrived lately.
    pub(crate) rate: u64,
    pub(crate) delivery_rate: u64,
}

impl Tcb {
    /// SO_MAX_PACING_RATE in bytes a second; 0 for no limit.
    pub fn set_pacing_max(&mut self, bytes_per_second: u64) {
        self.choices.pacing_max = bytes_per_second;
        self.choose_pacing();
    }

    /// SO_MAX_PACING_RATE; 0 for no limit.
    pub const fn pacing_max(&self) -> u64 {
        self.choices.pacing_max
    }

    /// Whether segments are to be spread.
    pub(crate) fn choose_pacing(&mut self) {
        let paced = self.choices.pacing_max != 0 || self.congestion.algorithm() == Algorithm::Bbr;
        self.marks.set(Marks::PACED, paced);
        if !paced && self.deadlines.at(Timer::Release) != Nanos::NEVER && self.adv_mss != 0 {
            self.deadlines.clear(Timer::Release);
            self.marks.insert(Marks::SEND_DUE);
        }
    }

    /// Sets the deadline of segments that wait for their time for something else that waits on a connection which has
    /// nothing to send yet.
    pub fn release_at(&mut self, at: Nanos) {
        self.deadlines.set(Timer::Release, at);
    }

    /// Whether that deadline is still to come.
    pub fn awaits_release(&self) -> bool {
        self.deadlines.at(Timer::Release) != Nanos::NEVER
    }

    /// Bytes a second at which segments leave, or would; `u64::MAX` before anything is known of the round trip.
    pub fn pacing_rate(&self) -> u64 {
        let percent = if self.congestion.in_slow_start() {
            SLOW_START_PERCENT
        } else {
            AVOIDANCE_PERCENT
        };
        let window = u128::from(self.congestion.cwnd) * u128::from(percent) * 10_000_000;
        let rate = match self.rtt.srtt_ns {
            _ if self.has_model() => self.pacing.rate,
            0 => u64::MAX,
            srtt_ns => u64::try_from(window / u128::from(srtt_ns)).unwrap_or(u64::MAX),
        };
        match self.choices.pacing_max {
            0 => rate,
            most => rate.min(most),
        }
        .max(1)
    }

    /// Whether the next segment must wait; then the deadline is set at which it may leave.
    #[cold]
    pub(crate) fn waits_for_pace(&mut self, now: Nanos) -> bool {
        let waits = self.pacing.next > now;
        if waits {
            self.deadlines.set(Timer::Release, self.pacing.next);
        }
        waits
    }

    /// So many bytes of text leave now.
    #[cold]
    pub(crate) fn note_pace(&mut self, bytes: u32, now: Nanos) {
        let rate = self.pacing_rate();
        let span = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let from = self.pacing.next.max(Nanos(now.0.saturating_sub(CREDIT.0)));
        self.pacing.next = from + Nanos(u64::try_from(span).unwrap_or(u64::MAX >> 2));
    }
}
