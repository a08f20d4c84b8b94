//! Reading what test programs print.

use super::*;
use std::process::Command;
use std::time::Duration;

const OUTPUT: &str = "
running 3 tests
test redis::kernel ... ok
test redis::both ... FAILED
test redis::big - should panic ... ok
LEFT OUT: this kernel refuses bonds
test nginx::both ... ignored, needs nginx and wrk
test soak ... ignored

test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.00s
";

#[test]
fn results_are_read() {
    let mut outcome = Outcome::default();
    OUTPUT.lines().for_each(|line| outcome.read(line));
    assert_eq!(
        (outcome.passed, outcome.failed, outcome.complete),
        (2, 1, true)
    );
    assert_eq!(outcome.failures, ["redis::both"]);
    assert_eq!(outcome.left_out, ["this kernel refuses bonds"]);
    let names: Vec<_> = outcome
        .ignored
        .iter()
        .map(|i| (&*i.name, &*i.reason))
        .collect();
    assert_eq!(
        names,
        [("nginx::both", "needs nginx and wrk"), ("soak", "")]
    );
}

#[test]
fn needs_decide() {
    let ignored = |reason: &str| Ignored {
        name: "x".to_owned(),
        reason: reason.to_owned(),
    };
    assert!(!ignored("").needs_are_met(true));
    assert!(!ignored("takes an hour").needs_are_met(true));
    assert!(ignored("needs root").needs_are_met(true));
    assert!(!ignored("needs root").needs_are_met(false));
    assert!(ignored("needs patience").needs_are_met(false));
}

#[test]
fn silence_and_crashes_are_failures() {
    let watch = |script: &str| {
        watch(
            Command::new("sh").args(["-c", script]),
            Duration::from_secs(10),
        )
        .unwrap()
    };
    assert_eq!(watch("exit 0").failed, 1);
    assert_eq!(watch("exit 3").failed, 1);
    assert_eq!(watch("kill -9 $$").failed, 1);
    let fine = watch("echo 'test result: ok. 4 passed; 0 failed; 0 ignored'");
    assert_eq!((fine.passed, fine.failed), (4, 0));
    let failed = watch("echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored'; exit 101");
    assert_eq!((failed.passed, failed.failed), (4, 2));
}

#[test]
fn what_never_ends_is_ended() {
    let outcome = watch(Command::new("sleep").arg("100"), Duration::from_millis(50)).unwrap();
    assert_eq!(outcome.failed, 1);
}

#[test]
fn failed_steps_count() {
    let mut summary = Summary::default();
    summary.step("fine", Ok(()));
    summary.step("broken", Err(anyhow::anyhow!("why")));
    assert_eq!((summary.passed, summary.failed), (0, 1));
    assert_eq!(summary.failures, ["broken"]);
}

#[test]
fn what_tests_leave_out_is_not_counted_as_passed() {
    let mut outcome = Outcome::default();
    OUTPUT.lines().for_each(|line| outcome.read(line));
    let mut summary = Summary::default();
    summary.add("netlink", &outcome);
    assert_eq!((summary.passed, summary.failed), (1, 1));
    assert_eq!(summary.left_out.len(), 1);
}
