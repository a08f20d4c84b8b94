//! Losses that were none: the window is given back.

use super::bench::{Bench, OURS, PEERS};
use super::{ms, pattern, settings};
use crate::{Phase, Settings};
use sidestep_wire::tcp::{Flags, Timestamps};

fn plain() -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ..settings()
    }
}

fn in_flight(settings: &Settings) -> Bench {
    let mut bench = Bench::established_sacking(settings);
    bench.send(&pattern(0, 20_000));
    bench.out();
    bench.now = bench.now + ms(20);
    bench
}

#[test]
fn originals_that_arrive_after_a_timeout_give_the_window_back() {
    let mut bench = in_flight(&plain());
    bench.wait(ms(300));
    let info = bench.tcb.info();
    assert_eq!((info.phase, info.snd_cwnd_bytes), (Phase::Loss, 1000));
    // Not the segment that was sent again, but one that was not.
    bench.sack(0, &[(3000, 4000)]);
    let info = bench.tcb.info();
    assert_eq!((info.phase, info.snd_cwnd_bytes), (Phase::Open, 10_000));
    assert_eq!(info.counters.reductions_undone, 1);
    assert_eq!(info.lost_bytes, 0);
    bench.finish();
}

#[test]
fn without_sack_new_data_is_sent_to_find_out() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 20_000));
    bench.out();
    bench.wait(ms(300));
    bench.ack(PEERS, OURS + 1000, &[]);
    let asked = bench.out();
    let new = asked.iter().all(|one| one.repr.seq.ge(OURS + 10_000));
    assert!(new && asked.len() == 2, "two new segments");
    bench.ack(PEERS, OURS + 2000, &[]);
    let info = bench.tcb.info();
    assert_eq!(
        (info.phase, info.counters.reductions_undone),
        (Phase::Open, 1)
    );
    bench.finish();
}

#[test]
fn a_real_loss_is_mended_though_it_was_asked_about() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 20_000));
    bench.out();
    bench.wait(ms(300));
    bench.ack(PEERS, OURS + 1000, &[]);
    bench.out();
    // The new data comes to nothing but a duplicate.
    bench.ack(PEERS, OURS + 1000, &[]);
    assert_eq!(bench.out()[0].repr.seq, OURS + 1000);
    let info = bench.tcb.info();
    assert_eq!(
        (info.phase, info.counters.reductions_undone),
        (Phase::Loss, 0)
    );
    bench.finish();
}

#[test]
fn an_old_timestamp_tells_of_a_needless_retransmission() {
    let mut bench = in_flight(&Settings {
        window_scale: false,
        ..settings()
    });
    let old = bench.tcb.ts_now(bench.now - ms(20));
    bench.peer_ts = Some(Timestamps {
        value: 7100,
        echo: old,
    });
    bench.sack(0, &[(988, 4 * 988)]);
    bench.out();
    assert_eq!(bench.tcb.info().phase, Phase::Recovery);
    bench.now = bench.now + ms(2);
    bench.sack(10 * 988, &[]);
    let info = bench.tcb.info();
    assert_eq!(
        (info.phase, info.counters.reductions_undone),
        (Phase::Open, 1)
    );
    assert!(info.snd_cwnd_bytes >= 10 * 988);
    bench.finish();
}

#[test]
fn reports_that_all_came_twice_give_the_window_back() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 4000)]);
    bench.out();
    let reduced = bench.tcb.info().snd_ssthresh_bytes;
    bench.sack(10_000, &[]);
    bench.out();
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, reduced);
    bench.sack(10_000, &[(0, 1000)]);
    let info = bench.tcb.info();
    assert_eq!(
        (info.snd_cwnd_bytes, info.counters.reductions_undone),
        (10_000, 1)
    );
    // Nothing more to give back.
    bench.sack(10_000, &[(0, 1000)]);
    assert_eq!(bench.tcb.info().counters.reductions_undone, 1);
    bench.finish();
}

/// A window grown to 20 segments, of which none is used for a minute.
fn after_a_minute(slow_start_after_idle: bool) -> Bench {
    let mut bench = Bench::established_sacking(&Settings {
        slow_start_after_idle,
        ..plain()
    });
    bench.send(&pattern(0, 10_000));
    bench.out();
    bench.now = bench.now + ms(20);
    bench.ack(PEERS, OURS + 10_000, &[]);
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 20_000);
    bench.now = bench.now + ms(60_000);
    bench.send(&pattern(0, 1000));
    bench.out();
    bench
}

#[test]
fn after_a_pause_slow_start_begins_anew() {
    let bench = after_a_minute(true);
    let info = bench.tcb.info();
    assert_eq!(
        (info.snd_cwnd_bytes, info.snd_ssthresh_bytes),
        (10_000, u32::MAX)
    );
    bench.finish();
}

#[test]
fn an_unused_window_stays_for_five_minutes_where_pauses_do_not_count() {
    let mut bench = after_a_minute(false);
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 20_000);
    bench.segment(PEERS, OURS + 11_000, Flags::ACK, &[]);
    bench.now = bench.now + ms(300_000);
    bench.send(&pattern(0, 1000));
    bench.out();
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 10_000);
    bench.finish();
}
