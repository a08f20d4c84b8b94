//! Losses told by duplicate acknowledgements, where the peer knows no SACK (RFC 5681 3.2, RFC 6582).
//!
//! Each duplicate says that something has left the network, though not what: `left_bytes` counts it.

use super::{Acked, Phase};
use crate::tcb::{Env, Marks, Tcb};

/// Duplicate acknowledgements that mean a loss.
const DUP_THRESH: u8 = 3;

/// Takes an acknowledgement; marks what it tells to be lost.
pub(super) fn on_ack(tcb: &mut Tcb, env: &mut Env<'_, '_>, acked: &Acked) {
    if acked.bytes > 0 {
        on_progress(tcb, env, acked);
    } else if acked.duplicate {
        on_duplicate(tcb, env);
    }
}

fn on_duplicate(tcb: &mut Tcb, env: &mut Env<'_, '_>) {
    tcb.dup_acks = tcb.dup_acks.saturating_add(1);
    if tcb.phase() == Phase::Loss {
        // Segments sent again that the peer had already.
        return;
    }
    let mss = u32::from(tcb.mss);
    let rest = tcb
        .flight_bytes()
        .saturating_sub(tcb.scoreboard.absent_bytes())
        .saturating_sub(mss);
    tcb.left_bytes = tcb.left_bytes.saturating_add(mss).min(rest);
    if tcb.phase() == Phase::Open && tcb.dup_acks >= DUP_THRESH && !is_echo(tcb) {
        mark_first(tcb, env);
    }
}

fn on_progress(tcb: &mut Tcb, env: &mut Env<'_, '_>, acked: &Acked) {
    if tcb.phase() == Phase::Open {
        (tcb.dup_acks, tcb.left_bytes) = (0, 0);
        return;
    }
    // Of what has left the network, all but the segment that was missing is acknowledged now.
    let known = acked.bytes.saturating_sub(u32::from(tcb.mss));
    tcb.left_bytes = tcb.left_bytes.saturating_sub(known);
    if tcb.phase() == Phase::Recovery && tcb.snd_una.lt(tcb.recover) {
        // A partial acknowledgement: the segment behind it is lost, too, and goes at once (RFC 6582 3.2 step 5).
        mark_first(tcb, env);
        tcb.marks.insert(Marks::RETRANSMIT);
    }
}

fn mark_first(tcb: &mut Tcb, env: &mut Env<'_, '_>) {
    let end = (tcb.snd_una + u32::from(tcb.mss)).min(tcb.snd_nxt);
    tcb.scoreboard.mark_first_lost(env.pool, tcb.snd_una, end);
    let left = tcb
        .flight_bytes()
        .saturating_sub(tcb.scoreboard.absent_bytes());
    tcb.left_bytes = tcb.left_bytes.min(left);
}

/// Whether duplicate acknowledgements may come from segments that were sent twice after a timeout (RFC 6582 3.2
/// step 2): while nothing beyond what was outstanding then is acknowledged.
fn is_echo(tcb: &Tcb) -> bool {
    tcb.recover.ge(tcb.snd_una) && tcb.recover.le(tcb.snd_nxt)
}

/// What an acknowledgement without SACK says has arrived: a segment for a duplicate, and for progress what no duplicate
/// spoke of before.
pub(super) fn delivered_bytes(tcb: &Tcb, acked: &Acked) -> u32 {
    let mss = u32::from(tcb.mss);
    if acked.bytes == 0 {
        // After a timeout duplicates come of what was sent again needlessly.
        let counts = acked.duplicate && tcb.phase() != Phase::Loss;
        return if counts { mss } else { 0 };
    }
    let known = acked.bytes.saturating_sub(mss).min(tcb.left_bytes);
    acked.bytes - known
}
