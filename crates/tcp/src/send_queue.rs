//! The send queue: bytes from SND.UNA on, and a cursor at SND.NXT so that sending in order never walks the queue.

use sidestep_shm::{ChunkId, ChunkPool, ChunkQueue, Foreign, ForeignMut, NONE, Use};
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes written by the program that the peer has not acknowledged.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SendQueue {
    queue: ChunkQueue,
    /// The chunk that holds the byte `cursor_seq`, [`NONE`] when the cursor is unset. A hint: moved by
    /// [`locate`](Self::locate), dropped when its chunk may be gone.
    cursor_chunk: ChunkId,
    /// Where in that chunk's memory the byte lies; not relative to the chunk's start, which acknowledgements move.
    cursor_at: u32,
    cursor_seq: Seq,
    /// Chunk + 1 of where records end, 0 where there are none; see `records`.
    pub(crate) records: u32,
}

/// Where a segment's payload begins in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: ChunkId,
    at: u32,
}

impl Place {
    /// No payload.
    pub(crate) const NOWHERE: Self = Self { chunk: NONE, at: 0 };
}

impl SendQueue {
    pub(crate) const EMPTY: Self = Self {
        queue: ChunkQueue::EMPTY,
        cursor_chunk: NONE,
        cursor_at: 0,
        cursor_seq: Seq(0),
        records: 0,
    };

    /// Bytes queued, sent or not.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a queue counts its bytes in 32 bits"
    )]
    pub(crate) const fn len(&self) -> u32 {
        self.queue.len() as u32
    }

    /// Appends what the pool has room for; returns how many bytes.
    #[inline]
    pub(crate) fn append(&mut self, pool: &mut ChunkPool<'_>, src: Foreign<'_>) -> usize {
        self.queue.append(pool, src, Use::Send)
    }

    /// Drops `bytes` acknowledged ones; `snd_una` is the sequence number of the first byte that stays.
    #[inline]
    pub(crate) fn consume(&mut self, pool: &mut ChunkPool<'_>, bytes: u32, snd_una: Seq) {
        self.queue.consume(pool, bytes as usize);
        if self.cursor_chunk != NONE && self.cursor_seq.le(snd_una) {
            self.cursor_chunk = NONE;
        }
    }

    /// The place of the byte `seq`, given that of the first one; moves the cursor there.
    pub(crate) fn locate(&mut self, pool: &ChunkPool<'_>, snd_una: Seq, seq: Seq) -> Place {
        let (mut chunk, mut at, from) = if self.cursor_chunk != NONE && self.cursor_seq.le(seq) {
            (self.cursor_chunk, self.cursor_at, self.cursor_seq)
        } else {
            let head = self.queue.head();
            if head == NONE {
                return Place::NOWHERE;
            }
            (head, u32::from(pool.meta(head).start), snd_una)
        };
        let mut skip = seq.0.wrapping_sub(from.0);
        let mut steps = pool.steps();
        loop {
            steps.step();
            let meta = pool.meta(chunk);
            let left = (u32::from(meta.start) + u32::from(meta.len)).saturating_sub(at);
            if skip < left || meta.next == NONE {
                at += skip.min(left);
                break;
            }
            skip -= left;
            chunk = meta.next;
            at = u32::from(pool.meta(chunk).start);
        }
        (self.cursor_chunk, self.cursor_at, self.cursor_seq) = (chunk, at, seq);
        Place { chunk, at }
    }

    /// Copies bytes from `place` on into `dst`, as far as both reach. Returns how many.
    #[inline]
    pub(crate) fn copy_from(pool: &ChunkPool<'_>, place: Place, dst: &mut ForeignMut<'_>) -> usize {
        let (mut chunk, mut at, mut done) = (place.chunk, place.at, 0);
        let mut steps = pool.steps();
        while chunk != NONE && done < dst.len() {
            steps.step();
            let start = u32::from(pool.meta(chunk).start);
            let bytes = pool.bytes(chunk);
            let skip = (at.saturating_sub(start) as usize).min(bytes.len());
            done += dst.skip(done).copy_from(&bytes[skip..]);
            chunk = pool.meta(chunk).next;
            at = 0;
        }
        done
    }

    /// Gives all chunks back.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        self.queue.clear(pool);
        self.forget_records(pool);
        *self = Self::EMPTY;
    }
}

#[cfg(test)]
mod tests;
