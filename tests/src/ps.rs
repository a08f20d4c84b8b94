//! What `sidestep ps --json` reports, as far as tests look at it, and what the modes promise of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Mode;

/// One report of an agent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ps {
    /// The agent itself; none where none runs.
    pub agent: Option<Agent>,
    /// All stacks, as the agent lists them.
    #[serde(default)]
    pub stacks: Vec<Stack>,
    /// The interfaces that the agent serves.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
}

/// An interface in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Interface {
    /// Its queues that stacks have.
    pub queues: Vec<Queue>,
}

/// A queue in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Queue {
    /// Frames for which there was no room.
    pub rx_full: u64,
}

/// The agent in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Agent {
    /// Its process.
    pub pid: u32,
}

/// One stack in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Stack {
    /// Its identity, in hexadecimal.
    pub id: String,
    /// `ok`, `busy`, `orphan` or `retired`.
    pub status: String,
    /// The processes that have it mapped.
    pub processes: Vec<Holder>,
    /// Its counters, by name.
    pub counters: BTreeMap<String, u64>,
    /// What was left to the kernel, and why.
    pub kernel: Vec<Handover>,
    /// Sockets in use.
    pub sockets_used: u32,
    /// Data buffers in use.
    pub buffers_used: u32,
    /// Its sockets.
    pub sockets: Vec<Socket>,
    /// Its wires.
    pub wires: Vec<Wire>,
}

/// A wire of a stack in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Wire {
    /// For a queue of a network: which, in hexadecimal.
    pub network: Option<String>,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Long segments that the kernel cut.
    pub tx_cut: u64,
    /// Frames whose checksums were left to the card.
    pub tx_unfinished: u64,
}

/// A socket in a report.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Socket {
    /// State, as `ss` names it.
    pub state: String,
    /// The processes that have a descriptor of it.
    pub pids: Vec<u32>,
}

/// A process that has a stack mapped.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
}

/// A reason for which sockets were left to the kernel.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Handover {
    /// The reason, as a sentence.
    pub reason: String,
    /// How many.
    pub count: u64,
}

impl Stack {
    /// A counter; panics if the report has none of this name.
    pub fn count(&self, name: &str) -> u64 {
        *self
            .counters
            .get(name)
            .unwrap_or_else(|| panic!("no counter {name} in {self:#?}"))
    }
}

impl Ps {
    /// Frames that came for stacks and were lost for want of room.
    pub fn frames_lost(&self) -> u64 {
        let queues = self.interfaces.iter().flat_map(|i| &i.queues);
        queues.map(|queue| queue.rx_full).sum()
    }

    /// Long segments that the kernel cut for stacks.
    pub fn segments_cut(&self) -> u64 {
        let wires = self.stacks.iter().flat_map(|stack| &stack.wires);
        wires.map(|wire| wire.tx_cut).sum()
    }

    /// Frames of stacks whose checksums were left to the card.
    pub fn checksums_left(&self) -> u64 {
        let wires = self.stacks.iter().flat_map(|stack| &stack.wires);
        wires.map(|wire| wire.tx_unfinished).sum()
    }

