//! What a program has chosen for a socket by options that outlast a connection: set before it opens, and passed on from
//! a listening socket to its connections. Zeroed memory is what Linux begins with.

use crate::congestion::Algorithm;
use crate::tcb::{Marks, Tcb};
use bitflags::bitflags;
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `TCP_TIMEOUT_INIT` and `TCP_RTO_MAX` of Linux in seconds, by which `TCP_DEFER_ACCEPT` counts.
const DEFER_FIRST_S: u32 = 1;
const DEFER_MOST_S: u32 = 120;
/// How long a closed connection waits in FIN-WAIT-2 (`tcp_fin_timeout`), and at most.
const FIN_WAIT_2_S: i32 = 60;
const FIN_WAIT_2_MOST_S: i32 = 120;

/// Choices that are a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct Fixed(u8);

bitflags! {
    impl Fixed: u8 {
        /// SO_RCVBUF was set: the receive buffer does not grow by itself.
        const RCV_BUF = 1;
        /// SO_SNDBUF was set.
        const SND_BUF = 2;
        /// SO_OOBINLINE.
        const OOB_INLINE = 4;
        /// TCP_FASTOPEN_CONNECT.
        const FAST_CONNECT = 8;
        /// TCP_FASTOPEN_NO_COOKIE.
        const NO_COOKIE = 16;
        /// TCP_NOTSENT_LOWAT was set; else the limit is the kernel's parameter.
        const UNSENT_LOW = 32;
    }
}

/// See the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Choices {
    /// SO_MAX_PACING_RATE in bytes a second; 0 for none.
    pub(crate) pacing_max: u64,
    /// TCP_WINDOW_CLAMP; 0 for none.
    pub(crate) window_clamp: u32,
    /// TCP_LINGER2 in seconds; 0 for the default, negative for no FIN-WAIT-2 after close.
    linger2_s: i32,
    /// TCP_MAXSEG; 0 where not set.
    pub(crate) mss: u16,
    /// TCP_SYNCNT; 0 where not set.
    syn_retries: u8,
    /// An [`Algorithm`] + 1; 0 where not set.
    congestion: u8,
    /// TCP_DEFER_ACCEPT, as so many repetitions of a SYN-ACK.
    defer_accept: u8,
    pub(crate) fixed: Fixed,
    /// TCP_FASTOPEN: how many connections with data may wait to be accepted.
    fast_open: u16,
}

impl Choices {
    /// The algorithm, where one was chosen.
    pub(crate) const fn congestion(&self) -> Option<Algorithm> {
        match self.congestion.checked_sub(1) {
            Some(byte) => Some(Algorithm::from_byte(byte)),
            None => None,
        }
    }

    /// How often a SYN is repeated, where that was chosen.
    pub(crate) fn syn_retries(&self) -> Option<u8> {
        (self.syn_retries != 0).then_some(self.syn_retries)
    }

    /// How long FIN-WAIT-2 lasts after close; none where it is left at once.
    pub(crate) fn fin_wait_2(&self) -> Option<Nanos> {
        let seconds = if self.linger2_s == 0 {
            FIN_WAIT_2_S
        } else {
            self.linger2_s
        };
        u64::try_from(seconds).ok().map(Nanos::from_secs)
    }
}

impl Tcb {
    /// Takes what the program has chosen for the listening socket.
    pub fn inherit(&mut self, listener: &Self, now: Nanos) {
        self.marks =
            self.marks.difference(Marks::SET_BY_PROGRAM) | (listener.marks & Marks::SET_BY_PROGRAM);
        self.choices = Choices {
            defer_accept: 0,
            fast_open: 0,
            ..listener.choices
        };
        if self.choices.fixed.contains(Fixed::UNSENT_LOW) {
            self.unsent_low = listener.unsent_low;
        }
        self.user_timeout_ms = listener.user_timeout_ms;
        self.keep_idle_s = listener.keep_idle_s;
        self.keep_interval_s = listener.keep_interval_s;
        self.keep_count = listener.keep_count;
        self.start_keepalive(now);
    }

