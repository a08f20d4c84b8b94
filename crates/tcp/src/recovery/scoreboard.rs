//! What is known of everything in flight: runs of sequence numbers from SND.UNA to SND.NXT, each with the time of its
//! last transmission and its fate.
//!
//! ```text
//! SND.UNA                                                  SND.NXT
//!    │ sent 12:00 │ SACKED │ LOST │ SACKED │ sent 12:01 │ 12:02 │     one `Run` each, by its end
//! ```
//! Undisturbed, a run holds all that was sent within a small part of a round trip, and a few of them lie in the
//! connection itself. Where losses make more of them, they move to chunks of the pool (`runs`), and back when they have
//! become few; so an idle connection keeps nothing, and there is room for every hole of a window that much is lost of.
//! (Metadata of the queue's chunks could not say it: segments and chunks share no boundaries.) Where there is no
//! room even so, news is not believed, which costs a retransmission and nothing else.

mod runs;

use runs::{INLINE, Place, Runs};
use sidestep_shm::{ChunkPool, NONE, Nanos};
use sidestep_wire::Seq;
use zerocopy::native_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    const NOTHING: Self = Self::new(Seq(0), 0, 0);

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
    /// Of those sent only once: the lowest end.
    pub(crate) lowest_original: Option<Seq>,
    /// When the last of what was acknowledged in sequence was sent, where it seemed lost and was only late.
    pub(crate) late: Option<u32>,
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
    sacked_bytes: u32,
    lost_bytes: u32,
    /// Sent again, and in the network.
    repeated_bytes: u32,
    /// SACKED and LOST bytes: outstanding, but not in the network.
    absent_bytes: u32,
    list: Runs,
}

impl Scoreboard {
    pub(crate) const EMPTY: Self = Self {
        sacked_bytes: 0,
        lost_bytes: 0,
        repeated_bytes: 0,
        absent_bytes: 0,
        list: Runs::EMPTY,
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
        let runs = self.runs(pool).filter(|run| !run.is_sacked());
        runs.map(Run::sent).reduce(|a, b| {
            if is_after((b, Seq(0)), (a, Seq(0))) {
                b
            } else {
                a
            }
        })
    }

