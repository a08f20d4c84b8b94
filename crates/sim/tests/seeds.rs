//! Connections over links of every kind. A failure says its seed: `cargo xtask sim --seed N` replays it.

use sidestep_sim::Scenario;

/// Seeds tried by each test; together a thousand, on as many threads as there are tests.
const SEEDS: u64 = 250;

fn try_seeds(from: u64) {
    for seed in from..from + SEEDS {
        if let Err(what) = Scenario::random(seed).run(None) {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn seeds_from_0() {
    try_seeds(0);
}

#[test]
fn seeds_from_250() {
    try_seeds(SEEDS);
}

#[test]
fn seeds_from_500() {
    try_seeds(2 * SEEDS);
}

#[test]
fn seeds_from_750() {
    try_seeds(3 * SEEDS);
}

#[test]
fn a_seed_says_all_of_a_run() {
    let run = || Scenario::random(7).run(None).unwrap();
    let (a, b) = (run(), run());
    assert_eq!((a.took, a.read, a.counters), (b.took, b.read, b.counters));
}
