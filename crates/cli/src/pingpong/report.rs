//! What was measured, as the columns of sfnt-pingpong or as JSON.

use super::Load;
use super::session::Session;
use crate::output;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Longest round trip that is told from longer ones.
const ROUND_TRIP_NS_MAX: u64 = 100_000_000_000;

/// Round trips, three digits of each.
#[derive(Debug)]
pub(super) struct Histogram(hdrhistogram::Histogram<u64>);

impl Histogram {
    pub(super) fn new() -> Self {
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, ROUND_TRIP_NS_MAX, 3);
        Self(histogram.expect("the bounds are constant and valid"))
    }

    #[inline]
    pub(super) fn record(&mut self, round_trip_ns: u64) {
        self.0.saturating_record(round_trip_ns);
    }

    /// Half of the round trip that `percent` of them did not exceed.
    fn half_at(&self, percent: f64) -> u64 {
        self.0.value_at_quantile(percent / 100.0) / 2
    }
}

/// Half round trips of one size, in nanoseconds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    size: usize,
    mean_ns: f64,
    min_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    p9999_ns: u64,
    max_ns: u64,
    percentile_ns: u64,
    stddev_ns: f64,
    iterations: u64,
    lost: u64,
}

impl Row {
    pub(super) fn new(size: usize, of: &Histogram, lost: u64, percentile: f64) -> Self {
        Self {
            size,
            mean_ns: of.0.mean() / 2.0,
            min_ns: of.0.min() / 2,
            p50_ns: of.half_at(50.0),
            p90_ns: of.half_at(90.0),
            p99_ns: of.half_at(99.0),
            p999_ns: of.half_at(99.9),
            p9999_ns: of.half_at(99.99),
            max_ns: of.0.max() / 2,
            percentile_ns: of.half_at(percentile),
            stddev_ns: of.0.stdev() / 2.0,
            iterations: of.0.len(),
            lost,
        }
    }

    fn columns(&self) -> String {
        format!(
            "{:>8}{:>9.0}{:>9}{:>9}{:>10}{:>9}{:>9.0}{:>9}{:>9}{:>9}",
            self.size,
            self.mean_ns,
            self.min_ns,
            self.p50_ns,
            self.max_ns,
            self.percentile_ns,
            self.stddev_ns,
            self.iterations,
            self.p99_ns,
            self.p999_ns,
        )
    }
}

/// What was run, and where.
#[derive(Debug, Serialize)]
struct Setting {
    cmdline: String,
    version: &'static str,
    uname: String,
    cpu: String,
    cpus: usize,
    server: SocketAddr,
    protocol: &'static str,
    #[serde(flatten)]
    session: Session,
    ld_preload: Option<String>,
    /// SIDESTEP_ variables that were set.
    environment: Vec<String>,
    percentile: f64,
    /// Every figure is half of a round trip.
    reporting: &'static str,
}

/// Prints rows as they come, or all of them at the end.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    setting: Setting,
    results: Vec<Row>,
    #[serde(skip)]
    json: bool,
}

impl Report {
    pub(super) fn new(session: Session, server: SocketAddr, load: &Load) -> Self {
        let uname = rustix::system::uname();
        let words = [
            uname.sysname(),
            uname.release(),
            uname.version(),
            uname.machine(),
        ];
        let setting = Setting {
            cmdline: std::env::args().collect::<Vec<_>>().join(" "),
            version: env!("CARGO_PKG_VERSION"),
            uname: words.map(|word| word.to_string_lossy()).join(" "),
            cpu: cpu_model(),
            cpus: cpu_count(),
            server,
            protocol: if session.udp { "udp" } else { "tcp" },
            session,
            ld_preload: std::env::var("LD_PRELOAD").ok(),
            environment: sidestep_environment(),
            percentile: load.percentile,
            reporting: "1/2 RTT",
        };
        Self {
            setting,
            results: Vec::new(),
            json: load.json,
        }
    }

    /// Prints the header.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        if self.json {
            Ok(())
        } else {
            output::print(&self.header())
        }
    }

    fn header(&self) -> String {
        let Setting {
            cmdline,
            uname,
            cpu,
            cpus,
            server,
            protocol,
            session,
            ..
        } = &self.setting;
        let mut text = format!(
            "# cmdline: {cmdline}\n# version: {}\n",
            self.setting.version
        );
        let _ = writeln!(text, "# uname: {uname}\n# cpu: {cpu} ({cpus} online)");
        let _ = writeln!(
            text,
            "# LD_PRELOAD: {}",
            self.setting.ld_preload.as_deref().unwrap_or("")
        );
        for variable in &self.setting.environment {
            let _ = writeln!(text, "# env: {variable}");
        }
        let mode = format!("{:?}", session.mode).to_lowercase();
        let spin = if session.spin && mode != "spin" {
            ", spinning"
        } else {
            ""
        };
        let connected = if session.udp && session.connected {
            ", connected"
        } else {
            ""
        };
        let nodelay = if session.udp || session.nodelay {
            ""
        } else {
            ", Nagle on"
        };
        let _ = writeln!(
            text,
            "# server: {server} {protocol}{connected}{nodelay}, {mode}{spin}"
        );
        let _ = writeln!(text, "# percentile: {}", self.setting.percentile);
        let _ = writeln!(text, "# reporting: {}, nanoseconds", self.setting.reporting);
        let _ = writeln!(
            text,
            "#{:>7}{:>9}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "size", "mean", "min", "median", "max", "%ile", "stddev", "iter", "p99", "p99.9"
        );
        text
    }

    /// Takes a row.
    pub(super) fn row(&mut self, row: Row) -> anyhow::Result<()> {
        if !self.json {
            let mut line = row.columns() + "\n";
            if row.lost > 0 {
                let _ = writeln!(line, "# {} pings stayed without an answer", row.lost);
            }
            output::print(&line)?;
        }
        self.results.push(row);
        Ok(())
    }

    /// Prints what is left to print.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        if self.json {
            output::print_json(self)
        } else {
            Ok(())
        }
    }
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, model)| model.to_owned(),
        )
}

/// Processors that are online; those that this process may use are fewer once it is bound to one.
fn cpu_count() -> usize {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .filter(|line| line.starts_with("processor"))
        .count()
        .max(1)
}

fn sidestep_environment() -> Vec<String> {
    let mut found: Vec<_> = std::env::vars()
        .filter(|(name, _)| name.starts_with("SIDESTEP_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    found.sort();
    found
}
