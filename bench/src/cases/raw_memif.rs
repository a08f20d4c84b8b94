//! Raw frames of 64 B over our own driver, beside DPDK's on the same work.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::raw_memif::{one_way_rate, round_trips};
use std::time::Duration;

const FRAME_BYTES: usize = 64;
/// Round trips for each second of effort: a few hundred nanoseconds each.
const FRAMES_PER_SECOND: f64 = 1e6;

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

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        if who == Contender::Dpdk {
            return Err(Problem::Missing(
                "a measurement of DPDK in this version".into(),
            ));
        }
        let mut figures = half_round_trips(lab, effort)?;
        let span = Duration::from_secs_f64(effort.seconds);
        let rate = one_way_rate(lab.cpus, span, FRAME_BYTES).map_err(failed)?;
        figures.insert("frames_per_second", rate);
        Ok(figures)
    }
}

/// The figures of the round-trip cases, for raw frames.
pub(super) fn half_round_trips(lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of frames"
    )]
    let frames = (effort.seconds * FRAMES_PER_SECOND) as u64;
    let trips = round_trips(lab.cpus, frames, FRAME_BYTES).map_err(failed)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of far less than a month"
    )]
    let half = |ns: u64| ns as f64 / 2.0;
    Ok(Figures::from([
        ("p50_ns", half(trips.value_at_quantile(0.5))),
        ("p99_ns", half(trips.value_at_quantile(0.99))),
        ("p999_ns", half(trips.value_at_quantile(0.999))),
        ("max_ns", half(trips.max())),
    ]))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(e: anyhow::Error) -> Problem {
    Problem::Failed(format!("{e:#}"))
}
