//! `sidestep ps`: what the agent knows, as tables or as its own JSON.

#[cfg(test)]
mod tests;

use crate::output;
use crate::table::{Lean, Table};
use Lean::{Left, Right};
use anyhow::Context as _;
use clap::Args;
use sidestep_agent::report::{Queue, Report, Stack};
use sidestep_control::{Client, ClientError, RuntimeDir};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;

/// Counters of a stack that fit on one line.
const COUNTERS_A_LINE: usize = 4;

const EXAMPLES: &str = "\
Examples:
  sidestep ps
  sidestep ps --json | jq '.stacks[].sockets[] | select(.state == \"LISTEN\")'

RCV-Q and SND-Q are bytes received and not read, and written and not acknowledged; for listeners, connections to
accept and the backlog, as with ss(8). Sockets that were left to the kernel are counted by reason; ss(8) shows them.

Exit status:
  0 also when nothing is accelerated; 1 the agent could not be asked.";

/// List accelerated programs: stacks, processes, sockets, wires, counters.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ps {
    /// Print the agent's report as JSON.
    #[arg(long)]
    json: bool,
    /// Show counters that are zero, too.
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// Asks the agent and prints what it says.
pub(crate) fn main(args: &Ps) -> anyhow::Result<()> {
    let report = ask()?;
    match (report, args.json) {
        (None, true) => output::print("{\"agent\": null, \"stacks\": []}\n"),
        (None, false) => output::print("no accelerated programs (no agent is running)\n"),
        (Some(json), true) => {
            let document: serde_json::Value = serde_json::from_str(&json).context("the report")?;
            output::print_json(&document)
        }
        (Some(json), false) => {
            let report: Report =
                serde_json::from_str(&json).context("the agent is of another version")?;
            output::print(&text(&report, args.all))
        }
    }
}

/// The agent's report; none where no agent runs.
fn ask() -> anyhow::Result<Option<String>> {
    let directory = RuntimeDir::from_env().context("the agent has no directory of its own")?;
    let mut client = match Client::connect(&directory.socket(), "sidestep ps") {
        Ok((client, _)) => client,
        Err(ClientError::NoAgent) => return Ok(None),
        Err(error) => return Err(error).context("cannot ask the agent"),
    };
    ask_of(&mut client).map(Some)
}

/// The report of that agent.
pub(crate) fn report(client: &mut Client) -> anyhow::Result<Report> {
    serde_json::from_str(&ask_of(client)?).context("the agent is of another version")
}

fn ask_of(client: &mut Client) -> anyhow::Result<String> {
    let (fd, bytes) = client.ps().context("cannot ask the agent")?;
    let mut json = String::new();
    // The descriptor's position is the agent's; the file is read from its beginning.
    let mut file = File::from(fd);
    std::io::Seek::rewind(&mut file)?;
    file.take(bytes)
        .read_to_string(&mut json)
        .context("cannot read the agent's report")?;
    Ok(json)
}

/// The report as tables.
fn text(report: &Report, all: bool) -> String {
    let agent = &report.agent;
    if report.stacks.is_empty() && report.interfaces.is_empty() {
        return format!(
            "no accelerated programs (the agent, process {}, is idle)\n",
            agent.pid
        );
    }
    let mut text = format!(
        "agent: process {}, {} endpoints in its directory, {} wires\n",
        agent.pid, agent.directory_entries, agent.wires
    );
    let tables = [
        ("interfaces", interfaces(report)),
        ("stacks", stacks(report)),
        ("sockets", sockets(report)),
        ("wires", wires(report)),
        ("bad links, as asked for by --fault", faults(report)),
        ("left to the kernel", kernel(report)),
    ];
    for (title, table) in tables.into_iter().filter(|(_, table)| !table.is_empty()) {
        let _ = write!(text, "\n{title}\n{table}");
    }
    for stack in &report.stacks {
        counters(&mut text, &label(stack), &stack.counters, all);
    }
    counters(&mut text, "the agent", &agent.counters, all);
    text
}

/// How a stack is called in tables: its program and process, which people know, rather than its number.
fn label(stack: &Stack) -> String {
    match stack.processes.first() {
        Some(process) => format!("{}[{}]", stack.name, process.pid),
        None if stack.name.is_empty() => short(&stack.id).to_owned(),
        None => format!("{}[gone]", stack.name),
    }
}

/// Enough of an identity to tell it from others.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn pids(list: impl Iterator<Item = u32>) -> String {
    let words: Vec<_> = list.map(|pid| pid.to_string()).collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(",")
    }
}

fn interfaces(report: &Report) -> String {
    let mut table = Table::new([
        ("INTERFACE", Left),
        ("MODE", Left),
        ("MTU", Right),
        ("STEERED", Right),
        ("PASSED", Right),
        ("QUEUES", Right),
        ("LOST", Right),
    ]);
    for interface in &report.interfaces {
        let lost = interface.queues.iter().map(|q| q.rx_full + q.rx_dropped);
        table.row([
            interface.name.clone(),
            interface.mode.clone(),
            interface.mtu.to_string(),
            interface.steered.to_string(),
            interface.passed.to_string(),
            interface.queues.len().to_string(),
            lost.sum::<u64>().to_string(),
        ]);
    }
    let mut text = table.text();
    for interface in &report.interfaces {
        if let Some(how) = how(&interface.queues) {
            let _ = writeln!(text, "{}: {how}", interface.name);
        }
        if let Some(why) = &interface.fallback {
            text += &format!("{}: not by AF_XDP, because {why}\n", interface.name);
        }
        if !interface.upon.is_empty() {
            let _ = writeln!(
                text,
                "{} carries {}",
                interface.name,
                interface.upon.join(", ")
            );
        }
        for why in &interface.left {
            let _ = writeln!(text, "left to the kernel: {why}");
        }
    }
    text
}

