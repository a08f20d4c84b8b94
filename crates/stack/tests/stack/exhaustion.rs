//! Full tables and empty pools: told, counted, and over as soon as something is given back.

use crate::harness::{Net, PORT, at_a, at_b, config};
use sidestep_shm::Nanos;
use sidestep_stack::{Config, ConnectState, Error, Ready, SLOTS, SocketFlags, WaitFor};

#[test]
fn a_full_table_of_sockets_says_so_and_recovers() {
    let small = Config {
        sockets_max: 16,
        ..config()
    };
    let net = Net::with(&small, &small);
    let mut sockets: Vec<_> = (0..16).map(|_| net.a.stream()).collect();
    let one_more = || {
        net.a
            .with(|s| s.new_stream(SocketFlags::NONBLOCK, net.a.slot))
    };
    assert_eq!(one_more(), Err(Error::TableFull));
    let datagram = net
        .a
        .with(|s| s.new_datagram(SocketFlags::NONBLOCK, net.a.slot));
    assert_eq!(datagram, Err(Error::TableFull));
    assert_eq!(net.a.counters().sockets_exhausted, 2);

    let old = sockets.swap_remove(5);
    net.a.close(old);
    let new = one_more().unwrap();
    assert_eq!(new.index, old.index);
    assert_ne!(new, old);
    assert_eq!(net.a.with(|s| s.ready(old)), Err(Error::Stale));
    assert_eq!(net.a.recv(old, 1), Err(Error::Stale));
    // Closing what was closed does not touch the new owner of the entry.
    net.a.close(old);
    assert!(net.a.with(|s| s.ready(new)).is_ok());
    sockets.push(new);
    for r in sockets {
        net.a.close(r);
    }
    net.finish();
}

