//! The `sidestep` command. One file a subcommand; this one reads the command line and turns errors into messages.

mod agent;
mod doctor;
mod library;
mod output;
mod pingpong;
mod ps;
mod run;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Network programs without the kernel in their data path.
#[derive(Debug, Parser)]
#[command(name = "sidestep", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Ps(ps::Ps),
    Doctor(doctor::Doctor),
    Pingpong(pingpong::Pingpong),
    Agent(agent::Agent),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => Ok(run::main(&args)),
        Command::Ps(args) => ps::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Agent(args) => agent::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Pingpong(args) => pingpong::main(&args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        if error.is::<output::ReaderGone>() {
            return ExitCode::SUCCESS;
        }
        eprintln!("sidestep: {error:#}");
        ExitCode::FAILURE
    })
}
