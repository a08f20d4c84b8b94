//! UDP.

use crate::harness::{Net, at_a, at_b, config};
use sidestep_stack::{Address, Config, Endpoint, Error, Ready, SocketFlags, Way};

#[test]
fn datagrams_keep_their_bounds_both_ways() {
    let net = Net::new();
    let (here, there) = (net.a.datagram(at_a(5000)), net.b.datagram(at_b(53)));
    let to_b = (at_a(5000), at_b(53));
    for bytes in [&b"one"[..], b"", &[7; 9000]] {
        assert_eq!(
            net.a.send_to(here, to_b, net.wire_a, bytes),
            Ok(bytes.len())
        );
    }
    assert_eq!(net.b.recv_from(there, 9).unwrap_err(), Error::WouldBlock);
    net.settle();
    assert_eq!(net.b.with(|s| s.recv_len(there)), Ok(3));
    let (bytes, first) = net.b.recv_from(there, 99).unwrap();
    assert_eq!(bytes, b"one");
    assert_eq!((first.source, first.target), (at_a(5000), at_b(53).addr));
    assert_eq!(net.b.recv_from(there, 99).unwrap().0, b"");
    let (bytes, long) = net.b.recv_from(there, 10_000).unwrap();
    assert_eq!((bytes, long.len), (vec![7; 9000], 9000));
    assert_eq!(net.b.recv_from(there, 99).unwrap_err(), Error::WouldBlock);

    assert_eq!(
        net.b.with(|s| s.route_hint(&first.source)),
        Some(Way::from(net.wire_b))
    );
    let back = (at_b(53), first.source);
    assert_eq!(net.b.send_to(there, back, net.wire_b, b"reply"), Ok(5));
    net.settle();
    assert_eq!(net.a.recv_from(here, 99).unwrap().0, b"reply");
    assert_eq!(net.b.counters().udp_rx_datagrams, 3);
    net.a.close(here);
    net.b.close(there);
    net.finish();
}

#[test]
fn what_does_not_fit_the_reader_is_cut_off() {
    let net = Net::new();
    let (here, there) = (net.a.datagram(at_a(5000)), net.b.datagram(at_b(53)));
    let bytes: Vec<u8> = (0..200).collect();
    net.a
        .send_to(here, (at_a(5000), at_b(53)), net.wire_a, &bytes)
        .unwrap();
    net.a
        .send_to(here, (at_a(5000), at_b(53)), net.wire_a, b"next")
        .unwrap();
    net.settle();
    // Twice the same while it is only looked at, then cut, over two parts.
    let (mut first, mut second) = ([0; 3], [0; 4]);
    for peek in [true, true, false] {
        let datagram = net.b.with(|s| {
            let mut parts = [(&mut first[..]).into(), (&mut second[..]).into()];
            s.recv_from(there, &mut parts, peek).unwrap()
        });
        assert_eq!((datagram.copied, datagram.len), (7, 200));
        assert_eq!((&first[..], &second[..]), (&bytes[..3], &bytes[3..7]));
    }
    assert_eq!(net.b.recv_from(there, 99).unwrap().0, b"next");
    net.a.close(here);
    net.b.close(there);
    net.finish();
}

#[test]
fn a_connected_socket_hears_that_nobody_is_there() {
    let net = Net::new();
    let (here, loose) = (net.a.datagram(at_a(5000)), net.a.datagram(at_a(5001)));
    net.a
        .with(|s| s.connect_datagram(here, Some((at_b(53), net.wire_a))))
        .unwrap();
    assert_eq!(
        net.a.with(|s| s.datagram_peer(here)),
        Ok(Some((at_b(53), Way::from(net.wire_a))))
    );
    let send = |r, port| {
        net.a
            .send_to(r, (at_a(port), at_b(53)), net.wire_a, b"anybody?")
    };
    assert_eq!(send(here, 5000), Ok(8));
    net.settle();
    assert!(net.a.with(|s| s.ready(here)).unwrap().contains(Ready::ERR));
    assert_eq!(net.a.recv_from(here, 9).unwrap_err(), Error::Refused);
    assert_eq!(net.a.recv_from(here, 9).unwrap_err(), Error::WouldBlock);
    // The next call may be to send.
    send(here, 5000).unwrap();
    net.settle();
    assert_eq!(send(here, 5000), Err(Error::Refused));
    assert_eq!(net.b.counters().udp_rx_no_socket, 2);
    // One that is not connected does not hear of it.
    send(loose, 5001).unwrap();
    net.settle();
    assert_eq!(net.a.recv_from(loose, 9).unwrap_err(), Error::WouldBlock);
    assert_eq!(net.a.counters().icmp_rx_errors, 3);
    net.a.close(here);
    net.a.close(loose);
    net.finish();
}

