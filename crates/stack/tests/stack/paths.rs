//! Paths that carry less than the link: found out by ICMP, believed for a while, and only of those who can know.

use crate::harness::{PORT, at_a, at_b};
use crate::lan::{Lan, MAC_A, MAC_B, Passing, frame};
use sidestep_shm::Nanos;
use sidestep_stack::{Address, Endpoint, Error, Way};
use sidestep_wire::icmp::{ErrorKind, Repr};
use sidestep_wire::{Protocol, icmp4};

/// Bytes of the Ethernet header.
const LINK: usize = 14;

/// A router between A and B, for packets of up to `carries` bytes; it says that it carries `says`, and counts how often.
fn router(carries: usize, says: u32, told: &mut u32) -> impl FnMut(Passing) -> Option<Passing> {
    move |passing| {
        if passing.frame.len() <= LINK + carries {
            return Some(passing);
        }
        *told += 1;
        Some(Passing {
            from_a: !passing.from_a,
            frame: too_long(&passing.frame, passing.from_a, says),
            ..passing
        })
    }
}

/// The router's answer to a frame that is too long for it.
fn too_long(refused: &[u8], from_a: bool, mtu: u32) -> Vec<u8> {
    let error = Repr::Error {
        kind: ErrorKind::PacketTooBig { mtu },
        packet: &refused[LINK..LINK + 60],
    };
    let mut message = [0; 100];
    let len = icmp4::emit(&error, &mut message);
    let router = Endpoint::new(Address::from_v4([10, 0, 0, 254]), 0);
    let (macs, to) = if from_a {
        ((MAC_A, MAC_B), at_a(0))
    } else {
        ((MAC_B, MAC_A), at_b(0))
    };
    frame(macs, (router, to), Protocol::ICMP, &message[..len])
}

#[test]
fn segments_become_as_short_as_the_path_and_are_tried_longer_later() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let first = lan.pair(listener, 5000, way);
    let mut told = 0;
    let data: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    lan.transfer(first, true, &data, router(1400, 1400, &mut told));
    assert!((1..20).contains(&told), "only what was under way: {told}");
    assert_eq!(lan.a.with(|s| s.path_mtu(first.0)), Ok(1400));
    assert_eq!(lan.b.with(|s| s.path_mtu(first.1)), Ok(1500));

    // Another connection to there knows from the start; the peer may still send what the link carries.
    let second = lan.pair(listener, 5001, way);
    let mut again = 0;
    lan.transfer(second, true, &data, router(1400, 1400, &mut again));
    lan.transfer(first, true, &data, router(1400, 1400, &mut again));
    assert_eq!(again, 0);
    assert_eq!(
        lan.a.with(|s| s.tcb(second.0).unwrap().info().adv_mss),
        1460
    );

    // After ten minutes the path may be another.
    lan.advance(Nanos::from_secs(601), Some);
    let mut longest = 0;
    for ends in [first, second] {
        lan.transfer(ends, true, &data, |p| {
            longest = longest.max(p.frame.len());
            Some(p)
        });
        assert_eq!(core::mem::take(&mut longest), LINK + 1500);
    }
    lan.end(&[first.0, second.0], &[first.1, second.1, listener]);
}

