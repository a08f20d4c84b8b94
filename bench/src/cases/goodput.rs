//! What TCP makes of links that lose: one stream over 100 Mbit/s, whose sender is Linux's or ours and whose reader is
//! Linux's, both at the same time, each packet by the same rule and from the same seeds. Needs root.

use super::at_once::AtOnce;
use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::network::needs_root;
use sidestep_interop::table;
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

/// Rounds of streams have seeds so far apart.
const SEEDS: u64 = 1000;

/// One stream over each link, as many links at once as the machine has time for; several where chance says more.
#[derive(Debug, Default)]
pub(super) struct Goodput(AtOnce);

/// What each side makes of each link.
fn measure(round: u64) -> anyhow::Result<[Figures; 2]> {
    let cells: Vec<_> = CELLS
        .iter()
        .flat_map(|(name, cell)| std::iter::repeat_n((*name, *cell), table::repeats(*cell)))
        .collect();
    let links: Vec<_> = cells.iter().map(|(_, cell)| *cell).collect();
    let found = table::measure(&links, SPAN, 1, SEEDS * round)?;
    let mut sums = [Figures::new(), Figures::new()];
    for ((name, cell), found) in cells.iter().zip(&found) {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let count = table::repeats(*cell) as f64;
        for (sum, flow) in sums.iter_mut().zip(found.sums()) {
            *sum.entry(name).or_default() += flow.bps / 1e6 / count;
        }
    }
    Ok(sums)
}

impl Case for Goodput {
    fn name(&self) -> &'static str {
        "goodput"
    }

    fn title(&self) -> &'static str {
        "one TCP stream over 100 Mbit/s (500 KB of queue) with loss and delay, CUBIC, 6 s, both at once"
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

    fn shares(&self) -> usize {
        6
    }

    fn measure(&mut self, who: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        needs_root()?;
        self.0.figures(who, measure)
    }
}
