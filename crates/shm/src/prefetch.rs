//! Asking for a cache line before it is needed.
#![expect(unsafe_code, reason = "the hint is an intrinsic")]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Lines that will be read soon, kept where they can be asked for before it is known whether, and without any lock.
#[derive(Debug, Default)]
pub struct Ahead([AtomicUsize; Self::LINES]);

impl Ahead {
    /// How many there are.
    pub const LINES: usize = 4;

    /// These are the ones from now on.
    #[inline]
    pub fn set(&self, lines: [*const u8; Self::LINES]) {
        for (place, line) in self.0.iter().zip(lines) {
            place.store(line.addr(), Relaxed);
        }
    }

    /// Starts to fetch them. A hint: they may not be there any more.
    #[inline]
    pub fn prefetch(&self) {
        for place in &self.0 {
            prefetch(core::ptr::without_provenance::<u8>(place.load(Relaxed)));
        }
    }
}

/// Starts to fetch the first cache line of `place`, to read it. A hint.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn prefetch<T>(place: *const T) {
    // SAFETY: a hint; it faults at no address and changes nothing but caches.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast())
    };
}

/// Starts to fetch the first cache line of `place`, to read it. A hint.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn prefetch<T>(_place: *const T) {}
