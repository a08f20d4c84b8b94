//! Two TCP streams on one link: two of ours, and one of ours beside one of Linux's, whose readers are Linux's. Needs root.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::network::needs_root;
use sidestep_interop::table;
use sidestep_shm::Nanos;

/// How long each pair lasts: CUBIC needs seconds to find its share.
const SPAN: Nanos = Nanos::from_secs(12);

/// Jain's index of two of ours, and percents of both that ours has beside Linux's; at 5 and 20 ms.
const METRICS: &[Metric] = &[
    Metric {
        name: "jain_at_5_ms",
        unit: Unit::Ratio,
    },
    Metric {
        name: "beside_linux_at_5_ms",
        unit: Unit::Percent,
    },
    Metric {
        name: "jain_at_20_ms",
        unit: Unit::Ratio,
    },
    Metric {
        name: "beside_linux_at_20_ms",
        unit: Unit::Percent,
    },
];

/// Both pairs at the same time, one delay after the other.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    rounds: u64,
}

impl Case for Sharing {
    fn name(&self) -> &'static str {
        "sharing"
    }

    fn title(&self) -> &'static str {
        "two TCP streams on one link of 100 Mbit/s (500 KB of queue), CUBIC, 12 s"
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Sidestep]
    }

    fn shares(&self) -> usize {
        4
    }

    fn measure(&mut self, _: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        needs_root()?;
        let seed = self.rounds;
        self.rounds += 1;
        let found = table::measure_shares(SPAN, seed)
            .map_err(|error| Problem::Failed(format!("{error:#}")))?;
        let figures = found
            .into_iter()
            .flat_map(|[two, [ours, linux]]| [table::jain(two), 100.0 * ours / (ours + linux)]);
        Ok(METRICS
            .iter()
            .map(|metric| metric.name)
            .zip(figures)
            .collect())
    }
}
