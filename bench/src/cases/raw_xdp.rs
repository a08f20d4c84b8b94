//! Raw frames of 64 B over our AF_XDP driver on a pair of virtual interfaces, beside peers' on the same work.

use crate::case::Case;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::network::needs_root;
use crate::raw_xdp::peers::{Peer, Peers};
use crate::raw_xdp::{Work, peer_round_trips, rate, round_trips};
use std::time::Duration;

const FRAME_BYTES: usize = 64;
/// A frame as long as an MTU of 1500 allows, and what a TCP segment with timestamps has of it for its text.
const FULL_FRAME_BYTES: usize = 1514;
const TEXT_BYTES: f64 = 1448.0;
/// Round trips for each second of effort: a few microseconds each.
const FRAMES_PER_SECOND: f64 = 2e5;

/// Our driver and those of peers.
const CONTENDERS: &[Contender] = &[Contender::RawXdp, Contender::Dpdk, Contender::Libxdp];

/// Peers' programs, built when first needed.
#[derive(Default)]
struct LazyPeers(Option<Peers>);

impl LazyPeers {
    /// The peer that a contender is, built; none for our own driver.
    fn built(&mut self, who: Contender) -> Result<Option<(&Peers, Peer)>, Problem> {
        needs_root()?;
        let peer = match who {
            Contender::Dpdk => Peer::Dpdk,
            Contender::Libxdp => Peer::Libxdp,
            _ => return Ok(None),
        };
        let missing = |e: anyhow::Error| Problem::Missing(format!("{}: {e:#}", who.name()));
        let peers = match self.0.take() {
            Some(peers) => peers,
            None => Peers::new().map_err(missing)?,
        };
        let peers = self.0.insert(peers);
        peers.build(peer).map_err(missing)?;
        Ok(Some((peers, peer)))
    }
}

/// Half round trips.
#[derive(Default)]
pub(super) struct RawXdp(LazyPeers);

impl Case for RawXdp {
    fn name(&self) -> &'static str {
        "raw_xdp"
    }

    fn title(&self) -> &'static str {
        "raw frames of 64 B over AF_XDP on veth: half round trip, both sides spinning"
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
        let Some((peers, peer)) = self.0.built(who)? else {
            return half_round_trips(lab, effort);
        };
        let halves =
            peer_round_trips(lab.cpus, frames(effort), FRAME_BYTES, peers, peer).map_err(failed)?;
        let names = ["p50_ns", "p99_ns", "p999_ns", "max_ns"];
        if halves.len() != names.len() {
            return Err(Problem::Failed(format!(
                "not the figures that were asked for: {halves:?}"
            )));
        }
        Ok(names.into_iter().zip(halves).collect())
    }
}

/// Frames taken, sent and sent back.
#[derive(Default)]
pub(super) struct RawXdpRate(LazyPeers);

impl Case for RawXdpRate {
    fn name(&self) -> &'static str {
        "raw_xdp_rate"
    }

    fn title(&self) -> &'static str {
        "raw frames of 64 B over AF_XDP on veth, in bursts of 32: received, sent, sent back; our driver at the other end"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "received_per_second",
                unit: Unit::PerSecond,
            },
            Metric {
                name: "sent_per_second",
                unit: Unit::PerSecond,
            },
            Metric {
                name: "forwarded_per_second",
                unit: Unit::PerSecond,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        CONTENDERS
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let span = Duration::from_secs_f64(effort.seconds / 2.0);
        let peer = self.0.built(who)?;
        [
            ("received_per_second", Work::Receive),
            ("sent_per_second", Work::Send),
            ("forwarded_per_second", Work::Forward),
        ]
        .into_iter()
        .map(|(name, work)| {
            Ok((
                name,
                rate(lab.cpus, span, FRAME_BYTES, work, peer).map_err(failed)?,
            ))
        })
        .collect()
    }
}

/// What the text of a stream of full segments could be at most: as many raw frames as our driver can send, and nobody
/// who looks into them.
pub(super) fn stream_bound(lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
    needs_root()?;
    let span = Duration::from_secs_f64(effort.seconds / 2.0);
    let frames = rate(lab.cpus, span, FULL_FRAME_BYTES, Work::Send, None).map_err(failed)?;
    Ok(Figures::from([("gbps", frames * TEXT_BYTES * 8.0 / 1e9)]))
}

/// The figures of the round-trip cases, for raw frames.
pub(super) fn half_round_trips(lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
    needs_root()?;
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

/// Round trips that take about the time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of frames"
)]
fn frames(effort: Effort) -> u64 {
    (effort.seconds * FRAMES_PER_SECOND) as u64
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(e: anyhow::Error) -> Problem {
    Problem::Failed(format!("{e:#}"))
}
