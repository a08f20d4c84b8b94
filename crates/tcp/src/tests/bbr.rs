//! BBR on paths of several kinds; the sampler and the states have tests of their own beside them.

use super::bench::{Bench, OURS, PEERS};
use super::pair::{Link, Pair};
use super::{ms, pattern, settings};
use crate::{Algorithm, Settings};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use std::collections::VecDeque;

fn bbr() -> Bench {
    Bench::established_sacking(&Settings {
        timestamps: false,
        window_scale: false,
        congestion: Algorithm::Bbr,
        ..settings()
    })
}

/// A path of 20 ms that carries a segment of 1000 bytes each so often, and what is on its way.
struct Path {
    bench: Bench,
    each: Nanos,
    free_at: Nanos,
    arrivals: VecDeque<(Nanos, Seq)>,
    acked: Seq,
    /// Least and most in flight since last asked.
    flight: (u32, u32),
}

impl Path {
    fn new(each: Nanos) -> Self {
        Self {
            bench: bbr(),
            each,
            free_at: Nanos::ZERO,
            arrivals: VecDeque::new(),
            acked: OURS,
            flight: (u32::MAX, 0),
        }
    }

    /// Sends for a while; returns bytes acknowledged.
    fn run(&mut self, span: Nanos) -> u32 {
        let (bench, before) = (&mut self.bench, self.acked);
        let end = bench.now + span;
        self.flight = (u32::MAX, 0);
        while bench.now < end {
            while bench.send(&pattern(0, 20_000)) > 0 {}
            for sent in bench.out() {
                let len = u32::try_from(sent.payload.len()).unwrap();
                self.free_at = self.free_at.max(bench.now) + self.each;
                self.arrivals
                    .push_back((self.free_at + ms(20), sent.repr.seq + len));
            }
            let next = self.arrivals.front().map_or(Nanos::NEVER, |a| a.0);
            bench.now = next.min(bench.tcb.next_timeout()).max(bench.now);
            if next <= bench.now {
                let (_, ack) = self.arrivals.pop_front().unwrap();
                self.acked = self.acked.max(ack);
                bench.ack(PEERS, self.acked, &[]);
            } else {
                bench.fire();
            }
            let flight = bench.tcb.info().unacked_bytes;
            self.flight = (self.flight.0.min(flight), self.flight.1.max(flight));
        }
        self.acked.0.wrapping_sub(before.0)
    }
}

#[test]
fn the_rate_of_the_path_is_found_and_its_queue_left_empty() {
    // A megabyte a second: the path holds 20 segments.
    let mut path = Path::new(ms(1));
    let acked = path.run(Nanos::from_secs(3)) + path.run(Nanos::from_secs(1));
    assert!(acked > 3_600_000, "{acked}");
    assert!(path.flight.1 < 50_000, "{:?}", path.flight);
    let info = path.bench.tcb.info();
    assert_eq!(info.algorithm.name(), "bbr");
    assert!(
        (800_000..1_100_000).contains(&info.delivery_rate),
        "{info:?}"
    );
    assert!(info.pacing_rate < 1_400_000, "{info:?}");
    path.bench.finish();
}

#[test]
fn a_path_that_carries_more_is_noticed() {
    let mut path = Path::new(ms(2));
    let before = path.run(Nanos::from_secs(3)) / 3;
    path.each = ms(1);
    path.run(Nanos::from_secs(9));
    let after = path.run(Nanos::from_secs(3)) / 3;
    assert!(after > before * 3 / 2, "{before} {after}");
    path.bench.finish();
}

#[test]
fn the_round_trip_of_the_empty_path_is_looked_at() {
    let mut path = Path::new(ms(1));
    path.run(Nanos::from_secs(3));
    let mut least = u32::MAX;
    for _ in 0..40 {
        path.run(ms(100));
        least = least.min(path.flight.1);
    }
    // Half of what the path holds, for 200 ms, within five seconds and a little.
    assert!(least <= 14_000, "{least}");
    path.bench.finish();
}

#[test]
fn one_segment_in_a_hundred_lost_leaves_most_of_the_rate() {
    let mut link = Link {
        delay: ms(20),
        ..Link::CLEAN
    };
    let settings = Settings {
        rcv_buf_bytes: 400_000,
        snd_buf_bytes: 400_000,
        ..settings()
    };
    let read = |algorithm, link| {
        let settings = Settings {
            congestion: algorithm,
            ..settings
        };
        let mut pair = Pair::established(5, link, settings);
        let end = pair.now + Nanos::from_secs(10);
        let bytes = pattern(0, 64 << 10);
        while pair.now < end {
            while pair.send(0, &bytes) > 0 {}
            pair.step();
            pair.recv(1, 1 << 20);
        }
        pair.ends[1].received.len()
    };
    link.loss = 10;
    let (reno, bbr) = (read(Algorithm::Reno, link), read(Algorithm::Bbr, link));
    assert!(bbr > 3 * reno, "{bbr} {reno}");
}
