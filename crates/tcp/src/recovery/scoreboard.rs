//! What is known of everything in flight: runs of sequence numbers from SND.UNA to SND.NXT, each with the time of its
//! last transmission and its fate.
//!
//! ```text
//! SND.UNA                                                  SND.NXT
//!    │ sent 12:00 │ SACKED │ LOST │ SACKED │ sent 12:01 │ 12:02 │     one `Run` each, by its end
//! ```
//! Undisturbed, a run holds all that was sent within a small part of a round trip, and a few of them lie in the
//! connection itself. Where losses make more of them, they move to a chunk of the pool, and back when they have become
//! few; so an idle connection keeps nothing, and there is room for every hole of a window that anybody loses much of.
//! (Metadata of the queue's chunks could not say it: segments and chunks share no boundaries.) Where there is no
//! room even so, news is not believed, which costs a retransmission and nothing else.

use sidestep_shm::{CHUNK_BYTES, ChunkId, ChunkPool, NONE, Nanos, Use};
use sidestep_wire::Seq;
use zerocopy::native_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Runs kept in the connection itself.
const INLINE: usize = 10;
/// Runs that a chunk holds.
const IN_CHUNK: usize = CHUNK_BYTES / size_of::<Run>();

/// The peer has it, out of order.
const SACKED: u32 = 1;
/// Believed lost, and to be sent again.
const LOST: u32 = 2;
/// Sent more than once.
const AGAIN: u32 = 4;
/// Something was sent again since, a tick later than it was: what follows is of another run, and later still.
const SEALED: u32 = 8;

/// Time in ticks of 1.024 µs, modulo 2^32; times in flight are minutes apart at most.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the clock wraps around")]
pub(crate) const fn ticks(time: Nanos) -> u32 {
    (time.0 >> 10) as u32
}

/// Ticks as a time span.
#[inline]
pub(crate) const fn span(ticks: u32) -> Nanos {
    Nanos((ticks as u64) << 10)
}

/// A run of sequence numbers; it begins where the one before ends.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Run {
    end: U32,
    sent: U32,
    fate: U32,
}

impl Run {
    /// When a run counts as sent that follows this one and is sent now.
    #[inline]
    const fn after(&self, now: u32) -> u32 {
        now.wrapping_add((self.fate.get() & SEALED != 0) as u32)
    }

    const fn new(end: Seq, sent: u32, fate: u32) -> Self {
        Self {
            end: U32::new(end.0),
            sent: U32::new(sent),
            fate: U32::new(fate),
        }
    }

    #[inline]
    pub(crate) const fn end(&self) -> Seq {
        Seq(self.end.get())
    }

    /// When it was last sent, in [`ticks`].
    #[inline]
    pub(crate) const fn sent(&self) -> u32 {
        self.sent.get()
    }

    pub(crate) const fn is_sacked(&self) -> bool {
        self.fate.get() & SACKED != 0
    }

    pub(crate) const fn is_lost(&self) -> bool {
        self.fate.get() & LOST != 0
    }

    pub(crate) const fn was_repeated(&self) -> bool {
        self.fate.get() & AGAIN != 0
    }
}

/// What an acknowledgement says has arrived that was not known to have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// How many bytes.
    pub(crate) bytes: u32,
    /// The one sent last: when, its end, and whether it had been sent before.
    pub(crate) newest: Option<(u32, Seq, bool)>,
    /// Of those sent only once: the lowest end, and when.
    pub(crate) lowest_original: Option<Seq>,
}

impl Delivered {
    fn note(&mut self, start: Seq, end: Seq, run: &Run) {
        self.bytes += end.0.wrapping_sub(start.0);
        let (sent, again) = (run.sent(), run.was_repeated());
        let newer = self
            .newest
            .is_none_or(|(known, at, _)| is_after((sent, end), (known, at)));
        if newer {
            self.newest = Some((sent, end, again));
        }
        if !again && self.lowest_original.is_none_or(|lowest| end.lt(lowest)) {
            self.lowest_original = Some(end);
        }
    }

    /// Both together.
    pub(crate) fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.newest = match (self.newest, other.newest) {
            (Some(a), Some(b)) if is_after((b.0, b.1), (a.0, a.1)) => Some(b),
            (a, b) => a.or(b),
        };
        self.lowest_original = match (self.lowest_original, other.lowest_original) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// Whether one transmission came after another; in the same tick the sequence numbers tell (RFC 8985 6.2).
pub(crate) const fn is_after(a: (u32, Seq), b: (u32, Seq)) -> bool {
    let ahead = a.0.wrapping_sub(b.0).cast_signed();
    ahead > 0 || (ahead == 0 && a.1.gt(b.1))
}

/// The runs, and sums over them. Zeroed memory is not an empty one; begin with [`Scoreboard::EMPTY`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Scoreboard {
    /// SACKED and LOST bytes: outstanding, but not in the network.
    absent_bytes: u32,
    /// Where the runs are; [`NONE`] if here.
    chunk: ChunkId,
    count: u32,
    sacked_bytes: u32,
    lost_bytes: u32,
    /// Sent again, and in the network.
    repeated_bytes: u32,
    inline: [Run; INLINE],
}

