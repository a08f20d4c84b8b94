//! Tables in a region: where each lies ([`Layout`]), and exclusive slices of them ([`Carver`]).
#![expect(unsafe_code, reason = "turns parts of a mapping into typed slices")]

use crate::{CACHE_LINE, Region};
use core::marker::PhantomData;
use std::io;
use zerocopy::{FromBytes, IntoBytes};

/// Where a table of `count` entries of `T` begins, in bytes from the region's start.
#[derive(Debug)]
pub struct Span<T> {
    offset: usize,
    count: usize,
    of: PhantomData<T>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T> Span<T> {
    /// Number of entries.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Bytes from the region's start.
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

/// Lays tables one after another, each on a cache line of its own.
#[derive(Debug)]
pub struct Layout {
    bytes: usize,
}

impl Layout {
    /// An empty layout after `reserved` bytes (the lock lies there).
    pub const fn after(reserved: usize) -> Self {
        Self { bytes: reserved }
    }

    /// Room for `count` entries of `T`.
    pub const fn table<T>(&mut self, count: usize) -> Span<T> {
        let align = if align_of::<T>() > CACHE_LINE {
            align_of::<T>()
        } else {
            CACHE_LINE
        };
        let offset = self.bytes.next_multiple_of(align);
        self.bytes = offset + count * size_of::<T>();
        Span {
            offset,
            count,
            of: PhantomData,
        }
    }

    /// The length of a region that holds all tables, a whole number of pages.
    pub const fn bytes(&self) -> usize {
        self.bytes.next_multiple_of(4096)
    }
}

/// Hands out each part of a region once, in ascending order, as a typed slice.
///
/// The slices are valid while the region is mapped: [`Locked`](crate::Locked) keeps both together and lends the
/// slices only to the lock's holder. They must not be moved out of the view that it keeps.
pub struct Carver<'r> {
    region: &'r Region,
    carved: usize,
}

impl<'r> Carver<'r> {
    pub(crate) const fn new(region: &'r Region, reserved: usize) -> Self {
        Self {
            region,
            carved: reserved,
        }
    }

    /// The table at `span`. Fails where it reaches beyond the region or into a part handed out before.
    pub fn table<T: FromBytes + IntoBytes>(
        &mut self,
        span: Span<T>,
    ) -> io::Result<&'static mut [T]> {
        let outside = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a table lies outside of its memory",
            )
        };
        let bytes = span.count.checked_mul(size_of::<T>()).ok_or_else(outside)?;
        let start = self.region.at(span.offset, bytes).ok_or_else(outside)?;
        if span.offset < self.carved || !start.cast::<T>().is_aligned() {
            return Err(outside());
        }
        self.carved = span.offset + bytes;
        // SAFETY: in bounds, aligned and disjoint from every other slice by the checks above; `T` allows any bit
        // pattern; exclusive because Locked attaches a region once in a process and lends the view under the lock. That
        // holds among processes that honour the lock: against another it is a race, and all that is read is checked.
        Ok(unsafe { core::slice::from_raw_parts_mut(start.cast::<T>(), span.count) })
    }

    /// The single entry at `span`.
    pub fn one<T: FromBytes + IntoBytes>(&mut self, span: Span<T>) -> io::Result<&'static mut T> {
        self.table(span)?
            .first_mut()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an empty table"))
    }
}
