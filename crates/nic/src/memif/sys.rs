//! Access to a ring in memory that another process writes at the same time. The only unsafe code of the driver.
#![expect(
    unsafe_code,
    reason = "turns checked parts of a mapping into references to atomics"
)]

use super::layout::{
    COOKIE, Desc, DescCell, Direction, LOG2_SLOTS_MAX, LOG2_SLOTS_MIN, RING_MASK_INTERRUPT,
    RingHeader, RingPlace, Role,
};
use core::ptr::NonNull;
use sidestep_shm::atomic::{AtomicU16, Ordering, fence};
use sidestep_shm::{Region, barrier};
use std::io;
use std::sync::Arc;

/// A ring, mapped. Everything in it is atomic, so that a peer that writes at the wrong moment gives us a wrong
/// value and nothing worse.
pub(super) struct Ring {
    header: NonNull<RingHeader>,
    descs: NonNull<DescCell>,
    mask: u16,
    /// Whether this end writes head, the other one tail; else the reverse.
    owns_head: bool,
    /// Keeps both pointers mapped.
    _region: Arc<Region>,
}

// SAFETY: the pointers lead to atomics in a mapping that lives as long as the value.
unsafe impl Send for Ring {}
// SAFETY: as for Send.
unsafe impl Sync for Ring {}

