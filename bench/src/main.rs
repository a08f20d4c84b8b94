//! Side-by-side benchmarks: the kernel, Sidestep and peers, in one run, alternating.
//!
//! This program owns the measurements and their report. What it measures are unmodified programs, started with and
//! without `sidestep run`; a figure of an accelerated run counts only if the accelerated counters moved.

mod case;
mod cases;
mod clock;
mod ends;
mod far;
mod lab;
mod load;
mod machine;
mod model;
mod network;
mod placement;
mod process;
mod raw_memif;
mod raw_xdp;
mod report;
mod segments;
mod smoltcp;
mod stats;
mod targets;
mod traffic;

use anyhow::{Context as _, bail};
use case::Case;
use clap::Parser;
use clock::Deadline;
use lab::Lab;
use machine::Machine;
use model::Effort;
use report::Report;
use std::path::PathBuf;
use std::time::Duration;
use targets::judge;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench --quick
      a first impression, in four minutes; as root, also of networks
  cargo xtask bench --html bench.html --json bench.json
      everything, in twenty minutes at most, also as a page to open and as data
  cargo xtask bench --only tcp_rtt_spin,redis_c50 --rounds 9
      two cases, with more rounds

Exit status:
  0 measured, whatever the figures; 1 not; 2 wrong usage.";

/// Measure Sidestep beside the kernel and peers.
#[derive(Debug, Parser)]
#[command(name = "sidestep-bench", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Args {
    /// Short rounds and few of them.
    #[arg(long)]
    quick: bool,
    /// Only these cases; see --list.
    #[arg(long, value_delimiter = ',', value_name = "CASE,…")]
    only: Vec<String>,
    /// Rounds of each case.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Name the cases.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Be one of the programs that are measured.
    #[command(subcommand, hide = true)]
    Load(load::Load),
    /// Be the stack whose work on segments is counted.
    #[command(hide = true)]
    Segments(segments::Segments),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Load(load)) => return Ok(load::run(load)?),
        Some(Command::Segments(segments)) => {
            return segments::run(&segments).map_err(|problem| anyhow::anyhow!(problem.show()));
        }
        None => {}
    }
    let mut cases = chosen(&args.only)?;
    if args.list {
        for case in &cases {
            println!("{:<20}{}", case.name(), case.title());
        }
        return Ok(());
    }
    let effort = if args.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let rounds = args
        .rounds
        .map_or(if args.quick { 2 } else { 5 }, usize::from);
    let lab = Lab::new().context("cannot set up the benchmark")?;
    let machine = Machine::here(lab.cpus, rounds, effort.seconds);
    let mut said = |line: &str| eprintln!("{line}");
    let shares: usize = cases.iter().map(|case| case.shares()).sum();
    let mut results = Vec::new();
    for case in &mut cases {
        #[expect(clippy::cast_precision_loss, reason = "a few shares")]
        let share = case.shares() as f64 / shares as f64;
        let deadline = Deadline::after(Duration::from_secs_f64(effort.budget_seconds * share));
        results.push(case::run(
            case.as_mut(),
            &lab,
            effort,
            (rounds, deadline),
            &mut said,
        ));
    }
    drop(lab);
    let report = Report {
        machine,
        rows: judge(&targets::all(), &results),
        cases: results,
    };
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, report.html())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The cases of these names, in the order of the report; all where none is named.
fn chosen(only: &[String]) -> anyhow::Result<Vec<Box<dyn Case>>> {
    let all = cases::all();
    if let Some(unknown) = only
        .iter()
        .find(|name| !all.iter().any(|c| c.name() == name.as_str()))
    {
        bail!(
            "no case {unknown}; there are {}",
            all.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(all
        .into_iter()
        .filter(|c| only.is_empty() || only.iter().any(|name| name == c.name()))
        .collect())
}
