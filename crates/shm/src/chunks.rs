//! Buffers for the bytes of sockets: fixed-size chunks from one pool, linked into queues by index.
//!
//! ```text
//! ChunkQueue        head ──┐                    tail ──┐
//!                          ▼                           ▼
//! ChunkMeta[i]      start,len,next ─▶ start,len,next ─▶ start,len,NONE
//! data[i]           ░░████████████    ██████████████    ██████░░░░░░░░     CHUNK_BYTES each; █ = bytes in the queue
//! ```
//! A chunk belongs to one queue at a time. All of it is guarded by the stack's lock.

use crate::{Foreign, ForeignMut, FreeList, NONE, Steps};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a chunk.
pub const CHUNK_BYTES: usize = 2048;

/// Index of a chunk in its pool.
pub type ChunkId = u32;

/// What is known of a chunk. `tag` is the owner's: a sequence number, a datagram's length.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkMeta {
    /// The next chunk of the queue (or of the free list), [`NONE`] at the end.
    pub next: ChunkId,
    /// Whatever the owner of the queue keeps for a chunk.
    pub tag: u32,
    /// Where the bytes in use begin.
    pub start: u16,
    /// How many bytes are in use; `start + len` is at most [`CHUNK_BYTES`].
    pub len: u16,
    /// Whatever the owner of a receiving queue keeps for a chunk; [`SENDING`] in chunks of sending queues.
    pub aux: u32,
}

/// In `aux` of chunks that hold what is to be sent.
pub const SENDING: u32 = 1 << 31;

/// What a chunk is taken for. Neither use may take all, so that what is to be sent can always be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Holds what was received.
    Receive,
    /// Holds what is to be sent.
    Send,
}

/// The pool's bookkeeping, in shared memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PoolHead {
    free: FreeList,
    /// How often there was no chunk left.
    pub exhausted: u64,
    /// Chunks taken to send.
    sending: u32,
    _reserved: u32,
}

/// The pool: exclusive slices over its tables, which live in a region or in plain memory.
pub struct ChunkPool<'m> {
    head: &'m mut PoolHead,
    /// As many as there are data.
    meta: &'m mut [ChunkMeta],
    data: &'m mut [[u8; CHUNK_BYTES]],
    /// Most chunks for one use: an eighth of all is left to the other one.
    share: u32,
}

impl<'m> ChunkPool<'m> {
    /// A pool over zeroed tables, or over those of a pool that others use too. The shorter table is the capacity.
    pub fn new(
        head: &'m mut PoolHead,
        meta: &'m mut [ChunkMeta],
        data: &'m mut [[u8; CHUNK_BYTES]],
    ) -> Self {
        let capacity = meta.len().min(data.len());
        Self {
            head,
            meta: &mut meta[..capacity],
            data: &mut data[..capacity],
            share: u32::try_from(capacity - capacity / 8).unwrap_or(u32::MAX),
        }
    }

    /// Takes a chunk: empty, unlinked. None when there is none left for this use, which is counted.
    #[inline]
    pub fn alloc(&mut self, purpose: Use) -> Option<ChunkId> {
        self.alloc_filled(purpose, 0)
    }

