//! Losses told by time (RFC 8985 section 6): what was sent a while before something that has arrived, is lost.

use super::{Acked, Phase};
use crate::recovery::scoreboard::{is_after, span, ticks};
use crate::tcb::{Env, Tcb};
use crate::timer::Wait;
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Segments SACKED that end the patience with reordering, where there was none.
const DUP_THRESH: u32 = 3;
/// Recoveries for which a longer patience lasts (RFC 8985 6.2 step 4).
const PERSISTS: u8 = 16;

/// What RACK remembers; times in ticks.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Rack {
    /// Of what has arrived, what was sent last: when, and its end.
    sent: u32,
    end: Seq,
    /// How long that took.
    rtt: u32,
    /// Highest sequence number that has arrived (RACK.fack).
    highest: Seq,
    /// SND.NXT when a repetition was last taken as a sign of too little patience.
    round: Seq,
    /// By how many segments at most others were seen to be overtaken; 0 for none.
    pub(super) reordering: u8,
    /// Patience in quarters of the least round trip, less one.
    patience: u8,
    /// Recoveries until it is forgotten.
    persists: u8,
    /// Whether `sent`, `end` and `highest` say anything.
    known: u8,
}

/// Steps 1 to 3: what has arrived, and whether out of order.
pub(super) fn on_delivered(tcb: &mut Tcb, acked: &Acked, now: Nanos) {
    let una = tcb.snd_una;
    if let Some((_, end)) = acked.repeated
        && (tcb.recovery.rack.patience == 0 || end.gt(tcb.recovery.rack.round))
    {
        let rack = &mut tcb.recovery.rack;
        rack.round = tcb.snd_nxt;
        rack.patience = rack.patience.saturating_add(1);
        rack.persists = PERSISTS;
    }
    let Some((sent, end, again)) = acked.delivered.newest else {
        return;
    };
    // What was sent again counts as sent a tick later than it was.
    let took = ticks(now).wrapping_sub(sent).cast_signed();
    let rtt = took.max(0).cast_unsigned();
    // Of a repetition that seems to have been faster than light it was the first transmission that arrived.
    let doubtful = again && span(rtt).0 < tcb.rtt.min_ns;
    let rack = &mut tcb.recovery.rack;
    if !doubtful && (rack.known == 0 || is_after((sent, end), (rack.sent, rack.end))) {
        (rack.sent, rack.end, rack.rtt) = (sent, end, rtt);
    }
    if let Some(sent) = acked.delivered.late {
        // Others of its age may be as late, though something newer has arrived already (as Linux).
        rack.rtt = ticks(now).wrapping_sub(sent);
    }
    if rack.known == 0 {
        rack.highest = una;
        rack.known = 1;
    }
    if let Some(lowest) = acked.delivered.lowest_original
        && lowest.lt(rack.highest)
    {
        let behind = rack.highest.0.wrapping_sub(lowest.0);
        let segments = 1 + behind.div_ceil(u32::from(tcb.mss.max(1)));
        let segments = u8::try_from(segments).unwrap_or(u8::MAX);
        rack.reordering = rack.reordering.max(segments);
        tcb.counters.reorderings += 1;
    }
    let rack = &mut tcb.recovery.rack;
    rack.highest = rack.highest.max(end).max(una);
}

/// Steps 4 and 5: what is lost by now is marked, and the time is set when more will be. Returns how many bytes,
/// and when the newest of them were sent.
pub(super) fn detect_losses(tcb: &mut Tcb, env: &mut Env<'_, '_>) -> (u32, Option<u32>) {
    let rack = tcb.recovery.rack;
    if rack.known == 0 || tcb.scoreboard.is_empty() {
        return (0, None);
    }
    let now = ticks(env.now);
    let grace = rack.rtt.saturating_add(reordering_window(tcb));
    let (mut wait, mut newest) = (0, None);
    let lost = tcb.scoreboard.mark_lost(env.pool, tcb.snd_una, |run, _| {
        if !is_after((rack.sent, rack.end), (run.sent(), run.end())) {
            return false;
        }
        let left = run
            .sent()
            .wrapping_add(grace)
            .wrapping_sub(now)
            .cast_signed();
        wait = wait.max(left);
        if left <= 0 {
            newest = Some(run.sent());
        }
        left <= 0
    });
    if wait > 0 {
        let at = env.now + span(wait.unsigned_abs());
        tcb.wait_until(Wait::Reordering, at + Nanos(1024));
    }
    (lost, newest)
}

/// How long something may be late because others overtook it (RFC 8985 6.2 step 4).
fn reordering_window(tcb: &Tcb) -> u32 {
    let rack = &tcb.recovery.rack;
    let many = tcb.scoreboard.sacked_bytes() >= DUP_THRESH * u32::from(tcb.mss);
    if rack.reordering == 0 && (tcb.phase() != Phase::Open || many) {
        return 0;
    }
    let quarter = tcb.rtt.min_ns.min(tcb.rtt.srtt_ns) / 4;
    let window = quarter
        .saturating_mul(1 + u64::from(rack.patience))
        .min(tcb.rtt.srtt_ns);
    ticks(Nanos(window))
}

/// The time has come that [`detect_losses`] set.
pub(super) fn on_timer(tcb: &mut Tcb, env: &mut Env<'_, '_>) {
    let lost = detect_losses(tcb, env);
    if tcb.scoreboard.lost_bytes() > 0 {
        if tcb.phase() == Phase::Open {
            tcb.enter_recovery(env, &Acked::default());
        }
        if tcb.has_model() {
            tcb.model_on_disturbed_ack(env, &Acked::default(), lost);
        }
        tcb.marks.insert(crate::tcb::Marks::SEND_DUE);
    }
}

/// A recovery is over.
pub(super) fn on_recovered(tcb: &mut Tcb) {
    let rack = &mut tcb.recovery.rack;
    rack.persists = rack.persists.saturating_sub(1);
    if rack.persists == 0 {
        rack.patience = 0;
    }
}

impl Tcb {
    /// The reordering timer.
    #[cold]
    pub(crate) fn on_reordering_deadline(&mut self, env: &mut Env<'_, '_>) {
        if self.is_outstanding() {
            let at = self.retransmit_at(env.now);
            self.wait_until(Wait::Retransmission, at);
            on_timer(self, env);
        }
    }
}
