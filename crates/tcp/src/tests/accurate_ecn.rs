//! Accurate ECN (RFC 9768): agreed in the handshake, counted by the receiver, obeyed by the sender.

use super::bench::{Bench, OUR_ISS, OURS, PEER_ISS, PEERS};
use super::{ms, pattern, settings, with_env};
use crate::{Ecn, Settings, ecn_field};
use sidestep_wire::tcp::Flags;

fn set_to(ecn: Ecn) -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ecn,
        ..settings()
    }
}

/// The three bits of a segment.
fn ace(flags: Flags) -> u16 {
    (flags & Flags::ACE).bits() >> 6
}

fn with_ace(flags: Flags, ace: u16) -> Flags {
    flags | Flags::from_bits_retain(ace << 6)
}

/// After a SYN-ACK whose bits say `ace`, and whose packet came with `field`; and what acknowledged it.
fn answered(ace: u16, field: u8) -> (Bench, Flags) {
    let mut bench = Bench::new();
    bench.connect(&set_to(Ecn::AskAccurate), OUR_ISS);
    assert_eq!(bench.one().repr.flags, Flags::SYN | Flags::ACE);
    bench.now = bench.now + ms(20);
    let flags = with_ace(Flags::SYN | Flags::ACK, ace);
    let mut syn_ack = bench.repr(PEER_ISS, OURS, flags);
    syn_ack.options.mss = Some(1000);
    bench.feed(&syn_ack, &[]);
    bench.tcb.on_first_field(field);
    let acknowledged = bench.one().repr.flags;
    (bench, acknowledged)
}

/// A server that was asked with `flags` besides SYN, by a packet with `field`; and the bits of its SYN-ACK.
fn asked(ecn: Ecn, flags: Flags, field: u8) -> (Bench, u16) {
    let mut bench = Bench::new();
    let mut syn = bench.repr(PEER_ISS, OUR_ISS, Flags::SYN | flags);
    syn.options.mss = Some(1000);
    with_env!(bench.memory, bench.now, |env| bench.tcb.accept(
        env,
        &set_to(ecn),
        &syn,
        OUR_ISS,
        0
    ));
    bench.tcb.on_first_field(field);
    let syn_ack = bench.one().repr.flags;
    assert!(syn_ack.contains(Flags::SYN | Flags::ACK));
    (bench, ace(syn_ack))
}

#[test]
fn the_handshake_tells_what_the_syn_looked_like() {
    for (field, told) in [
        (ecn_field::NOT_ECT, 0b010),
        (ecn_field::ECT_1, 0b011),
        (ecn_field::ECT_0, 0b100),
        (ecn_field::CE, 0b110),
    ] {
        assert_eq!(asked(Ecn::AcceptAccurate, Flags::ACE, field).1, told);
        let (_, acknowledged) = answered(0b010, field);
        assert_eq!(ace(acknowledged), told);
    }
}

#[test]
fn whoever_knows_only_the_older_kind_gets_that() {
    let older = Flags::ECE | Flags::CWR;
    assert_eq!(asked(Ecn::AcceptAccurate, older, 0).1, 0b001);
    assert_eq!(asked(Ecn::Accept, Flags::ACE, 0).1, 0b001);
    assert_eq!(asked(Ecn::AskAccurate, Flags::empty(), 0).1, 0);
    assert_eq!(asked(Ecn::Off, Flags::ACE, 0).1, 0);
    let (mut bench, _) = answered(0b001, 0);
    bench.tcb.on_congestion_experienced(PEERS);
    bench.ack(PEERS, OURS, &[1; 10]);
    assert_eq!(ace(bench.one().repr.flags), 0b001, "an echo, not a count");
    for ignorant in [0b000, 0b111] {
        assert!(!answered(ignorant, 0).0.tcb.info().ecn, "{ignorant:b}");
    }
}

