//! TCP Fast Open (RFC 7413): what is remembered of servers, what listeners take, and when neither happens.

use crate::harness::{Net, PORT, at_a, at_b};
use crate::lan::{Lan, MAC_A, MAC_B, Passing, frame, transport_at};
use sidestep_shm::Nanos;
use sidestep_stack::{Address, Endpoint, Error, Fast, FastKeys, FastRules, Ready, SocketRef, Way};
use sidestep_wire::icmp::{ErrorKind, Repr};
use sidestep_wire::tcp::{self, FastOpen, Flags};
use sidestep_wire::{Protocol, icmp4};

/// Bytes of the Ethernet header.
const LINK: usize = 14;
/// Both ends take part.
const RULES: FastRules = FastRules {
    bits: FastRules::CLIENT | FastRules::SERVER,
    pause: Nanos::ZERO,
};

/// Connects with data for the SYN; how much of it was queued.
fn open_fast(net: &Net, port: u16, bytes: &[u8]) -> (SocketRef, Result<usize, Error>) {
    let client = net.a.stream();
    let (ends, now) = ((at_a(port), at_b(PORT)), net.a.now);
    let fast = Fast::Send {
        parts: &[bytes.into()],
        whole: false,
    };
    let queued = net
        .a
        .with(|s| s.connect_fast(now, client, ends, net.wire_a, fast));
    (client, queued)
}

/// A listener of B that takes so many connections with data whose handshake is not complete.
fn listener(net: &Net, most: u16) -> SocketRef {
    let listener = net.b.listener(at_b(PORT), 8);
    net.b.with(|s| {
        s.set_fast_keys(FastKeys::new(&[7; 16]));
        s.tcb(listener).unwrap().set_fast_open(most);
    });
    listener
}

/// The same, and A has a cookie of it.
fn known(net: &mut Net, most: u16) -> SocketRef {
    let listener = listener(net, most);
    let (first, queued) = open_fast(net, 5000, b"hello");
    assert_eq!(queued, Ok(0), "no cookie yet");
    net.settle();
    let server = net.b.accept(listener).unwrap().socket;
    assert_eq!(net.b.recv(server, 10), Err(Error::WouldBlock));
    net.a.close(first);
    net.b.close(server);
    net.settle();
    net.advance(Nanos::from_secs(2));
    listener
}

fn end(mut net: Net, a: &[SocketRef], b: &[SocketRef]) {
    for r in a {
        net.a.close(*r);
    }
    for r in b {
        net.b.close(*r);
    }
    net.settle();
    net.advance(Nanos::from_secs(2));
    net.finish();
}

#[test]
fn a_connection_is_opened_with_data_by_the_second_time() {
    let mut net = Net::new();
    let listener = known(&mut net, 2);
    let (second, queued) = open_fast(&net, 5001, b"hello");
    assert_eq!(queued, Ok(5));
    // Only the SYN has come: it is accepted, read and answered before anything is acknowledged.
    net.b.poll();
    let server = net.b.accept(listener).unwrap().socket;
    assert_eq!(net.b.recv(server, 10).unwrap(), b"hello");
    net.b.send(server, b"and back").unwrap();
    net.settle();
    assert_eq!(net.a.recv(second, 10).unwrap(), b"and back");
    assert_eq!(net.b.counters().tcp_fast_opens, 1);
    end(net, &[second], &[server, listener]);
}

#[test]
fn as_many_are_taken_as_the_listener_says_until_their_handshakes_are_complete() {
    let mut net = Net::new();
    let listener = known(&mut net, 2);
    let clients: Vec<SocketRef> = (0..3)
        .map(|i| open_fast(&net, 5001 + i, b"hello").0)
        .collect();
    net.b.poll();
    // Accepted or not, the first two count; the third is opened as usual.
    assert_eq!(net.b.counters().tcp_fast_opens, 2);
    let mut servers: Vec<SocketRef> = (0..2)
        .map(|_| net.b.accept(listener).unwrap().socket)
        .collect();
    let late = open_fast(&net, 5010, b"hello").0;
    net.b.poll();
    assert_eq!(net.b.counters().tcp_fast_opens, 2);
    net.settle();
    for _ in 0..2 {
        servers.push(net.b.accept(listener).unwrap().socket);
    }
    for server in &servers {
        assert_eq!(net.b.recv(*server, 10).unwrap(), b"hello");
    }
    let again = open_fast(&net, 5011, b"hello").0;
    net.b.poll();
    assert_eq!(net.b.counters().tcp_fast_opens, 3);
    net.settle();
    servers.push(net.b.accept(listener).unwrap().socket);
    servers.push(listener);
    let mut all = clients;
    all.extend([late, again]);
    end(net, &all, &servers);
}

