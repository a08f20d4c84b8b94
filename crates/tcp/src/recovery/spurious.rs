//! What was no loss after all, and the window that is given back then (RFC 4015).
//!
//! Three ways to tell: a timestamp that is older than the first retransmission (RFC 3522), originals that arrive after a
//! timeout (F-RTO, RFC 5682), and reports that all that was sent again came twice (RFC 3708).

use super::{Acked, Phase};
use crate::tcb::{Env, Marks, Tcb};
use crate::validate::is_older;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where F-RTO stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Frto {
    /// Not at work.
    Off = 0,
    /// The timer has expired, and the first segment was sent again.
    Begun = 1,
    /// That one was acknowledged, and new data was sent.
    Asked = 2,
}

/// What is remembered of an episode to tell.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Undo {
    /// Where the first segment that was sent again begins.
    first: Seq,
    /// SND.NXT when it was; the same where none was.
    last: Seq,
    /// Bytes sent again of which no report says that they came twice.
    open_bytes: u32,
    /// Our timestamp when the first was sent again.
    stamp: u32,
}

impl Undo {
    pub(super) const fn begin(first: Seq) -> Self {
        Self {
            first,
            last: first,
            open_bytes: 0,
            stamp: 0,
        }
    }

    /// Whether anything was sent again.
    fn is_begun(&self) -> bool {
        self.first != self.last
    }

    pub(super) fn on_repeated(&mut self, len: u32, stamp: u32, nxt: Seq) {
        if !self.is_begun() {
            (self.last, self.stamp) = (nxt, stamp);
        }
        self.open_bytes = self.open_bytes.saturating_add(len);
    }
}

/// The retransmission timer has expired for the first time.
pub(super) fn begin(tcb: &mut Tcb) {
    tcb.recovery.frto = Frto::Begun as u8;
}

/// Looks for a sign that nothing was lost.
pub(super) fn on_ack(tcb: &mut Tcb, env: &mut Env<'_, '_>, acked: &Acked) {
    if tcb.recovery.can_undo == 0 {
        return;
    }
    let undo = &mut tcb.recovery.undo;
    let mut spurious = false;
    if let Some((bytes, end)) = acked.repeated
        && undo.is_begun()
        && end.gt(undo.first)
        && end.le(undo.last)
    {
        spurious = undo.open_bytes > 0 && bytes >= undo.open_bytes;
        undo.open_bytes = undo.open_bytes.saturating_sub(bytes);
    }
    let first = undo.first;
    if tcb.phase() != Phase::Open && acked.bytes > 0 && tcb.snd_una.gt(first) {
        spurious |= echoes_the_original(tcb, acked);
    }
    if tcb.phase() == Phase::Loss {
        spurious |= ask(tcb, acked);
    }
    if spurious {
        revert(tcb, env);
    }
}

/// RFC 3522: the acknowledgement was caused by a segment sent before anything was sent again.
fn echoes_the_original(tcb: &Tcb, acked: &Acked) -> bool {
    let undo = &tcb.recovery.undo;
    tcb.is(Marks::TIMESTAMPS)
        && undo.is_begun()
        && acked
            .echo
            .is_some_and(|echo| echo != 0 && is_older(echo, undo.stamp))
}

/// RFC 5682 3.1 (with SACK) and 2.1: true where something arrived that was sent before the timeout and only then.
fn ask(tcb: &mut Tcb, acked: &Acked) -> bool {
    let state = tcb.recovery.frto;
    if state == Frto::Off as u8 {
        return false;
    }
    let original = acked
        .delivered
        .lowest_original
        .is_some_and(|end| end.le(tcb.recover));
    if original && (state == Frto::Asked as u8 || tcb.is(Marks::SACK_PERMITTED)) {
        return true;
    }
    let advanced = acked.bytes > 0 && tcb.snd_una.lt(tcb.recover);
    let asks = state == Frto::Begun as u8 && advanced && !original && tcb.has_unsent();
    tcb.recovery.frto = if asks { Frto::Asked } else { Frto::Off } as u8;
    if state == Frto::Asked as u8 {
        // Step 3a: it was a loss; the new data is in the network besides what is sent again.
        tcb.congestion.cwnd = tcb.congestion.cwnd.max(3 * u32::from(tcb.mss));
    }
    false
}

/// RFC 4015: nothing is lost, and the window is what it was.
fn revert(tcb: &mut Tcb, env: &mut Env<'_, '_>) {
    if tcb.has_model() {
        tcb.model_on_spurious(env);
    } else {
        let prior = tcb.recovery.prior;
        tcb.congestion.revert(&prior);
    }
    tcb.recovery.can_undo = 0;
    tcb.scoreboard.clear_lost(env.pool, tcb.snd_una);
    tcb.backoff = 0;
    tcb.marks.remove(Marks::RETRANSMIT);
    tcb.counters.reductions_undone += 1;
    tcb.settle_open();
}
