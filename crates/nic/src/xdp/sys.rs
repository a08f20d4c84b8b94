//! Rings that the kernel shares with us, and socket options that no library has. The only unsafe code of the driver.
#![expect(
    unsafe_code,
    reason = "maps rings and makes references to atomics of checked parts of them"
)]

use core::ptr::NonNull;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::{XdpRingOffset, XdpUmemReg, XdpUmemRegFlags};
use sidestep_shm::Region;
use sidestep_shm::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// In a ring's flags: the kernel moves only when told (`XDP_RING_NEED_WAKEUP`).
const NEED_WAKEUP: u32 = 1;

/// A ring, mapped; each slot has so many words. Everything in it is atomic, so that another process that shares the
/// socket and writes at the wrong moment gives us a wrong value and nothing worse.
pub(super) struct Ring<const WORDS: usize> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<[AtomicU64; WORDS]>,
    mask: u32,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pointers lead to atomics in a mapping that lives as long as the value.
unsafe impl<const WORDS: usize> Send for Ring<WORDS> {}
// SAFETY: as for Send.
unsafe impl<const WORDS: usize> Sync for Ring<WORDS> {}

impl<const WORDS: usize> Ring<WORDS> {
    /// Maps the ring of `1 << log2_slots` slots that the socket has at `page_offset`. Fails where it has fewer.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        log2_slots: u8,
        offsets: &XdpRingOffset,
        page_offset: u64,
    ) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a ring of impossible layout");
        let old = || io::Error::new(io::ErrorKind::Unsupported, "AF_XDP of a kernel before 5.4");
        let place = |at: u64| usize::try_from(at).map_err(|_| wrong());
        let slots = place(offsets.desc)?;
        let bytes = slots
            .checked_add(size_of::<[AtomicU64; WORDS]>() << log2_slots)
            .ok_or_else(wrong)?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                page_offset,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(wrong)?;
        let mut ring = Self {
            producer: NonNull::dangling(),
            consumer: NonNull::dangling(),
            flags: NonNull::dangling(),
            slots: NonNull::dangling(),
            mask: (1 << log2_slots) - 1,
            base,
            bytes,
        };
        ring.producer = ring.at(place(offsets.producer)?).ok_or_else(wrong)?;
        ring.consumer = ring.at(place(offsets.consumer)?).ok_or_else(wrong)?;
        ring.flags = ring
            .at(place(offsets.flags.ok_or_else(old)?)?)
            .ok_or_else(wrong)?;
        // The slots reach to the mapping's end by its length.
        ring.slots = ring.at(slots).ok_or_else(wrong)?;
        Ok(ring)
    }

    /// The address of a `T` at `offset` of the mapping, if it lies inside and is aligned.
    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        if offset.checked_add(size_of::<T>())? > self.bytes {
            return None;
        }
        // SAFETY: inside of the mapping by the check above.
        let at = unsafe { self.base.add(offset) }.cast::<T>();
        at.is_aligned().then_some(at)
    }

    /// How many slots there are.
    #[inline]
    pub(super) const fn slots(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    const fn slot(&self, index: u32) -> &[AtomicU64; WORDS] {
        // SAFETY: masked, so one of the slots that `map` found in bounds.
        let slot = unsafe { self.slots.add((index & self.mask) as usize) };
        // SAFETY: mapped as long as self, aligned by `map`; made of atomics.
        unsafe { slot.as_ref() }
    }

    /// A private copy of a slot.
    #[inline]
    pub(super) fn read(&self, index: u32) -> [u64; WORDS] {
        let slot = self.slot(index);
        core::array::from_fn(|word| slot[word].load(Ordering::Relaxed))
    }

    /// Writes a slot. It reaches the kernel with the next [`produce`](Self::produce).
    #[inline]
    pub(super) fn write(&self, index: u32, words: [u64; WORDS]) {
        for (cell, word) in self.slot(index).iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
    }

    #[inline]
    const fn producer(&self) -> &AtomicU32 {
        // SAFETY: checked in `map`: in bounds, aligned, and mapped as long as self.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    const fn consumer(&self) -> &AtomicU32 {
        // SAFETY: checked in `map`: in bounds, aligned, and mapped as long as self.
        unsafe { self.consumer.as_ref() }
    }

    /// How far the ring is filled; whatever was written before that is visible after this.
    #[inline]
    pub(super) fn produced(&self) -> u32 {
        // SYNC POINT: pairs with the kernel's release of the producer.
        self.producer().load(Ordering::Acquire)
    }

    /// Everything before `index` is filled and belongs to the kernel.
    #[inline]
    pub(super) fn produce(&self, index: u32) {
        // SYNC POINT: pairs with the kernel's acquire of the producer.
        self.producer().store(index, Ordering::Release);
    }

    /// How far the kernel has read.
    #[inline]
    pub(super) fn consumed(&self) -> u32 {
        // SYNC POINT: pairs with the kernel's release of the consumer.
        self.consumer().load(Ordering::Acquire)
    }

    /// Everything before `index` was read, and the slots are the kernel's again.
    #[inline]
    pub(super) fn consume(&self, index: u32) {
        // SYNC POINT: pairs with the kernel's acquire of the consumer.
        self.consumer().store(index, Ordering::Release);
    }

    /// Whether the kernel waits to be told of what is in the ring.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: checked in `map`: in bounds, aligned, and mapped as long as self.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// The same, after [`produce`](Self::produce), for a kernel that may be about to stop looking.
    #[inline]
    pub(super) fn needs_wakeup_after_produce(&self) -> bool {
        self.needs_wakeup() || {
            // SYNC POINT: the flag is looked at after the producer was written, as the kernel looks at the producer
            // after it wrote the flag; one of us sees the other's.
            fence(Ordering::SeqCst);
            self.needs_wakeup()
        }
    }

    /// Fetches a slot that will be read soon.
    #[inline]
    pub(super) fn prefetch_slot(&self, index: u32) {
        prefetch_read(core::ptr::from_ref(self.slot(index)).cast());
    }
}

