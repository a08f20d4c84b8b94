//! `cargo xtask test`: every test that this user and machine can run, and a summary of those that were left out.
//!
//! Tests that need a program or root are marked `#[ignore = "needs …"]`. This runs them by name where what they need
//! is here, and otherwise says which were left out and why. The last line is always `N passed, N failed`.

mod outcome;
#[cfg(test)]
mod tests;

use crate::clock::Since;
use crate::{packages, steps};
use anyhow::Context as _;
use outcome::{Ignored, Outcome};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No test program runs longer than this.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// So many failures of one program may be a busy machine's and are tried once more; more are the code's.
const AGAIN_MAX: usize = 3;
/// The package whose tests start whole programs, each with the machine for itself.
const SYSTEM_TESTS: &str = "sidestep-tests";
/// The packages whose tests start processes and have deadlines.
const WITH_DEADLINES: [&str; 3] = [SYSTEM_TESTS, "sidestep-agent", "sidestep-cli"];

/// What came of everything so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    /// What failed, by name.
    failures: Vec<String>,
    /// What failed at first and passed when it ran again, by name.
    unsteady: Vec<String>,
    left_out: Vec<Ignored>,
}

impl Summary {
    /// Takes the result of a step that is not a test; it counts when it fails.
    pub(crate) fn step(&mut self, name: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            println!("{name}: {error:#}");
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    fn add(&mut self, program: &str, outcome: &Outcome) {
        // A test that left something out is not one that passed.
        let left_out = outcome.left_out.iter().map(|reason| Ignored {
            name: program.to_owned(),
            reason: reason.clone(),
        });
        self.left_out.extend(left_out);
        self.passed += outcome.passed.saturating_sub(outcome.left_out.len() as u64);
        self.failed += outcome.failed;
        self.failures.extend(
            outcome
                .failures
                .iter()
                .map(|name| format!("{program}: {name}")),
        );
    }

    fn print(&self) {
        println!("\n== summary");
        if !self.left_out.is_empty() {
            println!("Left out, {} tests:", self.left_out.len());
            for Ignored { name, reason } in &self.left_out {
                println!("  {name}: {reason}");
            }
            if packages::is_root() {
                println!("Those lack a program or something of this kernel, or are run by hand.");
            } else {
                let missing = packages::missing(packages::known());
                println!("To run them too, run this as root{}.", or_install(&missing));
            }
        }
        for name in &self.unsteady {
            println!("UNSTEADY {name}: failed once, passed when run again");
        }
        for name in &self.failures {
            println!("FAILED {name}");
        }
        let skipped = match self.left_out.len() {
            0 => String::new(),
            count => format!(", {count} skipped"),
        };
        println!("\n{} passed, {} failed{skipped}", self.passed, self.failed);
    }
}

/// What an ordinary user can do about missing programs.
fn or_install(missing: &[&str]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!(
        ", or have the programs first: apt-get install {}",
        missing.join(" ")
    )
}

/// A test program, as cargo built it.
#[derive(Debug)]
struct TestProgram {
    name: String,
    package: String,
    executable: PathBuf,
    /// Directory of its package, in which it runs.
    home: PathBuf,
}

/// Runs everything and prints the summary after what `summary` holds already.
pub(crate) fn main(mut summary: Summary) -> ExitCode {
    if packages::may_install() {
        let missing = packages::missing(packages::known());
        summary.step("install packages", packages::install(&missing));
    }
    summary.step("build for release", steps::build_release());
    let programs = build(&mut summary);
    let (system, units): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .partition(|program| program.package == SYSTEM_TESTS);
    steps::say("tests of the crates");
    units
        .iter()
        .for_each(|program| run(program, &[], &mut summary));
    doc_tests(&mut summary);
    steps::say("tests of the whole, with real programs");
    system
        .iter()
        .for_each(|program| run(program, &["--test-threads=1"], &mut summary));
    summary.print();
    if summary.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What cargo says of an artifact; its other messages lack these fields.
#[derive(Debug, Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all test programs. One that does not compile counts as a failure and keeps no other from running.
fn build(summary: &mut Summary) -> Vec<TestProgram> {
    steps::say("build: tests");
    // --no-fail-fast also keeps building after a package that does not compile.
    let words = ["test", "--workspace", "--no-run", "--no-fail-fast"];
    let output = steps::cargo(&words)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            summary.step("build tests", Err(error.into()));
            return Vec::new();
        }
    };
    if !output.status.success() {
        summary.step("build tests", Err(anyhow::anyhow!("{}", output.status)));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut programs: Vec<_> = lines.lines().filter_map(test_program).collect();
    programs.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    programs
}

fn test_program(line: &str) -> Option<TestProgram> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let executable = artifact.executable.filter(|_| artifact.profile.test)?;
    let home = artifact.manifest_path.parent()?.to_owned();
    Some(TestProgram {
        package: package_name(&home)?,
        name: artifact.target.name,
        executable,
        home,
    })
}

