//! Asking for a cache line before it is needed.
#![expect(unsafe_code, reason = "the hint is an intrinsic")]

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
