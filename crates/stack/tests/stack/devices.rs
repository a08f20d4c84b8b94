//! Sockets that are bound to an interface, and what is told of datagrams.

use crate::harness::{Net, PORT, at_a, at_b};
use crate::lan::{Lan, MAC_A, MAC_B, datagram};
use sidestep_shm::Foreign;
use sidestep_stack::{Address, Asked, Endpoint, Error, Leaving, SocketFlags, SocketRef};

/// The interface of the harness's networks, and another.
const HERE: u32 = 7;
const ELSEWHERE: u32 = 8;

fn bound(lan: &Lan, device: u32, local: Endpoint) -> SocketRef {
    let socket = lan
        .b
        .with(|s| s.new_datagram(SocketFlags::REUSE, 0))
        .unwrap();
    lan.b.with(|s| s.set_device(socket, device)).unwrap();
    lan.b.with(|s| s.bind(socket, local)).unwrap();
    socket
}

#[test]
fn a_socket_hears_its_interface_only_and_before_others() {
    let mut lan = Lan::new(1);
    let any = Endpoint::new(Address::UNSPECIFIED_V4, 53);
    let sockets = [
        bound(&lan, ELSEWHERE, any),
        bound(&lan, 0, any),
        bound(&lan, HERE, any),
    ];
    let give = |lan: &mut Lan, n: u16| {
        let asked = datagram((MAC_B, MAC_A), (at_a(n), at_b(53)), b"?");
        lan.queues_b[0].0.give(&asked);
        lan.b.poll();
        sockets.map(|s| lan.b.recv_from(s, 10).map(|(_, got)| got.device))
    };
    let nothing = Err(Error::WouldBlock);
    assert_eq!(give(&mut lan, 1), [nothing, nothing, Ok(HERE)]);
    lan.b.with(|s| s.set_device(sockets[2], ELSEWHERE)).unwrap();
    assert_eq!(give(&mut lan, 2), [nothing, Ok(HERE), nothing]);
    // An address is more than an interface.
    let exact = bound(&lan, 0, at_b(53));
    lan.b.with(|s| s.set_device(sockets[0], HERE)).unwrap();
    assert_eq!(give(&mut lan, 3), [nothing; 3]);
    assert_eq!(lan.b.recv_from(exact, 10).unwrap().0, b"?");
    lan.b.close(exact);
    sockets.into_iter().for_each(|socket| lan.b.close(socket));
}

/// To the kernel what passes between two programs of a host comes by the interface that has the address: it serves
/// sockets that are bound to one.
#[test]
fn a_wire_between_stacks_leads_to_no_bound_socket() {
    let net = Net::new();
    let bound = net.b.datagram(at_b(53));
    let from = net.a.datagram(at_a(53));
    let send = || {
        let ends = (at_a(53), at_b(53));
        net.a.send_to(from, ends, net.wire_a, b"hello").unwrap();
        net.settle();
        net.b.recv_from(bound, 10).map(|(bytes, _)| bytes)
    };
    assert_eq!(send(), Ok(b"hello".to_vec()));
    net.b.with(|s| s.set_device(bound, HERE)).unwrap();
    assert_eq!(send(), Err(Error::WouldBlock));
    assert_eq!(net.b.counters().udp_rx_no_socket, 1);
    let listener = net.b.listener(at_b(PORT), 8);
    net.b.with(|s| s.set_device(listener, HERE)).unwrap();
    let refused = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    net.settle();
    let state = net.a.with(|s| s.connect_state(refused));
    assert!(matches!(state, Err(Error::Refused)), "{state:?}");
    net.a.close(refused);
    net.a.close(from);
    net.b.close(bound);
    net.b.close(listener);
}

#[test]
fn what_a_datagram_says_of_its_way_is_told() {
    let net = Net::new();
    let (a, b) = (net.a.datagram(at_a(53)), net.b.datagram(at_b(53)));
    net.b
        .with(|s| s.ask(b, Asked::TTL | Asked::TOS, true))
        .unwrap();
    net.b.with(|s| s.ask(b, Asked::TOS, false)).unwrap();
    assert_eq!(net.b.with(|s| s.asked(b)), Ok(Asked::TTL));
    net.a.with(|s| s.set_ip(a, Some(0x10), Some(9))).unwrap();
    let now = net.a.now;
    for (leaving, said) in [
        (Leaving::default(), (0x10, 9)),
        (
            Leaving {
                tos: Some(0x28),
                hop_limit: None,
            },
            (0x28, 9),
        ),
        (
            Leaving {
                tos: None,
                hop_limit: Some(255),
            },
            (0x10, 255),
        ),
        (Leaving::default(), (0x10, 9)),
    ] {
        let ends = (at_a(53), at_b(53));
        let sent = net.a.with(|s| {
            let parts = [Foreign::from(&b"hello"[..])];
            s.send_as(now, a, ends, net.wire_a, Some(leaving), &parts)
        });
        assert_eq!(sent, Ok(5));
        net.settle();
        let (_, got) = net.b.recv_from(b, 10).unwrap();
        assert_eq!((got.tos, got.hop_limit), said);
        assert_eq!((got.target, got.device), (at_b(53).addr, 0));
    }
    net.a.close(a);
    net.b.close(b);
}

/// The way of the last datagram is known until anything changes.
#[test]
fn the_last_way_is_remembered_while_nothing_changes() {
    let lan = Lan::new(1);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let from = lan.a.datagram(at_a(53));
    let (first, other) = (at_b(53), at_b(54));
    let remember = |lan: &Lan| {
        let found = (way, at_a(0).addr);
        lan.a.with(|s| s.remember_way(from, &first, found)).unwrap();
        lan.a.with(|s| s.last_way(from, &first))
    };
    let known = |lan: &Lan| lan.a.with(|s| s.last_way(from, &first));
    assert_eq!(known(&lan), None);
    assert_eq!(remember(&lan), Some((way, at_a(0).addr)));
    assert_eq!(lan.a.with(|s| s.last_way(from, &other)), None);
    lan.a.with(|s| s.forget_ways());
    assert_eq!(known(&lan), None);
    assert!(remember(&lan).is_some());
    lan.a.with(|s| s.set_leaves_by(from, HERE)).unwrap();
    assert_eq!(known(&lan), None);
    assert!(remember(&lan).is_some());
    lan.a.with(|s| s.close_wire(way.wire));
    assert_eq!(known(&lan), None);
    lan.a.close(from);
}