    /// The same, said to have its first `len` bytes in use, which the caller will write.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    fn alloc_filled(&mut self, purpose: Use, len: u16) -> Option<ChunkId> {
        let capacity = self.capacity();
        let taken = if self.has_room(purpose) {
            let meta = &*self.meta;
            let free = &mut self.head.free;
            free.take(capacity, |id| meta[id as usize].next)
        } else {
            None
        };
        let Some(id) = taken else {
            self.head.exhausted += 1;
            return None;
        };
        let sends = purpose == Use::Send;
        self.head.sending += u32::from(sends);
        let aux = if sends { SENDING } else { 0 };
        self.meta[id as usize] = ChunkMeta {
            next: NONE,
            tag: 0,
            start: 0,
            len,
            aux,
        };
        Some(id)
    }

    /// Whether this use may take more.
    #[inline]
    pub fn has_room(&self, purpose: Use) -> bool {
        let taken = match purpose {
            Use::Send => self.head.sending,
            Use::Receive => self.head.free.used().saturating_sub(self.head.sending),
        };
        taken < self.share
    }

    /// Whether [`alloc`](Self::alloc) would have a chunk for this use.
    #[inline]
    pub fn has_free(&self, purpose: Use) -> bool {
        (self.head.free.used() as usize) < self.capacity() && self.has_room(purpose)
    }

    /// Gives a chunk back.
    #[inline]
    pub fn free(&mut self, id: ChunkId) {
        let sent = self.meta[id as usize].aux & SENDING != 0;
        self.head.sending = self.head.sending.saturating_sub(u32::from(sent));
        self.meta[id as usize].next = self.head.free.give(id);
    }

    /// How many chunks there are.
    pub const fn capacity(&self) -> usize {
        self.meta.len()
    }

    /// For a walk along chunks: no list of them is longer than there are.
    #[inline]
    pub const fn steps(&self) -> Steps {
        Steps::new(self.meta.len())
    }

    /// How many chunks are in use.
    pub const fn used(&self) -> u32 {
        self.head.free.used()
    }

    /// How often [`alloc`](Self::alloc) found nothing.
    pub const fn exhausted(&self) -> u64 {
        self.head.exhausted
    }

    /// Bookkeeping of a chunk.
    #[inline]
    pub fn meta(&self, id: ChunkId) -> &ChunkMeta {
        &self.meta[id as usize]
    }

    /// Bookkeeping of a chunk.
    #[inline]
    pub fn meta_mut(&mut self, id: ChunkId) -> &mut ChunkMeta {
        &mut self.meta[id as usize]
    }

    /// All bytes of a chunk, in use or not.
    #[inline]
    pub fn data_mut(&mut self, id: ChunkId) -> &mut [u8; CHUNK_BYTES] {
        &mut self.data[id as usize]
    }

    /// The bytes of a chunk that are in use.
    #[inline]
    pub fn bytes(&self, id: ChunkId) -> &[u8] {
        let m = &self.meta[id as usize];
        &self.data[id as usize][usize::from(m.start)..][..usize::from(m.len)]
    }

    /// Appends to the bytes in use of a chunk what still fits; returns how many.
    #[inline]
    pub fn fill(&mut self, id: ChunkId, src: Foreign<'_>) -> usize {
        let m = &mut self.meta[id as usize];
        let n =
            src.copy_to(&mut self.data[id as usize][usize::from(m.start) + usize::from(m.len)..]);
        #[expect(clippy::cast_possible_truncation, reason = "at most CHUNK_BYTES")]
        {
            m.len += n as u16;
        }
        n
    }

    /// Appends to the bytes in use of a chunk those of another one, if all of them fit. Whether they did.
    fn absorb(&mut self, into: ChunkId, from: ChunkId) -> bool {
        let [to, by] = [*self.meta(into), *self.meta(from)];
        let end = usize::from(to.start) + usize::from(to.len);
        let source = usize::from(by.start)..usize::from(by.start) + usize::from(by.len);
        let chunks = [into as usize, from as usize];
        let Ok([data, bytes]) = self.data.get_disjoint_mut(chunks) else {
            return false;
        };
        let (Some(room), Some(bytes)) = (data.get_mut(end..), bytes.get(source)) else {
            return false;
        };
        let Some(room) = room.get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.meta_mut(into).len += by.len;
        true
    }
}

/// A queue of bytes in chunks. Zeroed memory is not an empty queue; begin with [`ChunkQueue::EMPTY`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkQueue {
    head: ChunkId,
    tail: ChunkId,
    bytes: u32,
    chunks: u32,
}

