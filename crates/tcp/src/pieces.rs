//! Into what pieces the send queue is taken to be cut, as Linux cuts its own: how much a buffer takes at a time, and which
//! segments are pushed though more follows.
//!
//! ```text
//! SND.NXT         what may leave         one piece: half of the peer's window         the next
//!    │ burst │ burst │ burst │ burst │ burst │ burst │ burst │ burst │ burst │ burst │ ...
//!            P       P       P       P       P       P       P       P
//! ```

use crate::tcb::{Marks, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;

/// The longest burst, in bytes.
const BURST_MAX: u64 = 64 << 10;
/// The longest piece by which a send buffer is filled, and what Linux charges for one beside its bytes.
const PIECE_MAX: u32 = 64 << 10;
const PIECE_OVERHEAD: u32 = 1280;
/// Windows of which half is many times that.
const WINDOW_SMALL: u32 = 16 << 10;
/// Windows up to this are not halved (`TCP_MSS_DEFAULT`).
const MSS_DEFAULT: u32 = 536;

impl Tcb {
    /// Bytes that [`send`](Self::send) would take, if the pool has them.
    ///
    /// As Linux: what may leave now, and then pieces of half of the peer's window, each begun while less is queued than
    /// the buffer is told to have, and less unsent than TCP_NOTSENT_LOWAT says.
    #[cold]
    pub fn send_space(&self) -> usize {
        let queued = self.snd.len();
        let sendable = self.sendable_bytes();
        let waiting = self.unsent_bytes().saturating_sub(sendable);
        let low = match self.unsent_low {
            0 => u32::MAX,
            low => low,
        };
        if queued >= self.snd_buf_bytes || waiting >= low {
            return 0;
        }
        let piece = self.piece_bytes();
        let cost = piece + PIECE_OVERHEAD;
        let most = low.div_ceil(piece);
        // What leaves at once goes on counting; as what is left of a piece then is filled up again, it adds to it.
        let flight = self.flight_bytes();
        let held = flight.saturating_add(flight.div_ceil(piece) * PIECE_OVERHEAD);
        let room = self.snd_buf_bytes.saturating_sub(held);
        let leaving = (sendable / piece).min(room.div_ceil(cost));
        let (mut end, mut used) = (flight + leaving * piece, leaving.saturating_mul(cost));
        if used < room {
            let rest = sendable % piece;
            end += rest;
            used = used.saturating_add(rest + if rest > 0 { PIECE_OVERHEAD } else { 0 });
            let pieces = room.saturating_sub(used).div_ceil(cost).max(1).min(most);
            end = end.saturating_add(pieces.saturating_mul(piece));
        }
        match end.saturating_sub(queued) {
            0 if !self.is(Marks::NO_SPACE) && self.writable() => piece as usize,
            space => space as usize,
        }
    }

    /// Whether what is charged for pieces fills the buffer that has room for bytes: where windows are so small that pieces
    /// are charged with as much again. Who was sent away for that is not called back for those bytes.
    #[inline]
    pub(crate) fn is_full_of_pieces(&self) -> bool {
        self.snd_wnd_max < WINDOW_SMALL && self.send_space() == 0
    }

    /// Whole segments that the windows let go now, in bytes.
    fn sendable_bytes(&self) -> u32 {
        let window = self.snd_wnd.saturating_sub(self.flight_bytes());
        let congestion = self.congestion.cwnd.saturating_sub(self.pipe_bytes());
        let bytes = window.min(congestion);
        bytes - bytes % u32::from(self.mss.max(1))
    }

    /// In how large pieces the buffer is filled: whole segments of half of the largest window that the peer has offered, or
    /// of what Linux hands to a card (`tcp_xmit_size_goal`).
    fn piece_bytes(&self) -> u32 {
        let half = if self.snd_wnd_max > MSS_DEFAULT {
            self.snd_wnd_max / 2
        } else {
            self.snd_wnd_max
        };
        let mss = u32::from(self.mss.max(1));
        (half.min(PIECE_MAX) / mss * mss).max(mss)
    }

    /// Whether the whole segment that has just been taken is the last of several for now, or of half a window: receivers
    /// that gather segments need not wait for more then. As Linux, which hands them to the card as one; one that leaves
    /// alone is not pushed for that.
    #[inline]
    pub(crate) fn ends_burst(&mut self, begins: bool) -> bool {
        if begins || self.burst == 0 {
            self.begin_burst(begins);
        }
        self.burst += 1;
        let next = self.unsent_bytes().min(u32::from(self.mss));
        let window = self.snd_wnd.saturating_sub(self.flight_bytes());
        let congestion = self.congestion.cwnd.saturating_sub(self.pipe_bytes());
        if self.burst < self.burst_max && window.min(congestion) >= next {
            return false;
        }
        core::mem::take(&mut self.burst) > 1 || self.snd_nxt == self.piece_end
    }

    /// A burst begins with the segment that has just been taken; `begins` where nothing has left for a while.
    #[inline]
    fn begin_burst(&mut self, begins: bool) {
        let mut segments = self.burst_segments();
        if self.snd_wnd_max < 2 * PIECE_MAX {
            segments = self.within_piece(segments);
        }
        if begins || segments != self.burst_max {
            self.bursts_from = self.snd_nxt - u32::from(self.mss);
        }
        (self.burst, self.burst_max) = (0, segments);
    }

    /// Of so many segments those of one piece. Where windows are large, pieces are no shorter than bursts.
    #[cold]
    fn within_piece(&mut self, segments: u8) -> u8 {
        let mss = u32::from(self.mss.max(1));
        let start = self.snd_nxt - mss;
        if start == self.piece_end {
            self.piece_end = start + self.piece_bytes();
        } else if start.gt(self.piece_end) || self.piece_end.gt(start + 2 * PIECE_MAX) {
            let sendable = self.sendable_bytes();
            if self.unsent_bytes() <= sendable {
                return segments;
            }
            // What leaves at once is no part of any.
            self.piece_end = self.snd_nxt + sendable + self.piece_bytes();
        }
        let left = self.piece_end.0.wrapping_sub(start.0) / mss;
        segments.min(u8::try_from(left).unwrap_or(u8::MAX)).max(1)
    }

    /// Whether a segment that ends there was pushed as the end of a burst, as far as is known: of the last that left.
    #[cold]
    pub(crate) fn ended_burst(&self, end: Seq) -> bool {
        let burst = u32::from(self.burst_max) * u32::from(self.mss);
        let bytes = end.0.wrapping_sub(self.bursts_from.0);
        self.burst_max > 1 && end.gt(self.bursts_from) && bytes.is_multiple_of(burst)
    }

    /// Whole segments of a burst: what leaves in a millisecond at twice the present rate, 64 KiB where round trips are
    /// short; half of the window at most (`tcp_tso_autosize`). Pairs, because every second segment is acknowledged anyway.
    fn burst_segments(&self) -> u8 {
        let mss = u64::from(self.mss.max(1));
        let cwnd = u64::from(self.congestion.cwnd);
        let bytes = match Nanos(self.rtt.srtt_ns).as_millis() {
            0 => BURST_MAX,
            round_trip_ms => 2 * cwnd / round_trip_ms,
        };
        let pairs = (bytes.min(BURST_MAX) / (2 * mss)).max(1);
        let segments = (2 * pairs)
            .max(u64::from(self.burst_min))
            .min(cwnd / 2 / mss);
        u8::try_from(segments).unwrap_or(u8::MAX)
    }
}
