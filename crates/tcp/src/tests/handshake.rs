//! Opening: active, passive, simultaneous, refused; options (RFC 9293 3.5, 3.10.7.1 to 3.10.7.3).

use super::bench::{Bench, OUR_ISS, OURS, PEER_ISS, PEERS};
use super::pair::{Link, Pair};
use super::{ms, pattern, settings, with_env};
use crate::{Error, Events, IcmpError, Settings, State, Tcb, listen, reset_for};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Timestamps};

#[test]
fn zeroed_memory_is_closed() {
    let mut bench = Bench::new();
    assert_eq!(bench.state(), State::Closed);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    assert!(bench.recv(100).is_empty());
    assert_eq!(bench.send(b"x"), 0);
    assert!(!bench.tcb.at_eof());
    bench.close();
    bench.abort();
    bench.fire();
    bench.silent();
    assert!(bench.memory.used() == 0);
    bench.finish();
}

#[test]
fn active_open() {
    let mut bench = Bench::new();
    bench.connect(&settings(), OUR_ISS);
    assert_eq!(bench.state(), State::SynSent);
    let syn = bench.one();
    assert_eq!(syn.repr.seq, OUR_ISS);
    assert_eq!(syn.repr.flags, Flags::SYN);
    assert_eq!(syn.repr.options.mss, Some(1000));
    assert_eq!(syn.repr.options.window_scale, Some(7));
    assert_eq!(syn.repr.window, 60_000);
    assert!(syn.repr.options.timestamps.is_some());

    let mut syn_ack = bench.repr(PEER_ISS, OURS, Flags::SYN | Flags::ACK);
    syn_ack.window = 300;
    syn_ack.options = Options {
        mss: Some(700),
        window_scale: Some(3),
        timestamps: Some(Timestamps {
            value: 9,
            echo: 10_000,
        }),
        ..Options::default()
    };
    let events = bench.feed(&syn_ack, &[]);
    assert_eq!(
        events,
        Events::CONNECTED | Events::WRITABLE | Events::OUTPUT
    );
    assert_eq!(bench.state(), State::Established);
    let ack = bench.one();
    assert!(ack.is_pure_ack());
    assert_eq!((ack.repr.seq, ack.repr.ack), (OURS, PEERS));
    assert_eq!(ack.repr.window, 60_000 >> 7);
    assert_eq!(ack.repr.options.timestamps.unwrap().echo, 9);
    let info = bench.tcb.info();
    assert_eq!(info.snd_mss, 700 - 12);
    assert_eq!(info.snd_wnd_bytes, 300, "the window of a SYN is not scaled");
    assert_eq!(info.window_scale, Some((3, 7)));
    bench.finish();
}

#[test]
fn passive_open() {
    let peer = Bench::new();
    let mut syn = peer.repr(PEER_ISS, Seq(0), Flags::SYN);
    syn.options = Options {
        mss: Some(500),
        window_scale: Some(20),
        ..Options::default()
    };
    assert_eq!(listen::on_segment(&syn, 0), listen::Disposition::Syn);

    let mut bench = Bench::new();
    with_env!(bench.memory, bench.now, |env| bench.tcb.accept(
        env,
        &settings(),
        &syn,
        OUR_ISS,
        0
    ));
    assert_eq!(bench.state(), State::SynReceived);
    let syn_ack = bench.one();
    assert_eq!(syn_ack.repr.flags, Flags::SYN | Flags::ACK);
    assert_eq!((syn_ack.repr.seq, syn_ack.repr.ack), (OUR_ISS, PEERS));
    assert_eq!((syn_ack.repr.src_port, syn_ack.repr.dst_port), (10, 20));
    assert_eq!(
        syn_ack.repr.options.timestamps, None,
        "the peer did not offer them"
    );
    assert_eq!(syn_ack.repr.options.window_scale, Some(7));

    // A repeated SYN asks for the SYN-ACK again.
    bench.feed(&syn, &[]);
    assert_eq!(bench.one().repr.flags, Flags::SYN | Flags::ACK);

    // The ACK may carry data.
    let events = bench.ack(PEERS, OURS, b"hello");
    assert!(events.contains(Events::CONNECTED | Events::READABLE));
    assert_eq!(bench.state(), State::Established);
    assert_eq!(bench.recv(10), b"hello");
    let info = bench.tcb.info();
    assert_eq!(info.snd_mss, 500);
    assert_eq!(
        info.window_scale,
        Some((14, 7)),
        "a shift count above 14 counts as 14"
    );
    assert_eq!(info.snd_wnd_bytes, 65_000 << 14);
    bench.finish();
}

#[test]
fn text_on_the_syn_ack_is_taken() {
    let mut bench = Bench::syn_sent(&settings());
    let events = bench.segment(PEER_ISS, OURS, Flags::SYN | Flags::ACK, b"banner");
    assert!(events.contains(Events::CONNECTED | Events::READABLE));
    assert_eq!(bench.one().repr.ack, PEERS + 6);
    assert_eq!(bench.recv(10), b"banner");
    bench.finish();
}

