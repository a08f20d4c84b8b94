//! The one place where the ping-pong reads the time.

use std::time::{Duration, Instant};

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(Instant);

impl Moment {
    /// Now.
    #[inline]
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds from an earlier moment to this one.
    #[inline]
    pub(super) fn ns_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.duration_since(earlier.0).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long ago it was.
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
