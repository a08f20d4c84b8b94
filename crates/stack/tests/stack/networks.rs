//! Networks: stations that must be found first, checksums, and answers that go back to where frames came from.

use crate::harness::{Net, Node, PORT, Tap, at_a, at_b, config};
use sidestep_nic::memif::{Geometry, Role, State, wire};
use sidestep_shm::Nanos;
use sidestep_stack::{
    ConnectState, Endpoint, Error, HopState, NetworkSetup, NextHop, Offers, SocketRef, Way,
};
use sidestep_wire::checksum::Check;
use sidestep_wire::{EtherType, Mac, Protocol, checksum, ethernet, ip, udp};
use std::sync::Arc;

const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

/// Two stacks on one network, as shared memory carries it: nobody vouches for checksums.
fn network() -> Net {
    let (a, b) = (Node::new(&config()), Node::new(&config()));
    let geometry = Geometry::default();
    let region = Arc::new(wire::create(&geometry).unwrap());
    let plug = |node: &Node, role, station| {
        node.with(|s| {
            let setup = NetworkSetup {
                id: 9,
                device: 7,
                network: 1,
                station,
                mtu: 1500,
                unfinished_checksums: false,
                port: State::new(role, &geometry).into(),
            };
            let index = s.add_network(setup).unwrap();
            let open = s.unattached_wire().unwrap();
            assert!(open.is_network() && s.wire_to(0).is_none() && s.wire_to(9).is_none());
            let attachment = crate::harness::attachment(&region, &geometry, role);
            s.attach_wire(index, open.generation, attachment);
            index
        })
    };
    let wire_a = plug(&a, Role::Slave, MAC_A);
    let wire_b = plug(&b, Role::Master, MAC_B);
    Net {
        a,
        b,
        wire_a,
        wire_b,
    }
}

/// B, as A's neighbour.
fn to_b(wire: u32) -> NextHop {
    NextHop {
        wire,
        station: MAC_A,
        vlan: 0,
        neighbour: at_b(0).addr,
    }
}

/// The way from A to B, whether its station is known or not.
fn way_to_b(net: &Net) -> Way {
    let (hop, _) = net.a.with(|s| s.hop(&to_b(net.wire_a))).unwrap();
    by(hop, net.wire_a)
}

fn by(hop: u32, wire: u32) -> Way {
    Way {
        hop,
        ..Way::from(wire)
    }
}

fn connect(net: &Net) -> SocketRef {
    let r = net.a.stream();
    let (ends, way) = ((at_a(5000), at_b(PORT)), way_to_b(net));
    net.a.with(|s| s.connect(net.a.now, r, ends, way)).unwrap();
    r
}

fn state(net: &Net, r: SocketRef) -> Result<ConnectState, Error> {
    net.a.with(|s| s.connect_state(r))
}

/// Ends both sides; a connection on a network stays in TIME-WAIT for a minute.
fn end(mut net: Net, a: &[SocketRef], b: &[SocketRef]) {
    for r in a {
        net.a.close(*r);
    }
    for r in b {
        net.b.close(*r);
    }
    net.advance(Nanos::from_secs(61));
    net.finish();
}

#[test]
fn a_connection_waits_until_its_station_is_found() {
    let net = network();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = connect(&net);
    let waiting = net.a.with(|s| s.incomplete_hops().collect::<Vec<_>>());
    assert_eq!(waiting, [to_b(net.wire_a)]);
    net.settle();
    assert_eq!(state(&net, client), Ok(ConnectState::Connecting));
    assert_eq!(net.a.counters().tx_frames, 0, "nobody knows where to");

    net.a.with(|s| s.set_hop(&to_b(net.wire_a), Some(MAC_B)));
    assert_eq!(net.a.counters().tx_frames, 1, "at once");
    net.settle();
    assert_eq!(state(&net, client), Ok(ConnectState::Connected));
    let server = net.b.accept(listener).unwrap().socket;
    for (from, r, to, peer) in [
        (&net.a, client, &net.b, server),
        (&net.b, server, &net.a, client),
    ] {
        assert_eq!(from.send(r, &[7; 5000]), Ok(5000));
        net.settle();
        assert_eq!(to.recv(peer, 9000).unwrap(), [7; 5000]);
    }
    for node in [&net.a, &net.b] {
        assert_eq!(node.counters().rx_checksum_bad, 0);
    }
    end(net, &[client], &[server, listener]);
}

