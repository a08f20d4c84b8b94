//! What measurements need: the processors, the programs under test, private agents.

use crate::clock::Deadline;
use crate::model::Problem;
use crate::network::{Network, Wiring};
use crate::placement::Cpus;
use crate::process::{Program, TempDir};
use crate::traffic::Traffic;
use serde_json::Value;
use sidestep_tests::netns::Netns;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

/// How long an agent has until it answers.
const SOON: Duration = Duration::from_secs(5);

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
    /// Cables, each made when it is first needed.
    pub(crate) networks: [OnceCell<Result<Network, Problem>>; Wiring::COUNT],
}

/// The command under test with an agent of its own.
#[derive(Debug)]
pub(crate) struct Sidestep {
    binary: PathBuf,
    runtime: TempDir,
    /// Kept running so that its start is part of no figure.
    agent: Program,
}

/// What a server listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listening {
    /// A TCP port.
    Tcp(u16),
    /// A TCP port that so many of them share.
    SharedTcp(u16, usize),
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
            networks: Default::default(),
        })
    }

    /// The cable with this at its ends, or the reason that there is none.
    pub(crate) fn network(&self, wiring: Wiring) -> Result<&Network, Problem> {
        let binary = self.binary.as_deref().map_err(Clone::clone)?;
        let network = self.networks[wiring as usize].get_or_init(|| Network::new(wiring, binary));
        network.as_ref().map_err(Problem::clone)
    }

    /// The command, or the reason that it cannot be used.
    pub(crate) fn sidestep(&self) -> Result<&Sidestep, Problem> {
        self.sidestep.as_ref().map_err(Problem::clone)
    }
}

impl Sidestep {
    fn new(binary: PathBuf) -> Result<Self, Problem> {
        Self::started(binary, &[], |command| {
            Program::start("sidestep agent", command, None)
        })
    }

    /// With an agent that serves an interface of a namespace, named with its options.
    pub(crate) fn serving(binary: PathBuf, netns: &Netns, link: &str) -> Result<Self, Problem> {
        Self::started(binary, &["--link", &format!("xdp:{link}")], |command| {
            netns.inside(|| Program::start("sidestep agent", command, None))
        })
    }

    fn started(
        binary: PathBuf,
        args: &[&str],
        start: impl FnOnce(Command) -> Result<Program, Problem>,
    ) -> Result<Self, Problem> {
        let runtime = TempDir::new()?;
        let mut command = Command::new(&binary);
        command.args(["agent", "--foreground", "--linger", "3600"]);
        command.args(args);
        command.env("SIDESTEP_RUNTIME_DIR", runtime.path());
        let sidestep = Self {
            agent: start(command)?,
            binary,
            runtime,
        };
        let deadline = Deadline::after(SOON);
        loop {
            let ended = sidestep.agent.ends_within(Duration::from_millis(200))?;
            match sidestep.traffic() {
                Ok(_) if !ended => return Ok(sidestep),
                Err(problem) if !ended && deadline.passed() => return Err(problem),
                _ if ended => {
                    let words = sidestep.agent.words();
                    return Err(Problem::Failed(format!("sidestep agent ended: {words}")));
                }
                _ => {}
            }
        }
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
    /// Whether as many as are wanted listen there in this thread's network namespace, without disturbing them by a connection.
    pub(crate) fn taken(self) -> bool {
        let (port, count) = match self {
            Self::Tcp(port) => (port, 1),
            Self::SharedTcp(port, count) => (port, count),
        };
        let listeners = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .map(|text| listeners(&text, port));
        listeners.sum::<usize>() >= count
    }
}

/// Sockets in a table of the kernel's TCP sockets that listen (state 0A) on this port.
fn listeners(table: &str, port: u16) -> usize {
    let suffix = format!(":{port:04X}");
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}

#[cfg(test)]
mod tests;
