//! `cargo xtask test`: every test that this user and machine can run, and a summary of those that were left out.
//!
//! Tests that need a program or root are marked `#[ignore = "needs …"]`. This runs them by name where what they need
//! is here, and otherwise says which were left out and why. The last line is always `N passed, N failed`.

mod lanes;
mod outcome;
mod program;
#[cfg(test)]
mod tests;

use crate::{packages, steps};
use anyhow::Context as _;
use outcome::Ignored;
pub(crate) use outcome::Outcome;
use program::{PROGRAM_TIMEOUT, TestProgram, watch};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

/// The package whose tests start whole programs, one after the other in each test program.
const SYSTEM_TESTS: &str = "sidestep-tests";
/// The packages whose tests start processes, wait for the kernel or look at the time: they have deadlines.
const WITH_DEADLINES: [&str; 7] = [
    SYSTEM_TESTS,
    "sidestep-agent",
    "sidestep-cli",
    "sidestep-control",
    "sidestep-netlink",
    "sidestep-nic",
    "sidestep-shm",
];
/// Test programs that take longest, and so begin first.
const LONGEST: [&str; 4] = ["python", "soak", "faults", "networks"];

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

    /// Takes the results of a program that was run elsewhere.
    pub(crate) fn take(&mut self, program: &str, outcome: &Outcome) {
        self.add(program, outcome);
    }

    /// Prints all, and says how it went.
    pub(crate) fn finish(&self) -> ExitCode {
        self.print();
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
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

/// Runs everything and prints the summary after what `summary` holds already.
pub(crate) fn main(mut summary: Summary) -> ExitCode {
    if packages::may_install() {
        let missing = packages::missing(packages::known());
        summary.step("install packages", packages::install(&missing));
    }
    // Both end with one long link after the other, which keeps one processor busy.
    let (released, programs) = std::thread::scope(|scope| {
        let release = scope.spawn(steps::build_release);
        let programs = build(&mut summary);
        (release.join(), programs)
    });
    let failed = |_| Err(anyhow::anyhow!("the build panicked"));
    summary.step("build for release", released.unwrap_or_else(failed));
    let (system, units): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .partition(|program| program.package == SYSTEM_TESTS);
    steps::say("tests of the crates");
    lanes::run(&units, &mut summary);
    doc_tests(&mut summary);
    steps::say("tests of the whole, with real programs");
    lanes::run(&system, &mut summary);
    summary.finish()
}

/// Builds one test program of the whole; where it is, and the directory in which it runs.
pub(crate) fn build_one(name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    steps::say(&format!("build: test {name}"));
    let words = [
        "test",
        "--package",
        SYSTEM_TESTS,
        "--test",
        name,
        "--no-run",
    ];
    let output = steps::cargo(&words)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut programs = lines.lines().filter_map(test_program);
    let program = programs.find(|program| program.name == name);
    let program = program.with_context(|| format!("test {name} is not built"))?;
    Ok((program.executable, program.home))
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
    let rank = |name: &str| LONGEST.iter().position(|long| *long == name);
    programs.sort_by_key(|program| {
        let rank = rank(&program.name).unwrap_or(LONGEST.len());
        (rank, program.package.clone(), program.name.clone())
    });
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

fn doc_tests(summary: &mut Summary) {
    steps::say("tests in the documentation");
    let mut command = steps::cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    let mut outcome = watch(&mut command, PROGRAM_TIMEOUT)
        .unwrap_or_else(|error| Outcome::broken(&format!("{error:#}")));
    print!("{}", outcome.said);
    // Examples marked `ignore` are text.
    outcome.ignored.clear();
    summary.add("documentation", &outcome);
}
