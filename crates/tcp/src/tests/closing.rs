//! Closing: every way through the states, aborts, orphans, TIME-WAIT (RFC 9293 3.6, RFC 6191).

use super::bench::{Bench, OURS, PEERS};
use super::pair::{Link, Pair};
use super::{ms, pattern, settings};
use crate::{Error, Events, Reuse, State};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Timestamps};

const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);

#[test]
fn active_close() {
    let mut bench = Bench::established();
    bench.close();
    assert_eq!(bench.state(), State::FinWait1);
    let fin = bench.one();
    assert_eq!((fin.repr.flags, fin.repr.seq), (FIN_ACK, OURS));
    assert!(bench.ack(PEERS, OURS + 1, &[]).contains(Events::DRAINED));
    assert_eq!(bench.state(), State::FinWait2);
    let events = bench.segment(PEERS, OURS + 1, FIN_ACK, &[]);
    assert!(events.contains(Events::PEER_CLOSED | Events::TIME_WAIT));
    assert_eq!(bench.state(), State::TimeWait);
    assert_eq!(bench.one().repr.ack, PEERS + 1);

    // The FIN again: acknowledged again, and TIME-WAIT starts over.
    bench.now = bench.now + Nanos::from_secs(50);
    bench.segment(PEERS, OURS + 1, FIN_ACK, &[]);
    assert!(bench.one().is_pure_ack());
    bench.wait(Nanos::from_secs(59));
    assert_eq!(bench.state(), State::TimeWait);
    bench.wait(Nanos::from_secs(2));
    assert_eq!(bench.state(), State::Closed);
    assert!(bench.events.contains(Events::CLOSED));
    assert_eq!(bench.tcb.error(), None);
    bench.finish();
}

#[test]
fn passive_close() {
    let mut bench = Bench::established();
    let events = bench.segment(PEERS, OURS, FIN_ACK, b"bye");
    assert!(events.contains(Events::READABLE | Events::PEER_CLOSED));
    assert_eq!(bench.state(), State::CloseWait);
    assert_eq!(bench.one().repr.ack, PEERS + 4);
    assert!(!bench.tcb.at_eof());
    assert_eq!(bench.recv(10), b"bye");
    assert!(bench.tcb.at_eof());
    // Half-closed: we may still send.
    assert_eq!(bench.send(b"more"), 4);
    assert_eq!(bench.one().payload, b"more");
    bench.close();
    assert_eq!(bench.state(), State::LastAck);
    assert_eq!(bench.one().repr.flags, FIN_ACK);
    bench.ack(PEERS + 4, OURS + 4, &[]);
    assert_eq!(bench.state(), State::LastAck);
    let events = bench.ack(PEERS + 4, OURS + 5, &[]);
    assert!(events.contains(Events::CLOSED | Events::DRAINED));
    bench.finish();
}

#[test]
fn a_fin_that_overtook_text_counts_when_the_text_comes() {
    let mut bench = Bench::established();
    bench.segment(PEERS + 4, OURS, FIN_ACK, &[]);
    assert_eq!(bench.one().repr.ack, PEERS);
    assert_eq!(bench.state(), State::Established);
    let events = bench.ack(PEERS, OURS, b"last");
    assert!(events.contains(Events::READABLE | Events::PEER_CLOSED));
    assert_eq!(bench.state(), State::CloseWait);
    assert_eq!(bench.one().repr.ack, PEERS + 5);
    assert_eq!(bench.recv(10), b"last");
    assert!(bench.tcb.at_eof());
    bench.abort();
    bench.out();
    bench.finish();
}

#[test]
fn simultaneous_close() {
    let mut bench = Bench::established();
    bench.close();
    bench.out();
    bench.segment(PEERS, OURS, FIN_ACK, &[]);
    assert_eq!(bench.state(), State::Closing);
    assert_eq!(bench.one().repr.ack, PEERS + 1);
    let events = bench.ack(PEERS + 1, OURS + 1, &[]);
    assert!(events.contains(Events::TIME_WAIT));
    assert_eq!(bench.state(), State::TimeWait);
    bench.finish();

    let mut pair = Pair::established(1, Link::CLEAN, settings());
    pair.close(0);
    pair.close(1);
    pair.run_until(|pair| pair.states() == [State::TimeWait, State::TimeWait]);
    pair.run_until(|pair| pair.states() == [State::Closed, State::Closed]);
    pair.finish();
}

#[test]
fn fin_that_acknowledges_ours_goes_straight_to_time_wait() {
    let mut bench = Bench::established();
    bench.close();
    bench.out();
    bench.segment(PEERS, OURS + 1, FIN_ACK, &[]);
    assert_eq!(bench.state(), State::TimeWait);
    bench.finish();
}

