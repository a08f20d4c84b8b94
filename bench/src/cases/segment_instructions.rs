//! What the stack's work on one segment costs, in instructions as callgrind counts them.

use crate::case::Case;
use crate::cases::call_cost::total_instructions;
use crate::lab::Lab;
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::{Program, TempDir, find_program};
use crate::segments::COUNTED;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Segments that are counted.
const COUNT: u32 = 10_000;
/// Longest that one run may take, also on a busy machine: a hundred thousand connections are made under callgrind.
const SPAN: Duration = Duration::from_secs(300);

/// Arguments by figure.
const RUNS: [(&str, &[&str]); 4] = [
    ("at_10", &["--connections", "10", "--burst", "8"]),
    ("at_100k", &["--connections", "100000", "--burst", "8"]),
    ("alone_at_10", &["--connections", "10"]),
    (
        "network_at_10",
        &["--connections", "10", "--burst", "8", "--network"],
    ),
];

/// Instructions, the same in every round: so one is enough for each run of the benchmark.
#[derive(Debug, Default)]
pub(super) struct SegmentInstructions(Option<Figures>);

impl Case for SegmentInstructions {
    fn name(&self) -> &'static str {
        "segment_instructions"
    }

    fn title(&self) -> &'static str {
        "32 B arrive in order on each of 8 of 10 or 100 k connections, and are acknowledged: instructions a segment by callgrind"
    }

    fn metrics(&self) -> &'static [Metric] {
        const fn of(name: &'static str) -> Metric {
            Metric {
                name,
                unit: Unit::Instructions,
            }
        }
        const { &[of(RUNS[0].0), of(RUNS[1].0), of(RUNS[2].0), of(RUNS[3].0)] }
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Sidestep]
    }

    fn measure(&mut self, _: Contender, lab: &Lab, _: Effort) -> Result<Figures, Problem> {
        if let Some(known) = &self.0 {
            return Ok(known.clone());
        }
        let counted = RUNS.map(|(name, args)| Ok((name, count(lab, args)?)));
        let figures: Figures = counted.into_iter().collect::<Result<_, Problem>>()?;
        self.0 = Some(figures.clone());
        Ok(figures)
    }
}

/// Instructions for one segment.
fn count(lab: &Lab, args: &[&str]) -> Result<f64, Problem> {
    let valgrind = find_program("valgrind", "valgrind")?;
    let dir = TempDir::new()?;
    let out = dir.path().join("callgrind.out");
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={COUNTED}"));
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(&lab.exe);
    command.args(["segments", "--count", &COUNT.to_string()]);
    command.args(args);
    Program::start("segments under valgrind", command, None)?
        .finish(SPAN)?
        .success("segments under valgrind")?;
    let total = total_instructions(&fs::read_to_string(&out)?)
        .ok_or_else(|| Problem::Failed("callgrind counted nothing".into()))?;
    Ok(total / f64::from(COUNT))
}
