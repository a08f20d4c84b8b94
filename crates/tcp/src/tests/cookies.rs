//! Connections that begin by a cookie.

use super::bench::{Bench, PEER_ISS};
use super::{ms, pattern, settings, with_env};
use crate::{Ecn, Settings, State, cookies};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};

fn syn() -> Repr {
    Repr {
        src_port: 20,
        dst_port: 10,
        seq: PEER_ISS,
        flags: Flags::SYN | Flags::ECE | Flags::CWR,
        window: 60_000,
        options: Options {
            mss: Some(1460),
            window_scale: Some(9),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: 7000,
                echo: 0,
            }),
            ..Options::default()
        },
        ..Repr::default()
    }
}

/// A code that depends on what it is of.
fn mac(head: u32) -> u32 {
    (head + 77).wrapping_mul(0x9e37_79b9)
}

/// The acknowledgement of a SYN-ACK.
fn ack_of(answer: &Repr) -> Repr {
    Repr {
        src_port: 20,
        dst_port: 10,
        seq: answer.ack,
        ack: answer.seq + 1,
        flags: Flags::ACK,
        window: 500,
        options: Options {
            timestamps: answer.options.timestamps.map(|ts| Timestamps {
                value: 7001,
                echo: ts.value,
            }),
            ..Options::default()
        },
        ..Repr::default()
    }
}

fn accepting() -> Settings {
    Settings {
        ecn: Ecn::Accept,
        mss: 1460,
        ..settings()
    }
}

#[test]
fn all_that_was_agreed_on_comes_back() {
    let settings = accepting();
    let syn = syn();
    for offset in 0..70 {
        let now = ms(100_000 + offset);
        let answer = cookies::answer(&settings, &syn, now, 55, mac);
        assert_eq!(answer.ack, PEER_ISS + 1);
        assert!(answer.flags.contains(Flags::SYN | Flags::ACK | Flags::ECE));
        let stamp = answer.options.timestamps.unwrap();
        assert_eq!(stamp.echo, 7000);
        let behind = (100_000 + 55 + u32::try_from(offset).unwrap()).wrapping_sub(stamp.value);
        assert!(behind < 64, "a clock that is late at most: {behind}");
        let found = cookies::redeem(&ack_of(&answer), now + ms(80), mac).unwrap();
        assert_eq!(found.seq, syn.seq);
        assert_eq!(found.options.mss, Some(1460));
        assert_eq!(found.options.window_scale, Some(9));
        assert!(found.options.sack_permitted);
        assert!(found.flags.contains(Flags::SYN | Flags::ECE | Flags::CWR));
    }
}

#[test]
fn without_timestamps_only_the_segment_size_is_remembered() {
    let mut syn = syn();
    syn.options.timestamps = None;
    for (mss, kept) in [(1459, 1440), (9000, 8960), (100, 536), (1220, 1220)] {
        syn.options.mss = Some(mss);
        let answer = cookies::answer(&accepting(), &syn, ms(1), 0, mac);
        let offered = answer.options;
        assert!(!offered.sack_permitted && offered.window_scale.is_none());
        let found = cookies::redeem(&ack_of(&answer), ms(2), mac).unwrap();
        assert_eq!(found.options.mss, Some(kept));
        assert!(!found.options.sack_permitted && found.options.window_scale.is_none());
    }
}

#[test]
fn old_and_forged_cookies_are_none() {
    let now = Nanos::from_secs(1000);
    let answer = cookies::answer(&accepting(), &syn(), now, 0, mac);
    let ack = ack_of(&answer);
    let redeem = |ack: &Repr, after_s: u64| {
        cookies::redeem(ack, now + Nanos::from_secs(after_s), mac).is_some()
    };
    assert!(redeem(&ack, 0) && redeem(&ack, 60));
    assert!(!redeem(&ack, 180));
    for bit in 0..32 {
        let mut forged = ack;
        forged.ack.0 = (forged.ack - 1).0 ^ (1 << bit);
        forged.ack += 1;
        assert!(!redeem(&forged, 0), "bit {bit}");
    }
    let reset = Repr {
        flags: Flags::RST | Flags::ACK,
        ..ack
    };
    assert!(!redeem(&reset, 0));
}

#[test]
fn the_connection_is_as_any_other() {
    let settings = accepting();
    let mut bench = Bench::new();
    let answer = cookies::answer(&settings, &syn(), bench.now, 3, mac);
    let ack = ack_of(&answer);
    let found = cookies::redeem(&ack, bench.now, mac).unwrap();
    with_env!(bench.memory, bench.now, |env| bench.tcb.accept_by_cookie(
        env,
        &settings,
        (&found, ack.ack - 1),
        3
    ));
    assert_eq!(bench.state(), State::SynReceived);
    bench.silent();
    bench.feed(&ack, &pattern(0, 100));
    assert_eq!(bench.state(), State::Established);
    assert_eq!(bench.recv(200), pattern(0, 100));
    let info = bench.tcb.info();
    assert!(info.sack && info.timestamps && info.ecn);
    assert_eq!(info.snd_wnd_bytes, 500 << 9);
    bench.out();
    bench.send(b"hello");
    let sent = bench.one();
    assert_eq!((sent.repr.seq, sent.repr.ack), (ack.ack, ack.seq + 100));
    bench.finish();
}