#[test]
fn a_client_that_resets_counts_for_a_minute() {
    let mut net = Net::new();
    let listener = known(&mut net, 1);
    let (client, _) = open_fast(&net, 5001, b"hello");
    net.b.poll();
    let server = net.b.accept(listener).unwrap().socket;
    // Its program is gone before the SYN-ACK comes, which is answered by a reset.
    net.a.close(client);
    net.settle();
    assert_eq!(net.b.recv(server, 10).unwrap(), b"hello");
    assert_eq!(net.b.recv(server, 10), Err(Error::Reset));
    let (second, _) = open_fast(&net, 5002, b"hello");
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 1);
    net.advance(Nanos::from_secs(61));
    let (third, _) = open_fast(&net, 5003, b"hello");
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 2);
    let servers: Vec<SocketRef> = (0..2)
        .map(|_| net.b.accept(listener).unwrap().socket)
        .collect();
    end(
        net,
        &[second, third],
        &[server, listener, servers[0], servers[1]],
    );
}

#[test]
fn data_are_taken_without_a_cookie_where_that_is_allowed() {
    let net = Net::new();
    let listener = listener(&net, 4);
    let bare = |bits| FastRules {
        bits: RULES.bits | bits,
        ..RULES
    };
    net.a
        .with(|s| s.set_fast_rules(bare(FastRules::CLIENT_NO_COOKIE)));
    let (first, queued) = open_fast(&net, 5001, b"hello");
    assert_eq!(queued, Ok(5));
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 0);
    net.b
        .with(|s| s.set_fast_rules(bare(FastRules::SERVER_NO_COOKIE)));
    let (second, _) = open_fast(&net, 5002, b"hello");
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 1);
    // One socket may be allowed what the others are not.
    for node in [&net.a, &net.b] {
        node.with(|s| s.set_fast_rules(RULES));
    }
    net.b.with(|s| s.tcb(listener).unwrap().set_no_cookie(true));
    let third = net.a.stream();
    net.a.with(|s| s.tcb(third).unwrap().set_no_cookie(true));
    let ends = (at_a(5003), at_b(PORT));
    let fast = Fast::Send {
        parts: &[b"hello"[..].into()],
        whole: false,
    };
    let (now, wire) = (net.a.now, net.wire_a);
    let queued = net.a.with(|s| s.connect_fast(now, third, ends, wire, fast));
    assert_eq!(queued, Ok(5));
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 2);
    let mut servers = vec![listener];
    for _ in 0..3 {
        let server = net.b.accept(listener).unwrap().socket;
        assert_eq!(net.b.recv(server, 10).unwrap(), b"hello");
        servers.push(server);
    }
    end(net, &[first, second, third], &servers);
}

#[test]
fn a_deferred_connection_is_opened_by_its_first_bytes() {
    let mut net = Net::new();
    let listener = known(&mut net, 2);
    let client = net.a.stream();
    let (ends, now, wire) = ((at_a(5001), at_b(PORT)), net.a.now, net.wire_a);
    let begun = net
        .a
        .with(|s| s.connect_fast(now, client, ends, wire, Fast::Defer));
    assert_eq!(begun, Ok(0));
    net.settle();
    assert!(net.a.with(|s| s.is_held(client)));
    let ready = net.a.with(|s| s.ready(client)).unwrap();
    assert_eq!(ready, Ready::OUT | Ready::WRNORM);
    assert_eq!(net.b.accept(listener).err(), Some(Error::WouldBlock));
    assert_eq!(net.a.send(client, b"hello"), Err(Error::Unopened));
    let opened = net
        .a
        .with(|s| s.open_held(now, client, &[b"hello"[..].into()], true));
    assert_eq!(opened, Ok(5));
    net.b.poll();
    let server = net.b.accept(listener).unwrap().socket;
    assert_eq!(net.b.recv(server, 10).unwrap(), b"hello");
    net.settle();
    assert_eq!(net.b.counters().tcp_fast_opens, 1);
    end(net, &[client], &[server, listener]);
}