#[test]
fn a_syn_asks_twice() {
    let mut bench = Bench::new();
    bench.connect(&set_to(Ecn::AskAccurate), OUR_ISS);
    bench.out();
    assert_eq!(bench.wait(ms(1100))[0].repr.flags, Flags::SYN | Flags::ACE);
    assert_eq!(bench.wait(ms(2100))[0].repr.flags, Flags::SYN);
}

#[test]
fn marked_packets_are_counted() {
    let (mut bench, _) = answered(0b010, 0);
    for (i, told) in [6, 7, 0, 1].into_iter().enumerate() {
        let seq = PEERS + u32::try_from(10 * i).unwrap();
        bench.tcb.on_congestion_experienced(seq);
        bench.ack(seq, OURS, &[1; 10]);
        assert_eq!(ace(bench.one().repr.flags), told, "at once");
    }
    bench.ack(PEERS + 40, OURS, &[1; 10]);
    bench.send(&[1]);
    assert_eq!(ace(bench.out()[0].repr.flags), 1, "unmarked ones are not");
    bench.recv(100);
    bench.finish();
}

#[test]
fn more_marks_reduce_the_window_once_a_round_trip() {
    let (mut bench, _) = answered(0b010, 0);
    bench.send(&pattern(0, 10_000));
    assert!(bench.out().iter().all(|sent| ace(sent.repr.flags) == 5));
    for (end, told) in [(1000, 6), (2000, 0), (3000, 0)] {
        bench.segment(PEERS, OURS + end, with_ace(Flags::ACK, told), &[]);
    }
    let info = bench.tcb.info();
    assert!((4500..=5500).contains(&info.snd_cwnd_bytes), "{info:?}");
    assert_eq!(info.counters.congestion_echoes, 1);
    bench.segment(PEERS, OURS + 10_000, with_ace(Flags::ACK, 0), &[]);
    assert_eq!(bench.tcb.info().counters.congestion_echoes, 1, "no news");
    bench.finish();
}

#[test]
fn an_overtaken_count_is_no_news() {
    let (mut bench, _) = answered(0b010, 0);
    bench.send(&pattern(0, 4000));
    bench.out();
    bench.segment(PEERS, OURS + 2000, with_ace(Flags::ACK, 5), &[]);
    bench.segment(PEERS, OURS + 1000, with_ace(Flags::ACK, 4), &[]);
    bench.segment(PEERS, OURS + 2000, with_ace(Flags::ACK, 4), &[]);
    assert_eq!(bench.tcb.info().counters.congestion_echoes, 0);
    bench.segment(PEERS, OURS + 4000, with_ace(Flags::ACK, 6), &[]);
    assert_eq!(bench.tcb.info().counters.congestion_echoes, 1);
    bench.finish();
}

#[test]
fn nothing_to_be_marked_is_sent_where_marks_are_changed_on_the_way() {
    let ect = |bench: &mut Bench| {
        bench.send(&[1; 10]);
        let transmit = with_env!(bench.memory, bench.now, |env| bench.tcb.poll_transmit(env));
        transmit.unwrap().ect
    };
    assert!(ect(&mut answered(0b010, 0).0));
    for mangled in [0b011, 0b100, 0b110] {
        assert!(!ect(&mut answered(mangled, 0).0), "{mangled:b}");
    }
    for (told, may) in [
        (0b010, true),
        (0b000, false),
        (0b100, false),
        (0b110, false),
    ] {
        let (mut bench, _) = asked(Ecn::AcceptAccurate, Flags::ACE, 0);
        bench.segment(PEERS, OURS, with_ace(Flags::ACK, told), &[]);
        assert_eq!(ect(&mut bench), may, "{told:b}");
        let told = if told == 0b110 { 6 } else { 5 };
        bench.segment(PEERS, OURS + 10, with_ace(Flags::ACK, told), &[]);
        assert_eq!(bench.tcb.info().counters.congestion_echoes, 0);
    }
}
