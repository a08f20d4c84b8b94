//! Where buffers lie in the UMEM, and how descriptors look: `struct xdp_desc` in `linux/if_xdp.h`.

use crate::Unfinished;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Fewest buffers of a kind, as a power of two: positions are published by quarters.
pub const LOG2_BUFFERS_MIN: u8 = 2;
/// Most buffers of a kind, as a power of two.
pub const LOG2_BUFFERS_MAX: u8 = 15;
/// What the kernel keeps free in front of each received frame: `XDP_PACKET_HEADROOM`.
pub(super) const RX_HEADROOM_BYTES: usize = 256;
/// In a descriptor: the frame goes on in the next one (`XDP_PKT_CONTD`).
pub(super) const PKT_CONTD: u32 = 1;
/// In a descriptor: what the link is to do is in front of the frame (`XDP_TX_METADATA`).
pub(super) const TX_METADATA: u32 = 2;
/// What is kept free in front of each frame that is sent, where the link may be told what to do with it. A cache line, so that
/// frames begin with one; the kernel wants 16 bytes, and a multiple of 8 below 256.
pub(super) const TX_HEADROOM_BYTES: usize = 64;
/// Parts of a frame that the kernel sends at most: `MAX_SKB_FRAGS` as every kernel has it, and the head.
pub(super) const TX_PARTS_MAX: usize = 17;
/// Of `struct xsk_tx_metadata`, the part that says what is wanted of a checksum, and its flag (`XDP_TXMD_FLAGS_CHECKSUM`).
const METADATA_BYTES: usize = 16;
const FINISH_CHECKSUM: u64 = 2;
/// Longest frame with a segment that is to be cut: an IP packet is at most 64 KiB long.
pub(super) const CUT_BYTES_MAX: usize = 65_000;
/// Room for it and what goes before it.
pub(super) const STAGE_BYTES: u32 = 65_536;
/// Longest frame in several buffers.
pub(super) const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// A private copy of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Desc {
    /// Offset of the first byte in the UMEM.
    pub(super) address: u64,
    pub(super) bytes: u32,
    pub(super) options: u32,
}

impl Desc {
    /// As it lies in the ring.
    #[inline]
    pub(super) const fn words(self) -> [u64; 2] {
        [
            self.address,
            self.bytes as u64 | (self.options as u64) << 32,
        ]
    }

    /// From what lies in the ring.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the two halves of a word"
    )]
    pub(super) const fn from_words([address, lengths]: [u64; 2]) -> Self {
        Self {
            address,
            bytes: lengths as u32,
            options: (lengths >> 32) as u32,
        }
    }
}

/// What goes in front of a frame whose checksum is to be finished: the beginning of `struct xsk_tx_metadata`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets within a frame of less than 64 KiB"
)]
pub(super) fn metadata(checksum: Unfinished) -> [u8; METADATA_BYTES] {
    let mut bytes = [0; METADATA_BYTES];
    bytes[..8].copy_from_slice(&FINISH_CHECKSUM.to_ne_bytes());
    bytes[8..10].copy_from_slice(&(checksum.start as u16).to_ne_bytes());
    bytes[10..12].copy_from_slice(&(checksum.offset as u16).to_ne_bytes());
    bytes
}

/// How many buffers there are and how long each is. The receiving ones come first. Plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Geometry {
    /// Bytes in a buffer: 2048 or 4096.
    pub buffer_bytes: u32,
    /// Receiving buffers, as a power of two; also the slots of the fill and rx rings.
    pub log2_rx: u8,
    /// Sending buffers, as a power of two; also the slots of the tx and completion rings.
    pub log2_tx: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl Geometry {
    /// That many buffers, each long enough for frames of `frame_bytes_max` where one can be; longer ones are spread
    /// over several. None where there are too few or too many, or the frames too long.
    pub fn new(log2_rx: u8, log2_tx: u8, frame_bytes_max: usize) -> Option<Self> {
        let short = frame_bytes_max + RX_HEADROOM_BYTES <= 2048;
        let geometry = Self {
            buffer_bytes: if short { 2048 } else { 4096 },
            log2_rx,
            log2_tx,
            reserved: [0; 2],
        };
        (geometry.is_possible() && frame_bytes_max <= CHAIN_BYTES_MAX).then_some(geometry)
    }

    /// Whether [`new`](Self::new) may have made it; checked before what somebody sent is used.
    pub fn is_possible(&self) -> bool {
        let log2 = LOG2_BUFFERS_MIN..=LOG2_BUFFERS_MAX;
        matches!(self.buffer_bytes, 2048 | 4096)
            && log2.contains(&self.log2_rx)
            && log2.contains(&self.log2_tx)
            && self.reserved == [0; 2]
    }

    /// Receiving buffers.
    pub const fn rx_buffers(&self) -> u32 {
        1 << self.log2_rx
    }

    /// Sending buffers.
    pub const fn tx_buffers(&self) -> u32 {
        1 << self.log2_tx
    }

    /// Bytes of the UMEM.
    pub const fn bytes(&self) -> usize {
        (self.rx_buffers() as usize + self.tx_buffers() as usize) * self.buffer_bytes as usize
    }

    /// Whether a frame of that length may arrive in several buffers.
    pub const fn is_chained(&self, frame_bytes: usize) -> bool {
        frame_bytes + RX_HEADROOM_BYTES > self.buffer_bytes as usize
    }

    /// Longest frame that arrives in one buffer.
    pub(super) const fn rx_bytes_unchained(&self) -> usize {
        self.buffer_bytes as usize - RX_HEADROOM_BYTES
    }

    /// The last sending buffers, in which a long segment is put together where such are cut by the kernel.
    pub(super) const fn stage_buffers(&self) -> u32 {
        STAGE_BYTES.div_ceil(self.buffer_bytes)
    }

    /// Where the first of these begins.
    pub(super) const fn stage_start(&self) -> usize {
        self.bytes() - self.stage_buffers() as usize * self.buffer_bytes as usize
    }

    /// Bytes that a frame can have in as many sending buffers as the kernel takes.
    pub(super) const fn tx_bytes_max(&self) -> usize {
        let parts = (self.buffer_bytes as usize - TX_HEADROOM_BYTES) * TX_PARTS_MAX;
        if parts < CHAIN_BYTES_MAX {
            parts
        } else {
            CHAIN_BYTES_MAX
        }
    }
}
