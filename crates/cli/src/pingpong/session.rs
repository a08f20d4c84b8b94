//! What client and server say to each other before and between the pings.
//!
//! All of it travels as lines of JSON on one TCP connection. With TCP the pings use that connection too; with UDP
//! they use a pair of sockets on the same two addresses.
//!
//! ```text
//! client                                server
//!   Session ──────────────────────────▶
//!           ◀────────────────────────── Ready
//!   Phase{bytes} ─────────────────────▶              for each size
//!           ◀────────────────────────── Ready
//!   ping ─────────────────────────────▶              first byte LAST ends the phase
//!           ◀────────────────────────── the same bytes
//!   end of file
//! ```

use super::Mode;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{ErrorKind, Read, Write};

/// First byte of a ping that another one follows.
pub(super) const MORE: u8 = 0;
/// First byte of the last ping of a phase.
pub(super) const LAST: u8 = 1;

/// Largest message over TCP; both ends hold one in memory.
pub(super) const TCP_BYTES_MAX: usize = 64 << 20;
/// Largest datagram that IPv4 carries.
pub(super) const UDP_BYTES_MAX: usize = 65_507;
/// No line is longer than this.
const LINE_BYTES_MAX: usize = 4096;

/// How the client wants a session to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) udp: bool,
    pub(super) mode: Mode,
    /// Ask without waiting, in a loop.
    pub(super) spin: bool,
    pub(super) connected: bool,
    pub(super) nodelay: bool,
    /// CPU for the server.
    pub(super) server_cpu: Option<usize>,
    /// The client's UDP port.
    pub(super) udp_port: u16,
}

/// Begins the pings of one size.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Phase {
    pub(super) bytes: usize,
}

/// The server is ready, or says why it is not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Ready {
    /// Go on; `udp_port` is the server's.
    Yes { udp_port: u16 },
    /// The session ends here.
    No { reason: String },
}

impl Ready {
    /// The server's UDP port, or its reason as an error.
    pub(super) fn udp_port(self) -> anyhow::Result<u16> {
        match self {
            Self::Yes { udp_port } => Ok(udp_port),
            Self::No { reason } => bail!("the server refused: {reason}"),
        }
    }
}

/// Whether messages of that size can be sent.
pub(super) fn check_size(bytes: usize, udp: bool) -> anyhow::Result<()> {
    let max = if udp { UDP_BYTES_MAX } else { TCP_BYTES_MAX };
    if bytes == 0 || bytes > max {
        bail!("a message of {bytes} bytes: sizes go from 1 to {max}");
    }
    Ok(())
}

/// Sends one line.
pub(super) fn say(mut to: impl Write, what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).context("cannot write to the other end")
}

/// Reads one line, and not a byte beyond it. None when the other end closed before its first byte.
pub(super) fn hear<T: DeserializeOwned>(mut from: impl Read) -> anyhow::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match from.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => bail!("the other end closed in the middle of a line"),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if line.len() == LINE_BYTES_MAX => {
                bail!("this is not a sidestep pingpong: line too long")
            }
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read from the other end"),
        }
    }
    serde_json::from_slice(&line)
        .map(Some)
        .context("this is not a sidestep pingpong, or one of another version")
}
