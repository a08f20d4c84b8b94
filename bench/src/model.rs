//! What is measured and what comes out: contenders, metrics, samples. Plain data that every report is made from.

use crate::placement;
use serde::Serialize;
use std::collections::BTreeMap;

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// The unmodified program over the kernel.
    Kernel,
    /// The same with all offloads of the interfaces off.
    KernelWithoutOffloads,
    /// The unmodified program under `sidestep run`.
    Sidestep,
    /// Only the server under `sidestep run`, the client over the kernel.
    SidestepServer,
    /// Two servers that share a port, with a stack and a queue of the interface each.
    TwoStacks,
    /// The smoltcp crate on its own API.
    Smoltcp,
    /// Raw frames over our own memif driver.
    RawMemif,
    /// Raw frames over our own AF_XDP driver.
    RawXdp,
    /// Raw frames over DPDK's driver for the same link.
    Dpdk,
    /// Raw frames over AF_XDP by the helpers of libxdp.
    Libxdp,
}

impl Contender {
    /// The name people read.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::KernelWithoutOffloads => "no offloads",
            Self::Sidestep => "Sidestep",
            Self::SidestepServer => "server alone",
            Self::TwoStacks => "two stacks",
            Self::Smoltcp => "smoltcp",
            Self::RawMemif => "raw memif",
            Self::RawXdp => "raw AF_XDP",
            Self::Dpdk => "DPDK",
            Self::Libxdp => "libxdp",
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Requests, connections or frames in a second.
    PerSecond,
    /// Gigabits in a second.
    Gbps,
    /// Megabits in a second.
    Mbps,
    /// Bytes.
    Bytes,
    /// Processor instructions.
    Instructions,
    /// Hundredths of a whole.
    Percent,
    /// A figure that is a ratio by itself.
    Ratio,
}

impl Unit {
    /// A figure of this unit as people read it.
    pub(crate) fn show(self, x: f64) -> String {
        match self {
            Self::Ns if x >= 1e6 => format!("{:.2} ms", x / 1e6),
            Self::Ns if x >= 10_000.0 => format!("{:.1} µs", x / 1e3),
            Self::Ns if x >= 1_000.0 => format!("{:.2} µs", x / 1e3),
            Self::Ns => format!("{x:.0} ns"),
            Self::PerSecond if x >= 1e6 => format!("{:.2} M/s", x / 1e6),
            Self::PerSecond if x >= 1e3 => format!("{:.1} k/s", x / 1e3),
            Self::PerSecond => format!("{x:.0} /s"),
            Self::Gbps => format!("{x:.1} Gbit/s"),
            Self::Mbps => format!("{x:.2} Mbit/s"),
            Self::Bytes if x >= 10_240.0 => format!("{:.1} KiB", x / 1024.0),
            Self::Bytes => format!("{x:.0} B"),
            Self::Instructions => format!("{x:.0} instr."),
            Self::Percent => format!("{x:.0} %"),
            Self::Ratio => format!("{x:.3}"),
        }
    }
}

/// The name of a figure within its case, and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Metric {
    /// Name, as in the JSON.
    pub(crate) name: &'static str,
    /// Unit.
    pub(crate) unit: Unit,
}

/// The figures of one measurement, by metric name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// One measurement of one contender, with the distance of the processors before and after it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Which round, from 0.
    pub(crate) round: usize,
    /// The figures.
    pub(crate) figures: Figures,
    /// A cache line from core to core before, in ns.
    pub(crate) line_before_ns: Option<f64>,
    /// The same afterwards.
    pub(crate) line_after_ns: Option<f64>,
    /// Whether these two differ by more than the placement explains.
    pub(crate) moved: bool,
}

impl Sample {
    /// The cache lines around this measurement.
    pub(crate) fn lines(&self) -> impl Iterator<Item = f64> + use<> {
        self.line_before_ns.into_iter().chain(self.line_after_ns)
    }

    /// A sample from figures and the lines around them.
    pub(crate) fn new(
        round: usize,
        figures: Figures,
        before: Option<f64>,
        after: Option<f64>,
    ) -> Self {
        let moved = placement::moved(before.into_iter().chain(after));
        Self {
            round,
            figures,
            line_before_ns: before,
            line_after_ns: after,
            moved,
        }
    }
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "why", rename_all = "kebab-case")]
pub(crate) enum Problem {
    /// Something that the measurement needs is not on this machine; says what, and what provides it.
    Missing(String),
    /// It ran, but what ran was not what the figure would claim.
    Invalid(String),
    /// It did not run to its end.
    Failed(String),
}

impl Problem {
    /// One line for people.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Missing(what) => format!("missing: {what}"),
            Self::Invalid(why) => format!("INVALID: {why}"),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(e: std::io::Error) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<rustix::io::Errno> for Problem {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Failed(e.to_string())
    }
}

/// All rounds of one contender in one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Who.
    pub(crate) contender: Contender,
    /// What came out, in the order of the rounds.
    pub(crate) samples: Vec<Sample>,
    /// The problem that ended its rounds, if any.
    pub(crate) problem: Option<Problem>,
}

/// Everything measured in one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CaseResult {
    /// Name, as `--only` takes it.
    pub(crate) case: &'static str,
    /// What the case does.
    pub(crate) title: &'static str,
    /// The figures it yields.
    pub(crate) metrics: &'static [Metric],
    /// One entry for each contender.
    pub(crate) entries: Vec<Entry>,
}

impl CaseResult {
    /// The entry of one contender.
    pub(crate) fn entry(&self, contender: Contender) -> Option<&Entry> {
        self.entries.iter().find(|e| e.contender == contender)
    }
}

/// How long one measurement may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Seconds of timed work.
    pub(crate) seconds: f64,
    /// Seconds of untimed work before.
    pub(crate) warmup_seconds: f64,
    /// Idle connections held when their memory is measured.
    pub(crate) idle_connections: usize,
    /// Seconds that the whole run may take.
    pub(crate) budget_seconds: f64,
}

impl Effort {
    /// For a first impression.
    pub(crate) const QUICK: Self = Self {
        seconds: 0.5,
        warmup_seconds: 0.3,
        idle_connections: 1_000,
        budget_seconds: 220.0,
    };
    /// For figures to publish.
    pub(crate) const FULL: Self = Self {
        seconds: 2.0,
        warmup_seconds: 0.5,
        idle_connections: 5_000,
        budget_seconds: 1260.0,
    };
}
