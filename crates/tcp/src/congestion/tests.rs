use super::*;

const MSS: u32 = 1000;
const RTT: Nanos = Nanos::from_millis(50);

/// Acknowledges a whole window in one round trip, segment by segment; returns the time.
fn round(state: &mut Congestion, now: Nanos, sent: &mut Seq, rtt: Nanos) -> Nanos {
    let segments = state.cwnd / MSS;
    *sent += segments * MSS;
    for i in 1..=segments {
        state.on_ack(&Growth {
            now: now + rtt,
            acked_bytes: MSS,
            mss: MSS,
            srtt_ns: rtt.0,
            min_rtt_ns: RTT.0,
            rtt: Some(rtt),
            round_over: i == 1,
            paced: false,
        });
    }
    now + rtt
}

fn state(algorithm: Algorithm) -> Congestion {
    Congestion::new(algorithm, MSS, Nanos::ZERO, Seq(0))
}

#[test]
fn reno_halves_and_adds_a_segment_each_round() {
    let mut reno = state(Algorithm::Reno);
    reno.cwnd = 100 * MSS;
    reno.on_loss(Nanos::ZERO, 100 * MSS, MSS);
    assert_eq!(reno.ssthresh, 50 * MSS);
    reno.cwnd = reno.ssthresh;
    let (mut now, mut sent) = (Nanos::ZERO, Seq(0));
    for i in 1..=10 {
        now = round(&mut reno, now, &mut sent, RTT);
        assert_eq!(reno.cwnd / MSS, 50 + i);
    }
}

#[test]
fn cubic_comes_back_levels_out_and_goes_on() {
    let mut cubic = state(Algorithm::Cubic);
    let full = 500 * MSS;
    cubic.cwnd = full;
    cubic.on_loss(Nanos::ZERO, full, MSS);
    assert_eq!(cubic.ssthresh, 350 * MSS);
    cubic.cwnd = cubic.ssthresh;
    // K is the cube root of 150 / 0.4: 7.2 seconds.
    let (mut now, mut sent) = (Nanos::from_secs(1), Seq(0));
    let mut at = |seconds: u64| {
        while now < Nanos::from_secs(1 + seconds) {
            now = round(&mut cubic, now, &mut sent, RTT);
        }
        cubic.cwnd / MSS
    };
    let (early, plateau, later) = (at(2), at(7), at(12));
    assert!((425..470).contains(&early), "fast at first: {early}");
    assert!((490..510).contains(&plateau), "level: {plateau}");
    assert!((535..570).contains(&later), "on again: {later}");
}

#[test]
fn the_time_to_mend_a_loss_counts_for_cubic() {
    let grown = |mended: Nanos| {
        let mut cubic = state(Algorithm::Cubic);
        let now = Nanos::from_secs(1);
        cubic.cwnd = 30 * MSS;
        cubic.on_loss(now, 30 * MSS, MSS);
        cubic.cwnd = cubic.ssthresh;
        // K is the cube root of 9 / 0.4: 2.8 seconds, in which the window grows most at first.
        let long = Nanos::from_millis(200);
        round(&mut cubic, now + mended, &mut Seq(0), long);
        cubic.cwnd
    };
    let at_once = grown(Nanos::ZERO);
    assert!(grown(Nanos::from_millis(200)) > at_once + MSS / 2);
    // After a timeout, from which it takes long to come back, it begins anew.
    assert!(grown(Nanos::from_secs(2)) < at_once);
}

#[test]
fn cubic_is_no_slower_than_reno_on_short_paths() {
    let rtt = Nanos::from_millis(1);
    let mut windows = [Algorithm::Reno, Algorithm::Cubic].map(|algorithm| {
        let mut state = state(algorithm);
        state.cwnd = 20 * MSS;
        state.on_loss(Nanos::ZERO, 20 * MSS, MSS);
        state.cwnd = state.ssthresh;
        let (mut now, mut sent) = (Nanos::from_secs(1), Seq(0));
        for _ in 0..100 {
            now = round(&mut state, now, &mut sent, rtt);
        }
        state.cwnd / MSS
    });
    assert_eq!(windows[0], 110);
    windows[0] -= 5;
    assert!(windows[1] >= windows[0], "{windows:?}");
}

