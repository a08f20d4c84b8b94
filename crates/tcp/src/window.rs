//! The receive window, when it is announced, and when acknowledgements are sent (RFC 9293 3.8.6.2.2, RFC 5681 4.2).

use crate::tcb::{Env, Marks, Tcb};
use crate::timer::{DELAYED_ACK, Timer};
use sidestep_shm::{ForeignMut, Nanos};
use sidestep_wire::tcp::Flags;

/// Acknowledgements sent at once at the beginning of a connection, while the peer's window grows (as Linux).
pub(crate) const QUICK_ACKS: u8 = 16;
/// What a full segment of the peer is taken to be before one was seen.
pub(crate) const RCV_MSS_INITIAL: u16 = 536;
/// The largest shift count (RFC 7323 2.3).
const WINDOW_SCALE_MAX: u8 = 14;

/// The least shift count that lets a buffer of so many bytes be announced.
pub(crate) fn window_scale(rcv_buf_bytes_max: u32) -> u8 {
    (0..WINDOW_SCALE_MAX)
        .find(|shift| rcv_buf_bytes_max >> shift <= u32::from(u16::MAX))
        .unwrap_or(WINDOW_SCALE_MAX)
}

impl Tcb {
    /// What may be received beyond RCV.NXT, as announced: that never passes the edge.
    #[inline]
    pub(crate) fn rcv_wnd(&self) -> u32 {
        debug_assert!(self.rcv_nxt.le(self.rcv_adv));
        self.rcv_adv.0.wrapping_sub(self.rcv_nxt.0)
    }

    /// What could be announced.
    #[inline]
    fn rcv_free_bytes(&self) -> u32 {
        self.rcv_buf_bytes.saturating_sub(self.rcv.len())
    }

    /// Least step by which the window opens, so that it is never a silly one.
    #[inline]
    fn rcv_step_bytes(&self) -> u32 {
        u32::from(self.adv_mss).min(self.rcv_buf_bytes / 2).max(1)
    }

    /// The window for a segment that leaves now; what it announces is noted.
    ///
    /// The right edge never moves back. The shift count may make the announced edge up to 2^shift − 1 lower than the
    /// noted one (RFC 7323 2.4); what arrives up to the noted one is accepted.
    #[inline]
    pub(crate) fn announce_window(&mut self) -> u16 {
        let (now, free) = (self.rcv_wnd(), self.rcv_free_bytes());
        let window = if free >= now.saturating_add(self.rcv_step_bytes()) {
            free
        } else {
            now
        };
        let field = u16::try_from(window >> self.rcv_wscale).unwrap_or(u16::MAX);
        let edge = self.rcv_nxt + (u32::from(field) << self.rcv_wscale);
        self.rcv_adv = self.rcv_adv.max(edge);
        field
    }