impl Scoreboard {
    pub(crate) const EMPTY: Self = Self {
        absent_bytes: 0,
        chunk: NONE,
        count: 0,
        sacked_bytes: 0,
        lost_bytes: 0,
        repeated_bytes: 0,
        inline: [Run::new(Seq(0), 0, 0); INLINE],
    };

    /// Bytes outstanding that are not in the network, as far as is known.
    #[inline]
    pub(crate) const fn absent_bytes(&self) -> u32 {
        self.absent_bytes
    }

    #[inline]
    pub(crate) const fn sacked_bytes(&self) -> u32 {
        self.sacked_bytes
    }

    #[inline]
    pub(crate) const fn lost_bytes(&self) -> u32 {
        self.lost_bytes
    }

    /// Bytes that were sent again, and may still arrive.
    pub(crate) const fn repeated_bytes(&self) -> u32 {
        self.repeated_bytes
    }

    /// When the newest transmission of all was, in [`ticks`].
    pub(crate) fn last_sent(&self, pool: &ChunkPool<'_>) -> Option<u32> {
        let runs = self.runs(pool).iter().filter(|run| !run.is_sacked());
        runs.map(Run::sent).reduce(|a, b| {
            if is_after((b, Seq(0)), (a, Seq(0))) {
                b
            } else {
                a
            }
        })
    }

