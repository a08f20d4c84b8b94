//! Running cargo, said aloud.

use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::Command;

/// Announces what comes next.
pub(crate) fn say(what: &str) {
    println!("\n== {what}");
}

/// Cargo, the one that runs us, without what it told us of ourselves.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Runs a command to its end; fails unless it succeeds.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Builds what users run.
pub(crate) fn build_release() -> anyhow::Result<()> {
    say("build: sidestep and libsidestep.so");
    let packages = ["--package", "sidestep-cli", "--package", "sidestep-preload"];
    succeed(cargo(&["build", "--release"]).args(packages))
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// The command, as [`build_release`] leaves it.
pub(crate) fn sidestep() -> anyhow::Result<PathBuf> {
    let path = target_directory().join("release/sidestep");
    path.canonicalize()
        .with_context(|| format!("{} (run `cargo xtask build`)", path.display()))
}