/// How frames get to and from the buffers of an interface's own queues; none where no program has one.
fn how(queues: &[Queue]) -> Option<String> {
    let own: Vec<&Queue> = queues.iter().filter(|q| q.queue.is_some()).collect();
    let first = own.first()?;
    let mut words = vec![if first.zero_copy {
        "without copying"
    } else {
        "the kernel copies frames"
    }];
    if first.huge_pages {
        words.push("buffers in huge pages");
    }
    if first.leaves_checksums {
        words.push("checksums left to the card");
    }
    match (first.busy_poll, own.iter().any(|q| q.busy_poll == Some(true))) {
        (_, true) => words.push("driven by programs (busypoll)"),
        (Some(_), false) => words.push("not driven by programs yet: nothing has come, or the driver has nothing to be driven (busypoll)"),
        (None, false) => {}
    }
    Some(words.join(", "))
}

fn stacks(report: &Report) -> String {
    let mut table = Table::new([
        ("ID", Left),
        ("PROGRAM", Left),
        ("STATUS", Left),
        ("PROCESSES", Left),
        ("SOCKETS", Right),
        ("BUFFERS", Right),
        ("EXHAUSTED", Right),
    ]);
    for stack in &report.stacks {
        table.row([
            short(&stack.id).to_owned(),
            stack.name.clone(),
            stack.status.clone(),
            pids(stack.processes.iter().map(|process| process.pid)),
            format!("{}/{}", stack.sockets_used, stack.sockets_max),
            format!("{}/{}", stack.buffers_used, stack.buffers_max),
            stack.buffers_exhausted.to_string(),
        ]);
    }
    table.text()
}

fn sockets(report: &Report) -> String {
    let mut table = Table::new([
        ("STACK", Left),
        ("PROTO", Left),
        ("STATE", Left),
        ("RCV-Q", Right),
        ("SND-Q", Right),
        ("LOCAL", Left),
        ("REMOTE", Left),
        ("WIRE", Right),
        ("PROCESSES", Left),
    ]);
    for stack in &report.stacks {
        for socket in &stack.sockets {
            table.row([
                label(stack),
                socket.protocol.clone(),
                socket.state.clone(),
                socket.rcv_queue.to_string(),
                socket.snd_queue.to_string(),
                socket.local.clone(),
                socket.remote.clone().unwrap_or_else(|| "*".to_owned()),
                socket.wire.map_or("-".to_owned(), |wire| wire.to_string()),
                pids(socket.pids.iter().copied()),
            ]);
        }
    }
    table.text()
}

fn wires(report: &Report) -> String {
    let labels: BTreeMap<_, _> = report
        .stacks
        .iter()
        .map(|stack| (stack.id.as_str(), label(stack)))
        .collect();
    let mut table = Table::new([
        ("STACK", Left),
        ("WIRE", Right),
        ("TO", Left),
        ("RX FRAMES", Right),
        ("RX BYTES", Right),
        ("TX FRAMES", Right),
        ("TX BYTES", Right),
        ("FULL", Right),
        ("MALFORMED", Right),
        ("WAKE-UPS", Right),
    ]);
    for stack in &report.stacks {
        for wire in &stack.wires {
            let peer = labels.get(wire.peer.as_str()).cloned();
            table.row([
                label(stack),
                wire.index.to_string(),
                wire.network
                    .clone()
                    .or(peer)
                    .unwrap_or_else(|| short(&wire.peer).to_owned()),
                wire.rx_frames.to_string(),
                wire.rx_bytes.to_string(),
                wire.tx_frames.to_string(),
                wire.tx_bytes.to_string(),
                wire.tx_full.to_string(),
                wire.rx_malformed.to_string(),
                wire.tx_doorbells.to_string(),
            ]);
        }
    }
    table.text()
}

fn faults(report: &Report) -> String {
    let mut table = Table::new([
        ("STACK", Left),
        ("WAY", Left),
        ("PASSED", Right),
        ("LOST", Right),
        ("DAMAGED", Right),
        ("LINK", Left),
    ]);
    for stack in &report.stacks {
        let Some(fault) = &stack.fault else {
            continue;
        };
        for (way, count) in [("out", &fault.out), ("in", &fault.r#in)] {
            table.row([
                label(stack),
                way.to_owned(),
                count.passed.to_string(),
                count.lost.to_string(),
                count.damaged.to_string(),
                fault.link.clone(),
            ]);
        }
    }
    table.text()
}

fn kernel(report: &Report) -> String {
    let mut table = Table::new([("STACK", Left), ("COUNT", Right), ("REASON", Left)]);
    for stack in &report.stacks {
        for why in &stack.kernel {
            table.row([label(stack), why.count.to_string(), why.reason.clone()]);
        }
    }
    table.text()
}

fn counters(text: &mut String, of: &str, counters: &BTreeMap<String, u64>, all: bool) {
    let shown: Vec<_> = counters
        .iter()
        .filter(|(_, value)| all || **value > 0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if shown.is_empty() {
        return;
    }
    let _ = writeln!(text, "\ncounters of {of}");
    for line in shown.chunks(COUNTERS_A_LINE) {
        let _ = writeln!(text, "  {}", line.join(", "));
    }
}
