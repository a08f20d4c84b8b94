//! TCP from connect to the last FIN.

use crate::harness::{Net, PORT, at_a, at_b, config};
use sidestep_shm::Nanos;
use sidestep_stack::{
    Address, Config, ConnectState, Endpoint, Error, Ready, SocketFlags, SocketRef,
};

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251).to_le_bytes()[0]).collect()
}

/// Carries `bytes` from `from` to `to`, as fast as the buffers let it.
fn carry(net: &Net, upwards: bool, from: SocketRef, to: SocketRef, bytes: &[u8]) {
    let (source, sink) = if upwards {
        (&net.a, &net.b)
    } else {
        (&net.b, &net.a)
    };
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..10_000 {
        match source.send(from, &bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) => assert_eq!(error, Error::WouldBlock),
        }
        net.settle();
        match sink.recv(to, 10_000) {
            Ok(more) => got.extend(more),
            Err(error) => assert_eq!(error, Error::WouldBlock),
        }
        if got.len() == bytes.len() {
            assert_eq!(got, bytes);
            return;
        }
    }
    panic!("{} of {} bytes arrived", got.len(), bytes.len());
}

#[test]
fn a_connection_is_opened_used_both_ways_and_closed() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    assert_eq!(net.b.accept(listener).unwrap_err(), Error::WouldBlock);

    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    let state = |r| net.a.with(|s| s.connect_state(r));
    assert_eq!(state(client), Ok(ConnectState::Connecting));
    assert_eq!(net.a.send(client, b"early"), Err(Error::WouldBlock));
    net.settle();
    assert_eq!(state(client), Ok(ConnectState::Connected));
    assert_eq!(net.a.with(|s| s.tell_connected(client)), Ok(true));
    assert_eq!(net.a.with(|s| s.tell_connected(client)), Ok(false));
    assert_eq!(net.b.with(|s| s.acceptable(listener)), Ok(true));
    let accepted = net.b.accept(listener).unwrap();
    assert_eq!((accepted.local, accepted.remote), (at_b(PORT), at_a(5000)));
    let server = accepted.socket;
    assert_eq!(net.a.with(|s| s.stream_peer(client)), Ok(Some(at_b(PORT))));
    assert_eq!(net.b.recv(server, 10), Err(Error::WouldBlock));

    carry(&net, true, client, server, b"ping");
    carry(&net, false, server, client, b"pong");
    carry(&net, true, client, server, &pattern(300_000));
    carry(&net, false, server, client, &pattern(300_000));

    net.a.close(client);
    net.settle();
    assert_eq!(net.b.recv(server, 10), Ok(vec![]), "the end of the stream");
    net.b.close(server);
    net.b.close(listener);
    assert_eq!(net.b.counters().tcp_accepts, 1);
    assert_eq!(net.a.counters().tcp_connects, 1);
    net.finish();
}

