//! Frames on their way: held in the stack's memory until they are due, so that all processes that share it see the same
//! link.

use super::link::{Fate, Link};
use super::spec::Spec;
use fastrand::Rng;
use sidestep_shm::{ForeignMut, NONE, Nanos, Steps};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest frame that is held, in bytes.
pub const FRAME_BYTES: usize = 16 * 1024;
/// Frames held at a time, of both directions.
pub const HELD_MAX: usize = 4096;
/// Longest description that is kept.
const TEXT_BYTES: usize = 128;

/// Memory of a frame.
pub type Frame = [u8; FRAME_BYTES];

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the link.
    Out = 0,
    /// From it.
    In = 1,
}

/// One direction: its link, and the frames on it, first and last, in the order in which they arrive.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Line {
    link: Link,
    head: u32,
    tail: u32,
    damaged: u64,
    passed: u64,
}

/// Where both directions stand.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    lines: [Line; 2],
    rng: u64,
    free: u32,
    free_count: u32,
    text: [u8; TEXT_BYTES],
}

/// What is known of a held frame.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Held {
    at: Nanos,
    wire: u32,
    len: u32,
    next: u32,
    before: u32,
}

/// What a direction did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames that went through.
    pub passed: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames damaged.
    pub damaged: u64,
}

/// The faulty link of a stack; without memory for frames there is none.
#[derive(Debug)]
pub struct Lines<'m> {
    state: &'m mut State,
    held: &'m mut [Held],
    frames: &'m mut [Frame],
}

impl<'m> Lines<'m> {
    /// Over memory for them.
    pub const fn new(state: &'m mut State, held: &'m mut [Held], frames: &'m mut [Frame]) -> Self {
        Self {
            state,
            held,
            frames,
        }
    }

