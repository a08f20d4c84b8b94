//! Wires that end, and what comes over wires that it should not come over.

use crate::harness::{Net, Node, PORT, Tap, at_a, at_b, config};
use sidestep_stack::{Config, ConnectState, Error, Ready, WaitFor};

#[test]
fn a_closed_wire_resets_its_connections_after_what_they_received() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let (ended, far_ended) = net.pair(listener, 5001);
    let opening = net.a.connect((at_a(5002), at_b(PORT)), net.wire_a);
    let datagram = net.a.datagram(at_a(9000));
    net.a
        .with(|s| s.connect_datagram(datagram, Some((at_b(53), net.wire_a))))
        .unwrap();
    let sleeper = net.a.with(|s| {
        let waiter = s.take_waiter(net.a.slot).unwrap();
        s.fall_asleep(waiter, WaitFor::Socket(client, Ready::IN))
            .unwrap();
        s.take_wakes();
        waiter
    });
    // In the ring, when the wire is closed.
    net.b.send(server, b"last words").unwrap();
    net.b.send(far_ended, b"the end").unwrap();
    net.b.close(far_ended);
    net.a.with(|s| s.close_wire(net.wire_a));
    assert_ne!(net.a.take_wakes() & (1 << sleeper), 0);

    assert_eq!(net.a.recv(client, 99), Ok(b"last words".to_vec()));
    assert_eq!(net.a.recv(client, 99), Err(Error::Reset));
    assert_eq!(net.a.recv(ended, 99), Ok(b"the end".to_vec()));
    assert_eq!(net.a.recv(ended, 99), Ok(vec![]), "it had ended before");
    assert_eq!(
        net.a.with(|s| s.connect_state(opening)),
        Err(Error::Refused)
    );
    assert_eq!(net.a.recv_from(datagram, 9).unwrap_err(), Error::Refused);
    assert_eq!(net.a.with(|s| s.wire_to(7)), None);
    assert!(net.a.with(|s| s.report().wires.is_empty()));

    // The entry is free for another wire; nothing goes over the old one.
    let again = net.a.stream();
    let ends = (at_a(5003), at_b(PORT));
    assert_eq!(
        net.a
            .with(|s| s.connect(net.a.now, again, ends, net.wire_a)),
        Err(Error::Unreachable)
    );
    let (_tap, index) = Tap::new(&net.a, 8);
    assert_eq!(index, net.wire_a);
    assert_eq!(net.a.with(|s| s.wire_to(8)), Some(index));

    net.a.with(|s| s.give_waiter(sleeper));
    for r in [client, ended, opening, datagram, again] {
        net.a.close(r);
    }
    net.b.with(|s| s.close_wire(net.wire_b));
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_listener_outlives_the_wires_of_its_children() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    net.b.with(|s| s.close_wire(net.wire_b));
    let accepted = net.b.accept(listener).unwrap();
    assert_eq!(net.b.recv(accepted.socket, 9), Err(Error::Reset));
    net.b.close(accepted.socket);
    assert_eq!(net.b.states(), ["LISTEN"]);
    net.b.close(listener);
    net.a.with(|s| s.close_wire(net.wire_a));
    net.a.close(client);
    net.finish();
}

/// A server with two wires, both in the hands of the test, and a client behind the first of them.
struct Between {
    client: Node,
    server: Node,
    client_wire: u32,
    at_client: Tap,
    right: Tap,
    wrong: Tap,
}

impl Between {
    fn new(config: &Config) -> Self {
        let (client, server) = (Node::new(config), Node::new(config));
        let (at_client, client_wire) = Tap::new(&client, 1);
        let (right, _) = Tap::new(&server, 1);
        let (wrong, _) = Tap::new(&server, 2);
        Self {
            client,
            server,
            client_wire,
            at_client,
            right,
            wrong,
        }
    }

    /// Carries frames between client and server until none comes.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let (up, down) = (self.at_client.take(), self.right.take());
            if up.is_empty() && down.is_empty() {
                return;
            }
            up.iter().for_each(|frame| self.right.give(frame));
            down.iter().for_each(|frame| self.at_client.give(frame));
            self.server.poll();
            self.client.poll();
        }
        panic!("client and server do not come to rest");
    }

    fn finish(mut self) {
        self.settle();
        for node in [&mut self.client, &mut self.server] {
            node.now = node.now + sidestep_shm::Nanos::from_secs(3);
            node.poll();
            node.assert_as_at_first();
        }
    }
}

#[test]
fn a_connection_hears_its_own_wire_only() {
    let mut net = Between::new(&config());
    let listener = net.server.listener(at_b(PORT), 8);
    let client = net
        .client
        .connect((at_a(5000), at_b(PORT)), net.client_wire);
    net.settle();
    let server = net.server.accept(listener).unwrap().socket;

    net.client.send(client, b"secret").unwrap();
    let frames = net.at_client.take();
    assert_eq!(frames.len(), 1);
    // The very frame, over the wrong wire: neither data nor a word in answer reaches the connection.
    net.wrong.give(&frames[0]);
    net.server.poll();
    assert_eq!(net.server.recv(server, 99), Err(Error::WouldBlock));
    assert!(net.right.take().is_empty());
    net.right.give(&frames[0]);
    net.server.poll();
    assert_eq!(net.server.recv(server, 99), Ok(b"secret".to_vec()));
    net.settle();

    // Nor does a reset, which would end it over the right wire.
    net.client.with(|s| s.set_linger(client, Some(0))).unwrap();
    net.client.close(client);
    let reset = net.at_client.take();
    assert_eq!(reset.len(), 1);
    net.wrong.give(&reset[0]);
    net.server.poll();
    assert_eq!(net.server.recv(server, 99), Err(Error::WouldBlock));
    net.right.give(&reset[0]);
    net.server.poll();
    assert_eq!(net.server.recv(server, 99), Err(Error::Reset));
    net.wrong.take();

    net.server.close(server);
    net.server.close(listener);
    net.finish();
}

