//! The short ways of plain segments: taken when they may be, and only then.

use crate::harness::{Net, PORT, at_b};
use sidestep_shm::Nanos;
use sidestep_stack::{Error, SocketRef};

/// Sends at once from A, if that may be.
fn at_once(net: &Net, r: SocketRef, bytes: &[u8]) -> Option<usize> {
    net.a.with(|s| s.send_at_once(net.a.now, r, bytes.into()))
}

/// A connection over which a message has gone each way.
fn used(net: &Net) -> (SocketRef, SocketRef, SocketRef) {
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    for (from, r, to, peer) in [
        (&net.a, client, &net.b, server),
        (&net.b, server, &net.a, client),
    ] {
        assert_eq!(from.send(r, b"hello"), Ok(5));
        net.settle();
        assert_eq!(to.recv(peer, 10).unwrap(), b"hello");
    }
    net.settle();
    (listener, client, server)
}

fn end(net: Net, sockets: (SocketRef, SocketRef, SocketRef)) {
    let (listener, client, server) = sockets;
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_message_leaves_at_once_and_is_read_without_a_stop() {
    let net = Net::new();
    let sockets = used(&net);
    let (_, client, server) = sockets;
    let chunks = net.b.usage().chunks;
    for round in 0..100_u8 {
        let message = [round; 32];
        assert_eq!(at_once(&net, client, &message), Some(32));
        assert_eq!(net.b.recv(server, 100).unwrap(), message);
        assert_eq!(net.b.usage().chunks, chunks, "it went to the reader");
        net.settle();
        // The answer acknowledges; without it the next message might wait for Nagle's algorithm.
        assert_eq!(net.b.send(server, b"yes"), Ok(3));
        assert_eq!(net.a.recv(client, 100).unwrap(), b"yes");
        net.settle();
    }
    end(net, sockets);
}

#[test]
fn what_the_reader_has_no_room_for_waits_in_order() {
    let net = Net::new();
    let sockets = used(&net);
    let (_, client, server) = sockets;
    net.a.with(|s| s.tcb(client).unwrap().set_nodelay(true));
    for part in [&b"abc"[..], b"defgh", b"ij"] {
        assert_eq!(at_once(&net, client, part), Some(part.len()));
    }
    // The first goes to the reader, the second does not fit behind it, and the third must not overtake it.
    assert_eq!(net.b.recv(server, 5).unwrap(), b"abcde");
    assert_eq!(net.b.recv(server, 100).unwrap(), b"fghij");
    assert_eq!(net.b.recv(server, 100), Err(Error::WouldBlock));
    end(net, sockets);
}

#[test]
fn nothing_overtakes_what_waits() {
    let mut net = Net::new();
    let sockets = used(&net);
    let (_, client, server) = sockets;
    // A partial segment is on its way: Nagle's algorithm holds the next one back.
    assert_eq!(at_once(&net, client, b"one"), Some(3));
    assert_eq!(at_once(&net, client, b"two"), None);
    assert_eq!(net.a.send(client, b"two"), Ok(3));
    // Without it too, what is queued goes first.
    net.a.with(|s| s.tcb(client).unwrap().set_cork(true));
    assert_eq!(at_once(&net, client, b"three"), None);
    net.a.with(|s| s.tcb(client).unwrap().set_cork(false));
    net.settle();
    net.advance(Nanos::from_millis(100));
    assert_eq!(net.b.recv(server, 100).unwrap(), b"onetwo");
    end(net, sockets);
}

#[test]
fn a_full_window_takes_the_long_way() {
    let net = Net::new();
    let sockets = used(&net);
    let (_, client, server) = sockets;
    net.a.with(|s| s.tcb(client).unwrap().set_nodelay(true));
    let (mut sent, message) = (0_usize, [7; 2000]);
    // Until the peer's window, ours for sending, the congestion window or the buffers are full.
    while at_once(&net, client, &message).is_some() {
        sent += message.len();
        assert!(sent < 100 << 20, "no window is so large");
        net.settle();
    }
    assert!(sent > 0);
    let mut got = 0;
    while let Ok(bytes) = net.b.recv(server, 4000) {
        assert!(bytes.iter().all(|b| *b == 7));
        got += bytes.len();
        net.settle();
    }
    assert_eq!(got, sent);
    assert_eq!(
        at_once(&net, client, &message),
        Some(2000),
        "there is room again"
    );
    net.settle();
    assert_eq!(net.b.recv(server, 4000).unwrap(), message);
    end(net, sockets);
}

#[test]
fn a_message_sent_at_once_is_sent_again_when_it_is_lost() {
    let mut net = Net::new();
    let sockets = used(&net);
    let (_, client, server) = sockets;
    let before = net.a.counters().tcp_tx_segments;
    assert_eq!(at_once(&net, client, b"again"), Some(5));
    // Nobody looks for longer than the retransmission timeout.
    net.a.now = net.a.now + Nanos::from_secs(2);
    net.a.poll();
    assert!(net.a.counters().tcp_tx_segments >= before + 2);
    net.b.now = net.a.now;
    net.settle();
    assert_eq!(net.b.recv(server, 100).unwrap(), b"again");
    assert_eq!(net.b.recv(server, 100), Err(Error::WouldBlock));
    end(net, sockets);
}

#[test]
fn a_closed_direction_takes_the_long_way_to_its_error() {
    let net = Net::new();
    let sockets = used(&net);
    let (_, client, _) = sockets;
    net.a
        .with(|s| s.shutdown(net.a.now, client, false, true))
        .unwrap();
    assert_eq!(at_once(&net, client, b"late"), None);
    assert_eq!(net.a.send(client, b"late"), Err(Error::Pipe));
    net.settle();
    end(net, sockets);
}
