//! A region, the lock at its start, and this process's view of the tables behind it, kept together.
#![expect(unsafe_code, reason = "lends the view to the lock's holder")]

use crate::lock::LockWord;
use crate::{Carver, Layout, Owner, Region, Retired};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use std::io;

/// Tables in shared memory behind the lock that guards them.
pub struct Locked<V> {
    view: UnsafeCell<V>,
    region: Region,
}

// SAFETY: the view is reached only through a Guard, which exists only while the lock in the region is held.
unsafe impl<V: Send> Sync for Locked<V> {}
// SAFETY: nothing in it is tied to a thread.
unsafe impl<V: Send> Send for Locked<V> {}

impl<V> Locked<V> {
    /// A layout for tables behind a lock.
    pub const fn layout() -> Layout {
        Layout::after(size_of::<LockWord>())
    }

    /// Takes the region over; `carve` makes the view of its tables. A process may do so once for a region.
    pub fn new(
        region: Region,
        carve: impl FnOnce(&mut Carver<'_>) -> io::Result<V>,
    ) -> io::Result<Self> {
        if region.bytes() < size_of::<LockWord>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "memory too short for a lock",
            ));
        }
        crate::barrier::take_part();
        let view = carve(&mut Carver::new(&region, size_of::<LockWord>()))?;
        Ok(Self {
            view: UnsafeCell::new(view),
            region,
        })
    }

    /// The lock itself, to look at without taking it.
    #[inline]
    pub const fn word(&self) -> &LockWord {
        // SAFETY: the region starts with a LockWord (checked in new; zeroed memory is one) and no slice covers it;
        // it is made of atomics, so sharing it is sound.
        unsafe { self.region.base().cast::<LockWord>().as_ref() }
    }

    /// The memory.
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self, owner: Owner) -> Result<Guard<'_, V>, Retired> {
        self.word().lock(owner)?;
        Ok(Guard { of: self })
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self, owner: Owner) -> Result<Option<Guard<'_, V>>, Retired> {
        Ok(self.word().try_lock(owner)?.then(|| Guard { of: self }))
    }
}

/// The view, while the lock is held.
pub struct Guard<'a, V> {
    of: &'a Locked<V>,
}

impl<V> Deref for Guard<'_, V> {
    type Target = V;
    #[inline]
    fn deref(&self) -> &V {
        // SAFETY: a Guard is the proof that this thread holds the lock.
        unsafe { &*self.of.view.get() }
    }
}

impl<V> DerefMut for Guard<'_, V> {
    #[inline]
    fn deref_mut(&mut self) -> &mut V {
        // SAFETY: a Guard is the proof that this thread holds the lock, and it is borrowed mutably.
        unsafe { &mut *self.of.view.get() }
    }
}

impl<V> Drop for Guard<'_, V> {
    #[inline]
    fn drop(&mut self) {
        self.of.word().unlock();
    }
}
