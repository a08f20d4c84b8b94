//! What was lost and is to be sent again. One file a way of finding out.
//!
//! The entry points are called with the connection's sequence variables up to date; they ask for retransmissions by
//! marks and move the congestion window through `congestion`.

mod newreno;

use crate::tcb::{Marks, Tcb};

/// Where loss recovery stands. Stored as a byte; one that is none of them reads as [`Phase::Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing is known to be lost.
    Open = 0,
    /// A loss was noticed by duplicate acknowledgements and is being mended.
    Recovery = 1,
    /// The retransmission timer expired; everything outstanding is sent again in order.
    Loss = 2,
}

impl Tcb {
    #[inline]
    pub(crate) const fn phase(&self) -> Phase {
        match self.phase {
            1 => Phase::Recovery,
            2 => Phase::Loss,
            _ => Phase::Open,
        }
    }

    /// An acknowledgement came that acknowledges nothing new while data is outstanding (RFC 5681 section 2).
    pub(crate) fn on_duplicate_ack(&mut self) {
        newreno::on_duplicate_ack(self);
    }

    /// SND.UNA advanced by `acked_bytes`; `flight_before` was in flight until now.
    #[inline]
    pub(crate) fn on_progress(&mut self, acked_bytes: u32, flight_before: u32) {
        self.dup_acks = 0;
        if self.phase == Phase::Open as u8 {
            let in_use = self.congestion.in_slow_start()
                && flight_before.saturating_mul(2) > self.congestion.cwnd;
            if in_use || self.is(Marks::CWND_LIMITED) {
                self.congestion.on_ack(acked_bytes, u32::from(self.mss));
            }
        } else {
            newreno::on_progress(self, acked_bytes);
        }
    }

    /// The retransmission timer expired with data outstanding.
    pub(crate) fn on_retransmission_timeout(&mut self) {
        newreno::on_timeout(self);
    }

    /// The window to send by: the congestion window, and on the first two duplicate acknowledgements a segment more
    /// for each (limited transmit, RFC 3042).
    #[inline]
    pub(crate) fn send_window_bytes(&self) -> u32 {
        let cwnd = self.congestion.cwnd;
        if self.dup_acks == 0 || self.phase() != Phase::Open {
            return cwnd;
        }
        cwnd.saturating_add(u32::from(self.dup_acks.min(2)) * u32::from(self.mss))
    }
}
