//! What `sidestep ps` shows: everything the agent knows, as JSON. The types are public for those who read it.

use crate::registry::{Counts, Registry, StackEntry, Unavailable};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use sidestep_nic::fault::Count;
use sidestep_stack::{Handover, Kind, SocketReport, StackReport, WireKind};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

/// The whole report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The agent itself.
    pub agent: AgentReport,
    /// The network interfaces that it serves.
    pub interfaces: Vec<Interface>,
    /// All stacks that it knows.
    pub stacks: Vec<Stack>,
}

/// A network interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Where its frames are steered: `native`, in the driver; `generic`, after that; `packet`, after all XDP, to packet
    /// sockets.
    pub mode: String,
    /// Why that is `packet`, where XDP was asked for.
    #[serde(default)]
    pub fallback: Option<String>,
    /// Longest IP packet in bytes.
    pub mtu: u32,
    /// The bond as whose port it is served, if it was named by that.
    #[serde(default)]
    pub bond: Option<String>,
    /// Links upon it that are accelerated by it: VLANs, bonds, bridges, macvlans.
    #[serde(default)]
    pub upon: Vec<String>,
    /// Links upon it that are not, and why.
    #[serde(default)]
    pub left: Vec<String>,
    /// Frames that went to programs.
    pub steered: u64,
    /// Frames that were left to the kernel.
    pub passed: u64,
    /// The sockets of stacks.
    pub queues: Vec<Queue>,
}

/// A stack's socket on an interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Queue {
    /// The queue; none for a stack that shares queues by a cable.
    pub queue: Option<u32>,
    /// The stack, in hexadecimal.
    pub stack: String,
    /// Driver and program share the buffers; else the kernel copies.
    pub zero_copy: bool,
    /// The buffers are in huge pages.
    #[serde(default)]
    pub huge_pages: bool,
    /// Whether the program drives the interface where it waits (busy polling), where that was asked for.
    #[serde(default)]
    pub busy_poll: Option<bool>,
    /// Segments of streams are cut by the kernel or the card.
    #[serde(default)]
    pub cuts: bool,
    /// Checksums of what is sent are left to the card or the kernel.
    #[serde(default)]
    pub leaves_checksums: bool,
    /// Frames lost because the program did not take them in time.
    pub rx_full: u64,
    /// Frames lost for other reasons.
    pub rx_dropped: u64,
}

/// The agent itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its process.
    pub pid: u32,
    /// What it counted since it began.
    pub counters: BTreeMap<String, u64>,
    /// Entries in the directory of endpoints.
    pub directory_entries: usize,
    /// Wires that it knows.
    pub wires: usize,
}

/// A stack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stack {
    /// Its identity, in hexadecimal.
    pub id: String,
    /// The name of the program that made it.
    pub name: String,
    /// The network namespace of its sockets.
    pub netns: u64,
    /// `ok`; `busy` when it could not be looked into; `orphan` when only its connections are left; `retired`.
    pub status: String,
    /// The processes that have it mapped.
    pub processes: Vec<Process>,
    /// Its sockets.
    pub sockets: Vec<Socket>,
    /// Its wires.
    pub wires: Vec<Wire>,
    /// What it counted since it was made.
    pub counters: BTreeMap<String, u64>,
    /// Sockets and destinations that were left to the kernel, by reason.
    pub kernel: Vec<KernelReason>,
    /// Entries of the table of sockets in use.
    pub sockets_used: u32,
    /// Entries of the table of sockets.
    pub sockets_max: u32,
    /// Data buffers in use.
    pub buffers_used: u32,
    /// Data buffers.
    pub buffers_max: u32,
    /// Times that there was no data buffer.
    pub buffers_exhausted: u64,
    /// Watches in use.
    pub watches_used: u32,
    /// Epoll sets in use.
    pub sets_used: u32,
    /// The bad link that its frames go over, if that was asked for.
    #[serde(default)]
    pub fault: Option<Fault>,
}

/// A bad link that a program asked to see.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fault {
    /// Its description.
    pub link: String,
    /// What it did to frames on the way out.
    pub out: FaultCount,
    /// What it did to frames on the way in.
    pub r#in: FaultCount,
}

/// What a bad link did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FaultCount {
    /// Frames that went through.
    pub passed: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames damaged.
    pub damaged: u64,
}

impl From<Count> for FaultCount {
    fn from(count: Count) -> Self {
        Self {
            passed: count.passed,
            lost: count.lost,
            damaged: count.damaged,
        }
    }
}

/// A process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its client slot.
    pub slot: u32,
    /// Its name, as it said.
    pub name: String,
}

/// A socket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// State, as `ss` names it.
    pub state: String,
    /// Our end.
    pub local: String,
    /// The peer's; none where there is none.
    pub remote: Option<String>,
    /// Index of the wire it uses.
    pub wire: Option<u32>,
    /// The processes that hold it.
    pub pids: Vec<u32>,
    /// Bytes received and not read; for a listener, connections to accept.
    pub rcv_queue: usize,
    /// Bytes written and not acknowledged; for a listener, its backlog.
    pub snd_queue: usize,
    /// The kernel's cookie of the socket behind it.
    pub cookie: u64,
}