#[test]
fn a_router_that_does_not_say_is_asked_with_shorter_and_shorter_packets() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    let mut told = 0;
    lan.transfer(ends, true, &[1; 60_000], router(1200, 0, &mut told));
    assert_eq!(lan.a.with(|s| s.path_mtu(ends.0)), Ok(1006));
    // Nobody believes that a path carries next to nothing, or more than what it refused.
    for mtu in [68, 1500, 9000] {
        assert_eq!(lan.a.send(ends.0, &[2; 3000]), Ok(3000));
        let refused = lan.queues_a[0].0.take();
        lan.queues_a[0].0.give(&too_long(&refused[0], true, mtu));
        lan.a.poll();
        lan.queues_a[0].0.take();
        let known = lan.a.with(|s| s.path_mtu(ends.0));
        assert_eq!(known, Ok(552), "told {mtu}");
        lan.advance(Nanos::from_secs(2), Some);
        assert_eq!(lan.b.recv(ends.1, 9000).unwrap().len(), 3000);
    }
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn who_does_not_know_what_is_in_flight_is_not_believed() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    assert_eq!(lan.a.send(ends.0, &[1; 1400]), Ok(1400));
    let sent = lan.queues_a[0].0.take();
    // The sequence number, with one bit changed.
    let mut forged = sent[0].clone();
    forged[LINK + 20 + 4] ^= 1;
    lan.queues_a[0].0.give(&too_long(&forged, true, 1000));
    lan.queues_b[0].0.give(&sent[0]);
    lan.carry(Some);
    assert_eq!(lan.b.recv(ends.1, 2000).unwrap().len(), 1400);
    // Late: what it speaks of has arrived.
    lan.queues_a[0].0.give(&too_long(&sent[0], true, 1000));
    lan.carry(Some);
    assert_eq!(lan.a.counters().icmp_rx_errors, 2);
    assert_eq!(lan.a.counters().path_limits, 0);
    assert_eq!(lan.a.with(|s| s.path_mtu(ends.0)), Ok(1500));
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn datagrams_that_are_too_long_for_the_path_are_refused() {
    let mut lan = Lan::new(1);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let server = lan.b.datagram(at_b(53));
    let connected = lan.a.datagram(at_a(1000));
    let other = lan.a.datagram(at_a(1001));
    lan.a
        .with(|s| s.connect_datagram(connected, Some((at_b(53), way))))
        .unwrap();
    let send = |lan: &Lan, from, port, len: usize| {
        let ends = (at_a(port), at_b(53));
        let bytes = vec![7; len];
        lan.a
            .with(|s| s.send_to(lan.a.now, from, ends, way, &[bytes[..].into()]))
    };
    assert_eq!(send(&lan, connected, 1000, 1473), Err(Error::TooLong));
    assert_eq!(send(&lan, connected, 1000, 1472), Ok(1472), "a full packet");
    let mut told = 0;
    lan.carry(router(1400, 1400, &mut told));
    assert_eq!(told, 1);
    // As in Linux the connected socket is told once, and what is too long for a packet is not for us to cut.
    assert_eq!(send(&lan, connected, 1000, 10), Err(Error::MessageSize));
    for (socket, port) in [(connected, 1000), (other, 1001)] {
        assert_eq!(send(&lan, socket, port, 1373), Err(Error::TooLong));
        assert_eq!(send(&lan, socket, port, 1372), Ok(1372));
    }
    lan.carry(router(1400, 1400, &mut told));
    assert_eq!(told, 1);
    assert_eq!(lan.b.recv_from(server, 2000).unwrap().0.len(), 1372);
    lan.advance(Nanos::from_secs(601), Some);
    assert_eq!(send(&lan, other, 1001, 1472), Ok(1472));
    lan.carry(Some);
    lan.end(&[connected, other], &[server]);
}

#[test]
fn a_route_says_what_it_carries() {
    let mut lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = Way {
        mtu: 1300,
        ..lan.way(&to_b)
    };
    let ends = lan.pair(listener, 5000, way);
    for to_b in [true, false] {
        lan.transfer(ends, to_b, &[3; 20_000], |p| {
            assert!(p.frame.len() <= LINK + 1300);
            Some(p)
        });
    }
    let socket = lan.a.datagram(at_a(1000));
    let datagram = |len: usize| {
        let bytes = vec![7; len];
        lan.a.with(|s| {
            s.send_to(
                lan.a.now,
                socket,
                (at_a(1000), at_b(53)),
                way,
                &[bytes[..].into()],
            )
        })
    };
    assert_eq!(datagram(1273), Err(Error::TooLong));
    assert_eq!(datagram(1272), Ok(1272));
    lan.carry(Some);
    lan.end(&[ends.0, socket], &[ends.1, listener]);
}
