//! The table of targets over links that lose.

use super::table::beside_kernel;
use super::{Relation, Target};
use crate::model::Unit;

/// At least what Linux makes of the same link.
const fn goodput(what: &'static str, metric: &'static str) -> Target {
    let of = ("goodput", metric, Unit::Mbps);
    beside_kernel(what, of, Relation::TimesMore, 1.0, None)
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
];
