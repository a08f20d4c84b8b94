//! Data in the SYN.

use super::bench::{Bench, OUR_ISS, OURS, PEER_ISS, PEERS};
use super::{ms, pattern, settings, with_env};
use crate::{Events, FastAnswer, FastFailure, Greeting, IcmpError, Settings, State};
use sidestep_shm::{Foreign, Nanos};
use sidestep_wire::tcp::{FastOpen, Flags, Options, Repr, Timestamps};

fn cookie() -> FastOpen {
    FastOpen::new(b"biscuits").unwrap()
}

/// SYN-SENT by such a greeting; how many bytes were queued.
fn greeting(greeting: Greeting, bytes: &[u8], (mss, whole): (u16, bool)) -> (Bench, usize) {
    let mut bench = Bench::new();
    bench.connect(&settings(), OUR_ISS);
    let queued = with_env!(bench.memory, bench.now, |env| bench.tcb.open_fast(
        env,
        greeting,
        mss,
        &[Foreign::from(bytes)],
        whole
    ));
    (bench, queued)
}

/// SYN-SENT with data in the SYN, all of them queued.
fn opening(bytes: &[u8]) -> Bench {
    let (mut bench, queued) = greeting(Greeting::Data(Some(cookie())), bytes, (0, true));
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
    assert_eq!(bench.tcb.info().fast_failure, None);
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
    // The first one was not lost after all.
    let answer = syn_ack(&bench, 7);
    assert!(bench.feed(&answer, &[]).contains(Events::CONNECTED));
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.send_len(), 0);
    assert!(!bench.tcb.fast_answer().unwrap().lost);
    bench.finish();
}

#[test]
fn a_cookie_is_asked_for_and_learned() {
    let ask = Greeting::Ask {
        experimental: false,
    };
    let (mut bench, queued) = greeting(ask, b"later", (0, false));
    assert_eq!(queued, 0);
    assert_eq!(bench.one().repr.options.fast_open, Some(FastOpen::REQUEST));
    let mut answer = syn_ack(&bench, 0);
    answer.options.fast_open = Some(cookie().in_experiment(true));
    bench.feed(&answer, &[]);
    let learned = FastAnswer {
        mss: 1000,
        cookie: Some(cookie().in_experiment(true)),
        unknown: None,
        lost: false,
    };
    assert_eq!(bench.tcb.fast_answer(), Some(learned));
    let info = bench.tcb.info();
    assert_eq!(info.fast_failure, Some(FastFailure::NoCookie));
    bench.finish();
}

#[test]
fn what_waits_for_the_handshake_leaves_with_its_last_segment() {
    let ask = Greeting::Ask { experimental: true };
    let (mut bench, queued) = greeting(ask, b"later", (0, true));
    assert_eq!(queued, 5);
    let syn = bench.one();
    assert!(syn.payload.is_empty());
    let asked = FastOpen::REQUEST.in_experiment(true);
    assert_eq!(syn.repr.options.fast_open, Some(asked));
    let answer = syn_ack(&bench, 0);
    bench.feed(&answer, &[]);
    assert_eq!(bench.one().payload, b"later");
    // Nobody has said anything of a cookie.
    let answer = bench.tcb.fast_answer().unwrap();
    assert_eq!((answer.cookie, answer.unknown), (None, Some(true)));
    bench.ack(PEERS, OURS + 5, &[]);
    bench.finish();
}

#[test]
fn a_syn_takes_as_much_as_the_server_was_known_to_take() {
    let data = Greeting::Data(Some(cookie()));
    for (mss, room) in [(540, 500), (0, 960), (9000, 960), (30, 0)] {
        let (mut bench, queued) = greeting(data, &pattern(0, 1500), (mss, false));
        assert_eq!(queued, room);
        let syn = bench.one();
        assert_eq!(syn.payload, pattern(0, room));
        assert_eq!(syn.repr.options.fast_open, Some(cookie()));
    }
}

