//! `sidestep run`: starts a program with the library in front of the C library's sockets, then gets out of the way.

mod explain;
mod program;
mod signals;
#[cfg(test)]
mod tests;

use crate::library;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use program::{Obstacle, Program};
use sidestep_agent::LinkSpec;
use sidestep_nic::fault::{Spec, SpecError};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// `run` itself failed, as with env(1).
const FAILED: u8 = 125;
/// The program exists and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

const EXAMPLES: &str = "\
Examples:
  sidestep run -- redis-server --port 7000
  sidestep run --explain -- redis-benchmark -p 7000 -t get,set
      says of each socket whether it was accelerated, and if not, why
  sidestep run --profile latency -- ./feed-handler
  sidestep run --explain --log sockets.log -- nginx -g 'daemon off;'
  sudo sidestep run --link xdp:eth0 -- redis-server --bind 0.0.0.0
      to other hosts too, over eth0

  sidestep run --fault loss=1%,delay=20ms -- curl http://127.0.0.1:8000/
      what the program does where one frame in a hundred is lost, each way, and each takes 20 ms

Without --explain the program replaces this command: same process, terminal, signals and exit status. With it, this
command waits for the program, passes signals on, and ends as the program ends.

Environment (see docs/tuning.md):
  SIDESTEP_LIBRARY      libsidestep.so to load, where it is not beside this command or in ../lib/sidestep
  SIDESTEP_OFF=1        start the program without acceleration
  SIDESTEP_SPIN_US      how long a blocking call spins before it sleeps, in microseconds
  SIDESTEP_RUNTIME_DIR  directory of the agent

Exit status:
  the program's; 125 this command failed; 126 the program cannot be executed; 127 there is no such program.";

/// Run a program with its TCP and UDP sockets accelerated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// Say on standard error which sockets were accelerated, which were not, and why.
    #[arg(long)]
    explain: bool,
    /// How eagerly to trade processor time for latency.
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    profile: Profile,
    /// Accelerate over this network interface too, as `sidestep agent --link` does: needs root, and starts that agent
    /// unless one serves the interface already. It stays; `sidestep agent stop` ends it.
    #[arg(long = "link", value_name = "xdp:NAME|packet:NAME", value_parser = crate::agent::link_spec)]
    links: Vec<LinkSpec>,
    /// Write what --explain says to this file instead.
    #[arg(long, value_name = "FILE", requires = "explain")]
    log: Option<PathBuf>,
    /// Let the program see a bad link: a list of KEY=VALUE, as in loss=1%,delay=20ms. Keys: loss, burst (chance that ten
    /// frames or so are lost in a row), reorder, duplicate, corrupt (as 1%); delay, jitter (as 20ms); rate (as 10mbit) and
    /// queue before it (as 64kb); seed. `in.` or `out.` before a key is for one direction, else it is for each. It is about
    /// accelerated sockets only. `sidestep ps` shows what it did.
    #[arg(long, value_name = "LINK", env = "SIDESTEP_FAULT", value_parser = fault)]
    fault: Option<Spec>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// Named sets of the library's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Spin as long as it pays, then sleep.
    Default,
    /// Spin a tenth of a second before sleeping: one CPU for each waiting thread.
    Latency,
    /// Never spin: for machines whose CPUs others need.
    Polite,
}

impl Profile {
    /// What it sets in the program's environment.
    const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Default => &[],
            Self::Latency => &[("SIDESTEP_SPIN_US", "100000")],
            Self::Polite => &[("SIDESTEP_SPIN_US", "0")],
        }
    }
}

/// A bad link, from its description.
fn fault(text: &str) -> Result<Spec, SpecError> {
    text.parse()
}

/// Runs the program; returns only when it could not be started, or to end as it ended.
pub(crate) fn main(args: &Run) -> ExitCode {
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidestep: {error:#}");
            ExitCode::from(status_of(&error))
        }
    }
}

