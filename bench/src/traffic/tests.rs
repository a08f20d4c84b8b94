use super::*;
use serde_json::json;

/// A report of stacks with these frames received and sent, and bytes of TCP received.
fn ps(stacks: &[(&str, u64, u64, u64)]) -> Traffic {
    let stack = |&(id, rx, tx, bytes): &(&str, u64, u64, u64)| {
        json!({
            "id": id, "status": "ok",
            "counters": {"rx_frames": rx, "tx_frames": tx, "tcp_rx_bytes": bytes},
            "kernel": [{"reason": "nobody serves it", "count": 2}],
        })
    };
    let stacks: Vec<_> = stacks.iter().map(stack).collect();
    Traffic::of(&json!({ "stacks": stacks })).unwrap()
}

#[test]
fn what_moved_is_told_by_stack() {
    let before = ps(&[("server", 100, 100, 1000)]);
    let after = ps(&[("server", 110, 105, 1500), ("client", 5, 10, 0)]).since(&before);
    assert_eq!(after.at_least(15, 500), Ok(()));
    // Two stacks see the same frames; they do not add up.
    assert!(after.at_least(16, 0).is_err());
    assert!(after.at_least(15, 501).is_err());
}

#[test]
fn work_that_took_no_accelerated_path_is_invalid_and_says_why() {
    let nothing = ps(&[]);
    assert!(matches!(nothing.at_least(0, 0), Err(Problem::Invalid(_))));
    let Err(Problem::Invalid(why)) = ps(&[("server", 1, 1, 0)]).at_least(10, 0) else {
        panic!("two frames are not ten")
    };
    assert!(
        why.contains("left to the kernel 2 times: nobody serves it"),
        "{why}"
    );
}

#[test]
fn a_stack_that_went_away_is_as_it_was_last_seen() {
    let during = ps(&[("server", 5, 5, 0), ("client", 5, 5, 0)]);
    let both = during.or_later(ps(&[("server", 50, 50, 0)]));
    assert_eq!(both.at_least(100, 0), Ok(()));
    assert_eq!(both.stacks.len(), 2);
}

#[test]
fn a_busy_stack_is_looked_at_again() {
    assert_eq!(
        Traffic::of(&json!({ "stacks": [{"id": "a", "status": "busy"}] })),
        None
    );
    assert_eq!(Traffic::of(&json!({})), None);
}

#[test]
fn the_kernels_packets_are_counted_by_name() {
    let table = "Ip: InReceives\nIp: 9\nTcp: ActiveOpens InSegs OutSegs\nTcp: 7 100 20\n\
        Udp: InDatagrams NoPorts OutDatagrams\nUdp: 3 50 1\n";
    assert_eq!(KernelPackets::of(table), Some(KernelPackets(124)));
    assert_eq!(KernelPackets::of("Tcp: InSegs\nTcp: 100\n"), None);
    assert_eq!(KernelPackets(124).since(KernelPackets(100)), 24);
}

#[test]
fn the_kernels_packets_of_this_namespace_are_seen() {
    use std::net::{Ipv4Addr, UdpSocket};
    let before = KernelPackets::now().unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    socket.recv(&mut [0]).unwrap();
    assert!(KernelPackets::now().unwrap().since(before) >= 2);
}
