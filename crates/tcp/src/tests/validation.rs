//! Segments that should not be believed: RFC 5961, PAWS, the window.

use super::bench::{Bench, OURS, PEERS};
use super::{ms, settings};
use crate::{Error, Events, Settings, State};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Timestamps};

#[test]
fn reset_counts_only_at_the_exact_number() {
    let mut bench = Bench::established();
    // In the window, but not next: challenged (RFC 5961 3.2).
    assert_eq!(
        bench.segment(PEERS + 1, OURS, Flags::RST, &[]),
        Events::OUTPUT
    );
    let challenge = bench.one();
    assert!(challenge.is_pure_ack());
    assert_eq!((challenge.repr.seq, challenge.repr.ack), (OURS, PEERS));
    // Outside of it: silently dropped.
    bench.now = bench.now + Nanos::from_secs(1);
    assert_eq!(
        bench.segment(PEERS - 1, OURS, Flags::RST, &[]),
        Events::empty()
    );
    assert_eq!(
        bench.segment(PEERS + 70_000, OURS, Flags::RST, &[]),
        Events::empty()
    );
    assert_eq!(bench.state(), State::Established);
    let events = bench.segment(PEERS, Seq(0), Flags::RST, &[]);
    assert_eq!(events, Events::RESET | Events::CLOSED);
    assert_eq!(bench.tcb.error(), Some(Error::Reset));
    bench.finish();
}

#[test]
fn reset_is_believed_at_a_closed_window() {
    let mut bench = Bench::established();
    let full = vec![1; 60_000];
    for (i, part) in full.chunks(1000).enumerate() {
        bench.ack(PEERS + u32::try_from(i * 1000).unwrap(), OURS, part);
    }
    bench.out();
    assert_eq!(bench.tcb.info().rcv_wnd_bytes, 0);
    assert!(
        bench
            .segment(PEERS + 60_000, OURS, Flags::RST, &[])
            .contains(Events::RESET)
    );
    bench.finish();
}

#[test]
fn syn_in_a_connection_is_challenged_and_limited() {
    let mut bench = Bench::established();
    bench.segment(PEERS + 10, Seq(0), Flags::SYN, &[]);
    assert!(bench.one().is_pure_ack());
    for i in 0..10 {
        bench.segment(PEERS + i, Seq(0), Flags::SYN, &[]);
        bench.silent();
    }
    assert_eq!(bench.tcb.info().counters.challenges_suppressed, 10);
    bench.now = bench.now + ms(501);
    bench.segment(PEERS + 10, Seq(0), Flags::SYN, &[]);
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.state(), State::Established);
    bench.finish();
}

#[test]
fn syn_beyond_the_window_is_limited_by_the_same_rule() {
    let mut bench = Bench::established();
    for far in [0, 1, 2] {
        bench.segment(PEERS + 5_000_000 + far, OURS, Flags::SYN, b"text");
    }
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.info().counters.challenges_suppressed, 2);
    bench.wait(ms(500));
    bench.segment(PEERS - 100, OURS, Flags::SYN, &[]);
    assert!(bench.one().is_pure_ack());
    bench.abort();
    bench.out();
    bench.finish();
}

#[test]
fn acknowledgement_of_the_future_or_the_distant_past_is_challenged() {
    let mut bench = Bench::established();
    bench.ack(PEERS, OURS + 1, b"blind data");
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.recv_len(), 0);
    bench.now = bench.now + Nanos::from_secs(1);
    bench.ack(PEERS, OURS - 70_000, b"blind data");
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.recv_len(), 0);
    // An acknowledgement that is merely old does not spoil the data.
    bench.ack(PEERS, OURS - 1, b"data");
    assert_eq!(bench.recv(100), b"data");
    bench.finish();
}

#[test]
fn without_ack_nothing_is_taken() {
    let mut bench = Bench::established();
    bench.segment(PEERS, OURS, Flags::PSH, b"data");
    bench.silent();
    assert_eq!(bench.tcb.recv_len(), 0);
    bench.finish();
}

#[test]
fn old_data_is_acknowledged_again_at_once() {
    let mut bench = Bench::established_delaying();
    bench.ack(PEERS, OURS, b"0123456789");
    bench.silent();
    bench.ack(PEERS, OURS, b"0123456789");
    assert_eq!(bench.one().repr.ack, PEERS + 10);
    bench.ack(PEERS + 5, OURS, b"56789abcde");
    assert_eq!(bench.one().repr.ack, PEERS + 15);
    assert_eq!(bench.recv(100), b"0123456789abcde");
    bench.finish();
}

#[test]
fn keepalive_probe_is_answered() {
    for payload in [&b""[..], b"x"] {
        let mut bench = Bench::established();
        bench.ack(PEERS - 1, OURS, payload);
        let answer = bench.one();
        assert_eq!((answer.repr.seq, answer.repr.ack), (OURS, PEERS));
        bench.finish();
    }
}

