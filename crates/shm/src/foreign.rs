//! Bytes that somebody else may write while we look at them: a peer's ring buffers, the caller's own memory.
//!
//! No `&[u8]` is ever made over such memory. A [`Foreign`] can only be narrowed and copied out of, a
//! [`ForeignMut`] only copied into; what was copied out is private, and is checked and used there.
#![expect(
    unsafe_code,
    reason = "copies to and from memory that another process may write"
)]

use core::marker::PhantomData;

/// How many bytes [`Foreign::fold`] lends at a time; even, so that 16-bit sums go on from block to block.
const FOLD_BLOCK: usize = 512;

/// Readable bytes that may change under us.
#[derive(Clone, Copy)]
pub struct Foreign<'a> {
    ptr: *const u8,
    len: usize,
    of: PhantomData<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for Foreign<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            of: PhantomData,
        }
    }
}

impl<'a> Foreign<'a> {
    /// No bytes.
    pub const EMPTY: Foreign<'static> = Foreign {
        ptr: core::ptr::NonNull::dangling().as_ptr(),
        len: 0,
        of: PhantomData,
    };

    /// The `len` bytes at `ptr`.
    ///
    /// # Safety
    /// They must stay mapped and readable for `'a`. They may be written meanwhile, by anyone.
    #[inline]
    pub const unsafe fn from_raw(ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            of: PhantomData,
        }
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from `offset` on; empty beyond the end.
    #[inline]
    #[must_use]
    pub fn skip(&self, offset: usize) -> Self {
        let offset = offset.min(self.len);
        // SAFETY: offset is at most len, so the pointer stays inside (or one past) the same bytes.
        let ptr = unsafe { self.ptr.add(offset) };
        Self {
            ptr,
            len: self.len - offset,
            of: PhantomData,
        }
    }

    /// The first `len` bytes; all of them where there are fewer.
    #[inline]
    #[must_use]
    pub fn first(&self, len: usize) -> Self {
        Self {
            len: len.min(self.len),
            ..*self
        }
    }

    /// Copies the first bytes into `dst`; returns how many, the lesser of both lengths.
    #[inline]
    pub fn copy_to(&self, dst: &mut [u8]) -> usize {
        let n = self.len.min(dst.len());
        // SAFETY: both sides hold n bytes by the line above; a `&mut` cannot overlap bytes that others may read.
        unsafe { core::ptr::copy_nonoverlapping(self.ptr, dst.as_mut_ptr(), n) };
        n
    }

    /// A copy of the first `N` bytes, if there are as many. For headers of fixed length: the copy needs no loop.
    #[inline]
    pub fn to_array<const N: usize>(&self) -> Option<[u8; N]> {
        // SAFETY: N bytes are there by the check before it; an array of bytes has no alignment.
        (self.len >= N).then(|| unsafe { self.ptr.cast::<[u8; N]>().read() })
    }

    /// Folds `f` over private copies of the bytes, in blocks of an even length (but for the last).
    pub fn fold<A>(&self, first: A, mut f: impl FnMut(A, &[u8]) -> A) -> A {
        if self.is_empty() {
            return first;
        }
        let mut block = [0; FOLD_BLOCK];
        let (mut rest, mut acc) = (*self, first);
        while !rest.is_empty() {
            let n = rest.copy_to(&mut block);
            acc = f(acc, &block[..n]);
            rest = rest.skip(n);
        }
        acc
    }
}

/// Writable bytes that others may read or write meanwhile.
pub struct ForeignMut<'a> {
    ptr: *mut u8,
    len: usize,
    of: PhantomData<&'a mut [u8]>,
}

impl<'a> From<&'a mut [u8]> for ForeignMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            of: PhantomData,
        }
    }
}

impl ForeignMut<'_> {
    /// The `len` bytes at `ptr`.
    ///
    /// # Safety
    /// They must stay mapped and writable for the lifetime. They may be read and written meanwhile, by anyone.
    #[inline]
    pub const unsafe fn from_raw(ptr: *mut u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            of: PhantomData,
        }
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same bytes for a shorter time, without the first `offset`.
    #[inline]
    pub fn skip(&mut self, offset: usize) -> ForeignMut<'_> {
        let offset = offset.min(self.len);
        // SAFETY: offset is at most len, so the pointer stays inside (or one past) the same bytes.
        let ptr = unsafe { self.ptr.add(offset) };
        ForeignMut {
            ptr,
            len: self.len - offset,
            of: PhantomData,
        }
    }

    /// The same bytes for a shorter time, at most `len` of them.
    #[inline]
    pub fn first(&mut self, len: usize) -> ForeignMut<'_> {
        ForeignMut {
            ptr: self.ptr,
            len: len.min(self.len),
            of: PhantomData,
        }
    }

    /// The same bytes, to read.
    #[inline]
    pub const fn as_foreign(&self) -> Foreign<'_> {
        Foreign {
            ptr: self.ptr,
            len: self.len,
            of: PhantomData,
        }
    }

    /// Copies a whole array in; nothing where it does not fit. The copy needs no loop.
    #[inline]
    pub const fn copy_array<const N: usize>(&mut self, src: &[u8; N]) {
        if self.len >= N {
            // SAFETY: N bytes are there by the line above; an array of bytes has no alignment.
            unsafe { self.ptr.cast::<[u8; N]>().write(*src) };
        }
    }

    /// Copies the first `len` bytes of two cache lines in, if they fit. Where these bytes begin on a line no store crosses
    /// from one into the next: it would need both at once, while a reader who polls may be taking them away.
    #[inline]
    pub fn copy_lines(&mut self, src: &[u8; 128], len: usize) {
        let Some((rest, src)) = src.get(64..len).zip(src.first_chunk::<64>()) else {
            self.copy_from(src.get(..len).unwrap_or(&[]));
            return;
        };
        self.copy_array(src);
        self.skip(64).copy_from(rest);
    }

    /// Copies `src` in, as far as it fits; returns how many bytes.
    #[inline]
    pub fn copy_from(&mut self, src: &[u8]) -> usize {
        self.copy_from_foreign(src.into())
    }

    /// Copies `src` in, as far as it fits; returns how many bytes.
    #[inline]
    pub fn copy_from_foreign(&mut self, src: Foreign<'_>) -> usize {
        let n = src.len.min(self.len);
        // SAFETY: both sides hold n bytes; `copy` allows them to overlap, as a hostile program may arrange.
        unsafe { core::ptr::copy(src.ptr, self.ptr, n) };
        n
    }
}