#[test]
fn fin_waits_for_the_queue_and_rides_on_its_last_segment() {
    let mut bench = Bench::established();
    let data = pattern(0, 2500);
    bench.send(&data);
    bench.close();
    let sent = bench.out();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[2].repr.flags, FIN_ACK | Flags::PSH);
    assert_eq!(sent[2].payload, data[2000..]);
    bench.ack(PEERS, OURS + 2500, &[]);
    assert_eq!(bench.state(), State::FinWait1);
    bench.ack(PEERS, OURS + 2501, &[]);
    assert_eq!(bench.state(), State::FinWait2);
    bench.finish();
}

#[test]
fn lost_fin_is_sent_again() {
    let mut bench = Bench::established();
    bench.close();
    assert_eq!(bench.out().len(), 1);
    let again = bench.wait(ms(500));
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].repr.flags, again[0].repr.seq), (FIN_ACK, OURS));
    bench.ack(PEERS, OURS + 1, &[]);
    assert_eq!(bench.state(), State::FinWait2);
    bench.finish();
}

#[test]
fn half_close_still_receives() {
    let mut bench = Bench::established();
    bench.shutdown();
    assert_eq!(bench.send(b"no"), 0);
    bench.out();
    bench.ack(PEERS, OURS + 1, &[]);
    assert_eq!(bench.state(), State::FinWait2);
    assert!(
        bench
            .ack(PEERS, OURS + 1, b"late")
            .contains(Events::READABLE)
    );
    assert_eq!(bench.recv(10), b"late");
    // No limit on FIN-WAIT-2 while the program holds it.
    bench.wait(Nanos::from_secs(600));
    assert_eq!(bench.state(), State::FinWait2);
    bench.close();
    bench.wait(Nanos::from_secs(61));
    assert_eq!(bench.state(), State::Closed);
    bench.finish();
}

#[test]
fn orphan_in_fin_wait_2_is_given_up_after_a_minute() {
    let mut bench = Bench::established();
    bench.close();
    bench.out();
    bench.ack(PEERS, OURS + 1, &[]);
    bench.wait(Nanos::from_secs(59));
    assert_eq!(bench.state(), State::FinWait2);
    bench.wait(Nanos::from_secs(2));
    assert_eq!(bench.state(), State::Closed);
    bench.finish();
}

#[test]
fn close_with_unread_data_resets() {
    let mut bench = Bench::established();
    bench.ack(PEERS, OURS, b"unread");
    bench.out();
    assert!(bench.close().contains(Events::CLOSED | Events::OUTPUT));
    let reset = bench.one();
    assert_eq!(
        (reset.repr.flags, reset.repr.seq),
        (Flags::RST | Flags::ACK, OURS)
    );
    assert_eq!(reset.repr.ack, PEERS + 6);
    assert_eq!(bench.memory.used(), 0);
    bench.finish();
}

#[test]
fn data_after_close_is_answered_by_a_reset() {
    let mut bench = Bench::established();
    bench.close();
    bench.out();
    bench.ack(PEERS, OURS + 1, &[]);
    let events = bench.ack(PEERS, OURS + 1, b"anybody there?");
    assert!(events.contains(Events::CLOSED));
    let reset = bench.one();
    assert!(reset.repr.flags.contains(Flags::RST));
    assert_eq!(reset.repr.seq, OURS + 1);
    bench.finish();
}

#[test]
fn abort_resets_only_where_the_peer_counts_on_the_connection() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 3000));
    bench.out();
    assert!(bench.abort().contains(Events::CLOSED));
    assert_eq!(bench.memory.used(), 0);
    let reset = bench.one();
    assert_eq!(
        (reset.repr.flags, reset.repr.seq),
        (Flags::RST | Flags::ACK, OURS + 3000)
    );
    bench.finish();

    let mut bench = Bench::syn_sent(&settings());
    bench.abort();
    bench.silent();
    bench.finish();
}

#[test]
fn data_received_before_a_reset_can_be_read() {
    let mut bench = Bench::established();
    bench.ack(PEERS, OURS, b"last words");
    bench.ack(PEERS + 15, OURS, b"behind a hole");
    let events = bench.segment(PEERS + 10, OURS, Flags::RST, &[]);
    assert!(events.contains(Events::RESET | Events::CLOSED));
    assert_eq!(bench.recv(100), b"last words");
    assert!(!bench.tcb.at_eof());
    assert_eq!(bench.tcb.error(), Some(Error::Reset));
    bench.finish();
}

