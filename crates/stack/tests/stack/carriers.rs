//! What changes about a network while connections use it: the port of a bond, hardware addresses, how long packets
//! may be, VLANs that are deleted.

use crate::harness::{PORT, at_b};
use crate::lan::{Lan, MAC_A, Passing};
use sidestep_shm::Nanos;
use sidestep_stack::{NextHop, SocketRef};
use sidestep_wire::{Mac, ethernet};

const NEW: Mac = Mac([2, 0, 0, 0, 0, 0x1a]);

/// A connection in a VLAN from A to B, with its listener.
fn connected(lan: &mut Lan, vlan: u16) -> (SocketRef, (SocketRef, SocketRef)) {
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = NextHop { vlan, ..lan.to_b() };
    let way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    (listener, ends)
}

/// By which queues the frames of A leave in a transfer both ways.
fn queues_used(lan: &mut Lan, ends: (SocketRef, SocketRef)) -> [usize; 2] {
    let mut used = [0; 2];
    for to_b in [true, false] {
        lan.transfer(ends, to_b, &[3; 20_000], |p: Passing| {
            used[p.queue] += usize::from(p.from_a);
            Some(p)
        });
    }
    used
}

#[test]
fn connections_go_on_over_another_port_of_a_bond() {
    let mut lan = Lan::new(2);
    let (listener, ends) = connected(&mut lan, 0);
    let by = [lan.queues_a[0].1, lan.queues_a[1].1];
    let used = queues_used(&mut lan, ends);
    assert!(used[0] > 0 && used[1] == 0, "{used:?}");
    // What is under way is lost with the port that fails, and sent again.
    assert!(lan.a.send(ends.0, &[4; 3000]).is_ok());
    lan.queues_a[0].0.take();
    lan.a.with(|s| s.move_wire(by[0], by[1]));
    let mut got = Vec::new();
    while got.len() < 3000 {
        lan.advance(Nanos::from_millis(100), Some);
        if let Ok(more) = lan.b.recv(ends.1, 1 << 16) {
            got.extend(more);
        }
    }
    assert!(got.iter().all(|byte| *byte == 4));
    let used = queues_used(&mut lan, ends);
    assert!(used[0] == 0 && used[1] > 0, "{used:?}");
    lan.a.with(|s| s.move_wire(by[1], by[0]));
    let used = queues_used(&mut lan, ends);
    assert!(used[0] > 0 && used[1] == 0, "{used:?}");
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn frames_are_from_the_new_hardware_address() {
    let mut lan = Lan::new(1);
    let (listener, ends) = connected(&mut lan, 7);
    let (at_a, at_b) = (lan.queues_a[0].1, lan.queues_b[0].1);
    let senders = |lan: &mut Lan| {
        let mut senders = Vec::new();
        for to_b in [true, false] {
            lan.transfer(ends, to_b, b"hello", |p: Passing| {
                let link = ethernet::Repr::parse(&p.frame).unwrap();
                let ours = if p.from_a { link.src } else { link.dst };
                senders.push(ours);
                Some(p)
            });
        }
        senders.dedup();
        senders
    };
    assert_eq!(senders(&mut lan), [MAC_A]);
    // Of another VLAN, and of another address: nothing to do with it.
    lan.a.with(|s| s.set_station(at_a, 8, (MAC_A, NEW)));
    lan.a.with(|s| s.set_station(at_a, 7, (NEW, MAC_A)));
    assert_eq!(senders(&mut lan), [MAC_A]);
    lan.a.with(|s| s.set_station(at_a, 7, (MAC_A, NEW)));
    assert_eq!(senders(&mut lan).first(), Some(&NEW));
    // The other end follows who it hears, as of stations that move; its own hop is found by its new name.
    assert_eq!(senders(&mut lan), [NEW]);
    let vlan = 7;
    let now = NextHop {
        vlan,
        station: NEW,
        ..lan.to_b()
    };
    let before = NextHop {
        station: MAC_A,
        ..now
    };
    let (followed, _) = lan.a.with(|s| s.followed_hops(0, 4096));
    assert_eq!(followed, [now]);
    assert!(!followed.contains(&before));
    // Who accepts has changed too.
    lan.b.with(|s| {
        s.set_station(at_b, 7, (crate::lan::MAC_B, Mac([2, 0, 0, 0, 0, 0x1b])));
    });
    lan.transfer(ends, false, b"hello", |p: Passing| {
        let link = ethernet::Repr::parse(&p.frame).unwrap();
        assert!(p.from_a || link.src == Mac([2, 0, 0, 0, 0, 0x1b]));
        Some(p)
    });
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn segments_are_as_long_as_the_interface_carries_now() {
    let mut lan = Lan::new(1);
    let (listener, ends) = connected(&mut lan, 0);
    let (at_a, at_b) = (lan.queues_a[0].1, lan.queues_b[0].1);
    let longest = |lan: &mut Lan| {
        let mut longest = [0; 2];
        for to_b in [true, false] {
            lan.transfer(ends, to_b, &[5; 30_000], |p: Passing| {
                let longest = &mut longest[usize::from(p.from_a)];
                *longest = p.frame.len().max(*longest);
                Some(p)
            });
        }
        longest
    };
    assert_eq!(longest(&mut lan), [1514; 2]);
    // What is in flight is sent again in shorter segments.
    assert!(lan.a.send(ends.0, &[6; 10_000]).is_ok());
    lan.queues_a[0].0.take();
    for (node, wire) in [(&lan.a, at_a), (&lan.b, at_b)] {
        node.with(|s| s.set_network_mtu(wire, 900));
    }
    let mut got = 0;
    while got < 10_000 {
        lan.advance(Nanos::from_millis(100), |p| {
            assert!(p.frame.len() <= 914, "{}", p.frame.len());
            Some(p)
        });
        got += lan.b.recv(ends.1, 1 << 16).map_or(0, |more| more.len());
    }
    assert_eq!(longest(&mut lan), [914; 2]);
    for (node, wire) in [(&lan.a, at_a), (&lan.b, at_b)] {
        node.with(|s| s.set_network_mtu(wire, 1500));
    }
    assert_eq!(longest(&mut lan), [1514; 2]);
    lan.end(&[ends.0], &[ends.1, listener]);
}

#[test]
fn a_station_that_is_lost_ends_its_connections_and_no_others() {
    let mut lan = Lan::new(1);
    let (listener, tagged) = connected(&mut lan, 7);
    let way = lan.way(&lan.to_b());
    let untagged = lan.pair(listener, 5001, way);
    let at_a = lan.queues_a[0].1;
    lan.a.with(|s| s.lose_station(at_a, 7, MAC_A));
    let mut resets = 0;
    lan.carry(|p| {
        resets += usize::from(p.from_a);
        Some(p)
    });
    assert_eq!(resets, 1, "the peer is told");
    assert!(lan.a.recv(tagged.0, 10).is_err());
    assert!(lan.b.recv(tagged.1, 10).is_err());
    lan.transfer(untagged, true, b"goes on", Some);
    lan.end(&[tagged.0, untagged.0], &[tagged.1, untagged.1, listener]);
}

#[test]
fn a_queue_changes_its_network() {
    let mut lan = Lan::new(2);
    let (listener, ends) = connected(&mut lan, 0);
    let [first, second] = [lan.queues_a[0].1, lan.queues_a[1].1];
    // It takes nothing along: what went over it goes by the other queue of its old network.
    lan.a.with(|s| s.set_network(first, 77)).unwrap();
    assert_eq!(
        lan.a.with(|s| s.network_wires(77).collect::<Vec<_>>()),
        [first]
    );
    for to_b in [true, false] {
        lan.transfer(ends, to_b, &[3; 5_000], |mut p: Passing| {
            assert!(!p.from_a || p.queue == 1);
            p.queue = usize::from(!p.from_a);
            Some(p)
        });
    }
    // The last one ends what goes over it, and peers are told.
    lan.a.with(|s| s.set_network(second, 77)).unwrap();
    lan.carry(Some);
    assert!(lan.a.recv(ends.0, 10).is_err());
    assert!(lan.b.recv(ends.1, 10).is_err());
    let both = lan.a.with(|s| s.network_wires(77).collect::<Vec<_>>());
    assert_eq!(both, [first, second]);
    // The same said again changes nothing.
    lan.a.with(|s| s.set_network(second, 77)).unwrap();
    let way = lan.way(&lan.to_b());
    let new = lan.pair(listener, 5002, way);
    lan.a.with(|s| s.move_wire(first, second));
    lan.transfer(new, true, b"one network", Some);
    lan.end(&[ends.0, new.0], &[ends.1, new.1, listener]);
}
