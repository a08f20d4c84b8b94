//! Raw frames of 64 B over our own driver, beside DPDK's on the same work. Round trips and rate are cases apart, so
//! that the placement is looked at between them.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::raw_memif::dpdk::Dpdk;
use crate::raw_memif::{one_way_rate, round_trips};
use std::time::Duration;

const FRAME_BYTES: usize = 64;
/// Round trips for each second of effort: a few hundred nanoseconds each.
const FRAMES_PER_SECOND: f64 = 1e6;

/// Our driver and DPDK's.
const CONTENDERS: &[Contender] = &[Contender::RawMemif, Contender::Dpdk];

/// DPDK's program, built when it is first needed.
#[derive(Default)]
struct LazyDpdk(Option<Dpdk>);

impl LazyDpdk {
    fn built(&mut self) -> Result<&Dpdk, Problem> {
        let dpdk = match self.0.take() {
            Some(dpdk) => dpdk,
            None => Dpdk::build().map_err(|e| Problem::Missing(format!("DPDK: {e:#}")))?,
        };
        Ok(self.0.insert(dpdk))
    }
}

/// Half round trips.
#[derive(Default)]
pub(super) struct RawMemif(LazyDpdk);

impl Case for RawMemif {
    fn name(&self) -> &'static str {
        "raw_memif"
    }

    fn title(&self) -> &'static str {
        "raw frames of 64 B: half round trip"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "p50_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "p99_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "p999_ns",
                unit: Unit::Ns,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        CONTENDERS
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        if who != Contender::Dpdk {
            return half_round_trips(lab, effort);
        }
        let dpdk = self.0.built()?;
        let trips = dpdk
            .half_round_trips(lab.cpus, frames(effort), FRAME_BYTES)
            .map_err(failed)?;
        Ok(Figures::from([
            ("p50_ns", trips.p50_ns),
            ("p99_ns", trips.p99_ns),
            ("p999_ns", trips.p999_ns),
            ("max_ns", trips.max_ns),
        ]))
    }
}

/// Frames one way.
#[derive(Default)]
pub(super) struct RawMemifRate(LazyDpdk);

impl Case for RawMemifRate {
    fn name(&self) -> &'static str {
        "raw_memif_rate"
    }

    fn title(&self) -> &'static str {
        "raw frames of 64 B: frames one way, in bursts"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "frames_per_second",
            unit: Unit::PerSecond,
        }]
    }

    fn contenders(&self) -> &'static [Contender] {
        CONTENDERS
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let span = Duration::from_secs_f64(effort.seconds);
        let rate = if who == Contender::Dpdk {
            self.0.built()?.one_way_rate(lab.cpus, span, FRAME_BYTES)
        } else {
            one_way_rate(lab.cpus, span, FRAME_BYTES)
        };
        Ok(Figures::from([(
            "frames_per_second",
            rate.map_err(failed)?,
        )]))
    }
}

/// Round trips that take about the time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of frames"
)]
fn frames(effort: Effort) -> u64 {
    (effort.seconds * FRAMES_PER_SECOND) as u64
}

/// The figures of the round-trip cases, for raw frames.
pub(super) fn half_round_trips(lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
    let trips = round_trips(lab.cpus, frames(effort), FRAME_BYTES).map_err(failed)?;
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
