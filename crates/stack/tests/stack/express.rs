//! The short ways of plain segments: taken when they may be, and only then.

use crate::harness::{Net, Node, PORT, at_a, at_b};
use sidestep_shm::Nanos;
use sidestep_stack::{Datagram, Endpoint, Error, Result, SocketRef};

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

/// Sends a datagram at once, if that may be.
fn aimed(node: &Node, r: SocketRef, target: Option<Endpoint>, bytes: &[u8]) -> Option<usize> {
    node.with(|s| s.send_to_at_once(node.now, r, target, bytes.into()))
}

/// Receives with a look at the wires.
fn look(node: &Node, r: SocketRef, room: usize) -> Result<(Vec<u8>, Datagram)> {
    let mut bytes = vec![0; room];
    let datagram = node.with(|s| {
        let mut parts = [(&mut bytes[..]).into()];
        s.recv_from_new(node.now, r, &mut parts, false)
    })?;
    bytes.truncate(datagram.copied);
    Ok((bytes, datagram))
}

/// A socket at each end; two datagrams have gone from A to B.
fn aimed_pair(net: &Net) -> (SocketRef, SocketRef) {
    let (here, there) = (net.a.datagram(at_a(5000)), net.b.datagram(at_b(53)));
    for _ in 0..2 {
        assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"x"), None);
        let ends = (at_a(5000), at_b(53));
        assert_eq!(net.a.send_to(here, ends, net.wire_a, b"x"), Ok(1));
        assert_eq!(look(&net.b, there, 9).unwrap().0, b"x");
    }
    (here, there)
}

#[test]
fn datagrams_go_the_short_way_and_are_read_without_a_stop() {
    let net = Net::new();
    let (here, there) = aimed_pair(&net);
    let chunks = net.b.usage().chunks;
    for len in [0, 1, 32, 250] {
        let message: Vec<u8> = (0..len).collect();
        assert_eq!(
            aimed(&net.a, here, Some(at_b(53)), &message),
            Some(message.len())
        );
        let (bytes, datagram) = look(&net.b, there, 2000).unwrap();
        assert_eq!((bytes, datagram.len), (message, usize::from(len)));
        assert_eq!(
            (datagram.source, datagram.target),
            (at_a(5000), at_b(53).addr)
        );
        assert_eq!(net.b.usage().chunks, chunks, "it went to the reader");
    }
    // One call takes one datagram, and what it has no room for is dropped.
    for message in [&b"first"[..], b"second", b"third"] {
        assert!(aimed(&net.a, here, Some(at_b(53)), message).is_some());
    }
    let (bytes, cut) = look(&net.b, there, 3).unwrap();
    assert_eq!((&bytes[..], cut.len), (&b"fir"[..], 5));
    assert_eq!(look(&net.b, there, 9).unwrap().0, b"second");
    assert_eq!(look(&net.b, there, 9).unwrap().0, b"third");
    assert_eq!(look(&net.b, there, 9).unwrap_err(), Error::WouldBlock);
    assert_eq!(net.b.counters().udp_rx_datagrams, 9);
    assert_eq!(net.a.counters().udp_tx_datagrams, 9);
    net.a.close(here);
    net.b.close(there);
    net.finish();
}

#[test]
fn a_datagram_for_another_goes_to_the_other() {
    let net = Net::new();
    let (here, there) = aimed_pair(&net);
    // Elsewhere, without a target, or too long: the long way's.
    assert_eq!(aimed(&net.a, here, Some(at_b(54)), b"x"), None);
    assert_eq!(aimed(&net.a, here, None, b"x"), None);
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), &[0; 65_508]), None);
    // A socket that fits better is found from the moment it is there, and no more when it is gone.
    let better = net.b.datagram(at_b(53));
    net.b
        .with(|s| s.connect_datagram(better, Some((at_a(5000), net.wire_b))))
        .unwrap();
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"better"), Some(6));
    assert_eq!(look(&net.b, there, 9).unwrap_err(), Error::WouldBlock);
    assert_eq!(look(&net.b, better, 9).unwrap().0, b"better");
    net.b.close(better);
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"back"), Some(4));
    assert_eq!(look(&net.b, there, 9).unwrap().0, b"back");
    // Nobody is there any more: the one who sends hears of it, and asks anew where to.
    net.b.close(there);
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"lost"), Some(4));
    net.settle();
    assert_eq!(net.b.counters().udp_rx_no_socket, 1);
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"x"), None);
    net.a.close(here);
    net.finish();
}

#[test]
fn what_changes_a_socket_ends_its_short_way() {
    let net = Net::new();
    let (here, there) = aimed_pair(&net);
    let peer = Some(at_b(53));
    let ends = (at_a(5000), at_b(53));
    let again = || {
        for _ in 0..2 {
            assert_eq!(net.a.send_to(here, ends, net.wire_a, b"x"), Ok(1));
            assert_eq!(look(&net.b, there, 9).unwrap().0, b"x");
        }
        assert_eq!(aimed(&net.a, here, peer, b"y"), Some(1));
        assert_eq!(look(&net.b, there, 9).unwrap().0, b"y");
    };
    net.a.with(|s| s.set_ip(here, Some(8), Some(3))).unwrap();
    assert_eq!(aimed(&net.a, here, peer, b"x"), None);
    again();
    net.a.with(|s| s.bind(here, at_a(5000))).unwrap();
    assert_eq!(aimed(&net.a, here, peer, b"x"), None);
    again();
    // A connected socket needs no target, and may have another.
    net.a
        .with(|s| s.connect_datagram(here, Some((at_b(53), net.wire_a))))
        .unwrap();
    assert_eq!(aimed(&net.a, here, None, b"x"), None);
    again();
    assert_eq!(aimed(&net.a, here, None, b"z"), Some(1));
    assert_eq!(look(&net.b, there, 9).unwrap().0, b"z");
    net.a
        .with(|s| s.shutdown(net.a.now, here, false, true))
        .unwrap();
    assert_eq!(aimed(&net.a, here, peer, b"x"), None);
    net.a.close(here);
    net.b.close(there);
    net.finish();
}

#[test]
fn a_wire_that_ends_ends_the_short_ways_over_it() {
    let net = Net::new();
    let (here, there) = aimed_pair(&net);
    net.a.with(|s| s.close_wire(net.wire_a));
    assert_eq!(aimed(&net.a, here, Some(at_b(53)), b"x"), None);
    net.a.close(here);
    net.b.close(there);
}
