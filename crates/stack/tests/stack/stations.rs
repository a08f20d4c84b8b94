//! Stations of a network: those that are forged crowd nobody out, those that move are followed.

use crate::harness::{PORT, at_a, at_b};
use crate::lan::{Lan, MAC_A, MAC_B, Passing, datagram, finish, syn, transport_at};
use sidestep_shm::Nanos;
use sidestep_stack::{Address, Endpoint, Error, HopState, NextHop};
use sidestep_wire::{Mac, ethernet};

/// A hardware address of its own for each number.
fn forged(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x06, 0, a, b, c, d])
}

/// Somebody far away, another for each number.
fn stranger(n: u32) -> Endpoint {
    let [_, b, c, d] = n.to_be_bytes();
    Endpoint::new(Address::from_v4([172, 16 + b, c, d]), 1000)
}

/// All frames of A come from `mac`, and only those to `mac` reach it.
fn moved_to(mac: Mac) -> impl FnMut(Passing) -> Option<Passing> {
    move |mut passing| {
        if passing.from_a {
            passing.frame[6..12].copy_from_slice(&mac.0);
        } else if passing.frame[..6] != mac.0 {
            return None;
        }
        Some(passing)
    }
}

#[test]
fn forged_stations_crowd_nobody_out() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let queries = lan.b.datagram(at_b(53));
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let old = lan.pair(listener, 5000, way);
    let asked = datagram((MAC_B, MAC_A), (at_a(1000), at_b(53)), b"?");
    lan.queues_b[0].0.give(&asked);
    lan.b.poll();
    assert_eq!(lan.b.recv_from(queries, 10).unwrap().0, b"?");
    let sent = lan.a.counters().tcp_tx_segments;

    for n in 0..100_000 {
        let macs = (MAC_B, forged(n));
        let frame = if n % 2 == 0 {
            datagram(macs, (stranger(n), at_b(53)), b"flood")
        } else {
            syn(macs, (stranger(n), at_b(PORT)), n)
        };
        lan.queues_b[0].0.give(&frame);
        if n % 50 == 49 {
            lan.b.poll();
            lan.queues_b[0].0.take();
            while lan.b.recv_from(queries, 10).is_ok() {}
        }
    }
    // The connection noticed nothing, and neither did the one who had asked, unless another took his place in the table
    // of remembered ways.
    for to_b in [true, false] {
        lan.transfer(old, to_b, &[1; 5000], |p| {
            assert!(p.frame.len() > 66 || p.frame[6..12] != MAC_A.0 || p.from_a);
            Some(p)
        });
    }
    assert!(
        lan.a.counters().tcp_tx_segments < sent + 20,
        "nothing was sent twice"
    );

    // A new peer comes from a station that nobody knew.
    lan.advance(Nanos::from_secs(200), moved_or_lost());
    let fresh = Mac([2, 0, 0, 0, 0, 0xcc]);
    let client = lan.a.stream();
    let ends = (at_a(5001), at_b(PORT));
    lan.a
        .with(|s| s.connect(lan.a.now, client, ends, way))
        .unwrap();
    lan.carry(moved_to(fresh));
    let server = lan.b.accept(listener).unwrap().socket;
    lan.transfer((client, server), false, &[2; 5000], moved_to(fresh));
    lan.end(&[old.0, client], &[old.1, server, listener, queries]);
}

/// What is for strangers is lost.
fn moved_or_lost() -> impl FnMut(Passing) -> Option<Passing> {
    |passing| (passing.from_a || passing.frame[..6] == MAC_A.0).then_some(passing)
}

#[test]
fn neighbours_that_nobody_uses_make_room_after_a_while() {
    let mut lan = Lan::new(1);
    let to_b = lan.to_b();
    let neighbour = |n: u32| NextHop {
        neighbour: stranger(n).addr,
        ..to_b
    };
    let asked: Vec<_> = (0..5000)
        .map(|n| lan.a.with(|s| s.hop(&neighbour(n))))
        .collect();
    let known = asked.iter().filter(|hop| hop.is_ok()).count();
    assert!((2000..=4096).contains(&known), "{known} of 4096 places");
    assert!(asked.contains(&Err(Error::TableFull)));
    // A connection keeps its hop; the others go.
    let used = neighbour(0);
    let way = lan.way(&used);
    let client = lan.a.stream();
    let ends = (at_a(5000), stranger(0));
    lan.a
        .with(|s| s.connect(lan.a.now, client, ends, way))
        .unwrap();
    lan.a.now = lan.a.now + Nanos::from_secs(61);
    lan.b.now = lan.a.now;
    lan.a.poll();
    for n in 5000..6000 {
        assert!(
            lan.a.with(|s| s.hop(&neighbour(n))).is_ok(),
            "neighbour {n}"
        );
    }
    assert_eq!(
        lan.a.with(|s| s.hop(&used)),
        Ok((way.hop, HopState::Reachable))
    );
    // Whoever kept the name of one that is gone reaches nobody, not somebody else.
    let gone = asked[1].unwrap().0;
    let late = lan.a.datagram(at_a(2000));
    let told = lan.a.with(|s| {
        let ends = (at_a(2000), stranger(1));
        let way = sidestep_stack::Way { hop: gone, ..way };
        s.connect_datagram(late, Some((stranger(1), way))).unwrap();
        s.send_to(lan.a.now, late, ends, way, &[b"lost"[..].into()])
    });
    assert_eq!(told, Ok(4));
    lan.queues_a[0].0.take();
    assert_eq!(lan.a.counters().udp_tx_datagrams, 0);
    lan.a
        .with(|s| s.tcb(client).unwrap().set_user_timeout(1000));
    lan.end(&[client, late], &[]);
}

