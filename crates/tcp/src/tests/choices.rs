//! What a program chooses by socket options, buffers that grow, and pacing.

use super::bench::{Bench, OURS, PEERS, Sent};
use super::pair::{Link, Pair};
use super::{ms, pattern, settings};
use crate::{Algorithm, Events, Settings, State, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::Flags;

#[test]
fn seconds_to_defer_accept_are_kept_as_repetitions() {
    let mut tcb = Tcb::new();
    for (set, kept) in [(0, 0), (1, 1), (2, 3), (5, 7), (10, 15), (128, 247)] {
        tcb.set_defer_accept(set);
        assert_eq!(tcb.defer_accept(), kept);
    }
}

#[test]
fn what_is_chosen_for_a_listener_is_passed_on() {
    let mut listener = Tcb::new();
    listener.set_nodelay(true);
    listener.set_congestion(Algorithm::Reno);
    listener.set_unsent_low(4000);
    listener.set_max_segment(700);
    listener.set_pacing_max(1_000_000);
    listener.set_defer_accept(5);
    let mut bench = Bench::new();
    bench.tcb.inherit(&listener, bench.now);
    bench.connect(&Settings::default(), OURS - 1);
    let syn = bench.one();
    assert_eq!(syn.repr.options.mss, Some(700));
    let tcb = &bench.tcb;
    assert!(tcb.nodelay());
    assert_eq!(tcb.info().algorithm, Algorithm::Reno);
    assert_eq!((tcb.unsent_low(), tcb.pacing_max()), (4000, 1_000_000));
    assert_eq!(tcb.defer_accept(), 0, "that is the listener's own");
}

#[test]
fn a_syn_is_repeated_as_often_as_chosen() {
    let mut bench = Bench::new();
    bench.tcb.set_syn_retries(2);
    bench.connect(&settings(), OURS - 1);
    assert_eq!(bench.wait(Nanos::from_secs(60)).len(), 3);
    assert_eq!(bench.state(), State::Closed);
    bench.finish();
}

#[test]
fn little_is_queued_below_the_low_water_mark() {
    let mut bench = Bench::established();
    bench.tcb.set_unsent_low(5000);
    // Ten segments leave at once; of what follows, a piece of half the window is begun.
    let mut queued = 0;
    for _ in 0..10 {
        queued += bench.send(&pattern(queued, 50_000));
        bench.out();
    }
    assert_eq!(queued, 10_000 + 32_000);
    assert!(!bench.tcb.writable());
    assert_eq!(bench.tcb.unsent_len(), 32_000);
    for acked in [10_000, 30_000] {
        bench.ack(PEERS, OURS + acked, &[]);
        assert!(!bench.tcb.sent_makes_room(), "nothing has left yet");
        bench.out();
    }
    assert_eq!(bench.tcb.unsent_len(), 0);
    assert!(bench.tcb.sent_makes_room());
    bench.finish();
}

#[test]
fn the_window_is_clamped() {
    let mut bench = Bench::established();
    bench.tcb.set_window_clamp(20_000);
    // What was offered stays so; beyond it no more than the clamp.
    for i in 0..70 {
        bench.ack(PEERS + i * 1000, OURS, &pattern(0, 1000));
        bench.out();
        assert_eq!(bench.recv(1000).len(), 1000);
        bench.out();
    }
    assert!(bench.tcb.info().rcv_wnd_bytes <= 20_000);
    assert_eq!(bench.tcb.window_clamp(), 20_000);
    bench.finish();
}

#[test]
fn fin_wait_2_lasts_as_long_as_chosen() {
    for (seconds, state) in [(5, State::FinWait2), (-1, State::Closed)] {
        let mut bench = Bench::established();
        bench.tcb.set_linger2(seconds);
        bench.close();
        bench.out();
        bench.ack(PEERS, OURS + 1, &[]);
        assert_eq!(bench.state(), state);
        if seconds < 0 {
            assert!(bench.one().repr.flags.contains(Flags::RST));
        } else {
            bench.wait(Nanos::from_secs(4));
            assert_eq!(bench.state(), State::FinWait2);
            bench.wait(Nanos::from_secs(2));
            assert_eq!(bench.state(), State::Closed);
        }
        bench.finish();
    }
}

/// Sends for so long over a path of 50 ms each way; returns both buffers' sizes at the end, and what was read.
fn stream(settings: &Settings, change: impl Fn(&mut Tcb)) -> (u32, u32, usize) {
    let link = Link {
        delay: ms(50),
        ..Link::CLEAN
    };
    let mut pair = Pair::established(1, link, *settings);
    change(&mut pair.ends[0].tcb);
    change(&mut pair.ends[1].tcb);
    let end = pair.now + Nanos::from_secs(4);
    let bytes = pattern(0, 64 << 10);
    while pair.now < end {
        while pair.send(0, &bytes) > 0 {}
        pair.step();
        pair.recv(1, 1 << 20);
    }
    let read = pair.ends[1].received.len();
    (pair.ends[1].tcb.rcv_buf(), pair.ends[0].tcb.snd_buf(), read)
}

#[test]
fn buffers_grow_until_they_limit_nothing() {
    let settings = Settings {
        mss: 8000,
        rcv_buf_bytes: 64 << 10,
        rcv_buf_bytes_max: 4 << 20,
        snd_buf_bytes: 64 << 10,
        ..Settings::default()
    };
    let (rcv, snd, grown) = stream(&settings, |_| {});
    let (rcv_fixed, snd_fixed, fixed) = stream(&settings, |tcb| {
        tcb.set_rcv_buf(64 << 10);
        tcb.set_snd_buf(64 << 10);
    });
    assert!(rcv > 200 << 10 && snd > 200 << 10, "{rcv} {snd}");
    assert_eq!((rcv_fixed, snd_fixed), (64 << 10, 64 << 10));
    assert!(grown > 3 * fixed, "{grown} {fixed}");
    // The pools of the test hold 2 MB, of which one buffer may have a quarter.
    assert!(rcv <= 512 << 10 && snd <= 512 << 10, "{rcv} {snd}");
}

#[test]
fn segments_are_spread_over_time_where_a_rate_is_set() {
    let mut bench = Bench::established();
    bench.tcb.set_pacing_max(1_000_000);
    bench.send(&pattern(0, 10_000));
    let begin = bench.now;
    let mut at = Vec::new();
    for _ in 0..20 {
        at.extend(bench.out().iter().map(|_| bench.now - begin));
        bench.now = bench.tcb.next_timeout().min(bench.now + ms(2));
        bench.fire();
    }
    // A segment takes a millisecond; two of them are made up for at the start.
    assert_eq!(at.len(), 10);
    assert_eq!(at[..3], [Nanos::ZERO; 3]);
    assert_eq!(at[3..], [1, 2, 3, 4, 5, 6, 7].map(ms));
    assert_eq!(bench.tcb.pacing_rate(), 1_000_000);
    bench.finish();
}

#[test]
fn what_is_held_leaves_when_the_rate_is_lifted() {
    let mut bench = Bench::established();
    bench.tcb.set_pacing_max(1000);
    bench.send(&pattern(0, 5000));
    assert_eq!(bench.out().len(), 1);
    bench.tcb.set_pacing_max(0);
    assert_eq!(bench.out().len(), 4);
    bench.finish();
}

#[test]
fn time_is_told_apart_by_what_was_the_limit() {
    let mut bench = Bench::established();
    bench.peer_window = 2000;
    bench.ack(PEERS, OURS, b"x");
    bench.out();
    bench.send(&pattern(0, 4000));
    assert_eq!(bench.out().len(), 2);
    bench.now = bench.now + ms(100);
    let info = bench.tcb.info_at(bench.now);
    assert_eq!((info.busy, info.limited_by_peer), (ms(100), ms(100)));
    bench.peer_window = 60_000;
    bench.ack(PEERS + 1, OURS + 2000, &[]);
    assert_eq!(bench.out().len(), 2);
    bench.now = bench.now + ms(50);
    let events = bench.ack(PEERS + 1, OURS + 4000, &[]);
    assert!(!events.contains(Events::CLOSED));
    bench.now = bench.now + ms(1000);
    let info = bench.tcb.info_at(bench.now);
    assert_eq!((info.busy, info.limited_by_peer), (ms(150), ms(100)));
    assert_eq!(info.limited_by_buffer, Nanos::ZERO);
    assert_eq!(info.counters.data_segments_out, 4);
    assert_eq!(info.counters.data_segments_in, 1);
    bench.finish();
}

#[test]
fn waiting_for_the_window_counts_as_busy_with_nothing_outstanding_too() {
    let mut bench = Bench::established();
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, b"x");
    bench.out();
    bench.send(&pattern(0, 1000));
    assert!(bench.out().is_empty());
    bench.now = bench.now + ms(100);
    let info = bench.tcb.info_at(bench.now);
    assert_eq!((info.busy, info.limited_by_peer), (ms(100), ms(100)));
    bench.peer_window = 60_000;
    bench.ack(PEERS + 1, OURS, &[]);
    assert_eq!(bench.out().len(), 1);
    bench.now = bench.now + ms(30);
    bench.ack(PEERS + 1, OURS + 1000, &[]);
    bench.now = bench.now + ms(1000);
    let info = bench.tcb.info_at(bench.now);
    assert_eq!((info.busy, info.limited_by_peer), (ms(130), ms(100)));
    bench.finish();
}

