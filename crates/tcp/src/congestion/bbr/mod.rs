//! BBR, version 3 (draft-ietf-ccwg-bbr): sends at the rate at which data arrives, keeps in flight what the path holds,
//! and looks from time to time whether there is more.
//!
//! | file | of |
//! | --- | --- |
//! | `sampler` | how fast data arrives |
//! | `model` | what the path carries, and the window and rate that follow |
//! | `cycle` | the states, and when one follows another |
//!
//! Its state takes a chunk of the stack's pool, so that other connections do not pay for it; one that gets none goes on
//! as with Reno. It is copied out and in with each acknowledgement, as chunks have no alignment.

mod cycle;
mod model;
mod sampler;

use crate::congestion::Algorithm;
use crate::recovery::scoreboard::{Delivered, span, ticks};
use crate::recovery::{Acked, Phase};
use crate::tcb::{Env, Marks, Tcb};
use cycle::Mode;
use sampler::{Sample, Sampler};
use sidestep_shm::{CHUNK_BYTES, ChunkPool, Nanos, Use};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// No limit, or not known.
const INFINITE: u32 = u32::MAX;
/// Segments that the window has at least, so that acknowledgements keep coming.
const LEAST_SEGMENTS: u32 = 4;
const INITIAL_SEGMENTS: u32 = 10;

/// What a reduction leaves.
const fn beta(bytes: u32) -> u32 {
    bytes / 10 * 7
}

/// The state. Sums modulo 2^32, round trips in ticks, rates in bytes a second; names as in the draft, shortened.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Bbr {
    bw: u64,
    max_bw: [u64; 2],
    bw_short: u64,
    bw_latest: u64,
    undo_bw_short: u64,
    full_bw: u64,
    pacing_rate: u64,
    cycle_began: Nanos,
    probe_wait: Nanos,
    min_rtt_at: Nanos,
    probe_rtt_min_at: Nanos,
    probe_rtt_done_at: Nanos,
    extra_acked_began: Nanos,
    min_rtt: u32,
    probe_rtt_min: u32,
    round_count: u32,
    next_round_delivered: u32,
    loss_round_delivered: u32,
    full_bw_count: u32,
    drain_start_round: u32,
    inflight_long: u32,
    inflight_short: u32,
    inflight_latest: u32,
    undo_inflight_long: u32,
    undo_inflight_short: u32,
    up_acked_per_inc: u32,
    up_acked: u32,
    up_rounds: u32,
    rounds_since_up: u32,
    losses_in_round: u32,
    prior_cwnd: u32,
    extra_acked_delivered: u32,
    extra_acked: [u32; 2],
    extra_acked_rounds: u32,
    seed: u32,
    _reserved: u32,
    mode: u8,
    ack_phase: u8,
    /// A [`Mode`] + 1.
    undo_mode: u8,
    round_start: u8,
    loss_round_start: u8,
    loss_in_round: u8,
    full_bw_now: u8,
    full_bw_reached: u8,
    is_probe_sample: u8,
    probe_too_high: u8,
    probe_precautionary: u8,
    probe_rtt_expired: u8,
    probe_rtt_round_done: u8,
    idle_restart: u8,
    _reserved2: [u8; 2],
    sampler: Sampler,
    _reserved3: u32,
}

const _: () = assert!(size_of::<Bbr>() <= CHUNK_BYTES);

/// What happens, and the connection at that moment.
struct On {
    now: Nanos,
    sample: Sample,
    /// Bytes that have arrived by it.
    delivered: u32,
    /// A round trip, where one was measured.
    rtt: Option<u32>,
    inflight: u32,
    cwnd: u32,
    mss: u32,
    is_cwnd_limited: bool,
    in_recovery: bool,
    has_sack: bool,
}

impl On {
    const fn least_cwnd(&self) -> u32 {
        LEAST_SEGMENTS * self.mss
    }

    const fn initial_cwnd(&self) -> u32 {
        INITIAL_SEGMENTS * self.mss
    }
}

impl Bbr {
    fn new(now: Nanos, srtt_ns: u64, cwnd: u32, seed: u32) -> Self {
        let mut bbr = Self::new_zeroed();
        bbr.min_rtt = match ticks(Nanos(srtt_ns)) {
            0 => INFINITE,
            known => known,
        };
        bbr.probe_rtt_min = bbr.min_rtt;
        (bbr.min_rtt_at, bbr.probe_rtt_min_at) = (now, now);
        bbr.extra_acked_began = now;
        bbr.inflight_long = INFINITE;
        bbr.up_acked_per_inc = INFINITE;
        bbr.seed = seed | 1;
        bbr.reset_short_term();
        (bbr.undo_bw_short, bbr.undo_inflight_short) = (u64::MAX, INFINITE);
        bbr.undo_inflight_long = INFINITE;
        let span = if srtt_ns == 0 { 1_000_000 } else { srtt_ns };
        let (gain, _) = Mode::Startup.gains();
        bbr.pacing_rate = u64::from(cwnd).saturating_mul(10_000_000 * gain) / span;
        bbr
    }

