//! What all processes that share a stack must agree on about one AF_XDP socket; plain data, in the stack's memory,
//! guarded by the stack's lock.

use super::layout::{Geometry, TX_HEADROOM_BYTES};
use crate::PortStats;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A position in a ring. All run free; a slot is a position modulo the ring's length.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Cursor {
    /// The next slot to read or to fill.
    pub(super) next: u32,
    /// Of a ring that we read: one past the last slot that may be read, as of when we last looked.
    pub(super) limit: u32,
    /// What `next` was when we last told the kernel.
    pub(super) published: u32,
}

impl Cursor {
    /// Slots that we know are ours to read.
    #[inline]
    pub(super) const fn known(&self) -> u32 {
        self.limit.wrapping_sub(self.next)
    }

    /// Slots that we are done with and have not told the kernel of.
    #[inline]
    pub(super) const fn unpublished(&self) -> u32 {
        self.next.wrapping_sub(self.published)
    }
}

/// One AF_XDP socket.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    pub(super) stats: PortStats,
    /// Frames that had been sent when the rx ring was last seen empty.
    pub(super) heard_at: u64,
    pub(super) rx: Cursor,
    pub(super) fill: Cursor,
    pub(super) tx: Cursor,
    pub(super) done: Cursor,
    geometry: Geometry,
    /// Sending buffers that were used at least once; the others were never in a ring.
    pub(super) tx_used: u32,
    pub(super) frame_bytes_max: u32,
    /// As long as a frame can ever be: of a socket that was not bound for chains, one buffer's worth.
    frame_bytes_limit: u32,
    /// Polls that found nothing since something was left with the kernel; paces new attempts.
    pub(super) idle_polls: u32,
    /// Whether nothing moves any more: the interface is gone, or a ring's indices made no sense.
    pub(super) broken: u8,
    /// Whether frames were left in the tx ring by a kernel that could not take them.
    pub(super) tx_owed: u8,
    /// Whether receiving drives the interface by system calls.
    pub(super) busy_poll: u8,
    pub(super) rx_checksum_vouched: u8,
    pub(super) tx_checksum_unneeded: u8,
    /// Whether long segments can be handed over to be cut.
    pub(super) cuts: u8,
    /// Whether the link finishes checksums.
    pub(super) finishes: u8,
    /// Bytes in front of each frame that is sent: 0 where the link cannot be told anything.
    tx_headroom: u8,
    /// Attempts in a row to send what was left in the tx ring that got nothing away.
    pub(super) owed_tries: u16,
    _reserved: [u8; 6],
    /// Bytes of a long segment, with what goes before it, that the kernel had no room for yet.
    pub(super) staged: u32,
    /// Attempts in a row to hand it over.
    pub(super) staged_tries: u32,
}

impl State {
    /// A new socket, all receiving buffers with the kernel.
    pub(super) fn new(geometry: &Geometry, frame_bytes_max: u32) -> Self {
        let limit = if geometry.is_chained(frame_bytes_max as usize) {
            geometry.tx_bytes_max()
        } else {
            geometry.rx_bytes_unchained()
        };
        let posted = Cursor {
            next: geometry.rx_buffers(),
            limit: 0,
            published: geometry.rx_buffers(),
        };
        Self {
            stats: PortStats::default(),
            heard_at: 0,
            rx: Cursor::default(),
            fill: posted,
            tx: Cursor::default(),
            done: Cursor::default(),
            geometry: *geometry,
            tx_used: 0,
            frame_bytes_max,
            frame_bytes_limit: u32::try_from(limit).unwrap_or(frame_bytes_max),
            idle_polls: 0,
            broken: 0,
            tx_owed: 0,
            busy_poll: 0,
            rx_checksum_vouched: 0,
            tx_checksum_unneeded: 0,
            cuts: 0,
            finishes: 0,
            tx_headroom: 0,
            owed_tries: 0,
            _reserved: [0; 6],
            staged: 0,
            staged_tries: 0,
        }
    }

    /// Lets long segments be cut by the kernel or the card. False where there are too few sending buffers to keep some
    /// for them.
    pub fn cut_segments(&mut self) -> bool {
        self.cuts = u8::from(self.geometry.tx_buffers() >= 4 * self.geometry.stage_buffers());
        self.cuts != 0
    }

    /// The kernel was told that there is room in front of each frame that is sent.
    pub(super) const fn keep_tx_headroom(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "64")]
        let bytes = TX_HEADROOM_BYTES as u8;
        self.tx_headroom = bytes;
    }

    /// Lets the link finish checksums. False where the kernel has no means to be told.
    pub const fn finish_checksums(&mut self) -> bool {
        self.finishes = (self.tx_headroom != 0) as u8;
        self.finishes != 0
    }

    /// Where in its buffer a frame begins that is sent.
    #[inline]
    pub(super) const fn tx_headroom(&self) -> usize {
        self.tx_headroom as usize
    }

    /// Bytes of a frame that a sending buffer holds.
    #[inline]
    pub(super) const fn tx_part_bytes(&self) -> usize {
        self.geometry.buffer_bytes as usize - self.tx_headroom as usize
    }

    /// Sending buffers of single frames.
    #[inline]
    pub(super) const fn frame_buffers(&self) -> u32 {
        let all = self.geometry.tx_buffers();
        if self.cuts == 0 {
            all
        } else {
            all - self.geometry.stage_buffers()
        }
    }

    /// Where buffers lie.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Follows the interface's MTU: the longest frame in bytes from now on. False where that is more than the socket was
    /// made for; then it is as long as that allows, longer ones that arrive are lost, and a new socket is needed.
    pub fn set_frame_bytes_max(&mut self, bytes: usize) -> bool {
        let limit = self.frame_bytes_limit;
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.frame_bytes_max = wanted.min(limit);
        wanted <= limit
    }

    /// Says whether receiving drives the interface by system calls. Off at first.
    pub fn set_busy_poll(&mut self, on: bool) {
        self.busy_poll = u8::from(on);
    }

    /// Says whether the driver vouches for checksums of what arrives. Off at first.
    pub fn vouch_rx_checksums(&mut self, vouched: bool) {
        self.rx_checksum_vouched = u8::from(vouched);
    }

    /// Says whether the other end does without checksums. Off at first.
    pub fn skip_tx_checksums(&mut self, unneeded: bool) {
        self.tx_checksum_unneeded = u8::from(unneeded);
    }

    /// The counters.
    pub const fn stats(&self) -> PortStats {
        self.stats
    }
}
