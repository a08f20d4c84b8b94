use super::*;

#[test]
fn a_change_beyond_the_ratio_is_a_move() {
    assert!(!moved([]));
    assert!(!moved([52.0]));
    assert!(!moved([52.0, 60.0, 55.0]));
    assert!(moved([52.0, 255.0]));
    assert!(moved([70.0, 52.0]));
}

#[test]
fn pinning_is_undone_afterwards() {
    let cpus = Cpus::allowed().unwrap();
    let before = sched_getaffinity(None).unwrap();
    let inside = pinned(cpus.client, || sched_getaffinity(None).unwrap()).unwrap();
    assert_eq!(inside.count(), 1);
    assert!(inside.is_set(cpus.client));
    assert_eq!(sched_getaffinity(None).unwrap().count(), before.count());
}

#[test]
fn a_cache_line_takes_some_time_where_there_are_two_cores() {
    let cpus = Cpus::allowed().unwrap();
    match cache_line_ns(cpus) {
        Some(ns) => assert!(ns > 1.0, "{ns} ns is faster than any cache"),
        None => assert!(!cpus.apart()),
    }
}
