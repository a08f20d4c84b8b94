//! Time to find a flow among few and among many.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};

/// Lookups in the stack's own table.
#[derive(Debug)]
pub(super) struct FlowLookup;

impl Case for FlowLookup {
    fn name(&self) -> &'static str {
        "flow_lookup"
    }

    fn title(&self) -> &'static str {
        "time to find a flow among 10, 1 k and 100 k connections"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "at_10_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "at_1k_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "at_100k_ns",
                unit: Unit::Ns,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Sidestep]
    }

    fn measure(&mut self, _: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        Err(Problem::Missing(
            "a measurement of the flow table in this version".into(),
        ))
    }
}
