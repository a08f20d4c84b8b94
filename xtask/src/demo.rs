//! `cargo xtask demo`: programs over the kernel and accelerated, side by side, with a table and a chart at the end.
//!
//! Rounds alternate between the two, so that what the machine does meanwhile hits both. A figure counts as
//! accelerated only if frames moved through Sidestep during the run.

mod counters;
mod plain;
mod redis;
#[cfg(test)]
mod tests;

use crate::chart::{self, Better, Row};
use crate::children::Scratch;
use crate::{packages, steps};
use anyhow::bail;
use clap::Args;
use counters::Counters;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Show redis over the kernel and accelerated, side by side.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Rounds of each measurement; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Show what needs no redis, even where there is one.
    #[arg(long)]
    without_redis: bool,
}

/// Which way a program's sockets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    Sidestep,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Kernel, Self::Sidestep];

    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Sidestep => "sidestep",
        }
    }
}

/// Where a demonstration happens.
struct Stage {
    scratch: Scratch,
    sidestep: PathBuf,
    rounds: u16,
}

impl Stage {
    /// A program, to go that way.
    fn program(&self, way: Way, program: impl AsRef<OsStr>) -> Command {
        let mut command = match way {
            Way::Kernel => Command::new(program),
            Way::Sidestep => {
                let mut command = Command::new(&self.sidestep);
                command.args(["run", "--"]).arg(program);
                command
            }
        };
        command.env("SIDESTEP_RUNTIME_DIR", self.runtime_dir());
        command
    }

    fn runtime_dir(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    /// Runs a load to its end and returns its output. Fails where an accelerated one moved no accelerated counters.
    fn load(&self, way: Way, command: &mut Command) -> anyhow::Result<String> {
        let counters = (way == Way::Sidestep).then(|| Counters::watch(self));
        let output = command.output()?;
        let moved = counters.map(Counters::moved);
        if !output.status.success() {
            bail!(
                "{command:?}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        if moved == Some(0) {
            bail!(
                "{command:?} ran, but not accelerated: no frame moved through Sidestep; \
                 `sidestep run --explain -- PROGRAM` says why"
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

/// Samples of one measurement, kernel and Sidestep.
#[derive(Debug, Default)]
struct Samples {
    kernel: Vec<f64>,
    sidestep: Vec<f64>,
}

impl Samples {
    fn add(&mut self, way: Way, sample: f64) {
        match way {
            Way::Kernel => self.kernel.push(sample),
            Way::Sidestep => self.sidestep.push(sample),
        }
    }

    fn row(&self, name: &str, unit: &'static str, better: Better) -> Row {
        Row::new(name, unit, better, &self.kernel, &self.sidestep)
    }
}

/// Runs the demonstration.
pub(crate) fn main(args: &Demo) -> anyhow::Result<ExitCode> {
    steps::build_release()?;
    let stage = Stage {
        scratch: Scratch::new("demo")?,
        sidestep: steps::sidestep()?,
        rounds: args.rounds,
    };
    let outcome = show(args, &stage);
    end_agent(&stage.sidestep, &stage.runtime_dir());
    let rows = outcome?;
    println!("\n{}", chart::table(&rows));
    println!("{}", chart::bars(&rows, chart::is_colourful()));
    println!(
        "Unmodified programs, medians of {} rounds that alternate; (lowest–highest).",
        args.rounds
    );
    println!("Every accelerated round was seen to move frames through Sidestep.");
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Demo, stage: &Stage) -> anyhow::Result<Vec<Row>> {
    if args.without_redis {
        return plain::rows(stage);
    }
    let missing = packages::missing(["redis-server", "redis-benchmark"].into_iter());
    if !missing.is_empty() && packages::may_install() {
        packages::install(&missing)?;
    } else if !missing.is_empty() {
        println!(
            "redis is not here. To see it:  sudo apt-get install -y {}",
            missing.join(" ")
        );
        println!("Until then, the same with programs that are here:");
        return plain::rows(stage);
    }
    redis::rows(stage)
}

/// The agent of the demonstration would end by itself a little later; its directory is removed now.
fn end_agent(sidestep: &Path, runtime_dir: &Path) {
    let _ = Command::new(sidestep)
        .args(["agent", "stop"])
        .env("SIDESTEP_RUNTIME_DIR", runtime_dir)
        .output();
}
