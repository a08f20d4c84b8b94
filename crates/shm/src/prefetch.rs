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

/// Whether [`demote`] does something on this processor (CLDEMOTE, Intel's since 2023).
#[must_use]
pub fn demotes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{__cpuid_count, __get_cpuid_max};
        /// "Structured extended feature flags", and the bit in ECX.
        const LEAF: u32 = 7;
        const CLDEMOTE: u32 = 1 << 25;
        __get_cpuid_max(0).0 >= LEAF && __cpuid_count(LEAF, 0).ecx & CLDEMOTE != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Moves the first cache line of `place`, just written, from this core's own cache to the one that all cores share: one
/// that reads it next has it sooner from there. A hint.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn demote<T>(place: *const T) {
    // SAFETY: CLDEMOTE, which the assembler need not know; it faults at no address and changes nothing but caches, and
    // is a no-operation on processors without it.
    unsafe {
        core::arch::asm!(".byte 0x0f, 0x1c, 0x00", in("rax") place, options(nostack, preserves_flags));
    };
}

/// Would move the line to the cache that all cores share. A hint.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn demote<T>(_place: *const T) {}