#[test]
fn data_beyond_the_window_is_cut_off() {
    let mut bench = Bench::established_with(&Settings {
        rcv_buf_bytes: 3000,
        timestamps: false,
        window_scale: false,
        ..settings()
    });
    bench.ack(PEERS, OURS, &[7; 5000]);
    let ack = bench.one();
    assert_eq!((ack.repr.ack, ack.repr.window), (PEERS + 3000, 0));
    assert_eq!(bench.recv(9000), [7; 3000]);
    // The reader made room: the peer hears of it.
    assert_eq!(bench.one().repr.window, 3000);
    bench.ack(PEERS + 6000, OURS, b"beyond");
    assert!(bench.one().is_pure_ack());
    assert_eq!(bench.tcb.info().ahead_bytes, 0);
    bench.finish();
}

#[test]
fn paws_drops_the_old_duplicate() {
    let mut bench = Bench::established_with(&settings());
    bench.peer_ts = Some(Timestamps {
        value: 7010,
        echo: 0,
    });
    bench.ack(PEERS, OURS, b"new");
    bench.out();
    // From before: not taken, acknowledged.
    bench.peer_ts = Some(Timestamps {
        value: 7005,
        echo: 0,
    });
    bench.ack(PEERS + 3, OURS, b"old");
    let ack = bench.one();
    assert_eq!(ack.repr.ack, PEERS + 3);
    assert_eq!(ack.repr.options.timestamps.unwrap().echo, 7010);
    assert_eq!(bench.recv(10), b"new");
    // Around the wrap of the clock, later is still later.
    bench.peer_ts = Some(Timestamps {
        value: 7010_u32.wrapping_add(0x7fff_ffff),
        echo: 0,
    });
    bench.ack(PEERS + 3, OURS, b"far");
    assert_eq!(bench.recv(10), b"far");
    // A RST need not have timestamps (RFC 7323 3.2).
    bench.peer_ts = None;
    bench.out();
    assert!(
        bench
            .segment(PEERS + 6, OURS, Flags::RST, &[])
            .contains(Events::RESET)
    );
    bench.finish();
}

#[test]
fn paws_forgets_after_a_long_idle_time() {
    let mut bench = Bench::established_with(&settings());
    bench.now = bench.now + Nanos::from_secs(25 * 24 * 3600);
    bench.peer_ts = Some(Timestamps { value: 1, echo: 0 });
    bench.ack(PEERS, OURS, b"hello again");
    assert_eq!(bench.recv(100), b"hello again");
    // The new time counts from here on.
    assert_eq!(bench.out()[0].repr.options.timestamps.unwrap().echo, 1);
    bench.peer_ts = Some(Timestamps { value: 2, echo: 0 });
    bench.ack(PEERS + 11, OURS, b"and again");
    assert_eq!(bench.recv(100), b"and again");
    bench.finish();
}

#[test]
fn after_a_long_idle_time_what_comes_out_of_order_or_is_forged_does_not_lock_the_peer_out() {
    let mut bench = Bench::established_with(&settings());
    bench.now = bench.now + Nanos::from_secs(25 * 24 * 3600);
    // In the window, but who sent it has not seen our numbers.
    bench.peer_ts = Some(Timestamps {
        value: 7000_u32.wrapping_add(0x9000_0000),
        echo: 0,
    });
    bench.ack(PEERS, OURS + 1000, b"blind");
    bench.peer_ts = Some(Timestamps { value: 1, echo: 0 });
    bench.ack(PEERS + 5, OURS, b"again");
    bench.peer_ts = Some(Timestamps { value: 2, echo: 0 });
    bench.ack(PEERS, OURS, b"hello");
    assert_eq!(bench.recv(100), b"helloagain");
    bench.finish();
}

#[test]
fn timestamp_of_a_segment_ahead_is_not_echoed() {
    let mut bench = Bench::established_with(&settings());
    bench.peer_ts = Some(Timestamps {
        value: 7100,
        echo: 0,
    });
    bench.ack(PEERS + 10, OURS, b"ahead");
    // RFC 7323 4.3: the echo is of what advanced the window last.
    assert_eq!(bench.one().repr.options.timestamps.unwrap().echo, 7000);
    bench.peer_ts = Some(Timestamps {
        value: 7105,
        echo: 0,
    });
    bench.ack(PEERS, OURS, b"0123456789");
    assert_eq!(bench.one().repr.options.timestamps.unwrap().echo, 7105);
    assert_eq!(bench.recv(100), b"0123456789ahead");
    bench.finish();
}

/// Who has filled our window, and lost some of it on the way, acknowledges from the window's end.
#[test]
fn acknowledgements_from_the_windows_end_are_heard() {
    let mut bench = Bench::established();
    bench.send(b"question");
    bench.one();
    let edge = PEERS + bench.tcb.info().rcv_wnd_bytes;
    bench.ack(edge + 1, OURS + 8, &[]);
    assert_eq!(bench.tcb.info().unacked_bytes, 8);
    bench.out();
    bench.ack(edge, OURS + 8, &[]);
    assert_eq!(bench.tcb.info().unacked_bytes, 0);
    bench.silent();
    bench.finish();
}
