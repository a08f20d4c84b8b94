//! `sidestep pingpong`: half round trips of a plain sockets program.
//!
//! Nothing in here knows of Sidestep: it calls the C library's sockets as any program does, so that it measures the
//! kernel when started plainly and Sidestep when started under `sidestep run`. Socket calls must therefore go through
//! `std::net` or `libc`, never through raw system calls, which a preloaded library cannot see.

mod channel;
mod client;
mod clock;
mod report;
mod server;
mod session;
mod sockets;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Where a server listens when nothing else is said.
const PORT: u16 = 2048;

const EXAMPLES: &str = "\
Examples:
  sidestep pingpong --local
      TCP, blocking, both ends on this host over the kernel
  sidestep run -- sidestep pingpong --local --mode spin --affinity '0;1'
      the same program accelerated, both ends spinning on CPUs of their own
  sidestep pingpong server
  sidestep pingpong client HOST --udp --connect --mode epoll --sizes 32,64,1024
      two hosts; the client tells the server what to do

Output:
  Lines that begin with '#' describe the run. Columns are those of sfnt-pingpong, in nanoseconds, halves of
  round trips: size mean min median max %ile stddev iter, then p99 and p99.9.

Exit status:
  0 measured; 1 the peer could not be reached, or the connection broke; 2 wrong usage.";

/// Measure half round trips with a plain sockets program.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Pingpong {
    #[command(subcommand)]
    role: Option<Role>,
    /// Run both ends on this host: starts a server process of its own and ends it.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer clients, one after another, as each of them asks.
    Server(Server),
    /// Measure against a server.
    Client(Client),
}

/// What a server is told by its own command line; all else comes from the client.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:2048")]
    listen: SocketAddr,
    /// End after the first session, with its status.
    #[arg(long)]
    once: bool,
    /// Run on this CPU, whatever the client asks for.
    #[arg(long, value_name = "CPU")]
    affinity: Option<usize>,
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Debug, Args)]
struct Client {
    /// The server: a name or address, with :PORT unless it is 2048.
    host: String,
    #[command(flatten)]
    load: Load,
}

/// What is measured, and how.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// UDP instead of TCP.
    #[arg(long, conflicts_with = "tcp")]
    udp: bool,
    /// TCP, which is the default.
    #[arg(long)]
    tcp: bool,
    /// How both ends wait for the next message.
    #[arg(long, value_enum, default_value_t = Mode::Blocking)]
    mode: Mode,
    /// With poll, epoll and select: ask without waiting, in a loop. With blocking: the same as --mode spin.
    #[arg(long)]
    spin: bool,
    /// Bytes in a message, several separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "BYTES",
          default_values_t = [1, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768])]
    sizes: Vec<usize>,
    /// Round trips at most, for each size.
    #[arg(long, alias = "iterations", default_value_t = 1_000_000)]
    iter: u64,
    /// Time at most for each size, as 500ms, 2s or 1m.
    #[arg(long, value_parser = duration, default_value = "1s")]
    duration: Duration,
    /// Round trips before measuring, for each size; what they bring back is compared byte by byte.
    #[arg(long, default_value_t = 1000)]
    warmup: u64,
    /// CPUs of client and server, as '0;1' (also 0,1 or 0:1); leave one out to let it float.
    #[arg(long, value_parser = affinity, value_name = "C;S", default_value = ";")]
    affinity: Affinity,
    /// Connect the UDP sockets and use send and recv; otherwise sendto and recvfrom.
    #[arg(long)]
    connect: bool,
    /// Leave Nagle's algorithm on.
    #[arg(long)]
    nagle: bool,
    /// Use IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// What the column %ile shows.
    #[arg(long, default_value_t = 99.0, value_name = "PERCENT")]
    percentile: f64,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

/// How an end waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// recv that blocks.
    Blocking,
    /// recv on a non-blocking socket, in a loop.
    Spin,
    /// poll, then recv.
    Poll,
    /// epoll_wait, then recv.
    Epoll,
    /// select, then recv.
    Select,
}

/// CPUs that client and server are bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Affinity {
    client: Option<usize>,
    server: Option<usize>,
}

impl Load {
    /// What the server has to know of it.
    fn session(&self) -> session::Session {
        let (mode, spin) = match (self.mode, self.spin) {
            (Mode::Blocking, true) | (Mode::Spin, _) => (Mode::Spin, true),
            (mode, spin) => (mode, spin),
        };
        session::Session {
            udp: self.udp,
            mode,
            spin,
            connected: self.connect,
            nodelay: !self.nagle,
            server_cpu: self.affinity.server,
            udp_port: 0,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if !(0.0..=100.0).contains(&self.percentile) {
            bail!(
                "--percentile {}: must lie between 0 and 100",
                self.percentile
            );
        }
        if self.iter == 0 {
            bail!("--iter 0: nothing to measure");
        }
        for &size in &self.sizes {
            session::check_size(size, self.udp)?;
        }
        Ok(())
    }
}

/// Runs the role that the command line names.
pub(crate) fn main(args: &Pingpong) -> anyhow::Result<()> {
    match &args.role {
        Some(Role::Server(server)) => server::serve(server),
        Some(Role::Client(client)) => {
            client.load.check()?;
            client::run(client::resolve(&client.host, &client.load)?, &client.load)
        }
        None if args.local => {
            args.load.check()?;
            client::run_local(&args.load)
        }
        None => bail!("say `--local`, `server` or `client HOST`; see `sidestep pingpong --help`"),
    }
}

/// Binds this thread to a CPU.
fn bind_to(cpu: Option<usize>) -> anyhow::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        bail!("CPU {cpu}: no such CPU");
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("cannot run on CPU {cpu} (see `nproc` and `taskset -p $$`)"))
}

/// Reads `500ms`, `2s`, `1m` or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        unit => return Err(format!("unknown unit {unit:?}: use us, ms, s or m")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is not a number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

fn affinity(text: &str) -> Result<Affinity, String> {
    let cpu = |text: &str| match text.trim() {
        "" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| format!("{number:?} is not a CPU number")),
    };
    let (client, server) = text.split_once([';', ',', ':']).unwrap_or((text, ""));
    Ok(Affinity {
        client: cpu(client)?,
        server: cpu(server)?,
    })
}
