//! Paths that drop long segments without a word.

use super::pair::{Link, Pair};
use super::{pattern, settings};
use crate::Settings;
use sidestep_shm::Nanos;
use std::cell::Cell;
use std::rc::Rc;

/// A connection over a path that drops segments with more payload than the cell says.
fn over(limit: &Rc<Cell<usize>>) -> Pair {
    let settings = Settings {
        mss: 8960,
        ..settings()
    };
    let mut pair = Pair::established(3, Link::CLEAN, settings);
    let limit = Rc::clone(limit);
    pair.lose = Some(Box::new(move |_, _, len| len > limit.get()));
    pair
}

/// Sends for so long; all that is written arrives.
fn stream(pair: &mut Pair, span: Nanos) -> usize {
    let before = pair.ends[1].received.len();
    let end = pair.now + span;
    let bytes = pattern(0, 64 << 10);
    while pair.now < end {
        while pair.send(0, &bytes) > 0 {}
        pair.step();
        pair.recv(1, 1 << 20);
    }
    let got = pair.ends[1].received.len() - before;
    pair.ends[1].received.clear();
    got
}

fn mss(pair: &Pair) -> u16 {
    pair.ends[0].tcb.info().snd_mss
}

#[test]
fn the_limit_of_a_black_hole_is_found() {
    let limit = Rc::new(Cell::new(3000));
    let mut pair = over(&limit);
    stream(&mut pair, Nanos::from_secs(10));
    let found = mss(&pair);
    assert!((2960..=3000).contains(&found), "{found}");
    assert!(stream(&mut pair, Nanos::from_secs(1)) > 1_000_000);
}

#[test]
fn a_path_that_carries_more_later_is_noticed() {
    let limit = Rc::new(Cell::new(900));
    let mut pair = over(&limit);
    stream(&mut pair, Nanos::from_secs(20));
    let found = mss(&pair);
    assert!((860..=900).contains(&found), "{found}");
    limit.set(usize::MAX);
    pair.run_for(Nanos::from_secs(600));
    stream(&mut pair, Nanos::from_secs(1));
    assert_eq!(mss(&pair), 8960 - 12);
}

#[test]
fn after_an_outage_segments_are_soon_as_long_as_before() {
    let limit = Rc::new(Cell::new(usize::MAX));
    let mut pair = over(&limit);
    limit.set(0);
    pair.send(0, &pattern(0, 60_000));
    pair.run_for(Nanos::from_secs(5));
    assert!(mss(&pair) <= 1012, "suspected");
    limit.set(usize::MAX);
    pair.run_for(Nanos::from_secs(10));
    stream(&mut pair, Nanos::from_secs(1));
    assert_eq!(mss(&pair), 8960 - 12);
}