impl Ring {
    /// The ring at `place` of `region`, as the end of that role uses it.
    pub(super) fn at(region: &Arc<Region>, place: RingPlace, role: Role) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        if !(LOG2_SLOTS_MIN..=LOG2_SLOTS_MAX).contains(&place.log2_slots) {
            return Err(wrong("a ring of impossible size"));
        }
        let start = region
            .at(place.offset as usize, RingPlace::bytes(place.log2_slots))
            .ok_or_else(|| wrong("a ring outside of its region"))?;
        let header = NonNull::new(start.cast::<RingHeader>()).filter(|header| header.is_aligned());
        let header = header.ok_or_else(|| wrong("a ring that is not on a cache line"))?;
        // SAFETY: the ring's length, checked above, covers the header and the descriptors behind it.
        let descs = unsafe { header.add(1) }.cast();
        let mask = (1 << place.log2_slots) - 1;
        Ok(Self {
            header,
            descs,
            mask,
            owns_head: role == Role::Slave,
            _region: Arc::clone(region),
        })
    }

    /// Makes an empty ring of zeroed memory, as the slave does before anybody else looks: cookie and indices.
    pub(super) fn lay_out(&self, direction: Direction) {
        let header = self.header();
        header.head.store(0, Ordering::Relaxed);
        header.tail.0.store(0, Ordering::Relaxed);
        if direction == Direction::MasterToSlave {
            header.head.store(self.slots(), Ordering::Relaxed);
        }
        header.flags.store(0, Ordering::Relaxed);
        header.cookie.store(COOKIE, Ordering::Release);
    }

    /// Whether the ring begins as one should.
    pub(super) fn has_cookie(&self) -> bool {
        self.header().cookie.load(Ordering::Acquire) == COOKIE
    }

    /// How many slots there are.
    #[inline]
    pub(super) const fn slots(&self) -> u16 {
        self.mask + 1
    }

    #[inline]
    const fn header(&self) -> &RingHeader {
        // SAFETY: checked in `at`: in bounds, aligned, and mapped as long as self; made of atomics.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn cell(&self, index: u16) -> &DescCell {
        // SAFETY: masked, so one of the descriptors that `at` found in bounds.
        let cell = unsafe { self.descs.add(usize::from(index & self.mask)) };
        // SAFETY: mapped as long as self, aligned as the header is; made of atomics.
        unsafe { cell.as_ref() }
    }

    /// A private copy of a slot's descriptor.
    #[inline]
    pub(super) fn desc(&self, index: u16) -> Desc {
        let cell = self.cell(index);
        let words = [
            cell.first.load(Ordering::Relaxed),
            cell.second.load(Ordering::Relaxed),
        ];
        zerocopy::transmute!(words)
    }

    /// Writes a slot's descriptor. It reaches the other end with the next [`publish`](Self::publish).
    #[inline]
    pub(super) fn set_desc(&self, index: u16, desc: Desc) {
        let cell = self.cell(index);
        let [first, second]: [u64; 2] = zerocopy::transmute!(desc);
        cell.first.store(first, Ordering::Relaxed);
        cell.second.store(second, Ordering::Relaxed);
    }

    #[inline]
    const fn own(&self) -> &AtomicU16 {
        if self.owns_head {
            &self.header().head
        } else {
            &self.header().tail.0
        }
    }

    #[inline]
    const fn peers(&self) -> &AtomicU16 {
        if self.owns_head {
            &self.header().tail.0
        } else {
            &self.header().head
        }
    }

    /// The index that the other end writes; whatever it wrote before that is visible after this.
    #[inline]
    pub(super) fn peer_index(&self) -> u16 {
        // SYNC POINT: pairs with the peer's `publish`.
        self.peers().load(Ordering::Acquire)
    }

    /// Moves our index: everything written so far belongs to the other end.
    #[inline]
    pub(super) fn publish(&self, index: u16) {
        // SYNC POINT: pairs with the peer's `peer_index`.
        self.own().store(index, Ordering::Release);
    }

    /// Hands the lines of our index and of a slot's descriptor on to the other end's core.
    #[inline]
    pub(super) fn demote(&self, index: u16) {
        sidestep_shm::demote(self.own());
        sidestep_shm::demote(self.cell(index));
    }

    /// As receiver: whether the sender should ring the doorbell.
    pub(super) fn set_wakeups(&self, wanted: bool) {
        let flags = if wanted { 0 } else { RING_MASK_INTERRUPT };
        self.header().flags.store(flags, Ordering::Relaxed);
        if wanted {
            // SYNC POINT: pairs with the fence of a stranger's sender: either it sees that we want the wake-up, or we see
            // its index when we look once more. For a sender of ours the receiver raises a barrier besides, or looks
            // again soon.
            fence(Ordering::SeqCst);
        }
    }

    /// As sender, after `publish`: whether the receiver sleeps, or may be about to. `raises`: the receiver raises a
    /// barrier before it does, or looks again soon.
    #[inline]
    pub(super) fn peer_wants_wakeup(&self, raises: bool) -> bool {
        // SYNC POINT: pairs with the barrier of `rx_wakeups`' caller, or with the fence in `set_wakeups`.
        if raises {
            barrier::light();
        } else {
            fence(Ordering::SeqCst);
        }
        self.header().flags.load(Ordering::Relaxed) & RING_MASK_INTERRUPT == 0
    }

    /// Fetches a slot's descriptor, to read it.
    #[inline]
    pub(super) fn prefetch_desc(&self, index: u16) {
        sidestep_shm::prefetch(self.cell(index));
    }

    /// Where the peer's index and a slot's descriptor lie.
    #[inline]
    pub(super) fn lines(&self, index: u16) -> [*const u8; 2] {
        [
            core::ptr::from_ref(self.peers()).cast(),
            core::ptr::from_ref(self.cell(index)).cast(),
        ]
    }
}

/// Where the byte at `offset` of a region lies, to be fetched, and not to be read.
#[inline]
pub(super) const fn line(region: &Region, offset: usize) -> *const u8 {
    region.base().as_ptr().wrapping_add(offset).cast_const()
}

/// Starts to fetch the cache line at `offset` of a region, to read it. Nothing is read: an address beyond the end does no
/// harm, and need not be found out.
#[inline]
pub(super) fn prefetch(region: &Region, offset: usize) {
    sidestep_shm::prefetch(line(region, offset));
}

/// Hands the cache line at `offset` of a region, just written, on to the core that will read it.
#[inline]
pub(super) fn demote(region: &Region, offset: usize) {
    if let Some(line) = region.at(offset, 1) {
        sidestep_shm::demote(line);
    }
}
