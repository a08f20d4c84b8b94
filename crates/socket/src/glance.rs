//! When the kernel's sides of descriptors were last looked at.
//!
//! A program that spins on accelerated work would pay a system call a turn to look at the kernel's side, too. It looks
//! every few microseconds instead.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use sidestep_shm::Nanos;

/// How often a thread that finds accelerated work, or spins, looks at the kernel's side of the same descriptor.
const GLANCE: Nanos = Nanos::from_micros(10);
const PLACES: usize = 256;
/// Bits of a word that tell descriptors of one place apart; the rest is the time, to the microsecond.
const TAG: u64 = 1023;

/// The last look at each descriptor.
pub(crate) struct Glances {
    looks: [AtomicU64; PLACES],
    /// Whose turn it is where both sides have something, see [`takes_turn`](Glances::takes_turn).
    turns: [AtomicU8; PLACES],
}

/// The turn is the kernel's, is ours, or stays ours although it would change.
const KERNELS: u8 = 0;
const OURS: u8 = 1;
const KEPT: u8 = 2;

impl Glances {
    pub(crate) const fn new() -> Self {
        Self {
            looks: [const { AtomicU64::new(0) }; PLACES],
            turns: [const { AtomicU8::new(KERNELS) }; PLACES],
        }
    }

    /// Whether the kernel's side of `key`, a descriptor, has not been looked at for long enough; notes that it is now.
    #[inline]
    pub(crate) fn due(&self, key: i32, now: Nanos) -> bool {
        let key = key.unsigned_abs() as usize;
        let (place, tag) = (&self.looks[key % PLACES], (key / PLACES) as u64 & TAG);
        let last = place.load(Relaxed);
        let due = last & TAG != tag || now - Nanos(last & !TAG) >= GLANCE;
        if due {
            place.store(now.0 & !TAG | tag, Relaxed);
        }
        due
    }

    /// The kernel's side has something for the program, who will ask for it next.
    pub(crate) fn all_due(&self) {
        for place in &self.looks {
            if place.load(Relaxed) != 0 {
                place.store(0, Relaxed);
            }
        }
    }

    /// Whether the kernel's side of `key` goes first although ours has something: every other time that it is asked, so
    /// that neither waits for ever for the other to have nothing.
    pub(crate) fn takes_turn(&self, key: i32) -> bool {
        let turn = &self.turns[key.unsigned_abs() as usize % PLACES];
        let now = turn.load(Relaxed);
        turn.store(if now == KERNELS { OURS } else { KERNELS }, Relaxed);
        now == KERNELS
    }

    /// Something of ours was looked at, and must be what is taken next.
    pub(crate) fn keep_turn(&self, key: i32) {
        self.turns[key.unsigned_abs() as usize % PLACES].store(KEPT, Relaxed);
    }
}

#[cfg(test)]
mod tests;
