//! The table of targets on one host.

use super::{Relation, Source, Target};
use crate::model::{Contender, Unit};

pub(super) const fn of(case: &'static str, contender: Contender, metric: &'static str) -> Source {
    Source {
        case,
        contender,
        metric,
    }
}

/// A row that sets Sidestep against the kernel on one metric of one case.
pub(super) const fn beside_kernel(
    what: &'static str,
    (case, metric, unit): (&'static str, &'static str, Unit),
    relation: Relation,
    at_least: f64,
    aim: Option<f64>,
) -> Target {
    Target {
        what,
        unit,
        subject: of(case, Contender::Sidestep, metric),
        reference: Some(of(case, Contender::Kernel, metric)),
        relation,
        at_least: Some(at_least),
        aim,
    }
}

/// A row that says how far a stack that costs nothing would be ahead of the kernel on this machine.
const fn bare_frames(what: &'static str, case: &'static str) -> Target {
    Target {
        what,
        unit: Unit::Ns,
        subject: of(case, Contender::RawMemif, "p50_ns"),
        reference: Some(of(case, Contender::Kernel, "p50_ns")),
        relation: Relation::TimesFaster,
        at_least: None,
        aim: None,
    }
}

/// A row on the instructions that a segment costs.
const fn segment(what: &'static str, metric: &'static str, at_least: Option<f64>) -> Target {
    Target {
        what,
        unit: Unit::Instructions,
        subject: of("segment_instructions", Contender::Sidestep, metric),
        reference: None,
        relation: Relation::Bound,
        at_least,
        aim: None,
    }
}