/// A wire, from one of its ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Index in the stack.
    pub index: u32,
    /// Its identity, in hexadecimal.
    pub id: String,
    /// The stack at the other end, or the network, in hexadecimal.
    pub peer: String,
    /// For a queue of a network: which.
    pub network: Option<String>,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received descriptors that made no sense.
    pub rx_malformed: u64,
    /// Times that there was no room to send.
    pub tx_full: u64,
    /// Wake-ups sent.
    pub tx_doorbells: u64,
    /// Long segments that the kernel or the card cut.
    #[serde(default)]
    pub tx_cut: u64,
    /// Frames whose checksums were left to the card or the kernel.
    #[serde(default)]
    pub tx_unfinished: u64,
}

/// Why sockets were left to the kernel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KernelReason {
    /// The reason, as a sentence.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The report as text.
pub(crate) fn json(registry: &mut Registry) -> serde_json::Result<String> {
    let counters = serde_json::to_value::<Counts>(registry.counts)
        .and_then(serde_json::from_value::<BTreeMap<String, u64>>)?;
    let agent = AgentReport {
        pid: std::process::id(),
        counters,
        directory_entries: registry.directory.entries(),
        wires: registry.wires.len(),
    };
    let interfaces = registry.report_interfaces();
    let queues: BTreeMap<u64, String> = registry.queue_names().collect();
    let Registry {
        stacks, processes, ..
    } = registry;
    let name = |pid: u32| {
        processes
            .get(&pid)
            .map_or_else(String::new, |p| p.name.clone())
    };
    let stacks = stacks
        .iter_mut()
        .map(|(id, entry)| stack(*id, entry, name, &queues))
        .collect();
    serde_json::to_string(&Report {
        agent,
        interfaces,
        stacks,
    })
}

fn stack(
    id: u64,
    entry: &mut StackEntry,
    name: impl Fn(u32) -> String,
    queues: &BTreeMap<u64, String>,
) -> Stack {
    let known = entry.slots.iter();
    let processes = known.map(|(slot, pid)| Process {
        pid: *pid,
        slot: *slot,
        name: name(*pid),
    });
    let outside = Stack {
        id: format!("{id:016x}"),
        netns: entry.netns,
        processes: processes.collect(),
        ..Stack::default()
    };
    let status = |text: &str| text.to_owned();
    match entry.with(|stack| stack.report()) {
        Ok(report) => {
            let orphan = entry.orphan.is_some();
            let status = status(if orphan { "orphan" } else { "ok" });
            inside(Stack { status, ..outside }, report, queues)
        }
        Err(Unavailable::Busy) => Stack {
            status: status("busy"),
            ..outside
        },
        Err(Unavailable::Retired) => Stack {
            status: status("retired"),
            ..outside
        },
    }
}

fn inside(outside: Stack, report: StackReport, queues: &BTreeMap<u64, String>) -> Stack {
    let kernel = Handover::ALL.iter().zip(report.counters.handed_over);
    let kernel = kernel.filter(|(_, count)| *count > 0);
    let wires = report.wires.iter().map(|wire| Wire {
        index: wire.index,
        id: format!("{:016x}", wire.id),
        peer: match wire.kind {
            WireKind::Memif { peer_stack: id, .. } | WireKind::Network { network: id } => {
                format!("{id:016x}")
            }
        },
        network: queues.get(&wire.id).cloned(),
        rx_frames: wire.stats.rx_frames,
        rx_bytes: wire.stats.rx_bytes,
        tx_frames: wire.stats.tx_frames,
        tx_bytes: wire.stats.tx_bytes,
        rx_malformed: wire.stats.rx_malformed,
        tx_full: wire.stats.tx_full,
        tx_doorbells: wire.stats.tx_doorbells,
        tx_cut: wire.stats.tx_cut,
        tx_unfinished: wire.stats.tx_unfinished,
    });
    Stack {
        sockets: report
            .sockets
            .iter()
            .map(|s| socket(s, &report.processes))
            .collect(),
        wires: wires.collect(),
        counters: report
            .counters
            .iter()
            .map(|(name, n)| (name.to_owned(), n))
            .collect(),
        kernel: kernel
            .map(|(why, count)| KernelReason {
                reason: why.reason().to_owned(),
                count,
            })
            .collect(),
        sockets_used: report.sockets_used.0,
        sockets_max: report.sockets_used.1,
        buffers_used: report.chunks_used.0,
        buffers_max: report.chunks_used.1,
        buffers_exhausted: report.chunks_exhausted,
        watches_used: report.watches_used,
        sets_used: report.sets_used,
        fault: report.faults.map(|fault| Fault {
            link: fault.text,
            out: fault.out.into(),
            r#in: fault.back.into(),
        }),
        name: report.name,
        ..outside
    }
}

fn socket(socket: &SocketReport, processes: &[(u32, u32)]) -> Socket {
    let datagram = socket.kind == Kind::Datagram;
    Socket {
        protocol: if datagram { "udp" } else { "tcp" }.to_owned(),
        state: socket.state.to_owned(),
        local: socket.local.to_string(),
        remote: (socket.remote.port != 0).then(|| socket.remote.to_string()),
        wire: socket.wire,
        pids: processes
            .iter()
            .filter(|(slot, _)| socket.holders.contains(slot))
            .map(|(_, pid)| *pid)
            .collect(),
        rcv_queue: socket.rcv_queue,
        snd_queue: socket.snd_queue,
        cookie: socket.cookie,
    }
}

/// The text as a memory file, which carries more than a message could.
pub(crate) fn to_memory(text: &str) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(
        "sidestep-report",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut written = 0;
    while let Some(rest) = text
        .as_bytes()
        .get(written..)
        .filter(|rest| !rest.is_empty())
    {
        written += rustix::io::pwrite(&file, rest, written as u64)?;
    }
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}
