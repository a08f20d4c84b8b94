//! Time to find a flow among few and among many.
//!
//! Resets that claim to be of a connection, but come over another wire than its own, are worked in as far as the
//! connection that they claim, and no further: what is timed is a frame's way from the ring to its flow.

use crate::case::Case;
use crate::clock::Stopwatch;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::placement::pinned;
use crate::stats::Summary;
use sidestep_nic::Port as _;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Nanos, Owner};
use sidestep_stack::{Address, Config, Endpoint, SharedStack, SocketFlags, WireSetup};
use sidestep_wire::{EtherType, Protocol, Seq, ethernet, ip, tcp};
use std::sync::Arc;

/// Frames between two looks at the stopwatch.
const BATCH: usize = 64;
/// Buffers are not touched beyond a short frame.
const BUFFER_BYTES: u32 = 2048;
const LOG2_SLOTS: u8 = 9;
/// Connections that differ in the peer's port before its address changes.
const PORTS: usize = 50_000;
const FRAME_BYTES: usize = ethernet::HEADER_BYTES + 20 + tcp::HEADER_BYTES;

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

/// The far end of a wire, which speaks frames and knows no protocol.
struct Far {
    state: State,
    attachment: Attachment,
}

impl Far {
    fn port(&mut self) -> Memif<'_> {
        Memif::new(&mut self.state, &self.attachment)
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
    let (mut own, own_index) = join(&stack, owner, 1)?;
    let (mut other, _) = join(&stack, owner, 2)?;
    connect(&stack, owner, flows, &mut own, own_index)?;

    let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
    let found_before = guard.counters().tcp_rx_segments;
    let (mut batches, mut random) = (Vec::new(), 0x9e37_79b9_u64);
    let watch = Stopwatch::start();
    while watch.elapsed().as_secs_f64() < seconds {
        let mut port = other.port();
        for _ in 0..BATCH {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let frame = reset(usize::try_from(random % flows as u64).unwrap_or(0));
            if !port.tx(frame.len(), |mut room| {
                room.copy_from(&frame);
            }) {
                return Err(Problem::Failed("the wire is full".into()));
            }
        }
        port.tx_flush();
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

/// Gives the stack a wire; returns its far end and its index.
fn join(stack: &SharedStack, owner: Owner, id: u64) -> Result<(Far, u32), Problem> {
    let geometry = Geometry::wire(LOG2_SLOTS, BUFFER_BYTES)
        .ok_or_else(|| Problem::Failed("no wire of such a size".into()))?;
    let region = Arc::new(wire::create(&geometry)?);
    let attach = |role| Attachment::for_wire(Arc::clone(&region), &geometry, role, EventFd::new()?);
    let far = Far {
        state: State::new(Role::Slave, &geometry),
        attachment: attach(Role::Slave)?,
    };
    let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
    let setup = WireSetup {
        id,
        peer_stack: id,
        geometry,
        role: Role::Master,
    };
    let index = guard.add_wire(&setup).map_err(|e| failed(&e))?;
    let missing = guard
        .unattached_wire()
        .ok_or_else(|| Problem::Failed("the wire is not open".into()))?;
    guard.attach_wire(index, missing.generation, attach(Role::Master)?);
    Ok((far, index))
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
        far.port().rx_batch(BATCH, |_| {});
    }
    guard.poll(Nanos::from_secs(1));
    Ok(())
}

fn failed(why: &impl std::fmt::Debug) -> Problem {
    Problem::Failed(format!("the stack says {why:?}"))
}

/// Our end and the peer's of a connection, by its number.
fn ends(flow: usize) -> (Endpoint, Endpoint) {
    let narrow = |n: usize| u16::try_from(n).unwrap_or(0);
    let [high, low] = narrow(flow / PORTS).to_be_bytes();
    let local = Endpoint::new(Address::from_v4([10, 0, 0, 1]), 6379);
    let remote = Endpoint::new(
        Address::from_v4([10, 1, high, low]),
        1024 + narrow(flow % PORTS),
    );
    (local, remote)
}

/// A frame with a reset from the peer of a connection.
fn reset(flow: usize) -> [u8; FRAME_BYTES] {
    let (local, remote) = ends(flow);
    let segment = tcp::Repr {
        src_port: remote.port,
        dst_port: local.port,
        seq: Seq(1),
        flags: tcp::Flags::RST,
        ..tcp::Repr::default()
    };
    let packet = ip::Repr {
        src: remote.addr,
        dst: local.addr,
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: tcp::HEADER_BYTES,
    };
    let link = ethernet::Repr {
        dst: ethernet::Mac([2, 0, 0, 0, 0, 1]),
        src: ethernet::Mac([2, 0, 0, 0, 0, 2]),
        ethertype: EtherType::IPV4,
    };
    let mut frame = [0; FRAME_BYTES];
    let at = link.emit(&mut frame);
    let at = at + packet.emit(&mut frame[at..]);
    segment.emit(&mut frame[at..]);
    frame
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

    #[test]
    fn connections_are_all_unlike() {
        let mut all: Vec<_> = (0..100_000).map(|flow| ends(flow).1).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100_000);
    }
}