#[test]
fn data_go_without_a_cookie_where_the_server_wants_none() {
    let (mut bench, queued) = greeting(Greeting::Data(None), b"request", (0, false));
    assert_eq!(queued, 7);
    let syn = bench.one();
    assert_eq!(
        (&syn.payload[..], syn.repr.options.fast_open),
        (&b"request"[..], None)
    );
    let mut answer = syn_ack(&bench, 7);
    answer.options.fast_open = Some(cookie());
    bench.feed(&answer, &[]);
    // A cookie that nobody asked for is none.
    assert_eq!(bench.tcb.fast_answer().unwrap().cookie, None);
    assert!(bench.tcb.info().syn_data);
    bench.out();
    bench.finish();
}

#[test]
fn a_held_connection_says_nothing_until_its_first_bytes_come() {
    let mut bench = Bench::new();
    bench.connect(&settings(), OUR_ISS);
    bench.tcb.hold_open();
    assert!(bench.tcb.is_held());
    assert!(bench.out().is_empty());
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    bench.now = bench.now + ms(5000);
    with_env!(bench.memory, bench.now, |env| bench.tcb.open_fast(
        env,
        Greeting::Data(Some(cookie())),
        0,
        &[Foreign::from(&b"request"[..])],
        false
    ));
    assert!(!bench.tcb.is_held());
    assert_eq!(bench.one().payload, b"request");
    bench.now = bench.now + ms(20);
    let answer = syn_ack(&bench, 7);
    bench.feed(&answer, &[]);
    assert_eq!(bench.tcb.info().rtt, ms(20));
    bench.out();
    bench.finish();
}

#[test]
fn what_the_server_takes_in_part_goes_again_as_a_retransmission() {
    let mut bench = opening(&pattern(0, 3000));
    let mut answer = syn_ack(&bench, 100);
    answer.options.mss = Some(500);
    bench.feed(&answer, &[]);
    let info = bench.tcb.info();
    assert!(!info.syn_data && info.syn_delivered);
    assert_eq!(info.fast_failure, Some(FastFailure::NotAcknowledged));
    assert_eq!(info.unacked_bytes, 860);
    let sent = bench.out();
    let ends: Vec<_> = sent.iter().map(|s| (s.repr.seq, s.payload.len())).collect();
    assert_eq!(
        ends[..3],
        [(OURS + 100, 500), (OURS + 600, 360), (OURS + 960, 500)]
    );
    assert_eq!(bench.tcb.info().counters.retransmits, 2);
    // What they took is no loss to the window.
    assert_eq!(bench.tcb.info().snd_ssthresh_bytes, u32::MAX);
    bench.ack(PEERS, OURS + 3000, &[]);
    assert_eq!(bench.tcb.info().unacked_bytes, 0);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    bench.finish();
}

#[test]
fn a_syn_with_data_too_long_for_the_path_goes_again_without() {
    let mut bench = opening(&pattern(0, 900));
    assert_eq!(bench.tcb.syn_text_at(OUR_ISS), 900);
    assert_eq!(bench.tcb.syn_text_at(OURS), 0);
    let events = with_env!(bench.memory, bench.now, |env| bench.tcb.on_icmp(
        env,
        IcmpError::TooBig { mss: 700 },
        OUR_ISS
    ));
    assert!(events.contains(Events::OUTPUT));
    let again = bench.one();
    assert!(again.is(Flags::SYN) && again.payload.is_empty());
    assert_eq!(
        (again.repr.options.mss, again.repr.options.fast_open),
        (Some(700), None)
    );
    let answer = syn_ack(&bench, 0);
    bench.feed(&answer, &[]);
    assert_eq!(bench.tcb.syn_text_at(OUR_ISS), 0);
    let sent = bench.out();
    let lengths: Vec<_> = sent.iter().map(|s| s.payload.len()).collect();
    assert_eq!(lengths, [700, 200]);
    bench.ack(PEERS, OURS + 900, &[]);
    bench.finish();
}

#[test]
fn text_that_only_the_syn_brought_is_pushed_again() {
    let mut bench = opening(&pattern(0, 3000));
    let answer = syn_ack(&bench, 0);
    let text = bench.tcb.syn_text_at(OUR_ISS);
    bench.feed(&answer, &[]);
    let first = &bench.out()[0];
    assert_eq!((first.repr.seq, first.payload.len()), (OURS, text));
    assert!(first.repr.flags.contains(Flags::PSH));
    bench.ack(PEERS, OURS + 3000, &[]);
    bench.finish();
}

