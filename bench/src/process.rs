//! Programs that a measurement starts: pinned, quiet, watched with deadlines, and ended by their own id.

use crate::clock::Deadline;
use crate::model::Problem;
use crate::placement;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io};

/// How long a program has to end once it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A directory of our own under the system's temporary one, removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one, that only this user may enter.
    pub(crate) fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sidestep-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program that ran to its end left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// Itself where the program succeeded, else a problem with its last words.
    pub(crate) fn success(self, name: &str) -> Result<Self, Problem> {
        if self.status.success() {
            return Ok(self);
        }
        let words = last_words(if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        });
        Err(Problem::Failed(format!("{name}: {}: {words}", self.status)))
    }
}

/// A running program, ended (with the processes it started) when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    output: TempDir,
}

impl Program {
    /// Starts `command` on one processor, in a process group of its own, with its output set aside.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        cpu: Option<usize>,
    ) -> Result<Self, Problem> {
        let output = TempDir::new()?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(output.path().join("stdout"))?)
            .stderr(File::create(output.path().join("stderr"))?)
            .process_group(0);
        let spawned = match cpu {
            Some(cpu) => placement::pinned(cpu, || command.spawn())?,
            None => command.spawn(),
        };
        let child = spawned.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Problem::Missing(format!("{name} is not installed")),
            _ => Problem::Failed(format!("{name} does not start: {e}")),
        })?;
        let pid = Pid::from_child(&child);
        Ok(Self {
            name: name.to_owned(),
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            child,
            output,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits up to `span` for its end, without waking up meanwhile; tells whether it ended.
    pub(crate) fn ends_within(&self, span: Duration) -> Result<bool, Problem> {
        let deadline = Deadline::after(span);
        loop {
            let left = deadline.remaining();
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(
                &mut [PollFd::new(&self.pidfd, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits for its end and takes what it wrote; one that outlasts `span` is ended, and is a failure.
    pub(crate) fn finish(mut self, span: Duration) -> Result<Finished, Problem> {
        if !self.ends_within(span)? {
            let seconds = span.as_secs();
            return Err(Problem::Failed(format!(
                "{} did not end in {seconds} s: {}",
                self.name,
                self.words()
            )));
        }
        let status = self.child.wait()?;
        Ok(Finished {
            status,
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
        })
    }

    /// Its last words so far, for a message.
    pub(crate) fn words(&self) -> String {
        let stderr = self.read("stderr");
        if stderr.trim().is_empty() {
            last_words(&self.read("stdout"))
        } else {
            last_words(&stderr)
        }
    }

    /// Waits up to `span` until its standard output holds `word`.
    pub(crate) fn says(&self, word: &str, span: Duration) -> Result<(), Problem> {
        let deadline = Deadline::after(span);
        while !self.read("stdout").contains(word) {
            if self.ends_within(Duration::from_millis(5))? || deadline.passed() {
                return Err(Problem::Failed(format!(
                    "{} did not get ready: {}",
                    self.name,
                    self.words()
                )));
            }
        }
        Ok(())
    }

    fn read(&self, stream: &str) -> String {
        let bytes = fs::read(self.output.path().join(stream)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The id cannot have been given to another process: we have not waited for this one where it still runs.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = Pid::from_child(&self.child);
            let _ = kill_process(pid, Signal::TERM);
            if !self.ends_within(GRACE).unwrap_or(false) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// The last line that says something.
fn last_words(text: &str) -> String {
    let line = text
        .lines()
        .rev()
        .find(|l| !l.trim().is_empty())
        .unwrap_or("it said nothing");
    line.trim().chars().take(300).collect()
}

/// Where a program is, looking also where the system's own daemons are kept.
pub(crate) fn find_program(name: &str, package: &str) -> Result<PathBuf, Problem> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = [
        "/usr/local/sbin",
        "/usr/sbin",
        "/sbin",
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
    ];
    std::env::split_paths(&path)
        .chain(system.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Problem::Missing(format!("{name} (Debian package {package})")))
}

#[cfg(test)]
mod tests;