/// The exit status for a program that did not start.
fn status_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<NotStarted>() {
        Some(NotStarted {
            kind: ErrorKind::NotFound,
            ..
        }) => NOT_FOUND,
        Some(_) => NOT_EXECUTABLE,
        None => FAILED,
    }
}

/// The program itself could not be executed.
#[derive(Debug)]
struct NotStarted {
    program: String,
    kind: ErrorKind,
    reason: String,
}

impl NotStarted {
    fn new(program: &OsStr, error: &std::io::Error) -> Self {
        let program = program.to_string_lossy().into_owned();
        Self {
            program,
            kind: error.kind(),
            reason: error.to_string(),
        }
    }
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            ErrorKind::NotFound => write!(f, "{}: no such program", self.program),
            _ => write!(f, "{}: cannot be executed: {}", self.program, self.reason),
        }
    }
}

impl std::error::Error for NotStarted {}

fn start(args: &Run) -> anyhow::Result<ExitCode> {
    let (name, arguments) = args.program.split_first().context("no program named")?;
    let found = Program::find(name).map_err(|error| NotStarted::new(name, &error))?;
    let mut command = Command::new(name);
    command.args(arguments);
    let accelerated =
        std::env::var_os("SIDESTEP_OFF").is_none_or(|off| off.is_empty() || off == "0");
    if accelerated {
        prepare(&mut command, args, &found)?;
    } else {
        eprintln!(
            "sidestep: SIDESTEP_OFF is set: {} runs without acceleration",
            name.display()
        );
    }
    if args.explain {
        return explain::run(command, name, args.log.as_deref());
    }
    Err(NotStarted::new(name, &command.exec()).into())
}

/// Sets what the library needs, and says what stands in its way.
fn prepare(command: &mut Command, args: &Run, found: &Program) -> anyhow::Result<()> {
    let library = library::find()?;
    for obstacle in found.obstacles() {
        eprintln!("sidestep: {}: {obstacle}", found.path().display());
    }
    let exe = std::env::current_exe().context("cannot find the own executable")?;
    if !args.links.is_empty() {
        crate::agent::ensure_serving(&exe, &args.links)?;
    }
    match crate::agent::ensure_running(&exe) {
        Ok(runtime_dir) => {
            command.env("SIDESTEP_RUNTIME_DIR", runtime_dir);
        }
        Err(error) => {
            eprintln!("sidestep: {error:#}; until then sockets stay in the kernel");
        }
    }
    command.env("SIDESTEP_EXE", exe);
    if let Some(fault) = &args.fault {
        command.env("SIDESTEP_FAULT", &fault.text);
        if args.explain {
            eprintln!(
                "sidestep: accelerated sockets of {} see a bad link: {}",
                found.path().display(),
                fault.text
            );
        }
    }
    command.envs(args.profile.settings().iter().copied());
    if !found.obstacles().contains(&Obstacle::OtherLibc) {
        command.env(
            "LD_PRELOAD",
            with_preload(&library, std::env::var_os("LD_PRELOAD"))?,
        );
    }
    Ok(())
}

/// The library in front of what is preloaded already.
fn with_preload(library: &Path, existing: Option<OsString>) -> anyhow::Result<OsString> {
    let separators = [b' ', b':', b'\t', b'\n'];
    if library
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| separators.contains(byte))
    {
        bail!(
            "{}: LD_PRELOAD takes no path with a space or colon in it; move the library",
            library.display()
        );
    }
    let mut value = library.as_os_str().to_owned();
    for other in existing
        .iter()
        .flat_map(|list| list.as_encoded_bytes().split(|b| separators.contains(b)))
    {
        use std::os::unix::ffi::OsStrExt as _;
        let other = OsStr::from_bytes(other);
        if !other.is_empty() && other != library.as_os_str() {
            value.push(":");
            value.push(other);
        }
    }
    Ok(value)
}