/// A's connection with data to B over a network, where `pass` says what becomes of each frame.
fn over(lan: &mut Lan, port: u16, way: Way) -> (SocketRef, usize) {
    let client = lan.a.stream();
    let ends = (at_a(port), at_b(PORT));
    let fast = Fast::Send {
        parts: &[b"hello"[..].into()],
        whole: true,
    };
    let now = lan.a.now;
    let queued = lan
        .a
        .with(|s| s.connect_fast(now, client, ends, way, fast))
        .unwrap();
    (client, queued)
}

/// The segment in a frame: its header, and the bytes of its payload.
fn segment(frame: &[u8]) -> (tcp::Repr, usize) {
    let at = transport_at(frame);
    let (repr, len) = tcp::Repr::parse(&frame[at..]).unwrap();
    (repr, frame.len() - at - len)
}

/// A network between A and a listener of B.
fn lan() -> (Lan, SocketRef, Way) {
    let lan = Lan::new(1);
    let listener = lan.b.listener(at_b(PORT), 8);
    lan.b.with(|s| {
        s.set_fast_keys(FastKeys::new(&[7; 16]));
        s.tcb(listener).unwrap().set_fast_open(4);
    });
    let to_b = lan.to_b();
    let way = lan.way(&to_b);
    (lan, listener, way)
}

/// What the first SYN of a new connection says, which is answered as the listener likes.
fn first_syn(lan: &mut Lan, port: u16, way: Way) -> (SocketRef, Option<FastOpen>, usize) {
    let (client, _) = over(lan, port, way);
    let mut said = None;
    lan.carry(|p| {
        let (repr, len) = segment(&p.frame);
        if p.from_a && repr.flags.contains(Flags::SYN) && said.is_none() {
            said = Some((repr.options.fast_open, len));
        }
        Some(p)
    });
    let (option, len) = said.unwrap();
    (client, option, len)
}

#[test]
fn a_server_without_cookies_is_asked_in_the_other_way_once() {
    let (mut lan, listener, way) = lan();
    lan.b.with(|s| s.tcb(listener).unwrap().set_fast_open(0));
    let experiment = FastOpen::REQUEST.in_experiment(true);
    let mut clients = Vec::new();
    for asked in [
        FastOpen::REQUEST,
        experiment,
        FastOpen::REQUEST,
        FastOpen::REQUEST,
    ] {
        let port = 5001 + u16::try_from(clients.len()).unwrap();
        let (client, said, text) = first_syn(&mut lan, port, way);
        assert_eq!((said, text), (Some(asked), 0));
        clients.push(client);
    }
    // One that gives cookies in both ways is answered in the way that it asks.
    lan.b.with(|s| s.tcb(listener).unwrap().set_fast_open(4));
    clients.push(first_syn(&mut lan, 5011, way).0);
    let (client, said, text) = first_syn(&mut lan, 5012, way);
    assert!(said.is_some_and(|c| !c.bytes().is_empty() && !c.experimental));
    assert_eq!(text, 5);
    clients.push(client);
    let mut servers = vec![listener];
    while let Ok(accepted) = lan.b.accept(listener) {
        assert_eq!(lan.b.recv(accepted.socket, 10).unwrap(), b"hello");
        servers.push(accepted.socket);
    }
    assert_eq!(servers.len(), 7);
    lan.end(&clients, &servers);
}

/// What swallows SYNs with data.
fn swallow(passing: Passing) -> Option<Passing> {
    let (repr, len) = segment(&passing.frame);
    let swallowed = repr.flags.contains(Flags::SYN) && len > 0;
    (!swallowed).then_some(passing)
}