#[test]
fn a_connection_request_over_another_wire_replaces_nothing() {
    let mut net = Between::new(&config());
    let listener = net.server.listener(at_b(PORT), 8);
    let ends = (at_a(5000), at_b(PORT));
    let client = net.client.connect(ends, net.client_wire);
    let syn = net.at_client.take();
    net.right.give(&syn[0]);
    net.server.poll();
    net.settle();
    let server = net.server.accept(listener).unwrap().socket;
    let before = net.server.usage();
    net.wrong.give(&syn[0]);
    net.server.poll();
    assert!(net.wrong.take().is_empty());
    assert_eq!(net.server.usage(), before);
    assert_eq!(net.server.accept(listener).unwrap_err(), Error::WouldBlock);

    net.client.send(client, b"on it goes").unwrap();
    net.settle();
    assert_eq!(net.server.recv(server, 99), Ok(b"on it goes".to_vec()));
    net.client.close(client);
    net.settle();
    net.server.close(server);
    net.server.close(listener);
    net.finish();
}

#[test]
fn a_corrupted_frame_is_dropped_counted_and_sent_again() {
    let checked = Config {
        checksums: true,
        ..config()
    };
    let mut net = Between::new(&checked);
    let listener = net.server.listener(at_b(PORT), 8);
    let client = net
        .client
        .connect((at_a(5000), at_b(PORT)), net.client_wire);
    net.settle();
    let server = net.server.accept(listener).unwrap().socket;
    let datagrams = net.server.datagram(at_b(53));
    let from = net.client.datagram(at_a(9000));

    net.client.send(client, b"precious").unwrap();
    let frame = net.at_client.take().remove(0);
    // Any bit behind the Ethernet header: of IP's header, of TCP's, or of the data.
    let mut bad = 0;
    for at in [14 + 8, 14 + 15, 14 + 20 + 5, frame.len() - 1] {
        let mut broken = frame.clone();
        broken[at] ^= 0x10;
        net.right.give(&broken);
        net.server.poll();
        bad += 1;
        assert_eq!(net.server.counters().rx_checksum_bad, bad, "byte {at}");
        assert_eq!(net.server.recv(server, 99), Err(Error::WouldBlock));
    }
    net.client
        .send_to(from, (at_a(9000), at_b(53)), net.client_wire, b"datagram")
        .unwrap();
    let mut broken = net.at_client.take().remove(0);
    *broken.last_mut().unwrap() ^= 1;
    net.right.give(&broken);
    net.server.poll();
    assert_eq!(net.server.counters().rx_checksum_bad, bad + 1);
    assert_eq!(
        net.server.recv_from(datagrams, 9).unwrap_err(),
        Error::WouldBlock
    );

    // Nobody acknowledged it, so it comes again.
    let due = net.client.with(|s| s.next_timer());
    net.client.now = due + sidestep_shm::Nanos::from_millis(3);
    net.server.now = net.client.now;
    net.client.poll();
    net.settle();
    assert_eq!(net.server.recv(server, 99), Ok(b"precious".to_vec()));

    net.client.close(client);
    net.client.close(from);
    net.settle();
    net.server.close(server);
    net.server.close(datagrams);
    net.server.close(listener);
    net.finish();
}

#[test]
fn nonsense_is_counted_and_hurts_nobody() {
    let mut net = Between::new(&config());
    let listener = net.server.listener(at_b(PORT), 8);
    let client = net
        .client
        .connect((at_a(5000), at_b(PORT)), net.client_wire);
    let syn = net.at_client.take().remove(0);
    let mut expected = 0;
    for len in 1..syn.len() {
        net.right.give(&syn[..len]);
        net.server.poll();
        expected += 1;
    }
    let mut other = syn.clone();
    // Another protocol: ARP, then OSPF in IP.
    (other[12], other[13]) = (0x08, 0x06);
    net.right.give(&other);
    expected += 1;
    net.server.poll();
    let counters = net.server.counters();
    assert_eq!(counters.rx_frames, expected);
    assert_eq!(
        counters.rx_malformed + counters.rx_other_protocol + counters.rx_checksum_bad,
        expected
    );
    assert_eq!(net.server.states(), ["LISTEN"]);
    assert!(net.right.take().is_empty());

    net.right.give(&syn);
    net.server.poll();
    net.settle();
    assert_eq!(
        net.client.with(|s| s.connect_state(client)),
        Ok(ConnectState::Connected)
    );
    net.client.close(client);
    net.settle();
    let accepted = net.server.accept(listener).unwrap();
    net.server.close(accepted.socket);
    net.server.close(listener);
    net.finish();
}