impl ChunkQueue {
    /// Nothing queued.
    pub const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        bytes: 0,
        chunks: 0,
    };

    /// Bytes queued.
    #[inline]
    pub const fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing is queued.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The first chunk, [`NONE`] if there is none.
    #[inline]
    pub const fn head(&self) -> ChunkId {
        self.head
    }

    /// The last chunk, [`NONE`] if there is none.
    #[inline]
    pub const fn tail(&self) -> ChunkId {
        self.tail
    }

    /// Chunks in the queue.
    #[inline]
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Appends `src`, filling the last chunk before taking new ones. Returns how many bytes were taken: fewer than
    /// there are when the pool is exhausted.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    pub fn append(&mut self, pool: &mut ChunkPool<'_>, src: Foreign<'_>, purpose: Use) -> usize {
        if self.tail == NONE && src.len() <= CHUNK_BYTES && !src.is_empty() {
            return self.begin(pool, src, purpose);
        }
        self.append_more(pool, src, purpose)
    }

    #[inline(never)]
    fn append_more(&mut self, pool: &mut ChunkPool<'_>, src: Foreign<'_>, purpose: Use) -> usize {
        let mut rest = src;
        if self.tail != NONE {
            let n = pool.fill(self.tail, rest);
            self.grow(n);
            if n == rest.len() {
                return n;
            }
            rest = rest.skip(n);
        }
        while !rest.is_empty() {
            let Some(id) = pool.alloc(purpose) else { break };
            let n = pool.fill(id, rest);
            self.link(pool, id, n);
            rest = rest.skip(n);
        }
        src.len() - rest.len()
    }

    /// Puts what one chunk holds into an empty queue, or nothing where the pool has none. Returns how many bytes.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    fn begin(&mut self, pool: &mut ChunkPool<'_>, src: Foreign<'_>, purpose: Use) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "at most CHUNK_BYTES")]
        let (len, bytes) = (src.len() as u16, src.len() as u32);
        let Some(id) = pool.alloc_filled(purpose, len) else {
            return 0;
        };
        src.copy_to(&mut pool.data[id as usize]);
        self.bytes = bytes;
        (self.head, self.tail, self.chunks) = (id, id, 1);
        src.len()
    }

    /// Appends a chunk with what it holds; the queue owns it from here on.
    #[inline]
    pub fn push_chunk(&mut self, pool: &mut ChunkPool<'_>, id: ChunkId) {
        let meta = pool.meta_mut(id);
        meta.next = NONE;
        let bytes = usize::from(meta.len);
        self.link(pool, id, bytes);
    }

    /// The same, but what the last chunk has room for is copied there, and the chunk given back.
    pub fn push_compact(&mut self, pool: &mut ChunkPool<'_>, id: ChunkId) {
        if self.tail == NONE || !pool.absorb(self.tail, id) {
            return self.push_chunk(pool, id);
        }
        self.grow(usize::from(pool.meta(id).len));
        pool.free(id);
    }

    /// Makes `id`, which ends its list and holds so many bytes, the last chunk.
    #[inline]
    fn link(&mut self, pool: &mut ChunkPool<'_>, id: ChunkId, bytes: usize) {
        if self.tail == NONE {
            self.head = id;
        } else {
            pool.meta_mut(self.tail).next = id;
        }
        self.tail = id;
        self.chunks += 1;
        self.grow(bytes);
    }

    /// Takes the first chunk off with what it holds; the caller owns it from here on.
    #[inline]
    pub fn pop_chunk(&mut self, pool: &mut ChunkPool<'_>) -> Option<ChunkId> {
        let id = (self.head != NONE).then_some(self.head)?;
        let meta = *pool.meta(id);
        self.head = meta.next;
        if self.head == NONE {
            self.tail = NONE;
        }
        self.chunks -= 1;
        self.bytes -= u32::from(meta.len);
        Some(id)
    }

    /// Drops `n` bytes from the front; all of them where there are fewer.
    #[inline]
    pub fn consume(&mut self, pool: &mut ChunkPool<'_>, n: usize) {
        let mut rest = n.min(self.len());
        let mut steps = pool.steps();
        while rest > 0 && self.head != NONE {
            let meta = pool.meta_mut(self.head);
            let here = usize::from(meta.len);
            if rest < here {
                #[expect(clippy::cast_possible_truncation, reason = "less than a chunk")]
                let step = rest as u16;
                meta.start += step;
                meta.len -= step;
                self.bytes -= u32::from(step);
                return;
            }
            steps.step();
            if let Some(id) = self.pop_chunk(pool) {
                pool.free(id);
            }
            rest -= here;
        }
    }

    /// Copies from `offset` bytes into the queue on, as far as `dst` and the queue reach. Returns how many bytes.
    #[inline]
    pub fn copy_out(&self, pool: &ChunkPool<'_>, offset: usize, dst: &mut ForeignMut<'_>) -> usize {
        let (mut id, mut skip, mut done) = (self.head, offset, 0);
        let mut steps = pool.steps();
        while id != NONE && done < dst.len() {
            steps.step();
            let bytes = pool.bytes(id);
            if skip < bytes.len() {
                done += dst.skip(done).copy_from(&bytes[skip..]);
                skip = 0;
            } else {
                skip -= bytes.len();
            }
            id = pool.meta(id).next;
        }
        done
    }

    /// Copies to `dst` from the front and drops what was copied. Returns how many bytes.
    #[inline]
    pub fn read(&mut self, pool: &mut ChunkPool<'_>, dst: &mut ForeignMut<'_>) -> usize {
        let n = self.copy_out(pool, 0, dst);
        self.consume(pool, n);
        n
    }

    /// Gives all chunks back.
    pub fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        let mut steps = pool.steps();
        while let Some(id) = self.pop_chunk(pool) {
            steps.step();
            pool.free(id);
        }
        *self = Self::EMPTY;
    }

    #[inline]
    fn grow(&mut self, n: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "at most CHUNK_BYTES")]
        {
            self.bytes += n as u32;
        }
    }
}
