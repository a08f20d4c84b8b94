//! Where measurements take place: the processors, the programs under test, a private agent, and the proof that
//! what was to be accelerated was.

use crate::clock::Deadline;
use crate::model::{Contender, Problem};
use crate::placement::Cpus;
use crate::process::{Finished, Program, TempDir};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

/// How long a server has until it listens, and `sidestep ps` until it answers.
const SOON: Duration = Duration::from_secs(5);
/// How long after the start of a client the counters are looked at while it runs; within its warm-up.
const SETTLED: Duration = Duration::from_millis(150);

/// Processors, programs and the agent that all cases share.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The two processors.
    pub(crate) cpus: Cpus,
    /// This program itself, which is also the load of some cases.
    pub(crate) exe: PathBuf,
    /// The `sidestep` command, whose pingpong also measures the kernel, or why there is none.
    pub(crate) binary: Result<PathBuf, Problem>,
    /// The same with an agent, or why there is none.
    pub(crate) sidestep: Result<Sidestep, Problem>,
}

/// The command under test with an agent of its own.
#[derive(Debug)]
pub(crate) struct Sidestep {
    binary: PathBuf,
    runtime: TempDir,
    /// Kept running so that its start is part of no figure.
    _agent: Program,
}

/// What each stack has moved so far, by its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    stacks: BTreeMap<String, Moved>,
    /// Why sockets were left to the kernel, and how many.
    left_to_kernel: BTreeMap<String, u64>,
}

/// What moved through one stack, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    frames: u64,
    tcp_bytes: u64,
}

impl Traffic {
    /// From what `sidestep ps` reports; none while a stack cannot be looked into.
    fn of(ps: &Value) -> Option<Self> {
        let mut traffic = Self::default();
        for stack in ps["stacks"].as_array()? {
            if stack["status"] == "busy" {
                return None;
            }
            let count = |name: &str| stack["counters"][name].as_u64().unwrap_or(0);
            let moved = Moved {
                frames: count("rx_frames") + count("tx_frames"),
                tcp_bytes: count("tcp_rx_bytes") + count("tcp_tx_bytes"),
            };
            traffic
                .stacks
                .insert(stack["id"].as_str()?.to_owned(), moved);
            for left in stack["kernel"].as_array().into_iter().flatten() {
                let reason = left["reason"].as_str().unwrap_or("unknown").to_owned();
                *traffic.left_to_kernel.entry(reason).or_default() +=
                    left["count"].as_u64().unwrap_or(0);
            }
        }
        Some(traffic)
    }

    /// The later of two looks at each stack: one that is gone is as it was last seen.
    fn or_later(mut self, later: Self) -> Self {
        self.stacks.extend(later.stacks);
        self.left_to_kernel.extend(later.left_to_kernel);
        self
    }

    /// What moved since an earlier look.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (id, moved) in &mut self.stacks {
            let earlier = before.stacks.get(id).copied().unwrap_or_default();
            moved.frames = moved.frames.saturating_sub(earlier.frames);
            moved.tcp_bytes = moved.tcp_bytes.saturating_sub(earlier.tcp_bytes);
        }
        self
    }

    /// That some one stack moved at least so many frames and bytes of TCP, or the problem that none did: work that
    /// was to be accelerated but went through the kernel is no figure.
    pub(crate) fn at_least(&self, frames: u64, tcp_bytes: u64) -> Result<(), Problem> {
        let enough = |m: &Moved| m.frames >= frames.max(1) && m.tcp_bytes >= tcp_bytes;
        if self.stacks.values().any(enough) {
            return Ok(());
        }
        let most = self
            .stacks
            .values()
            .max_by_key(|m| m.frames)
            .copied()
            .unwrap_or_default();
        let mut why = format!(
            "the accelerated path moved {} frames and {} bytes, but the work takes {} and {tcp_bytes}",
            most.frames,
            most.tcp_bytes,
            frames.max(1)
        );
        for (reason, count) in &self.left_to_kernel {
            why += &format!("; left to the kernel {count} times: {reason}");
        }
        Err(Problem::Invalid(why))
    }
}

/// What a server listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listening {
    /// A TCP port.
    Tcp(u16),
}

impl Lab {
    /// Sets everything up; that Sidestep itself cannot run is kept as a problem of its contender.
    pub(crate) fn new() -> io::Result<Self> {
        let exe = std::env::current_exe()?;
        let binary = find_binary(&exe);
        let sidestep = binary.clone().and_then(Sidestep::new);
        Ok(Self {
            cpus: Cpus::allowed()?,
            exe,
            binary,
            sidestep,
        })
    }

    /// The command, or the reason that it cannot be used.
    pub(crate) fn sidestep(&self) -> Result<&Sidestep, Problem> {
        self.sidestep.as_ref().map_err(Problem::clone)
    }

    /// One of this program's own loads, as this contender runs it.
    pub(crate) fn load(
        &self,
        contender: Contender,
        name: &str,
        args: &[&str],
    ) -> Result<Command, Problem> {
        let mut command = self.command(contender, &self.exe)?;
        command.args(["load", name]).args(args);
        Ok(command)
    }

