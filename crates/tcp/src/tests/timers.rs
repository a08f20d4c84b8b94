//! Retransmission and its end, keepalive, user timeout.

use super::bench::{Bench, OURS, PEERS};
use super::{ms, pattern, settings};
use crate::{Error, Events, IcmpError, KeepAlive, State};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::{Flags, Timestamps};

#[test]
fn retransmission_backs_off_and_gives_up_after_15() {
    let mut bench = Bench::established();
    bench.send(b"lost");
    assert_eq!(bench.out().len(), 1);
    let mut gaps = Vec::new();
    let mut before = bench.now;
    while bench.state() == State::Established {
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        for sent in bench.out() {
            assert_eq!((sent.repr.seq, &sent.payload[..]), (OURS, &b"lost"[..]));
            gaps.push(bench.now - before);
            before = bench.now;
        }
    }
    assert_eq!(gaps.len(), 15);
    for pair in gaps.windows(2) {
        assert!(
            pair[1] == pair[0] + pair[0] || pair[1] == Nanos::from_secs(120),
            "{gaps:?}"
        );
    }
    assert!(gaps[0] >= ms(200) && gaps[0] < ms(250));
    assert!(bench.events.contains(Events::TIMED_OUT | Events::CLOSED));
    assert_eq!(bench.tcb.error(), Some(Error::TimedOut));
    bench.finish();
}

#[test]
fn progress_resets_the_count() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 2000));
    bench.out();
    bench.wait(Nanos::from_secs(5));
    assert!(bench.tcb.info().retransmits >= 3);
    bench.ack(PEERS, OURS + 1000, &[]);
    assert_eq!(bench.tcb.info().retransmits, 0);
    bench.ack(PEERS, OURS + 2000, &[]);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    bench.finish();
}

#[test]
fn round_trips_set_the_timeout_and_retransmissions_do_not() {
    let mut bench = Bench::established();
    for i in 0..50 {
        bench.send(b"x");
        bench.out();
        bench.now = bench.now + ms(300);
        // The timer has not run: the round trip is measured in full.
        bench.ack(PEERS, OURS + i + 1, &[]);
    }
    let info = bench.tcb.info();
    assert!(info.rtt > ms(290) && info.rtt <= ms(300), "{:?}", info.rtt);
    assert!(info.rto >= ms(490) && info.rto < ms(560), "{:?}", info.rto);
    // Sent twice: which one the acknowledgement is of cannot be told (Karn).
    bench.send(b"y");
    bench.out();
    bench.wait(ms(600));
    bench.ack(PEERS, OURS + 51, &[]);
    assert_eq!(bench.tcb.info().rtt, info.rtt);
    assert_eq!(
        bench.tcb.info().backoff,
        1,
        "kept until there is a sample (RFC 6298 5.7)"
    );
    bench.send(b"z");
    bench.out();
    bench.now = bench.now + ms(300);
    bench.ack(PEERS, OURS + 52, &[]);
    assert_eq!(bench.tcb.info().backoff, 0);
    bench.finish();
}

#[test]
fn timestamps_measure_what_was_sent_twice() {
    let mut bench = Bench::established_with(&settings());
    bench.send(b"x");
    bench.out();
    let again = bench.wait(ms(1100));
    assert_eq!(again.len(), 2);
    let echo = again[1].repr.options.timestamps.unwrap().value;
    bench.peer_ts = Some(Timestamps { value: 7001, echo });
    bench.ack(PEERS, OURS + 1, &[]);
    assert_eq!(bench.tcb.info().backoff, 0);
    bench.finish();
}

#[test]
fn user_timeout_ends_a_stalled_connection() {
    let mut bench = Bench::established();
    bench.tcb.set_user_timeout(3000);
    bench.send(b"lost");
    let start = bench.now;
    bench.out();
    while bench.state() != State::Closed {
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        bench.out();
    }
    assert_eq!(bench.now - start, ms(3000));
    assert_eq!(bench.tcb.error(), Some(Error::TimedOut));
    bench.finish();
}

#[test]
fn orphans_are_given_up_sooner() {
    let mut bench = Bench::established();
    bench.send(b"lost");
    bench.close();
    let sent = bench.wait(Nanos::from_secs(2000));
    assert_eq!(sent.len(), 1 + 8);
    assert_eq!(bench.state(), State::Closed);
    bench.finish();
}

#[test]
fn keepalive_probes_and_gives_up() {
    let mut bench = Bench::established();
    bench.tcb.set_keepalive(true, bench.now);
    let parameters = KeepAlive {
        idle_s: 10,
        interval_s: 2,
        count: 3,
    };
    bench.tcb.set_keepalive_parameters(parameters, bench.now);
    assert!(bench.wait(Nanos::from_secs(9)).is_empty());
    bench.ack(PEERS, OURS, b"still here");
    assert_eq!(
        bench.wait(Nanos::from_secs(9)).len(),
        1,
        "the acknowledgement only"
    );
    let probes = bench.wait(Nanos::from_secs(2));
    assert_eq!(probes.len(), 1);
    assert_eq!((probes[0].repr.seq, probes[0].payload.len()), (OURS - 1, 0));
    bench.ack(PEERS + 10, OURS, &[]);
    let last = bench.wait(Nanos::from_secs(60));
    assert_eq!(last.len(), 4);
    assert!(
        last[..3]
            .iter()
            .all(|s| s.repr.seq == OURS - 1 && s.is_pure_ack())
    );
    assert!(last[3].repr.flags.contains(Flags::RST));
    assert!(bench.events.contains(Events::TIMED_OUT));
    assert_eq!(bench.tcb.error(), Some(Error::TimedOut));
    bench.finish();
}

#[test]
fn keepalive_has_linux_defaults() {
    let mut bench = Bench::established();
    bench.tcb.set_keepalive(true, bench.now);
    let expected = KeepAlive {
        idle_s: 7200,
        interval_s: 75,
        count: 9,
    };
    assert_eq!(bench.tcb.keepalive_parameters(), expected);
    assert!(bench.wait(Nanos::from_secs(7199)).is_empty());
    assert_eq!(bench.wait(Nanos::from_secs(2)).len(), 1);
    bench.tcb.set_keepalive(false, bench.now);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    bench.finish();
}

#[test]
fn a_smaller_path_sends_smaller_segments_at_once() {
    let mut bench = Bench::established();
    let data = pattern(0, 3000);
    bench.send(&data);
    bench.out();
    super::with_env!(bench.memory, bench.now, |env| bench.tcb.on_icmp(
        env,
        IcmpError::TooBig { mss: 600 },
        OURS
    ));
    let sent = bench.out();
    assert_eq!(sent[0].repr.seq, OURS);
    assert!(sent.iter().all(|s| s.payload.len() <= 600));
    assert_eq!(
        sent.iter()
            .flat_map(|s| s.payload.clone())
            .collect::<Vec<_>>(),
        data
    );
    assert_eq!(bench.tcb.info().adv_mss, 1000);
    bench.finish();
}

#[test]
fn a_timer_called_too_early_does_nothing() {
    let mut bench = Bench::established_delaying();
    bench.send(b"x");
    bench.out();
    bench.ack(PEERS, OURS, b"y");
    let before = bench.tcb.next_timeout();
    assert_eq!(bench.fire(), Events::empty());
    bench.silent();
    assert_eq!(bench.tcb.next_timeout(), before);
    bench.finish();
}
