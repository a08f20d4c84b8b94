//! `--explain`: the parent that listens to what the library says of each socket, and prints it.
//!
//! The library writes JSON lines, one for each decision, to the socket named in SIDESTEP_EXPLAIN_FD.

use super::{NotStarted, signals};
use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Resource, Signal};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// A line longer than this is not the library's.
const LINE_BYTES_MAX: usize = 4096;

/// One decision of the library.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Decision {
    pid: i64,
    fd: i64,
    kind: String,
    event: String,
    #[serde(default)]
    local: Option<String>,
    #[serde(default)]
    remote: Option<String>,
    verdict: String,
    #[serde(default)]
    reason: Option<String>,
}

impl Decision {
    /// As a line for people.
    pub(super) fn line(&self) -> String {
        let mut text = format!(
            "sidestep: [{}] fd {} {} {}",
            self.pid, self.fd, self.kind, self.event
        );
        let known = |end: &Option<String>| end.clone().filter(|end| !end.is_empty());
        let _ = match (known(&self.local), known(&self.remote)) {
            (Some(local), Some(remote)) => write!(text, " {local} -> {remote}"),
            (Some(local), None) => write!(text, " {local}"),
            (None, Some(remote)) => write!(text, " -> {remote}"),
            (None, None) => Ok(()),
        };
        let _ = write!(text, ": {}", self.verdict);
        if let Some(reason) = self.reason.as_deref().filter(|reason| !reason.is_empty()) {
            let _ = write!(text, ", {reason}");
        }
        text
    }
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accelerated: u64,
    kernel: u64,
    pids: BTreeSet<i64>,
    reasons: BTreeMap<String, u64>,
    garbled: u64,
}

impl Tally {
    pub(super) fn count(&mut self, decision: &Decision) {
        self.pids.insert(decision.pid);
        if decision.verdict == "accelerated" {
            self.accelerated += 1;
            return;
        }
        self.kernel += 1;
        let reason = decision.reason.clone().filter(|reason| !reason.is_empty());
        *self
            .reasons
            .entry(reason.unwrap_or_else(|| "no reason given".to_owned()))
            .or_default() += 1;
    }

    /// The closing lines.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "sidestep: {} accelerated, {} left to the kernel, in {} process{}\n",
            self.accelerated,
            self.kernel,
            self.pids.len(),
            if self.pids.len() == 1 { "" } else { "es" },
        );
        for (reason, count) in &self.reasons {
            let _ = writeln!(text, "sidestep: left to the kernel, {count}: {reason}");
        }
        if self.garbled > 0 {
            let _ = writeln!(text, "sidestep: lines not understood: {}", self.garbled);
        }
        text
    }
}

/// Splits a stream into decisions.
struct Listener<W> {
    partial: Vec<u8>,
    tally: Tally,
    out: W,
}

impl<W: Write> Listener<W> {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                if self.partial.len() < LINE_BYTES_MAX {
                    self.partial.push(byte);
                }
                continue;
            }
            match serde_json::from_slice::<Decision>(&self.partial) {
                Ok(decision) => {
                    self.tally.count(&decision);
                    self.out.write_all((decision.line() + "\n").as_bytes())?;
                }
                Err(_) => self.tally.garbled += 1,
            }
            self.partial.clear();
        }
        Ok(())
    }
}

/// Starts the program, prints what its library says, passes signals on, and ends as the program ends.
pub(super) fn run(
    mut command: Command,
    name: &OsStr,
    log: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let out: Box<dyn Write + Send> = match log {
        Some(path) => Box::new(File::create(path).with_context(|| path.display().to_string())?),
        None => Box::new(io::stderr()),
    };
    let (ours, theirs) = connection()?;
    command.env("SIDESTEP_EXPLAIN_FD", theirs.as_raw_fd().to_string());
    let notices = signals::notice().context("cannot catch signals")?;
    signals::die_with_parent(&mut command);
    let mut child = command
        .spawn()
        .map_err(|error| NotStarted::new(name, &error))?;
    drop(theirs);
    let pid = Pid::from_child(&child);
    std::thread::spawn(move || pass_on(notices, pid));
    let (done, ended) = rustix::pipe::pipe()?;
    let listening = std::thread::spawn(move || listen(ours, done, out));
    let status = child.wait().context("cannot wait for the program")?;
    drop(ended);
    // A failure to print is no failure of the program.
    let _ = listening.join();
    if let Some(signal) = status.signal() {
        signals::die_of(signal);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(super::FAILED)))
}

/// A pair of sockets; the second is for the program, inherited, at a number that it will not use by itself.
fn connection() -> anyhow::Result<(File, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .context("cannot make a socket for the explanation")?;
    let limit = rustix::process::getrlimit(Resource::Nofile)
        .current
        .unwrap_or(1024);
    let number = i32::try_from(limit.saturating_sub(32).clamp(3, 992)).unwrap_or(992);
    // Duplicates are made close-on-exec; this one is to be inherited.
    let high = rustix::io::fcntl_dupfd_cloexec(&theirs, number).unwrap_or(theirs);
    rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty())?;
    Ok((File::from(ours), high))
}

fn pass_on(mut notices: File, program: Pid) {
    let mut signal = [0];
    while notices.read_exact(&mut signal).is_ok() {
        if let Some(signal) = Signal::from_named_raw(i32::from(signal[0])) {
            // The program may be gone already.
            let _ = rustix::process::kill_process(program, signal);
        }
    }
}

/// Prints until all holders of the socket are gone, or the program has ended and nothing is left to read.
fn listen(mut from: File, done: OwnedFd, out: impl Write) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut listener = Listener {
        partial: Vec::new(),
        tally: Tally::default(),
        out,
    };
    rustix::io::ioctl_fionbio(&from, true)?;
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => listener.hear(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [
                    PollFd::new(&from, PollFlags::IN),
                    PollFd::new(&done, PollFlags::IN),
                ];
                rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
                if fds[0].revents().is_empty() {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    let summary = listener.tally.summary();
    listener.out.write_all(summary.as_bytes())
}

#[cfg(test)]
pub(super) fn retell(lines: &[u8]) -> (String, String) {
    let mut listener = Listener {
        partial: Vec::new(),
        tally: Tally::default(),
        out: Vec::new(),
    };
    listener.hear(lines).unwrap();
    (
        String::from_utf8(listener.out).unwrap(),
        listener.tally.summary(),
    )
}