#[test]
fn a_connection_in_time_wait_makes_room() {
    let small = Config {
        sockets_max: 4,
        ..config()
    };
    let net = Net::with(&small, &config());
    let listener = net.b.listener(at_b(PORT), 8);
    let mut waiting = Vec::new();
    for port in 5000..5004 {
        let (client, server) = net.pair(listener, port);
        net.a.close(client);
        net.settle();
        net.b.close(server);
        net.settle();
        waiting.push(port);
    }
    assert_eq!(net.a.states(), ["TIME-WAIT"; 4]);
    let (client, server) = net.pair(listener, 5100);
    assert_eq!(net.a.counters().tcp_time_wait_recycled, 1);
    assert_eq!(net.a.counters().sockets_exhausted, 0);
    // The oldest went.
    let left: Vec<u16> = net
        .a
        .with(|s| s.report().sockets)
        .iter()
        .filter(|s| s.state == "TIME-WAIT")
        .map(|s| s.local.port)
        .collect();
    assert_eq!(left.len(), 3);
    assert!(!left.contains(&5000), "{left:?}");
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_listener_without_room_for_children_recovers() {
    let small = Config {
        sockets_max: 16,
        ..config()
    };
    let mut net = Net::with(&config(), &small);
    let listener = net.b.listener(at_b(PORT), 100);
    let clients: Vec<_> = (5000..5017)
        .map(|port| net.a.connect((at_a(port), at_b(PORT)), net.wire_a))
        .collect();
    net.settle();
    assert_eq!(net.b.usage().sockets, 16);
    assert_eq!(net.b.counters().sockets_exhausted, 2);
    let last = *clients.last().unwrap();
    assert_eq!(
        net.a.with(|s| s.connect_state(last)),
        Ok(ConnectState::Connecting)
    );
    for _ in 0..15 {
        let accepted = net.b.accept(listener).unwrap();
        net.b
            .with(|s| s.set_linger(accepted.socket, Some(0)))
            .unwrap();
        net.b.close(accepted.socket);
    }
    // The two that found no room ask again.
    net.advance(Nanos::from_secs(2));
    assert_eq!(
        net.a.with(|s| s.connect_state(last)),
        Ok(ConnectState::Connected)
    );
    for r in clients {
        net.a.close(r);
    }
    net.b.close(listener);
    net.finish();
}

#[test]
fn an_empty_pool_holds_senders_up_and_tells_them_when_it_is_over() {
    let small = Config {
        chunks_max: 64,
        snd_buf_bytes: 64 << 10,
        rcv_buf_bytes: 4 << 10,
        ..config()
    };
    let mut net = Net::with(&small, &config());
    let listener = net.b.listener(at_b(PORT), 8);
    // The readers take little, so that what is sent stays with the sender.
    net.b
        .with(|s| s.set_buffers(listener, Some(4 << 10), None))
        .unwrap();
    let pairs: Vec<_> = (5000..5004).map(|p| net.pair(listener, p)).collect();
    let bytes = vec![9; 256 << 10];
    let mut sent = [0; 4];
    for _ in 0..50 {
        for (n, (client, _)) in sent.iter_mut().zip(&pairs) {
            *n += net.a.send(*client, &bytes).unwrap_or(0);
            net.settle();
        }
    }
    let starved = pairs[3].0;
    assert_eq!(net.a.send(starved, b"x"), Err(Error::WouldBlock));
    let report = net.a.with(|s| s.report());
    assert!(report.chunks_exhausted > 0);
    assert!(report.chunks_used.0 <= report.chunks_used.1);
    let watch = net.a.with(|s| {
        let waiter = s.take_waiter(net.a.slot).unwrap();
        s.fall_asleep(waiter, WaitFor::Socket(starved, Ready::OUT))
            .unwrap();
        s.take_wakes();
        waiter
    });

    // Everybody gets what is theirs, once they read.
    let mut got = [0; 4];
    let mut woken = 0;
    for _ in 0..1000 {
        for (n, (_, server)) in got.iter_mut().zip(&pairs) {
            *n += net.b.recv(*server, 65_536).map_or(0, |bytes| bytes.len());
        }
        net.settle();
        net.advance(Nanos::from_millis(50));
        woken |= net.a.take_wakes();
        if got == sent {
            break;
        }
    }
    assert_eq!(got, sent);
    assert_eq!(woken & (1 << watch), 1 << watch);
    net.a.with(|s| s.give_waiter(watch));
    assert_eq!(net.a.send(starved, b"x"), Ok(1));
    net.settle();
    for (client, server) in pairs {
        net.a.close(client);
        net.b.close(server);
    }
    net.b.close(listener);
    net.finish();
}

#[test]
fn datagrams_that_find_no_buffer_are_dropped_and_counted() {
    let small = Config {
        chunks_max: 16,
        ..config()
    };
    let net = Net::with(&config(), &small);
    let (here, there) = (net.a.datagram(at_a(5000)), net.b.datagram(at_b(53)));
    let ends = (at_a(5000), at_b(53));
    // Three buffers each, so that one of them finds but a part of what it needs.
    for _ in 0..20 {
        net.a.send_to(here, ends, net.wire_a, &[5; 5000]).unwrap();
    }
    net.settle();
    let dropped = net.b.counters().udp_rx_full;
    assert!(dropped > 0);
    let mut got = 0;
    while let Ok((bytes, _)) = net.b.recv_from(there, 6000) {
        assert_eq!(bytes, [5; 5000]);
        got += 1;
    }
    assert_eq!(got + dropped, 20);
    assert_eq!(net.b.usage().chunks, 0);
    net.a.send_to(here, ends, net.wire_a, &[6; 5000]).unwrap();
    net.settle();
    assert_eq!(net.b.recv_from(there, 6000).unwrap().0, [6; 5000]);
    net.a.close(here);
    net.b.close(there);
    net.finish();
}

#[test]
fn tables_of_slots_waiters_and_sets_are_finite() {
    let net = Net::new();
    let a = &net.a;
    let slots: Vec<u32> = std::iter::from_fn(|| a.with(|s| s.take_slot(0)).ok()).collect();
    assert_eq!(slots.len(), SLOTS - 1, "one was taken already");
    let waiters: Vec<u32> = std::iter::from_fn(|| a.with(|s| s.take_waiter(1))).collect();
    assert_eq!(waiters.len(), sidestep_stack::WAITERS);
    let sets: Vec<_> = std::iter::from_fn(|| a.with(|s| s.new_set(1)).ok()).collect();
    assert!(!sets.is_empty());
    assert_eq!(a.with(|s| s.new_set(1)), Err(Error::TableFull));
    // A process that is gone takes all of it along.
    a.with(|s| s.on_slot_dead(a.now, 1));
    assert!(a.with(|s| s.take_waiter(0)).is_some());
    let set = a.with(|s| s.new_set(0)).unwrap();
    assert_eq!(a.usage().sets, 1);
    a.with(|s| s.close_set(set, 0));
    assert_eq!(a.with(|s| s.take_slot(0)), Ok(1));
    net.finish();
}

#[test]
fn watches_run_out_and_come_back() {
    let small = Config {
        sockets_max: 4,
        ..config()
    };
    let net = Net::with(&small, &config());
    let a = &net.a;
    let r = a.stream();
    let sets: Vec<_> = (0..9)
        .map(|_| a.with(|s| s.new_set(a.slot)).unwrap())
        .collect();
    let add = |i: usize| a.with(|s| s.set_add(sets[i], r, 3, Ready::IN, 0));
    for i in 0..8 {
        assert_eq!(add(i), Ok(Some(())));
    }
    assert_eq!(add(8), Err(Error::TableFull));
    assert_eq!(a.with(|s| s.set_members(sets[8])), 0);
    assert_eq!(a.with(|s| s.set_remove(sets[0], r, 3)), Ok(Some(())));
    assert_eq!(add(8), Ok(Some(())));
    for set in sets {
        a.with(|s| s.close_set(set, a.slot));
    }
    a.close(r);
    net.finish();
}
