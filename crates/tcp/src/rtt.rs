//! Round-trip time and the retransmission timeout (RFC 6298), with Linux's bounds.

use crate::recovery::scoreboard::ticks;
use crate::tcb::{Marks, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The timeout before there is a sample (RFC 6298 2.1).
const RTO_INITIAL: Nanos = Nanos::from_secs(1);
/// What the variance counts for at least. RFC 6298 asks for a second; every stack in use has less.
const RTO_VARIANCE_MIN: u64 = Nanos::from_millis(200).0;
/// The longest timeout (`TCP_RTO_MAX`).
pub(crate) const RTO_MAX: Nanos = Nanos::from_secs(120);
/// What a tail probe leaves the peer beside two round trips (as Linux): a peer that computes for a moment is not a loss.
const PROBE_SLACK: Nanos = Nanos::from_millis(2);
/// The least time before a tail probe where round trips are shorter than any network's: on wires of a host nothing is lost,
/// and peers wait for processors.
const PROBE_MIN_NEAR: Nanos = Nanos::from_millis(10);
const NEAR_NS: u64 = 100_000;

/// What is known of the round trip.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Rtt {
    /// SRTT, 0 before the first sample.
    pub(crate) srtt_ns: u64,
    pub(crate) rttvar_ns: u64,
    rto: Nanos,
    pub(crate) min_ns: u64,
    /// When the segment in the running measurement was sent.
    sent: Nanos,
    /// The acknowledgement that ends it.
    seq: Seq,
    /// A sixteenth of SRTT in [`ticks`]: what is sent within it counts as sent together.
    pub(crate) grain: u32,
    /// How long to wait for acknowledgements before the tail is probed (PTO of RFC 8985).
    probe_after: Nanos,
}

impl Rtt {
    pub(crate) const UNKNOWN: Self = Self {
        srtt_ns: 0,
        rttvar_ns: 0,
        rto: RTO_INITIAL,
        min_ns: u64::MAX,
        sent: Nanos::ZERO,
        seq: Seq(0),
        grain: 0,
        probe_after: Nanos::NEVER,
    };

    /// See the field.
    #[inline]
    pub(crate) const fn probe_after(&self) -> Nanos {
        self.probe_after
    }

    /// The timeout after so many doublings (RFC 6298 5.5).
    #[inline]
    pub(crate) fn rto(&self, backoff: u8) -> Nanos {
        if backoff == 0 {
            return self.rto;
        }
        Nanos(self.rto.0.saturating_mul(1 << backoff.min(16))).min(RTO_MAX)
    }

    /// Takes a sample (RFC 6298 2.2, 2.3).
    pub(crate) fn sample(&mut self, rtt: Nanos) {
        let rtt_ns = rtt.0.max(1);
        self.min_ns = self.min_ns.min(rtt_ns);
        if self.srtt_ns == 0 {
            self.srtt_ns = rtt_ns;
            self.rttvar_ns = rtt_ns / 2;
        } else {
            let error = self.srtt_ns.abs_diff(rtt_ns);
            self.rttvar_ns = self.rttvar_ns - self.rttvar_ns / 4 + error / 4;
            self.srtt_ns = (self.srtt_ns - self.srtt_ns / 8 + rtt_ns / 8).max(1);
        }
        let rto = self
            .srtt_ns
            .saturating_add((4 * self.rttvar_ns).max(RTO_VARIANCE_MIN));
        self.rto = Nanos(rto).min(RTO_MAX);
        self.grain = ticks(Nanos(self.srtt_ns / 16));
        let after = Nanos(2 * self.srtt_ns) + PROBE_SLACK;
        self.probe_after = if self.min_ns < NEAR_NS {
            after.max(PROBE_MIN_NEAR)
        } else {
            after
        };
    }
}

impl Tcb {
    /// Begins to time a segment that is sent for the first time and ends at `end`, unless one is timed already.
    #[inline]
    pub(crate) fn time_segment(&mut self, end: Seq, now: Nanos) {
        if !self.is(Marks::RTT_TIMED) {
            self.marks.insert(Marks::RTT_TIMED);
            self.rtt.seq = end;
            self.rtt.sent = now;
        }
    }

    /// Takes what an acknowledgement of new data says about the round trip. Retransmissions have stopped the running
    /// measurement (Karn's algorithm); the timestamp that comes back is unambiguous even then, though coarse.
    #[inline]
    pub(crate) fn measure_round_trip(&mut self, ack: Seq, echo: Option<u32>, now: Nanos) {
        if self.is(Marks::RTT_TIMED) {
            if ack.ge(self.rtt.seq) {
                self.marks.remove(Marks::RTT_TIMED);
                self.rtt.sample(now - self.rtt.sent);
                self.backoff = 0;
            }
        } else if self.backoff > 0
            && self.is(Marks::TIMESTAMPS)
            && let Some(echo) = echo
            && echo != 0
        {
            let elapsed_ms = self.ts_now(now).wrapping_sub(echo);
            if u64::from(elapsed_ms) <= RTO_MAX.as_millis() {
                self.rtt
                    .sample(Nanos::from_millis(u64::from(elapsed_ms.max(1))));
                self.backoff = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
