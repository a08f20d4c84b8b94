//! The interface between the stack and every driver.

use sidestep_shm::{Ahead, Foreign, ForeignMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a link can and vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Longest frame in bytes, link-layer header included, without frame check sequence.
    pub frame_bytes_max: usize,
    /// Frames arrive as they were sent: checksums of received packets need no verification.
    pub rx_checksum_vouched: bool,
    /// The other end does not look at checksums: packets may leave with them unfinished.
    pub tx_checksum_unneeded: bool,
    /// Longest frame that [`tx_cut`](Port::tx_cut) takes; 0 where segments are not cut by the link.
    pub cut_bytes_max: usize,
    /// Whether [`tx_unfinished`](Port::tx_unfinished) takes frames.
    pub finishes_checksums: bool,
}

/// A checksum that the link is to finish. In its place is the sum over the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where in the frame begins what it covers, to the frame's end.
    pub start: usize,
    /// Where it lies, counted from there.
    pub offset: usize,
}

/// How a long TCP segment is to be cut into such as the link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the TCP header begins in the frame.
    pub tcp_offset: usize,
    /// Where the payload begins.
    pub payload_offset: usize,
    /// Payload bytes of each segment but the last.
    pub segment_bytes: usize,
    /// How many segments it makes.
    pub segments: usize,
    /// Whether the packet is of IPv6.
    pub is_v6: bool,
}

/// What a driver counts; plain data, in the stack's memory.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortStats {
    /// Frames and bytes received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received descriptors that made no sense: out of bounds, too long, a broken chain. Their frames are dropped.
    pub rx_malformed: u64,
    /// Times that there was no room to send.
    pub tx_full: u64,
    /// Wake-ups sent to the other end, or calls that had the kernel look at a ring.
    pub tx_doorbells: u64,
    /// Long segments that were handed over to be cut.
    pub tx_cut: u64,
    /// Frames whose checksums were left to the link.
    pub tx_unfinished: u64,
}

/// One end of a link. Calls come from the holder of the stack's lock only.
pub trait Port {
    /// What the link can.
    fn caps(&self) -> Caps;

    /// Lends up to `frames_max` received frames, oldest first, each for one call of `on_frame`, and gives their
    /// buffers back to the link afterwards. Returns how many there were. Frames lie in memory that the other end
    /// may still write: copy, check, use.
    fn rx_batch(&mut self, frames_max: usize, on_frame: impl FnMut(Foreign<'_>)) -> usize;

    /// Shows up to `frames_max` frames that the next [`rx_batch`](Self::rx_batch) will lend, and takes none, so that what
    /// they need can be fetched meanwhile. A driver may show fewer, or none.
    #[inline]
    fn rx_preview(&mut self, _frames_max: usize, _on_frame: impl FnMut(Foreign<'_>)) {}

    /// The cache lines that the next frame will be read from, null where that is not known.
    #[inline]
    fn rx_lines(&self) -> [*const u8; Ahead::LINES] {
        [core::ptr::null(); Ahead::LINES]
    }

    /// Whether a frame is waiting, as cheaply as can be told.
    fn rx_pending(&self) -> bool;

    /// How many frames could be sent now.
    fn tx_room(&mut self) -> usize;

    /// Sends a frame of `bytes` (at most `frame_bytes_max`), written by `fill`. False, without a call of `fill`,
    /// when there is no room. The frame may be held back until [`tx_flush`](Self::tx_flush).
    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool;

    /// Sends a frame of `bytes` (at most [`Caps::cut_bytes_max`]) with one TCP segment, which leaves as several: headers
    /// are repeated, sequence numbers go on, and checksums, of which that over the pseudo-header was written, are
    /// finished. It leaves behind all that was written before. False, without a call of `fill`, when there is no room,
    /// which there is where [`tx_room`](Self::tx_room) says so.
    #[inline]
    fn tx_cut(&mut self, _bytes: usize, _cut: Cut, _fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        false
    }

    /// As [`tx`](Self::tx), of a frame whose checksum is to be finished. False, without a call of `fill`, also where the
    /// link [does not](Caps::finishes_checksums).
    #[inline]
    fn tx_unfinished(
        &mut self,
        _bytes: usize,
        _checksum: Unfinished,
        _fill: impl FnOnce(ForeignMut<'_>),
    ) -> bool {
        false
    }

    /// Hands the frames written so far to the other end, and wakes it if it sleeps. What a driver could not get rid of
    /// earlier is tried again; it also is, now and then, by polls that find nothing.
    fn tx_flush(&mut self);

    /// Frames sent since it was last seen that no received frame waits. Who is near answers at once, and what a ring of
    /// received frames has no room for is lost: after some hundreds, look what came before sending more. 0 where nothing
    /// is lost.
    #[inline]
    fn tx_unheard(&self) -> u64 {
        0
    }

    /// Asks for the wake-up on the next frame (`true`), or for none while we poll (`false`). After asking, look at
    /// [`rx_pending`](Self::rx_pending) once more before sleeping.
    ///
    /// What to sleep on is the driver's: over memif the stack's doorbell, an eventfd that the other end rings; over
    /// AF_XDP [the socket](crate::xdp::Attachment::socket_fd), which the kernel makes readable while a frame waits that
    /// was not there when this was last asked for.
    fn rx_wakeups(&mut self, wanted: bool);

    /// The driver's counters.
    fn stats(&self) -> PortStats;
}
