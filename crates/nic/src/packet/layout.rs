//! Where slots lie in the mapped rings, and what their headers say: `struct tpacket2_hdr` in `linux/if_packet.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most slots of a ring, as a power of two.
pub(super) const LOG2_SLOTS_MAX: u8 = 15;
/// Shortest and longest slot.
const SLOT_BYTES_MIN: u32 = 2048;
const SLOT_BYTES_MAX: u32 = 16 * 1024;
/// The kernel allocates rings in blocks; each slot lies in one.
const BLOCK_BYTES: u32 = 64 * 1024;
/// Where the frame begins in a slot that we send.
pub(super) const TX_FRAME: usize = 32;
/// Bytes in front of an Ethernet frame in a slot that we receive: the header, an address, and padding.
const RX_OVERHEAD: usize = 82;
/// Longest frame: an IP packet as long as one can be, an Ethernet header and a VLAN tag.
pub(super) const LONG_FRAME_BYTES: usize = 65_535 + 18;

/// Who has a slot of the rx ring: `TP_STATUS_USER` is ours.
pub(super) const RX_OURS: u32 = 1;
/// The whole frame is to be had from the socket: `TP_STATUS_COPY`.
pub(super) const RX_LONG: u32 = 1 << 1;
/// A VLAN tag was taken out: `TP_STATUS_VLAN_VALID`, and its protocol is told: `TP_STATUS_VLAN_TPID_VALID`.
pub(super) const RX_TAG: u32 = 1 << 4;
pub(super) const RX_TAG_PROTOCOL: u32 = 1 << 6;
/// What gives a slot of the rx ring back: `TP_STATUS_KERNEL`.
pub(super) const RX_KERNELS: u32 = 0;

/// A free slot of the tx ring: `TP_STATUS_AVAILABLE`.
pub(super) const TX_FREE: u32 = 0;
/// A slot to be sent: `TP_STATUS_SEND_REQUEST`.
pub(super) const TX_SEND: u32 = 1;

/// A private copy of a header: `struct tpacket2_hdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) status: u32,
    /// Length of the frame, and of what of it is in the slot.
    pub(super) bytes: u32,
    pub(super) here: u32,
    /// Where in the slot the frame begins.
    pub(super) frame: u16,
    pub(super) network: u16,
    pub(super) seconds: u32,
    pub(super) nanos: u32,
    pub(super) tag: u16,
    pub(super) tag_protocol: u16,
    pub(super) padding: [u8; 4],
}

/// How many slots there are and how long each is. The receiving ones come first. Plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Geometry {
    /// Bytes in a slot: a power of two.
    pub slot_bytes: u32,
    /// Slots to receive, as a power of two.
    pub log2_rx: u8,
    /// Slots to send, as a power of two.
    pub log2_tx: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl Geometry {
    /// So many bytes for each ring at most, in slots for frames of `frame_bytes_max`. None where these are too long.
    pub fn new(ring_bytes: u32, frame_bytes_max: usize) -> Option<Self> {
        let slot = u32::try_from(frame_bytes_max + RX_OVERHEAD).ok()?;
        let slot_bytes = slot.next_power_of_two().max(SLOT_BYTES_MIN);
        let slots = ring_bytes.checked_div(slot_bytes)?.checked_ilog2()?;
        let log2 = u8::try_from(slots).ok()?.min(LOG2_SLOTS_MAX);
        let geometry = Self {
            slot_bytes,
            log2_rx: log2,
            log2_tx: log2,
            reserved: [0; 2],
        };
        geometry.is_possible().then_some(geometry)
    }

    /// Whether [`new`](Self::new) may have made it; checked before what somebody sent is used.
    pub fn is_possible(&self) -> bool {
        let in_bounds = (SLOT_BYTES_MIN..=SLOT_BYTES_MAX).contains(&self.slot_bytes);
        // Rings are whole blocks.
        let is_whole = |log2: u8| log2 <= LOG2_SLOTS_MAX && self.slot_bytes << log2 >= BLOCK_BYTES;
        self.slot_bytes.is_power_of_two()
            && in_bounds
            && is_whole(self.log2_rx)
            && is_whole(self.log2_tx)
            && self.reserved == [0; 2]
    }

    /// Bytes of both rings.
    pub const fn bytes(&self) -> usize {
        ((1 << self.log2_rx) + (1 << self.log2_tx)) * self.slot_bytes as usize
    }

    /// Where a slot of the rx ring begins.
    #[inline]
    pub(super) const fn rx_slot(&self, index: u32) -> usize {
        (index & ((1 << self.log2_rx) - 1)) as usize * self.slot_bytes as usize
    }

    /// Where a slot of the tx ring begins.
    #[inline]
    pub(super) const fn tx_slot(&self, index: u32) -> usize {
        let slot = (index & ((1 << self.log2_tx) - 1)) as usize;
        (slot + (1 << self.log2_rx)) * self.slot_bytes as usize
    }

    /// Slots to send.
    #[inline]
    pub(super) const fn tx_slots(&self) -> u32 {
        1 << self.log2_tx
    }

    /// The kernel's way to say it: `struct tpacket_req` of a ring of that many slots.
    pub(super) const fn request(&self, log2_slots: u8) -> [u32; 4] {
        let slots = 1 << log2_slots;
        let blocks = slots * self.slot_bytes / BLOCK_BYTES;
        [BLOCK_BYTES, blocks, self.slot_bytes, slots]
    }
}
