//! How much may be in flight. One file an algorithm, chosen by a byte in the connection.
//!
//! BBR has a model of the path, and takes window and rate from that (`bbr`).
//!
//! Any other algorithm answers two questions on the [`Congestion`] state: what an acknowledgement beyond slow start does to the
//! window, and what a loss does. Slow start (for CUBIC with `hystart`, its end by delay) and what is left of an unused
//! window (RFC 7661) are the same for all. When a loss has happened is the business of `recovery`.

mod bbr;
mod cubic;
mod hystart;
mod reno;
mod usage;

use sidestep_shm::Nanos;
use sidestep_wire::Seq;
pub(crate) use usage::Pause;
use usage::{Usage, spans};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Segments that may be sent before the first acknowledgement (RFC 6928).
const INITIAL_SEGMENTS: u32 = 10;
/// No window grows beyond this, so that sums with it never overflow.
const CWND_MAX: u32 = 1 << 30;

/// The algorithms there are. Stored as a byte; one that is none of them reads as [`Algorithm::Reno`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    /// RFC 5681.
    Reno = 0,
    /// RFC 9438.
    Cubic = 1,
    /// draft-ietf-ccwg-bbr.
    Bbr = 2,
}

impl Algorithm {
    pub(crate) const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Cubic,
            2 => Self::Bbr,
            _ => Self::Reno,
        }
    }

    /// The name, as `TCP_CONGESTION` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// The algorithm of that name.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        [Self::Reno, Self::Cubic, Self::Bbr]
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
    }
}

/// The congestion window and what its algorithm remembers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Congestion {
    cubic: cubic::Cubic,
    usage: Usage,
    hystart: hystart::HyStart,
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    /// Bytes acknowledged for which the window has not grown yet (RFC 3465).
    acked_bytes: u32,
    algorithm: u8,
    _reserved: u8,
    /// When more than half of the window was last in use, in [`spans`].
    validated: u16,
}

/// What a reduction can be taken back to.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Prior {
    cubic: cubic::Cubic,
    cwnd: u32,
    ssthresh: u32,
}

/// An acknowledgement by which the window may grow.
pub(crate) struct Growth {
    pub(crate) now: Nanos,
    /// Bytes that it acknowledges.
    pub(crate) acked_bytes: u32,
    pub(crate) mss: u32,
    pub(crate) srtt_ns: u64,
    pub(crate) min_rtt_ns: u64,
    /// How long the newest of them took, where that is known and slow start asks for it.
    pub(crate) rtt: Option<Nanos>,
    /// A round trip ends with it.
    pub(crate) round_over: bool,
    /// Segments are spread over time.
    pub(crate) paced: bool,
}

impl Congestion {
    /// The state of a connection that begins.
    pub(crate) fn new(algorithm: Algorithm, mss: u32, now: Nanos, iss: Seq) -> Self {
        Self {
            cwnd: initial_window(mss),
            ssthresh: u32::MAX,
            acked_bytes: 0,
            algorithm: algorithm as u8,
            _reserved: 0,
            validated: spans(now),
            usage: Usage::new(now, iss),
            cubic: cubic::Cubic::START,
            hystart: hystart::HyStart::START,
        }
    }

    /// Segments are of another size than was thought; nothing was sent yet.
    pub(crate) const fn set_segment_size(&mut self, mss: u32) {
        self.cwnd = initial_window(mss);
    }

    /// Which algorithm it is.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        Algorithm::from_byte(self.algorithm)
    }

    /// Another one goes on from the same window.
    pub(crate) const fn set_algorithm(&mut self, algorithm: Algorithm) {
        self.algorithm = algorithm as u8;
        self.cubic = cubic::Cubic::START;
        self.acked_bytes = 0;
    }

    /// Whether the window still doubles with each round trip.
    #[inline]
    pub(crate) const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// New data was acknowledged while the window was in use.
    #[inline]
    pub(crate) fn on_ack(&mut self, ack: &Growth) {
        if self.in_slow_start() {
            self.slow_start(ack);
        } else {
            match self.algorithm() {
                // BBR without memory for its model goes on so.
                Algorithm::Reno | Algorithm::Bbr => reno::on_ack(self, ack),
                Algorithm::Cubic => cubic::on_ack(self, ack),
            }
        }
        self.cwnd = self.cwnd.min(CWND_MAX);
    }

    /// RFC 5681 3.1. The first one of CUBIC may end before there is a loss.
    fn slow_start(&mut self, ack: &Growth) {
        let watched = self.ssthresh == u32::MAX && self.algorithm() == Algorithm::Cubic;
        if watched && self.hystart.on_ack(ack, self.cwnd) {
            // The window as it is, with this acknowledgement not counted.
            self.ssthresh = self.cwnd;
            return;
        }
        self.cwnd = self.cwnd.saturating_add(ack.acked_bytes).min(self.ssthresh);
    }

    /// A loss was noticed, or the peer reports congestion; sets SSTHRESH.
    pub(crate) fn on_loss(&mut self, now: Nanos, flight_bytes: u32, mss: u32) {
        match self.algorithm() {
            // What was not in use does not count (RFC 7661 4.4.1).
            Algorithm::Reno | Algorithm::Bbr => reno::on_loss(self, flight_bytes.min(self.cwnd)),
            Algorithm::Cubic => cubic::on_loss(self, now, mss),
        }
        self.ssthresh = self.ssthresh.max(2 * mss);
        self.acked_bytes = 0;
        self.validate(now);
    }

    /// The retransmission timer expired. `first` unless it had before, without progress since.
    pub(crate) fn on_timeout(&mut self, now: Nanos, flight_bytes: u32, mss: u32, first: bool) {
        if first {
            self.on_loss(now, flight_bytes, mss);
        }
        if self.algorithm() == Algorithm::Cubic {
            cubic::on_timeout(self);
        }
        self.cwnd = mss;
        self.acked_bytes = 0;
    }

    /// What [`revert`](Self::revert) needs.
    pub(crate) const fn prior(&self) -> Prior {
        Prior {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            cubic: self.cubic,
        }
    }

    /// The reduction was for nothing.
    pub(crate) fn revert(&mut self, prior: &Prior) {
        self.cwnd = self.cwnd.max(prior.cwnd);
        self.ssthresh = self.ssthresh.max(prior.ssthresh);
        self.cubic = prior.cubic;
    }
}

/// What may be sent at first.
const fn initial_window(mss: u32) -> u32 {
    INITIAL_SEGMENTS * mss
}

#[cfg(test)]
mod tests;
