//! Where the runs are: a few in the connection itself, else in chunks of the pool, linked in order.
//!
//! ```text
//! inline   ██████                              up to 10
//! chunks   ████████░░ ─▶ ██████████ ─▶ ███░     up to 170 each, none of them empty, in the bytes in use of the chunk
//! ```

use super::Run;
use sidestep_shm::{CHUNK_BYTES, ChunkId, ChunkPool, NONE, Use};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Runs kept in the connection itself.
pub(super) const INLINE: usize = 10;
/// Bytes of a run.
const RUN_BYTES: usize = size_of::<Run>();
/// Runs that a chunk holds.
const IN_CHUNK: usize = CHUNK_BYTES / RUN_BYTES;
/// Chunks that a connection takes at most: runs for every hole of a window of some thousand segments.
const CHUNKS_MAX: usize = 16;

/// A list of runs. Zeroed memory is not an empty one; begin with [`Runs::EMPTY`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Runs {
    /// The first chunk; [`NONE`] where the runs are here.
    pub(super) chunk: ChunkId,
    /// How many there are.
    pub(super) count: u32,
    pub(super) inline: [Run; INLINE],
}

/// Where a run is: its chunk, or [`NONE`], and its index there.
pub(super) type Place = (ChunkId, usize);

impl Runs {
    pub(super) const EMPTY: Self = Self {
        chunk: NONE,
        count: 0,
        inline: [Run::NOTHING; INLINE],
    };

    /// The runs with their places, lowest first.
    pub(super) fn places<'a>(
        &'a self,
        pool: &'a ChunkPool<'_>,
    ) -> impl Iterator<Item = (Place, &'a Run)> {
        self.parts(pool)
            .flat_map(|(id, runs)| (0..).zip(runs).map(move |(i, run)| ((id, i), run)))
    }

    /// The runs, lowest first.
    pub(super) fn iter<'a>(&'a self, pool: &'a ChunkPool<'_>) -> impl Iterator<Item = &'a Run> {
        self.parts(pool).flat_map(|(_, runs)| runs)
    }

    fn parts<'a>(&'a self, pool: &'a ChunkPool<'_>) -> impl Iterator<Item = (ChunkId, &'a [Run])> {
        let here = if self.chunk == NONE {
            &self.inline[..(self.count as usize).min(INLINE)]
        } else {
            &[]
        };
        let first = (self.chunk != NONE).then_some(self.chunk);
        let chunks = core::iter::successors(first, |id| next_of(pool, *id));
        let parts = chunks.map(|id| (id, runs_in(pool, id)));
        core::iter::once((NONE, here)).chain(parts.take(CHUNKS_MAX))
    }

    /// Lets `change` have every part of the list in turn, until it returns false; what it leaves of a part it says.
    pub(super) fn change(
        &mut self,
        pool: &mut ChunkPool<'_>,
        mut change: impl FnMut(&mut [Run]) -> (usize, bool),
    ) {
        if self.chunk == NONE {
            let count = (self.count as usize).min(INLINE);
            self.count = narrow(change(&mut self.inline[..count]).0);
            return;
        }
        let mut at = Some(self.chunk);
        for _ in 0..CHUNKS_MAX {
            let Some(id) = at else { break };
            at = next_of(pool, id);
            let before = runs_in(pool, id).len();
            let (left, goes_on) = change(&mut table_of(pool, id)[..before]);
            set_len(pool, id, left);
            self.count = (self.count + narrow(left)).saturating_sub(narrow(before));
            if !goes_on {
                break;
            }
        }
    }

    /// The last run, and where it is.
    pub(super) fn last(&self, pool: &ChunkPool<'_>) -> Option<(Place, Run)> {
        let (id, runs) = self.parts(pool).last()?;
        let last = runs.len().checked_sub(1)?;
        Some(((id, last), runs[last]))
    }

    /// Puts another run in a place.
    pub(super) fn set(&mut self, pool: &mut ChunkPool<'_>, (id, at): Place, run: Run) {
        let runs = if id == NONE {
            &mut self.inline[..]
        } else {
            table_of(pool, id)
        };
        if let Some(place) = runs.get_mut(at) {
            *place = run;
        }
    }

    /// Inserts a run before a place; false where there is no room.
    pub(super) fn insert(&mut self, pool: &mut ChunkPool<'_>, place: Place, run: Run) -> bool {
        let (mut id, mut at) = place;
        if id == NONE {
            let count = self.count as usize;
            if count < INLINE {
                self.inline.copy_within(at..count, at + 1);
                self.inline[at] = run;
                self.count += 1;
                return true;
            }
            if !self.move_out(pool) {
                return false;
            }
            id = self.chunk;
        }
        let mut len = runs_in(pool, id).len();
        if len >= IN_CHUNK {
            // Behind the last one an empty chunk begins; elsewhere half of the full one moves.
            let keep = if at == len { len } else { len / 2 };
            let Some(new) = self.add_chunk(pool, id, keep) else {
                return false;
            };
            if at >= keep {
                (id, at) = (new, at - keep);
            }
            len = runs_in(pool, id).len();
        }
        let table = table_of(pool, id);
        table.copy_within(at..len, at + 1);
        table[at] = run;
        set_len(pool, id, len + 1);
        self.count += 1;
        true
    }

    /// Adds a chunk behind a full one, and moves there what follows the first `keep` runs.
    fn add_chunk(&self, pool: &mut ChunkPool<'_>, id: ChunkId, keep: usize) -> Option<ChunkId> {
        if self.parts(pool).count() > CHUNKS_MAX {
            return None;
        }
        let new = pool.alloc(Use::Send)?;
        pool.meta_mut(new).next = pool.meta(id).next;
        pool.meta_mut(id).next = new;
        move_runs(pool, (id, keep), new);
        Some(new)
    }

    fn move_out(&mut self, pool: &mut ChunkPool<'_>) -> bool {
        let Some(chunk) = pool.alloc(Use::Send) else {
            return false;
        };
        table_of(pool, chunk)[..INLINE].copy_from_slice(&self.inline);
        set_len(pool, chunk, INLINE);
        self.chunk = chunk;
        true
    }

    /// Gives back chunks that are empty, or that would half fill another; few runs come home.
    pub(super) fn tidy(&mut self, pool: &mut ChunkPool<'_>) {
        if self.chunk == NONE {
            return;
        }
        if self.count as usize <= INLINE / 2 {
            let mut inline = self.inline;
            let count = inline.iter_mut().zip(self.iter(pool));
            let count = count.map(|(place, run)| *place = *run).count();
            self.free(pool);
            (self.inline, self.count) = (inline, narrow(count));
            return;
        }
        let (mut before, mut at) = (NONE, Some(self.chunk));
        for _ in 0..CHUNKS_MAX {
            let Some(id) = at else { break };
            at = next_of(pool, id);
            let len = runs_in(pool, id).len();
            let fits = before != NONE && runs_in(pool, before).len() + len <= IN_CHUNK / 2;
            if len > 0 && !fits {
                before = id;
                continue;
            }
            if fits {
                move_runs(pool, (id, 0), before);
            }
            if before == NONE {
                self.chunk = at.unwrap_or(NONE);
            } else {
                pool.meta_mut(before).next = at.unwrap_or(NONE);
            }
            pool.free(id);
        }
    }

    /// Forgets all runs and gives the chunks back.
    pub(super) fn free(&mut self, pool: &mut ChunkPool<'_>) {
        let mut at = (self.chunk != NONE).then_some(self.chunk);
        for _ in 0..CHUNKS_MAX {
            let Some(id) = at else { break };
            at = next_of(pool, id);
            pool.free(id);
        }
        *self = Self::EMPTY;
    }
}

