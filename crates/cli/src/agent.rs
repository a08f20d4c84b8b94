//! `sidestep agent`, and what other subcommands need of the agent.

use anyhow::Context as _;
use sidestep_control::{RuntimeDir, start};
use std::path::{Path, PathBuf};

/// Connects to this user's agent, starts it where none runs, and returns its directory.
pub(crate) fn ensure_running(exe: &Path) -> anyhow::Result<PathBuf> {
    let directory = RuntimeDir::from_env().context("the agent has no directory of its own")?;
    start::ensure_running_in(&directory, exe, "sidestep run").with_context(|| {
        format!(
            "the agent does not start (see {})",
            directory.log().display()
        )
    })?;
    Ok(directory.path().to_owned())
}