/// The package's name, from its manifest.
fn package_name(home: &Path) -> Option<String> {
    let manifest = std::fs::read_to_string(home.join("Cargo.toml")).ok()?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \""))?;
    Some(line.trim_end_matches('"').to_owned())
}

/// Runs a program's tests, then those ignored ones whose needs are met.
fn run(program: &TestProgram, words: &[&str], summary: &mut Summary) {
    let title = format!("{}/{}", program.package, program.name);
    println!("\n-- {title}");
    let mut outcome = again(program, attempt(program, words), summary);
    let ignored = core::mem::take(&mut outcome.ignored);
    summary.add(&title, &outcome);
    let (runnable, left_out): (Vec<_>, Vec<_>) = ignored
        .into_iter()
        .partition(|ignored| ignored.needs_are_met(packages::is_root()));
    summary.left_out.extend(left_out);
    if runnable.is_empty() {
        return;
    }
    let names = runnable.iter().map(|ignored| ignored.name.as_str());
    let words: Vec<_> = words
        .iter()
        .copied()
        .chain(["--ignored", "--exact"])
        .chain(names)
        .collect();
    let outcome = again(program, attempt(program, &words), summary);
    summary.add(&title, &outcome);
}

/// Runs failed tests that have deadlines once more, each alone: deadlines are what a machine that is busy
/// with something else may miss. What passes now counts, and is named in the summary as unsteady.
fn again(program: &TestProgram, first: Outcome, summary: &mut Summary) -> Outcome {
    let names = &first.failures;
    let has_deadlines = WITH_DEADLINES.contains(&program.package.as_str());
    if !has_deadlines || names.is_empty() || names.len() > AGAIN_MAX {
        return first;
    }
    println!("-- once more: {}", names.join(", "));
    let words: Vec<_> = ["--test-threads=1", "--include-ignored", "--exact"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let second = attempt(program, &words);
    if second.passed + second.failed != names.len() as u64 {
        // Not the names of tests, but of something that broke.
        return first;
    }
    let steady_now = names.iter().filter(|name| !second.failures.contains(name));
    summary
        .unsteady
        .extend(steady_now.map(|name| format!("{}: {name}", program.name)));
    Outcome {
        passed: first.passed + second.passed,
        failed: second.failed,
        failures: second.failures,
        ..first
    }
}

/// One run of a test program; whatever goes wrong with it is a failure in the outcome.
fn attempt(program: &TestProgram, words: &[&str]) -> Outcome {
    let since = Since::now();
    let mut command = Command::new(&program.executable);
    command
        .args(words)
        .current_dir(&program.home)
        .env("CARGO_MANIFEST_DIR", &program.home);
    if let Ok(sidestep) = steps::sidestep() {
        command.env("SIDESTEP_BIN", sidestep);
    }
    let outcome = watch(&mut command, PROGRAM_TIMEOUT);
    println!("({:.1} s)", since.elapsed().as_secs_f64());
    outcome.unwrap_or_else(|error| Outcome::broken(&format!("{error:#}")))
}

/// Runs a command, shows its standard output and reads the results from it.
fn watch(command: &mut Command, timeout: Duration) -> anyhow::Result<Outcome> {
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
            Ok(line) => {
                println!("{line}");
                outcome.read(&line);
            }
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

fn doc_tests(summary: &mut Summary) {
    steps::say("tests in the documentation");
    let mut command = steps::cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    let mut outcome = watch(&mut command, PROGRAM_TIMEOUT)
        .unwrap_or_else(|error| Outcome::broken(&format!("{error:#}")));
    // Examples marked `ignore` are text.
    outcome.ignored.clear();
    summary.add("documentation", &outcome);
}
