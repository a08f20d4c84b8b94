//! Writes that are kept apart, and such as let more follow.

use super::bench::{Bench, OURS, PEERS, Sent};
use super::{ms, pattern, settings, with_env};
use crate::{Events, Settings};
use sidestep_wire::tcp::Flags;

fn plain() -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ..settings()
    }
}

fn write_record(bench: &mut Bench, bytes: &[u8]) {
    bench.send(bytes);
    with_env!(bench.memory, bench.now, |env| bench.tcb.end_record(env));
}

/// Lengths, with those that are not pushed below zero.
fn lengths(sent: &[Sent]) -> Vec<i64> {
    let signed = |one: &Sent| {
        let len = i64::try_from(one.payload.len()).unwrap();
        if one.is(Flags::ACK | Flags::PSH) {
            len
        } else {
            -len
        }
    };
    sent.iter().map(signed).collect()
}

#[test]
fn records_are_kept_apart_also_when_they_are_sent_again() {
    let mut bench = Bench::established_sacking(&plain());
    bench.tcb.set_nodelay(true);
    bench.send(&pattern(0, 10_400));
    bench.out();
    // Ten segments are under way. What follows joins what waits, up to the end of the record.
    write_record(&mut bench, &pattern(10_400, 400));
    write_record(&mut bench, &pattern(10_800, 400));
    write_record(&mut bench, &pattern(11_200, 1500));
    bench.send(&pattern(12_700, 300));
    bench.now = bench.now + ms(20);
    bench.sack(10_000, &[]);
    assert_eq!(lengths(&bench.out()), [800, 400, -1000, 500, 300]);
    // All but the last is lost.
    bench.now = bench.now + ms(20);
    bench.sack(10_000, &[(12_700, 13_000)]);
    let mut again = bench.wait(ms(10));
    for acked in [10_800, 11_200, 12_200] {
        bench.now = bench.now + ms(1);
        bench.sack(acked, &[(12_700, 13_000)]);
        again.extend(bench.out());
    }
    assert_eq!(lengths(&again), [800, 400, -1000, 500]);
    bench.now = bench.now + ms(20);
    bench.sack(13_000, &[]);
    bench.silent();
    assert_eq!(bench.memory.used(), 0, "the ends are forgotten");
    bench.send(b"plain again");
    assert_eq!(lengths(&bench.out()), [11]);
    bench.finish();
}

#[test]
fn records_of_a_connection_that_ends_are_forgotten() {
    let mut bench = Bench::established_sacking(&plain());
    write_record(&mut bench, b"never acknowledged");
    bench.out();
    bench.abort();
    bench.out();
    bench.finish();
}

#[test]
fn acknowledgements_are_told_where_they_are_watched() {
    let mut bench = Bench::established();
    bench.send(b"unseen");
    bench.out();
    let events = bench.ack(PEERS, OURS + 6, &[]);
    assert!(!events.contains(Events::ACKNOWLEDGED));
    bench.tcb.watch_acknowledgements(true);
    bench.send(b"seen");
    assert_eq!(bench.tcb.written_to(), OURS + 10);
    assert_eq!(bench.tcb.sent_to(), (OURS + 6, OURS + 6));
    bench.out();
    assert_eq!(bench.tcb.sent_to(), (OURS + 10, OURS + 6));
    let events = bench.ack(PEERS, OURS + 10, &[]);
    assert!(events.contains(Events::ACKNOWLEDGED));
    bench.finish();
}

#[test]
fn an_acknowledgement_releases_what_more_was_to_follow() {
    let mut bench = Bench::established();
    bench.tcb.set_nodelay(true);
    bench.send_more(&pattern(0, 2100), false);
    assert_eq!(bench.out().len(), 2);
    bench.send_more(b"held", false);
    bench.silent();
    bench.ack(PEERS, OURS + 1000, &[]);
    // Not pushed all the same.
    assert_eq!(lengths(&bench.out()), [-104]);
    // Under a cork it stays.
    bench.tcb.set_cork(true);
    bench.send(b"corked");
    bench.ack(PEERS, OURS + 2104, &[]);
    bench.silent();
    bench.finish();
}