#[test]
fn a_full_send_buffer_that_is_all_in_flight_is_the_limit() {
    let mut bench = Bench::established();
    bench.tcb.set_snd_buf(5000);
    bench.send(&pattern(0, 200_000));
    assert!(bench.tcb.unsent_len() > 0, "more than the window takes");
    bench.out();
    let taken = u32::try_from(bench.tcb.send_len()).unwrap_or(0);
    bench.now = bench.now + ms(20);
    assert_eq!(
        bench.tcb.info_at(bench.now).limited_by_buffer,
        Nanos::ZERO,
        "the network was"
    );
    bench.ack(PEERS, OURS + 10_000, &[]);
    bench.out();
    bench.ack(PEERS, OURS + 20_000, &[]);
    bench.out();
    assert_eq!(bench.tcb.unsent_len(), 0);
    bench.now = bench.now + ms(70);
    assert_eq!(bench.tcb.info_at(bench.now).limited_by_buffer, ms(70));
    bench.ack(PEERS, OURS + taken, &[]);
    bench.send(&pattern(0, 10));
    bench.out();
    bench.now = bench.now + ms(70);
    assert_eq!(bench.tcb.info_at(bench.now).limited_by_buffer, ms(70));
    bench.finish();
}

#[test]
fn before_there_is_data_it_is_told_since_when_the_connection_stands() {
    let mut bench = Bench::established();
    let since = bench.now;
    assert_eq!(bench.tcb.info().last_data_received, since);
    bench.now = bench.now + ms(500);
    bench.ack(PEERS, OURS, b"x");
    assert_eq!(bench.tcb.info().last_data_received, since + ms(500));
    bench.finish();
}

#[test]
fn bursts_are_as_long_as_is_asked_for_and_half_of_the_window_at_most() {
    let pushed = |burst_segments| {
        let mut bench = Bench::established_sacking(&Settings {
            burst_segments,
            timestamps: false,
            window_scale: false,
            ..settings()
        });
        bench.send(&pattern(0, 20_000));
        let segments = bench.out();
        let is_pushed = |sent: &Sent| sent.repr.flags.contains(Flags::PSH);
        segments.iter().map(is_pushed).collect::<Vec<_>>()
    };
    let at = |places: &[usize]| (1..=10).map(|i| places.contains(&i)).collect::<Vec<_>>();
    assert_eq!(pushed(2), at(&[2, 4, 6, 8, 10]));
    assert_eq!(pushed(3), at(&[3, 6, 9]));
    assert_eq!(pushed(100), at(&[5, 10]));
}