#[test]
fn reset_after_the_peers_fin_is_a_broken_pipe() {
    let mut bench = Bench::established();
    bench.segment(PEERS, OURS, FIN_ACK, &[]);
    bench.segment(PEERS + 1, OURS, Flags::RST, &[]);
    assert_eq!(bench.tcb.error(), Some(Error::BrokenPipe));
    assert!(bench.tcb.at_eof());
    bench.finish();
}

#[test]
fn data_stays_readable_when_the_connection_ends_in_order() {
    let mut bench = Bench::established();
    bench.segment(PEERS, OURS, FIN_ACK, b"unread");
    bench.shutdown();
    bench.out();
    bench.ack(PEERS + 7, OURS + 1, &[]);
    assert_eq!(bench.state(), State::Closed);
    assert_eq!(bench.recv(100), b"unread");
    assert!(bench.tcb.at_eof());
    bench.finish();
}

#[test]
fn segments_to_a_closed_connection_are_reset() {
    let mut bench = Bench::established();
    bench.segment(PEERS, OURS, FIN_ACK, b"unread");
    bench.shutdown();
    bench.out();
    bench.ack(PEERS + 7, OURS + 1, &[]);
    bench.out();
    bench.ack(PEERS + 7, OURS + 1, &[]);
    let reset = bench.one();
    assert_eq!((reset.repr.flags, reset.repr.seq), (Flags::RST, OURS + 1));
    bench.segment(PEERS + 7, Seq(0), Flags::SYN, &[]);
    let reset = bench.one();
    assert_eq!(reset.repr.flags, Flags::RST | Flags::ACK);
    assert_eq!((reset.repr.seq, reset.repr.ack), (Seq(0), PEERS + 8));
    assert!(bench.tcb.recv_len() == 6 && bench.tcb.peer_closed());
    bench.finish();
}

#[test]
fn time_wait_gives_way_to_a_newer_syn_only() {
    let mut bench = Bench::established();
    let fresh = bench.repr(PEERS + 100, Seq(0), Flags::SYN);
    assert_eq!(
        bench.tcb.time_wait_reuse(&fresh),
        Reuse::Refuse,
        "not in TIME-WAIT"
    );
    bench.close();
    bench.out();
    bench.segment(PEERS, OURS + 1, FIN_ACK, &[]);
    assert_eq!(bench.state(), State::TimeWait);
    let Reuse::Allow { iss_min } = bench.tcb.time_wait_reuse(&fresh) else {
        panic!("a higher sequence number may open anew");
    };
    assert!(iss_min.gt(OURS + 65_536));
    let old = bench.repr(PEERS, Seq(0), Flags::SYN);
    assert_eq!(bench.tcb.time_wait_reuse(&old), Reuse::Refuse);
    let ack = bench.repr(PEERS + 100, OURS, Flags::SYN | Flags::ACK);
    assert_eq!(bench.tcb.time_wait_reuse(&ack), Reuse::Refuse);
    bench.finish();

    let mut bench = Bench::established_with(&settings());
    bench.close();
    bench.out();
    bench.segment(PEERS, OURS + 1, FIN_ACK, &[]);
    let mut syn = bench.repr(PEERS - 1000, Seq(0), Flags::SYN);
    assert_eq!(
        bench.tcb.time_wait_reuse(&syn),
        Reuse::Refuse,
        "same time, older number"
    );
    syn.options.timestamps = Some(Timestamps {
        value: 7001,
        echo: 0,
    });
    assert!(matches!(
        bench.tcb.time_wait_reuse(&syn),
        Reuse::Allow { .. }
    ));
    syn.options.timestamps = Some(Timestamps {
        value: 6999,
        echo: 0,
    });
    syn.seq = PEERS + 1000;
    assert_eq!(bench.tcb.time_wait_reuse(&syn), Reuse::Refuse, "older time");
    bench.finish();
}

#[test]
fn both_ends_close_in_order_over_a_link() {
    let mut pair = Pair::established(1, Link::CLEAN, settings());
    pair.send(0, &pattern(0, 10_000));
    pair.close(0);
    pair.run_until(|pair| pair.ends[1].tcb.peer_closed());
    pair.recv(1, 20_000);
    assert_eq!(pair.ends[1].received, pattern(0, 10_000));
    assert_eq!(pair.states()[1], State::CloseWait);
    pair.close(1);
    pair.run_until(|pair| pair.states() == [State::TimeWait, State::Closed]);
    pair.run_until(|pair| pair.states()[0] == State::Closed);
    pair.finish();
}
