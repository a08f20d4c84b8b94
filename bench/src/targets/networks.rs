//! The table of targets over networks.

use super::table::{beside_kernel, of};
use super::{Relation, Target};
use crate::model::{Contender, Unit};

/// A row that sets one contender against another on one metric of one case; nothing is to be reached.
const fn reported(
    what: &'static str,
    (case, metric, unit): (&'static str, &'static str, Unit),
    relation: Relation,
    (subject, reference): (Contender, Contender),
) -> Target {
    Target {
        what,
        unit,
        subject: of(case, subject, metric),
        reference: Some(of(case, reference, metric)),
        relation,
        at_least: None,
        aim: None,
    }
}

/// What a server gains, both ends accelerated: at least, and the aim.
const SERVER_GAIN: (f64, Option<f64>) = (1.5, Some(2.5));

/// Both ends accelerated.
const fn server(what: &'static str, case: &'static str, metric: &'static str) -> Target {
    let of = (case, metric, Unit::PerSecond);
    beside_kernel(what, of, Relation::TimesMore, SERVER_GAIN.0, SERVER_GAIN.1)
}

/// Only the server accelerated.
const fn server_alone(what: &'static str, case: &'static str, metric: &'static str) -> Target {
    reported(
        what,
        (case, metric, Unit::PerSecond),
        Relation::TimesMore,
        (Contender::SidestepServer, Contender::Kernel),
    )
}

/// Every row, in the order of the report.
pub(super) const TARGETS: &[Target] = &[
    beside_kernel(
        "TCP half round trip over veth, 32 B, both spinning, p50: kernel ÷ ours",
        ("net_tcp_rtt_spin", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        1.8,
        Some(2.3),
    ),
    beside_kernel(
        "TCP half round trip over veth, 32 B, blocking, untuned, p50: kernel ÷ ours",
        ("net_tcp_rtt_blocking", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        8.0,
        Some(12.0),
    ),
    Target {
        what: "TCP half round trip over veth, 32 B, p50: ours ÷ raw frames of our own driver",
        unit: Unit::Ns,
        subject: of("net_tcp_rtt_spin", Contender::Sidestep, "p50_ns"),
        reference: Some(of("net_tcp_rtt_spin", Contender::RawXdp, "p50_ns")),
        relation: Relation::Share,
        at_least: Some(1.25),
        aim: Some(1.12),
    },
    reported(
        "UDP half round trip over veth, 32 B, both spinning, p50: kernel ÷ ours",
        ("net_udp_rtt_spin", "p50_ns", Unit::Ns),
        Relation::TimesFaster,
        (Contender::Sidestep, Contender::Kernel),
    ),
    server(
        "redis GET over veth, 1 connection, requests/s: ours ÷ kernel",
        "net_redis_c1",
        "get_per_second",
    ),
    server(
        "redis SET over veth, 1 connection, requests/s: ours ÷ kernel",
        "net_redis_c1",
        "set_per_second",
    ),
    server(
        "redis GET over veth, 50 connections, requests/s: ours ÷ kernel",
        "net_redis_c50",
        "get_per_second",
    ),
    server(
        "redis SET over veth, 50 connections, requests/s: ours ÷ kernel",
        "net_redis_c50",
        "set_per_second",
    ),
    server(
        "nginx over veth, 1 KB, keep-alive, requests/s: ours ÷ kernel",
        "net_nginx_keepalive",
        "per_second",
    ),
    server(
        "nginx over veth, 1 KB, a connection each, connections/s: ours ÷ kernel",
        "net_nginx_connections",
        "per_second",
    ),
    server_alone(
        "redis GET over veth, 1 connection: only the server ours ÷ kernel",
        "net_redis_c1",
        "get_per_second",
    ),
    server_alone(
        "redis SET over veth, 1 connection: only the server ours ÷ kernel",
        "net_redis_c1",
        "set_per_second",
    ),
    server_alone(
        "redis GET over veth, 50 connections: only the server ours ÷ kernel",
        "net_redis_c50",
        "get_per_second",
    ),
    server_alone(
        "redis SET over veth, 50 connections: only the server ours ÷ kernel",
        "net_redis_c50",
        "set_per_second",
    ),
    server_alone(
        "nginx over veth, keep-alive: only the server ours ÷ kernel",
        "net_nginx_keepalive",
        "per_second",
    ),
    server_alone(
        "nginx over veth, a connection each: only the server ours ÷ kernel",
        "net_nginx_connections",
        "per_second",
    ),
    reported(
        "nginx over veth, keep-alive: two stacks on two queues ÷ one on one, on one processor",
        ("net_nginx_keepalive", "per_second", Unit::PerSecond),
        Relation::TimesMore,
        (Contender::TwoStacks, Contender::Sidestep),
    ),
    Target {
        what: "one TCP stream over veth, MTU 1500: ours ÷ kernel without offloads",
        unit: Unit::Gbps,
        subject: of("net_stream", Contender::Sidestep, "gbps"),
        reference: Some(of("net_stream", Contender::KernelWithoutOffloads, "gbps")),
        relation: Relation::TimesMore,
        at_least: Some(1.0),
        aim: Some(1.5),
    },
    reported(
        "one TCP stream over veth, MTU 1500: ours ÷ kernel with offloads",
        ("net_stream", "gbps", Unit::Gbps),
        Relation::TimesMore,
        (Contender::Sidestep, Contender::Kernel),
    ),
    reported(
        "one TCP stream over veth, MTU 1500: ours ÷ as many raw frames as our driver can send",
        ("net_stream", "gbps", Unit::Gbps),
        Relation::TimesMore,
        (Contender::Sidestep, Contender::RawXdp),
    ),
];