/// Every row of one host, in the order of the report.
pub(super) const TARGETS: &[Target] = &[
    beside_kernel(
        "TCP half round trip, 32 B, both spinning, p50: kernel ÷ ours",
        ("tcp_rtt_spin", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        10.0,
        Some(20.0),
    ),
    bare_frames(
        "the same with raw frames of our own driver in place of any stack",
        "tcp_rtt_spin",
    ),
    beside_kernel(
        "TCP half round trip, 32 B, both spinning, p99.9: ours ÷ kernel",
        ("tcp_rtt_spin", "p999_ns", Unit::Ns),
        Relation::Share,
        1.0,
        Some(0.3),
    ),
    beside_kernel(
        "TCP half round trip, 32 B, blocking, untuned, p50: kernel ÷ ours",
        ("tcp_rtt_blocking", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        10.0,
        Some(30.0),
    ),
    beside_kernel(
        "UDP half round trip, 32 B, both spinning, p50: kernel ÷ ours",
        ("udp_rtt_spin", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        8.0,
        Some(15.0),
    ),
    bare_frames(
        "the same with raw frames of our own driver in place of any stack",
        "udp_rtt_spin",
    ),
    Target {
        what: "TCP half round trip, 32 B: ours through sockets ÷ smoltcp on its own API",
        unit: Unit::Ns,
        subject: of("tcp_rtt_spin", Contender::Sidestep, "p50_ns"),
        reference: Some(of("tcp_rtt_spin", Contender::Smoltcp, "p50_ns")),
        relation: Relation::Share,
        at_least: Some(1.0),
        aim: Some(0.7),
    },
    Target {
        what: "TCP half round trip over raw frames of our own driver, p50",
        unit: Unit::Ns,
        subject: of("tcp_rtt_spin", Contender::Sidestep, "p50_ns"),
        reference: Some(of("tcp_rtt_spin", Contender::RawMemif, "p50_ns")),
        relation: Relation::Excess,
        at_least: Some(250.0),
        aim: Some(120.0),
    },
    Target {
        what: "raw 64 B frames, half round trip, p50: ours ÷ DPDK",
        unit: Unit::Ns,
        subject: of("raw_memif", Contender::RawMemif, "p50_ns"),
        reference: Some(of("raw_memif", Contender::Dpdk, "p50_ns")),
        relation: Relation::Share,
        at_least: Some(1.0),
        aim: Some(0.7),
    },
    Target {
        what: "raw 64 B frames, one way, frames/s: ours ÷ DPDK",
        unit: Unit::PerSecond,
        subject: of("raw_memif_rate", Contender::RawMemif, "frames_per_second"),
        reference: Some(of("raw_memif_rate", Contender::Dpdk, "frames_per_second")),
        relation: Relation::TimesMore,
        at_least: Some(1.0),
        aim: Some(1.3),
    },
    Target {
        what: "raw 64 B frames over AF_XDP, half round trip, p50: ours ÷ DPDK",
        unit: Unit::Ns,
        subject: of("raw_xdp", Contender::RawXdp, "p50_ns"),
        reference: Some(of("raw_xdp", Contender::Dpdk, "p50_ns")),
        relation: Relation::Share,
        at_least: Some(1.0),
        aim: None,
    },
    Target {
        what: "raw 64 B frames over AF_XDP, half round trip, p50: ours ÷ libxdp",
        unit: Unit::Ns,
        subject: of("raw_xdp", Contender::RawXdp, "p50_ns"),
        reference: Some(of("raw_xdp", Contender::Libxdp, "p50_ns")),
        relation: Relation::Share,
        at_least: Some(1.0),
        aim: None,
    },
    Target {
        what: "raw 64 B frames over AF_XDP, received in a second: ours ÷ DPDK",
        unit: Unit::PerSecond,
        subject: of("raw_xdp_rate", Contender::RawXdp, "received_per_second"),
        reference: Some(of("raw_xdp_rate", Contender::Dpdk, "received_per_second")),
        relation: Relation::TimesMore,
        at_least: Some(1.0),
        aim: Some(1.3),
    },
    Target {
        what: "raw 64 B frames over AF_XDP, sent in a second: ours ÷ DPDK",
        unit: Unit::PerSecond,
        subject: of("raw_xdp_rate", Contender::RawXdp, "sent_per_second"),
        reference: Some(of("raw_xdp_rate", Contender::Dpdk, "sent_per_second")),
        relation: Relation::TimesMore,
        at_least: Some(1.0),
        aim: Some(1.3),
    },
    Target {
        what: "raw 64 B frames over AF_XDP, forwarded in a second: ours ÷ DPDK",
        unit: Unit::PerSecond,
        subject: of("raw_xdp_rate", Contender::RawXdp, "forwarded_per_second"),
        reference: Some(of("raw_xdp_rate", Contender::Dpdk, "forwarded_per_second")),
        relation: Relation::TimesMore,
        at_least: Some(1.0),
        aim: Some(1.3),
    },
    beside_kernel(
        "one send of 32 B in the caller: ours ÷ kernel",
        ("call_cost", "send_ns", Unit::Ns),
        Relation::Share,
        0.2,
        Some(0.1),
    ),
    beside_kernel(
        "one recv of 32 B in the caller: ours ÷ kernel",
        ("call_cost", "recv_ns", Unit::Ns),
        Relation::Share,
        0.2,
        Some(0.1),
    ),
    segment(
        "a segment with 32 B in and its acknowledgement out, 8 in a poll, 10 connections",
        "at_10",
        Some(600.0),
    ),
    segment("the same among 100 k connections", "at_100k", Some(600.0)),
    segment("the same, one in a poll", "alone_at_10", None),
    segment(
        "the same, 8 in a poll over a network, checksums verified and computed",
        "network_at_10",
        None,
    ),
    beside_kernel(
        "redis GET, 1 connection, requests/s: ours ÷ kernel",
        ("redis_c1", "get_per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.5,
        Some(6.0),
    ),
    beside_kernel(
        "redis SET, 1 connection, requests/s: ours ÷ kernel",
        ("redis_c1", "set_per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.5,
        Some(6.0),
    ),
    beside_kernel(
        "redis GET, 50 connections, requests/s: ours ÷ kernel",
        ("redis_c50", "get_per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.0,
        Some(4.0),
    ),
    beside_kernel(
        "redis SET, 50 connections, requests/s: ours ÷ kernel",
        ("redis_c50", "set_per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.0,
        Some(4.0),
    ),
    beside_kernel(
        "nginx, 1 KB, keep-alive, requests/s: ours ÷ kernel",
        ("nginx_keepalive", "per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.0,
        Some(4.0),
    ),
    beside_kernel(
        "nginx, 1 KB, a connection each, connections/s: ours ÷ kernel",
        ("nginx_connections", "per_second", Unit::PerSecond),
        Relation::TimesMore,
        2.0,
        Some(4.0),
    ),
    beside_kernel(
        "one TCP stream, 64 KB writes: ours ÷ kernel",
        ("stream", "gbps", Unit::Gbps),
        Relation::TimesMore,
        1.0,
        Some(2.0),
    ),
    Target {
        what: "memory for an idle connection, one end",
        unit: Unit::Bytes,
        subject: of("idle_memory", Contender::Sidestep, "bytes_per_connection"),
        reference: None,
        relation: Relation::Bound,
        at_least: Some(2048.0),
        aim: None,
    },
    // "Flat" in figures: caches alone account for less than a doubling.
    Target {
        what: "time to find a flow: among 1 k ÷ among 10 connections",
        unit: Unit::Ns,
        subject: of("flow_lookup", Contender::Sidestep, "at_1k_ns"),
        reference: Some(of("flow_lookup", Contender::Sidestep, "at_10_ns")),
        relation: Relation::Share,
        at_least: Some(2.0),
        aim: None,
    },
    Target {
        what: "time to find a flow: among 100 k ÷ among 10 connections",
        unit: Unit::Ns,
        subject: of("flow_lookup", Contender::Sidestep, "at_100k_ns"),
        reference: Some(of("flow_lookup", Contender::Sidestep, "at_10_ns")),
        relation: Relation::Share,
        at_least: Some(2.0),
        aim: None,
    },
];
