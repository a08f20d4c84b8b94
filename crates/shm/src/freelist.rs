//! Hands out indices of a table, lowest first, so that a table which is never full is never touched whole.

use crate::NONE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The free indices of a table whose entries carry a `next` link. Lies in shared memory, zeroed at first.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FreeList {
    /// The last index given back plus one; 0 for none, so that zeroed memory is an empty list.
    head: u32,
    /// Indices from here on were never handed out.
    fresh: u32,
    used: u32,
    _reserved: u32,
}

impl FreeList {
    /// Takes an index of a table of `links.len()` entries: the one given back last, else the lowest untouched one.
    /// None when all are taken.
    #[expect(clippy::inline_always, reason = "a call would cost as much")]
    #[inline(always)]
    pub fn take(&mut self, capacity: usize, next_of: impl FnOnce(u32) -> u32) -> Option<u32> {
        let index = if self.head == 0 {
            if self.fresh as usize >= capacity {
                return None;
            }
            self.fresh += 1;
            self.fresh - 1
        } else {
            let index = self.head - 1;
            let next = next_of(index);
            self.head = if next == NONE { 0 } else { next + 1 };
            index
        };
        self.used += 1;
        Some(index)
    }

    /// Gives `index` back. Returns the link to store in its entry.
    #[must_use]
    pub fn give(&mut self, index: u32) -> u32 {
        let next = if self.head == 0 { NONE } else { self.head - 1 };
        self.head = index + 1;
        self.used = self.used.saturating_sub(1);
        next
    }

    /// How many are taken.
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// No index at or above this one was ever taken.
    pub const fn fresh(&self) -> u32 {
        self.fresh
    }
}