    /// The window of a segment with SYN, which is never scaled.
    pub(crate) fn announce_syn_window(&mut self) -> u16 {
        let field = u16::try_from(self.rcv_free_bytes()).unwrap_or(u16::MAX);
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + u32::from(field));
        field
    }

    /// The reader has taken bytes: tell the peer if it makes a difference.
    ///
    /// As Linux does. The peer may wait for an acknowledgement when all it pushed was read and no reply has come of it;
    /// a connection that answers is given the time to, unless two pushes wait. And the window is announced where it was
    /// down to half of the buffer or less, and at least doubles.
    #[inline]
    pub(crate) fn note_read(&mut self, env: &Env<'_, '_>) {
        if self.rcv_nxt.ge(self.round.edge) {
            self.end_round(env);
        }
        let waits = if self.is(Marks::PINGPONG) {
            Marks::PUSHED_TWICE
        } else {
            Marks::PUSHED
        };
        if self.is(Marks::ACK_PENDING) && self.is(waits) && self.rcv.len() == 0 {
            self.marks.insert(Marks::ACK_NOW);
        }
        let window = self.rcv_wnd();
        if window > self.rcv_buf_bytes / 2 || !self.state().can_receive() {
            return;
        }
        // A peer that does not scale can be told of no more than this.
        let most = u32::from(u16::MAX) << self.rcv_wscale;
        let free = self.rcv_free_bytes().min(most);
        let opens = free >= window.saturating_mul(2) && free >= window + self.rcv_step_bytes();
        if opens && !self.has_syn_window() {
            self.marks.insert(Marks::ACK_NOW);
        }
    }

    /// Decides how soon `len` bytes of new data in order are acknowledged.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    pub(crate) fn acknowledge_data(&mut self, len: usize, flags: Flags, now: Nanos) {
        let whole = len >= usize::from(self.rcv_mss);
        if whole {
            self.rcv_mss = u16::try_from(len).unwrap_or(u16::MAX).min(self.adv_mss);
        }
        self.last_data_rx = now;
        if flags.contains(Flags::PSH) {
            // Of whole segments that end a burst more may follow.
            self.marks
                .set(Marks::PUSHED_TWICE, !whole && self.is(Marks::PUSHED));
            self.marks.insert(Marks::PUSHED);
        }
        let owed = self.rcv_nxt.0.wrapping_sub(self.rcv_acked.0);
        let quick = self.is(Marks::QUICKACK) || (self.quick_acks > 0 && !self.is(Marks::PINGPONG));
        if owed > u32::from(self.rcv_mss) || quick || flags.contains(Flags::FIN) {
            self.marks.insert(Marks::ACK_NOW);
        } else if !self.is(Marks::ACK_PENDING) {
            self.marks.insert(Marks::ACK_PENDING);
            self.deadlines.set(Timer::DelayedAck, now + DELAYED_ACK);
        }
    }

    /// Notes that a segment leaves which acknowledges everything received.
    #[inline]
    pub(crate) fn note_ack_sent(&mut self) {
        self.rcv_acked = self.rcv_nxt;
        if self.is(Marks::ACK_PENDING) {
            self.deadlines.clear(Timer::DelayedAck);
        }
        let acknowledged =
            Marks::ACK_PENDING | Marks::ACK_NOW | Marks::PUSHED | Marks::PUSHED_TWICE;
        self.marks.remove(acknowledged);
    }

    /// Takes received bytes into `dst`, or copies them with `peek`. Returns how many. May make a window update due.
    #[inline]
    pub fn recv(&mut self, env: &mut Env<'_, '_>, dst: &mut ForeignMut<'_>, peek: bool) -> usize {
        if self.urgent_in != 0 {
            return self.recv_to_mark(env, dst, peek);
        }
        let bytes = self.rcv.read(env.pool, dst, peek);
        if bytes > 0 && !peek {
            self.note_read(env);
        }
        bytes
    }

    /// Drops up to `bytes` received ones, as reading them would (MSG_TRUNC). Returns how many.
    pub fn discard(&mut self, env: &mut Env<'_, '_>, bytes: usize) -> usize {
        let bytes = if self.urgent_in == 0 {
            self.rcv.skip(env.pool, bytes)
        } else {
            let most = self.before_read(env);
            self.rcv.skip(env.pool, bytes.min(most))
        };
        if bytes > 0 {
            self.note_read(env);
        }
        self.forget_passed();
        bytes
    }

    /// Copies received bytes from `offset` on, leaving all in place (SO_PEEK_OFF; several buffers of one peek).
    pub fn peek_at(&self, env: &Env<'_, '_>, offset: usize, dst: &mut ForeignMut<'_>) -> usize {
        if self.urgent_in != 0 {
            return self.peek_to_mark(env, offset, dst);
        }
        self.rcv.copy_out(env.pool, offset, dst)
    }

    /// Bytes that can be read now.
    #[inline]
    pub fn recv_len(&self) -> usize {
        if self.urgent_in != 0 {
            return self.readable_to_mark() as usize;
        }
        self.rcv.len() as usize
    }

    /// Whether the peer's FIN came and all before it was read.
    #[inline]
    pub fn at_eof(&self) -> bool {
        self.peer_closed() && self.recv_len() == 0
    }

    /// Whether the peer's FIN is in the stream, all data before it received.
    #[inline]
    pub fn peer_closed(&self) -> bool {
        self.is(Marks::FIN_RECEIVED) && self.rcv_nxt == self.rcv_fin + 1
    }
}
