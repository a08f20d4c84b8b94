//! Connections by the million: two stacks in this process with a wire between them.
//!
//! All are opened, then all are used (a request there and an answer back, one connection after another, so that a
//! connection's memory is as cold as it gets), then all are closed, until both stacks are empty. What one costs is to
//! be the same however many there are.

use super::idle_memory::memory_in;
use crate::case::Case;
use crate::clock::Stopwatch;
use crate::far::{ends, failed, geometry};
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::placement::pinned;
use sidestep_nic::memif::{Attachment, Role, wire};
use sidestep_shm::{EventFd, Nanos, Owner};
use sidestep_stack::{Config, SharedStack, SocketFlags, SocketRef, Stack, WireSetup};
use std::sync::Arc;

/// Connections that are worked on between two looks at the wire.
const BATCH: usize = 64;
/// More than are under way at once.
const BACKLOG: u32 = 128;
/// Time that passes with a batch, as on a busy server.
const STEP: Nanos = Nanos(100_000);
/// Longer than TIME-WAIT on a wire.
const OUTLIVES: Nanos = Nanos::from_secs(2);
/// Polls after which stacks that are not quiet are stuck.
const ROUNDS_MAX: usize = 10_000;
/// Bytes of a message.
const MESSAGE_BYTES: usize = 32;
/// Memory to be had for each connection, both ends, before so many are tried.
const BYTES_WANTED: u64 = 5_000;

/// Numbers of connections, with the names of what is measured of each: opening, using, closing, memory of one end.
const SIZES: [(usize, [&str; 4]); 4] = [
    (
        1_000,
        ["open_1k_ns", "use_1k_ns", "close_1k_ns", "bytes_1k"],
    ),
    (
        10_000,
        ["open_10k_ns", "use_10k_ns", "close_10k_ns", "bytes_10k"],
    ),
    (
        100_000,
        ["open_100k_ns", "use_100k_ns", "close_100k_ns", "bytes_100k"],
    ),
    (
        1_000_000,
        ["open_1m_ns", "use_1m_ns", "close_1m_ns", "bytes_1m"],
    ),
];
/// The most with `--quick`.
const QUICK_MOST: usize = 100_000;

const fn ns(name: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::Ns,
    }
}

const fn bytes(name: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::Bytes,
    }
}

/// A million connections.
#[derive(Debug)]
pub(super) struct Many;

impl Case for Many {
    fn name(&self) -> &'static str {
        "many_connections"
    }

    fn title(&self) -> &'static str {
        "1 k to 1 M connections (100 k with --quick) opened, used and closed, both ends in one process: time and memory of each"
    }

    fn metrics(&self) -> &'static [Metric] {
        const ALL: [Metric; 16] = {
            let mut all = [ns(""); 16];
            let mut i = 0;
            while i < SIZES.len() {
                let [open, used, close, memory] = SIZES[i].1;
                all[4 * i] = ns(open);
                all[4 * i + 1] = ns(used);
                all[4 * i + 2] = ns(close);
                all[4 * i + 3] = bytes(memory);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Sidestep]
    }

    fn measure(&mut self, _: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let quick = effort.seconds < Effort::FULL.seconds;
        let mut figures = Figures::new();
        for (connections, names) in SIZES {
            if quick && connections > QUICK_MOST {
                break;
            }
            let available = memory_in("/proc/meminfo", "MemAvailable:")?;
            if available < BYTES_WANTED * connections as u64 {
                return Err(Problem::Missing(format!(
                    "memory for {connections} connections: {available} bytes are to be had"
                )));
            }
            let measured = pinned(lab.cpus.client, || run(connections))??;
            figures.extend(names.into_iter().zip(measured));
        }
        Ok(figures)
    }
}