#[test]
fn simultaneous_open() {
    let mut pair = Pair::new(1, Link::CLEAN, settings());
    pair.connect(0);
    pair.connect(1);
    assert_eq!(pair.states(), [State::SynSent, State::SynSent]);
    pair.run_until(|pair| pair.states() == [State::SynReceived, State::SynReceived]);
    pair.run_until(|pair| pair.states() == [State::Established, State::Established]);
    assert!(pair.now < ms(1100), "without any timeout");
    assert_eq!(
        pair.ends[0].tcb.info().snd_wnd_bytes,
        60_000,
        "a SYN's window is not scaled"
    );
    let data = pattern(0, 5000);
    pair.send(0, &data);
    pair.run_until(|pair| pair.ends[1].tcb.recv_len() == 5000);
    pair.recv(1, 5000);
    assert_eq!(pair.ends[1].received, data);
    pair.finish();
}

#[test]
fn simultaneous_open_survives_loss_of_the_syn_acks() {
    let mut pair = Pair::new(1, Link::CLEAN, settings());
    let mut left = 2;
    pair.lose = Some(Box::new(move |_, repr, _| {
        let lost = left > 0 && repr.flags == Flags::SYN | Flags::ACK;
        left -= i32::from(lost);
        lost
    }));
    pair.connect(0);
    pair.connect(1);
    pair.run_until(|pair| pair.states() == [State::Established, State::Established]);
    pair.finish();
}

#[test]
fn refused() {
    let mut bench = Bench::syn_sent(&settings());
    // A RST that acknowledges nothing of ours is not believed (RFC 9293 3.10.7.3).
    assert_eq!(
        bench.segment(Seq(0), Seq(0), Flags::RST, &[]),
        Events::empty()
    );
    assert_eq!(
        bench.segment(Seq(0), OUR_ISS, Flags::RST | Flags::ACK, &[]),
        Events::empty()
    );
    assert_eq!(bench.state(), State::SynSent);
    let events = bench.segment(Seq(0), OURS, Flags::RST | Flags::ACK, &[]);
    assert_eq!(events, Events::REFUSED | Events::CLOSED);
    assert_eq!(bench.tcb.error(), Some(Error::Refused));
    assert_eq!(bench.tcb.error(), None, "taken");
    bench.silent();
    bench.finish();
}

#[test]
fn a_wrong_acknowledgement_of_the_syn_is_reset() {
    let mut bench = Bench::syn_sent(&settings());
    bench.segment(PEER_ISS, OURS + 5, Flags::SYN | Flags::ACK, &[]);
    let reset = bench.one();
    assert_eq!((reset.repr.flags, reset.repr.seq), (Flags::RST, OURS + 5));
    assert_eq!(bench.state(), State::SynSent);
    bench.finish();
}

#[test]
fn syn_is_repeated_with_backoff_and_given_up() {
    let mut bench = Bench::syn_sent(&settings());
    let start = bench.now;
    let mut times = Vec::new();
    while bench.state() == State::SynSent {
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        for sent in bench.out() {
            assert_eq!((sent.repr.flags, sent.repr.seq), (Flags::SYN, OUR_ISS));
            times.push((bench.now - start).as_millis() / 1000);
        }
    }
    assert_eq!(times, [1, 3, 7, 15, 31, 63]);
    assert_eq!((bench.now - start).as_millis() / 1000, 127);
    assert!(bench.events.contains(Events::TIMED_OUT | Events::CLOSED));
    assert_eq!(bench.tcb.error(), Some(Error::TimedOut));
    bench.finish();
}

#[test]
fn icmp_ends_an_attempt_but_not_a_connection() {
    for (error, expected) in [
        (IcmpError::PortUnreachable, Error::Refused),
        (IcmpError::HostUnreachable, Error::HostUnreachable),
        (IcmpError::NetUnreachable, Error::NetUnreachable),
        (IcmpError::ProtocolUnreachable, Error::ProtocolUnreachable),
    ] {
        let mut bench = Bench::syn_sent(&settings());
        let icmp = |bench: &mut Bench, seq| {
            with_env!(bench.memory, bench.now, |env| bench
                .tcb
                .on_icmp(env, error, seq))
        };
        assert_eq!(
            icmp(&mut bench, OUR_ISS + 1),
            Events::empty(),
            "not in flight"
        );
        assert!(icmp(&mut bench, OUR_ISS).contains(Events::REFUSED | Events::CLOSED));
        assert_eq!(bench.tcb.error(), Some(expected));
        bench.finish();

        let mut bench = Bench::established();
        bench.send(b"x");
        bench.out();
        assert_eq!(icmp(&mut bench, OURS), Events::empty());
        assert_eq!(bench.state(), State::Established);
        bench.wait(Nanos::from_secs(3000));
        assert_eq!(
            bench.tcb.error(),
            Some(expected),
            "reported when it times out"
        );
        bench.finish();
    }
}