    /// TCP_CONGESTION: from now on, and for connections that begin.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.choices.congestion = algorithm as u8 + 1;
        self.congestion.set_algorithm(algorithm);
        self.choose_pacing();
    }

    /// TCP_CONGESTION, where the program has chosen.
    pub const fn chosen_congestion(&self) -> Option<Algorithm> {
        self.choices.congestion()
    }

    /// TCP_NOTSENT_LOWAT: with so many bytes queued and not sent, no more are taken. 0 for no limit.
    pub fn set_unsent_low(&mut self, bytes: u32) {
        self.unsent_low = bytes;
        self.choices.fixed.insert(Fixed::UNSENT_LOW);
    }

    /// TCP_NOTSENT_LOWAT as set, 0 where it is not.
    pub const fn unsent_low(&self) -> u32 {
        if self.choices.fixed.contains(Fixed::UNSENT_LOW) {
            self.unsent_low
        } else {
            0
        }
    }

    /// TCP_WINDOW_CLAMP: no more is offered to the peer than so much. 0 for no limit.
    pub fn set_window_clamp(&mut self, bytes: u32) {
        self.choices.window_clamp = bytes;
        self.clamp_window();
    }

    /// TCP_WINDOW_CLAMP: the most that is offered.
    pub fn window_clamp(&self) -> u32 {
        match self.choices.window_clamp {
            0 => self.rcv_buf_bytes,
            clamp => clamp,
        }
    }

    /// Keeps the receive buffer within what is to be offered.
    pub(crate) fn clamp_window(&mut self) {
        if self.choices.window_clamp != 0 {
            self.rcv_buf_bytes = self.rcv_buf_bytes.min(self.choices.window_clamp);
        }
    }

    /// TCP_LINGER2: seconds in FIN-WAIT-2 after close; 0 for the default, negative for none.
    pub fn set_linger2(&mut self, seconds: i32) {
        self.choices.linger2_s = seconds.clamp(-1, FIN_WAIT_2_MOST_S);
    }

    /// TCP_LINGER2.
    pub const fn linger2(&self) -> i32 {
        match self.choices.linger2_s {
            0 => FIN_WAIT_2_S,
            seconds => seconds,
        }
    }

    /// TCP_MAXSEG: neither announces nor sends longer segments, in connections that begin. 0 for no limit.
    pub fn set_max_segment(&mut self, bytes: u16) {
        self.choices.mss = bytes;
    }

    /// TCP_SYNCNT.
    pub fn set_syn_retries(&mut self, count: u8) {
        self.choices.syn_retries = count;
        if count != 0 {
            self.syn_retries = count;
        }
    }

    /// TCP_SYNCNT: how often a SYN is repeated.
    pub const fn syn_retries(&self) -> u8 {
        self.syn_retries
    }

    /// TCP_FASTOPEN of a listening socket: how many connections that came with data may wait to be accepted.
    pub fn set_fast_open(&mut self, count: u16) {
        self.choices.fast_open = count;
    }

    /// TCP_FASTOPEN; 0 where it is off.
    pub const fn fast_open(&self) -> u16 {
        self.choices.fast_open
    }

    /// TCP_FASTOPEN_CONNECT: connect(2) leaves it to the first bytes to open the connection, where they may do so fast.
    pub fn set_fast_connect(&mut self, on: bool) {
        self.choices.fixed.set(Fixed::FAST_CONNECT, on);
    }

    /// TCP_FASTOPEN_CONNECT.
    pub const fn fast_connect(&self) -> bool {
        self.choices.fixed.contains(Fixed::FAST_CONNECT)
    }

    /// TCP_FASTOPEN_NO_COOKIE: data goes with SYNs, or is taken from them, without a cookie.
    pub fn set_no_cookie(&mut self, on: bool) {
        self.choices.fixed.set(Fixed::NO_COOKIE, on);
    }

    /// TCP_FASTOPEN_NO_COOKIE.
    pub const fn no_cookie(&self) -> bool {
        self.choices.fixed.contains(Fixed::NO_COOKIE)
    }

    /// TCP_DEFER_ACCEPT of a listening socket in seconds, kept as repetitions of a SYN-ACK that they have room for.
    pub fn set_defer_accept(&mut self, seconds: u32) {
        let (mut count, mut step, mut period) = (u8::from(seconds > 0), DEFER_FIRST_S, 1);
        while seconds > period && count < u8::MAX {
            count += 1;
            step = (2 * step).min(DEFER_MOST_S);
            period += step;
        }
        self.choices.defer_accept = count;
    }

    /// TCP_DEFER_ACCEPT in seconds, rounded up as they are kept; 0 where it is off.
    pub fn defer_accept(&self) -> u32 {
        let mut step = DEFER_FIRST_S;
        (0..self.choices.defer_accept).fold(0, |period, _| {
            let now = step;
            step = (2 * step).min(DEFER_MOST_S);
            period + now
        })
    }
}
