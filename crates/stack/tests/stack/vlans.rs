//! Frames with a VLAN tag, and the short ways over networks with and without one.

use crate::harness::{PORT, Tap, at_a, at_b};
use crate::lan::{Lan, Passing};
use sidestep_nic::memif::Geometry;
use sidestep_stack::{Error, NextHop, SocketRef, Way};
use sidestep_wire::{EtherType, ethernet, vlan};

/// The tag of a frame.
fn tag_of(frame: &[u8]) -> Option<u16> {
    let link = ethernet::Repr::parse(frame).unwrap();
    let (tags, _) = vlan::Repr::parse(link.ethertype, &frame[14..]).unwrap();
    assert!(tags.inner.is_none() && tags.ethertype == EtherType::IPV4);
    tags.outer.map(|tag| tag.id)
}

fn connected(lan: &mut Lan, vlan: u16) -> (SocketRef, (SocketRef, SocketRef)) {
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = NextHop { vlan, ..lan.to_b() };
    let way: Way = lan.way(&to_b);
    let ends = lan.pair(listener, 5000, way);
    (listener, ends)
}

#[test]
fn a_tag_goes_with_every_frame_both_ways() {
    let mut lan = Lan::new(1);
    let (listener, ends) = connected(&mut lan, 7);
    let mut longest = 0;
    for to_b in [true, false] {
        lan.transfer(ends, to_b, &[5; 30_000], |p| {
            assert_eq!(tag_of(&p.frame), Some(7));
            longest = longest.max(p.frame.len());
            Some(p)
        });
    }
    assert_eq!(longest, 1518, "1500 bytes of packet, and the tag");
    // Answers that belong to no socket carry it too.
    let stray = lan.a.stream();
    let to_b = NextHop {
        vlan: 7,
        ..lan.to_b()
    };
    let way = lan.way(&to_b);
    let nobody = (at_a(5001), at_b(99));
    lan.a
        .with(|s| s.connect(lan.a.now, stray, nobody, way))
        .unwrap();
    let mut answers = 0;
    lan.carry(|p| {
        answers += usize::from(!p.from_a && tag_of(&p.frame) == Some(7));
        Some(p)
    });
    assert_eq!(answers, 1);
    assert!(lan.a.with(|s| s.connect_state(stray)).is_err());
    lan.end(&[ends.0, stray], &[ends.1, listener]);
}

/// A packet is as long as the interface carries, and where the port has no room for it, a tag makes it shorter.
#[test]
fn a_tag_takes_of_what_the_port_has_room_for() {
    for (room, vlan, frame) in [
        (1514, 0, 1514),
        (1514, 7, 1514),
        (1518, 0, 1514),
        (1518, 7, 1518),
        (2048, 7, 1518),
    ] {
        let geometry = Geometry::wire(9, room).unwrap();
        let mut lan =
            Lan::with(|node, mac| vec![Tap::with(node, (100, 1), mac, (1500, &geometry))]);
        let (listener, ends) = connected(&mut lan, vlan);
        let mut longest = [0; 2];
        for to_b in [true, false] {
            lan.transfer(ends, to_b, &[5; 30_000], |p| {
                let longest = &mut longest[usize::from(p.from_a)];
                *longest = p.frame.len().max(*longest);
                Some(p)
            });
        }
        assert_eq!(longest, [frame; 2], "room {room}, VLAN {vlan}");
        // Datagrams, too.
        let socket = lan.a.datagram(at_a(1000));
        let to_b = NextHop { vlan, ..lan.to_b() };
        let way = lan.way(&to_b);
        let headers = if vlan == 0 { 42 } else { 46 };
        let bytes = vec![1; frame - headers + 1];
        let send = |bytes: &[u8]| {
            let ends = (at_a(1000), at_b(53));
            lan.a
                .with(|s| s.send_to(lan.a.now, socket, ends, way, &[bytes.into()]))
        };
        assert_eq!(send(&bytes), Err(Error::TooLong));
        assert_eq!(send(&bytes[1..]), Ok(bytes.len() - 1));
        assert_eq!(lan.queues_a[0].0.take()[0].len(), frame);
        lan.end(&[ends.0, socket], &[ends.1, listener]);
    }
}

#[test]
fn two_tags_and_other_tags_are_not_ours() {
    let mut lan = Lan::new(1);
    let (listener, ends) = connected(&mut lan, 0);
    assert_eq!(lan.a.send(ends.0, b"x"), Ok(1));
    let frames = lan.queues_a[0].0.take();
    for tags in [&[0x81, 0, 0, 1, 0x81, 0, 0, 2][..], &[0x88, 0xa8, 0, 1]] {
        let mut frame = frames[0].clone();
        frame.splice(12..12, tags.iter().copied());
        lan.queues_b[0].0.give(&frame);
    }
    lan.b.poll();
    assert_eq!(lan.b.counters().rx_other_protocol, 2);
    // A tag that only gives a priority is none.
    let mut frame = frames[0].clone();
    frame.splice(12..12, [0x81, 0, 0xe0, 0]);
    lan.queues_b[0].0.give(&frame);
    lan.carry(|p| {
        assert_eq!(tag_of(&p.frame), None);
        Some(p)
    });
    assert_eq!(lan.b.recv(ends.1, 10).unwrap(), b"x");
    lan.end(&[ends.0], &[ends.1, listener]);
}

/// A message leaves at once, and goes to the reader without a stop, its checksum finished and verified.
#[test]
fn plain_segments_take_the_short_ways_over_networks() {
    for vlan in [0, 7] {
        let mut lan = Lan::new(1);
        let (listener, (client, server)) = connected(&mut lan, vlan);
        lan.transfer((client, server), true, b"hello", Some);
        lan.transfer((client, server), false, b"hello", Some);
        let chunks = lan.b.usage().chunks;
        for round in 0..200_usize {
            let message: Vec<u8> = (0..=round * 7 % 1400).map(|i| i.to_le_bytes()[0]).collect();
            let sent = lan
                .a
                .with(|s| s.send_at_once(lan.a.now, client, message[..].into()));
            assert_eq!(sent, Some(message.len()), "at once");
            let mut frames = lan.queues_a[0].0.take();
            assert_eq!(frames.len(), 1);
            if round == 100 {
                // A wrong bit anywhere is seen.
                let last = frames[0].len() - 1;
                frames[0][last] ^= 0x10;
                lan.queues_b[0].0.give(&frames[0]);
                assert!(lan.b.recv(server, 2000).is_err());
                assert_eq!(lan.b.counters().rx_checksum_bad, 1);
                frames[0][last] ^= 0x10;
            }
            lan.queues_b[0].0.give(&frames[0]);
            assert_eq!(lan.b.recv(server, 2000).unwrap(), message);
            assert_eq!(lan.b.usage().chunks, chunks, "it went to the reader");
            lan.transfer((client, server), false, b"yes", Some);
        }
        lan.end(&[client], &[server, listener]);
    }
}

#[test]
fn a_message_in_flight_is_lost_and_sent_again() {
    let mut lan = Lan::new(1);
    let (listener, ends) = connected(&mut lan, 9);
    let mut lose = true;
    lan.transfer(ends, true, b"again", |p: Passing| {
        (!core::mem::take(&mut lose)).then_some(p)
    });
    lan.end(&[ends.0], &[ends.1, listener]);
}
