//! How long 100 KB take over links that lose: each on a connection of its own, whose client is Linux's and whose server
//! is Linux's or ours, both at the same time with the same packets lost. Needs root.

use super::at_once::AtOnce;
use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::network::needs_root;
use sidestep_interop::table::{self, REQUEST_DELAYS_MS};

/// Connections at each delay: one in fifty of them loses its SYN or SYN-ACK, on which p99 depends.
const CONNECTIONS: usize = 1000;
/// The same for a first impression.
const CONNECTIONS_QUICK: usize = 400;

/// Median and 99th percentile at each of [`REQUEST_DELAYS_MS`].
const NAMES: [[&str; 2]; REQUEST_DELAYS_MS.len()] = [
    ["p50_at_1_ms", "p99_at_1_ms"],
    ["p50_at_20_ms", "p99_at_20_ms"],
    ["p50_at_100_ms", "p99_at_100_ms"],
];

/// Requests at several delays, one after the other.
#[derive(Debug, Default)]
pub(super) struct Requests(AtOnce);

fn measure(connections: usize, round: u64) -> anyhow::Result<[Figures; 2]> {
    let mut figures = [Figures::new(), Figures::new()];
    for (delay_ms, [p50, p99]) in REQUEST_DELAYS_MS.into_iter().zip(NAMES) {
        let both = table::measure_requests(delay_ms, connections, round)?;
        for (figures, took) in figures.iter_mut().zip(&both) {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes")]
            let within = |thousandths| table::within(took, thousandths).0 as f64;
            figures.extend([(p50, within(500)), (p99, within(990))]);
        }
    }
    Ok(figures)
}

impl Case for Requests {
    fn name(&self) -> &'static str {
        "lossy_requests"
    }

    fn title(&self) -> &'static str {
        "100 KB asked for over a new TCP connection, 1 % lost each way, server by itself, both at once"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 2 * NAMES.len()] = {
            let mut metrics = [Metric {
                name: "",
                unit: Unit::Ns,
            }; 2 * NAMES.len()];
            let mut i = 0;
            while i < metrics.len() {
                metrics[i].name = NAMES[i / 2][i % 2];
                i += 1;
            }
            metrics
        };
        &METRICS
    }

    fn contenders(&self) -> &'static [Contender] {
        super::BESIDE_KERNEL
    }

    fn shares(&self) -> usize {
        6
    }

    fn measure(&mut self, who: Contender, _: &Lab, effort: Effort) -> Result<Figures, Problem> {
        needs_root()?;
        let connections = if effort.seconds < Effort::FULL.seconds {
            CONNECTIONS_QUICK
        } else {
            CONNECTIONS
        };
        self.0.figures(who, |round| measure(connections, round))
    }
}
