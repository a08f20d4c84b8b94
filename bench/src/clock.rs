//! Wall time of the benchmark's own process. The only place that reads it.

use std::time::{Duration, Instant};

/// A started stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one now.
    #[inline]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[inline]
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds since the start.
    #[inline]
    pub(crate) fn ns(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A point in time that waiting must not go beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    from: Stopwatch,
    span: Duration,
}

impl Deadline {
    /// So far from now.
    pub(crate) fn after(span: Duration) -> Self {
        Self {
            from: Stopwatch::start(),
            span,
        }
    }

    /// What is left; nothing once it has passed.
    pub(crate) fn remaining(&self) -> Duration {
        self.span.saturating_sub(self.from.elapsed())
    }

    /// Whether it has passed.
    pub(crate) fn passed(&self) -> bool {
        self.remaining().is_zero()
    }
}
