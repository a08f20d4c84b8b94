//! The plain sockets programs that some cases run as their load. They call the C library through `std::net`, as any
//! program does, and know nothing of Sidestep.

mod calls;
mod hold;
mod stream;

use clap::Subcommand;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;

/// Bytes of a message of the loads that exchange messages.
const MESSAGE_BYTES: usize = 32;
/// Where loads meet that never leave the host.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A load and its role.
#[derive(Debug, Subcommand)]
pub(crate) enum Load {
    /// Answers every message, spinning.
    Echo {
        #[arg(long)]
        port: u16,
    },
    /// Times send and recv one by one against `echo`.
    Calls {
        #[arg(long)]
        port: u16,
        /// Calls of each kind before those that count.
        #[arg(long, default_value_t = 0)]
        warmup: u64,
        /// Calls of each kind.
        #[arg(long)]
        count: u64,
        /// Time between the two, in which the answer arrives.
        #[arg(long)]
        gap_us: u64,
    },
    /// Receives streams, one after another, and answers each with its length.
    Sink {
        #[arg(long, default_value_t = HERE)]
        host: Ipv4Addr,
        #[arg(long)]
        port: u16,
    },
    /// Sends a stream to `sink` for so long.
    Source {
        #[arg(long, default_value_t = HERE)]
        host: Ipv4Addr,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        seconds: f64,
    },
    /// Accepts connections and keeps them.
    HoldServer {
        #[arg(long)]
        port: u16,
    },
    /// Makes connections to `hold-server` in two steps and keeps them.
    Hold {
        #[arg(long)]
        port: u16,
        /// Connections of the first step.
        #[arg(long)]
        first: usize,
        /// Connections of the second.
        #[arg(long)]
        then: usize,
        /// The second step begins when this file exists.
        #[arg(long)]
        when: PathBuf,
    },
}

/// Runs a load to its end; servers have none.
pub(crate) fn run(load: Load) -> io::Result<()> {
    match load {
        Load::Echo { port } => calls::echo(&listen(HERE, port)?),
        Load::Calls {
            port,
            warmup,
            count,
            gap_us,
        } => calls::time(&connect(HERE, port)?, warmup, count, gap_us),
        Load::Sink { host, port } => stream::sink(&listen(host, port)?),
        Load::Source {
            host,
            port,
            seconds,
        } => stream::source(&connect(host, port)?, seconds),
        Load::HoldServer { port } => hold::server(&listen(HERE, port)?),
        Load::Hold {
            port,
            first,
            then,
            when,
        } => hold::client((HERE, port).into(), first, then, &when),
    }
}

fn listen(host: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((host, port))
}

fn connect(host: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
