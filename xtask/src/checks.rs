//! What continuous integration runs.

use crate::suite::{self, Summary};
use crate::{steps, tidy};
use std::path::Path;
use std::process::ExitCode;

/// Runs every check even when an earlier one failed, then the tests.
pub(crate) fn main() -> ExitCode {
    let mut summary = Summary::default();
    ensure_components();
    steps::say("formatting");
    summary.step(
        "cargo fmt --check",
        steps::succeed(&mut steps::cargo(&["fmt", "--all", "--check"])),
    );
    steps::say("lints");
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ];
    summary.step("cargo clippy", steps::succeed(&mut steps::cargo(&clippy)));
    steps::say("documentation");
    let mut doc = steps::cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--keep-going",
    ]);
    summary.step(
        "cargo doc",
        steps::succeed(doc.env("RUSTDOCFLAGS", "-D warnings")),
    );
    steps::say("tidiness");
    summary.step("tidy", tidy::check(Path::new(".")));
    suite::main(summary)
}

/// A bare toolchain may lack the formatter and the linter; whether this helps shows in the steps that use them.
fn ensure_components() {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = steps::cargo(&[tool, "--version"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            steps::say(&format!("install: {component}"));
            let mut rustup = std::process::Command::new("rustup");
            if let Err(error) = steps::succeed(rustup.args(["component", "add", component])) {
                println!("{error:#}");
            }
        }
    }
}
