//! Monotonic time in nanoseconds, read from the processor's time stamp counter where it can be trusted.
#![expect(unsafe_code, reason = "reads the time stamp counter")]

use crate::atomic::{AtomicU64, Ordering};
use core::ops::{Add, Sub};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A point in monotonic time, or a span of it, in nanoseconds. All processes of a machine count from the same zero.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later than any time that is reached.
    pub const NEVER: Self = Self(u64::MAX);
    /// The beginning of time, and the empty span.
    pub const ZERO: Self = Self(0);

    /// A span of so many microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us * 1_000)
    }

    /// A span of so many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// A span of so many seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// Whole milliseconds in this span.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole microseconds in this span.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// How long the counter is compared with the kernel's clock before it is believed.
const CALIBRATION: Nanos = Nanos::from_millis(20);
/// How long one calibration is believed; the kernel's clock is slewed by up to 500 ppm.
const RECALIBRATE: Nanos = Nanos::from_secs(1);

/// Converts the time stamp counter to [`Nanos`] of the kernel's monotonic clock.
///
/// Starts on `clock_gettime` and moves to the counter when it has been compared with it for long enough.
/// Readings may step by a few hundred nanoseconds at a new calibration; users keep their time from running backwards.
pub struct Clock {
    base_tsc: AtomicU64,
    base_ns: AtomicU64,
    /// Nanoseconds a tick, as a fixed-point number with 32 fraction bits; 0 until calibrated.
    scale: AtomicU64,
    /// The count up to which the scale is believed.
    until_tsc: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock that has yet to be calibrated.
    pub const fn new() -> Self {
        Self {
            base_tsc: AtomicU64::new(0),
            base_ns: AtomicU64::new(0),
            scale: AtomicU64::new(0),
            until_tsc: AtomicU64::new(0),
        }
    }

    /// From now on it is always this time, until the clock is stopped at another one: for virtual time.
    pub fn stop_at(&self, at: Nanos) {
        self.scale.store(0, Ordering::Relaxed);
        self.base_ns.store(at.0, Ordering::Relaxed);
        self.until_tsc.store(u64::MAX, Ordering::Release);
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Nanos {
        let tsc = ticks();
        if tsc < self.until_tsc.load(Ordering::Acquire) {
            let since = tsc.saturating_sub(self.base_tsc.load(Ordering::Relaxed));
            let scaled = (u128::from(since) * u128::from(self.scale.load(Ordering::Relaxed))) >> 32;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the counter is believed for a second at most"
            )]
            return Nanos(self.base_ns.load(Ordering::Relaxed) + scaled as u64);
        }
        self.slow_now(tsc)
    }

    #[cold]
    fn slow_now(&self, tsc: u64) -> Nanos {
        let now = kernel_now();
        let (base_tsc, base_ns) = (
            self.base_tsc.load(Ordering::Relaxed),
            self.base_ns.load(Ordering::Relaxed),
        );
        if base_ns == 0 {
            self.base_tsc.store(tsc, Ordering::Relaxed);
            self.base_ns.store(now.0, Ordering::Relaxed);
            return now;
        }
        let (ticks, span) = (tsc.saturating_sub(base_tsc), now - Nanos(base_ns));
        if span < CALIBRATION || ticks == 0 {
            return now;
        }
        // Racing threads store values that differ by nanoseconds; each one is a fair calibration.
        let scale = (u128::from(span.0) << 32) / u128::from(ticks);
        let believed = (u128::from(RECALIBRATE.0) << 32) / scale.max(1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a tick is far longer than 2^-32 ns and a second short"
        )]
        let (scale, believed) = (scale as u64, believed as u64);
        self.until_tsc.store(0, Ordering::Release);
        self.scale.store(scale, Ordering::Relaxed);
        self.base_tsc.store(tsc, Ordering::Relaxed);
        self.base_ns.store(now.0, Ordering::Relaxed);
        self.until_tsc.store(tsc + believed, Ordering::Release);
        now
    }
}

/// The kernel's monotonic clock.
fn kernel_now() -> Nanos {
    let t = clock_gettime(ClockId::Monotonic);
    Nanos(t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: the instruction exists on every x86-64 and has no effect but its result.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    kernel_now().0
}