#[test]
fn cubic_leaves_room_when_it_does_not_come_back() {
    let mut cubic = state(Algorithm::Cubic);
    cubic.cwnd = 1000 * MSS;
    cubic.on_loss(Nanos::ZERO, 1000 * MSS, MSS);
    cubic.cwnd = 800 * MSS;
    let prior = cubic.prior();
    cubic.on_loss(Nanos::ZERO, 800 * MSS, MSS);
    cubic.cwnd = cubic.ssthresh;
    // Levels out at 680 segments, 0.85 of 800: the K of the 120 to go is 6.7 seconds.
    let (mut now, mut sent) = (Nanos::from_secs(1), Seq(0));
    while now < Nanos::from_secs(8) {
        now = round(&mut cubic, now, &mut sent, RTT);
    }
    assert!((670..690).contains(&(cubic.cwnd / MSS)), "{}", cubic.cwnd);
    cubic.revert(&prior);
    assert_eq!((cubic.cwnd, cubic.ssthresh), (800 * MSS, 700 * MSS));
}

/// Acknowledges a window in slow start, a segment each `gap`, the first after a round trip of `rtt`; the time, and whether
/// slow start has ended.
fn slow_start_round(state: &mut Congestion, now: Nanos, rtt: Nanos, gap: Nanos) -> (Nanos, bool) {
    let segments = state.cwnd / MSS;
    let mut at = now + rtt;
    for i in 0..segments {
        state.on_ack(&Growth {
            now: at,
            acked_bytes: MSS,
            mss: MSS,
            srtt_ns: RTT.0,
            min_rtt_ns: RTT.0,
            rtt: Some(rtt),
            round_over: i == 0,
            paced: false,
        });
        at = at + gap;
    }
    (now + rtt, state.ssthresh != u32::MAX)
}

#[test]
fn slow_start_ends_at_once_when_round_trips_have_become_longer() {
    let ended = |longer_us: u64, algorithm| {
        let mut state = state(algorithm);
        let (now, _) = slow_start_round(&mut state, Nanos::ZERO, RTT, Nanos::ZERO);
        let longer = RTT + Nanos::from_micros(longer_us);
        let (_, ended) = slow_start_round(&mut state, now, longer, Nanos::ZERO);
        (ended, state.cwnd.min(state.ssthresh) / MSS)
    };
    // 16 ms; the ninth of the round says so, when the window has grown by eight.
    assert_eq!(ended(16_010, Algorithm::Cubic), (true, 28));
    assert_eq!(ended(15_990, Algorithm::Cubic), (false, 40));
    assert_eq!(ended(16_010, Algorithm::Reno), (false, 40));
}

#[test]
fn slow_start_ends_when_acknowledgements_fill_half_of_a_round_trip() {
    let ended = |gap_us: u64| {
        let mut state = state(Algorithm::Cubic);
        let (mut now, mut sent) = (Nanos::ZERO, Seq(0));
        for _ in 0..3 {
            now = round(&mut state, now, &mut sent, RTT);
        }
        assert_eq!(state.cwnd, 80 * MSS);
        let (_, ended) = slow_start_round(&mut state, now, RTT, Nanos::from_micros(gap_us));
        (ended, state.cwnd / MSS)
    };
    // Half of 50 ms, and half of the millisecond for which receivers may gather.
    assert_eq!(ended(500), (true, 80 + 53));
    assert_eq!(ended(250), (false, 160));
    // What comes further apart is no train.
    assert_eq!(ended(2_500), (false, 160));
}

#[test]
fn cubic_goes_on_by_a_twentieth_where_slow_start_ended_without_a_loss() {
    let grown = |lost: bool| {
        let mut cubic = state(Algorithm::Cubic);
        cubic.cwnd = 200 * MSS;
        cubic.ssthresh = cubic.cwnd;
        if lost {
            cubic.on_loss(Nanos::ZERO, cubic.cwnd, MSS);
            (cubic.cwnd, cubic.ssthresh) = (200 * MSS, 200 * MSS);
        }
        let (mut now, mut sent) = (Nanos::from_secs(1), Seq(0));
        for _ in 0..4 {
            now = round(&mut cubic, now, &mut sent, RTT);
        }
        cubic.cwnd / MSS
    };
    // A twentieth each round trip, of which the last half is still to count.
    assert!((235..=243).contains(&grown(false)), "{}", grown(false));
    assert!(grown(true) < 205, "{}", grown(true));
}

