//! Several queues of one network: a connection is at home on all of them.

use crate::harness::{Node, PORT, Tap, at_b, config};
use crate::lan::{Lan, MAC_A, Passing};
use sidestep_stack::{ConnectState, Error, NextHop};

/// Every frame arrives at the other queue than the one before it.
fn alternate() -> impl FnMut(Passing) -> Option<Passing> {
    let mut turn = 0;
    move |passing| {
        turn += 1;
        Some(Passing {
            queue: turn % 2,
            ..passing
        })
    }
}

#[test]
fn a_connection_hears_all_queues_of_its_network() {
    let mut lan = Lan::new(2);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let (client, server) = lan.pair(listener, 5000, way);
    let data: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    for to_b in [true, false] {
        lan.transfer((client, server), to_b, &data, alternate());
    }
    for node in [&lan.a, &lan.b] {
        assert_eq!(node.counters().tcp_rx_no_socket, 0);
    }
    lan.end(&[client], &[server, listener]);
}

#[test]
fn a_closed_queue_leaves_its_connections_to_the_others() {
    let mut lan = Lan::new(2);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let (client, server) = lan.pair(listener, 5000, way);
    let wires: Vec<u32> = lan.a.with(|s| s.network_wires(1).collect());
    assert_eq!(wires, [lan.queues_a[0].1, lan.queues_a[1].1]);
    // What is under way when the queue goes is sent again over the other.
    assert_eq!(lan.a.send(client, b"before"), Ok(6));
    lan.queues_a[0].0.take();
    lan.a.with(|s| s.close_wire(wires[0]));
    assert_eq!(
        lan.a.with(|s| s.network_wires(1).collect::<Vec<_>>()),
        [wires[1]]
    );
    let only_second = |passing: Passing| {
        Some(Passing {
            queue: 1,
            ..passing
        })
    };
    assert_eq!(lan.a.send(client, b" and after"), Ok(10));
    lan.advance(sidestep_shm::Nanos::from_secs(1), only_second);
    assert_eq!(lan.b.recv(server, 100).unwrap(), b"before and after");
    lan.transfer((client, server), false, &[7; 20_000], only_second);

    // The hop is that of the network, not of the queue; with the last queue all is gone.
    let to_b = NextHop {
        wire: wires[1],
        ..to_b
    };
    assert_eq!(lan.a.with(|s| s.hop(&to_b)).unwrap().0, way.hop);
    lan.a.with(|s| s.close_wire(wires[1]));
    assert_eq!(
        lan.a.with(|s| s.connect_state(client)),
        Err(Error::Reset),
        "nothing is left to go on over"
    );
    assert_eq!(lan.a.with(|s| s.hop(&to_b)), Err(Error::Unreachable));
    lan.b.with(|s| s.close_wire(lan.queues_b[0].1));
    lan.b.with(|s| s.close_wire(lan.queues_b[1].1));
    lan.end(&[client], &[server, listener]);
}

#[test]
fn another_network_is_another_side() {
    let mut lan = Lan::new(1);
    let (mut stranger, _) = Tap::on(&lan.b, (77, 2), MAC_A);
    let listener = lan.b.listener(at_b(PORT), 8);
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    let (client, server) = lan.pair(listener, 5000, way);
    // The frame that would end the connection comes in over another network.
    let before = lan.b.counters().tcp_rx_no_socket;
    lan.a
        .with(|s| s.shutdown(lan.a.now, client, false, true))
        .unwrap();
    let frames = lan.queues_a[0].0.take();
    assert_eq!(frames.len(), 1);
    stranger.give(&frames[0]);
    lan.b.poll();
    assert_eq!(lan.b.counters().tcp_rx_no_socket, before + 1);
    assert_eq!(
        lan.b.with(|s| s.connect_state(server)),
        Ok(ConnectState::Connected)
    );
    assert_eq!(lan.b.recv(server, 10), Err(Error::WouldBlock));
    lan.queues_b[0].0.give(&frames[0]);
    lan.b.poll();
    assert_eq!(lan.b.recv(server, 10).unwrap(), b"", "the end");
    lan.end(&[client], &[server, listener]);
}

#[test]
fn networks_are_as_many_as_there_are_wires() {
    let node = Node::new(&config());
    let taps: Vec<_> = (0..255).map(|n| Tap::on(&node, (n, n), MAC_A)).collect();
    assert_eq!(node.with(|s| s.network_wires(254).count()), 1);
    let (_, last) = taps[254];
    node.with(|s| s.close_wire(last));
    assert_eq!(node.with(|s| s.network_wires(254).count()), 0);
    let (_, again) = Tap::on(&node, (300, 300), MAC_A);
    assert_eq!(node.with(|s| s.network_wires(300).next()), Some(again));
    node.assert_as_at_first();
}