impl<const WORDS: usize> Drop for Ring<WORDS> {
    fn drop(&mut self) {
        // SAFETY: base and bytes are of the mapping that this value made and owns; all borrows of it have ended.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Starts to fetch the cache line at `offset` of the memory, to read it. Beyond the end: does nothing.
#[inline]
pub(super) fn prefetch(region: &Region, offset: usize) {
    if let Some(line) = region.at(offset, 1) {
        prefetch_read(line);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_read(line: *const u8) {
    // SAFETY: a hint; it faults at no address and changes nothing but caches.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_read(_line: *const u8) {}

/// `XDP_UMEM_TX_METADATA_LEN`.
const TX_METADATA_LEN: u32 = 4;

/// Makes the first `bytes` of the region, which must be mapped for as long as the socket lives, the socket's UMEM, with so
/// many bytes in front of each frame that is sent for what the link is to do with it.
pub(super) fn register_umem(
    socket: BorrowedFd<'_>,
    region: &Region,
    (bytes, buffer_bytes): (usize, u32),
    tx_headroom: usize,
) -> io::Result<()> {
    let start = region.at(0, bytes);
    let start = start.ok_or_else(|| io::Error::other("memory that is shorter than its buffers"))?;
    let umem = XdpUmemReg {
        addr: start.expose_provenance() as u64,
        len: bytes as u64,
        chunk_size: buffer_bytes,
        headroom: 0,
        flags: if tx_headroom == 0 {
            XdpUmemRegFlags::empty()
        } else {
            XdpUmemRegFlags::from_bits_retain(TX_METADATA_LEN)
        },
        tx_metadata_len: u32::try_from(tx_headroom).map_err(io::Error::other)?,
    };
    // The kernel takes hold of the pages: it goes on using them, not the mapping.
    Ok(rustix::net::sockopt::set_xdp_umem_reg(socket, umem)?)
}

/// Options of `SOL_SOCKET` and `SOL_XDP` with a value of one number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// `SO_BUSY_POLL`: microseconds to poll for.
    BusyPoll,
    /// `SO_PREFER_BUSY_POLL`: leave the interface to whoever polls it.
    PreferBusyPoll,
    /// `SO_BUSY_POLL_BUDGET`: frames in one poll.
    BusyPollBudget,
    /// `XDP_MAX_TX_SKB_BUDGET`, since Linux 6.17: frames sent by one call where they are copied.
    MaxTxBudget,
}

/// The interface's own number for what serves the socket's queue (`SO_INCOMING_NAPI_ID`): 0 where it has none, and until a
/// first frame has come.
pub(super) fn napi_id(socket: impl AsFd) -> io::Result<u32> {
    let mut value = 0_u32;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the length of a number of four bytes"
    )]
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets such an option.
pub(super) fn set_number(socket: impl AsFd, which: Number, value: u32) -> io::Result<()> {
    let (level, option) = match which {
        Number::BusyPoll => (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
        Number::PreferBusyPoll => (libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL),
        Number::BusyPollBudget => (libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET),
        Number::MaxTxBudget => (libc::SOL_XDP, 9),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the length of a number of four bytes"
    )]
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
