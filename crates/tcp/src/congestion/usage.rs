//! How much of the window is in use, and what becomes of one that is not: it does not grow, and does not last
//! (RFC 5681 4.1, RFC 7661).

use super::{Congestion, initial_window};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How long a window lasts of which less than half is used (RFC 7661 4.4: five minutes), in [`spans`].
const NOT_VALIDATED: u16 = 70;
/// How often it is looked at: no retransmission timeout is shorter.
const REVIEW: Nanos = Nanos::from_millis(200);

/// What it remembers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Usage {
    review_at: Nanos,
    /// Most bytes in flight in the present round trip.
    most: u32,
    /// The round trip ends when more than this is acknowledged.
    round_end: Seq,
}

impl Usage {
    pub(super) const fn new(now: Nanos, iss: Seq) -> Self {
        Self {
            review_at: Nanos(now.0 + REVIEW.0),
            most: 0,
            round_end: iss,
        }
    }
}

/// How the connection stands that may send now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    /// For how long nothing has been in flight.
    pub(crate) idle: Nanos,
    /// The retransmission timeout.
    pub(crate) rto: Nanos,
    /// Whether the window outlasts that (`net.ipv4.tcp_slow_start_after_idle` is 0).
    pub(crate) keeps: bool,
}

/// Time in spans of 2^32 ns, about four seconds, modulo 2^16.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the clock wraps around")]
pub(super) const fn spans(now: Nanos) -> u16 {
    (now.0 >> 32) as u16
}

impl Congestion {
    /// An acknowledgement up to `una`, before which so much was in flight. Whether a round trip ends with it.
    #[inline]
    pub(crate) fn note_flight(&mut self, flight_bytes: u32, una: Seq, nxt: Seq) -> bool {
        let over = una.gt(self.usage.round_end);
        if over {
            (self.usage.most, self.usage.round_end) = (0, nxt);
        }
        self.usage.most = self.usage.most.max(flight_bytes);
        over
    }

    /// Whether more than half of the window was in flight in this round trip: it is right for the path (RFC 7661 4.3).
    #[inline]
    pub(crate) const fn is_in_use(&self) -> bool {
        self.usage.most.saturating_mul(2) > self.cwnd
    }

    /// The window is in use.
    #[inline]
    pub(crate) const fn validate(&mut self, now: Nanos) {
        self.validated = spans(now);
    }

    /// Whether [`review`](Self::review) may find that the window was not used for too long.
    #[inline]
    pub(crate) fn is_review_due(&self, now: Nanos) -> bool {
        now > self.usage.review_at
    }

    /// Reduces a window that says nothing of the path any more: after a pause, down to the initial one, by half for each
    /// timeout that the pause lasted (RFC 5681 4.1, as Linux); by half where too little of it was used for long (RFC 7661
    /// 4.4.2).
    #[cold]
    pub(crate) fn review(&mut self, now: Nanos, mss: u32, pause: Pause) {
        self.usage.review_at = now + REVIEW;
        if pause.idle > pause.rto && !pause.keeps {
            let timeouts = (pause.idle.0 - 1) / pause.rto.0.max(1);
            for _ in 0..timeouts.min(32) {
                self.halve(mss);
            }
        }
        for _ in 0..spans(now).wrapping_sub(self.validated) / NOT_VALIDATED {
            self.halve(mss);
            self.validated = self.validated.wrapping_add(NOT_VALIDATED);
        }
    }

    fn halve(&mut self, mss: u32) {
        let initial = initial_window(mss);
        if self.cwnd > initial {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
            self.cwnd = (self.cwnd / 2).max(initial);
        }
    }
}
