//! Time to find a flow among few and among many.
//!
//! Resets that claim to be of a connection, but come over another wire than its own, are worked in as far as the
//! connection that they claim, and no further: what is timed is a frame's way from the ring to its flow.

use crate::case::Case;
use crate::clock::Stopwatch;
use crate::far::{Far, ends, failed, frame};
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::placement::pinned;
use crate::stats::Summary;
use sidestep_shm::{Nanos, Owner};
use sidestep_stack::{Config, SharedStack, SocketFlags};
use sidestep_wire::{Seq, tcp};

/// Frames between two looks at the stopwatch.
const BATCH: usize = 64;

/// Table sizes by metric.
const SIZES: [(&str, usize); 3] = [
    ("at_10_ns", 10),
    ("at_1k_ns", 1_000),
    ("at_100k_ns", 100_000),
];

/// Frames to random connections.
#[derive(Debug)]
pub(super) struct FlowLookup;

impl Case for FlowLookup {
    fn name(&self) -> &'static str {
        "flow_lookup"
    }

    fn title(&self) -> &'static str {
        "a frame's way to a random flow among 10, 1 k and 100 k connections: parse, hash, find"
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

    fn measure(&mut self, _: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        pinned(lab.cpus.client, || {
            let measured =
                SIZES.map(|(name, flows)| Ok((name, find_ns(flows, effort.seconds / 3.0)?)));
            measured.into_iter().collect()
        })?
    }
}

/// Median time of a frame's way to its flow among so many, over so many seconds.
fn find_ns(flows: usize, seconds: f64) -> Result<f64, Problem> {
    let config = Config {
        sockets_max: flows + 16,
        chunks_max: 64,
        secret: 0x5eed,
        ..Config::default()
    };
    let stack = sidestep_stack::create_private(&config)?;
    let owner = Owner {
        slot: 0,
        pid: std::process::id(),
    };
    let (mut own, own_index) = Far::join(&stack, owner, 1, false)?;
    let (mut other, _) = Far::join(&stack, owner, 2, false)?;
    connect(&stack, owner, flows, &mut own, own_index)?;

    let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
    let found_before = guard.counters().tcp_rx_segments;
    let (mut batches, mut random) = (Vec::new(), 0x9e37_79b9_u64);
    let watch = Stopwatch::start();
    while watch.elapsed().as_secs_f64() < seconds {
        for _ in 0..BATCH {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let frame = reset(usize::try_from(random % flows as u64).unwrap_or(0));
            other.put(&frame)?;
        }
        other.flush();
        let timed = Stopwatch::start();
        let taken = guard.poll(Nanos::from_secs(1));
        let ns = timed.ns();
        if taken != BATCH {
            return Err(Problem::Failed(format!(
                "{taken} of {BATCH} frames were taken"
            )));
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch takes microseconds")]
        batches.push(ns as f64 / BATCH as f64);
    }
    let found = guard.counters().tcp_rx_segments - found_before;
    if found != (batches.len() * BATCH) as u64 {
        return Err(Problem::Invalid(format!(
            "{found} segments reached TCP, of {}",
            batches.len() * BATCH
        )));
    }
    Summary::of(batches)
        .map(|s| s.median)
        .ok_or_else(|| Problem::Failed("no time to measure".into()))
}

/// Fills the flow table with connections that wait for an answer, which never comes: time stands still.
fn connect(
    stack: &SharedStack,
    owner: Owner,
    flows: usize,
    far: &mut Far,
    wire: u32,
) -> Result<(), Problem> {
    let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
    let slot = guard.take_slot(owner.pid).map_err(|e| failed(&e))?;
    for flow in 0..flows {
        let socket = guard
            .new_stream(SocketFlags::empty(), slot)
            .map_err(|e| failed(&e))?;
        guard
            .connect(Nanos::from_secs(1), socket, ends(flow), wire)
            .map_err(|e| failed(&e))?;
        far.take(|_| {});
    }
    guard.poll(Nanos::from_secs(1));
    Ok(())
}

/// A frame with a reset from the peer of a connection.
fn reset(flow: usize) -> Vec<u8> {
    let segment = tcp::Repr {
        seq: Seq(1),
        flags: tcp::Flags::RST,
        ..tcp::Repr::default()
    };
    frame(ends(flow), segment, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_reaches_tcp_and_no_connection_minds() {
        for flows in [1, 10, 700] {
            assert!(find_ns(flows, 0.001).unwrap() > 0.0);
        }
    }
}
