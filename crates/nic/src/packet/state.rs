//! What all processes that share a stack must agree on about one packet socket; plain data, in the stack's memory,
//! guarded by the stack's lock.

use super::layout::Geometry;
use crate::PortStats;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One packet socket.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    pub(super) stats: PortStats,
    /// Frames that had been sent when the rx ring was last seen empty.
    pub(super) heard_at: u64,
    geometry: Geometry,
    pub(super) frame_bytes_max: u32,
    /// The next slot to read. Positions run free; a slot is a position modulo the ring's length.
    pub(super) rx_next: u32,
    /// The next slot to fill.
    pub(super) tx_next: u32,
    /// What `tx_next` was when we last told the kernel.
    pub(super) tx_flushed: u32,
    /// Slots from `tx_next` on that are known to be free.
    pub(super) tx_free: u32,
    /// Polls that found nothing since something was left with the kernel; paces new attempts.
    pub(super) idle_polls: u32,
    /// Attempts in a row to send that left something in the ring.
    pub(super) owed_tries: u16,
    /// Whether the last attempt did.
    pub(super) tx_owed: u8,
    /// Whether nothing moves any more: the interface is gone.
    pub(super) broken: u8,
    reserved: [u8; 4],
}

impl State {
    /// A new socket.
    pub(super) fn new(geometry: &Geometry, frame_bytes_max: u32) -> Self {
        Self {
            stats: PortStats::default(),
            heard_at: 0,
            geometry: *geometry,
            frame_bytes_max,
            rx_next: 0,
            tx_next: 0,
            tx_flushed: 0,
            tx_free: 0,
            idle_polls: 0,
            owed_tries: 0,
            tx_owed: 0,
            broken: 0,
            reserved: [0; 4],
        }
    }

    /// Where slots lie.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The counters.
    pub const fn stats(&self) -> PortStats {
        self.stats
    }
}
