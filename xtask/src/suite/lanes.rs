//! Several test programs beside each other. They wait for deaths, timers and programs to start for most of their time,
//! so that together they take less than half of what they take one by one.

use super::outcome::{Ignored, Outcome};
use super::program::TestProgram;
use super::{Summary, packages};
use std::sync::{Mutex, PoisonError, mpsc};

/// So many failures of one program may be a busy machine's and are tried once more; more are the code's.
const AGAIN_MAX: usize = 3;
/// Most programs at once: each has its part of the ports.
const LANES_MAX: usize = 3;

/// What came of one program.
struct Result<'a> {
    program: &'a TestProgram,
    /// Of the tests that run by themselves, and of those whose needs are met.
    outcomes: Vec<Outcome>,
    left_out: Vec<Ignored>,
}

/// Runs all tests of these programs whose needs are met, one program more at a time than there are processors. What
/// fails for want of time is tried again at the end, alone.
pub(super) fn run(programs: &[TestProgram], summary: &mut Summary) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let lanes = (processors + 1).min(LANES_MAX);
    let queue = Mutex::new(programs.iter());
    let (sender, ended) = mpsc::channel();
    let results: Vec<Result<'_>> = std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (queue, sender) = (&queue, sender.clone());
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            scope.spawn(move || {
                while let Some(program) = next() {
                    // Nobody listens any more only if this whole program is about to end.
                    let _ = sender.send(all_of(program, (lane, lanes)));
                }
            });
        }
        drop(sender);
        ended.iter().inspect(print).collect()
    });
    for Result {
        program,
        outcomes,
        left_out,
    } in results
    {
        summary.left_out.extend(left_out);
        for outcome in outcomes {
            let outcome = again(program, outcome, summary);
            summary.add(&program.title(), &outcome);
        }
    }
}

/// Shows what a program printed.
fn print(result: &Result<'_>) {
    println!("\n-- {}", result.program.title());
    for outcome in &result.outcomes {
        print!("{}", outcome.said);
    }
}

/// Runs a program's tests, then those ignored ones whose needs are met.
fn all_of(program: &TestProgram, lane: (usize, usize)) -> Result<'_> {
    let mut first = program.attempt(&[], Some(lane));
    let ignored = core::mem::take(&mut first.ignored);
    let mut outcomes = vec![first];
    let is_root = packages::is_root();
    let (runnable, left_out): (Vec<_>, Vec<_>) = ignored
        .into_iter()
        .partition(|ignored| ignored.needs_are_met(is_root));
    if !runnable.is_empty() {
        let names = runnable.iter().map(|ignored| ignored.name.as_str());
        let words: Vec<_> = ["--ignored", "--exact"].into_iter().chain(names).collect();
        outcomes.push(program.attempt(&words, Some(lane)));
    }
    Result {
        program,
        outcomes,
        left_out,
    }
}

/// Runs failed tests that have deadlines once more, each alone: deadlines are what a machine that is busy
/// with something else may miss. What passes now counts, and is named in the summary as unsteady.
fn again(program: &TestProgram, first: Outcome, summary: &mut Summary) -> Outcome {
    let names = &first.failures;
    if !program.has_deadlines() || names.is_empty() || names.len() > AGAIN_MAX {
        return first;
    }
    println!("\n-- {}, once more: {}", program.title(), names.join(", "));
    let words: Vec<_> = ["--include-ignored", "--exact"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let second = program.attempt(&words, None);
    print!("{}", second.said);
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
