//! `sidestep agent`, and what other subcommands need of the agent.

use crate::output;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use rustix::fs::MemfdFlags;
use rustix::process::Signal;
use sidestep_agent::{LinkSpec, layout};
use sidestep_control::{Client, ClientError, Fault, RuntimeDir, start};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const EXAMPLES: &str = "\
The agent introduces accelerated programs of one user to each other, and cleans up after those that die. It needs no
privilege, is started by the first `sidestep run`, and ends when unused. Killing it disturbs no connection between
programs of this host.

With --link, which needs root, it also steers what arrives at a network interface for accelerated sockets to their
programs; all else on the interface stays the kernel's. Such an agent serves the whole host until it is stopped: root's
programs, and those of the users named by --user. When it ends, in whatever way, the kernel has all frames again, and
connections over the interface are reset. If it is killed, root's next program starts it again with the same interfaces,
unless it ran with --foreground.

Its directory is $SIDESTEP_RUNTIME_DIR, else /run/sidestep with --link or where such an agent listens, else
$XDG_RUNTIME_DIR/sidestep, else /tmp/sidestep-UID; its log is agent.log therein.

Examples:
  sidestep agent --foreground
      run it here, with its log on standard error
  sudo sidestep agent --link xdp:eth0 --user alice
      accelerate programs of root and alice over eth0
  sidestep agent status
  sidestep agent stop
      established connections go on; the next program starts another

Exit status:
  0 done, or one was running already; 1 failed, or for stop and status: none is running.";

/// Run this user's agent, or ask after it. Not needed as a rule: programs start it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Agent {
    #[command(subcommand)]
    task: Option<Task>,
    /// Log to standard error instead of to agent.log.
    #[arg(long)]
    foreground: bool,
    /// Accelerate over this network interface, and over what lies upon it (VLANs, bridges, macvlans), too; may be given
    /// several times. A bond stands for its ports. xdp:NAME, and after commas `native` or
    /// `generic` (where XDP must run; else native where the driver has it), `copy` or `zerocopy`, `queues=N`: a
    /// program gets N queues of its own, not all that are free, `busypoll`: programs drive the interface where they
    /// wait for frames, not interrupts, and `gso=off`: bursts of streams leave segment by segment, also where the kernel
    /// copies them and could cut them itself, `txcsum=on` or `off`: checksums of what is sent are left to the card, or computed
    /// by programs; else the first where that is known to work. packet:NAME does without XDP, by packet sockets: slower,
    /// and works beside other XDP programs; xdp:NAME becomes that where there is no AF_XDP, and says so.
    #[arg(long = "link", value_name = "xdp:NAME|packet:NAME", value_parser = link_spec)]
    links: Vec<LinkSpec>,
    /// A user, by name or number, whose programs may use the interfaces: they can send any frame there. May be given
    /// several times. Who runs this by sudo is one of them.
    #[arg(long = "user", value_name = "USER", requires = "links", value_parser = user)]
    users: Vec<u32>,
    /// Stay so long when no program uses it.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    linger: u64,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// End it.
    Stop,
    /// Say whether it runs.
    Status,
}

