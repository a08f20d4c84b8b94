//! When sockets want to be looked at again: a hierarchical wheel of three levels.
//!
//! A socket has at most one place in it. Deadlines that move later leave the place as it is; when the wheel comes by,
//! the socket is asked for its true deadline. So a timer that is set and cleared with every segment costs nothing.
//!
//! ```text
//! level 0: 256 slots of 1 ms      level 1: 256 slots of 256 ms      level 2: 256 slots of 65.5 s  (beyond: clamped)
//! ```

use crate::memory::Core;
use sidestep_shm::{NONE, Nanos, Steps};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const LEVELS: usize = 3;
const LEVEL_BITS: u64 = 8;
const LEVEL_SLOTS: usize = 256;
/// A tick of the wheel: 2^20 ns, about a millisecond.
const TICK_BITS: u64 = 20;
/// Steps of the wheel that nobody is ever late by: more than a week of quarters of a second.
const TURNS_MAX: usize = 1 << 22;

/// Slots of all levels.
pub(crate) const TIMER_SLOTS: usize = LEVELS * LEVEL_SLOTS;

/// Where the wheel stands, and which slots have anybody in them.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TimerWheel {
    /// Ticks up to which all slots were served.
    tick: u64,
    occupied: [[u64; 4]; LEVELS],
}

impl Core<'_> {
    /// The wheel begins where time begins for the stack, not at zero: it would turn through all that lies between.
    #[cold]
    pub(crate) fn start_timers(&mut self, now: Nanos) {
        self.header.timers.tick = now.0 >> TICK_BITS;
    }

    /// Makes sure that the socket is looked at by `at`.
    #[inline]
    pub(crate) fn schedule(&mut self, index: u32, at: Nanos) {
        if at >= self.at(index).timer_at {
            return;
        }
        self.cancel_timer(index);
        self.place(index, at);
    }

    fn place(&mut self, index: u32, at: Nanos) {
        // Rounded up, so that whoever is due in a slot is due when the slot is served.
        let due = (at.0 >> TICK_BITS) + 1;
        let base = self.header.timers.tick;
        let due = due.max(base + 1);
        let ahead = due - base;
        let level = (0..LEVELS - 1)
            .find(|l| ahead < 1 << (LEVEL_BITS * (*l as u64 + 1)))
            .unwrap_or(LEVELS - 1);
        let shift = LEVEL_BITS * level as u64;
        let reach = (LEVEL_SLOTS as u64 - 1) << shift;
        let due = due.min(base + reach);
        let slot = level * LEVEL_SLOTS + place_of(due >> shift);
        let head = self.timer_slots[slot].wrapping_sub(1);
        if head != NONE {
            self.at(head).timer_prev = index;
        }
        let socket = self.at(index);
        socket.timer_at = Nanos(due << TICK_BITS);
        socket.timer_next = head;
        // The first of a slot names the slot where others name their predecessor.
        socket.timer_prev = FIRST | slot_number(slot);
        self.timer_slots[slot] = index + 1;
        self.header.timers.occupied[level][slot % LEVEL_SLOTS / 64] |= 1 << (slot % 64);
    }

    /// Takes the socket out of the wheel.
    pub(crate) fn cancel_timer(&mut self, index: u32) {
        let (prev, next) = (self.at(index).timer_prev, self.at(index).timer_next);
        if self.at(index).timer_at == Nanos::NEVER {
            return;
        }
        if prev & FIRST != 0 {
            let slot = (prev & !FIRST) as usize;
            self.timer_slots[slot] = next.wrapping_add(1);
            if next == NONE {
                self.header.timers.occupied[slot / LEVEL_SLOTS][slot % LEVEL_SLOTS / 64] &=
                    !(1 << (slot % 64));
            }
        } else {
            self.at(prev).timer_next = next;
        }
        if next != NONE {
            self.at(next).timer_prev = prev;
        }
        let socket = self.at(index);
        socket.timer_at = Nanos::NEVER;
        socket.timer_prev = NONE;
        socket.timer_next = NONE;
    }

    /// Whether a tick has passed since all that was due was served.
    #[inline]
    pub(crate) const fn has_turned(&self) -> bool {
        self.header.timers.tick < self.header.now.0 >> TICK_BITS
    }

    /// Takes out a socket whose slot has come. Call until there is none.
    pub(crate) fn pop_due(&mut self) -> Option<u32> {
        let target = self.now().0 >> TICK_BITS;
        let mut steps = Steps::new(TURNS_MAX);
        loop {
            let tick = self.header.timers.tick;
            let slot = place_of(tick);
            if let Some(index) = self.timer_slots[slot].checked_sub(1) {
                self.cancel_timer(index);
                return Some(index);
            }
            if tick >= target {
                return None;
            }
            steps.step();
            self.turn(target);
        }
    }

    /// Moves to the next tick that has work, at most to `target`; brings a slot of a coarser level down where one ends.
    fn turn(&mut self, target: u64) {
        let wheel = &mut self.header.timers;
        let boundary = (wheel.tick | (LEVEL_SLOTS as u64 - 1)) + 1;
        let stop = boundary.min(target);
        let next = (wheel.tick + 1..stop)
            .find(|t| occupied(&wheel.occupied[0], *t))
            .unwrap_or(stop);
        let idle = wheel.occupied.iter().flatten().all(|w| *w == 0);
        wheel.tick = if idle { target } else { next };
        let tick = wheel.tick;
        for level in 1..LEVELS {
            let shift = LEVEL_BITS * level as u64;
            if tick.trailing_zeros() < u32::try_from(shift).unwrap_or(u32::MAX) {
                break;
            }
            self.cascade(level * LEVEL_SLOTS + place_of(tick >> shift));
        }
    }

    /// Places everybody in a slot of a coarser level anew.
    fn cascade(&mut self, slot: usize) {
        let mut index = self.timer_slots[slot].wrapping_sub(1);
        let mut steps = self.socket_steps();
        while index != NONE {
            steps.step();
            let (next, at) = (self.at(index).timer_next, self.at(index).timer_at);
            self.cancel_timer(index);
            self.place(index, Nanos(at.0.saturating_sub(1 << TICK_BITS)));
            index = next;
        }
    }

    /// A time at which nobody is due yet, but after which somebody may be; NEVER if nobody waits.
    pub(crate) fn next_timer(&self) -> Nanos {
        let wheel = &self.header.timers;
        let mut earliest = Nanos::NEVER;
        for level in 0..LEVELS {
            let shift = LEVEL_BITS * level as u64;
            let here = wheel.tick >> shift;
            // The current slot of a coarser level was brought down already: what is in it comes round a turn later.
            let ahead = u64::from(level > 0)..=LEVEL_SLOTS as u64;
            if let Some(ahead) = ahead
                .into_iter()
                .find(|d| occupied(&wheel.occupied[level], here + d))
            {
                earliest = earliest.min(Nanos(((here + ahead) << shift) << TICK_BITS));
            }
        }
        earliest
    }
}

/// Marks the first socket of a slot.
const FIRST: u32 = 1 << 31;

#[expect(clippy::cast_possible_truncation, reason = "there are 768 slots")]
const fn slot_number(slot: usize) -> u32 {
    slot as u32
}

/// The slot of a level that a count of its ticks falls into.
#[expect(
    clippy::cast_possible_truncation,
    reason = "less than the slots of a level"
)]
const fn place_of(ticks: u64) -> usize {
    (ticks % LEVEL_SLOTS as u64) as usize
}

fn occupied(level: &[u64; 4], tick: u64) -> bool {
    let slot = place_of(tick);
    level[slot / 64] & (1 << (slot % 64)) != 0
}
