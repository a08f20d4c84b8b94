//! Client slots: which processes have the stack mapped, so that what one of them held can be told when it is gone.

use crate::memory::{Core, Stack};
use crate::{Error, Result, SocketRef};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A process that has the stack mapped.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Slot {
    /// 0 while the slot is free or reserved for a child that has not begun yet.
    pub(crate) pid: u32,
    /// Not 0 while the slot is taken.
    pub(crate) taken: u32,
    /// Threads of the process that sleep on the stack's doorbell.
    pub(crate) sleepers: u32,
    /// How often it was taken, so that one time can be told from the next.
    pub(crate) times: u32,
    /// Slot + 1 of the process that has taken it for a child, until that has it hold anything; else 0.
    pub(crate) keeper: u32,
}

impl Slot {
    const FREE: Self = Self {
        pid: 0,
        taken: 0,
        sleepers: 0,
        times: 0,
        keeper: 0,
    };

    /// A free one, which goes on counting.
    const fn freed(self) -> Self {
        Self {
            times: self.times,
            ..Self::FREE
        }
    }
}

impl Stack<'_> {
    /// Takes a slot for process `pid`. Fails when all are taken.
    pub fn take_slot(&mut self, pid: u32) -> Result<u32> {
        let slots = &mut self.core.slots;
        let free = slots
            .iter()
            .position(|s| s.taken == 0)
            .ok_or(Error::TableFull)?;
        slots[free] = Slot {
            pid,
            taken: 1,
            times: slots[free].times.wrapping_add(1),
            ..Slot::FREE
        };
        u32::try_from(free).map_err(|_| Error::TableFull)
    }

    /// Takes a slot for a child that the process in slot `keeper` is about to fork; if that dies before it has the child
    /// [`inherit`](Self::inherit), the slot is free again. Returns how often it was taken, too.
    pub fn keep_slot(&mut self, keeper: u32) -> Result<(u32, u32)> {
        let slot = self.take_slot(0)?;
        self.core.slots[slot as usize].keeper = keeper + 1;
        Ok((slot, self.times_taken(slot)))
    }

    /// Names the process in a slot.
    pub fn name_slot(&mut self, slot: u32, pid: u32) {
        if let Some(s) = self.core.slots.get_mut(slot as usize) {
            s.pid = pid;
        }
    }

    /// How often the slot was taken.
    pub fn times_taken(&self, slot: u32) -> u32 {
        self.core.slots.get(slot as usize).map_or(0, |s| s.times)
    }

    /// Whether the slot is kept for a child that has not begun, since it was taken for the `times`th time.
    pub fn awaits_child(&self, slot: u32, times: u32) -> bool {
        let slot = self.core.slots.get(slot as usize);
        slot.is_some_and(|s| s.taken != 0 && s.pid == 0 && s.times == times)
    }

    /// The taken slots with their processes.
    pub fn slots(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..)
            .zip(self.core.slots.iter())
            .filter(|(_, s)| s.taken != 0)
            .map(|(i, s)| (i, s.pid))
    }

    /// Lets slot `heir` hold all that slot `from` holds: the child of a fork, before either goes on.
    pub fn inherit(&mut self, from: u32, heir: u32) {
        self.core.hold_likewise(from, heir);
        if let Some(s) = self.core.slots.get_mut(heir as usize) {
            s.keeper = 0;
        }
    }

    /// Whether `slot` holds these sockets, in ascending order, and no others.
    pub fn holds_exactly(&mut self, slot: u32, held: &[SocketRef]) -> bool {
        let mut held = held.iter();
        (0..self.core.header.sockets.fresh()).all(|index| {
            !self.core.holds(index, slot) || held.next() == Some(&self.core.reference(index))
        }) && held.next().is_none()
    }

    /// Makes `slot` hold these sockets, in ascending order, and no others.
    pub fn hold_exactly(&mut self, slot: u32, held: &[SocketRef]) {
        for index in 0..self.core.header.sockets.fresh() {
            let wanted = held.binary_search(&self.core.reference(index)).is_ok();
            if wanted && self.core.at(index).holders != 0 {
                self.core.hold(index, slot);
            } else if self.core.holds(index, slot) {
                self.let_go(index, slot);
            }
        }
    }

    /// The process in `slot` is gone: what only it held is closed as TCP would, its waits are forgotten, the slot is free.
    pub fn on_slot_dead(&mut self, now: Nanos, slot: u32) {
        self.core.advance(now);
        self.core.forget_waits_of(slot);
        for index in 0..self.core.header.sockets.fresh() {
            if self.core.holds(index, slot) {
                self.let_go(index, slot);
            }
        }
        for index in 0..self.core.sets.len() {
            self.core.let_go_of_set(index, slot);
        }
        if self.core.header.spinner == slot + 1 {
            self.core.header.spinner = 0;
        }
        if let Some(s) = self.core.slots.get_mut(slot as usize) {
            let sleepers = core::mem::replace(s, s.freed()).sleepers;
            self.fewer_sleepers(sleepers);
        }
        for kept in self.core.slots.iter_mut().filter(|s| s.keeper == slot + 1) {
            *kept = kept.freed();
        }
        // Whoever sleeps may have waited for a wake-up that the dead process owed.
        self.core.wake = u64::MAX;
    }
}

impl Core<'_> {
    /// Whether any process has the stack mapped, by its slots.
    pub(crate) fn has_clients(&self) -> bool {
        self.slots.iter().any(|s| s.taken != 0)
    }
}