/// Time to open, use and close one of so many connections, and the bytes that each end takes while it is idle.
fn run(connections: usize) -> Result<[f64; 4], Problem> {
    let mut pair = Pair::new(connections)?;
    let before = memory_in("/proc/self/status", "VmRSS:")?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let each = |n: u64| n as f64 / connections as f64;
    let watch = Stopwatch::start();
    pair.open(connections)?;
    let open = watch.ns();
    let taken = memory_in("/proc/self/status", "VmRSS:")?.saturating_sub(before);
    let watch = Stopwatch::start();
    pair.exchange()?;
    let used = watch.ns();
    let watch = Stopwatch::start();
    pair.close()?;
    let close = watch.ns();
    Ok([each(open), each(used), each(close), each(taken) / 2.0])
}

/// A stack at one end of the wire.
struct End {
    stack: SharedStack,
    owner: Owner,
    wire: u32,
}

impl End {
    fn new(
        sockets_max: usize,
        region: &Arc<sidestep_shm::Region>,
        role: Role,
    ) -> Result<Self, Problem> {
        let config = Config {
            sockets_max,
            chunks_max: 4 * BATCH,
            secret: 0x5eed,
            ..Config::default()
        };
        let geometry = geometry()?;
        let stack = sidestep_stack::create_private(&config)?;
        let mut owner = Owner {
            slot: 0,
            pid: std::process::id(),
        };
        let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
        owner.slot = guard.take_slot(owner.pid).map_err(|e| failed(&e))?;
        let setup = WireSetup {
            id: 1,
            peer_stack: 1,
            geometry,
            role,
        };
        let wire = guard.add_wire(&setup).map_err(|e| failed(&e))?;
        let missing = guard
            .unattached_wire()
            .ok_or_else(|| Problem::Failed("the wire is not open".into()))?;
        let own = Attachment::for_wire(Arc::clone(region), &geometry, role, EventFd::new()?)?;
        guard.attach_wire(wire, missing.generation, own);
        drop(guard);
        Ok(Self { stack, owner, wire })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Stack<'static>) -> T) -> Result<T, Problem> {
        let mut guard = self.stack.lock(self.owner).map_err(|e| failed(&e))?;
        Ok(f(&mut guard))
    }
}

/// Both ends, with their sockets in the same order.
struct Pair {
    client: End,
    server: End,
    now: Nanos,
    sockets: Vec<(SocketRef, SocketRef)>,
    listener: SocketRef,
}

impl Pair {
    fn new(connections: usize) -> Result<Self, Problem> {
        let region = Arc::new(wire::create(&geometry()?)?);
        let client = End::new(connections + BATCH, &region, Role::Slave)?;
        let server = End::new(connections + BATCH, &region, Role::Master)?;
        let listener = server.with(|s| {
            let listener = s.new_stream(SocketFlags::NONBLOCK, server.owner.slot)?;
            s.bind(listener, ends(0).0)?;
            s.listen(listener, BACKLOG)?;
            Ok(listener)
        })?;
        Ok(Self {
            client,
            server,
            now: Nanos::from_secs(1),
            sockets: Vec::with_capacity(connections),
            listener: listener.map_err(|e: sidestep_stack::Error| failed(&e))?,
        })
    }

    /// Polls both until nothing moves.
    fn settle(&mut self) -> Result<(), Problem> {
        self.now = self.now + STEP;
        for _ in 0..ROUNDS_MAX {
            let now = self.now;
            let moved = self.client.with(|s| s.poll(now))? + self.server.with(|s| s.poll(now))?;
            if moved == 0 {
                return Ok(());
            }
        }
        Err(Problem::Failed("the stacks do not come to rest".into()))
    }

