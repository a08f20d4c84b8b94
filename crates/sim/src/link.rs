//! One direction of a path: what happens to a packet on its way.

use fastrand::Rng;
use sidestep_shm::Nanos;

/// Chances are given in parts per million.
const MILLION: u32 = 1_000_000;

/// Loss that comes in bursts (the model of Gilbert and Elliott): a good state without, and a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Chance for each packet that the bad state begins.
    pub begin_ppm: u32,
    /// Chance for each packet that it ends.
    pub end_ppm: u32,
    /// Chance that a packet is lost in the bad state.
    pub loss_ppm: u32,
}

/// What one direction is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Time that each packet takes, besides its own length and the queue.
    pub delay: Nanos,
    /// Up to so much more at random; packets stay in order.
    pub jitter: Nanos,
    /// Chance of a loss, each packet for itself. A corrupted packet is a lost one: its checksum tells.
    pub loss_ppm: u32,
    /// Loss in bursts, besides.
    pub burst: Option<Burst>,
    /// Chance that a packet arrives twice.
    pub duplicate_ppm: u32,
    /// Chance that a packet takes `reorder_by` longer, so that others overtake it.
    pub reorder_ppm: u32,
    /// See `reorder_ppm`.
    pub reorder_by: Nanos,
    /// Bits in a second; 0 for any number.
    pub rate_bps: u64,
    /// Bytes that wait for the rate at most; what comes then is dropped.
    pub queue_bytes: u64,
    /// With so many bytes waiting, packets that can be are marked instead of dropped later (RFC 3168); 0 for never.
    pub mark_bytes: u64,
    /// Longest packet, IP header included; 0 for any.
    pub mtu: usize,
    /// Whether the sender is told of packets that are too long (ICMP), or they just vanish.
    pub mtu_reports: bool,
    /// From then on nothing arrives.
    pub dies_at: Nanos,
}

impl LinkConfig {
    /// A few milliseconds and no trouble.
    pub const CLEAN: Self = Self {
        delay: Nanos::from_millis(5),
        jitter: Nanos::ZERO,
        loss_ppm: 0,
        burst: None,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        reorder_by: Nanos::ZERO,
        rate_bps: 0,
        queue_bytes: 0,
        mark_bytes: 0,
        mtu: 0,
        mtu_reports: true,
        dies_at: Nanos::NEVER,
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
    },
    /// It is lost.
    Lost,
    /// It was too long, and the sender is told.
    TooBig,
}

/// One direction: its configuration and where it stands.
#[derive(Clone, Debug)]
pub struct Link {
    /// What it is like.
    pub config: LinkConfig,
    is_bad: bool,
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
            is_bad: false,
            busy_until: Nanos::ZERO,
            last_arrival: Nanos::ZERO,
            lost: 0,
            marked: 0,
        }
    }

    /// Sends a packet of so many bytes, IP header included; `markable` if its sender understands marks.
    pub fn send(&mut self, rng: &mut Rng, now: Nanos, bytes: usize, markable: bool) -> Fate {
        let config = self.config;
        if config.mtu != 0 && bytes > config.mtu {
            self.lost += 1;
            return if config.mtu_reports {
                Fate::TooBig
            } else {
                Fate::Lost
            };
        }
        let queue = self.queue_bytes(now);
        let overflows = config.rate_bps != 0 && queue + bytes as u64 > config.queue_bytes;
        if now >= config.dies_at || overflows || self.is_lost(rng) {
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
        Fate::Arrives { at, again, marked }
    }

    fn is_lost(&mut self, rng: &mut Rng) -> bool {
        let mut lost = chance(rng, self.config.loss_ppm);
        if let Some(burst) = self.config.burst {
            let turns = if self.is_bad {
                burst.end_ppm
            } else {
                burst.begin_ppm
            };
            self.is_bad ^= chance(rng, turns);
            lost |= self.is_bad && chance(rng, burst.loss_ppm);
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
