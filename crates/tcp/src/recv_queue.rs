//! The receive queue: bytes in order for the reader, and the segments that came ahead of a hole.
//!
//! ```text
//! ready     ████████████████           in order; its end is RCV.NXT
//! ahead                      ████  ██  chunks sorted by sequence number (`ChunkMeta::tag`), without overlap
//! ```
//! When a hole closes, chunks move from one queue to the other: without a copy, except that what the last one has room
//! for goes there, so that two neighbours always hold more than one could and many little segments take few chunks.

use sidestep_shm::{CHUNK_BYTES, ChunkId, ChunkPool, ChunkQueue, Foreign, ForeignMut, NONE, Use};
use sidestep_wire::Seq;
#[cfg(test)]
use sidestep_wire::tcp::SackBlocks;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes received that the program has not read.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RecvQueue {
    ready: ChunkQueue,
    ahead_head: ChunkId,
    ahead_tail: ChunkId,
    ahead_bytes: u32,
    ahead_chunks: u32,
}

impl RecvQueue {
    pub(crate) const EMPTY: Self = Self {
        ready: ChunkQueue::EMPTY,
        ahead_head: NONE,
        ahead_tail: NONE,
        ahead_bytes: 0,
        ahead_chunks: 0,
    };

    /// Bytes that can be read.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a queue counts its bytes in 32 bits"
    )]
    pub(crate) const fn len(&self) -> u32 {
        self.ready.len() as u32
    }

    /// Whether there is no hole.
    #[inline]
    pub(crate) const fn is_contiguous(&self) -> bool {
        self.ahead_chunks == 0
    }

    /// Bytes that wait behind a hole.
    pub(crate) const fn ahead_bytes(&self) -> u32 {
        self.ahead_bytes
    }

    /// Appends bytes at RCV.NXT; returns how many there was room for in the pool.
    #[inline]
    pub(crate) fn append(&mut self, pool: &mut ChunkPool<'_>, src: Foreign<'_>) -> usize {
        self.ready.append(pool, src, Use::Receive)
    }

    /// Copies to `dst`, and drops what was copied unless `peek`. Returns how many bytes.
    #[inline]
    pub(crate) fn read(
        &mut self,
        pool: &mut ChunkPool<'_>,
        dst: &mut ForeignMut<'_>,
        peek: bool,
    ) -> usize {
        if self.ready.is_empty() {
            // Also the case of a zeroed entry, whose queue has no valid ends.
            return 0;
        }
        if peek {
            self.ready.copy_out(pool, 0, dst)
        } else {
            self.ready.read(pool, dst)
        }
    }

    /// Drops up to `bytes` from the front, as reading them would. Returns how many.
    pub(crate) fn skip(&mut self, pool: &mut ChunkPool<'_>, bytes: usize) -> usize {
        let bytes = bytes.min(self.ready.len());
        self.ready.consume(pool, bytes);
        bytes
    }

    /// Copies bytes from `offset` on to `dst` without dropping any.
    pub(crate) fn copy_out(
        &self,
        pool: &ChunkPool<'_>,
        offset: usize,
        dst: &mut ForeignMut<'_>,
    ) -> usize {
        if self.ready.is_empty() {
            0
        } else {
            self.ready.copy_out(pool, offset, dst)
        }
    }

    /// Keeps bytes that begin at `seq`, beyond RCV.NXT, as far as they are new and at most `chunks_max` chunks wait.
    /// Returns how many of the first ones are here now.
    pub(crate) fn insert_ahead(
        &mut self,
        pool: &mut ChunkPool<'_>,
        seq: Seq,
        payload: Foreign<'_>,
        chunks_max: u32,
    ) -> u32 {
        let (from, mut seq, mut rest) = (seq, seq, payload);
        // The usual case after a single loss: behind all that waits already.
        let mut before = NONE;
        let mut after = self.ahead_head;
        if self.ahead_tail != NONE && seq.ge(chunk_end(pool, self.ahead_tail)) {
            before = self.ahead_tail;
            after = NONE;
        }
        let mut steps = pool.steps();
        while !rest.is_empty() {
            steps.step();
            while after != NONE && chunk_end(pool, after).le(seq) {
                steps.step();
                before = after;
                after = pool.meta(after).next;
            }
            let gap = if after == NONE {
                rest.len()
            } else {
                let start = Seq(pool.meta(after).tag);
                rest.len().min(distance(seq, start))
            };
            let kept = self.fill_gap(pool, &mut before, after, (seq, rest.first(gap)), chunks_max);
            if kept < gap {
                return (seq + clamp_u32(kept)).0.wrapping_sub(from.0);
            }
            let covered = if after == NONE {
                gap
            } else {
                // What the chunk behind the gap holds already is skipped.
                distance(seq, chunk_end(pool, after)).min(rest.len())
            };
            seq += clamp_u32(covered);
            rest = rest.skip(covered);
        }
        seq.0.wrapping_sub(from.0)
    }

    /// Puts bytes between two chunks of the list, into the first one's spare room and then into new chunks.
    fn fill_gap(
        &mut self,
        pool: &mut ChunkPool<'_>,
        before: &mut ChunkId,
        after: ChunkId,
        (mut seq, mut rest): (Seq, Foreign<'_>),
        chunks_max: u32,
    ) -> usize {
        let wanted = rest.len();
        if *before != NONE && chunk_end(pool, *before) == seq {
            let n = pool.fill(*before, rest);
            self.ahead_bytes += clamp_u32(n);
            seq += clamp_u32(n);
            rest = rest.skip(n);
        }
        while !rest.is_empty() && self.ahead_chunks < chunks_max {
            let Some(id) = pool.alloc(Use::Receive) else {
                break;
            };
            let n = pool.fill(id, rest);
            let meta = pool.meta_mut(id);
            (meta.tag, meta.next) = (seq.0, after);
            if *before == NONE {
                self.ahead_head = id;
            } else {
                pool.meta_mut(*before).next = id;
            }
            if after == NONE {
                self.ahead_tail = id;
            }
            *before = id;
            self.ahead_chunks += 1;
            self.ahead_bytes += clamp_u32(n);
            seq += clamp_u32(n);
            rest = rest.skip(n);
        }
        wanted - rest.len()
    }

    /// Moves what has become contiguous with `rcv_nxt` to the readable bytes; returns the new RCV.NXT.
    pub(crate) fn advance(&mut self, pool: &mut ChunkPool<'_>, mut rcv_nxt: Seq) -> Seq {
        let mut steps = pool.steps();
        while self.ahead_head != NONE {
            steps.step();
            let id = self.ahead_head;
            let meta = *pool.meta(id);
            let overlap = rcv_nxt - Seq(meta.tag);
            if overlap < 0 {
                break;
            }
            self.ahead_head = meta.next;
            if meta.next == NONE {
                self.ahead_tail = NONE;
            }
            self.ahead_chunks -= 1;
            self.ahead_bytes -= u32::from(meta.len);
            match u16::try_from(overlap) {
                Ok(known) if known < meta.len => {
                    let meta = pool.meta_mut(id);
                    meta.start += known;
                    meta.len -= known;
                    rcv_nxt += u32::from(meta.len);
                    self.ready.push_compact(pool, id);
                }
                _ => pool.free(id),
            }
        }
        rcv_nxt
    }

    /// The runs of bytes that wait behind holes, lowest first, as far as they fit.
    #[cfg(test)]
    pub(crate) fn blocks_ahead(&self, pool: &ChunkPool<'_>) -> SackBlocks {
        let mut blocks = SackBlocks::EMPTY;
        let mut id = self.ahead_head;
        while id != NONE {
            let start = Seq(pool.meta(id).tag);
            let mut end = chunk_end(pool, id);
            id = pool.meta(id).next;
            while id != NONE && Seq(pool.meta(id).tag) == end {
                end = chunk_end(pool, id);
                id = pool.meta(id).next;
            }
            if !blocks.push(start, end) {
                break;
            }
        }
        blocks
    }

    /// Gives the chunks back that wait behind a hole.
    pub(crate) fn clear_ahead(&mut self, pool: &mut ChunkPool<'_>) {
        let mut steps = pool.steps();
        while self.ahead_head != NONE {
            steps.step();
            let next = pool.meta(self.ahead_head).next;
            pool.free(self.ahead_head);
            self.ahead_head = next;
        }
        *self = Self {
            ready: self.ready,
            ..Self::EMPTY
        };
    }

    /// Gives all chunks back.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        self.clear_ahead(pool);
        self.ready.clear(pool);
    }
}

/// How many chunks may wait behind holes in a buffer of so many bytes: twice what full chunks would need, so that
/// tiny segments with holes between them cannot take the whole pool.
#[expect(clippy::cast_possible_truncation, reason = "CHUNK_BYTES is small")]
pub(crate) const fn chunks_ahead_max(rcv_buf_bytes: u32) -> u32 {
    rcv_buf_bytes / (CHUNK_BYTES as u32 / 2) + 16
}

fn chunk_end(pool: &ChunkPool<'_>, id: ChunkId) -> Seq {
    let meta = pool.meta(id);
    Seq(meta.tag) + u32::from(meta.len)
}

/// Bytes from `from` up to `to`; none if `to` comes first.
fn distance(from: Seq, to: Seq) -> usize {
    usize::try_from(to - from).unwrap_or(0)
}

fn clamp_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
