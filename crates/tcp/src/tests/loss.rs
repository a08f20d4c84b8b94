//! Loss: reassembly, fast retransmit and recovery, timeouts, congestion windows.

use super::bench::{Bench, OURS, PEERS};
use super::pair::{Link, Pair};
use super::{Memory, ms, pattern, settings};
use crate::{Phase, State};
use sidestep_shm::CHUNK_BYTES;
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;

fn n(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

#[test]
fn three_duplicates_retransmit_the_first_segment() {
    let mut bench = Bench::established();
    let data = pattern(0, 20_000);
    bench.send(&data);
    assert_eq!(bench.out().len(), 10, "the initial window");
    bench.ack(PEERS, OURS + 1000, &[]);
    assert_eq!(bench.out().len(), 2);
    // Two duplicates: a new segment each (RFC 3042).
    for _ in 0..2 {
        bench.ack(PEERS, OURS + 1000, &[]);
        assert!(bench.one().repr.seq.gt(OURS + 11_000));
    }
    bench.ack(PEERS, OURS + 1000, &[]);
    let again = bench.out();
    assert_eq!(again[0].repr.seq, OURS + 1000);
    assert_eq!(again[0].payload, data[1000..2000]);
    assert_eq!(again.len(), 1);
    let info = bench.tcb.info();
    assert_eq!(info.phase, Phase::Recovery);
    // Of the 13 segments in flight two do not count that limited transmit has added (RFC 5681 3.2).
    assert_eq!(info.snd_ssthresh_bytes, 5500, "half of 11 segments");
    // A partial acknowledgement: the next hole at once.
    bench.ack(PEERS, OURS + 4000, &[]);
    let again = bench.out();
    assert_eq!(again[0].repr.seq, OURS + 4000);
    // All of it: back to normal, with the window halved.
    bench.ack(PEERS, OURS + 14_000, &[]);
    let info = bench.tcb.info();
    assert_eq!(info.phase, Phase::Open);
    assert!(info.snd_cwnd_bytes <= 6500);
    assert_eq!(info.counters.fast_retransmits, 1);
    bench.finish();
}

#[test]
fn what_is_no_duplicate_acknowledgement_is_not_counted() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 5000));
    bench.out();
    for i in 0..5 {
        bench.ack(PEERS + 10 * i, OURS, &[0; 10]);
        bench.peer_window -= 1;
        bench.ack(PEERS + 10 * i + 10, OURS, &[]);
    }
    assert_eq!(bench.tcb.info().phase, Phase::Open);
    assert_eq!(bench.tcb.info().counters.retransmits, 0);
    bench.finish();
}

#[test]
fn duplicates_after_a_timeout_do_not_halve_again() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 10_000));
    bench.out();
    let again = bench.wait(ms(220));
    assert_eq!(again.len(), 1);
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 1000);
    for _ in 0..5 {
        bench.ack(PEERS, OURS, &[]);
    }
    assert_eq!(bench.tcb.info().phase, Phase::Loss);
    bench.silent();
    bench.ack(PEERS, OURS + 1000, &[]);
    assert_eq!(bench.out().len(), 2, "slow start");
    bench.ack(PEERS, OURS + 10_000, &[]);
    assert_eq!(bench.tcb.info().phase, Phase::Open);
    bench.silent();
    bench.finish();
}

#[test]
fn slow_start_doubles_and_avoidance_adds() {
    let mut bench = Bench::established();
    bench.tcb.set_snd_buf(1_000_000);
    let mut flights = Vec::new();
    bench.send(&pattern(0, 500_000));
    for _ in 0..3 {
        let sent = bench.out();
        flights.push(sent.len());
        bench.now = bench.now + ms(10);
        for one in &sent {
            bench.ack(PEERS, one.repr.seq + n(one.payload.len()), &[]);
        }
    }
    assert_eq!(flights, [10, 20, 40]);
    bench.finish();
}

#[test]
fn an_unused_congestion_window_does_not_grow() {
    let mut bench = Bench::established();
    for i in 0..100 {
        bench.send(b"tiny");
        bench.out();
        bench.ack(PEERS, OURS + 4 * (i + 1), &[]);
    }
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 10_000);
    bench.finish();
}