#[test]
fn both_ends_may_open_with_data_at_once() {
    let mut bench = opening(b"request");
    let mut theirs = bench.repr(PEER_ISS, OURS, Flags::SYN);
    theirs.ack = sidestep_wire::Seq(0);
    theirs.options.mss = Some(1000);
    theirs.options.sack_permitted = true;
    bench.feed(&theirs, b"their request");
    let answer = bench.one();
    assert!(answer.is(Flags::SYN | Flags::ACK) && answer.payload.is_empty());
    assert_eq!(
        (answer.repr.ack, answer.repr.options.fast_open),
        (PEERS, None)
    );
    let ours = syn_ack(&bench, 7);
    assert!(bench.feed(&ours, &[]).contains(Events::CONNECTED));
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.send_len(), 0);
    bench.ack(PEERS, OURS + 7, b"their request");
    assert_eq!(bench.recv(100), b"their request");
    bench.finish();
}

#[test]
fn an_answer_to_the_syn_of_another_connection_is_refused() {
    let mut bench = opening(b"request");
    bench.now = bench.now + ms(50);
    let mut answer = syn_ack(&bench, 7);
    let now = bench.tcb.ts_now(bench.now);
    let echo = |echo| Some(Timestamps { value: 1, echo });
    for old in [now.wrapping_sub(51), now.wrapping_add(1)] {
        answer.options.timestamps = echo(old);
        assert_eq!(bench.feed(&answer, &[]), Events::OUTPUT);
        let reset = bench.one();
        assert!(reset.is(Flags::RST));
        assert_eq!(reset.repr.seq, OURS + 7);
    }
    answer.options.timestamps = echo(now.wrapping_sub(50));
    assert!(bench.feed(&answer, &[]).contains(Events::CONNECTED));
    bench.out();
    bench.finish();
}

#[test]
fn timeouts_in_a_row_make_suspicious() {
    let mut bench = opening(b"request");
    let mut suspected = Vec::new();
    for _ in 0..4 {
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        bench.out();
        suspected.push(bench.tcb.take_suspicion());
    }
    assert_eq!(suspected, [false, false, true, false]);
    let answer = syn_ack(&bench, 0);
    bench.feed(&answer, &[]);
    assert!(bench.tcb.fast_answer().unwrap().lost);
    let info = bench.tcb.info();
    assert_eq!(info.fast_failure, Some(FastFailure::Repeated));
    bench.out();
    bench.finish();
}

/// A server's connection by a SYN with data.
fn accepted(bytes: &[u8]) -> Bench {
    let mut bench = Bench::new();
    let syn = Repr {
        options: Options {
            mss: Some(1000),
            window_scale: Some(0),
            ..Options::default()
        },
        ..bench.repr(PEER_ISS, OURS, Flags::SYN)
    };
    let settings = Settings {
        rcv_buf_bytes: 256 << 10,
        rcv_buf_bytes_max: 1 << 20,
        ..settings()
    };
    let events = with_env!(bench.memory, bench.now, |env| bench.tcb.accept_fast(
        env,
        &settings,
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
    assert!(bench.tcb.info().syn_data && !bench.tcb.info().syn_delivered);
    let events = bench.ack(PEERS + 7, OURS + 6, b"more");
    assert!(events.contains(Events::CONFIRMED));
    assert!(bench.tcb.info().syn_delivered);
    assert_eq!(bench.tcb.info().state, State::Established);
    assert_eq!(bench.tcb.info().rtt, ms(30));
    assert_eq!(bench.recv(100), b"more");
    bench.finish();
}

#[test]
fn reading_what_came_with_the_syn_is_no_news_to_the_peer() {
    let mut bench = accepted(b"request");
    assert!(bench.one().is(Flags::SYN | Flags::ACK));
    assert_eq!(bench.recv(100), b"request");
    assert!(bench.out().is_empty());
    bench.ack(PEERS + 7, OURS, &[]);
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