#[test]
fn a_station_that_is_not_found_ends_the_attempt() {
    let net = network();
    let client = connect(&net);
    net.a.with(|s| s.set_hop(&to_b(net.wire_a), None));
    assert_eq!(state(&net, client), Err(Error::Unreachable));
    assert_eq!(net.a.counters().tx_frames, 0);
    // The next one who asks tries anew.
    assert_eq!(
        net.a.with(|s| s.hop(&to_b(net.wire_a))).unwrap().1,
        HopState::Incomplete
    );
    end(net, &[client], &[]);
}

/// What SO_ERROR says at A.
fn error(net: &Net, r: SocketRef) -> Option<Error> {
    net.a.with(|s| s.take_error(r)).unwrap()
}

#[test]
fn a_station_by_which_nobody_answers_is_in_doubt() {
    let mut net = network();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = connect(&net);
    let to = to_b(net.wire_a);
    net.a.with(|s| s.set_hop(&to, Some(MAC_B)));
    net.settle();
    let server = net.b.accept(listener).unwrap().socket;
    assert_eq!(net.a.send(client, b"one"), Ok(3));
    net.settle();
    assert_eq!(net.a.with(|s| s.take_doubts()), Some(vec![]));
    assert_eq!(net.a.send(client, b"two"), Ok(3));
    // Nobody is there to receive it for a while.
    for millis in [300, 600] {
        let later = net.a.now + Nanos::from_millis(millis);
        net.a.with(|s| s.poll(later));
    }
    let doubted = net.a.with(|s| s.take_doubts()).unwrap();
    assert_eq!(doubted, std::slice::from_ref(&to));
    assert_eq!(net.a.with(|s| s.take_doubts()), Some(vec![]));
    net.advance(Nanos::from_secs(5));
    net.a.with(|s| s.take_doubts());
    assert_eq!(net.b.recv(server, 10).unwrap(), b"onetwo");
    net.advance(Nanos::from_secs(60));
    assert_eq!(net.a.with(|s| s.take_doubts()), Some(vec![]));
    end(net, &[client], &[server, listener]);
}

#[test]
fn patience_ends_while_a_station_does_not_answer() {
    let mut net = network();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = connect(&net);
    let to = to_b(net.wire_a);
    net.a.with(|s| s.set_hop(&to, Some(MAC_B)));
    net.settle();
    let server = net.b.accept(listener).unwrap().socket;
    net.a
        .with(|s| s.tcb(client).unwrap().set_user_timeout(5000));
    // Long idle: nothing is waited for, and what the kernel says is nothing to it.
    net.a.with(|s| s.set_hop(&to, None));
    net.advance(Nanos::from_secs(20));
    assert_eq!(error(&net, client), None);
    let sent = net.a.counters().tx_frames;
    assert_eq!(net.a.send(client, b"one"), Ok(3));
    net.advance(Nanos::from_millis(4900));
    assert_eq!(error(&net, client), None);
    assert_eq!(net.a.counters().tx_frames, sent, "nobody knows where to");
    // It answers just in time, and again for a while.
    net.a.with(|s| s.set_hop(&to, Some(MAC_B)));
    net.settle();
    assert_eq!(net.b.recv(server, 10).unwrap(), b"one");
    net.a.with(|s| s.set_hop(&to, None));
    net.advance(Nanos::from_secs(20));
    assert_eq!(net.a.send(client, b"two"), Ok(3));
    net.a.with(|s| s.set_hop(&to, None));
    net.advance(Nanos::from_millis(4900));
    assert_eq!(error(&net, client), None);
    net.advance(Nanos::from_millis(200));
    assert_eq!(error(&net, client), Some(Error::Unreachable));
    end(net, &[client], &[server, listener]);
}

#[test]
fn who_asks_is_told_of_a_station_that_does_not_answer() {
    let net = network();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = connect(&net);
    let to = to_b(net.wire_a);
    net.a.with(|s| s.set_hop(&to, Some(MAC_B)));
    net.settle();
    let server = net.b.accept(listener).unwrap().socket;
    net.a.with(|s| s.set_recverr(client, true, true)).unwrap();
    net.a.with(|s| s.set_hop(&to, None));
    assert_eq!(error(&net, client), None, "nothing was sent");
    assert_eq!(net.a.send(client, b"one"), Ok(3));
    net.a.with(|s| s.set_hop(&to, None));
    assert_eq!(error(&net, client), Some(Error::Unreachable));
    net.a.with(|s| s.set_hop(&to, Some(MAC_B)));
    net.settle();
    assert_eq!(net.b.recv(server, 10).unwrap(), b"one");
    end(net, &[client], &[server, listener]);
}

