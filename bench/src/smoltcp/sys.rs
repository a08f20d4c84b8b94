//! A ring of packets from one thread to another, as lean as they come, so that the peer is not held back by it:
//! packets are written and read in place, each side reads the other's index only when it must.
#![expect(
    unsafe_code,
    reason = "lends slots of a ring in place to the side that owns them"
)]

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const SLOTS: u32 = 256;
/// The longest packet.
const SLOT_BYTES: usize = 2048;

/// A packet and its length, which travel together in its first cache line where they are short.
#[repr(C, align(64))]
struct Slot {
    bytes: UnsafeCell<u32>,
    data: UnsafeCell<[u8; SLOT_BYTES]>,
}

#[repr(align(128))]
struct Alone(AtomicU32);

struct Ring {
    /// Packets put so far. Written by the sender.
    head: Alone,
    /// Packets taken so far. Written by the receiver.
    tail: Alone,
    slots: Box<[Slot]>,
}

// SAFETY: a slot is touched by the sender only while it is not between tail and head, and by the receiver only
// while it is; SYNC POINTs at both indices hand it over.
unsafe impl Sync for Ring {}

impl Ring {
    fn new() -> Arc<Self> {
        let slot = |_| Slot {
            bytes: UnsafeCell::new(0),
            data: UnsafeCell::new([0; SLOT_BYTES]),
        };
        let slots = (0..SLOTS).map(slot).collect();
        Arc::new(Self {
            head: Alone(AtomicU32::new(0)),
            tail: Alone(AtomicU32::new(0)),
            slots,
        })
    }

    fn slot(&self, index: u32) -> &Slot {
        &self.slots[(index % SLOTS) as usize]
    }
}

/// The end that puts; there is one.
pub(super) struct Sender {
    ring: Arc<Ring>,
    head: u32,
    seen_tail: u32,
}

/// The end that takes; there is one.
pub(super) struct Receiver {
    ring: Arc<Ring>,
    tail: u32,
    seen_head: u32,
}

/// Both directions, as one side has them.
pub(super) struct End {
    pub(super) rx: Receiver,
    pub(super) tx: Sender,
}

/// Two sides joined.
pub(super) fn pair() -> (End, End) {
    let (there, back) = (Ring::new(), Ring::new());
    let tx = |ring: &Arc<Ring>| Sender {
        ring: Arc::clone(ring),
        head: 0,
        seen_tail: 0,
    };
    let rx = |ring: &Arc<Ring>| Receiver {
        ring: Arc::clone(ring),
        tail: 0,
        seen_head: 0,
    };
    (
        End {
            rx: rx(&back),
            tx: tx(&there),
        },
        End {
            rx: rx(&there),
            tx: tx(&back),
        },
    )
}

impl Sender {
    /// Whether a packet could be put now.
    #[inline]
    pub(super) fn room(&mut self) -> bool {
        if self.head.wrapping_sub(self.seen_tail) < SLOTS {
            return true;
        }
        // SYNC POINT: the receiver is done with the slots that its tail has passed.
        self.seen_tail = self.ring.tail.0.load(Ordering::Acquire);
        self.head.wrapping_sub(self.seen_tail) < SLOTS
    }

    /// Puts a packet of `bytes`, written by `f`.
    ///
    /// # Panics
    /// If there is no room, or for a packet longer than a slot.
    #[inline]
    pub(super) fn put<R>(&mut self, bytes: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.room(), "a packet is put only where there is room");
        let slot = self.ring.slot(self.head);
        // SAFETY: the slot is not between tail and head, so it is this side's alone; and there is one Sender,
        // borrowed exclusively.
        let data = unsafe { &mut *slot.data.get() };
        let result = f(&mut data[..bytes]);
        // SAFETY: as above.
        let length = unsafe { &mut *slot.bytes.get() };
        *length = u32::try_from(bytes).unwrap_or(0);
        self.head = self.head.wrapping_add(1);
        // SYNC POINT: the slot's contents are visible to whoever sees the new head.
        self.ring.head.0.store(self.head, Ordering::Release);
        result
    }
}

impl Receiver {
    /// Whether a packet waits.
    #[inline]
    pub(super) fn pending(&mut self) -> bool {
        if self.tail != self.seen_head {
            return true;
        }
        // SYNC POINT: the sender is done with the slots that its head has passed.
        self.seen_head = self.ring.head.0.load(Ordering::Acquire);
        self.tail != self.seen_head
    }

    /// Takes the oldest packet and lends it to `f`.
    ///
    /// # Panics
    /// If none waits.
    #[inline]
    pub(super) fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        assert!(self.pending(), "a packet is taken only where one waits");
        let slot = self.ring.slot(self.tail);
        // SAFETY: the slot is between tail and head, so it is this side's alone; and there is one Receiver,
        // borrowed exclusively.
        let bytes = unsafe { *slot.bytes.get() };
        // SAFETY: as above.
        let data = unsafe { &*slot.data.get() };
        let result = f(&data[..bytes as usize]);
        self.tail = self.tail.wrapping_add(1);
        // SYNC POINT: the sender may have the slot back once it sees the new tail.
        self.ring.tail.0.store(self.tail, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests;
