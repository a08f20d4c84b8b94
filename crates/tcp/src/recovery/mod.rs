//! What was lost and is to be sent again. One file a way of finding out, or of going on from there.
//!
//! | file | of |
//! | --- | --- |
//! | `scoreboard` | what is known of everything in flight |
//! | `sack` | what the peer says it has (RFC 2018, RFC 2883) |
//! | `rack` | losses told by time (RFC 8985) |
//! | `tail_probe` | losses at the end, about which nobody says anything (RFC 8985 section 7) |
//! | `newreno` | losses told by duplicate acknowledgements, where the peer knows no SACK (RFC 6582) |
//! | `prr` | how fast to send while a loss is mended (RFC 9937) |
//! | `spurious` | what was no loss after all (RFC 5682, RFC 3522, RFC 4015) |
//!
//! An acknowledgement in the undisturbed state only goes through [`Tcb::on_progress`]; all else through
//! [`Tcb::on_disturbed_ack`], whose steps are in the order of RFC 8985.

mod newreno;
mod prr;
mod rack;
mod sack;
pub(crate) mod scoreboard;
mod spurious;
mod tail_probe;

use crate::congestion::{Growth, Prior};
use crate::tcb::{Env, Marks, Tcb};
use crate::timer::Wait;
use scoreboard::{Delivered, span, ticks};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where loss recovery stands. Stored as a byte; one that is none of them reads as [`Phase::Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing is known to be lost.
    Open = 0,
    /// A loss was noticed and is being mended.
    Recovery = 1,
    /// The retransmission timer expired; what is outstanding is sent again in order.
    Loss = 2,
}

/// What recovery remembers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Recovery {
    rack: rack::Rack,
    prr: prr::Prr,
    /// End of the tail probe that is on its way, by `tail_probe`.
    probe_end: Seq,
    /// A [`tail_probe::Kind`].
    probe: u8,
    /// A [`spurious::Frto`].
    frto: u8,
    /// Whether there is something to go back to in `prior`.
    can_undo: u8,
    _reserved: u8,
    undo: spurious::Undo,
    /// SND.NXT when the window was last reduced because of marks (RFC 3168 6.1.2).
    pub(crate) marked: Seq,
    /// The window before the last reduction.
    prior: Prior,
}

/// What an acknowledgement that is not a plain one says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acked {
    /// What has arrived.
    pub(crate) delivered: Delivered,
    /// By how much SND.UNA advanced.
    pub(crate) bytes: u32,
    /// What was in the network before.
    pub(crate) pipe_before: u32,
    /// It acknowledges nothing new in sequence, while something is outstanding (RFC 5681 section 2).
    pub(crate) duplicate: bool,
    /// Bytes that it says came twice, with their end (RFC 2883).
    pub(crate) repeated: Option<(u32, Seq)>,
    /// Echo of the timestamp.
    pub(crate) echo: Option<u32>,
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

    /// Bytes in the network, as far as is known (RFC 6675: pipe).
    #[inline]
    pub(crate) const fn pipe_bytes(&self) -> u32 {
        self.flight_bytes()
            .saturating_sub(self.scoreboard.absent_bytes())
            .saturating_sub(self.left_bytes)
    }

    /// SND.UNA advanced by `acked_bytes` while nothing was amiss; `flight_before` was in flight until now, of which the
    /// part that is acknowledged was sent at `sent`, in ticks; `echo` is that of its timestamp.
    #[inline]
    pub(crate) fn on_progress(
        &mut self,
        env: &mut Env<'_, '_>,
        acked_bytes: u32,
        flight_before: u32,
        (sent, echo): (Option<u32>, Option<u32>),
    ) {
        if self.is(Marks::PACED) && self.has_model() {
            self.model_on_progress(env, acked_bytes, flight_before, sent);
            return;
        }
        let now = env.now;
        let (una, nxt) = (self.snd_una, self.snd_nxt);
        let round_over = self.congestion.note_flight(flight_before, una, nxt);
        let limited = self.is(Marks::CWND_LIMITED);
        if limited || self.congestion.is_in_use() {
            self.congestion.validate(now);
            if limited || self.congestion.in_slow_start() {
                let rtt = if self.congestion.in_slow_start() {
                    self.took(now, sent, echo)
                } else {
                    None
                };
                self.grow_window(now, acked_bytes, rtt, round_over);
            }
        }
    }

    /// How long the newest of what was acknowledged took: by its timestamp, to the millisecond; else at least so long, as
    /// what left within a sixteenth of a round trip counts as sent with the first of it.
    fn took(&self, now: Nanos, sent: Option<u32>, echo: Option<u32>) -> Option<Nanos> {
        match echo {
            Some(echo) if self.is(Marks::TIMESTAMPS) => {
                let elapsed_ms = self.ts_now(now).wrapping_sub(echo);
                (echo != 0).then(|| Nanos::from_millis(u64::from(elapsed_ms)))
            }
            // Beyond that all counts as sent together, and nothing is known.
            _ if self.scoreboard.is_crowded() => None,
            _ => sent.map(|sent| {
                let most = ticks(now).wrapping_sub(sent);
                span(most.saturating_sub(self.rtt.grain))
            }),
        }
    }

    fn grow_window(&mut self, now: Nanos, acked_bytes: u32, rtt: Option<Nanos>, round_over: bool) {
        if acked_bytes == 0 {
            return;
        }
        self.congestion.on_ack(&Growth {
            now,
            acked_bytes,
            mss: u32::from(self.mss),
            srtt_ns: self.rtt.srtt_ns,
            min_rtt_ns: self.rtt.min_ns,
            rtt,
            round_over,
            paced: self.is(Marks::PACED),
        });
    }

    /// An acknowledgement that says something of losses, or comes while some are known.
    pub(crate) fn on_disturbed_ack(&mut self, env: &mut Env<'_, '_>, acked: &Acked) {
        let sack = self.is(Marks::SACK_PERMITTED);
        let mut acked = *acked;
        if sack {
            rack::on_delivered(self, &acked, env.now);
            tail_probe::on_ack(self, env, &acked);
        } else {
            acked.delivered.bytes = newreno::delivered_bytes(self, &acked);
            newreno::on_ack(self, env, &acked);
        }
        let acked = &acked;
        spurious::on_ack(self, env, acked);
        let before = self.phase();
        if before != Phase::Open && self.snd_una.ge(self.recover) {
            self.end_recovery(env);
        }
        let lost = if sack {
            rack::detect_losses(self, env)
        } else {
            (0, None)
        };
        if lost.0 > 0 && self.searches != 0 {
            self.note_lost_in_search(env);
        }
        if self.phase() == Phase::Open && self.scoreboard.lost_bytes() > 0 {
            self.enter_recovery(env, acked);
        }
        match self.phase() {
            _ if self.has_model() => self.model_on_disturbed_ack(env, acked, lost),
            // The end of slow start after a timeout is part of it.
            Phase::Open if before == Phase::Loss => {
                self.grow_window(env.now, acked.delivered.bytes, None, false);
            }
            Phase::Open if before != Phase::Open => {}
            Phase::Open => {
                // For what the peer had told of before new segments have left already (RFC 3042).
                let news = acked.bytes.min(acked.delivered.bytes);
                self.on_progress(env, news, acked.pipe_before, (None, acked.echo));
            }
            Phase::Recovery => prr::on_ack(self, acked, lost.0 > 0),
            Phase::Loss => self.grow_window(env.now, acked.delivered.bytes, None, false),
        }
        if sack {
            let probing = self.recovery.probe != tail_probe::Kind::None as u8;
            self.dup_acks = u8::from(self.scoreboard.absent_bytes() > 0 || probing);
        }
        if self.wait == Wait::TailProbe as u8 && !self.may_probe_tail() && self.is_outstanding() {
            let at = self.retransmit_at(env.now);
            self.wait_until(Wait::Retransmission, at);
        }
        self.marks.insert(Marks::SEND_DUE);
    }

    /// A loss was noticed: the window goes down, and the first segment that is lost goes out at once.
    fn enter_recovery(&mut self, env: &mut Env<'_, '_>, acked: &Acked) {
        self.begin_episode(env, Phase::Recovery);
        if self.has_model() {
            self.model_on_episode(env, false);
        } else {
            let (window, flight) = (self.congestion.cwnd, self.flight_at_loss());
            self.congestion
                .on_loss(env.now, flight, u32::from(self.mss));
            prr::begin(self, acked, window);
        }
        self.marks.insert(Marks::RETRANSMIT);
        self.counters.fast_retransmits += 1;
    }

    /// What was in flight, by which the window goes down. Acknowledgements that come together are all taken before
    /// anything is sent, so that at the last of them little is outstanding of a window that was full.
    fn flight_at_loss(&self) -> u32 {
        if self.is(Marks::CWND_LIMITED) {
            self.congestion.cwnd
        } else {
            self.flight_bytes()
        }
    }

    /// By how many segments others were seen to be overtaken; 0 for none.
    pub(crate) const fn reordering_segments(&self) -> u8 {
        self.recovery.rack.reordering
    }

    /// What both ways of finding a loss begin with.
    fn begin_episode(&mut self, env: &mut Env<'_, '_>, phase: Phase) {
        let first = self
            .scoreboard
            .first_lost(env.pool, self.snd_una)
            .map_or(self.snd_una, |lost| lost.0);
        self.recovery.prior = self.congestion.prior();
        self.recovery.can_undo = 1;
        self.recovery.undo = spurious::Undo::begin(first);
        self.recovery.frto = 0;
        self.recover = self.snd_nxt;
        self.phase = phase as u8;
        self.marks.remove(Marks::RTT_TIMED);
    }

    /// All that was outstanding when the loss was noticed is acknowledged.
    fn end_recovery(&mut self, env: &mut Env<'_, '_>) {
        if self.has_model() {
            self.model_on_recovered(env);
        } else if self.phase() == Phase::Recovery {
            // RFC 9937: what the algorithm made of the loss, however much of it was reached.
            self.congestion.cwnd = self.congestion.ssthresh;
        }
        rack::on_recovered(self);
        self.settle_open();
    }

    fn settle_open(&mut self) {
        self.phase = Phase::Open as u8;
        self.recovery.frto = 0;
        (self.dup_acks, self.left_bytes) = (0, 0);
        // Nothing was sent twice beyond this point, so duplicate acknowledgements count again at once.
        self.recover = self.snd_una - 1;
    }

    /// The retransmission timer expired with data outstanding (RFC 6298 5.4 to 5.7, RFC 8985 6.3).
    pub(crate) fn on_retransmission_timeout(&mut self, env: &mut Env<'_, '_>) {
        let una = self.snd_una;
        let first_sacked = self.scoreboard.runs(env.pool).next();
        if first_sacked.is_some_and(scoreboard::Run::is_sacked) {
            self.scoreboard.clear_sacked(env.pool, una);
        }
        self.suspect_black_hole(env);
        let again = self.phase() == Phase::Loss;
        self.scoreboard.mark_lost(env.pool, una, |_, _| true);
        let (flight, mss) = (self.flight_bytes(), u32::from(self.mss));
        if again {
            self.recovery.frto = 0;
            self.recover = self.snd_nxt;
        } else {
            self.begin_episode(env, Phase::Loss);
            spurious::begin(self);
        }
        if self.has_model() {
            self.model_on_episode(env, true);
        } else {
            self.congestion.on_timeout(env.now, flight, mss, !again);
        }
        (self.dup_acks, self.left_bytes) = (0, 0);
        self.recovery.probe = 0;
        self.marks.remove(Marks::RTT_TIMED | Marks::TAIL_PROBE_DUE);
        self.marks.insert(Marks::RETRANSMIT | Marks::SEND_DUE);
        self.counters.timeouts += 1;
    }

    /// What is in flight was too long for the path, which says nothing of congestion: all of it goes again.
    pub(crate) fn on_flight_too_long(&mut self, env: &mut Env<'_, '_>) {
        let una = self.snd_una;
        self.scoreboard.mark_lost(env.pool, una, |_, _| true);
        self.begin_episode(env, Phase::Loss);
        self.recovery.can_undo = 0;
        self.left_bytes = 0;
        self.marks.insert(Marks::RETRANSMIT | Marks::SEND_DUE);
    }

    /// The congestion experienced that the peer reports (RFC 3168 6.1.2): as a loss, once a round trip, with nothing to
    /// send again.
    pub(crate) fn on_congestion_echo(&mut self, env: &mut Env<'_, '_>) {
        if self.phase() != Phase::Open {
            return;
        }
        if self.has_model() {
            self.model_on_congestion(env);
            return;
        }
        let (now, flight) = (env.now, self.flight_at_loss());
        self.congestion.on_loss(now, flight, u32::from(self.mss));
        self.congestion.cwnd = self.congestion.ssthresh;
        self.recovery.can_undo = 0;
    }

    /// What is in `repeated` segments is news for the timers and for the undoing of reductions.
    pub(crate) fn note_repeated(&mut self, env: &mut Env<'_, '_>, start: Seq, end: Seq) {
        // A tick later, so that it comes after whatever was sent in the same one.
        let (una, now) = (self.snd_una, ticks(env.now).wrapping_add(1));
        self.scoreboard
            .note_repeated(env.pool, una, (start, end), now);
        let len = end.0.wrapping_sub(start.0);
        let stamp = self.ts_now(env.now);
        self.recovery.undo.on_repeated(len, stamp, self.snd_nxt);
        if self.phase() == Phase::Recovery {
            self.recovery.prr.on_sent(len);
        }
    }

    /// New data was sent while a loss is being mended.
    #[cold]
    pub(crate) fn note_sent_in_recovery(&mut self, len: u32) {
        self.recovery.prr.on_sent(len);
    }

    /// Whether new data goes before what is lost, to find out whether anything is (RFC 5682).
    #[inline]
    pub(crate) const fn asks_by_new_data(&self) -> bool {
        self.recovery.frto == spurious::Frto::Asked as u8
    }
}