    /// A small generator (xorshift32): flows need not probe together, and a seed makes a run.
    const fn random(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        self.seed
    }

    /// An acknowledgement (4.2.4); returns the window.
    fn on_ack(&mut self, on: &On) -> u32 {
        self.update_latest_signals(on);
        self.update_congestion_signals(on);
        self.update_aggregation(on);
        self.check_full_bw(on);
        self.check_startup_and_drain(on);
        if self.loss_round_start != 0 {
            self.losses_in_round = 0;
        }
        self.update_cycle(on);
        self.update_min_rtt(on);
        let back = self.check_probe_rtt(on);
        self.advance_latest_signals(on);
        self.bw = self.max_bw().min(self.bw_short);
        let (gain, _) = self.mode().gains();
        self.set_pacing_rate(gain);
        self.cwnd(on.cwnd.max(back.unwrap_or(0)), on)
    }
}

/// Where the connection keeps the state.
impl Tcb {
    /// Whether the connection has a model of its path, and goes by it.
    #[inline]
    pub(crate) fn has_model(&self) -> bool {
        self.model != 0 && self.congestion.algorithm() == Algorithm::Bbr
    }

    fn load(&self, pool: &ChunkPool<'_>) -> Option<Bbr> {
        let chunk = self.model.checked_sub(1)?;
        Bbr::read_from_prefix(pool.bytes(chunk)).ok().map(|r| r.0)
    }

    fn store(&self, pool: &mut ChunkPool<'_>, bbr: &Bbr) {
        if let Some(chunk) = self.model.checked_sub(1) {
            let _ = bbr.write_to_prefix(pool.data_mut(chunk));
        }
    }

    /// Gives the state's memory back.
    pub(crate) fn free_model(&mut self, pool: &mut ChunkPool<'_>) {
        if let Some(chunk) = core::mem::take(&mut self.model).checked_sub(1) {
            pool.free(chunk);
        }
    }

    /// A model for a connection that wants one and has none.
    fn begin_model(&mut self, env: &mut Env<'_, '_>) {
        let Some(chunk) = env.pool.alloc(Use::Send) else {
            return;
        };
        #[expect(clippy::cast_possible_truncation, reason = "2048")]
        {
            env.pool.meta_mut(chunk).len = CHUNK_BYTES as u16;
        }
        self.model = chunk + 1;
        let (srtt_ns, cwnd) = (self.rtt.srtt_ns, self.congestion.cwnd);
        #[expect(clippy::cast_possible_truncation, reason = "a seed")]
        let seed = self.iss.0 ^ env.now.0 as u32;
        let bbr = Bbr::new(env.now, srtt_ns, cwnd, seed);
        self.pacing.rate = bbr.pacing_rate;
        self.store(env.pool, &bbr);
    }

    fn moment(&self, now: Nanos) -> On {
        On {
            now,
            sample: Sample::default(),
            delivered: 0,
            rtt: None,
            inflight: self.pipe_bytes(),
            cwnd: self.congestion.cwnd,
            mss: u32::from(self.mss),
            is_cwnd_limited: false,
            in_recovery: self.phase() != Phase::Open,
            has_sack: self.is(Marks::SACK_PERMITTED),
        }
    }

    /// Changes the state; `change` returns a window to go back to, if there is one.
    fn change_model(
        &mut self,
        env: &mut Env<'_, '_>,
        on: &On,
        change: impl FnOnce(&mut Bbr, &On) -> Option<u32>,
    ) {
        let Some(mut bbr) = self.load(env.pool) else {
            return;
        };
        if let Some(back) = change(&mut bbr, on) {
            self.congestion.cwnd = self.congestion.cwnd.max(back);
        }
        self.pacing.rate = bbr.pacing_rate;
        self.store(env.pool, &bbr);
    }
}

/// What the connection tells.
impl Tcb {
    /// A segment leaves, in the run sent then; `len` bytes, of which some may have been in flight before.
    pub(crate) fn model_on_sent(&mut self, env: &mut Env<'_, '_>, len: u32, sent: u32) {
        if self.congestion.algorithm() != Algorithm::Bbr || len == 0 {
            return;
        }
        if self.model == 0 {
            self.begin_model(env);
        }
        let idle = self.flight_bytes() <= len;
        let on = self.moment(env.now);
        self.change_model(env, &on, |bbr, on| {
            let restarts = idle && bbr.sampler.is_app_limited();
            bbr.sampler.on_sent(sent, on.inflight, idle);
            if !restarts {
                return None;
            }
            bbr.idle_restart = 1;
            bbr.extra_acked_began = on.now;
            if bbr.mode().probes_bw() {
                bbr.set_pacing_rate(100);
                return None;
            }
            (bbr.mode() == Mode::ProbeRtt).then(|| bbr.check_probe_rtt_done(on))?
        });
    }