#[test]
fn reassembly_of_overlapping_pieces() {
    let data = pattern(0, 9000);
    // Each case: pieces by offset and length, in order of arrival.
    let cases: &[&[(usize, usize)]] = &[
        &[(100, 100), (300, 100), (150, 200), (0, 100)],
        &[(3000, 3000), (1000, 1000), (500, 8500), (0, 600)],
        &[(8000, 1000), (7000, 1000), (6000, 1000), (0, 6000)],
        &[(1, 1), (3, 1), (5, 1), (2, 3), (0, 1), (6, 8994)],
        &[(10, 20), (10, 20), (15, 5), (5, 40), (0, 5), (45, 8955)],
        &[(4000, 5000), (2000, 4000), (1999, 2), (0, 2000)],
    ];
    for pieces in cases {
        let mut bench = Bench::established();
        for (at, len) in *pieces {
            bench.ack(PEERS + n(*at), OURS, &data[*at..at + len]);
            assert_eq!(bench.out().len(), 1, "each is acknowledged at once");
        }
        let reach = pieces.iter().map(|(at, len)| at + len).max().unwrap();
        assert_eq!(bench.tcb.info().ahead_bytes, 0, "{pieces:?}");
        assert_eq!(bench.recv(20_000), data[..reach], "{pieces:?}");
        assert_eq!(bench.memory.used(), 0);
        bench.finish();
    }
}

#[test]
fn fin_ahead_of_data_waits_for_it() {
    let mut bench = Bench::established();
    bench.segment(PEERS + 10, OURS, Flags::FIN | Flags::ACK, b"end");
    assert_eq!(bench.state(), State::Established);
    // Nothing counts that lies behind the FIN.
    bench.ack(PEERS + 13, OURS, b"garbage");
    bench.ack(PEERS, OURS, b"0123456789");
    assert_eq!(bench.state(), State::CloseWait);
    assert_eq!(bench.recv(100), b"0123456789end");
    assert!(bench.tcb.at_eof());
    bench.finish();
}

#[test]
fn tiny_pieces_do_not_take_the_pool() {
    let mut bench = Bench::established();
    bench.memory = Memory::new(4096);
    for i in 0..20_000 {
        bench.ack(PEERS + 1 + 2 * i, OURS, b"x");
    }
    bench.out();
    let bound = 60_000 / (CHUNK_BYTES / 2) + 16;
    assert!(bench.memory.used() <= n(bound), "{}", bench.memory.used());
    bench.finish();
}

#[test]
fn sequence_numbers_wrap_around() {
    let near = Seq(u32::MAX - 5000);
    let mut pair = Pair::new(
        7,
        Link {
            loss: 20,
            ..Link::CLEAN
        },
        settings(),
    )
    .with_iss(near, Seq(u32::MAX - 1));
    pair.connect(0);
    pair.run_until(|pair| pair.states() == [State::Established; 2]);
    let data = pattern(0, 50_000);
    pair.send(0, &data);
    pair.send(1, &data);
    pair.run_until(|pair| pair.ends.iter().all(|end| end.tcb.recv_len() == 50_000));
    for i in 0..2 {
        pair.recv(i, 50_000);
        assert_eq!(pair.ends[i].received, data);
    }
    pair.finish();
}

#[test]
fn one_lost_segment_costs_no_timeout() {
    let mut pair = Pair::established(1, Link::CLEAN, settings());
    let mut count = 0;
    pair.lose = Some(Box::new(move |from, _, len| {
        count += i32::from(from == 0 && len > 0);
        from == 0 && len > 0 && count == 5
    }));
    let data = pattern(0, 40_000);
    pair.send(0, &data);
    pair.run_until(|pair| pair.ends[1].tcb.recv_len() == 40_000);
    let info = pair.ends[0].tcb.info();
    assert_eq!(
        (info.counters.fast_retransmits, info.counters.timeouts),
        (1, 0)
    );
    assert_eq!(info.counters.retransmits, 1, "{info:?}");
    pair.finish();
}
