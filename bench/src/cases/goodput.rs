//! What TCP makes of links that lose: one stream over 100 Mbit/s, whose sender is Linux's or ours and whose reader is
//! Linux's, each packet by the same rule and from the same seeds. Needs root.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::network::needs_root;
use sidestep_interop::{Tcp, table};
use sidestep_shm::Nanos;

/// How long each stream lasts: on the longest path slow start takes two seconds.
const SPAN: Nanos = Nanos::from_secs(6);

/// Cells by metric: delay each way in milliseconds, loss in parts per million.
const CELLS: [(&str, (u64, u32)); 12] = [
    ("at_1_ms_0_01_percent", (1, 100)),
    ("at_1_ms_0_1_percent", (1, 1_000)),
    ("at_1_ms_1_percent", (1, 10_000)),
    ("at_1_ms_5_percent", (1, 50_000)),
    ("at_20_ms_0_01_percent", (20, 100)),
    ("at_20_ms_0_1_percent", (20, 1_000)),
    ("at_20_ms_1_percent", (20, 10_000)),
    ("at_20_ms_5_percent", (20, 50_000)),
    ("at_100_ms_0_01_percent", (100, 100)),
    ("at_100_ms_0_1_percent", (100, 1_000)),
    ("at_100_ms_1_percent", (100, 10_000)),
    ("at_100_ms_5_percent", (100, 50_000)),
];

/// One stream over each link, as many links at once as the machine has time for.
#[derive(Debug, Default)]
pub(super) struct Goodput {
    /// How often Linux, and we, were measured: each time from another seed, the same for both.
    measured: [u64; 2],
}

impl Case for Goodput {
    fn name(&self) -> &'static str {
        "goodput"
    }

    fn title(&self) -> &'static str {
        "one TCP stream over 100 Mbit/s (500 KB of queue) with loss and delay, CUBIC, 6 s"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; CELLS.len()] = {
            let mut metrics = [Metric {
                name: "",
                unit: Unit::Mbps,
            }; CELLS.len()];
            let mut i = 0;
            while i < CELLS.len() {
                metrics[i].name = CELLS[i].0;
                i += 1;
            }
            metrics
        };
        &METRICS
    }

    fn contenders(&self) -> &'static [Contender] {
        super::BESIDE_KERNEL
    }

    fn measure(&mut self, who: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        needs_root()?;
        let tcp = if who == Contender::Kernel {
            Tcp::Linux
        } else {
            Tcp::Ours
        };
        let measured = &mut self.measured[usize::from(tcp == Tcp::Ours)];
        let seed = *measured;
        *measured += 1;
        let cells = CELLS.map(|(_, cell)| cell);
        let found = table::goodput_of(tcp, &cells, SPAN, seed)
            .map_err(|error| Problem::Failed(format!("{error:#}")))?;
        let figures = CELLS.iter().zip(found);
        Ok(figures.map(|((name, _), bps)| (*name, bps / 1e6)).collect())
    }
}
