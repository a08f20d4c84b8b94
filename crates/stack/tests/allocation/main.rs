//! What a connection does once it is there takes nothing from the allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../stack/harness.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod harness;
mod sys;

use harness::{Net, Node, PORT, at_b, config};
use sidestep_stack::{Config, SocketRef};

/// Longest message.
const BYTES: usize = 60_000;

/// Sends a message and takes it at the other end; both stacks are polled until nothing moves.
fn pass(net: &Net, from: (&Node, SocketRef), to: (&Node, SocketRef), buffers: &mut [Vec<u8>; 2]) {
    let [out, back] = buffers;
    assert_eq!(from.0.send(from.1, out), Ok(out.len()));
    let mut got = 0;
    while got < out.len() {
        let now = to.0.now;
        let part = &mut [(&mut back[got..]).into()];
        if let Ok(n) = to.0.with(|s| s.recv_new(now, to.1, part, false)) {
            assert_ne!(n, 0);
            got += n;
        } else {
            net.settle();
        }
    }
    assert_eq!(out, back);
}

#[test]
fn a_connection_in_use_allocates_nothing() {
    exchange(&config());
}

#[test]
fn nor_does_one_whose_checksums_are_computed() {
    exchange(&Config {
        checksums: true,
        ..config()
    });
}

fn exchange(config: &Config) {
    let net = Net::with(config, config);
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 1000);
    let (a, b) = ((&net.a, client), (&net.b, server));
    let mut small = [vec![1; 100], vec![0; 100]];
    let mut large = [vec![2; BYTES], vec![0; BYTES]];
    let mut rounds = |count| {
        for _ in 0..count {
            for buffers in [&mut small, &mut large] {
                pass(&net, a, b, buffers);
                pass(&net, b, a, buffers);
            }
        }
    };
    rounds(10);
    let before = sys::taken();
    assert!(before > 0, "the allocator is not counted");
    rounds(200);
    assert_eq!(sys::taken(), before);
    for (node, socket) in [a, b, (&net.b, listener)] {
        node.close(socket);
    }
    net.finish();
}