    /// A command that runs `program` as this contender does.
    pub(crate) fn command(&self, contender: Contender, program: &Path) -> Result<Command, Problem> {
        if contender != Contender::Sidestep {
            return Ok(Command::new(program));
        }
        let sidestep = self.sidestep()?;
        let mut command = sidestep.command("run");
        command.arg("--").arg(program);
        Ok(command)
    }

    /// Starts a server on its processor and waits until it listens.
    pub(crate) fn serve(
        &self,
        name: &str,
        command: Command,
        on: Listening,
    ) -> Result<Program, Problem> {
        let program = Program::start(name, command, Some(self.cpus.server))?;
        let deadline = Deadline::after(SOON);
        while !on.taken() {
            if program.ends_within(Duration::from_millis(5))? {
                return Err(Problem::Failed(format!(
                    "{name} ended: {}",
                    program.words()
                )));
            }
            if deadline.passed() {
                return Err(Problem::Failed(format!(
                    "{name} does not listen: {}",
                    program.words()
                )));
            }
        }
        Ok(program)
    }

    /// Runs a client on its processor to its end, and tells what moved through the accelerated path meanwhile.
    pub(crate) fn client(
        &self,
        contender: Contender,
        name: &str,
        command: Command,
        span: Duration,
    ) -> Result<(Finished, Traffic), Problem> {
        if contender != Contender::Sidestep {
            let finished = Program::start(name, command, Some(self.cpus.client))?.finish(span)?;
            return Ok((finished.success(name)?, Traffic::default()));
        }
        let sidestep = self.sidestep()?;
        let before = sidestep.traffic()?;
        let program = Program::start(name, command, Some(self.cpus.client))?;
        program.ends_within(SETTLED)?;
        let during = sidestep.traffic()?;
        let finished = program.finish(span)?.success(name)?;
        // The server still lives, and with it the counters of its end.
        Ok((
            finished,
            during.or_later(sidestep.traffic()?).since(&before),
        ))
    }
}

impl Sidestep {
    fn new(binary: PathBuf) -> Result<Self, Problem> {
        let runtime = TempDir::new()?;
        let mut command = Command::new(&binary);
        command.args(["agent", "--foreground", "--linger", "3600"]);
        command.env("SIDESTEP_RUNTIME_DIR", runtime.path());
        let agent = Program::start("sidestep agent", command, None)?;
        if agent.ends_within(Duration::from_millis(200))? {
            return Err(Problem::Failed(format!(
                "sidestep agent ended: {}",
                agent.words()
            )));
        }
        let sidestep = Self {
            binary,
            runtime,
            _agent: agent,
        };
        sidestep.traffic()?;
        Ok(sidestep)
    }

    /// A subcommand, with our agent.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(subcommand)
            .env("SIDESTEP_RUNTIME_DIR", self.runtime.path());
        command
    }

    /// What `sidestep ps` says.
    pub(crate) fn ps(&self) -> Result<Value, Problem> {
        let mut command = self.command("ps");
        command.arg("--json");
        let said = Program::start("sidestep ps", command, None)?
            .finish(SOON)?
            .success("sidestep ps")?;
        serde_json::from_str(&said.stdout)
            .map_err(|e| Problem::Failed(format!("sidestep ps --json is no JSON: {e}")))
    }

    /// What all stacks have moved so far. A stack in use is looked into between two of its calls.
    pub(crate) fn traffic(&self) -> Result<Traffic, Problem> {
        let deadline = Deadline::after(SOON);
        loop {
            if let Some(traffic) = Traffic::of(&self.ps()?) {
                return Ok(traffic);
            }
            if deadline.passed() {
                return Err(Problem::Failed(
                    "sidestep ps --json never shows all counters".into(),
                ));
            }
        }
    }
}

/// The command under test: named by `SIDESTEP_BIN` (it or its directory), else built beside this program.
fn find_binary(exe: &Path) -> Result<PathBuf, Problem> {
    let named = std::env::var_os("SIDESTEP_BIN").map(PathBuf::from);
    let place = named
        .or_else(|| exe.parent().map(Path::to_owned))
        .unwrap_or_default();
    let binary = if place.is_dir() {
        place.join("sidestep")
    } else {
        place
    };
    if binary.is_file() {
        return Ok(binary);
    }
    Err(Problem::Missing(format!(
        "{} (run `cargo xtask build`, or set SIDESTEP_BIN)",
        binary.display()
    )))
}

impl Listening {
    /// Whether somebody listens there, without disturbing them by a connection.
    fn taken(self) -> bool {
        let Self::Tcp(port) = self;
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .any(|table| fs::read_to_string(table).is_ok_and(|text| lists_listener(&text, port)))
    }
}

/// Whether a table of the kernel's TCP sockets has one that listens (state 0A) on this port.
fn lists_listener(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    })
}

/// A port that is free for TCP and UDP at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests;
