//! The table of targets over links that lose.

use super::table::{beside_kernel, of};
use super::{Relation, Target};
use crate::model::{Contender, Unit};

/// At least what Linux makes of the same link.
const fn goodput(what: &'static str, metric: &'static str) -> Target {
    let of = ("goodput", metric, Unit::Mbps);
    beside_kernel(what, of, Relation::TimesMore, 1.0, None)
}

/// No longer than Linux takes for the same, with the same packets lost.
const fn request(what: &'static str, metric: &'static str) -> Target {
    let of = ("lossy_requests", metric, Unit::Ns);
    beside_kernel(what, of, Relation::Share, 1.0, None)
}

/// A figure of two streams on one link, by itself.
const fn shared(
    what: &'static str,
    (metric, unit): (&'static str, Unit),
    relation: Relation,
    at_least: f64,
) -> Target {
    Target {
        what,
        unit,
        subject: of("sharing", Contender::Sidestep, metric),
        reference: None,
        relation,
        at_least: Some(at_least),
        aim: None,
    }
}

/// Every row, in the order of the report.
pub(super) const TARGETS: &[Target] = &[
    goodput(
        "one TCP stream, 1 ms each way, 0.01 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_1_ms_0_01_percent",
    ),
    goodput(
        "one TCP stream, 1 ms each way, 0.1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_1_ms_0_1_percent",
    ),
    goodput(
        "one TCP stream, 1 ms each way, 1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_1_ms_1_percent",
    ),
    goodput(
        "one TCP stream, 1 ms each way, 5 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_1_ms_5_percent",
    ),
    goodput(
        "one TCP stream, 20 ms each way, 0.01 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_20_ms_0_01_percent",
    ),
    goodput(
        "one TCP stream, 20 ms each way, 0.1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_20_ms_0_1_percent",
    ),
    goodput(
        "one TCP stream, 20 ms each way, 1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_20_ms_1_percent",
    ),
    goodput(
        "one TCP stream, 20 ms each way, 5 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_20_ms_5_percent",
    ),
    goodput(
        "one TCP stream, 100 ms each way, 0.01 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_100_ms_0_01_percent",
    ),
    goodput(
        "one TCP stream, 100 ms each way, 0.1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_100_ms_0_1_percent",
    ),
    goodput(
        "one TCP stream, 100 ms each way, 1 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_100_ms_1_percent",
    ),
    goodput(
        "one TCP stream, 100 ms each way, 5 % lost, 100 Mbit/s: ours ÷ Linux",
        "at_100_ms_5_percent",
    ),
    request(
        "100 KB on a new TCP connection, 1 ms and 1 % lost each way, p50: ours ÷ Linux",
        "p50_at_1_ms",
    ),
    request(
        "100 KB on a new TCP connection, 1 ms and 1 % lost each way, p99: ours ÷ Linux",
        "p99_at_1_ms",
    ),
    request(
        "100 KB on a new TCP connection, 20 ms and 1 % lost each way, p50: ours ÷ Linux",
        "p50_at_20_ms",
    ),
    request(
        "100 KB on a new TCP connection, 20 ms and 1 % lost each way, p99: ours ÷ Linux",
        "p99_at_20_ms",
    ),
    request(
        "100 KB on a new TCP connection, 100 ms and 1 % lost each way, p50: ours ÷ Linux",
        "p50_at_100_ms",
    ),
    request(
        "100 KB on a new TCP connection, 100 ms and 1 % lost each way, p99: ours ÷ Linux",
        "p99_at_100_ms",
    ),
    shared(
        "two TCP streams of ours on 100 Mbit/s, 5 ms each way: Jain's index",
        ("jain_at_5_ms", Unit::Ratio),
        Relation::Floor,
        0.95,
    ),
    shared(
        "ours beside Linux's on 100 Mbit/s, 5 ms each way: no less than its part",
        ("beside_linux_at_5_ms", Unit::Percent),
        Relation::Floor,
        35.0,
    ),
    shared(
        "ours beside Linux's on 100 Mbit/s, 5 ms each way: no more than its part",
        ("beside_linux_at_5_ms", Unit::Percent),
        Relation::Bound,
        65.0,
    ),
    shared(
        "two TCP streams of ours on 100 Mbit/s, 20 ms each way: Jain's index",
        ("jain_at_20_ms", Unit::Ratio),
        Relation::Floor,
        0.95,
    ),
    shared(
        "ours beside Linux's on 100 Mbit/s, 20 ms each way: no less than its part",
        ("beside_linux_at_20_ms", Unit::Percent),
        Relation::Floor,
        35.0,
    ),
    shared(
        "ours beside Linux's on 100 Mbit/s, 20 ms each way: no more than its part",
        ("beside_linux_at_20_ms", Unit::Percent),
        Relation::Bound,
        65.0,
    ),
];