#[test]
fn a_path_that_swallows_data_in_syns_is_spared_them_for_a_while() {
    let (mut lan, listener, way) = lan();
    let mut clients = vec![first_syn(&mut lan, 5001, way).0];
    for port in [5002, 5003] {
        let (client, _) = over(&mut lan, port, way);
        lan.advance(Nanos::from_secs(2), swallow);
        clients.push(client);
    }
    // Twice in a row: no data, and no option, until the time is over.
    let (client, said, text) = first_syn(&mut lan, 5004, way);
    assert_eq!((said, text), (None, 0));
    clients.push(client);
    lan.advance(Nanos::from_secs(241), Some);
    let (client, said, text) = first_syn(&mut lan, 5005, way);
    assert!(said.is_some());
    assert_eq!(text, 5);
    clients.push(client);
    let mut servers = vec![listener];
    while let Ok(accepted) = lan.b.accept(listener) {
        assert_eq!(lan.b.recv(accepted.socket, 10).unwrap(), b"hello");
        servers.push(accepted.socket);
    }
    assert_eq!(servers.len(), 6);
    lan.end(&clients, &servers);
}

#[test]
fn timeouts_in_a_row_pause_it_for_all_where_the_parameters_say_so() {
    let (mut lan, listener, way) = lan();
    let rules = FastRules {
        pause: Nanos::from_secs(100),
        ..RULES
    };
    lan.a.with(|s| s.set_fast_rules(rules));
    let mut clients = vec![first_syn(&mut lan, 5001, way).0];
    // Nothing at all gets through for a while.
    let (client, _) = over(&mut lan, 5002, way);
    lan.advance(Nanos::from_secs(8), |_| None);
    lan.advance(Nanos::from_secs(30), Some);
    clients.push(client);
    let (client, said, text) = first_syn(&mut lan, 5003, way);
    assert_eq!((said, text), (None, 0));
    clients.push(client);
    lan.advance(Nanos::from_secs(100), Some);
    let (client, said, _) = first_syn(&mut lan, 5004, way);
    assert!(said.is_some());
    clients.push(client);
    let mut servers = vec![listener];
    while let Ok(accepted) = lan.b.accept(listener) {
        servers.push(accepted.socket);
    }
    assert_eq!(servers.len(), 5);
    for server in &servers[1..] {
        assert_eq!(lan.b.recv(*server, 10).unwrap(), b"hello");
    }
    lan.end(&clients, &servers);
}

#[test]
fn an_unreachable_client_is_an_error_to_whoever_accepts() {
    let (mut lan, listener, way) = lan();
    let first = first_syn(&mut lan, 5001, way).0;
    let (client, queued) = over(&mut lan, 5002, way);
    assert_eq!(queued, 5);
    // A router on the way back has lost the way.
    let mut lost = 0;
    lan.carry(|p| {
        let is_answer = !p.from_a && segment(&p.frame).0.flags.contains(Flags::SYN);
        if !is_answer || lost > 0 {
            return (!is_answer).then_some(p);
        }
        lost += 1;
        let error = Repr::Error {
            kind: ErrorKind::Unreachable {
                code: icmp4::unreachable::HOST,
            },
            packet: &p.frame[LINK..LINK + 60],
        };
        let mut message = [0; 100];
        let len = icmp4::emit(&error, &mut message);
        let router = Endpoint::new(Address::from_v4([10, 0, 0, 254]), 0);
        let macs = (MAC_B, MAC_A);
        let frame = frame(macs, (router, at_b(0)), Protocol::ICMP, &message[..len]);
        Some(Passing {
            from_a: true,
            frame,
            ..p
        })
    });
    assert_eq!(lost, 1);
    let waiting = lan.b.accept(listener).unwrap().socket;
    let server = lan.b.accept(listener).unwrap().socket;
    assert_eq!(lan.b.recv(server, 10).unwrap(), b"hello");
    assert_eq!(lan.b.recv(server, 10), Err(Error::Unreachable));
    lan.end(&[first, client], &[listener, waiting, server]);
}
