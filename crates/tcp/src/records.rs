//! Where records end, which writes with MSG_EOR keep apart in segments, also when they are sent again.
//!
//! Few programs ask for it: the ends lie in a chunk of their own, taken when the first record is written, and given back
//! when the last is acknowledged.

use crate::send_queue::SendQueue;
use crate::tcb::{Env, Marks, Rare, Tcb};
use sidestep_shm::{CHUNK_BYTES, ChunkPool, Use};
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Records whose ends are remembered; of more at a time, the ends are forgotten.
const RECORDS_MAX: usize = 500;

/// The ends, oldest first.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ends {
    count: u32,
    ends: [Seq; RECORDS_MAX],
}

const _: () = assert!(size_of::<Ends>() <= CHUNK_BYTES);

impl Ends {
    fn all(&self) -> &[Seq] {
        &self.ends[..(self.count as usize).min(RECORDS_MAX)]
    }
}

impl SendQueue {
    fn ends<'p>(&self, pool: &'p ChunkPool<'_>) -> &'p [Seq] {
        let chunk = self.records.checked_sub(1);
        let bytes = chunk.map_or(&[][..], |chunk| pool.bytes(chunk));
        Ends::ref_from_prefix(bytes).map_or(&[], |(ends, _)| ends.all())
    }

    /// Works on the ends, in a chunk that is taken for them if there is none. False where there is no memory.
    fn change_ends(&mut self, pool: &mut ChunkPool<'_>, change: impl FnOnce(&mut Ends)) -> bool {
        if self.records == 0 {
            let Some(chunk) = pool.alloc(Use::Send) else {
                return false;
            };
            pool.data_mut(chunk).fill(0);
            let meta = pool.meta_mut(chunk);
            meta.len = u16::try_from(size_of::<Ends>()).unwrap_or(u16::MAX);
            self.records = chunk + 1;
        }
        if let Ok((ends, _)) = Ends::mut_from_prefix(pool.data_mut(self.records - 1)) {
            change(ends);
        }
        true
    }

    /// Gives the memory back.
    pub(crate) fn forget_records(&mut self, pool: &mut ChunkPool<'_>) {
        if let Some(chunk) = core::mem::take(&mut self.records).checked_sub(1) {
            pool.free(chunk);
        }
    }
}

impl Tcb {
    /// What is queued now ends a record (MSG_EOR): what follows begins a segment.
    #[cold]
    pub fn end_record(&mut self, env: &mut Env<'_, '_>) {
        let end = self.written_to();
        let kept = self.snd.change_ends(env.pool, |ends| {
            let count = ends.all().len();
            if count < RECORDS_MAX && ends.all().last() != Some(&end) {
                ends.ends[count] = end;
                ends.count += 1;
            }
        });
        self.marks
            .set(Marks::SPECIAL, kept || self.is(Marks::SPECIAL));
    }

    /// Bytes from `seq` on, `len` at most, that are of one record.
    #[cold]
    pub(crate) fn within_record(&self, pool: &ChunkPool<'_>, seq: Seq, len: u32) -> u32 {
        let ends = self.snd.ends(pool).iter();
        let end = ends.copied().find(|end| end.gt(seq));
        end.map_or(len, |end| len.min(end.0.wrapping_sub(seq.0)))
    }

    /// Whether a record ends there.
    #[cold]
    pub(crate) fn ends_record(&self, pool: &ChunkPool<'_>, seq: Seq) -> bool {
        self.snd.ends(pool).contains(&seq)
    }

    /// Forgets the records that are acknowledged.
    pub(crate) fn drop_records(&mut self, env: &mut Env<'_, '_>) {
        let una = self.snd_una;
        let left = self.snd.ends(env.pool).iter().filter(|end| end.gt(una));
        if left.count() > 0 {
            self.snd.change_ends(env.pool, |ends| {
                let gone = ends.all().iter().take_while(|end| end.le(una)).count();
                let count = ends.all().len();
                ends.ends.copy_within(gone..count, 0);
                ends.count = u32::try_from(count - gone).unwrap_or(0);
            });
            return;
        }
        self.snd.forget_records(env.pool);
        let watched = self.rare.contains(Rare::WATCHED);
        self.marks.set(Marks::SPECIAL, watched);
    }

    /// From now on, or no longer, acknowledgements of text are told by
    /// [`Events::ACKNOWLEDGED`](crate::Events::ACKNOWLEDGED), and no message takes the short way out.
    pub fn watch_acknowledgements(&mut self, on: bool) {
        self.rare.set(Rare::WATCHED, on);
        self.marks.set(Marks::SPECIAL, on || self.snd.records != 0);
    }

    /// Where what was written ends.
    pub fn written_to(&self) -> Seq {
        self.snd_una + self.snd.len()
    }

    /// Where what was sent ends, and what is acknowledged.
    pub const fn sent_to(&self) -> (Seq, Seq) {
        (self.snd_nxt, self.snd_una)
    }
}
