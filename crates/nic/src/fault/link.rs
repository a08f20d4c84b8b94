//! One direction of a path: what happens to a packet on its way.

use fastrand::Rng;
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Chances are given in parts per million.
const MILLION: u32 = 1_000_000;

/// Loss that comes in bursts (the model of Gilbert and Elliott): a good state without, and a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Burst {
    /// Chance for each packet that the bad state begins.
    pub begin_ppm: u32,
    /// Chance for each packet that it ends.
    pub end_ppm: u32,
    /// Chance that a packet is lost in the bad state.
    pub loss_ppm: u32,
}

impl Burst {
    /// None ever begins.
    pub const NEVER: Self = Self {
        begin_ppm: 0,
        end_ppm: 0,
        loss_ppm: 0,
    };
}

/// What one direction is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinkConfig {
    /// Time that each packet takes, besides its own length and the queue.
    pub delay: Nanos,
    /// Up to so much more at random; packets stay in order.
    pub jitter: Nanos,
    /// See `reorder_ppm`.
    pub reorder_by: Nanos,
    /// Bits in a second; 0 for any number.
    pub rate_bps: u64,
    /// Bytes that wait for the rate at most; what comes then is dropped.
    pub queue_bytes: u64,
    /// With so many bytes waiting, packets that can be are marked instead of dropped later (RFC 3168); 0 for never.
    pub mark_bytes: u64,
    /// From then on nothing arrives.
    pub dies_at: Nanos,
    /// Chance of a loss, each packet for itself.
    pub loss_ppm: u32,
    /// Loss in bursts, besides.
    pub burst: Burst,
    /// Chance that a packet arrives damaged.
    pub corrupt_ppm: u32,
    /// Chance that a packet arrives twice.
    pub duplicate_ppm: u32,
    /// Chance that a packet takes up to `reorder_by` longer, so that others overtake it.
    pub reorder_ppm: u32,
    /// Longest packet, IP header included; 0 for any. Senders are told of longer ones (ICMP).
    pub mtu: u16,
    /// Longer packets, IP header included, vanish without a word; 0 for none.
    pub black_hole: u16,
}

impl LinkConfig {
    /// No trouble at all.
    pub const PERFECT: Self = Self {
        delay: Nanos::ZERO,
        ..Self::CLEAN
    };

    /// A few milliseconds and no trouble.
    pub const CLEAN: Self = Self {
        delay: Nanos::from_millis(5),
        jitter: Nanos::ZERO,
        reorder_by: Nanos::ZERO,
        rate_bps: 0,
        queue_bytes: 0,
        mark_bytes: 0,
        dies_at: Nanos::NEVER,
        loss_ppm: 0,
        burst: Burst::NEVER,
        corrupt_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        mtu: 0,
        black_hole: 0,
    };
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then, and perhaps once more; `marked` if the queue was long and the packet could be told.
    Arrives {
        /// When.
        at: Nanos,
        /// When a copy of it does.
        again: Option<Nanos>,
        /// Congestion was experienced.
        marked: bool,
        /// It is damaged.
        corrupt: bool,
    },
    /// It is lost.
    Lost,
    /// It was too long, and the sender is told.
    TooBig,
}

/// One direction: its configuration and where it stands.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Link {
    /// What it is like.
    pub config: LinkConfig,
    /// 1 in the bad state of bursts.
    bad: u64,
    /// Until when the rate is taken by what was sent.
    busy_until: Nanos,
    /// When the last packet in order arrives.
    last_arrival: Nanos,
    /// Packets lost, whatever the reason.
    pub lost: u64,
    /// Packets that were marked.
    pub marked: u64,
}

impl Link {
    /// A link on which nothing has been sent.
    pub const fn new(config: LinkConfig) -> Self {
        Self {
            config,
            bad: 0,
            busy_until: Nanos::ZERO,
            last_arrival: Nanos::ZERO,
            lost: 0,
            marked: 0,
        }
    }

    /// Sends a packet of so many bytes, IP header included; `markable` if its sender understands marks.
    pub fn send(&mut self, rng: &mut Rng, now: Nanos, bytes: usize, markable: bool) -> Fate {
        let config = self.config;
        if exceeds(bytes, config.mtu) {
            self.lost += 1;
            return Fate::TooBig;
        }
        let queue = self.queue_bytes(now);
        let overflows = config.rate_bps != 0 && queue + bytes as u64 > config.queue_bytes;
        let vanishes = now >= config.dies_at || exceeds(bytes, config.black_hole);
        if vanishes || overflows || self.is_lost(rng) {
            self.lost += 1;
            return Fate::Lost;
        }
        let marked = markable && config.mark_bytes != 0 && queue > config.mark_bytes;
        self.marked += u64::from(marked);
        self.busy_until = self.busy_until.max(now) + self.time_of(bytes as u64);
        let mut at = self.busy_until + config.delay + up_to(rng, config.jitter);
        at = at.max(self.last_arrival);
        if chance(rng, config.reorder_ppm) {
            at = at + up_to(rng, config.reorder_by);
        } else {
            self.last_arrival = at;
        }
        let again = chance(rng, config.duplicate_ppm).then(|| at + up_to(rng, config.delay));
        let corrupt = chance(rng, config.corrupt_ppm);
        Fate::Arrives {
            at,
            again,
            marked,
            corrupt,
        }
    }

    fn is_lost(&mut self, rng: &mut Rng) -> bool {
        let mut lost = chance(rng, self.config.loss_ppm);
        let burst = self.config.burst;
        if burst != Burst::NEVER {
            let is_bad = self.bad != 0;
            let turns = if is_bad {
                burst.end_ppm
            } else {
                burst.begin_ppm
            };
            let is_bad = is_bad ^ chance(rng, turns);
            self.bad = u64::from(is_bad);
            lost |= is_bad && chance(rng, burst.loss_ppm);
        }
        lost
    }

    /// Bytes that wait for the rate.
    fn queue_bytes(&self, now: Nanos) -> u64 {
        let waits_ns = u128::from((self.busy_until - now).0);
        let bytes = waits_ns * u128::from(self.config.rate_bps) / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn time_of(&self, bytes: u64) -> Nanos {
        if self.config.rate_bps == 0 {
            return Nanos::ZERO;
        }
        Nanos(bytes * 8_000_000_000 / self.config.rate_bps)
    }
}

/// Whether a packet is longer than a limit, of which 0 is none.
fn exceeds(bytes: usize, limit: u16) -> bool {
    limit != 0 && bytes > usize::from(limit)
}

fn chance(rng: &mut Rng, ppm: u32) -> bool {
    ppm != 0 && rng.u32(..MILLION) < ppm
}

fn up_to(rng: &mut Rng, span: Nanos) -> Nanos {
    if span == Nanos::ZERO {
        Nanos::ZERO
    } else {
        Nanos(rng.u64(..span.0))
    }
}

#[cfg(test)]
mod tests;