    /// The same for a while.
    #[inline]
    pub const fn borrow(&mut self) -> Lines<'_> {
        Lines {
            state: self.state,
            held: self.held,
            frames: self.frames,
        }
    }

    /// Whether frames go over a faulty link at all.
    #[inline]
    pub const fn is_on(&self) -> bool {
        !self.held.is_empty()
    }

    /// Begins, with no frame on its way.
    pub fn begin(&mut self, spec: &Spec) {
        self.state.lines = spec.links.map(|config| Line {
            link: Link::new(config),
            head: NONE,
            tail: NONE,
            damaged: 0,
            passed: 0,
        });
        self.state.rng = spec.seed;
        let len = spec.text.len().min(TEXT_BYTES);
        self.state.text[..len].copy_from_slice(&spec.text.as_bytes()[..len]);
        self.state.free = NONE;
        self.state.free_count = 0;
        for slot in (0..).take(self.held.len()) {
            self.release(slot);
        }
    }

    /// The description that it began with.
    pub fn text(&self) -> String {
        let text = &self.state.text;
        let end = text.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&text[..end.unwrap_or(TEXT_BYTES)]).into_owned()
    }

    /// What became of the frames of a direction.
    pub const fn count(&self, way: Direction) -> Count {
        let line = &self.state.lines[way as usize];
        Count {
            passed: line.passed,
            lost: line.link.lost,
            damaged: line.damaged,
        }
    }

    /// Frames that there is room for.
    pub const fn room(&self) -> usize {
        self.state.free_count as usize
    }

    /// A frame sets out: `fill` writes it. Damage is a bit that is flipped, where receivers look at checksums, and else a
    /// loss.
    pub(super) fn launch(
        &mut self,
        way: Direction,
        (wire, now): (u32, Nanos),
        (len, flips): (usize, bool),
        fill: impl FnOnce(ForeignMut<'_>),
    ) {
        let Some(slot) = self.take_free() else {
            self.state.lines[way as usize].link.lost += 1;
            return;
        };
        let len = len.min(FRAME_BYTES);
        let frame = &mut self.frames[slot as usize];
        fill(ForeignMut::from(&mut frame[..len]));
        let line = &mut self.state.lines[way as usize];
        let mut rng = Rng::with_seed(self.state.rng);
        let fate = line.link.send(&mut rng, now, len, false);
        if let Fate::Arrives {
            at, again, corrupt, ..
        } = fate
        {
            line.damaged += u64::from(corrupt);
            if corrupt && len > 0 {
                let bit = rng.usize(..len * 8);
                frame[bit / 8] ^= u8::from(flips) << (bit % 8);
            }
            if corrupt && !flips {
                self.release(slot);
            } else {
                line.passed += 1;
                let entry = &mut self.held[slot as usize];
                (entry.wire, entry.len) = (wire, u32::try_from(len).unwrap_or(0));
                if let Some(again) = again {
                    self.copy(way, slot, again);
                }
                self.insert(way, slot, at);
            }
        } else {
            self.release(slot);
        }
        self.state.rng = rng.get_seed();
    }

    fn copy(&mut self, way: Direction, slot: u32, at: Nanos) {
        let Some(other) = self.take_free() else {
            return;
        };
        let (from, to) = (slot as usize, other as usize);
        self.frames.copy_within(from..=from, to);
        self.held[to] = self.held[from];
        self.insert(way, other, at);
    }

    /// Behind all that arrive as early.
    fn insert(&mut self, way: Direction, slot: u32, at: Nanos) {
        let mut before = self.state.lines[way as usize].tail;
        let mut steps = Steps::new(self.held.len());
        while let Some(entry) = self.held.get(before as usize)
            && entry.at > at
        {
            steps.step();
            before = entry.before;
        }
        let line = &mut self.state.lines[way as usize];
        let next = match self.held.get_mut(before as usize) {
            Some(entry) => core::mem::replace(&mut entry.next, slot),
            None => core::mem::replace(&mut line.head, slot),
        };
        match self.held.get_mut(next as usize) {
            Some(entry) => entry.before = slot,
            None => line.tail = slot,
        }
        let entry = &mut self.held[slot as usize];
        (entry.at, entry.next, entry.before) = (at, next, before);
    }

    /// The first frame of a wire that has arrived by now.
    pub(super) fn due(&self, way: Direction, (wire, now): (u32, Nanos)) -> Option<u32> {
        let mut at = self.state.lines[way as usize].head;
        let mut steps = Steps::new(self.held.len());
        while let Some(entry) = self.held.get(at as usize)
            && entry.at <= now
        {
            steps.step();
            if entry.wire == wire {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// The bytes of a held frame.
    pub(super) fn frame(&self, slot: u32) -> &[u8] {
        let len = self.held[slot as usize].len as usize;
        &self.frames[slot as usize][..len.min(FRAME_BYTES)]
    }

    /// Lets go of a frame that has arrived.
    pub(super) fn finish(&mut self, way: Direction, slot: u32) {
        let Held { next, before, .. } = self.held[slot as usize];
        let line = &mut self.state.lines[way as usize];
        match self.held.get_mut(before as usize) {
            Some(entry) => entry.next = next,
            None => line.head = next,
        }
        match self.held.get_mut(next as usize) {
            Some(entry) => entry.before = before,
            None => line.tail = before,
        }
        self.release(slot);
    }

    /// A wire is no more, and with it all that was on its way over it.
    pub fn forget(&mut self, wire: u32) {
        for way in [Direction::Out, Direction::In] {
            let mut steps = Steps::new(self.held.len());
            while let Some(slot) = self.due(way, (wire, Nanos::NEVER)) {
                steps.step();
                self.finish(way, slot);
            }
        }
    }

    /// When the next frame arrives.
    pub fn next_due(&self) -> Nanos {
        let heads = self.state.lines.iter().map(|line| line.head);
        heads
            .filter_map(|head| self.held.get(head as usize))
            .fold(Nanos::NEVER, |first, entry| first.min(entry.at))
    }

    fn take_free(&mut self) -> Option<u32> {
        let slot = self.state.free;
        let entry = self.held.get(slot as usize)?;
        self.state.free = entry.next;
        self.state.free_count = self.state.free_count.saturating_sub(1);
        Some(slot)
    }

    fn release(&mut self, slot: u32) {
        if let Some(entry) = self.held.get_mut(slot as usize) {
            entry.next = self.state.free;
            self.state.free = slot;
            self.state.free_count += 1;
        }
    }
}
