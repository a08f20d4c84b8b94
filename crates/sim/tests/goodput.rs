//! Whether what a connection makes of a path is plausible.

use sidestep_shm::Nanos;
use sidestep_sim::{Cell, LinkConfig, Path, Scenario, measure};
use sidestep_tcp::{Algorithm, Ecn, Settings};

fn goodput(loss_ppm: u32, delay_ms: u64, seconds: u64, algorithm: Algorithm) -> Cell {
    let path = Path {
        loss_ppm,
        delay_ms,
        span: Nanos::from_secs(seconds),
    };
    measure(1, path, algorithm).expect("every property holds")
}

/// What Reno gets over random loss, in bits a second: MSS/RTT * sqrt(3/2) / sqrt(p) (Mathis et al. 1997).
fn of_mathis(cell: &Cell) -> f64 {
    let rtt_s = 2.0 * Nanos::from_millis(cell.path.delay_ms).0 as f64 * 1e-9;
    let loss = f64::from(cell.path.loss_ppm) * 1e-6;
    1448.0 * 8.0 / rtt_s * (1.5 / loss).sqrt()
}

#[test]
fn a_clean_path_is_filled() {
    // Where the queue is short for the path, Reno takes minutes to come back from the end of slow start.
    let shares = [(1, [0.95, 0.95]), (20, [0.9, 0.9]), (100, [0.45, 0.75])];
    for (delay_ms, shares) in shares {
        for (algorithm, share) in [Algorithm::Reno, Algorithm::Cubic].into_iter().zip(shares) {
            let cell = goodput(0, delay_ms, 60, algorithm);
            assert!(cell.goodput_bps as f64 > share * 1e8, "{cell:?}");
        }
    }
}

#[test]
fn what_slow_start_loses_at_the_end_is_mended_and_nothing_else_sent_again() {
    // Reno's slow start goes on until the queue overflows.
    for delay_ms in [20, 100] {
        let cell = goodput(0, delay_ms, 10, Algorithm::Reno);
        assert!(cell.lost > 300, "the queue overflows: {cell:?}");
        assert!(
            u64::from(cell.counters.retransmits) <= cell.lost,
            "{cell:?}"
        );
        assert_eq!(cell.counters.timeouts, 0, "{cell:?}");
    }
}

#[test]
fn slow_start_of_cubic_ends_before_the_queue_overflows() {
    let lost = |delay_ms| {
        let cell = goodput(0, delay_ms, 10, Algorithm::Cubic);
        assert_eq!(cell.counters.timeouts, 0, "{cell:?}");
        assert!(cell.goodput_bps > 65_000_000, "{cell:?}");
        cell.lost
    };
    // The few are of the search for more that comes after it, a segment or two in a round trip.
    let (short, long) = (lost(20), lost(100));
    assert!(short < 100, "{short}");
    // A window that doubles meets half of a long round trip only when it is larger than path and queue by a third of both.
    assert!(long < 1000, "{long}");
}

#[test]
fn reno_is_what_its_formula_says() {
    for (loss_ppm, delay_ms, seconds) in [(1000, 20, 60), (10_000, 20, 60), (10_000, 5, 20)] {
        let cell = goodput(loss_ppm, delay_ms, seconds, Algorithm::Reno);
        let ratio = cell.goodput_bps as f64 / of_mathis(&cell);
        assert!((0.6..1.4).contains(&ratio), "{ratio}: {cell:?}");
    }
}

#[test]
fn cubic_makes_more_of_long_paths() {
    let [reno, cubic] = [Algorithm::Reno, Algorithm::Cubic]
        .map(|algorithm| goodput(100, 100, 60, algorithm).goodput_bps);
    assert!(cubic > reno + reno / 3, "{cubic} and {reno}");
}

#[test]
fn one_percent_is_no_collapse_and_costs_no_timeouts() {
    for delay_ms in [1, 20, 100] {
        let cell = goodput(10_000, delay_ms, 30, Algorithm::Cubic);
        assert!(
            cell.goodput_bps as f64 > 0.6 * of_mathis(&cell).min(9e7),
            "{cell:?}"
        );
        assert!(cell.counters.timeouts <= 1, "{cell:?}");
        // What was sent again is what was lost, and little else.
        let sent = u64::from(cell.counters.segments_out);
        let repeated = u64::from(cell.counters.retransmits);
        assert!(repeated * 100 < sent * 2, "{cell:?}");
    }
}

#[test]
fn marks_do_what_losses_do_without_any() {
    let link = LinkConfig {
        rate_bps: 20_000_000,
        queue_bytes: 200_000,
        mark_bytes: 30_000,
        delay: Nanos::from_millis(10),
        ..LinkConfig::CLEAN
    };
    let run = |ecn| {
        let mut scenario = Scenario::bulk(1, link, 20_000_000);
        scenario.settings = [Settings {
            ecn,
            ..Settings::default()
        }; 2];
        scenario.run(None).expect("every property holds")
    };
    let (marked, dropped) = (run(Ecn::Ask), run(Ecn::Off));
    assert_eq!((marked.lost[0], marked.counters[0].retransmits), (0, 0));
    assert!(dropped.lost[0] > 0);
    for report in [&marked, &dropped] {
        // 8 seconds at the link's rate.
        assert!(report.read_at[1] < Nanos::from_millis(9500), "{report:?}");
    }
}

#[test]
fn reordering_alone_costs_little() {
    let link = LinkConfig {
        rate_bps: 50_000_000,
        queue_bytes: 500_000,
        delay: Nanos::from_millis(10),
        reorder_ppm: 20_000,
        reorder_by: Nanos::from_millis(4),
        ..LinkConfig::CLEAN
    };
    let report = Scenario::bulk(1, link, 50_000_000).run(None).unwrap();
    let repeated = report.counters[0].retransmits;
    assert!(repeated < 700, "of 34,000 segments: {report:?}");
    assert!(report.read_at[1] < Nanos::from_secs(12), "{report:?}");
}
