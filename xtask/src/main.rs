//! Development commands: `cargo xtask build | demo | test | bench | sim | interop | packetdrill | ci`.
//!
//! Everything that people and continuous integration do to this repository goes through here, in Rust rather than in
//! shell, so that there is one place to look and nothing to install first.
#![forbid(unsafe_code)]

mod chart;
mod checks;
mod children;
mod clock;
mod demo;
mod packages;
mod packetdrill;
mod sim;
mod steps;
mod suite;
mod tidy;
mod vm;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Development commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the command and the library for use: target/release/sidestep and libsidestep.so.
    Build,
    /// Show redis over the kernel and accelerated, side by side.
    Demo(demo::Demo),
    /// Run all tests that this user and machine can run; as root, install what they need.
    Test {
        /// Run those instead that need VLANs, bonds and drivers of network cards, in a guest of QEMU.
        #[arg(long)]
        vm: bool,
        /// With --vm: only tests whose names contain one of these.
        #[arg(requires = "vm")]
        names: Vec<String>,
    },
    /// Measure; see `cargo xtask bench --help` for its own options.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run TCP in virtual time over bad links: replay a seed, try many, or print goodput over loss and delay.
    Sim(sim::Sim),
    /// TCP beside Linux's and against it over bad links, as root; see `cargo xtask interop --help`.
    #[command(disable_help_flag = true)]
    Interop {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Play scripts of packetdrill, which is not part of this repository, over the library in virtual time. Needs root.
    Packetdrill(packetdrill::Packetdrill),
    /// What continuous integration runs: formatting, lints, documentation, tidiness, tests.
    Ci,
    /// Only the rules of style that no other tool checks.
    Tidy,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let root = root()?;
    std::env::set_current_dir(&root).context("cannot enter the repository")?;
    match Cli::parse().command {
        Command::Build => steps::build_release().map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::main(&args),
        Command::Test { vm: true, names } => Ok(vm::main(&names)),
        Command::Test { .. } => Ok(suite::main(suite::Summary::default())),
        Command::Bench { args } => {
            steps::build_release()?;
            run_package("sidestep-bench", &args)
        }
        Command::Interop { args } => run_package("sidestep-interop", &args),
        Command::Sim(args) => sim::main(&args),
        Command::Packetdrill(args) => packetdrill::main(&args),
        Command::Ci => Ok(checks::main()),
        Command::Tidy => tidy::main(&root),
    }
}

fn run_package(package: &str, args: &[String]) -> anyhow::Result<ExitCode> {
    let mut cargo = steps::cargo(&["run", "--release", "--quiet", "--package", package, "--"]);
    let status = cargo.args(args).status().context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The repository: where cargo found this package, one level up.
fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    Ok(here
        .parent()
        .context("the repository has no directory")?
        .to_owned())
}
