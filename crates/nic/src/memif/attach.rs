//! What one process needs to use one end of a memif link: mappings, resolved rings, the peer's doorbell.

use super::driver::frame_bytes_max;
use super::layout::{Geometry, Role};
use super::sys::Ring;
use sidestep_shm::{EventFd, ForeignMut, Region};
use std::io;
use std::sync::Arc;

/// Most regions that a slave may announce.
pub const REGIONS_MAX: usize = 64;
/// Longest frame on a link whose buffers it must be spread over; what a `u16` counts, as IP does.
pub(super) const CHAIN_BYTES_MAX: usize = 65_535;

/// One end of a memif link, as this process sees it.
///
/// Nothing in it changes after it was made; what changes is in the [`State`](super::State).
pub struct Attachment {
    /// Region 0: of a wire or a slave of ours, all there is.
    pub(super) home: Arc<Region>,
    /// All regions, by index.
    regions: Vec<Arc<Region>>,
    pub(super) rx: Ring,
    pub(super) tx: Ring,
    pub(super) buffers: Buffers,
    pub(super) frame_bytes_max: usize,
    pub(super) tx_doorbell: Option<EventFd>,
    /// Whether the other end raises a barrier before it sleeps, as we do and strangers do not.
    pub(super) peer_raises: bool,
    /// Whether this processor can hand written lines on.
    pub(super) demotes: bool,
    /// Where a frame in several buffers is put together; this process's own.
    pub(super) scratch: Region,
}

/// What is known of the buffers, prepared for the fast path.
pub(super) struct Buffers {
    /// Bytes in each, where we know: wires and slaves of ours.
    pub(super) bytes: usize,
    stride: usize,
    rx_base: usize,
    tx_base: usize,
    /// The slot says nothing new about where we send from: it is ours, or a wire's.
    pub(super) tx_fixed: bool,
    /// Bytes in each of those buffers, where they are fixed; else 0.
    tx_bytes: usize,
    /// We are the slave of a stranger, who needs every buffer posted with all its particulars.
    pub(super) rx_reposts: bool,
}

impl Buffers {
    fn new(geometry: &Geometry, role: Role) -> Self {
        let uniform = geometry.uniform != 0;
        let tx_fixed = uniform || role == Role::Slave;
        Self {
            bytes: geometry.buffer_bytes as usize,
            stride: geometry.buffer_stride as usize,
            rx_base: geometry.buffers_of(role.sends().reverse()) as usize,
            tx_base: geometry.buffers_of(role.sends()) as usize,
            tx_fixed,
            tx_bytes: if tx_fixed {
                geometry.buffer_bytes as usize
            } else {
                0
            },
            rx_reposts: !uniform && role == Role::Slave,
        }
    }

    /// Where the buffer of a receiving slot was laid out, in region 0; meaningless where `bytes` is 0.
    #[inline]
    pub(super) fn rx_offset(&self, slot: u16) -> usize {
        self.rx_base + usize::from(slot) * self.stride
    }

    /// Where the buffer of a sending slot was laid out, in region 0; meaningless where `bytes` is 0.
    #[inline]
    pub(super) fn tx_offset(&self, slot: u16) -> usize {
        self.tx_base + usize::from(slot) * self.stride
    }
}

impl Attachment {
    /// One end of a wire between two stacks of ours. `tx_doorbell` is what the other end sleeps on.
    ///
    /// Fails with `InvalidData` where the geometry is not a wire's or the memory is too short for it. Both ends
    /// may be in one process, on one mapping or two.
    pub fn for_wire(
        region: impl Into<Arc<Region>>,
        geometry: &Geometry,
        role: Role,
        tx_doorbell: EventFd,
    ) -> io::Result<Self> {
        let region = region.into();
        if !geometry.is_ours() || region.bytes() < geometry.bytes() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "memory that is not a wire's",
            ));
        }
        let wire = Self::new(vec![region], geometry, role, Some(tx_doorbell))?;
        Ok(Self {
            peer_raises: true,
            demotes: sidestep_shm::demotes(),
            ..wire
        })
    }

    /// One end of a link whose regions and rings were agreed on elsewhere. Without a doorbell the other end is
    /// never woken. Fails with `InvalidData` where a ring does not lie in its region or has no cookie.
    pub fn new(
        regions: Vec<Arc<Region>>,
        geometry: &Geometry,
        role: Role,
        tx_doorbell: Option<EventFd>,
    ) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let home = regions
            .first()
            .ok_or_else(|| wrong("a link without memory"))?;
        let ring = |direction| {
            let place = geometry.ring(direction);
            let region = regions
                .get(usize::from(place.region))
                .ok_or_else(|| wrong("a ring in no region"))?;
            let ring = Ring::at(region, place, role)?;
            if ring.has_cookie() {
                Ok(ring)
            } else {
                Err(wrong("a ring without its cookie"))
            }
        };
        let (rx, tx) = (ring(role.sends().reverse())?, ring(role.sends())?);
        // A stranger's buffers are all of one size in every known implementation; its first one tells which.
        let buffer_bytes = if geometry.buffer_bytes != 0 {
            geometry.buffer_bytes
        } else {
            tx.desc(0).length
        };
        Ok(Self {
            home: Arc::clone(home),
            buffers: Buffers::new(geometry, role),
            frame_bytes_max: frame_bytes_max(
                geometry.uniform != 0,
                buffer_bytes as usize,
                tx.slots(),
            ),
            rx,
            tx,
            tx_doorbell,
            peer_raises: false,
            demotes: sidestep_shm::demotes(),
            scratch: Region::private(CHAIN_BYTES_MAX.next_multiple_of(4096))?,
            regions,
        })
    }

    /// Where a frame of `bytes` in that slot is to be written, in region 0, and the offset of that; none where one of our own
    /// buffers does not hold it, or none is fixed.
    #[inline]
    pub(super) fn tx_frame(&self, index: u16, bytes: usize) -> Option<(ForeignMut<'_>, usize)> {
        if bytes > self.buffers.tx_bytes {
            return None;
        }
        let offset = self.buffers.tx_offset(index & (self.tx.slots() - 1));
        Some((self.home.foreign_mut(offset, bytes)?, offset))
    }

    /// The region of that index.
    #[inline]
    pub(super) fn region(&self, index: u16) -> Option<&Region> {
        if index == 0 {
            Some(&self.home)
        } else {
            self.regions.get(usize::from(index)).map(|region| &**region)
        }
    }

    /// The regions, to hand to another process that shares the stack.
    pub fn regions(&self) -> &[Arc<Region>] {
        &self.regions
    }

    /// What the other end sleeps on, to hand to another process that shares the stack.
    pub const fn tx_doorbell(&self) -> Option<&EventFd> {
        self.tx_doorbell.as_ref()
    }
}