#[test]
fn a_station_that_moves_is_followed() {
    let net = network();
    let listener = net.b.listener(at_b(PORT), 8);
    let client = connect(&net);
    let tell = |mac| {
        net.a.with(|s| s.set_hop(&to_b(net.wire_a), Some(mac)));
    };
    tell(MAC_B);
    net.settle();
    let server = net.b.accept(listener).unwrap().socket;
    assert_eq!(net.a.send(client, b"one"), Ok(3));
    net.settle();
    let elsewhere = Mac([2, 9, 9, 9, 9, 9]);
    tell(elsewhere);
    assert_eq!(net.a.send(client, b"two"), Ok(3));
    // B learns nothing from what it received; the frame tells whom it was for.
    net.settle();
    assert_eq!(net.b.recv(server, 10).unwrap(), b"onetwo");
    end(net, &[client], &[server, listener]);
}

#[test]
fn frames_carry_stations_and_finished_checksums() {
    let node = Node::new(&config());
    let (mut tap, index) = Tap::network(&node, MAC_A);
    let (hop, known) = node.with(|s| s.hop(&to_b(index))).unwrap();
    assert_eq!(known, HopState::Incomplete);
    let way = by(hop, index);
    let datagram = node.datagram(at_a(1000));
    let send = || {
        node.with(|s| {
            let ends = (at_a(1000), at_b(53));
            s.send_to(node.now, datagram, ends, way, &[b"question"[..].into()])
        })
    };
    assert_eq!(send(), Ok(8), "lost, as on any network");
    assert!(tap.take().is_empty());
    node.with(|s| s.set_hop(&to_b(index), Some(MAC_B)));
    assert_eq!(send(), Ok(8));
    let frames = tap.take();
    let [frame] = &frames[..] else {
        panic!("{} frames", frames.len())
    };
    let link = ethernet::Repr::parse(frame).unwrap();
    assert_eq!((link.dst, link.src), (MAC_B, MAC_A));
    assert_eq!(link.ethertype, EtherType::IPV4);
    let (packet, len) = ip::Repr::parse(&frame[14..], frame.len() - 14, Check::Verify).unwrap();
    assert_eq!((packet.src, packet.dst), (at_a(0).addr, at_b(0).addr));
    let udp = &frame[14 + len..];
    let sum = checksum::pseudo_header(
        packet.src,
        packet.dst,
        17,
        u32::try_from(udp.len()).unwrap(),
    );
    assert_eq!(checksum::finish(checksum::sum(sum, udp)), 0);

    // What comes back with a wrong bit is not for the socket; what comes back right goes back where it came from.
    let answer = |flip: u8| {
        let mut frame = frames[0].clone();
        frame[..6].copy_from_slice(&MAC_A.0);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xcc]);
        let (a, b) = (at_a(0).addr.v4_octets(), at_b(0).addr.v4_octets());
        frame[26..30].copy_from_slice(&b);
        frame[30..34].copy_from_slice(&a);
        // Ports change places: no sum changes.
        let ports: [u8; 4] = frame[34..38].try_into().unwrap();
        frame[34..36].copy_from_slice(&ports[2..]);
        frame[36..38].copy_from_slice(&ports[..2]);
        frame[42] ^= flip;
        frame
    };
    tap.give(&answer(1));
    node.poll();
    assert_eq!(node.counters().rx_checksum_bad, 1);
    assert_eq!(
        node.recv_from(datagram, 100).unwrap_err(),
        Error::WouldBlock
    );
    tap.give(&answer(0));
    node.poll();
    assert_eq!(node.recv_from(datagram, 100).unwrap().0, b"question");
    let back = node.with(|s| s.route_hint(&at_b(53))).unwrap();
    let sent = node.with(|s| {
        let ends: (Endpoint, Endpoint) = (at_a(1000), at_b(53));
        s.send_to(node.now, datagram, ends, back, &[b"again"[..].into()])
    });
    assert_eq!(sent, Ok(5));
    let link = ethernet::Repr::parse(&tap.take()[0]).unwrap();
    assert_eq!((link.dst, link.src), (Mac([2, 0, 0, 0, 0, 0xcc]), MAC_A));
    node.close(datagram);
    node.assert_as_at_first();
}