/// Runs the agent, or the task.
pub(crate) fn main(args: &Agent) -> anyhow::Result<ExitCode> {
    let Some(task) = &args.task else {
        let linger = Duration::from_secs(args.linger);
        let options = sidestep_agent::Options {
            runtime_dir: None,
            linger,
            foreground: args.foreground,
            log_to_stderr: args.foreground,
            links: args.links.clone(),
            users: args.users.iter().copied().chain(caller()).collect(),
        };
        return sidestep_agent::run(&options).map(|()| ExitCode::SUCCESS);
    };
    let directory = directory()?;
    let (mut client, welcome) = match Client::connect(&directory.socket(), "sidestep agent") {
        Ok(connected) => connected,
        Err(ClientError::Refused(Fault::Version)) if matches!(task, Task::Stop) => {
            return stop_another_build(&directory);
        }
        Err(ClientError::NoAgent) => {
            output::print(&format!(
                "no agent runs in {}\n",
                directory.path().display()
            ))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error).context("cannot reach the agent"),
    };
    let (pid, place) = (welcome.agent_pid, directory.path().display());
    match task {
        Task::Status => output::print(&format!("the agent runs in {place}, process {pid}\n"))?,
        Task::Stop => {
            client.stop().context("the agent does not stop")?;
            output::print(&format!("the agent, process {pid}, ends\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends an agent that does not understand requests of this build.
fn stop_another_build(directory: &RuntimeDir) -> anyhow::Result<ExitCode> {
    let pid = Client::listener(&directory.socket()).context("cannot reach the agent")?;
    directory.forget_links();
    rustix::process::kill_process(pid, Signal::TERM).context("the agent does not stop")?;
    let pid = pid.as_raw_pid();
    output::print(&format!(
        "the agent, process {pid} of another build, ends\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// An interface to serve, as it is named on the command line.
pub(crate) fn link_spec(text: &str) -> Result<LinkSpec, String> {
    text.parse()
}

/// A user's number, from that or his name.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let all = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let mut found = all.lines().filter_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok())?
    });
    found.next().ok_or_else(|| format!("no user {text}"))
}

/// Who called sudo.
fn caller() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Starts an agent of the whole host that serves these interfaces, unless one does.
pub(crate) fn ensure_serving(exe: &Path, links: &[LinkSpec]) -> anyhow::Result<()> {
    let directory = RuntimeDir::of_host().context("the agent's directory (are you root?)")?;
    if let Ok((mut client, _)) = Client::connect(&directory.socket(), "sidestep run") {
        let report = crate::ps::report(&mut client)?;
        for link in links {
            let name = &link.interface;
            let mut served = report.interfaces.iter();
            let served = served.any(|i| i.name == *name || i.bond.as_ref() == Some(name));
            anyhow::ensure!(
                served,
                "the agent that runs in {} does not serve {name}: end it with `sidestep agent stop`, and try again",
                directory.path().display()
            );
        }
        return Ok(());
    }
    let said = rustix::fs::memfd_create("sidestep-agent", MemfdFlags::CLOEXEC)?;
    let mut command = Command::new(exe);
    command.arg("agent");
    for link in links {
        command.arg("--link").arg(&link.said);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut agent = command.stderr(Stdio::from(said.try_clone()?)).spawn()?;
    let mut has_ended = false;
    while Client::connect(&directory.socket(), "sidestep run").is_err() && !has_ended {
        has_ended = agent.try_wait()?.is_some();
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut words = String::new();
    let mut file = File::from(said);
    file.rewind()?;
    file.read_to_string(&mut words)?;
    if has_ended {
        let why = words.trim_end().trim_start_matches("sidestep: ");
        anyhow::bail!("the agent does not start: {why}");
    }
    // What it has to say of the interfaces.
    eprint!("{words}");
    Ok(())
}

/// Connects to this user's agent, starts it where none runs, and returns its directory.
pub(crate) fn ensure_running(exe: &Path) -> anyhow::Result<PathBuf> {
    let directory = directory()?;
    let started = start::ensure_running_in(&directory, exe, "sidestep run", layout());
    if let Err(error @ ClientError::Refused(Fault::Version)) = started {
        return Err(error).context(directory.path().display().to_string());
    }
    started.with_context(|| {
        let place = directory.path().display();
        if directory.may_start() {
            return format!("the agent does not start (see {place}/agent.log)");
        }
        let user = rustix::process::geteuid().as_raw();
        format!(
            "the agent of this host in {place} does not run (root starts it: `sidestep agent --link xdp:NAME`), or does not serve user {user} (`sidestep agent --user`)"
        )
    })?;
    Ok(directory.path().to_owned())
}

fn directory() -> anyhow::Result<RuntimeDir> {
    RuntimeDir::from_env()
        .context("the agent has no directory of its own (set SIDESTEP_RUNTIME_DIR)")
}
