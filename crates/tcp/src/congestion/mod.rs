//! How much may be in flight. One file an algorithm, chosen by a byte in the connection.
//!
//! An algorithm answers four questions on the [`Congestion`] state: what an acknowledgement, a loss, a timeout and an
//! idle time do to the window. When a loss has happened is the business of `recovery`.

mod reno;

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
}

impl Algorithm {
    const fn from_byte(_byte: u8) -> Self {
        Self::Reno
    }

    /// The name, as `TCP_CONGESTION` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
        }
    }
}

/// The congestion window and what its algorithm remembers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Congestion {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    /// Bytes acknowledged since the window last grew (RFC 3465).
    acked_bytes: u32,
    algorithm: u8,
    _reserved: [u8; 3],
}

impl Congestion {
    /// The state of a connection that begins.
    pub(crate) fn new(algorithm: Algorithm, mss: u32) -> Self {
        Self {
            cwnd: initial_window(mss),
            ssthresh: u32::MAX,
            acked_bytes: 0,
            algorithm: algorithm as u8,
            _reserved: [0; 3],
        }
    }

    /// Which algorithm it is.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        Algorithm::from_byte(self.algorithm)
    }

    /// Whether the window still doubles with each round trip.
    #[inline]
    pub(crate) const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// New data was acknowledged while nothing is lost and the window was in use.
    #[inline]
    pub(crate) fn on_ack(&mut self, acked_bytes: u32, mss: u32) {
        match self.algorithm() {
            Algorithm::Reno => reno::on_ack(self, acked_bytes, mss),
        }
        self.cwnd = self.cwnd.min(CWND_MAX);
    }

    /// A loss was noticed by duplicate acknowledgements; sets SSTHRESH.
    pub(crate) fn on_loss(&mut self, flight_bytes: u32, mss: u32) {
        match self.algorithm() {
            Algorithm::Reno => reno::on_loss(self, flight_bytes, mss),
        }
    }

    /// The retransmission timer expired. `first` unless it had before, without progress since.
    pub(crate) fn on_timeout(&mut self, flight_bytes: u32, mss: u32, first: bool) {
        if first {
            self.on_loss(flight_bytes, mss);
        }
        self.cwnd = mss;
        self.acked_bytes = 0;
    }

    /// Nothing was sent for longer than a timeout: the path may have changed (RFC 5681 4.1).
    pub(crate) fn on_idle(&mut self, mss: u32) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }
}

/// What may be sent at first.
fn initial_window(mss: u32) -> u32 {
    INITIAL_SEGMENTS * mss
}
