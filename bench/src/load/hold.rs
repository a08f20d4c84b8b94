//! Connections that do nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Accepts connections and keeps them, saying each time it is out of new ones how many they are.
pub(super) fn server(listener: &TcpListener) -> io::Result<()> {
    raise_descriptor_limit();
    let mut held = Vec::with_capacity(1 << 17);
    for stream in listener.incoming() {
        held.push(stream?);
        if held.len().is_multiple_of(500) {
            say(&format!("holds {}", held.len()))?;
        }
    }
    Ok(())
}

/// Makes `first` connections, and when the file `when` exists `then` more; keeps them until it is ended.
pub(super) fn client(server: SocketAddr, first: usize, then: usize, when: &Path) -> io::Result<()> {
    raise_descriptor_limit();
    let mut held = Vec::with_capacity(first + then);
    for _ in 0..first {
        held.push(TcpStream::connect(server)?);
    }
    say("first")?;
    while !when.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..then {
        held.push(TcpStream::connect(server)?);
    }
    say("then")?;
    loop {
        std::thread::park();
    }
}

/// As many descriptors as the system lets us have; with fewer, connecting fails and says so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