    /// Whether the last run may hold what was sent at any time since its first.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.list.count as usize >= INLINE
    }

    /// The runs, lowest first.
    pub(crate) fn runs<'a>(&'a self, pool: &'a ChunkPool<'_>) -> impl Iterator<Item = &'a Run> {
        self.list.iter(pool)
    }

    /// Whether nothing is in flight.
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.count == 0
    }

    /// Lets `change` have every run, with its start.
    fn each(&mut self, pool: &mut ChunkPool<'_>, una: Seq, mut change: impl FnMut(&mut Run, Seq)) {
        let mut start = una;
        self.list.change(pool, |runs| {
            for run in &mut *runs {
                let end = run.end();
                change(run, start);
                start = end;
            }
            (runs.len(), true)
        });
    }

    /// Notes that what lies between the last run and `end` was sent for the first time; within `grain` ticks of the
    /// last it counts as sent together with it.
    #[inline]
    pub(crate) fn push(&mut self, pool: &mut ChunkPool<'_>, end: Seq, now: u32, grain: u32) {
        let list = &mut self.list;
        let count = list.count as usize;
        if list.chunk != NONE || count == INLINE {
            self.push_crowded(pool, end, now, grain);
            return;
        }
        let mut sent = now;
        if count > 0 {
            let last = &mut list.inline[count - 1];
            let recent = now.wrapping_sub(last.sent()).cast_signed();
            if last.fate.get() == 0 && recent <= grain.cast_signed() {
                last.end = U32::new(end.0);
                return;
            }
            sent = last.after(now);
        }
        list.inline[count] = Run::new(end, sent, 0);
        list.count += 1;
    }

    #[cold]
    fn push_crowded(&mut self, pool: &mut ChunkPool<'_>, end: Seq, now: u32, grain: u32) {
        let Some((place, mut last)) = self.list.last(pool) else {
            self.list.insert(pool, (NONE, 0), Run::new(end, now, 0));
            return;
        };
        let disturbed = self.absent_bytes > 0;
        let recent = now.wrapping_sub(last.sent()).cast_signed();
        if last.fate.get() == 0 && (!disturbed || recent <= grain.cast_signed()) {
            // Undisturbed, a coarser time is good enough.
            last.end = U32::new(end.0);
            self.list.set(pool, place, last);
            return;
        }
        let sent = last.after(now);
        let behind = (place.0, place.1 + 1);
        if !self.list.insert(pool, behind, Run::new(end, sent, 0)) {
            // Its fate is forgotten: the worst of it is a retransmission.
            let run = Run::new(end, sent, last.fate.get() & AGAIN);
            self.list.set(pool, place, run);
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
        let list = &mut self.list;
        if list.chunk != NONE || self.absent_bytes != 0 {
            return self.advance(pool, from, una).newest.map(|newest| newest.0);
        }
        let count = list.count as usize;
        if una == nxt {
            list.count = 0;
            self.repeated_bytes = 0;
            return count.checked_sub(1).map(|last| list.inline[last].sent());
        }
        let gone = list.inline[..count]
            .iter()
            .take_while(|run| run.end().le(una))
            .count();
        let newest = list.inline[gone.saturating_sub(1)].sent();
        if gone > 0 {
            list.inline.copy_within(gone..count, 0);
            list.count -= u32::try_from(gone).unwrap_or(0);
        }
        Some(newest)
    }

    /// Drops what `una` acknowledges; the first run began at `from`.
    pub(crate) fn advance(&mut self, pool: &mut ChunkPool<'_>, from: Seq, una: Seq) -> Delivered {
        let mut delivered = Delivered::default();
        let mut start = from;
        self.list.change(pool, |runs| {
            let mut gone = 0;
            for run in &*runs {
                if start.ge(una) {
                    break;
                }
                let end = run.end().min(una);
                if !run.is_sacked() {
                    delivered.note(start, end, run);
                    let late = run.is_lost() && !run.was_repeated();
                    delivered.late = late.then_some(run.sent());
                }
                gone += usize::from(run.end().le(una));
                start = end;
            }
            runs.copy_within(gone.., 0);
            (runs.len() - gone, gone == runs.len())
        });
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
        let known = self.run_at(pool, una, start);
        if known.is_some_and(|(_, run)| run.is_sacked() && end.le(run.end())) {
            return delivered;
        }
        if !self.split(pool, una, start) || !self.split(pool, una, end) {
            return delivered;
        }
        self.each(pool, una, |run, at| {
            if !run.is_sacked() && at.ge(start) && run.end().le(end) {
                delivered.note(at, run.end(), run);
                run.fate = U32::new(SACKED);
            }
        });
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
        self.each(pool, una, |run, start| {
            if !run.is_sacked() && !run.is_lost() && is_lost(run, start) {
                run.fate = U32::new(run.fate.get() | LOST);
            }
        });
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
        self.each(pool, una, |run, _| {
            run.fate = U32::new(run.fate.get() & !fate);
        });
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
        if !self.split(pool, una, start) {
            return;
        }
        // Where there is no room for a boundary at the end, all of the run counts as sent; a timeout sees to the rest.
        self.split(pool, una, end);
        self.each(pool, una, |run, at| {
            if at.ge(start) && at.lt(end) {
                *run = Run::new(run.end(), now, AGAIN | (run.fate.get() & SACKED));
            }
        });
        if let Some((place, mut last)) = self.list.last(pool) {
            last.fate = U32::new(last.fate.get() | SEALED);
            self.list.set(pool, place, last);
        }
        self.settle(pool, una);
    }

    /// Gives all chunks back.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        self.list.free(pool);
        *self = Self::EMPTY;
    }

    /// The run that holds `seq`, and where it is.
    fn run_at(&self, pool: &ChunkPool<'_>, una: Seq, seq: Seq) -> Option<((Seq, Place), Run)> {
        let mut start = una;
        for (place, run) in self.list.places(pool) {
            if seq.lt(run.end()) {
                return start.le(seq).then_some(((start, place), *run));
            }
            start = run.end();
        }
        None
    }

    /// Whether what lies before and behind `seq` was sent together last.
    pub(crate) fn goes_on_at(&self, pool: &ChunkPool<'_>, una: Seq, seq: Seq) -> bool {
        let at = self.run_at(pool, una, seq);
        at.is_some_and(|((start, _), _)| start != seq)
    }

    /// Makes `seq` a boundary; false where there is no room for it, or where it is outside of all runs.
    fn split(&mut self, pool: &mut ChunkPool<'_>, una: Seq, seq: Seq) -> bool {
        let Some(((start, place), run)) = self.run_at(pool, una, seq) else {
            let end = self.list.last(pool).map_or(una, |(_, last)| last.end());
            return seq == end;
        };
        let lower = Run::new(seq, run.sent(), run.fate.get());
        start == seq || self.list.insert(pool, place, lower)
    }

    /// After any change: neighbours that differ in nothing become one, and sums are made anew.
    fn settle(&mut self, pool: &mut ChunkPool<'_>, una: Seq) {
        let mut start = una;
        let (mut sacked, mut lost, mut repeated) = (0_u32, 0_u32, 0_u32);
        self.list.change(pool, |runs| {
            let mut kept = 0;
            for i in 0..runs.len() {
                let run = runs[i];
                let bytes = run.end().0.wrapping_sub(start.0);
                start = run.end();
                sacked += if run.is_sacked() { bytes } else { 0 };
                lost += if run.is_lost() { bytes } else { 0 };
                let travels = run.was_repeated() && !run.is_sacked() && !run.is_lost();
                repeated += if travels { bytes } else { 0 };
                let same = kept > 0 && {
                    let last = &runs[kept - 1];
                    last.fate == run.fate && (last.sent == run.sent || run.is_sacked())
                };
                if same {
                    runs[kept - 1].end = run.end;
                } else {
                    runs[kept] = run;
                    kept += 1;
                }
            }
            (kept, true)
        });
        (self.sacked_bytes, self.lost_bytes) = (sacked, lost);
        self.repeated_bytes = repeated;
        self.absent_bytes = sacked + lost;
        self.list.tidy(pool);
    }
}

#[cfg(test)]
mod tests;
