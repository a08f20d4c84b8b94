//! `cargo xtask sim`: connections in virtual time over bad links, and goodput over loss and delay.

use anyhow::{anyhow, bail};
use clap::Args;
use sidestep_sim::{Capture, Scenario};
use std::path::PathBuf;
use std::process::ExitCode;

/// Run TCP in virtual time over links that lose, delay, reorder and repeat.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// The first seed; each says all of a run.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Write what the links carried in the only run to this file (pcap).
    #[arg(long)]
    pcap: Option<PathBuf>,
    /// Print goodput over loss and delay instead.
    #[arg(long)]
    table: bool,
}

pub(crate) fn main(args: &Sim) -> anyhow::Result<ExitCode> {
    if args.table {
        print!(
            "{}",
            sidestep_sim::table(args.seed).map_err(|what| anyhow!(what))?
        );
        return Ok(ExitCode::SUCCESS);
    }
    if args.pcap.is_some() && args.seeds != 1 {
        bail!("one seed a capture");
    }
    let mut failed = 0;
    for seed in args.seed..args.seed + args.seeds {
        let scenario = Scenario::random(seed);
        let capture = args.pcap.as_deref().map(Capture::create).transpose()?;
        match scenario.run(capture) {
            Ok(report) if args.seeds == 1 => println!("{scenario:#?}\n{report:#?}"),
            Ok(_) => {}
            Err(what) => {
                failed += 1;
                println!("seed {seed}: {what}");
            }
        }
    }
    println!(
        "{} of {} as they should be",
        args.seeds - failed,
        args.seeds
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