    fn open(&mut self, connections: usize) -> Result<(), Problem> {
        while self.sockets.len() < connections {
            let first = self.sockets.len();
            let end = connections.min(first + BATCH);
            let (now, client) = (self.now, &self.client);
            let opened = client.with(|s| {
                (first..end)
                    .map(|flow| {
                        let (remote, local) = ends(flow);
                        let socket = s.new_stream(SocketFlags::NONBLOCK, client.owner.slot)?;
                        s.connect(now, socket, (local, remote), client.wire)?;
                        Ok(socket)
                    })
                    .collect::<Result<Vec<_>, sidestep_stack::Error>>()
            })?;
            let opened = opened.map_err(|e| failed(&e))?;
            self.settle()?;
            let (server, listener) = (&self.server, self.listener);
            for (flow, socket) in (first..end).zip(opened) {
                let accepted = server
                    .with(|s| s.accept(listener, server.owner.slot))?
                    .map_err(|e| failed(&e))?;
                if accepted.remote != ends(flow).1 {
                    return Err(Problem::Invalid("another connection was accepted".into()));
                }
                self.sockets.push((socket, accepted.socket));
            }
        }
        Ok(())
    }

    fn exchange(&mut self) -> Result<(), Problem> {
        for first in (0..self.sockets.len()).step_by(BATCH) {
            let batch = first..self.sockets.len().min(first + BATCH);
            let (request, answer) = ([1; MESSAGE_BYTES], [2; MESSAGE_BYTES]);
            for at in batch.clone() {
                send(&self.client, self.now, self.sockets[at].0, &request)?;
            }
            self.settle()?;
            for at in batch.clone() {
                receive(&self.server, self.now, self.sockets[at].1, &request)?;
                send(&self.server, self.now, self.sockets[at].1, &answer)?;
            }
            self.settle()?;
            for at in batch {
                receive(&self.client, self.now, self.sockets[at].0, &answer)?;
            }
            self.settle()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        for first in (0..self.sockets.len()).step_by(BATCH) {
            let batch = first..self.sockets.len().min(first + BATCH);
            let now = self.now;
            let sockets = &self.sockets[batch];
            let client = &self.client;
            client.with(|s| {
                for (socket, _) in sockets {
                    s.close(now, *socket, client.owner.slot);
                }
            })?;
            let sockets = sockets.to_vec();
            self.settle()?;
            for (_, socket) in sockets {
                receive(&self.server, now, socket, &[])?;
                let server = &self.server;
                server.with(|s| s.close(now, socket, server.owner.slot))?;
            }
            self.settle()?;
        }
        self.now = self.now + OUTLIVES;
        self.settle()?;
        // The listener alone is left.
        let left = [&self.client, &self.server].map(|end| end.with(|s| s.report().sockets_used.0));
        let [client, server] = left;
        let (client, server) = (client?, server?);
        if (client, server) != (0, 1) {
            return Err(Problem::Invalid(format!(
                "{client} and {server} sockets are left"
            )));
        }
        Ok(())
    }
}

fn send(end: &End, now: Nanos, socket: SocketRef, message: &[u8]) -> Result<(), Problem> {
    let sent = end.with(|s| match s.send_at_once(now, socket, message.into()) {
        Some(sent) => Ok(sent),
        None => s.send(now, socket, &[message.into()], false),
    })?;
    if sent == Ok(message.len()) {
        Ok(())
    } else {
        Err(failed(&sent))
    }
}

/// Takes what came, which is this message, or the end of the stream where it is empty.
fn receive(end: &End, now: Nanos, socket: SocketRef, message: &[u8]) -> Result<(), Problem> {
    let mut bytes = [0; MESSAGE_BYTES];
    let got = end.with(|s| s.recv(now, socket, &mut [(&mut bytes[..]).into()], false))?;
    if got == Ok(message.len()) && bytes.starts_with(message) {
        Ok(())
    } else {
        Err(failed(&got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_opened_used_and_closed() {
        for connections in [1, 64, 1_000] {
            let mut pair = Pair::new(connections).unwrap();
            pair.open(connections).unwrap();
            assert_eq!(pair.sockets.len(), connections);
            pair.exchange().unwrap();
            pair.close().unwrap();
        }
    }

    #[test]
    fn those_that_are_left_open_are_noticed() {
        let mut pair = Pair::new(2).unwrap();
        pair.open(2).unwrap();
        pair.sockets.pop();
        assert!(matches!(pair.close(), Err(Problem::Invalid(_))));
    }
}
