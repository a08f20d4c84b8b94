//! How a memif ring looks in memory, and where rings and buffers lie.
//!
//! ```text
//! ring     +0   cookie u32, flags u16, head u16     (slave writes head; the receiver writes flags)
//!          +64  tail u16                            (master)
//!          +128 descriptor 0                        (the slave posts m2s ones; the sender fills in all)
//!          +144 descriptor 1 …
//!
//! descriptor   flags u16 | region u16 | length u32 | offset u32 | metadata u32
//!
//! indices run free; slot = index mod slots
//!
//!   s2m   [tail .. head)          frames for the master            sender: slave (head), receiver: master (tail)
//!         [head .. tail + slots)  free, the slave's
//!   m2s   [tail .. head)          empty buffers for the master     sender: master (tail), receiver: slave (head)
//!         [head - slots .. tail)  frames for the slave
//!
//! region 0 of a wire, and of a slave of ours
//!   s2m ring | m2s ring | buffer of s2m slot 0, 1, … | buffer of m2s slot 0, 1, …
//! ```
//! The sender's frames are always `[own index before .. own index after)`: the slave moves head over filled slots,
//! the master moves tail over slots that it filled.

use core::mem::offset_of;
use sidestep_shm::CACHE_LINE;
use sidestep_shm::atomic::{AtomicU16, AtomicU32, AtomicU64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first word of a ring.
pub(super) const COOKIE: u32 = 0x3E3_1F20;
/// In a ring's flags: the receiver polls and wants no wake-up.
pub(super) const RING_MASK_INTERRUPT: u16 = 1;
/// In a descriptor's flags: the frame goes on in the next slot.
pub(super) const DESC_NEXT: u16 = 1;
/// Largest ring, as a power of two; DPDK's limit.
pub const LOG2_SLOTS_MAX: u8 = 14;
/// Smallest ring, as a power of two: the index is given back by quarters.
pub(super) const LOG2_SLOTS_MIN: u8 = 2;
/// Smallest buffer that is worth having: the shortest Ethernet frame.
pub(super) const BUFFER_BYTES_MIN: u32 = 64;

/// The head of a ring; descriptors follow.
#[repr(C, align(64))]
pub(super) struct RingHeader {
    /// Written by the slave, once.
    pub(super) cookie: AtomicU32,
    /// Written by the receiver.
    pub(super) flags: AtomicU16,
    /// Written by the slave.
    pub(super) head: AtomicU16,
    /// Written by the master; on a line of its own.
    pub(super) tail: LineOf<AtomicU16>,
}

/// A value alone on its cache line.
#[repr(C, align(64))]
pub(super) struct LineOf<T>(pub(super) T);

/// A descriptor as it lies in memory: two words, so that each half is read and written at once.
#[repr(C, align(16))]
pub(super) struct DescCell {
    /// flags, region, length.
    pub(super) first: AtomicU64,
    /// offset, metadata.
    pub(super) second: AtomicU64,
}

const _: () = assert!(size_of::<RingHeader>() == 2 * CACHE_LINE);
const _: () = assert!(offset_of!(RingHeader, flags) == 4 && offset_of!(RingHeader, head) == 6);
const _: () = assert!(offset_of!(RingHeader, tail) == CACHE_LINE);
const _: () = assert!(size_of::<DescCell>() == 16);
const _: () = assert!(
    size_of::<Desc>() == 16 && offset_of!(Desc, length) == 4 && offset_of!(Desc, offset) == 8
);

/// A private copy of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Desc {
    pub(super) flags: u16,
    pub(super) region: u16,
    pub(super) length: u32,
    pub(super) offset: u32,
    pub(super) metadata: u32,
}

/// Which end of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Listens ("server"); copies in and out of the slave's memory.
    Master = 0,
    /// Connects ("client"); allocates the memory.
    Slave = 1,
}

impl Role {
    /// The ring that this end sends on; it receives on the other one.
    pub const fn sends(self) -> Direction {
        match self {
            Self::Master => Direction::MasterToSlave,
            Self::Slave => Direction::SlaveToMaster,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Master => Self::Slave,
            Self::Slave => Self::Master,
        }
    }
}

/// Which way the frames of a ring go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// s2m.
    SlaveToMaster,
    /// m2s.
    MasterToSlave,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::SlaveToMaster => Self::MasterToSlave,
            Self::MasterToSlave => Self::SlaveToMaster,
        }
    }
}

/// Where a ring lies.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RingPlace {
    /// Index of the region.
    pub region: u16,
    /// Number of slots, as a power of two.
    pub log2_slots: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes from the region's start.
    pub offset: u32,
}

