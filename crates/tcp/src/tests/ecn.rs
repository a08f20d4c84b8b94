//! ECN: agreed in the handshake, echoed by the receiver, obeyed by the sender.

use super::bench::{Bench, OUR_ISS, OURS, PEER_ISS, PEERS};
use super::{ms, pattern, settings};
use crate::{Ecn, Settings};
use sidestep_wire::tcp::Flags;

fn asking() -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ecn: Ecn::Ask,
        ..settings()
    }
}

/// ESTABLISHED, with a peer whose SYN-ACK has those flags besides.
fn answered(flags: Flags) -> Bench {
    let mut bench = Bench::new();
    bench.connect(&asking(), OUR_ISS);
    let asks = Flags::SYN | Flags::ECE | Flags::CWR;
    assert_eq!(bench.one().repr.flags, asks);
    bench.now = bench.now + ms(20);
    let mut syn_ack = bench.repr(PEER_ISS, OURS, Flags::SYN | Flags::ACK | flags);
    syn_ack.options.mss = Some(1000);
    bench.feed(&syn_ack, &[]);
    bench.out();
    bench
}

#[test]
fn both_must_agree() {
    assert!(answered(Flags::ECE).tcb.info().ecn);
    assert!(!answered(Flags::empty()).tcb.info().ecn);
    assert!(
        !answered(Flags::ECE | Flags::CWR).tcb.info().ecn,
        "reflected"
    );
}

#[test]
fn a_repeated_syn_asks_no_more() {
    let mut bench = Bench::new();
    bench.connect(&asking(), OUR_ISS);
    bench.out();
    assert_eq!(bench.wait(ms(1100))[0].repr.flags, Flags::SYN);
}

#[test]
fn congestion_is_echoed_until_the_peer_knows() {
    let mut bench = answered(Flags::ECE);
    bench.tcb.on_congestion_experienced(PEERS);
    bench.ack(PEERS, OURS, &[1; 10]);
    assert!(bench.one().repr.flags.contains(Flags::ECE));
    bench.ack(PEERS + 10, OURS, &[1; 10]);
    assert!(bench.one().repr.flags.contains(Flags::ECE), "still");
    bench.segment(PEERS + 20, OURS, Flags::ACK | Flags::CWR, &[1; 10]);
    assert!(!bench.one().repr.flags.contains(Flags::ECE));
    bench.recv(100);
    bench.finish();
}

#[test]
fn an_echo_halves_the_window_once_a_round_trip() {
    let mut bench = answered(Flags::ECE);
    bench.send(&pattern(0, 10_000));
    bench.out();
    for end in [1000, 2000, 3000] {
        bench.segment(PEERS, OURS + end, Flags::ACK | Flags::ECE, &[]);
    }
    let info = bench.tcb.info();
    // The first acknowledgement still grew the window, or not: half of what was in flight.
    assert!((4500..=5500).contains(&info.snd_cwnd_bytes), "{info:?}");
    assert_eq!(info.counters.retransmits, 0);
    bench.send(&pattern(0, 20_000));
    bench.segment(PEERS, OURS + 8000, Flags::ACK, &[]);
    let sent = bench.out();
    let knows = |flags: Flags| flags.contains(Flags::CWR);
    assert!(knows(sent[0].repr.flags) && !knows(sent[1].repr.flags));
    bench.finish();
}
