//! Fast retransmit and fast recovery without SACK (RFC 5681 3.2, RFC 6582).

use super::Phase;
use crate::tcb::{Marks, Tcb};

/// Duplicate acknowledgements that mean a loss.
const DUP_THRESH: u8 = 3;

pub(super) fn on_duplicate_ack(tcb: &mut Tcb) {
    tcb.dup_acks = tcb.dup_acks.saturating_add(1);
    let mss = u32::from(tcb.mss);
    match tcb.phase() {
        Phase::Open if tcb.dup_acks >= DUP_THRESH && !is_echo(tcb) => enter(tcb),
        Phase::Open => tcb.marks.insert(Marks::SEND_DUE),
        Phase::Recovery => {
            // A segment has left the network (RFC 6582 3.2 step 3).
            tcb.congestion.cwnd = tcb.congestion.cwnd.saturating_add(mss);
            tcb.marks.insert(Marks::SEND_DUE);
        }
        // Segments sent again that the peer had already.
        Phase::Loss => {}
    }
}

/// Whether duplicate acknowledgements may come from segments that were sent twice after a timeout (RFC 6582 3.2
/// step 2): while nothing beyond what was outstanding then is acknowledged.
fn is_echo(tcb: &Tcb) -> bool {
    tcb.recover.ge(tcb.snd_una) && tcb.recover.le(tcb.snd_max)
}

fn enter(tcb: &mut Tcb) {
    let mss = u32::from(tcb.mss);
    tcb.congestion.on_loss(tcb.flight_bytes(), mss);
    tcb.congestion.cwnd = tcb.congestion.ssthresh + u32::from(DUP_THRESH) * mss;
    tcb.recover = tcb.snd_max;
    tcb.phase = Phase::Recovery as u8;
    tcb.marks.remove(Marks::RTT_TIMED);
    tcb.marks.insert(Marks::RETRANSMIT);
    tcb.counters.fast_retransmits += 1;
}

pub(super) fn on_progress(tcb: &mut Tcb, acked_bytes: u32) {
    let mss = u32::from(tcb.mss);
    let complete = tcb.snd_una.ge(tcb.recover);
    tcb.marks.insert(Marks::SEND_DUE);
    match tcb.phase() {
        Phase::Recovery if complete => {
            let flight = tcb.flight_bytes().max(mss);
            tcb.congestion.cwnd = tcb.congestion.ssthresh.min(flight + mss);
            tcb.phase = Phase::Open as u8;
            // Nothing was sent twice beyond this point, so duplicate acknowledgements count again at once.
            tcb.recover = tcb.snd_una - 1;
        }
        Phase::Recovery => {
            // A partial acknowledgement: the segment behind it is lost, too (RFC 6582 3.2 step 5).
            let grown = if acked_bytes >= mss { mss } else { 0 };
            let cwnd = tcb.congestion.cwnd.saturating_sub(acked_bytes) + grown;
            tcb.congestion.cwnd = cwnd.max(mss);
            tcb.marks.insert(Marks::RETRANSMIT);
        }
        Phase::Loss | Phase::Open => {
            tcb.congestion.on_ack(acked_bytes, mss);
            if complete {
                tcb.phase = Phase::Open as u8;
            }
        }
    }
}

pub(super) fn on_timeout(tcb: &mut Tcb) {
    let outstanding = tcb.snd_max.0.wrapping_sub(tcb.snd_una.0);
    let first = tcb.phase() != Phase::Loss;
    tcb.congestion
        .on_timeout(outstanding, u32::from(tcb.mss), first);
    tcb.snd_nxt = tcb.snd_una;
    tcb.recover = tcb.snd_max;
    tcb.phase = Phase::Loss as u8;
    tcb.dup_acks = 0;
    tcb.marks.remove(Marks::RTT_TIMED);
    tcb.marks.insert(Marks::RETRANSMIT | Marks::SEND_DUE);
    tcb.counters.timeouts += 1;
}
