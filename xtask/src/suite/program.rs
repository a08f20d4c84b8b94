//! One test program, run.

use super::outcome::Outcome;
use super::{SYSTEM_TESTS, WITH_DEADLINES};
use crate::clock::Since;
use crate::steps;
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No test program runs longer than this.
pub(super) const PROGRAM_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A test program, as cargo built it.
#[derive(Debug)]
pub(super) struct TestProgram {
    pub(super) name: String,
    pub(super) package: String,
    pub(super) executable: PathBuf,
    /// Directory of its package, in which it runs.
    pub(super) home: PathBuf,
}

impl TestProgram {
    /// What it is called in the output.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.package, self.name)
    }

    /// Whether a machine that is busy with something else can make its tests fail.
    pub(super) fn has_deadlines(&self) -> bool {
        WITH_DEADLINES.contains(&self.package.as_str())
    }

    /// One run; whatever goes wrong with it is a failure in the outcome. `lane` is which of how many programs that run
    /// beside each other it is; without, it has the machine for itself, and its tests run one by one.
    pub(super) fn attempt(&self, words: &[&str], lane: Option<(usize, usize)>) -> Outcome {
        let since = Since::now();
        let mut command = Command::new(&self.executable);
        if self.package == SYSTEM_TESTS || lane.is_none() {
            command.arg("--test-threads=1");
        }
        command
            .args(words)
            .current_dir(&self.home)
            .env("CARGO_MANIFEST_DIR", &self.home);
        if let Some((lane, of)) = lane {
            command.env("SIDESTEP_TEST_LANE", format!("{lane}/{of}"));
        }
        if let Ok(sidestep) = steps::sidestep() {
            command.env("SIDESTEP_BIN", sidestep);
        }
        let outcome = watch(&mut command, PROGRAM_TIMEOUT);
        let mut outcome = outcome.unwrap_or_else(|error| Outcome::broken(&format!("{error:#}")));
        outcome.say(&format!("({:.1} s)", since.elapsed().as_secs_f64()));
        outcome
    }
}

/// Runs a command, keeps its standard output and reads the results from it.
pub(super) fn watch(command: &mut Command, timeout: Duration) -> anyhow::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let stdout = child.stdout.take().context("no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let mut outcome = Outcome::default();
    let since = Since::now();
    loop {
        let left = timeout.saturating_sub(since.elapsed());
        match lines.recv_timeout(left.min(Duration::from_millis(500))) {
            Ok(line) => outcome.read(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            // A daemon that a test left behind may hold the pipe open.
            Err(mpsc::RecvTimeoutError::Timeout) if ended(&mut child) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if left.is_zero() => {
                let _ = child.kill();
                let _ = child.wait();
                outcome.fail(&format!("no end after {} s", timeout.as_secs()));
                return Ok(outcome);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
    let status = child.wait().context("cannot wait")?;
    if !status.success() && outcome.failed == 0 {
        outcome.fail(&format!("ended with {status}"));
    }
    if status.success() && !outcome.complete {
        outcome.fail("ended without a result");
    }
    Ok(outcome)
}

fn ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}
