//! The agent as a process: the only one of its directory, from its first breath to its end.

use crate::log::Log;
use crate::server::Server;
use anyhow::Context;
use rustix::fs::{CWD, FlockOperation, Mode as Access, OFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use sidestep_control::RuntimeDir;
pub use sidestep_nic::xdp::Copying;
use sidestep_steering::Mode;
pub use sidestep_steering::Wanted;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// An interface that the agent is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Its name.
    pub interface: String,
    /// Where in the kernel its frames are to be steered.
    pub mode: Wanted,
    /// Who copies its frames.
    pub copying: Copying,
    /// Whether the kernel or the card may cut the segments of streams, where the kernel copies frames.
    pub cuts: bool,
    /// Whether checksums of what is sent are left to the card or the kernel; none for where that is known to pay.
    pub checksums_left: Option<bool>,
    /// Most queues that one stack gets; none for all that are free.
    pub queues: Option<usize>,
    /// Whether programs are to drive the interface themselves where they wait for frames.
    pub busy_poll: bool,
    /// All of it, as it was said.
    pub said: String,
}

impl FromStr for LinkSpec {
    type Err = String;

    /// From `xdp:NAME` or `packet:NAME`, and options after commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let (kind, interface) = words
            .next()
            .and_then(|word| word.split_once(':'))
            .filter(|(kind, name)| matches!(*kind, "xdp" | "packet") && !name.is_empty())
            .ok_or("not of the form xdp:NAME or packet:NAME, as in xdp:eth0")?;
        let is_packet = kind == "packet";
        let mut spec = Self {
            interface: interface.to_owned(),
            mode: match is_packet {
                true => Wanted::Only(Mode::TrafficControl),
                false => Wanted::Auto,
            },
            copying: Copying::Auto,
            cuts: true,
            checksums_left: None,
            queues: None,
            busy_poll: false,
            said: text.to_owned(),
        };
        for word in words {
            if is_packet {
                return Err(format!("{word}: packet:NAME takes no options"));
            }
            match word {
                "native" => spec.mode = Wanted::Only(Mode::Native),
                "generic" => spec.mode = Wanted::Only(Mode::Generic),
                "copy" => spec.copying = Copying::Copy,
                "busypoll" => spec.busy_poll = true,
                "zerocopy" => spec.copying = Copying::ZeroCopy,
                "gso=off" => spec.cuts = false,
                "txcsum=on" => spec.checksums_left = Some(true),
                "txcsum=off" => spec.checksums_left = Some(false),
                other => {
                    let number = other.strip_prefix("queues=").and_then(|n| n.parse().ok());
                    let wrong = || {
                        format!(
                            "{other}: not one of native, generic, copy, zerocopy, busypoll, gso=off, txcsum=on, txcsum=off and queues=N"
                        )
                    };
                    spec.queues = Some(number.filter(|n| *n > 0).ok_or_else(wrong)?);
                }
            }
        }
        Ok(spec)
    }
}

/// How the agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its directory; none for the one that the environment names.
    pub runtime_dir: Option<PathBuf>,
    /// How long it stays when no program uses it.
    pub linger: Duration,
    /// Stay in the session, the working directory and on the processors of whoever started it.
    pub foreground: bool,
    /// Log to standard error instead of to `agent.log`.
    pub log_to_stderr: bool,
    /// Interfaces to serve; needs privilege.
    pub links: Vec<LinkSpec>,
    /// Users beside our own whose programs are served, where there are interfaces.
    pub users: BTreeSet<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runtime_dir: None,
            linger: Duration::from_secs(10),
            foreground: false,
            log_to_stderr: false,
            links: Vec::new(),
            users: BTreeSet::new(),
        }
    }
}

/// Runs the agent until it is told to stop or is not needed any more. Returns at once where another one runs already.
///
/// # Errors
/// Where its directory, socket or memory cannot be had.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let dir = match &options.runtime_dir {
        Some(path) => RuntimeDir::open(path),
        None if !options.links.is_empty() => RuntimeDir::of_host(),
        None => RuntimeDir::from_env(),
    }
    .context("the agent's directory")?;
    let log = if options.log_to_stderr {
        Log::to_stderr()
    } else {
        Log::to_file(&dir.log())
    };
    let Some(lock) = take_lock(&dir)? else {
        if !options.links.is_empty() {
            let place = dir.path().display();
            anyhow::bail!(
                "another agent runs in {place}: end it with `sidestep agent stop`, and name all interfaces to one"
            );
        }
        log.line(format_args!(
            "another agent runs in {}",
            dir.path().display()
        ));
        return Ok(());
    };
    if !options.foreground {
        stand_alone();
        log.panics();
    }
    let remembered = remembered(&dir, options);
    let mut server = Server::listen(dir, log, options, &remembered)?;
    server.run()?;
    // Let go only after the socket is gone, so that the next agent's is not removed.
    drop(server);
    drop(lock);
    Ok(())
}

/// The interfaces of an agent that was killed, where this one is started by need.
fn remembered(dir: &RuntimeDir, options: &Options) -> Vec<LinkSpec> {
    if !options.links.is_empty() {
        return Vec::new();
    }
    let lines = dir.links();
    lines.iter().filter_map(|line| line.parse().ok()).collect()
}

/// The lock that makes this agent the only one of its directory; none where another holds it.
fn take_lock(dir: &RuntimeDir) -> anyhow::Result<Option<OwnedFd>> {
    let path = dir.lock();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Access::RUSR | Access::WUSR;
    let file = rustix::fs::openat(CWD, &path, flags, mode)
        .with_context(|| format!("opening {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("locking {}", path.display())),
    }
}

/// Sheds what was inherited from the program that happened to start the agent: its session, its place on one
/// processor, its limit of descriptors, its working directory.
fn stand_alone() {
    // Fails for the leader of a process group, which has a session of its own already.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &all);
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// A spare descriptor, to be given up for a moment when there is no other left.
pub(crate) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
