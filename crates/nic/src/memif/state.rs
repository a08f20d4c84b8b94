//! What all processes that share a stack must agree on about one end of a memif link; plain data, in the stack's
//! memory, guarded by the stack's lock. The peer cannot reach it: our own positions are kept here and never read
//! back from the ring.

use super::layout::{Geometry, Role};
use crate::PortStats;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A position in a ring.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Cursor {
    /// The next slot to read or to fill.
    pub(super) next: u16,
    /// One past the last slot that we may read or fill, as of when we last looked at the peer's index.
    pub(super) limit: u16,
    /// What `next` was when we last moved our index in the ring.
    pub(super) published: u16,
    pub(super) reserved: u16,
}

impl Cursor {
    /// Slots that we know are ours to read or fill.
    #[inline]
    pub(super) const fn known(&self) -> u16 {
        self.limit.wrapping_sub(self.next)
    }
}

/// One end of a memif link.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    pub(super) rx: Cursor,
    pub(super) tx: Cursor,
    pub(super) stats: PortStats,
    geometry: Geometry,
    /// 0 master, else slave.
    role: u8,
    /// Whether a ring's indices made no sense: nothing moves any more.
    pub(super) broken: u8,
    /// Whether we told the sender that we poll.
    pub(super) rx_masked: u8,
    pub(super) rx_checksum_vouched: u8,
    pub(super) tx_checksum_unneeded: u8,
    reserved: [u8; 3],
}

impl State {
    /// The end of that role, nothing sent or received.
    pub fn new(role: Role, geometry: &Geometry) -> Self {
        Self {
            rx: Cursor::default(),
            tx: Cursor::default(),
            stats: PortStats::default(),
            geometry: *geometry,
            role: role as u8,
            broken: 0,
            rx_masked: 0,
            rx_checksum_vouched: 0,
            tx_checksum_unneeded: 0,
            reserved: [0; 3],
        }
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        if self.role == 0 {
            Role::Master
        } else {
            Role::Slave
        }
    }

    /// Where rings and buffers lie.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Says whether frames arrive as they were sent, so that checksums need no look. Off at first.
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
