//! The timer wheel, by the probes and retransmissions that it lets out.

use crate::harness::{Net, Node, PORT, Tap, at_a, at_b};
use proptest::prelude::*;
use sidestep_shm::Nanos;
use sidestep_stack::{Error, SocketRef, Stack};

/// A tick of the wheel.
const TICK: Nanos = Nanos(1 << 20);

/// Earliest deadline of these connections.
fn earliest(node: &Node, connections: &[SocketRef]) -> Nanos {
    node.with(|s| {
        let of = |r: &SocketRef| s.tcb(*r).map_or(Nanos::NEVER, |tcb| tcb.next_timeout());
        connections.iter().map(of).min().unwrap_or(Nanos::NEVER)
    })
}

fn keep_alive(node: &Node, r: SocketRef, idle_s: u16) {
    node.with(|s| {
        let tcb = s.tcb(r).unwrap();
        let mut parameters = tcb.keepalive_parameters();
        (parameters.idle_s, parameters.interval_s, parameters.count) = (idle_s, idle_s, 200);
        tcb.set_keepalive_parameters(parameters, node.now);
        tcb.set_keepalive(true, node.now);
        s.flush(node.now, r);
    });
}

/// Segments that `node` has sent.
fn sent(node: &Node) -> u64 {
    node.counters().tcp_tx_segments
}

#[test]
fn keepalive_set_on_a_quiet_connection_probes() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    // The handshake's timers are long over.
    net.advance(Nanos::from_secs(3));
    keep_alive(&net.a, client, 5);
    let before = sent(&net.a);
    net.advance(Nanos::from_millis(4_990));
    assert_eq!(sent(&net.a), before);
    net.advance(Nanos::from_millis(20));
    assert_eq!(sent(&net.a), before + 1);
    net.advance(Nanos::from_secs(10));
    assert_eq!(sent(&net.a), before + 3);
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn timers_far_apart_come_in_their_order_and_time() {
    let mut net = Net::new();
    let listener = net.b.listener(at_b(PORT), 64);
    // From the finest level of the wheel to beyond the coarsest slot: 1 s to 9 h.
    let idle_s = [
        1, 2, 3, 17, 60, 61, 65, 66, 67, 130, 1_000, 4_000, 16_000, 32_000,
    ];
    let pairs: Vec<_> = (5000..)
        .take(idle_s.len())
        .map(|p| net.pair(listener, p))
        .collect();
    net.advance(Nanos::from_millis(500));
    let start = net.a.now;
    for ((client, _), idle) in pairs.iter().zip(idle_s) {
        keep_alive(&net.a, *client, idle);
    }
    let clients: Vec<_> = pairs.iter().map(|(client, _)| *client).collect();
    let mut quiet_until = start;
    for (i, idle) in idle_s.into_iter().enumerate() {
        let due = start + Nanos::from_secs(u64::from(idle));
        while net.a.now < due + TICK + TICK {
            let before = net.a.now;
            let deadline = earliest(&net.a, &clients[i..]);
            assert_eq!(deadline, due, "connection {i} comes next");
            let next = net.a.with(|s| s.next_timer());
            assert!(next <= deadline + TICK, "{next:?} is after {deadline:?}");
            let probes = sent(&net.a);
            net.advance((next.max(before + Nanos(1)) - before).min(due + TICK + TICK - before));
            if sent(&net.a) > probes {
                assert!(net.a.now >= due, "connection {i} came early");
                break;
            }
        }
        assert!(net.a.now <= due + TICK + TICK, "connection {i} came late");
        assert!(net.a.now >= quiet_until);
        quiet_until = net.a.now;
        // Its probe was answered; it does not come a second time before the others.
        net.a
            .with(|s| {
                s.tcb(clients[i])
                    .map(|tcb| tcb.set_keepalive(false, Nanos::ZERO))
            })
            .unwrap();
    }
    for (client, server) in pairs {
        net.a.close(client);
        net.b.close(server);
    }
    net.b.close(listener);
    net.finish();
}