#[test]
fn an_accepted_connection_follows_a_peer_that_moves() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    lan.transfer(ends, true, b"from here", Some);
    let elsewhere = Mac([2, 9, 9, 9, 9, 9]);
    let segments = lan.a.counters().tcp_tx_segments;
    lan.transfer(ends, true, b"from there", moved_to(elsewhere));
    lan.transfer(ends, false, &[3; 50_000], moved_to(elsewhere));
    lan.advance(Nanos::from_millis(300), moved_to(elsewhere));
    let repeated = lan.a.with(|s| s.tcb(ends.0).unwrap().info().retransmits);
    assert_eq!(repeated, 0, "the first segment told: {segments}");

    // Data that was acknowledged to the old place comes again from the new one.
    let third = Mac([2, 7, 7, 7, 7, 7]);
    assert_eq!(lan.a.send(ends.0, b"lost answer"), Ok(11));
    lan.carry(|p| p.from_a.then_some(p));
    assert_eq!(lan.b.recv(ends.1, 100).unwrap(), b"lost answer");
    lan.carry(|_| None);
    lan.advance(Nanos::from_secs(2), moved_to(third));
    assert_eq!(lan.a.with(|s| s.tcb(ends.0).unwrap().send_len()), 0);
    lan.transfer(ends, false, b"found", moved_to(third));
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn who_does_not_know_the_connection_moves_nobody() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    // The right addresses and ports, but numbers that are far off.
    assert_eq!(lan.a.send(ends.0, b"true"), Ok(4));
    let frames = lan.queues_a[0].0.take();
    let at = transport_at(&frames[0]);
    for place in [at + 4, at + 8] {
        let mut forged = frames[0].clone();
        forged[6..12].copy_from_slice(&[6, 6, 6, 6, 6, 6]);
        forged[place] ^= 0x40;
        finish(&mut forged);
        lan.queues_b[0].0.give(&forged);
    }
    lan.b.poll();
    lan.queues_b[0].0.give(&frames[0]);
    lan.carry(|p| {
        assert!(p.from_a || p.frame[..6] == MAC_A.0, "nothing goes astray");
        Some(p)
    });
    assert_eq!(lan.b.recv(ends.1, 100).unwrap(), b"true");
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn frames_to_a_group_are_answered_by_one_station() {
    let mut lan = Lan::new(1);
    let socket = lan.b.datagram(at_b(53));
    let asked = datagram((Mac::BROADCAST, MAC_A), (at_a(1000), at_b(53)), b"who?");
    lan.queues_b[0].0.give(&asked);
    // Of a connection the same way nothing is heard, and of a sender that is no station.
    let listener = lan.b.listener(at_b(PORT), 8);
    let opens = syn((Mac::BROADCAST, MAC_A), (at_a(1001), at_b(PORT)), 1);
    lan.queues_b[0].0.give(&opens);
    let nobody = datagram((MAC_B, Mac::BROADCAST), (at_a(1002), at_b(53)), b"what?");
    lan.queues_b[0].0.give(&nobody);
    lan.b.poll();
    assert_eq!(lan.b.counters().rx_malformed, 1);
    assert_eq!(lan.b.recv_from(socket, 10).unwrap().0, b"who?");
    let way = lan.b.with(|s| s.route_hint(&at_a(1000))).unwrap();
    let ends = (at_b(53), at_a(1000));
    let sent = lan
        .b
        .with(|s| s.send_to(lan.b.now, socket, ends, way, &[b"me"[..].into()]));
    assert_eq!(sent, Ok(2));
    let answers = lan.queues_b[0].0.take();
    assert_eq!(answers.len(), 1);
    let link = ethernet::Repr::parse(&answers[0]).unwrap();
    assert_eq!((link.dst, link.src), (MAC_A, MAC_B));
    lan.end(&[], &[socket, listener]);
}

#[test]
fn a_reset_for_a_station_that_is_lost_is_given_up() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let (client, server) = lan.pair(listener, 5000, way);
    lan.b.send(server, b"unread").unwrap();
    lan.carry(Some);
    lan.a.with(|s| s.set_hop(&to_b, None));
    // What is not read is lost with it, which is told by a reset.
    lan.a.close(client);
    lan.a.assert_as_at_first();
    lan.a.with(|s| s.set_hop(&to_b, Some(MAC_B)));
    lan.end(&[], &[server, listener]);
}
