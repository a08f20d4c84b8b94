//! Programs that a test starts: what they wrote, how they ended, and that they end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Deadline;

/// A program that is about to be started.
#[derive(Debug)]
pub struct Program {
    command: Command,
    name: String,
    logs: PathBuf,
}

impl Program {
    /// The command `words`, which shows up as `name` in messages; what it writes goes to files in `logs`.
    pub(crate) fn new(name: &str, words: &[String], logs: &Path) -> Self {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .process_group(0);
        Self {
            command,
            name: name.to_owned(),
            logs: logs.to_owned(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments, split at spaces.
    pub fn args(mut self, args: &str) -> Self {
        self.command.args(args.split_whitespace());
        self
    }

    /// Makes python, which this must be, run a script of `python/`.
    pub fn script(self, name: &str) -> Self {
        let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python"));
        self.arg("-B").arg(scripts.join(name))
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this directory.
    pub fn cwd(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Gives it this file as its standard input; without, it has none.
    pub fn stdin(mut self, path: &Path) -> Self {
        let file =
            File::open(path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
        self.command.stdin(file);
        self
    }

    /// Starts it in a process group of its own.
    pub fn spawn(mut self) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stdout = self.logs.join(format!("{number}-{}.out", self.name));
        let stderr = self.logs.join(format!("{number}-{}.err", self.name));
        self.command
            .stdout(File::create(&stdout).expect("a log in the test's directory"));
        self.command
            .stderr(File::create(&stderr).expect("a log in the test's directory"));
        let child = match self.command.spawn() {
            Ok(child) => child,
            Err(e) => panic!(
                "cannot start {} ({:?}): {e}",
                self.name,
                self.command.get_program()
            ),
        };
        Process {
            child,
            name: self.name,
            stdout,
            stderr,
            status: None,
        }
    }

    /// Runs it to its end, which must come within `within`.
    pub fn run(self, within: Duration) -> Output {
        self.spawn().wait(within)
    }
}

/// A program that runs; killed with all of its process group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Its process id, which is also its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it wrote to its standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Its exit status, if it has ended.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of ours");
        }
        self.status
    }

    /// Panics with its last words if it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.poll() {
            panic!(
                "{} ended early with {status}\n{}",
                self.name,
                self.last_words()
            );
        }
    }

    /// Whether somebody holds the lock of its stack: for a program that was stopped.
    pub fn is_in_stack(&self) -> bool {
        let read = || -> std::io::Result<bool> {
            let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid()))?;
            let stack = maps
                .lines()
                .find(|line| line.contains("memfd:sidestep-stack"));
            let start = stack.and_then(|line| line.split('-').next());
            let start = start.and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let start = start.expect("a stack in the program's memory");
            let mut holder = [0; 4];
            let memory = File::open(format!("/proc/{}/mem", self.pid()))?;
            memory.read_exact_at(&mut holder, start)?;
            Ok(holder != [0; 4])
        };
        read().expect("a program that runs")
    }

    /// Sends it a signal; the program alone, not its children. Nothing happens if it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // It can end between the two, and the id stays taken until it is waited for: nobody else is hit.
            let _ = kill_process(self.as_pid(), signal);
        }
    }

    /// Kills it (`SIGKILL`), without its children, and waits for it to be gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.status = Some(self.child.wait().expect("a child of ours"));
    }

    /// Asks it to end (`SIGTERM`) and returns how it ended.
    pub fn terminate(mut self) -> Output {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(10))
    }

    /// Waits for it to end; panics with its last words if it does not end in time.
    pub fn wait(mut self, within: Duration) -> Output {
        let deadline = Deadline::after(within);
        loop {
            if let Some(status) = self.poll() {
                return Output {
                    status,
                    name: self.name.clone(),
                    stdout: fs::read(&self.stdout).unwrap_or_default(),
                    stderr: fs::read(&self.stderr).unwrap_or_default(),
                };
            }
            if deadline.passed() {
                let stuck = self.where_stuck();
                panic!(
                    "{} did not end within {within:?}\n{stuck}\n{}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The processes that it started and that are not gone.
    pub fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        fs::read_dir(&path).map_or(0, Iterator::count)
    }

    /// Its resident memory without what it shares, in KiB.
    pub fn private_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0)
    }

    /// The end of what it wrote, for a message.
    pub fn last_words(&self) -> String {
        format!(
            "--- {} stdout ---\n{}\n--- {} stderr ---\n{}",
            self.name,
            tail(&self.stdout()),
            self.name,
            tail(&self.stderr())
        )
    }

    /// What each of its threads is doing, as far as the kernel says.
    fn where_stuck(&self) -> String {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return String::new();
        };
        let lines = tasks.flatten().map(|task| {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let state = read("status")
                .lines()
                .find(|l| l.starts_with("State:"))
                .map(str::to_owned);
            format!(
                "thread {:?} {} in {}",
                task.file_name(),
                state.unwrap_or_default(),
                read("syscall").trim()
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn as_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Children may outlive the program in its group (workers whose master was killed), so the group is
        // killed even if the program has ended. A group that is empty is no error.
        let _ = kill_process_group(self.as_pid(), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.last_words());
        }
    }
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    name: String,
}

impl Output {
    /// Itself, if the exit status is 0; else panics with the program's last words.
    pub fn success(self) -> Self {
        assert!(
            self.status.success(),
            "{} ended with {} (signal {:?})\n--- stdout ---\n{}\n--- stderr ---\n{}",
            self.name,
            self.status,
            self.status.signal(),
            tail(&self.text()),
            tail(&self.error_text())
        );
        self
    }

    /// The standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The standard error as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
