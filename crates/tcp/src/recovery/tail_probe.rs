//! The tail loss probe (RFC 8985 section 7): where the last segments of a flight are lost nobody says so; a probe well
//! before the retransmission timeout makes the peer say what it has.

use super::{Acked, Phase};
use crate::tcb::{Env, Marks, Tcb};
use crate::timer::Wait;
use sidestep_shm::Nanos;
use sidestep_wire::Seq;

/// How long a peer may wait before it acknowledges a segment (RFC 8985 7.2: WCDelAckT).
const DELAYED_ACK_MAX: Nanos = Nanos::from_millis(200);

/// What the probe that is on its way was.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// There is none.
    None = 0,
    /// New data.
    New = 1,
    /// The last segment again.
    Again = 2,
}

impl Tcb {
    /// Whether the timer is that of a probe: something is in flight, and nothing is amiss.
    #[inline]
    pub(crate) const fn may_probe_tail(&self) -> bool {
        self.phase == Phase::Open as u8
            && self.dup_acks == 0
            && self.marks.contains(Marks::SACK_PERMITTED)
    }

    /// How long to wait for acknowledgements before the tail is probed (RFC 8985 7.2): no longer than before it is
    /// repeated. A single segment may wait for a delayed acknowledgement; text with a FIN is acknowledged at once (RFC 9293
    /// 3.10.7.4, eighth). For a FIN alone nobody waits: it has the time that Linux gives it.
    #[inline]
    pub(crate) fn probe_after(&self) -> Nanos {
        let mut after = self.rtt.probe_after();
        let flight = self.flight_bytes();
        if flight <= u32::from(self.mss) && (flight == 1 || !self.is(Marks::FIN_SENT)) {
            after = after + DELAYED_ACK_MAX;
        }
        after.min(self.rtt.rto(self.backoff))
    }

    /// The probe's time has come.
    #[cold]
    pub(crate) fn on_tail_probe_deadline(&mut self, env: &mut Env<'_, '_>) {
        if !self.is_outstanding() {
            return;
        }
        self.marks.insert(Marks::TAIL_PROBE_DUE);
        let at = self.retransmit_at(env.now);
        self.wait_until(Wait::Retransmission, at);
    }

    /// The probe is sent, up to `end`.
    pub(crate) fn note_tail_probe(&mut self, end: Seq, again: bool) {
        self.recovery.probe_end = end;
        self.recovery.probe = if again { Kind::Again } else { Kind::New } as u8;
        self.dup_acks = self.dup_acks.max(1);
        self.counters.tail_probes += 1;
    }
}

/// RFC 8985 7.4: whether the probe has mended a loss, for which the window goes down as for any other.
pub(super) fn on_ack(tcb: &mut Tcb, env: &mut Env<'_, '_>, acked: &Acked) {
    let probe = tcb.recovery.probe;
    let end = tcb.recovery.probe_end;
    if probe == Kind::None as u8 || tcb.snd_una.lt(end) {
        return;
    }
    let twice = acked.repeated.is_some_and(|(_, to)| to == end);
    if probe == Kind::New as u8 || twice {
        // Nothing was lost.
        tcb.recovery.probe = Kind::None as u8;
    } else if tcb.snd_una.gt(end) {
        tcb.recovery.probe = Kind::None as u8;
        if tcb.phase() == Phase::Open && tcb.has_model() {
            tcb.model_on_congestion(env);
        } else if tcb.phase() == Phase::Open {
            let flight = tcb.flight_bytes().max(tcb.congestion.cwnd / 2);
            let mss = u32::from(tcb.mss);
            tcb.congestion.on_loss(env.now, flight, mss);
            tcb.congestion.cwnd = tcb.congestion.cwnd.min(tcb.congestion.ssthresh);
        }
    } else if acked.duplicate {
        // Both arrived, and the peer does not report repetitions.
        tcb.recovery.probe = Kind::None as u8;
    }
}
