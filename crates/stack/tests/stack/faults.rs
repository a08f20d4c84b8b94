//! Stacks whose frames go over a bad link.

use crate::harness::*;
use sidestep_shm::Nanos;
use sidestep_stack::{Config, Error};

fn bad(link: &str) -> Config {
    Config {
        faults: Some(link.parse().unwrap()),
        ..config()
    }
}

/// Sends so many bytes from A to B; how long that took.
fn transfer(net: &mut Net, total: usize) -> Nanos {
    let listener = net.b.listener(at_b(PORT), 8);
    let client = net.a.connect((at_a(1000), at_b(PORT)), net.wire_a);
    let begin = net.a.now;
    let mut server = None;
    let (mut sent, mut got) = (0, Vec::new());
    let bytes: Vec<u8> = (0..total).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect();
    while got.len() < total {
        net.advance(Nanos::from_millis(1));
        sent += net.a.send(client, &bytes[sent..]).unwrap_or(0);
        server = server.or_else(|| net.b.accept(listener).ok().map(|a| a.socket));
        if let Some(server) = server {
            match net.b.recv(server, 1 << 20) {
                Ok(new) => got.extend(new),
                Err(error) => assert_eq!(error, Error::WouldBlock),
            }
        }
        assert!(net.a.now - begin < Nanos::from_secs(300), "{}", got.len());
    }
    assert_eq!(got, bytes);
    let took = net.a.now - begin;
    net.a.close(client);
    net.b.close(server.unwrap());
    net.b.close(listener);
    net.advance(Nanos::from_secs(20));
    took
}

#[test]
fn a_transfer_gets_through_what_a_link_does_to_it() {
    let link = "loss=5%,delay=3ms,jitter=1ms,reorder=5%,duplicate=2%,corrupt=2%";
    let mut net = Net::with(&bad(link), &config());
    transfer(&mut net, 3_000_000);
    let faults = net.a.with(|s| s.report()).faults.unwrap();
    assert_eq!(faults.text, link);
    for count in [faults.out, faults.back] {
        assert!(count.passed > 0 && count.lost > 0, "{faults:?}");
    }
    assert!(net.b.with(|s| s.report()).faults.is_none());
    net.finish();
}

#[test]
fn a_delay_is_one_each_way() {
    let mut net = Net::with(&bad("delay=50ms"), &config());
    let took = transfer(&mut net, 1000);
    // There and back for the handshake, and there for the bytes.
    let expected = Nanos::from_millis(150)..Nanos::from_millis(160);
    assert!(expected.contains(&took), "{took:?}");
    net.finish();
}

#[test]
fn both_ends_can_have_one() {
    let mut net = Net::with(&bad("delay=10ms"), &bad("in.delay=5ms"));
    let took = transfer(&mut net, 1000);
    let expected = Nanos::from_millis(40)..Nanos::from_millis(50);
    assert!(expected.contains(&took), "{took:?}");
    net.finish();
}

#[test]
fn a_rate_is_kept() {
    let mut net = Net::with(&bad("out.rate=8mbit,out.queue=100kb"), &config());
    let took = transfer(&mut net, 1_000_000);
    let expected = Nanos::from_millis(1000)..Nanos::from_millis(1300);
    assert!(expected.contains(&took), "{took:?}");
    net.finish();
}