#[test]
fn unanswered_segments_come_again_ever_later_until_it_is_enough() {
    let mut node = Node::new(&crate::harness::config());
    let (mut tap, wire) = Tap::new(&node, 1);
    let client = node.connect((at_a(5000), at_b(PORT)), wire);
    assert_eq!(tap.take().len(), 1);
    let (mut last, mut gaps) = (node.now, Vec::new());
    loop {
        let (deadline, next) = (earliest(&node, &[client]), node.with(|s| s.next_timer()));
        if next == Nanos::NEVER {
            break;
        }
        assert!(next <= deadline + TICK, "{next:?} is after {deadline:?}");
        node.now = next.max(node.now + Nanos(1));
        node.poll();
        for _ in tap.take() {
            gaps.push((node.now - last).as_millis());
            last = node.now;
        }
    }
    assert_eq!(gaps.len(), 6, "{gaps:?}");
    for (i, gap) in (0..).zip(&gaps) {
        let expected = 1_000u64 << i;
        assert!((expected..expected + 4).contains(gap), "{gaps:?}");
    }
    assert_eq!(node.with(|s| s.connect_state(client)), Err(Error::TimedOut));
    assert_eq!(node.counters().tcp_timeouts, 1);
    node.close(client);
    node.assert_as_at_first();
}

#[test]
fn a_peer_that_is_gone_is_found_out() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    keep_alive(&net.a, client, 1);
    net.a.send(client, b"anybody?").unwrap();
    // B is never polled again.
    let mut a_now = net.a.now;
    let poll = |now| net.a.with(|s| s.poll(now));
    while net.a.with(|s| s.next_timer()) != Nanos::NEVER {
        a_now = net.a.with(|s| s.next_timer()).max(a_now + Nanos(1));
        poll(a_now);
    }
    assert_eq!(net.a.recv(client, 1), Err(Error::TimedOut));
    net.a.close(client);
    net.a.assert_as_at_first();
    net.b.close(server);
    net.b.close(listener);
}

/// What may happen to one of several connections.
#[derive(Clone, Debug)]
enum Step {
    KeepAlive(usize, u16),
    Off(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..6, 1u16..400).prop_map(|(i, s)| Step::KeepAlive(i, s)),
        1 => (0usize..6).prop_map(Step::Off),
        4 => (0u64..90_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However deadlines are set, moved and cleared, the wheel never sleeps past the first one.
    #[test]
    fn the_wheel_does_not_oversleep(steps in steps()) {
        let mut net = Net::new();
        let listener = net.b.listener(at_b(PORT), 16);
        let pairs: Vec<_> = (5000..5006).map(|p| net.pair(listener, p)).collect();
        let clients: Vec<_> = pairs.iter().map(|(client, _)| *client).collect();
        for step in steps {
            match step {
                Step::KeepAlive(i, idle_s) => keep_alive(&net.a, clients[i], idle_s),
                Step::Off(i) => {
                    let now = net.a.now;
                    net.a.with(|s| s.tcb(clients[i]).map(|t| t.set_keepalive(false, now))).unwrap();
                }
                Step::Wait(ms) => net.advance(Nanos::from_millis(ms)),
            }
            let deadline = earliest(&net.a, &clients);
            let next = net.a.with(|s| s.next_timer());
            prop_assert!(next <= deadline + TICK, "{next:?} is after {deadline:?}");
            prop_assert!(deadline + TICK + TICK > net.a.now, "{deadline:?} was slept over");
        }
        for (client, server) in pairs {
            net.a.close(client);
            net.b.close(server);
        }
        net.b.close(listener);
        net.finish();
    }
}

#[test]
fn a_long_idle_stack_does_not_turn_through_all_that_passed() {
    let mut net = Net::new();
    net.advance(Nanos::from_secs(10 * 365 * 86_400));
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    assert_eq!(net.a.with(|s| Stack::last_polled(s)), net.a.now);
    net.a.close(client);
    net.b.close(server);
    net.settle();
    net.b.close(listener);
    net.finish();
}