    /// The runs, lowest first.
    pub(crate) fn runs<'a>(&'a self, pool: &'a ChunkPool<'_>) -> &'a [Run] {
        let all = if self.chunk == NONE {
            &self.inline[..]
        } else {
            <[Run]>::ref_from_bytes(&pool.bytes(self.chunk)[..IN_CHUNK * size_of::<Run>()])
                .unwrap_or(&[])
        };
        &all[..(self.count as usize).min(all.len())]
    }

    fn table<'a>(&'a mut self, pool: &'a mut ChunkPool<'_>) -> &'a mut [Run] {
        if self.chunk == NONE {
            return &mut self.inline[..];
        }
        let bytes = &mut pool.data_mut(self.chunk)[..IN_CHUNK * size_of::<Run>()];
        <[Run]>::mut_from_bytes(bytes).unwrap_or(&mut [])
    }

    /// Notes that what lies between the last run and `end` was sent for the first time; within `grain` ticks of the
    /// last it counts as sent together with it.
    #[inline]
    pub(crate) fn push(&mut self, pool: &mut ChunkPool<'_>, end: Seq, now: u32, grain: u32) {
        let count = self.count as usize;
        if self.chunk != NONE || count == INLINE {
            self.push_crowded(pool, end, now, grain);
            return;
        }
        let mut sent = now;
        if count > 0 {
            let last = &mut self.inline[count - 1];
            let recent = now.wrapping_sub(last.sent()).cast_signed();
            if last.fate.get() == 0 && recent <= grain.cast_signed() {
                last.end = U32::new(end.0);
                return;
            }
            sent = last.after(now);
        }
        self.inline[count] = Run::new(end, sent, 0);
        self.count += 1;
    }

    #[cold]
    fn push_crowded(&mut self, pool: &mut ChunkPool<'_>, end: Seq, now: u32, grain: u32) {
        let count = self.count as usize;
        let disturbed = self.absent_bytes > 0;
        let mut sent = now;
        if let Some(last) = self.table(pool).get_mut(count.saturating_sub(1)) {
            let recent = now.wrapping_sub(last.sent()).cast_signed();
            if last.fate.get() == 0 && (!disturbed || recent <= grain.cast_signed()) {
                // Undisturbed, a coarser time is good enough.
                last.end = U32::new(end.0);
                return;
            }
            sent = last.after(now);
        }
        if !self.insert(pool, count, Run::new(end, sent, 0))
            && let Some(last) = self.table(pool).get_mut(count.saturating_sub(1))
        {
            // Its fate is forgotten: the worst of it is a retransmission.
            *last = Run::new(end, sent, last.fate.get() & AGAIN);
        }
    }

    /// Drops what `una` acknowledges where nothing is known but times. Returns when the last of it was sent.
    #[inline]
    pub(crate) fn advance_undisturbed(
        &mut self,
        pool: &mut ChunkPool<'_>,
        from: Seq,
        (una, nxt): (Seq, Seq),
    ) -> Option<u32> {
        if self.chunk != NONE || self.absent_bytes != 0 {
            return self.advance(pool, from, una).newest.map(|newest| newest.0);
        }
        let count = self.count as usize;
        if una == nxt {
            self.count = 0;
            self.repeated_bytes = 0;
            return count.checked_sub(1).map(|last| self.inline[last].sent());
        }
        let gone = self.inline[..count]
            .iter()
            .take_while(|run| run.end().le(una))
            .count();
        let newest = self.inline[gone.saturating_sub(1)].sent();
        if gone > 0 {
            self.inline.copy_within(gone..count, 0);
            self.count -= u32::try_from(gone).unwrap_or(0);
        }
        Some(newest)
    }

    /// Drops what `una` acknowledges; the first run began at `from`.
    pub(crate) fn advance(&mut self, pool: &mut ChunkPool<'_>, from: Seq, una: Seq) -> Delivered {
        let mut delivered = Delivered::default();
        let (mut start, mut gone) = (from, 0);
        for run in self.runs(pool) {
            if start.ge(una) {
                break;
            }
            let end = run.end().min(una);
            if !run.is_sacked() {
                delivered.note(start, end, run);
            }
            gone += usize::from(run.end().le(una));
            start = end;
        }
        self.remove(pool, 0, gone);
        self.settle(pool, una);
        delivered
    }

    /// Notes that the peer has what lies between `start` and `end`; the first run begins at `una`.
    pub(crate) fn mark_sacked(
        &mut self,
        pool: &mut ChunkPool<'_>,
        una: Seq,
        (start, end): (Seq, Seq),
    ) -> Delivered {
        let mut delivered = Delivered::default();
        let (Some(first), Some(behind)) =
            (self.split(pool, una, start), self.split(pool, una, end))
        else {
            return delivered;
        };
        let mut at = start;
        for run in &mut self.table(pool)[first..behind] {
            if !run.is_sacked() {
                delivered.note(at, run.end(), run);
                run.fate = U32::new(SACKED);
            }
            at = run.end();
        }
        self.settle(pool, una);
        delivered
    }

    /// Marks as lost what is neither SACKED nor known to be lost, where `is_lost` says so of a run and its start.
    /// Returns how many bytes that were.
    pub(crate) fn mark_lost(
        &mut self,
        pool: &mut ChunkPool<'_>,
        una: Seq,
        mut is_lost: impl FnMut(&Run, Seq) -> bool,
    ) -> u32 {
        let before = self.lost_bytes;
        let (count, mut start) = (self.count as usize, una);
        for run in self.table(pool).iter_mut().take(count) {
            if !run.is_sacked() && !run.is_lost() && is_lost(run, start) {
                run.fate = U32::new(run.fate.get() | LOST);
            }
            start = run.end();
        }
        self.settle(pool, una);
        self.lost_bytes.saturating_sub(before)
    }

    /// Marks as lost what lies between SND.UNA and `end`, unless it was sent again already.
    pub(crate) fn mark_first_lost(&mut self, pool: &mut ChunkPool<'_>, una: Seq, end: Seq) {
        let _ = self.split(pool, una, end);
        self.mark_lost(pool, una, |run, start| start.lt(end) && !run.was_repeated());
    }

    /// Nothing is lost after all.
    pub(crate) fn clear_lost(&mut self, pool: &mut ChunkPool<'_>, una: Seq) {
        self.clear_fate(pool, una, LOST);
    }

    /// The peer has thrown away what it had acknowledged out of order (RFC 2018 section 8).
    pub(crate) fn clear_sacked(&mut self, pool: &mut ChunkPool<'_>, una: Seq) {
        self.clear_fate(pool, una, SACKED);
    }

    fn clear_fate(&mut self, pool: &mut ChunkPool<'_>, una: Seq, fate: u32) {
        let count = self.count as usize;
        for run in self.table(pool).iter_mut().take(count) {
            run.fate = U32::new(run.fate.get() & !fate);
        }
        self.settle(pool, una);
    }

    /// The first run that is lost: its start and end.
    pub(crate) fn first_lost(&self, pool: &ChunkPool<'_>, una: Seq) -> Option<(Seq, Seq)> {
        let mut start = una;
        for run in self.runs(pool) {
            if run.is_lost() {
                return Some((start, run.end()));
            }
            start = run.end();
        }
        None
    }

    /// Notes that what lies between `start` and `end` is sent again.
    pub(crate) fn note_repeated(
        &mut self,
        pool: &mut ChunkPool<'_>,
        una: Seq,
        (start, end): (Seq, Seq),
        now: u32,
    ) {
        let (Some(first), behind) = (self.split(pool, una, start), self.split(pool, una, end))
        else {
            return;
        };
        // Where there is no room for a boundary at the end, all of the run counts as sent; a timeout sees to the rest.
        let behind = behind.unwrap_or(first + 1).min(self.count as usize);
        let count = self.count as usize;
        let table = self.table(pool);
        for run in &mut table[first..behind] {
            *run = Run::new(run.end(), now, AGAIN | (run.fate.get() & SACKED));
        }
        if let Some(last) = table[..count].last_mut() {
            last.fate = U32::new(last.fate.get() | SEALED);
        }
        self.settle(pool, una);
    }

    /// Gives the chunk back.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        if self.chunk != NONE {
            pool.free(self.chunk);
        }
        *self = Self::EMPTY;
    }

    /// Makes `seq` a boundary; returns the index of the run that begins there. None where there is no room for it, or
    /// where it is outside of all runs.
    fn split(&mut self, pool: &mut ChunkPool<'_>, una: Seq, seq: Seq) -> Option<usize> {
        let mut start = una;
        let mut cut = None;
        for (i, run) in self.runs(pool).iter().enumerate() {
            if start == seq {
                return Some(i);
            }
            if seq.lt(run.end()) {
                cut = Some((i, *run));
                break;
            }
            start = run.end();
        }
        let Some((i, run)) = cut else {
            return (start == seq).then_some(self.count as usize);
        };
        let lower = Run::new(seq, run.sent(), run.fate.get());
        (start.lt(seq) && self.insert(pool, i, lower)).then_some(i + 1)
    }

    /// Inserts a run; false where there is no room.
    fn insert(&mut self, pool: &mut ChunkPool<'_>, at: usize, run: Run) -> bool {
        let count = self.count as usize;
        if self.chunk == NONE && count == INLINE && !self.move_out(pool) {
            return false;
        }
        let table = self.table(pool);
        if count >= table.len() {
            return false;
        }
        table.copy_within(at..count, at + 1);
        table[at] = run;
        self.count += 1;
        true
    }

    fn remove(&mut self, pool: &mut ChunkPool<'_>, at: usize, gone: usize) {
        if gone == 0 {
            return;
        }
        let count = self.count as usize;
        self.table(pool).copy_within(at + gone..count, at);
        self.count -= u32::try_from(gone).unwrap_or(0);
    }

    fn move_out(&mut self, pool: &mut ChunkPool<'_>) -> bool {
        let Some(chunk) = pool.alloc(Use::Send) else {
            return false;
        };
        #[expect(clippy::cast_possible_truncation, reason = "2048")]
        {
            pool.meta_mut(chunk).len = CHUNK_BYTES as u16;
        }
        self.chunk = chunk;
        let inline = self.inline;
        self.table(pool)[..INLINE].copy_from_slice(&inline);
        true
    }

    /// After any change: neighbours that differ in nothing become one, sums are made anew, and few runs come home.
    fn settle(&mut self, pool: &mut ChunkPool<'_>, una: Seq) {
        let count = self.count as usize;
        let table = self.table(pool);
        let (mut kept, mut start) = (0, una);
        let (mut sacked, mut lost, mut repeated) = (0_u32, 0_u32, 0_u32);
        for i in 0..count.min(table.len()) {
            let run = table[i];
            let bytes = run.end().0.wrapping_sub(start.0);
            start = run.end();
            sacked += if run.is_sacked() { bytes } else { 0 };
            lost += if run.is_lost() { bytes } else { 0 };
            let travels = run.was_repeated() && !run.is_sacked() && !run.is_lost();
            repeated += if travels { bytes } else { 0 };
            let same = kept > 0 && {
                let last = &table[kept - 1];
                last.fate == run.fate && (last.sent == run.sent || run.is_sacked())
            };
            if same {
                table[kept - 1].end = run.end;
            } else {
                table[kept] = run;
                kept += 1;
            }
        }
        self.count = u32::try_from(kept).unwrap_or(0);
        (self.sacked_bytes, self.lost_bytes) = (sacked, lost);
        self.repeated_bytes = repeated;
        self.absent_bytes = sacked + lost;
        if self.chunk != NONE && kept <= INLINE / 2 {
            let chunk = self.chunk;
            let mut inline = self.inline;
            inline[..kept].copy_from_slice(&self.table(pool)[..kept]);
            (self.inline, self.chunk) = (inline, NONE);
            pool.free(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