/// Acknowledges segments one by one, at so many microseconds from some moment on; returns the window after each.
fn train(state: &mut Congestion, at_us: &[u64]) -> Vec<u32> {
    let acks = at_us.iter().map(|us| {
        state.on_ack(&Growth {
            now: Nanos::from_secs(1) + Nanos::from_micros(*us),
            acked_bytes: MSS,
            mss: MSS,
            srtt_ns: 100_000_000,
            min_rtt_ns: 100_000_000,
            rtt: None,
            round_over: false,
            paced: false,
        });
        state.cwnd / MSS
    });
    acks.collect()
}

#[test]
fn after_a_timeout_cubic_begins_where_the_window_is() {
    let mut cubic = state(Algorithm::Cubic);
    cubic.on_timeout(Nanos::ZERO, 10 * MSS, MSS, true);
    assert_eq!((cubic.cwnd, cubic.ssthresh), (MSS, 7 * MSS));
    cubic.cwnd = cubic.ssthresh;
    // Not back to the ten that there were; as Reno, a segment for thirteen, looked at where a train begins anew.
    let mut at = vec![0];
    at.extend((0..7).map(|i| 98_000 + 2000 * i));
    at.extend((0..7).map(|i| 208_000 + 2000 * i));
    at.push(320_000);
    let windows = train(&mut cubic, &at);
    assert_eq!(windows[..15], [7; 15]);
    assert_eq!(windows[15], 8);
}

fn pause(idle_ms: u64, keeps: bool) -> Pause {
    Pause {
        idle: Nanos::from_millis(idle_ms),
        rto: Nanos::from_millis(300),
        keeps,
    }
}

#[test]
fn a_window_that_is_little_used_lasts_for_five_minutes() {
    let mut state = state(Algorithm::Cubic);
    state.cwnd = 100 * MSS;
    state.ssthresh = 20 * MSS;
    let later = |secs| Nanos::from_secs(secs);
    assert!(!state.is_review_due(Nanos::from_millis(200)));
    state.review(later(299), MSS, pause(0, false));
    assert_eq!(state.cwnd, 100 * MSS);
    assert!(state.is_review_due(later(305)));
    state.review(later(305), MSS, pause(0, false));
    assert_eq!((state.cwnd, state.ssthresh), (50 * MSS, 75 * MSS));
    assert!(!state.is_review_due(later(305)));
    state.review(later(3600), MSS, pause(0, true));
    assert_eq!(state.cwnd, 10 * MSS);
}

#[test]
fn a_pause_halves_the_window_for_each_timeout_unless_it_is_kept() {
    let after = |idle_ms, keeps| {
        let mut state = state(Algorithm::Cubic);
        (state.cwnd, state.ssthresh) = (100 * MSS, 50 * MSS);
        state.review(Nanos::from_secs(10), MSS, pause(idle_ms, keeps));
        (state.cwnd / MSS, state.ssthresh / MSS)
    };
    assert_eq!(after(299, false), (100, 50));
    assert_eq!(after(301, false), (50, 75));
    assert_eq!(after(601, false), (25, 75));
    assert_eq!(after(3_600_000, false), (10, 75));
    assert_eq!(after(3_600_000, true), (100, 50));
}

#[test]
fn the_most_in_flight_in_a_round_trip_says_whether_the_window_is_in_use() {
    let mut state = state(Algorithm::Cubic);
    // Six of ten segments, acknowledged one by one, and then two.
    let sent = Seq(6 * MSS);
    assert!(state.note_flight(6 * MSS, Seq(MSS), sent));
    for i in 2..=6 {
        assert!(!state.note_flight((7 - i) * MSS, Seq(i * MSS), sent));
        assert!(state.is_in_use());
    }
    assert!(state.note_flight(2 * MSS, Seq(7 * MSS), Seq(8 * MSS)));
    assert!(!state.is_in_use());
}