impl RingPlace {
    /// Bytes that the ring takes.
    pub(super) const fn bytes(log2_slots: u8) -> usize {
        size_of::<RingHeader>() + (size_of::<DescCell>() << log2_slots)
    }
}

/// Where rings and buffers lie; what both ends of a wire must agree on. Plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Geometry {
    /// The ring from slave to master.
    pub s2m: RingPlace,
    /// The ring from master to slave.
    pub m2s: RingPlace,
    /// Bytes in a buffer; 0 where the memory is laid out by a slave that is not ours.
    pub buffer_bytes: u32,
    /// Bytes from one buffer to the next.
    pub buffer_stride: u32,
    /// Where the buffers begin in region 0.
    pub buffers_offset: u32,
    /// 1 where both ends are ours, so that every slot keeps the buffer that it was laid out with.
    pub uniform: u32,
}

impl Default for Geometry {
    /// 512 slots each way, 16 KiB in a buffer.
    fn default() -> Self {
        Self::laid_out(9, 16 * 1024, true)
    }
}

impl Geometry {
    /// A wire between two stacks of this project: `1 << log2_slots` slots each way with a buffer of `buffer_bytes`
    /// each. None where the ring is too small or too large, or the memory would pass 4 GiB.
    pub fn wire(log2_slots: u8, buffer_bytes: u32) -> Option<Self> {
        Self::checked(log2_slots, buffer_bytes, true)
    }

    /// The memory of a slave that connects to a master of whatever make.
    pub fn slave(log2_slots: u8, buffer_bytes: u32) -> Option<Self> {
        Self::checked(log2_slots, buffer_bytes, false)
    }

    /// The memory of a slave that is not ours, of which only the rings are known.
    pub const fn foreign(s2m: RingPlace, m2s: RingPlace) -> Self {
        Self {
            s2m,
            m2s,
            buffer_bytes: 0,
            buffer_stride: 0,
            buffers_offset: 0,
            uniform: 0,
        }
    }

    fn checked(log2_slots: u8, buffer_bytes: u32, uniform: bool) -> Option<Self> {
        let log2_fits = (LOG2_SLOTS_MIN..=LOG2_SLOTS_MAX).contains(&log2_slots);
        let bytes_fit = (BUFFER_BYTES_MIN..=1 << 20).contains(&buffer_bytes);
        let geometry =
            (log2_fits && bytes_fit).then(|| Self::laid_out(log2_slots, buffer_bytes, uniform))?;
        u32::try_from(geometry.bytes()).ok().map(|_| geometry)
    }

    const fn laid_out(log2_slots: u8, buffer_bytes: u32, uniform: bool) -> Self {
        // An odd number of cache lines from buffer to buffer, so that the first lines of all buffers, the busiest
        // ones, spread over all sets of the caches instead of falling into a few.
        let lines = buffer_bytes.div_ceil(64) | 1;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a ring is far shorter than 4 GiB"
        )]
        let ring_bytes = RingPlace::bytes(log2_slots) as u32;
        Self {
            s2m: RingPlace {
                region: 0,
                log2_slots,
                reserved: 0,
                offset: 0,
            },
            m2s: RingPlace {
                region: 0,
                log2_slots,
                reserved: 0,
                offset: ring_bytes,
            },
            buffer_bytes,
            buffer_stride: lines * 64,
            buffers_offset: (2 * ring_bytes).next_multiple_of(4096),
            uniform: uniform as u32,
        }
    }

    /// The ring of that direction.
    pub const fn ring(&self, direction: Direction) -> RingPlace {
        match direction {
            Direction::SlaveToMaster => self.s2m,
            Direction::MasterToSlave => self.m2s,
        }
    }

    /// Where the buffers of a direction begin in region 0.
    pub(super) const fn buffers_of(&self, direction: Direction) -> u32 {
        let before = match direction {
            Direction::SlaveToMaster => 0,
            Direction::MasterToSlave => self.buffer_stride << self.s2m.log2_slots,
        };
        self.buffers_offset + before
    }

    /// Bytes of region 0, a whole number of pages.
    pub const fn bytes(&self) -> usize {
        let buffers = (1usize << self.s2m.log2_slots) + (1usize << self.m2s.log2_slots);
        (self.buffers_offset as usize + buffers * self.buffer_stride as usize)
            .next_multiple_of(4096)
    }

    /// Whether these are values that [`wire`](Self::wire) or [`slave`](Self::slave) may have made; checked before
    /// a geometry that somebody sent is used.
    pub fn is_ours(&self) -> bool {
        Self::checked(self.s2m.log2_slots, self.buffer_bytes, self.uniform != 0).as_ref()
            == Some(self)
    }
}
