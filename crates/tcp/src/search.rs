//! What the path carries, found without being told (RFC 8899, RFC 4821): where long segments vanish and no ICMP message
//! says why, shorter ones are sent, and then longer ones again, one at a time, to find where the limit is.
//!
//! A probe is a segment with new data, longer than others; what is lost of it is sent again in pieces. The first probe is
//! as long as segments were before: as a rule it was the path that was gone for a while, and not a router that drops.

use crate::recovery::Phase;
use crate::tcb::{Env, Marks, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Timeouts in a row that make a path suspicious (`tcp_retries1`).
const TIMEOUTS: u8 = 3;
/// What is sent then at first, and at least (`tcp_base_mss`; `min_pmtu` as in `path`).
const BASE: u16 = 1024;
const LEAST: u16 = 512;
/// How long a limit that was found is believed (RFC 8899 5.1.1, PMTU_RAISE_TIMER).
const RAISE: Nanos = Nanos::from_secs(600);
/// Limits that are closer together than this are one.
const CLOSE: u16 = 32;
/// Segments that must follow a probe, so that its loss is told by what arrives.
const FOLLOWING: u32 = 3;

/// What is to be sent.
pub(crate) enum Probe {
    /// A usual segment.
    No,
    /// Nothing for now: what is in flight arrives first.
    Wait,
    /// A probe with so many bytes.
    Send(u32),
}

/// How far the search is. Sizes are payload without options, as `Tcb::path_mss` has them.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Search {
    /// When the next probe may leave.
    next_at: Nanos,
    /// End of the one that is on its way.
    end: Seq,
    /// Its size; 0 for none.
    probe: u16,
    /// The largest size that may be right; 0 where there is no search.
    high: u16,
    /// Probes that were lost.
    lost: u8,
    _reserved: [u8; 7],
}

impl Tcb {
    const fn options_bytes(&self) -> u16 {
        if self.marks.contains(Marks::TIMESTAMPS) {
            crate::open::TIMESTAMPS_BYTES
        } else {
            0
        }
    }

    /// The retransmission timer has expired; perhaps because what was sent is too long.
    #[cold]
    pub(crate) fn suspect_black_hole(&mut self, env: &Env<'_, '_>) {
        if self.search.probe != 0 {
            self.note_probe_lost(env.now);
        }
        let size = self.mss + self.options_bytes();
        let full = self.flight_bytes() >= u32::from(self.mss);
        if self.retries < TIMEOUTS || size <= LEAST || !full {
            return;
        }
        if self.search.high == 0 {
            self.search.high = size;
        }
        self.path_mss = if size > BASE {
            BASE
        } else {
            (size / 2).max(LEAST)
        };
        self.set_segment_size();
        self.searches = 1;
        (self.search.next_at, self.search.lost) = (env.now, 0);
    }

    /// Whether a probe is to be sent now instead of a usual segment. `room` is what both windows leave; where that is too
    /// little they are let drain.
    #[cold]
    pub(crate) fn plan_probe(&mut self, now: Nanos, unsent: u32, room: u32) -> Probe {
        self.note_probe_arrived(now);
        let quiet = self.phase == Phase::Open as u8 && self.dup_acks == 0;
        let due = self.searches != 0 && self.search.probe == 0 && now >= self.search.next_at;
        if !due || !quiet || !self.is(Marks::SACK_PERMITTED) {
            return Probe::No;
        }
        let low = self.mss + self.options_bytes();
        let size = if self.search.lost == 0 {
            self.search.high
        } else {
            low + (self.search.high - low).div_ceil(2)
        };
        let len = u32::from(size - self.options_bytes());
        let needed = len + FOLLOWING * u32::from(self.mss);
        if size <= low || unsent < needed || self.snd_wnd.min(self.congestion.cwnd) < needed {
            return Probe::No;
        }
        if room < needed {
            return Probe::Wait;
        }
        self.search.probe = size;
        self.search.end = self.snd_nxt + len;
        Probe::Send(len)
    }

    /// Looks whether the probe is acknowledged: then segments are as long as that.
    fn note_probe_arrived(&mut self, now: Nanos) {
        if self.search.probe == 0 || self.snd_una.lt(self.search.end) {
            return;
        }
        self.path_mss = core::mem::take(&mut self.search.probe);
        self.set_segment_size();
        self.settle_search(now);
    }

    /// Looks whether the probe is among what was found lost.
    #[cold]
    pub(crate) fn note_lost_in_search(&mut self, env: &Env<'_, '_>) {
        let lost = self.scoreboard.first_lost(env.pool, self.snd_una);
        let end = self.search.end;
        if self.search.probe != 0
            && lost.is_some_and(|(start, behind)| start.lt(end) && behind.ge(end))
        {
            self.note_probe_lost(env.now);
        }
    }

    fn note_probe_lost(&mut self, now: Nanos) {
        let probe = core::mem::take(&mut self.search.probe);
        self.search.high = probe.saturating_sub(1).max(LEAST);
        self.search.lost = self.search.lost.saturating_add(1);
        self.settle_search(now);
    }

    /// Ends the search where there is nothing between the limits: for good where the path carries all that the ends do,
    /// else until the limit may have changed.
    fn settle_search(&mut self, now: Nanos) {
        let low = self.mss + self.options_bytes();
        self.search.next_at = now;
        if self.search.high > low.saturating_add(CLOSE) {
            return;
        }
        self.path_mss = 0;
        self.set_segment_size();
        let most = self.mss + self.options_bytes();
        if low >= most {
            (self.searches, self.search.high) = (0, 0);
            return;
        }
        self.path_mss = low;
        self.set_segment_size();
        (self.search.high, self.search.lost) = (most, 0);
        self.search.next_at = now + RAISE;
    }
}
