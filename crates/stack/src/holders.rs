//! Which slots hold a socket or an epoll set.
//!
//! Most stacks are shared by a few processes, whose bits fit into a word beside what is held. The bits of all further
//! slots are in a table of their own, which is touched only where there are so many.

use crate::memory::{Core, Stack};
use crate::{Result, SocketRef};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots that have a bit in the word itself.
const NEAR: u32 = 63;
/// In the word: some slot beyond those is a holder, too.
const FAR: u64 = 1 << NEAR;
const FAR_WORDS: usize = 15;
/// Processes that can have one stack mapped at a time.
pub const SLOTS: usize = NEAR as usize + FAR_WORDS * 64;

/// The bits of the slots from the 64th on.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FarHolders([u64; FAR_WORDS]);

impl FarHolders {
    const NONE: Self = Self([0; FAR_WORDS]);

    /// The word of a slot from the 64th on, and its bit there.
    fn place(&mut self, slot: u32) -> (Option<&mut u64>, u64) {
        let at = slot - NEAR;
        (self.0.get_mut(at as usize / 64), 1 << (at % 64))
    }
}

/// What one socket or set has of holders: its own word, and the bits of the slots beyond.
pub(crate) struct Holders<'a> {
    near: &'a mut u64,
    far: &'a mut FarHolders,
}

impl Holders<'_> {
    fn holds(&mut self, slot: u32) -> bool {
        if slot < NEAR {
            return *self.near & 1 << slot != 0;
        }
        let (word, bit) = self.far.place(slot);
        word.is_some_and(|word| *word & bit != 0)
    }

    fn hold(&mut self, slot: u32) {
        if slot < NEAR {
            *self.near |= 1 << slot;
        } else if let (Some(word), bit) = self.far.place(slot) {
            *word |= bit;
            *self.near |= FAR;
        }
    }

    fn let_go(&mut self, slot: u32) {
        if slot < NEAR {
            *self.near &= !(1 << slot);
        } else if let (Some(word), bit) = self.far.place(slot) {
            *word &= !bit;
            if self.far.0 == FarHolders::NONE.0 {
                *self.near &= !FAR;
            }
        }
    }

    /// Whether any slot but this one is a holder.
    fn has_others(&mut self, slot: u32) -> bool {
        if slot < NEAR {
            return *self.near & !(1 << slot) != 0;
        }
        let held = self.holds(slot);
        let all: u32 = self.far.0.iter().map(|word| word.count_ones()).sum();
        *self.near & !FAR != 0 || all > u32::from(held)
    }
}

impl Core<'_> {
    fn of_socket(&mut self, index: u32) -> Holders<'_> {
        Holders {
            near: &mut self.sockets[index as usize].holders,
            far: &mut self.far_holders[index as usize],
        }
    }

    fn of_set(&mut self, set: usize) -> Holders<'_> {
        Holders {
            far: &mut self.far_holders[self.sockets.len() + set],
            near: &mut self.sets[set].holders,
        }
    }

    /// `slot` holds a socket from now on.
    #[inline]
    pub(crate) fn hold(&mut self, index: u32, slot: u32) {
        self.of_socket(index).hold(slot);
    }

    /// Nobody holds the socket any more.
    #[cold]
    pub(crate) fn disown(&mut self, index: u32) {
        let holders = self.of_socket(index);
        *holders.near = 0;
        *holders.far = FarHolders::NONE;
    }

    /// One holder less; whether any is left.
    #[inline]
    pub(crate) fn unhold(&mut self, index: u32, slot: u32) -> bool {
        let mut holders = self.of_socket(index);
        holders.let_go(slot);
        *holders.near != 0
    }

    pub(crate) fn holds(&mut self, index: u32, slot: u32) -> bool {
        self.of_socket(index).holds(slot)
    }

    /// The slots that hold a socket.
    pub(crate) fn holders(&mut self, index: u32) -> Vec<u32> {
        let all = 0..u32::try_from(SLOTS).unwrap_or(0);
        let mut holders = self.of_socket(index);
        all.filter(|slot| holders.holds(*slot)).collect()
    }

    /// `slot` holds a set from now on.
    pub(crate) fn hold_set(&mut self, set: usize, slot: u32) {
        self.of_set(set).hold(slot);
    }

    /// Whether `slot` held the set and does no more; and whether any holder is left.
    pub(crate) fn unhold_set(&mut self, set: usize, slot: u32) -> (bool, bool) {
        let mut holders = self.of_set(set);
        let held = holders.holds(slot);
        holders.let_go(slot);
        (held, *holders.near != 0)
    }

    /// Lets slot `heir` hold all sockets and sets that slot `from` holds.
    pub(crate) fn hold_likewise(&mut self, from: u32, heir: u32) {
        let copy = |mut holders: Holders<'_>| {
            if *holders.near != 0 && holders.holds(from) {
                holders.hold(heir);
            }
        };
        for index in 0..self.header.sockets.fresh() {
            copy(self.of_socket(index));
        }
        for set in 0..self.sets.len() {
            copy(self.of_set(set));
        }
    }
}

impl Stack<'_> {
    /// The slots that hold a socket, and their processes.
    pub fn holders(&mut self, r: SocketRef) -> Vec<(u32, u32)> {
        let held = if self.core.socket(r).is_ok() {
            self.core.holders(r.index)
        } else {
            Vec::new()
        };
        self.slots()
            .filter(|(slot, _)| held.contains(slot))
            .collect()
    }

    /// Whether a socket that `slot` holds is held by others, too.
    pub fn is_shared(&mut self, r: SocketRef, slot: u32) -> Result<bool> {
        self.core.socket(r)?;
        Ok(self.core.of_socket(r.index).has_others(slot))
    }
}