    /// Reads a report; panics if it is none.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|e| panic!("ps --json: {e} in {text}"))
    }

    /// The agent's process; panics if none runs.
    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("an agent runs").pid
    }

    /// Whether some stack could not be looked into just then.
    pub fn is_busy(&self) -> bool {
        self.stacks.iter().any(|stack| stack.status == "busy")
    }

    /// The stacks that a process has mapped.
    pub fn stacks_of(&self, pid: u32) -> impl Iterator<Item = &Stack> {
        self.stacks
            .iter()
            .filter(move |stack| stack.processes.iter().any(|holder| holder.pid == pid))
    }

    /// The connections by wires of which a process has a descriptor.
    pub fn connections_of(&self, pid: u32) -> u32 {
        let sockets = self.stacks_of(pid).flat_map(|stack| &stack.sockets);
        let held = sockets.filter(|socket| socket.pids.contains(&pid));
        let connections = held.filter(|s| !matches!(s.state.as_str(), "LISTEN" | "CLOSED"));
        u32::try_from(connections.count()).expect("a table's worth")
    }

    /// A counter of a process, summed over its stacks; panics if it has no stack, since then it is not accelerated.
    pub fn count(&self, pid: u32, name: &str) -> u64 {
        assert!(
            self.stacks_of(pid).next().is_some(),
            "process {pid} has no stack in {self:#?}"
        );
        self.stacks_of(pid).map(|stack| stack.count(name)).sum()
    }

    /// Sockets of a process that were left to the kernel by its own doing: a peer that came by the kernel, as the
    /// harness does when it looks whether a server listens, is no such thing.
    pub fn handed_over(&self, pid: u32) -> u64 {
        self.stacks_of(pid)
            .flat_map(|stack| &stack.kernel)
            .filter(|handover| handover.reason != "the peer came by the kernel")
            .map(|handover| handover.count)
            .sum()
    }

    /// Whether a process sent and received frames: whether its accelerated counters moved.
    pub fn is_wire_used(&self, pid: u32) -> bool {
        self.stacks_of(pid)
            .any(|stack| stack.count("rx_frames") > 0 && stack.count("tx_frames") > 0)
    }

    /// Whether a client without connections sends datagrams that nobody answers.
    fn is_one_way(&self, server: u32, client: u32) -> bool {
        let sends = self.has(client, "udp_tx_datagrams") && !self.has(client, "tcp_connects");
        sends && self.has(server, "udp_rx_datagrams")
    }

    /// Whether a counter of a process moved.
    fn has(&self, pid: u32, counter: &str) -> bool {
        self.stacks_of(pid).any(|stack| stack.count(counter) > 0)
    }

    /// Asserts that a process sent and received frames.
    pub fn assert_wire_used(&self, pid: u32) {
        assert!(
            self.is_wire_used(pid),
            "process {pid} moved nothing by a wire: {self:#?}"
        );
    }

    /// Whether a process sent and received frames of a network.
    pub fn is_network_used(&self, pid: u32) -> bool {
        let wires = self.stacks_of(pid).flat_map(|stack| &stack.wires);
        let mut networks = wires.filter(|wire| wire.network.is_some());
        networks.any(|wire| wire.rx_frames > 0 && wire.tx_frames > 0)
    }

    /// Asserts that a process sent and received frames of a network.
    pub fn assert_network_used(&self, pid: u32) {
        assert!(
            self.is_network_used(pid),
            "process {pid} moved nothing by a network: {self:#?}"
        );
    }

    /// Whether what a mode promises of a server and a client is so; they are alive and have talked.
    ///
    /// They may also have talked to themselves, so that counters of an end that is alone say nothing.
    pub fn is_mode(&self, mode: Mode, server: u32, client: u32) -> bool {
        let has_stack = |pid| self.stacks_of(pid).next().is_some();
        match mode {
            Mode::Both => {
                let both_ways = self.is_wire_used(server) && self.is_wire_used(client);
                both_ways || self.is_one_way(server, client)
            }
            Mode::ServerOnly => has_stack(server) && !has_stack(client),
            // It must say why it left its destination to the kernel.
            Mode::ClientOnly => self.handed_over(client) > 0 && !has_stack(server),
            Mode::Kernel => true,
        }
    }

    /// Asserts what a mode promises of a server and a client.
    pub fn assert_mode(&self, mode: Mode, server: u32, client: u32) {
        assert!(
            self.is_mode(mode, server, client),
            "not as {mode:?} promises of server {server} and client {client}: {self:#?}"
        );
    }

    /// Asserts what a mode promises of a TCP server that talks to clients only; they may be gone.
    pub fn assert_server(&self, mode: Mode, server: u32) {
        self.assert_server_by(mode, server, "tcp_accepts");
    }

    /// Asserts what a mode promises of a UDP server that talks to clients only; they may be gone.
    pub fn assert_udp_server(&self, mode: Mode, server: u32) {
        self.assert_server_by(mode, server, "udp_rx_datagrams");
    }

    fn assert_server_by(&self, mode: Mode, server: u32, counter: &str) {
        match mode {
            Mode::Both => {
                self.assert_wire_used(server);
                assert!(self.count(server, counter) > 0, "{counter} = 0: {self:#?}");
            }
            Mode::ServerOnly => {
                assert_eq!(
                    self.count(server, counter),
                    0,
                    "accelerated clients? {self:#?}"
                );
            }
            Mode::ClientOnly => self.assert_no_stack(server),
            Mode::Kernel => {}
        }
    }

    fn assert_no_stack(&self, pid: u32) {
        assert!(
            self.stacks_of(pid).next().is_none(),
            "process {pid} is not to be accelerated: {self:#?}"
        );
    }
}