#[test]
fn half_a_connection_can_be_closed() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    assert_eq!(net.a.send(client, b"question"), Ok(8));
    net.a
        .with(|s| s.shutdown(net.a.now, client, false, true))
        .unwrap();
    assert_eq!(net.a.send(client, b"more"), Err(Error::Pipe));
    net.settle();
    assert_eq!(net.b.recv(server, 100), Ok(b"question".to_vec()));
    assert_eq!(net.b.recv(server, 100), Ok(vec![]));
    assert!(net.b.with(|s| s.at_end(server)));
    assert!(net.a.with(|s| s.is_drained(client)));

    assert_eq!(net.b.send(server, b"answer"), Ok(6));
    net.settle();
    assert_eq!(net.a.recv(client, 100), Ok(b"answer".to_vec()));
    assert_eq!(net.a.recv(client, 100), Err(Error::WouldBlock));
    net.b.close(server);
    net.settle();
    assert_eq!(net.a.recv(client, 100), Ok(vec![]));
    net.a.close(client);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_side_shut_down_for_reading_still_gives_what_came() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.send(client, b"before").unwrap();
    net.settle();
    net.b
        .with(|s| s.shutdown(net.b.now, server, true, false))
        .unwrap();
    assert_eq!(net.b.recv(server, 99), Ok(b"before".to_vec()));
    assert_eq!(net.b.recv(server, 99), Ok(vec![]), "it does not wait");
    net.a.send(client, b"after").unwrap();
    net.settle();
    assert_eq!(net.b.recv(server, 99), Ok(b"after".to_vec()));
    assert_eq!(net.b.send(server, b"goes on"), Ok(7));
    net.settle();
    assert_eq!(net.a.recv(client, 99), Ok(b"goes on".to_vec()));
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn peeked_bytes_stay() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.send(client, b"abcdef").unwrap();
    net.settle();
    let (mut first, mut second) = ([0; 2], [0; 9]);
    let peeked = net.b.with(|s| {
        let mut parts = [(&mut first[..]).into(), (&mut second[..]).into()];
        s.recv(net.b.now, server, &mut parts, true)
    });
    assert_eq!((peeked, &first, &second[..4]), (Ok(6), b"ab", &b"cdef"[..]));
    assert_eq!(net.b.with(|s| s.recv_len(server)), Ok(6));
    assert_eq!(net.b.recv(server, 4), Ok(b"abcd".to_vec()));
    assert_eq!(net.b.with(|s| s.recv_len(server)), Ok(2));
    assert_eq!(net.b.recv(server, 4), Ok(b"ef".to_vec()));
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_port_without_listener_refuses() {
    let net = Net::new();
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    assert!(
        net.a
            .with(|s| s.ready(client))
            .unwrap()
            .contains(Ready::ERR)
    );
    assert_eq!(net.a.with(|s| s.connect_state(client)), Err(Error::Refused));
    assert_eq!(net.b.counters().tcp_rx_no_socket, 1);
    assert_eq!(net.a.send(client, b"x"), Err(Error::NotConnected));

    // The same socket may try again.
    let listener = net.b.listener(at_b(PORT), 1);
    net.a
        .with(|s| s.connect(net.a.now, client, (at_a(5000), at_b(PORT)), net.wire_a))
        .unwrap();
    net.settle();
    assert_eq!(
        net.a.with(|s| s.connect_state(client)),
        Ok(ConnectState::Connected)
    );
    net.a.close(client);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_full_backlog_makes_clients_wait() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 1);
    let clients: Vec<_> = (5000..5004)
        .map(|port| net.a.connect((at_a(port), at_b(PORT)), net.wire_a))
        .collect();
    net.settle();
    // As in Linux, a backlog of n holds n + 1 connections.
    let connected = |net: &Net| {
        let of =
            |r: &&SocketRef| net.a.with(|s| s.connect_state(**r)) == Ok(ConnectState::Connected);
        clients.iter().filter(of).count()
    };
    assert_eq!(connected(&net), 2);
    assert_eq!(net.b.counters().tcp_backlog_full, 2);

    let first = net.b.accept(listener).unwrap();
    assert_eq!(first.remote, at_a(5000), "the oldest first");
    let second = net.b.accept(listener).unwrap();
    assert_eq!(net.b.accept(listener).unwrap_err(), Error::WouldBlock);
    net.advance(Nanos::from_secs(2));
    assert_eq!(connected(&net), 4, "the others have asked again");
    let third = net.b.accept(listener).unwrap();

    for r in clients {
        net.a.close(r);
    }
    for accepted in [first, second, third] {
        net.b.close(accepted.socket);
    }
    // Takes the one that was never accepted along.
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_listener_that_ends_resets_what_it_did_not_hand_out() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    net.b.close(listener);
    net.settle();
    assert_eq!(net.a.recv(client, 1), Err(Error::Reset));
    assert_eq!(net.b.accept(listener).unwrap_err(), Error::Stale);
    net.a.close(client);
    net.finish();
}

#[test]
fn a_listener_that_is_shut_down_takes_no_more() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    net.b
        .with(|s| s.shutdown(net.b.now, listener, true, false))
        .unwrap();
    net.settle();
    assert_eq!(net.a.recv(client, 1), Err(Error::Reset));
    let late = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    net.settle();
    assert_eq!(net.a.with(|s| s.connect_state(late)), Err(Error::Refused));
    for r in [client, late] {
        net.a.close(r);
    }
    net.b.close(listener);
    net.finish();
}

