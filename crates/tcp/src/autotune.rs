//! Buffers that grow with what the path carries, so that nobody has to set them: the receiver's by what the program
//! reads in a round trip (dynamic right-sizing), the sender's by the congestion window. A program that sets SO_RCVBUF or
//! SO_SNDBUF has what it asked for and no more.
//!
//! A buffer may take a fixed part of what the pool has left and no more, which divides a pool fairly between those who
//! need it: who has little still grows where who has much must stay (Choudhury and Hahne, "Dynamic queue length
//! thresholds").

use crate::choices::Fixed;
use crate::tcb::{Env, Tcb};
use sidestep_shm::{CHUNK_BYTES, ChunkPool, Nanos};
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A buffer may have this part of the pool's free bytes.
const SHARE: u64 = 4;
/// What it may have whatever the pool says.
const LEAST: u32 = 128 << 10;
/// The most that a send buffer grows to (`tcp_wmem` of Linux: 4 MB).
const SND_BUF_MOST: u32 = 8 << 20;

/// Up to this a send buffer grows by what Linux charges for segments (`tcp_sndbuf_expand`): room for headers and for
/// notes on their parts, to a power of two; and a note on each. For so many segments at least.
const SND_BUF_SMALL: u32 = 1 << 20;
const SEGMENT_ROOM: u32 = 640;
const SEGMENT_OVERHEAD: u32 = 256;
const SEGMENTS_LEAST: u32 = 10;

/// A round of the receiver: it ends when all has come that was offered when it began, a round trip later at least.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Round {
    began: Nanos,
    /// RCV.NXT then.
    from: Seq,
    /// The right edge then; RCV.NXT reaching it ends the round.
    pub(crate) edge: Seq,
    /// What the program read in a round trip of the last one.
    pub(crate) read_bytes: u32,
    _reserved: u32,
}

impl Tcb {
    /// RCV.NXT has reached the end of a round, and the program reads.
    #[cold]
    pub(crate) fn end_round(&mut self, env: &Env<'_, '_>) {
        let took = (env.now - self.round.began).0.max(1);
        let got = self.rcv_nxt.0.wrapping_sub(self.round.from.0);
        let read = u128::from(got.saturating_sub(self.rcv.len()));
        let rtt = match self.rtt.srtt_ns {
            0 => took,
            known => known.min(took),
        };
        let known = self.round.began != Nanos::ZERO;
        let read = read * u128::from(rtt) / u128::from(took);
        let read = u32::try_from(read).unwrap_or(u32::MAX);
        let read_bytes = if known { read } else { self.round.read_bytes };
        self.round = Round {
            began: env.now,
            from: self.rcv_nxt,
            edge: self.rcv_adv.max(self.rcv_nxt + 1),
            read_bytes,
            _reserved: 0,
        };
        if self.choices.fixed.contains(Fixed::RCV_BUF) {
            return;
        }
        let share = share(env.pool);
        // Twice what came, so that a sender whose window still doubles never waits for ours.
        let wanted = read_bytes.saturating_mul(2);
        let most = self.rcv_buf_bytes_max.min(share);
        self.rcv_buf_bytes = self.rcv_buf_bytes.max(wanted.min(most)).min(share);
        self.clamp_window();
    }

    /// A program waits for room to write, and `acked` bytes were acknowledged: there should be two windows of it, one in
    /// flight and one to follow. While it is small, as Linux counts them: by what segments take of its memory, and with
    /// the window that it has when this acknowledgement is done with, if what is queued does not fill that at once.
    #[cold]
    pub(crate) fn grow_send_buffer(&mut self, env: &Env<'_, '_>, acked: u32) {
        if self.choices.fixed.contains(Fixed::SND_BUF) {
            return;
        }
        let window = self.congestion.cwnd;
        let mut wanted = window.saturating_mul(2).min(SND_BUF_MOST);
        let grown = if self.congestion.in_slow_start() {
            window.saturating_add(acked)
        } else {
            window
        };
        let fills = self.snd.len().min(self.snd_wnd) >= grown && !self.is_outstanding();
        if self.snd_buf_bytes < SND_BUF_SMALL && !fills {
            let mss = u32::from(self.mss.max(1));
            let each = (mss + SEGMENT_ROOM).next_power_of_two() + SEGMENT_OVERHEAD;
            let charged = (grown / mss).max(SEGMENTS_LEAST).saturating_mul(2 * each);
            wanted = wanted.max(charged.min(SND_BUF_SMALL));
        }
        if wanted > self.snd_buf_bytes {
            self.snd_buf_bytes = self.snd_buf_bytes.max(wanted.min(share(env.pool)));
        }
    }
}

/// Bytes that one buffer may have.
fn share(pool: &ChunkPool<'_>) -> u32 {
    let free = pool.capacity().saturating_sub(pool.used() as usize) as u64;
    let bytes = free * CHUNK_BYTES as u64 / SHARE;
    u32::try_from(bytes).unwrap_or(u32::MAX).max(LEAST)
}