#[test]
fn datagrams_over_ipv6_and_their_refusal() {
    let checked = Config {
        checksums: true,
        ..config()
    };
    let net = Net::with(&checked, &checked);
    let six = |last, port| {
        let mut address = Address::LOOPBACK_V6;
        (address.0[0], address.0[15]) = (0xfd, last);
        Endpoint::new(address, port)
    };
    let (here, there) = (net.a.datagram(six(1, 5000)), net.b.datagram(six(2, 53)));
    net.a
        .with(|s| s.connect_datagram(here, Some((six(2, 53), net.wire_a))))
        .unwrap();
    let ends = (six(1, 5000), six(2, 53));
    net.a.send_to(here, ends, net.wire_a, b"six").unwrap();
    net.settle();
    let (bytes, datagram) = net.b.recv_from(there, 99).unwrap();
    assert_eq!((bytes, datagram.source), (b"six".to_vec(), six(1, 5000)));

    net.b.close(there);
    net.a.send_to(here, ends, net.wire_a, b"gone").unwrap();
    net.settle();
    assert_eq!(net.a.recv_from(here, 9).unwrap_err(), Error::Refused);
    assert_eq!(net.a.counters().rx_checksum_bad, 0);
    net.a.close(here);
    net.finish();
}

#[test]
fn a_connected_socket_takes_its_peers_datagrams_only() {
    let net = Net::new();
    let (peer, other) = (net.a.datagram(at_a(5000)), net.a.datagram(at_a(5001)));
    let there = net.b.datagram(at_b(53));
    net.b
        .with(|s| s.connect_datagram(there, Some((at_a(5000), net.wire_b))))
        .unwrap();
    net.a
        .send_to(other, (at_a(5001), at_b(53)), net.wire_a, b"other")
        .unwrap();
    net.a
        .send_to(peer, (at_a(5000), at_b(53)), net.wire_a, b"peer")
        .unwrap();
    net.settle();
    assert_eq!(net.b.recv_from(there, 99).unwrap().0, b"peer");
    assert_eq!(net.b.recv_from(there, 99).unwrap_err(), Error::WouldBlock);
    net.a.close(peer);
    net.a.close(other);
    net.b.close(there);
    net.finish();
}

#[test]
fn limits_of_a_datagram_socket() {
    let net = Net::new();
    let (here, there) = (net.a.datagram(at_a(5000)), net.b.datagram(at_b(53)));
    let ends = (at_a(5000), at_b(53));
    let long = vec![0; 65_508];
    assert_eq!(
        net.a.send_to(here, ends, net.wire_a, &long),
        Err(Error::TooLong)
    );
    assert_eq!(
        net.a.send_to(here, ends, net.wire_a + 1, b"x"),
        Err(Error::NoWay)
    );

    // The queue holds what the buffer allows; the rest is dropped and counted.
    net.b
        .with(|s| s.set_buffers(there, Some(4096), None))
        .unwrap();
    for _ in 0..10 {
        net.a.send_to(here, ends, net.wire_a, &[1; 1000]).unwrap();
    }
    net.settle();
    let mut got = 0;
    while net.b.recv_from(there, 2000).is_ok() {
        got += 1;
    }
    assert!((1..=4).contains(&got), "{got}");
    assert_eq!(net.b.counters().udp_rx_full, 10 - got);

    net.b
        .with(|s| s.shutdown(net.b.now, there, true, true))
        .unwrap();
    assert!(net.b.with(|s| s.is_shut_for_reading(there)));
    assert_eq!(net.b.recv_from(there, 9).unwrap_err(), Error::WouldBlock);
    // What comes now is delivered all the same.
    net.a
        .send_to(here, (at_a(5000), at_b(53)), net.wire_a, b"late")
        .unwrap();
    net.settle();
    assert_eq!(net.b.recv_from(there, 9).unwrap().0, b"late");
    assert_eq!(
        net.b
            .send_to(there, (at_b(53), at_a(5000)), net.wire_b, b"x"),
        Err(Error::Pipe)
    );
    assert!(
        net.b
            .with(|s| s.flags(there))
            .unwrap()
            .contains(SocketFlags::SHUT_READ)
    );
    // What is queued when a socket is closed is given back.
    let unread = net.b.datagram(at_b(54));
    net.a
        .send_to(here, (at_a(5000), at_b(54)), net.wire_a, &[1; 9000])
        .unwrap();
    net.settle();
    assert!(net.b.usage().chunks > 0);
    for r in [there, unread] {
        net.b.close(r);
    }
    net.a.close(here);
    net.finish();
}