fn next_of(pool: &ChunkPool<'_>, id: ChunkId) -> Option<ChunkId> {
    let next = pool.meta(id).next;
    (next != NONE).then_some(next)
}

fn runs_in<'a>(pool: &'a ChunkPool<'_>, id: ChunkId) -> &'a [Run] {
    <[Run]>::ref_from_bytes(pool.bytes(id)).unwrap_or(&[])
}

/// All that a chunk has room for, in use or not.
fn table_of<'a>(pool: &'a mut ChunkPool<'_>, id: ChunkId) -> &'a mut [Run] {
    let bytes = &mut pool.data_mut(id)[..IN_CHUNK * RUN_BYTES];
    <[Run]>::mut_from_bytes(bytes).unwrap_or(&mut [])
}

fn set_len(pool: &mut ChunkPool<'_>, id: ChunkId, runs: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "at most CHUNK_BYTES")]
    {
        pool.meta_mut(id).len = (runs.min(IN_CHUNK) * RUN_BYTES) as u16;
    }
}

/// Moves the runs of a chunk from an index on behind those of another, which has room for them.
fn move_runs(pool: &mut ChunkPool<'_>, (from, at): Place, to: ChunkId) {
    let mut moved = [Run::NOTHING; IN_CHUNK];
    let rest = runs_in(pool, from).get(at..).unwrap_or_default();
    let (len, moving) = (runs_in(pool, to).len(), rest.len().min(IN_CHUNK));
    moved[..moving].copy_from_slice(&rest[..moving]);
    if let Some(room) = table_of(pool, to).get_mut(len..len + moving) {
        room.copy_from_slice(&moved[..moving]);
        set_len(pool, to, len + moving);
        set_len(pool, from, at);
    }
}

fn narrow(runs: usize) -> u32 {
    u32::try_from(runs).unwrap_or(0)
}
