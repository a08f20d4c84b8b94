//! Data in the SYN.

use super::bench::{Bench, OUR_ISS, OURS, PEER_ISS, PEERS};
use super::{ms, pattern, settings, with_env};
use crate::{Events, State};
use sidestep_shm::{Foreign, Nanos};
use sidestep_wire::tcp::{FastOpen, Flags, Options, Repr};

fn cookie() -> FastOpen {
    FastOpen::new(b"biscuits").unwrap()
}

/// SYN-SENT with data in the SYN, which is taken.
fn opening(bytes: &[u8]) -> Bench {
    let mut bench = Bench::new();
    bench.connect(&settings(), OUR_ISS);
    let queued = with_env!(bench.memory, bench.now, |env| bench.tcb.open_fast(
        env,
        Some(&cookie()),
        &[Foreign::from(bytes)]
    ));
    assert_eq!(queued, bytes.len());
    let syn = bench.one();
    assert!(syn.is(Flags::SYN));
    assert_eq!(syn.repr.options.fast_open, Some(cookie()));
    assert_eq!(syn.payload, bytes[..bytes.len().min(960)]);
    bench
}

fn syn_ack(bench: &Bench, taken: u32) -> Repr {
    let mut repr = bench.repr(PEER_ISS, OURS + taken, Flags::SYN | Flags::ACK);
    repr.options.mss = Some(1000);
    repr
}

#[test]
fn what_the_server_takes_of_the_syn_is_not_sent_again() {
    let mut bench = opening(&pattern(0, 1500));
    let answer = syn_ack(&bench, 960);
    assert!(bench.feed(&answer, b"hi").contains(Events::CONNECTED));
    let sent = bench.out();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(
        (sent[0].repr.seq, sent[0].repr.ack),
        (OURS + 960, PEERS + 2)
    );
    assert_eq!(sent[0].payload, pattern(960, 540));
    assert!(bench.tcb.info().syn_data);
    bench.ack(PEERS + 2, OURS + 1500, &[]);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    assert_eq!(bench.recv(10), b"hi");
    bench.finish();
}

#[test]
fn what_the_server_does_not_take_follows_the_handshake() {
    let mut bench = opening(b"request");
    let answer = syn_ack(&bench, 0);
    bench.feed(&answer, &[]);
    let sent = bench.one();
    assert_eq!((sent.repr.seq, &sent.payload[..]), (OURS, &b"request"[..]));
    assert!(!bench.tcb.info().syn_data);
    bench.ack(PEERS, OURS + 7, &[]);
    assert_eq!(bench.tcb.send_len(), 0);
    bench.finish();
}

#[test]
fn a_repeated_syn_is_as_any_other() {
    let mut bench = opening(b"request");
    bench.now = bench.tcb.next_timeout();
    bench.fire();
    let again = bench.one();
    assert!(again.is(Flags::SYN) && again.payload.is_empty());
    assert_eq!(again.repr.options.fast_open, None);
    assert!(bench.tcb.fast_open_failed());
    // The first one was not lost after all.
    let answer = syn_ack(&bench, 7);
    assert!(bench.feed(&answer, &[]).contains(Events::CONNECTED));
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.send_len(), 0);
    bench.finish();
}

#[test]
fn a_cookie_is_asked_for_and_learned() {
    let mut bench = Bench::new();
    bench.connect(&settings(), OUR_ISS);
    with_env!(bench.memory, bench.now, |env| bench.tcb.open_fast(
        env,
        None,
        &[Foreign::from(&b"later"[..])]
    ));
    assert_eq!(bench.one().repr.options.fast_open, Some(FastOpen::REQUEST));
    let mut answer = syn_ack(&bench, 0);
    answer.options.fast_open = Some(cookie());
    bench.feed(&answer, &[]);
    assert_eq!(bench.tcb.learned_cookie(), Some(cookie()));
    bench.finish();
}

/// A server's connection by a SYN with data.
fn accepted(bytes: &[u8]) -> Bench {
    let mut bench = Bench::new();
    let syn = Repr {
        options: Options {
            mss: Some(1000),
            ..Options::default()
        },
        ..bench.repr(PEER_ISS, OURS, Flags::SYN)
    };
    let events = with_env!(bench.memory, bench.now, |env| bench.tcb.accept_fast(
        env,
        &settings(),
        (&syn, OUR_ISS),
        0,
        Foreign::from(bytes)
    ));
    assert!(events.contains(Events::CONNECTED | Events::READABLE | Events::OUTPUT));
    bench
}

#[test]
fn a_server_answers_before_the_handshake_is_complete() {
    let mut bench = accepted(b"request");
    assert_eq!(bench.recv(100), b"request");
    assert_eq!(bench.send(b"answer"), 6);
    let sent = bench.out();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].is(Flags::SYN | Flags::ACK));
    assert_eq!((sent[0].repr.seq, sent[0].repr.ack), (OUR_ISS, PEERS + 7));
    assert_eq!(
        (sent[1].repr.seq, &sent[1].payload[..]),
        (OURS, &b"answer"[..])
    );
    assert_eq!(bench.tcb.info().state, State::SynReceived);
    bench.now = bench.now + ms(30);
    bench.ack(PEERS + 7, OURS + 6, b"more");
    assert_eq!(bench.tcb.info().state, State::Established);
    assert_eq!(bench.tcb.info().rtt, ms(30));
    assert_eq!(bench.recv(100), b"more");
    bench.finish();
}

#[test]
fn its_syn_ack_is_repeated_until_the_peer_speaks() {
    let mut bench = accepted(b"request");
    assert!(bench.one().is(Flags::SYN | Flags::ACK));
    for _ in 0..2 {
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        let again = bench.one();
        assert!(again.is(Flags::SYN | Flags::ACK));
        assert_eq!((again.repr.seq, again.repr.ack), (OUR_ISS, PEERS + 7));
    }
    // The peer has not had it and says so.
    let syn = bench.repr(PEER_ISS, OURS, Flags::SYN);
    bench.feed(&syn, b"request");
    assert!(bench.one().is(Flags::SYN | Flags::ACK));
    bench.ack(PEERS + 7, OURS, &[]);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    assert_eq!(bench.recv(100), b"request");
    bench.finish();
}

#[test]
fn a_peer_that_never_speaks_is_given_up() {
    let mut bench = accepted(b"request");
    bench.wait(Nanos::from_secs(600));
    assert_eq!(bench.state(), State::Closed);
    bench.finish();
}