#[test]
fn connections_over_ipv6() {
    let net = Net::new();
    let here = Endpoint::new(
        "fd00::1"
            .parse::<std::net::Ipv6Addr>()
            .map(from_v6)
            .unwrap(),
        5000,
    );
    let there = Endpoint::new(
        "fd00::2"
            .parse::<std::net::Ipv6Addr>()
            .map(from_v6)
            .unwrap(),
        PORT,
    );
    let any = Endpoint::new(Address::UNSPECIFIED_V6, PORT);
    let listener = net.b.listener(any, 8);
    net.b
        .with(|s| s.set_flags(listener, SocketFlags::INET6, true))
        .unwrap();
    let client = net.a.connect((here, there), net.wire_a);
    net.settle();
    let accepted = net.b.accept(listener).unwrap();
    assert_eq!((accepted.local, accepted.remote), (there, here));
    carry(&net, true, client, accepted.socket, &pattern(100_000));
    carry(&net, false, accepted.socket, client, &pattern(100_000));

    // It serves IPv4 too, until it is told not to.
    let v4 = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    net.settle();
    let accepted_v4 = net.b.accept(listener).unwrap();
    net.b
        .with(|s| s.set_flags(listener, SocketFlags::V6ONLY, true))
        .unwrap();
    let refused = net.a.connect((at_a(5002), at_b(PORT)), net.wire_a);
    net.settle();
    assert_eq!(
        net.a.with(|s| s.connect_state(refused)),
        Err(Error::Refused)
    );
    for r in [client, v4, refused] {
        net.a.close(r);
    }
    for r in [accepted.socket, accepted_v4.socket, listener] {
        net.b.close(r);
    }
    net.finish();
}

const fn from_v6(address: std::net::Ipv6Addr) -> Address {
    Address(address.octets())
}

#[test]
fn the_most_particular_listener_is_chosen() {
    let net = Net::new();
    let any = net
        .b
        .listener(Endpoint::new(Address::UNSPECIFIED_V4, PORT), 8);
    let one = net.b.listener(at_b(PORT), 8);
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    assert_eq!(net.b.with(|s| s.acceptable(any)), Ok(false));
    assert_eq!(net.b.with(|s| s.acceptable(one)), Ok(true));
    net.a.close(client);
    net.b.close(one);
    net.b.close(any);
    net.finish();
}

#[test]
fn checksums_are_computed_and_verified_where_asked_for() {
    let checked = Config {
        checksums: true,
        ..config()
    };
    let net = Net::with(&checked, &checked);
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    carry(&net, true, client, server, &pattern(100_001));
    carry(&net, false, server, client, &pattern(77));
    for counters in [net.a.counters(), net.b.counters()] {
        assert_eq!((counters.rx_checksum_bad, counters.rx_malformed), (0, 0));
    }
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_deferred_connection_is_accepted_with_its_first_byte_or_late() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    net.b.with(|s| s.tcb(listener).unwrap().set_defer_accept(3));
    let eager = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    let silent = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    net.settle();
    assert_eq!(net.b.accept(listener).unwrap_err(), Error::WouldBlock);
    net.a.send(eager, b"now").unwrap();
    net.settle();
    let accepted = net.b.accept(listener).unwrap();
    assert_eq!(accepted.remote, at_a(5000));
    assert_eq!(net.b.recv(accepted.socket, 10).unwrap(), b"now");
    assert_eq!(net.b.accept(listener).unwrap_err(), Error::WouldBlock);
    net.advance(Nanos::from_secs(4));
    let late = net.b.accept(listener).unwrap();
    assert_eq!(late.remote, at_a(5001));
    for r in [eager, silent] {
        net.a.close(r);
    }
    for r in [accepted.socket, late.socket, listener] {
        net.b.close(r);
    }
    net.settle();
    net.advance(Nanos::from_secs(2));
    net.finish();
}

#[test]
fn urgent_data_is_told_of_and_read_by_itself() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.b.with(|s| s.set_owner(server, 77)).unwrap();
    let now = Nanos::from_secs(100);
    let sent = net
        .a
        .with(|s| s.send_urgent(now, client, &[(&b"ab"[..]).into(), (&b"X"[..]).into()]));
    assert_eq!(sent, Ok(3));
    net.b.poll();
    let ready = net.b.with(|s| s.ready(server)).unwrap();
    assert!(ready.contains(Ready::PRI | Ready::IN));
    let (wakes, owners) = net.b.with(|s| (s.take_wakes(), s.take_owners()));
    assert!(sidestep_stack::Stack::has_signals(wakes));
    assert_eq!(owners, [77]);
    assert_eq!(net.b.with(|s| s.recv_urgent(server, false)), Ok(Some(b'X')));
    assert_eq!(net.b.recv(server, 10).unwrap(), b"ab");
    assert_eq!(net.b.with(|s| s.at_mark(server)), Ok(true));
    assert_eq!(net.b.recv(server, 10), Err(Error::WouldBlock));
    let again = net.b.with(|s| s.recv_urgent(server, false));
    assert_eq!(again, Err(Error::WrongKind));
}
