//! `sidestep agent`, and what other subcommands need of the agent.

use crate::output;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use sidestep_control::{Client, ClientError, RuntimeDir, start};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
The agent introduces accelerated programs of one user to each other, and cleans up after those that die. It needs no
privilege, is started by the first `sidestep run`, and ends when unused. Killing it disturbs no connection.

Its directory is $SIDESTEP_RUNTIME_DIR, else $XDG_RUNTIME_DIR/sidestep, else /tmp/sidestep-UID; its log is agent.log
therein.

Examples:
  sidestep agent --foreground
      run it here, with its log on standard error
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
        };
        return sidestep_agent::run(&options).map(|()| ExitCode::SUCCESS);
    };
    let directory = directory()?;
    let (mut client, welcome) = match Client::connect(&directory.socket(), "sidestep agent") {
        Ok(connected) => connected,
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

/// Connects to this user's agent, starts it where none runs, and returns its directory.
pub(crate) fn ensure_running(exe: &Path) -> anyhow::Result<PathBuf> {
    let directory = directory()?;
    start::ensure_running_in(&directory, exe, "sidestep run").with_context(|| {
        format!(
            "the agent does not start (see {})",
            directory.log().display()
        )
    })?;
    Ok(directory.path().to_owned())
}

fn directory() -> anyhow::Result<RuntimeDir> {
    RuntimeDir::from_env()
        .context("the agent has no directory of its own (set SIDESTEP_RUNTIME_DIR)")
}