/// A datagram for port 1000 of A, as a kernel leaves it to a card to finish, and then with that checksum changed.
fn unfinished(wrong: u16) -> Vec<u8> {
    let (source, target) = (at_b(53), at_a(1000));
    let mut frame = vec![0; 14 + 20 + 8];
    let link = ethernet::Repr {
        dst: MAC_A,
        src: MAC_B,
        ethertype: EtherType::IPV4,
    };
    link.emit(&mut frame);
    let packet = ip::Repr {
        src: source.addr,
        dst: target.addr,
        protocol: Protocol::UDP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: 8 + 5,
    };
    packet.emit(&mut frame[14..]);
    udp::Repr {
        src_port: source.port,
        dst_port: target.port,
        payload_len: 5,
        has_checksum: true,
    }
    .emit(&mut frame[34..]);
    let begun = checksum::fold(checksum::pseudo_header(source.addr, target.addr, 17, 13));
    frame[40..42].copy_from_slice(&(begun ^ wrong).to_be_bytes());
    frame.extend(b"hello");
    frame
}

#[test]
fn checksums_that_a_virtual_cable_leaves_unfinished_are_believed() {
    for is_virtual in [true, false] {
        let node = Node::new(&config());
        let (mut tap, _) = if is_virtual {
            Tap::virtual_cable(&node, MAC_A)
        } else {
            Tap::network(&node, MAC_A)
        };
        let datagram = node.datagram(at_a(1000));
        tap.give(&unfinished(0));
        node.poll();
        let got = node.recv_from(datagram, 100).map(|(bytes, _)| bytes);
        assert_eq!(got.is_ok(), is_virtual);
        assert_eq!(node.counters().rx_checksum_bad, u64::from(!is_virtual));
        // One that is neither begun nor finished is wrong in any case.
        tap.give(&unfinished(0x0100));
        node.poll();
        assert_eq!(
            node.recv_from(datagram, 100).unwrap_err(),
            Error::WouldBlock
        );
        assert_eq!(node.counters().rx_checksum_bad, 2 - u64::from(is_virtual));
        node.close(datagram);
    }
}

#[test]
fn a_listener_whose_queue_is_full_answers_with_cookies() {
    let usual = Offers::default();
    cookies_stand_for_connections(usual);
    // What is not offered is neither offered by cookies.
    let (timestamps, window_scale, sack) = (false, false, false);
    cookies_stand_for_connections(Offers {
        timestamps,
        ..usual
    });
    cookies_stand_for_connections(Offers {
        window_scale,
        ..usual
    });
    cookies_stand_for_connections(Offers { sack, ..usual });
}

fn cookies_stand_for_connections(offers: Offers) {
    use crate::lan::Lan;
    let mut lan = Lan::new(1);
    lan.b.with(|s| s.set_offers(offers));
    let listener = lan.b.listener(at_b(PORT), 1);
    let to = lan.to_b();
    let way = lan.way(&to);
    let clients: Vec<_> = (5000..5004)
        .map(|port| {
            let client = lan.a.stream();
            let ends = (at_a(port), at_b(PORT));
            lan.a
                .with(|s| s.connect(lan.a.now, client, ends, way))
                .unwrap();
            client
        })
        .collect();
    lan.carry(Some);
    // Two were kept; the others know nothing of it that they were not.
    assert_eq!(lan.b.counters().tcp_cookies_sent, 2);
    let mut servers = Vec::new();
    while let Ok(accepted) = lan.b.accept(listener) {
        servers.push(accepted);
    }
    for r in &clients {
        let state = lan.a.with(|s| s.connect_state(*r));
        assert_eq!(state, Ok(ConnectState::Connected));
        lan.a.send(*r, b"hello").unwrap();
    }
    lan.carry(Some);
    while let Ok(accepted) = lan.b.accept(listener) {
        servers.push(accepted);
    }
    assert_eq!(lan.b.counters().tcp_cookies_redeemed, 2);
    assert_eq!(servers.len(), 4);
    for accepted in &servers {
        let ours = lan.b.with(|s| s.tcb(accepted.socket).unwrap().info());
        let client = clients[usize::from(accepted.remote.port - 5000)];
        let theirs = lan.a.with(|s| s.tcb(client).unwrap().info());
        let turned = ours.window_scale.map(|(send, receive)| (receive, send));
        assert_eq!(theirs.window_scale, turned);
        assert_eq!(
            (theirs.sack, theirs.timestamps),
            (ours.sack, ours.timestamps)
        );
        assert_eq!(lan.b.recv(accepted.socket, 10).unwrap(), b"hello");
        lan.b.send(accepted.socket, b"and back").unwrap();
    }
    lan.carry(Some);
    for r in clients {
        assert_eq!(lan.a.recv(r, 10).unwrap(), b"and back");
    }
}