#[test]
fn options_set_before_connect_are_kept() {
    let mut bench = Bench::new();
    bench.tcb.set_nodelay(true);
    bench.tcb.set_keepalive(true, bench.now);
    bench.tcb.set_user_timeout(5000);
    bench.connect(&settings(), OUR_ISS);
    assert!(bench.tcb.nodelay() && bench.tcb.keepalive());
    assert_eq!(bench.tcb.user_timeout(), 5000);
    bench.wait(Nanos::from_secs(10));
    assert_eq!(
        bench.state(),
        State::Closed,
        "the user timeout holds for the SYN, too"
    );
    bench.finish();
}

#[test]
fn close_before_the_handshake_is_done() {
    let mut bench = Bench::syn_sent(&settings());
    assert!(bench.close().contains(Events::CLOSED));
    bench.silent();
    bench.finish();

    // A passive connection sends its FIN once it is established.
    let mut bench = Bench::new();
    let syn = bench.repr(PEER_ISS, Seq(0), Flags::SYN);
    with_env!(bench.memory, bench.now, |env| bench.tcb.accept(
        env,
        &settings(),
        &syn,
        OUR_ISS,
        0
    ));
    bench.out();
    bench.close();
    bench.ack(PEERS, OURS, &[]);
    assert_eq!(bench.state(), State::FinWait1);
    assert_eq!(bench.one().repr.flags, Flags::FIN | Flags::ACK);
    bench.finish();
}

#[test]
fn reset_in_syn_received() {
    let mut bench = Bench::new();
    let syn = bench.repr(PEER_ISS, Seq(0), Flags::SYN);
    with_env!(bench.memory, bench.now, |env| bench.tcb.accept(
        env,
        &settings(),
        &syn,
        OUR_ISS,
        0
    ));
    bench.out();
    // An acknowledgement of something never sent: RST with its number (3.10.7.4, fifth).
    bench.ack(PEERS, OURS + 9, &[]);
    let reset = bench.one();
    assert_eq!((reset.repr.flags, reset.repr.seq), (Flags::RST, OURS + 9));
    assert_eq!(bench.state(), State::SynReceived);
    assert!(
        bench
            .segment(PEERS, Seq(0), Flags::RST, &[])
            .contains(Events::CLOSED)
    );
    bench.finish();
}

#[test]
fn segments_to_a_listener_and_to_nobody() {
    let bench = Bench::new();
    let make = |flags| bench.repr(Seq(50), Seq(60), flags);
    assert_eq!(
        listen::on_segment(&make(Flags::RST), 0),
        listen::Disposition::Ignore
    );
    assert_eq!(
        listen::on_segment(&make(Flags::RST | Flags::SYN), 0),
        listen::Disposition::Ignore
    );
    assert_eq!(
        listen::on_segment(&make(Flags::FIN), 0),
        listen::Disposition::Ignore
    );
    assert_eq!(
        listen::on_segment(&make(Flags::SYN | Flags::FIN), 0),
        listen::Disposition::Ignore
    );
    let listen::Disposition::Reset(reset) = listen::on_segment(&make(Flags::ACK | Flags::SYN), 0)
    else {
        panic!("an ACK to a listener is reset");
    };
    assert_eq!((reset.seq, reset.flags), (Seq(60), Flags::RST));
    assert_eq!((reset.src_port, reset.dst_port), (10, 20));

    assert_eq!(reset_for(&make(Flags::RST | Flags::ACK), 0), None);
    let reset = reset_for(&make(Flags::SYN), 3).unwrap();
    assert_eq!(
        (reset.seq, reset.ack, reset.flags),
        (Seq(0), Seq(54), Flags::RST | Flags::ACK)
    );
}

#[test]
fn without_window_scale_the_buffer_is_offered_as_far_as_it_goes() {
    let big = Settings {
        rcv_buf_bytes: 1 << 20,
        ..settings()
    };
    let mut bench = Bench::established_with(&Settings {
        window_scale: false,
        ..big
    });
    bench.ack(PEERS, OURS, b"x");
    assert_eq!(bench.one().repr.window, 65_535);
    bench.finish();

    let mut pair = Pair::established(3, Link::CLEAN, big);
    pair.run_for(ms(100));
    assert!(pair.ends[0].tcb.info().rcv_wnd_bytes > 1_000_000);
    pair.finish();
}

#[test]
fn a_silly_mss_is_not_believed() {
    let mut bench = Bench::syn_sent(&settings());
    let mut syn_ack = bench.repr(PEER_ISS, OURS, Flags::SYN | Flags::ACK);
    syn_ack.options.mss = Some(1);
    bench.feed(&syn_ack, &[]);
    assert_eq!(bench.tcb.info().snd_mss, 48);
    bench.finish();
    assert!(size_of::<Tcb>() <= 1088);
}
