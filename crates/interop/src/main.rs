//! `cargo xtask interop`: tables of this stack's TCP beside Linux's, and against it, over bad links.

use clap::{Parser, ValueEnum};
use sidestep_interop::table;
use sidestep_shm::Nanos;
use std::process::ExitCode;

/// This stack's TCP beside Linux's, and against it, over links that lose and delay. Needs root.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask interop", bin_name = "cargo xtask interop")]
struct Cli {
    /// What to print.
    #[arg(value_enum)]
    table: Table,
    /// How long each stream lasts, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each is measured, each time with another seed.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// How many requests.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Of goodput only this delay each way, in milliseconds.
    #[arg(long)]
    delay: Option<u64>,
    /// Of goodput only this loss, in parts per million.
    #[arg(long)]
    loss: Option<u32>,
}

impl Cli {
    fn cells(&self) -> Vec<(u64, u32)> {
        let mut cells = table::cells();
        cells.retain(|(delay_ms, loss_ppm)| {
            self.delay.is_none_or(|only| only == *delay_ms)
                && self.loss.is_none_or(|only| only == *loss_ppm)
        });
        cells
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Transfers of every kind over every kind of link against Linux, every byte compared: the longest connection of each.
    Matrix,
    /// Goodput over loss and delay, beside Linux at the same time.
    Goodput,
    /// How long requests of 100 KB take at 1 % loss, beside Linux.
    Requests,
    /// Two flows on one link: two of ours, two of Linux's, one of each.
    Shares,
}

fn main() -> ExitCode {
    let args = Cli::parse();
    let span = Nanos::from_secs(args.seconds);
    let done = match args.table {
        Table::Matrix => match table::matrix() {
            0 => Ok(()),
            failed => Err(anyhow::anyhow!("{failed} failed")),
        },
        Table::Goodput => table::goodput(&args.cells(), span, args.rounds),
        Table::Requests => table::requests(args.connections),
        Table::Shares => table::shares(span, args.rounds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
