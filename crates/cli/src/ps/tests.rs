//! A report as people see it.

use super::*;
use sidestep_agent::report::{
    AgentReport, Fault, FaultCount, Interface, KernelReason, Process, Socket, Wire,
};

fn report() -> Report {
    let server = Stack {
        id: "00000000000000aa".to_owned(),
        name: "redis-server".to_owned(),
        status: "ok".to_owned(),
        processes: vec![Process {
            pid: 17,
            slot: 0,
            name: "redis-server".to_owned(),
        }],
        sockets: vec![Socket {
            protocol: "tcp".to_owned(),
            state: "LISTEN".to_owned(),
            local: "127.0.0.1:6379".to_owned(),
            pids: vec![17],
            ..Socket::default()
        }],
        wires: vec![Wire {
            peer: "bb00000000000000".to_owned(),
            tx_frames: 5,
            ..Wire::default()
        }],
        counters: [("rx_frames".to_owned(), 5), ("tcp_resets".to_owned(), 0)].into(),
        kernel: vec![KernelReason {
            reason: "multicast".to_owned(),
            count: 2,
        }],
        fault: Some(Fault {
            link: "loss=1%".to_owned(),
            out: FaultCount {
                passed: 99,
                lost: 1,
                damaged: 0,
            },
            ..Fault::default()
        }),
        ..Stack::default()
    };
    Report {
        agent: AgentReport {
            pid: 9,
            ..AgentReport::default()
        },
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            mode: "native".to_owned(),
            mtu: 1500,
            steered: 7,
            passed: 3,
            upon: vec!["eth0.5".to_owned(), "br0".to_owned()],
            left: vec!["bond0: for a reason".to_owned()],
            queues: vec![Queue {
                queue: Some(0),
                zero_copy: true,
                huge_pages: true,
                leaves_checksums: true,
                busy_poll: Some(true),
                ..Queue::default()
            }],
            ..Interface::default()
        }],
        stacks: vec![server],
    }
}

#[test]
fn tables_show_everything() {
    let text = text(&report(), false);
    for part in [
        "agent: process 9",
        "eth0       native  1500        7       3       1     0",
        "\neth0: without copying, buffers in huge pages, checksums left to the card, driven by programs (busypoll)\n",
        "\neth0 carries eth0.5, br0\nleft to the kernel: bond0: for a reason\n",
        "00000000  redis-server  ok      17",
        "redis-server[17]  tcp    LISTEN      0      0  127.0.0.1:6379  *          -  17",
        "bb000000",
        "redis-server[17]      2  multicast",
        "redis-server[17]  out      99     1        0  loss=1%",
        "counters of redis-server[17]\n  rx_frames 5\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("tcp_resets"));
}

#[test]
fn zero_counters_on_request() {
    assert!(text(&report(), true).contains("rx_frames 5, tcp_resets 0"));
}

#[test]
fn idle_agent_is_said_kindly() {
    let text = text(
        &Report {
            stacks: Vec::new(),
            interfaces: Vec::new(),
            ..report()
        },
        false,
    );
    assert_eq!(
        text,
        "no accelerated programs (the agent, process 9, is idle)\n"
    );
}

#[test]
fn columns_align() {
    let mut table = Table::new([("A", Left), ("B", Right)]);
    assert_eq!(table.text(), "");
    table.row(["long".to_owned(), "1".to_owned()]);
    table.row(["x".to_owned(), "1000".to_owned()]);
    assert_eq!(table.text(), "A        B\nlong     1\nx     1000\n");
}
