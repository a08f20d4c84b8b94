//! The rows of a million connections. "Flat" in figures: caches alone account for less than a doubling.

use super::table::of;
use super::{Relation, Target};
use crate::model::{Contender, Unit};

/// A row that sets the time with many connections against that with a thousand.
const fn flat(what: &'static str, many: &'static str, few: &'static str) -> Target {
    Target {
        what,
        unit: Unit::Ns,
        subject: of("many_connections", Contender::Sidestep, many),
        reference: Some(of("many_connections", Contender::Sidestep, few)),
        relation: Relation::Share,
        at_least: Some(2.0),
        aim: None,
    }
}

pub(super) const TARGETS: &[Target] = &[
    flat(
        "opening a connection: of 100 k ÷ of 1 k",
        "open_100k_ns",
        "open_1k_ns",
    ),
    flat(
        "a request and its answer: on 100 k ÷ on 1 k connections",
        "use_100k_ns",
        "use_1k_ns",
    ),
    flat(
        "closing a connection: of 100 k ÷ of 1 k",
        "close_100k_ns",
        "close_1k_ns",
    ),
    flat(
        "opening a connection: of 1 M ÷ of 1 k",
        "open_1m_ns",
        "open_1k_ns",
    ),
    flat(
        "a request and its answer: on 1 M ÷ on 1 k connections",
        "use_1m_ns",
        "use_1k_ns",
    ),
    flat(
        "closing a connection: of 1 M ÷ of 1 k",
        "close_1m_ns",
        "close_1k_ns",
    ),
    Target {
        what: "memory for each end of 1 M idle connections",
        unit: Unit::Bytes,
        subject: of("many_connections", Contender::Sidestep, "bytes_1m"),
        reference: None,
        relation: Relation::Bound,
        at_least: Some(2048.0),
        aim: None,
    },
];
