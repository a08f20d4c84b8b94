//! Proportional rate reduction (RFC 9937): while a loss is mended, so much is sent for what arrives that at the end of
//! it SSTHRESH is in the network.

use super::Acked;
use crate::tcb::{Marks, Tcb};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What it counts since the loss was noticed, in bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Prr {
    delivered: u32,
    /// Less than nothing while there is what acknowledgements before the loss had made room for, without a chance yet to
    /// send it.
    sent: i32,
    /// What was in flight then (RecoverFS).
    flight: u32,
}

impl Prr {
    pub(super) const fn on_sent(&mut self, len: u32) {
        self.sent = self.sent.saturating_add_unsigned(len);
    }
}

/// A loss was noticed by an acknowledgement, in a window of that many bytes.
pub(super) fn begin(tcb: &mut Tcb, acked: &Acked, window: u32) {
    let flight = tcb
        .flight_bytes()
        .saturating_sub(tcb.scoreboard.sacked_bytes())
        .saturating_add(acked.delivered.bytes);
    // What acknowledgements before this one made room for counts as sent, as it would have been if they had come one by
    // one.
    let room = if tcb.is(Marks::CWND_LIMITED) {
        window.saturating_sub(acked.pipe_before)
    } else {
        0
    };
    tcb.recovery.prr = Prr {
        delivered: 0,
        sent: 0_i32.saturating_sub_unsigned(room),
        flight: flight.saturating_add(room).max(1),
    };
    if acked.delivered.bytes == 0 {
        // By the clock alone: what goes again at once is all there is to send for.
        tcb.congestion.cwnd = tcb.pipe_bytes() + u32::from(tcb.mss);
    }
}

/// An acknowledgement, by which more may have been found lost.
pub(super) fn on_ack(tcb: &mut Tcb, acked: &Acked, more_lost: bool) {
    let arrived = acked.delivered.bytes;
    if arrived == 0 {
        return;
    }
    let mss = u32::from(tcb.mss);
    let ssthresh = tcb.congestion.ssthresh;
    let pipe = tcb.pipe_bytes();
    let prr = &mut tcb.recovery.prr;
    let pipe = pipe.saturating_add(prr.sent.min(0).unsigned_abs());
    let sent = prr.sent.max(0).cast_unsigned();
    prr.delivered = prr.delivered.saturating_add(arrived);
    let mut more = if pipe > ssthresh {
        let share =
            (u64::from(prr.delivered) * u64::from(ssthresh)).div_ceil(u64::from(prr.flight));
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .saturating_sub(sent)
    } else {
        let mut limit = prr.delivered.saturating_sub(sent).max(arrived);
        if acked.bytes > 0 && !more_lost {
            limit += mss;
        }
        (ssthresh - pipe).min(limit)
    };
    if prr.sent <= 0 {
        more = more.max(mss);
    }
    tcb.congestion.cwnd = pipe.saturating_add(more);
}
