//! The ends of connections: resets, TIME-WAIT, and ports that are used again.

use crate::harness::{Net, PORT, at_a, at_b};
use sidestep_shm::Nanos;
use sidestep_stack::{Error, Ready};

#[test]
fn unread_bytes_make_a_close_a_reset() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.send(client, b"never read").unwrap();
    net.settle();
    net.b.close(server);
    net.settle();
    let ready = net.a.with(|s| s.ready(client)).unwrap();
    assert!(ready.contains(Ready::ERR | Ready::HUP | Ready::IN));
    assert_eq!(net.a.recv(client, 1), Err(Error::Reset));
    assert_eq!(net.a.recv(client, 1), Ok(vec![]), "an error is told once");
    assert_eq!(net.a.counters().tcp_resets_received, 1);
    net.a.close(client);
    net.b.close(listener);
    net.finish();
}

#[test]
fn lingering_for_no_time_is_a_reset() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.with(|s| s.set_linger(client, Some(0))).unwrap();
    net.a.close(client);
    net.settle();
    assert_eq!(net.b.recv(server, 1), Err(Error::Reset));
    net.a.assert_as_at_first();
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let bytes = vec![3; 50_000];
    assert_eq!(net.a.send(client, &bytes), Ok(bytes.len()));
    net.a.close(client);
    net.settle();
    assert_eq!(net.b.recv(server, 60_000), Ok(bytes));
    assert_eq!(net.b.recv(server, 60_000), Ok(vec![]));
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn time_wait_ends_by_itself() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.close(client);
    net.settle();
    net.b.close(server);
    net.settle();
    assert_eq!(net.a.states(), ["TIME-WAIT"]);
    assert_eq!(net.b.states(), ["LISTEN"]);
    assert!(!net.a.with(|s| s.has_flow(&at_a(5000), &at_b(PORT))));
    net.advance(Nanos::from_millis(900));
    assert_eq!(net.a.states(), ["TIME-WAIT"]);
    net.advance(Nanos::from_millis(200));
    assert!(net.a.states().is_empty());
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_port_in_time_wait_connects_again() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    for round in 0..5 {
        // A newer timestamp is what tells a new connection from an old segment (RFC 6191).
        net.advance(Nanos::from_millis(2));
        let (client, server) = net.pair(listener, 5000);
        assert!(net.a.with(|s| s.has_flow(&at_a(5000), &at_b(PORT))));
        net.b.send(server, &[round]).unwrap();
        net.settle();
        assert_eq!(net.a.recv(client, 9), Ok(vec![round]));
        // Both ends have their turn in TIME-WAIT.
        if round % 2 == 0 {
            net.a.close(client);
            net.settle();
            net.b.close(server);
            net.settle();
            assert_eq!(net.a.states(), ["TIME-WAIT"]);
        } else {
            net.b.close(server);
            net.settle();
            net.a.close(client);
            net.settle();
            assert_eq!(net.b.states(), ["LISTEN", "TIME-WAIT"]);
        }
    }
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_connection_in_use_is_not_replaced() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let second = net.a.stream();
    let ends = (at_a(5000), at_b(PORT));
    assert_eq!(
        net.a
            .with(|s| s.connect(net.a.now, second, ends, net.wire_a)),
        Err(Error::AddressInUse)
    );
    assert_eq!(
        net.a
            .with(|s| s.connect(net.a.now, client, ends, net.wire_a)),
        Err(Error::IsConnected)
    );
    net.a.close(second);
    net.a.send(client, b"still here").unwrap();
    net.settle();
    assert_eq!(net.b.recv(server, 99), Ok(b"still here".to_vec()));
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn an_orphan_waits_for_its_peer_no_longer_than_a_minute() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    net.a.close(client);
    net.settle();
    assert_eq!(net.a.states(), ["FIN-WAIT-2"]);
    net.advance(Nanos::from_secs(59));
    assert_eq!(net.a.states(), ["FIN-WAIT-2"]);
    net.advance(Nanos::from_secs(2));
    assert!(net.a.states().is_empty());
    assert_eq!(net.b.recv(server, 1), Ok(vec![]));
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}