    /// There is nothing more to send, and room for it.
    pub(crate) fn model_on_all_sent(&mut self, env: &mut Env<'_, '_>) {
        if !self.has_model() || self.pipe_bytes() >= self.congestion.cwnd {
            return;
        }
        let on = self.moment(env.now);
        self.change_model(env, &on, |bbr, on| {
            bbr.sampler.mark_app_limited(on.inflight);
            None
        });
    }

    /// An acknowledgement: what it says has arrived, and how many bytes are lost by it, the newest sent then.
    pub(crate) fn model_on_ack(
        &mut self,
        env: &mut Env<'_, '_>,
        delivered: &Delivered,
        pipe_before: u32,
        lost: (u32, Option<u32>),
    ) {
        let mut on = self.moment(env.now);
        on.delivered = delivered.bytes;
        on.is_cwnd_limited = pipe_before + on.mss > on.cwnd;
        let now = ticks(env.now);
        let newest = delivered.newest;
        on.rtt = newest.and_then(|(sent, _, again)| {
            let rtt = now.wrapping_sub(sent);
            (!again && span(rtt) < Nanos::from_secs(600)).then_some(rtt.max(1))
        });
        let Some(mut bbr) = self.load(env.pool) else {
            return;
        };
        let least = if bbr.min_rtt == INFINITE {
            0
        } else {
            bbr.min_rtt
        };
        if lost.0 > 0 {
            bbr.on_lost(&on, lost.0, lost.1);
        }
        let sent = newest.map(|newest| newest.0);
        on.sample = bbr.sampler.on_delivered(delivered.bytes, sent, now, least);
        self.congestion.cwnd = bbr.on_ack(&on);
        self.pacing.rate = bbr.pacing_rate;
        if on.sample.rate > 0 {
            self.pacing.delivery_rate = on.sample.rate;
        }
        self.store(env.pool, &bbr);
    }

    /// A loss episode begins; by the timer nothing is known to be in flight any more.
    pub(crate) fn model_on_episode(&mut self, env: &mut Env<'_, '_>, timeout: bool) {
        let mut on = self.moment(env.now);
        on.in_recovery = false;
        self.change_model(env, &on, |bbr, on| {
            bbr.save_cwnd(on.cwnd, false);
            bbr.note_loss(on);
            None
        });
        if timeout {
            self.congestion.cwnd = self.pipe_bytes() + u32::from(self.mss);
        }
    }

    /// What is lost is mended: the window is what it was.
    pub(crate) fn model_on_recovered(&mut self, env: &mut Env<'_, '_>) {
        let on = self.moment(env.now);
        self.change_model(env, &on, |bbr, _| Some(bbr.prior_cwnd));
    }

    /// Nothing was lost.
    pub(crate) fn model_on_spurious(&mut self, env: &mut Env<'_, '_>) {
        let on = self.moment(env.now);
        self.change_model(env, &on, |bbr, _| Some(bbr.undo()));
    }

    /// A loss that nothing is sent again for: marks of congestion (RFC 3168), or one mended by a tail probe.
    pub(crate) fn model_on_congestion(&mut self, env: &mut Env<'_, '_>) {
        let on = self.moment(env.now);
        self.change_model(env, &on, |bbr, on| {
            bbr.note_loss(on);
            None
        });
    }

    /// As [`model_on_ack`](Self::model_on_ack), where nothing is amiss.
    #[cold]
    pub(crate) fn model_on_progress(
        &mut self,
        env: &mut Env<'_, '_>,
        bytes: u32,
        pipe_before: u32,
        sent: Option<u32>,
    ) {
        let delivered = Delivered {
            bytes,
            newest: sent.map(|sent| (sent, self.snd_una, false)),
            lowest_original: None,
            late: None,
        };
        self.model_on_ack(env, &delivered, pipe_before, (0, None));
    }

    /// As [`model_on_ack`](Self::model_on_ack), for an acknowledgement that says more.
    pub(crate) fn model_on_disturbed_ack(
        &mut self,
        env: &mut Env<'_, '_>,
        acked: &Acked,
        lost: (u32, Option<u32>),
    ) {
        self.model_on_ack(env, &acked.delivered, acked.pipe_before, lost);
    }
}
