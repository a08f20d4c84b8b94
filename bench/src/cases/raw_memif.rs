//! Raw frames of 64 B over our own driver, beside DPDK's on the same work.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};

/// Half round trips, and frames one way.
#[derive(Debug)]
pub(super) struct RawMemif;

impl Case for RawMemif {
    fn name(&self) -> &'static str {
        "raw_memif"
    }

    fn title(&self) -> &'static str {
        "raw frames of 64 B: half round trip, and frames one way"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "p50_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "p999_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "frames_per_second",
                unit: Unit::PerSecond,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::RawMemif, Contender::Dpdk]
    }

    fn measure(&mut self, who: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        Err(Problem::Missing(format!(
            "a measurement of {} in this version",
            who.name()
        )))
    }
}
