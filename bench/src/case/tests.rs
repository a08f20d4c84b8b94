use super::*;
use crate::model::Unit;
use crate::placement::Cpus;
use std::path::PathBuf;
use std::time::Duration;

/// Yields its call number, and fails for one contender from its second round on.
struct Scripted {
    calls: Vec<Contender>,
    failing: Option<Contender>,
}

impl Case for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn title(&self) -> &'static str {
        "a script"
    }
    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "call",
            unit: Unit::Ns,
        }]
    }
    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Kernel, Contender::Sidestep]
    }
    fn measure(&mut self, who: Contender, _: &Lab, _: Effort) -> Result<Figures, Problem> {
        let earlier = self.calls.iter().filter(|&&c| c == who).count();
        self.calls.push(who);
        if self.failing == Some(who) && earlier == 1 {
            return Err(Problem::Invalid("scripted".into()));
        }
        #[expect(clippy::cast_precision_loss, reason = "a few calls")]
        Ok(Figures::from([("call", self.calls.len() as f64)]))
    }
}

fn lab() -> Lab {
    let missing = Problem::Missing("not needed here".into());
    Lab {
        cpus: Cpus {
            server: 0,
            client: 0,
        },
        networks: Default::default(),
        exe: PathBuf::new(),
        binary: Err(missing.clone()),
        sidestep: Err(missing),
    }
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

#[test]
fn contenders_alternate_and_change_places() {
    use Contender::{Kernel, Sidestep};
    let mut case = Scripted {
        calls: Vec::new(),
        failing: None,
    };
    let result = run(&mut case, &lab(), Effort::QUICK, (3, later()), &mut |_| {});
    assert_eq!(
        case.calls,
        [Kernel, Sidestep, Sidestep, Kernel, Kernel, Sidestep]
    );
    let ours = result.entry(Sidestep).unwrap();
    let calls: Vec<_> = ours
        .samples
        .iter()
        .map(|s| (s.round, s.figures["call"]))
        .collect();
    assert_eq!(calls, [(0, 2.0), (1, 3.0), (2, 6.0)]);
}

#[test]
fn a_contender_with_a_problem_takes_no_further_part() {
    let mut case = Scripted {
        calls: Vec::new(),
        failing: Some(Contender::Sidestep),
    };
    let mut said = Vec::new();
    let result = run(
        &mut case,
        &lab(),
        Effort::QUICK,
        (4, later()),
        &mut |line| said.push(line.to_owned()),
    );
    assert_eq!(result.entry(Contender::Kernel).unwrap().samples.len(), 4);
    let ours = result.entry(Contender::Sidestep).unwrap();
    assert_eq!(ours.problem, Some(Problem::Invalid("scripted".into())));
    assert_eq!(
        case.calls
            .iter()
            .filter(|&&c| c == Contender::Sidestep)
            .count(),
        2
    );
    assert!(
        said.iter().any(|line| line.contains("INVALID: scripted")),
        "{said:?}"
    );
}

#[test]
fn out_of_time_every_contender_still_has_one_round() {
    let mut case = Scripted {
        calls: Vec::new(),
        failing: None,
    };
    let past = Deadline::after(Duration::ZERO);
    let mut said = Vec::new();
    let result = run(&mut case, &lab(), Effort::QUICK, (5, past), &mut |line| {
        said.push(line.to_owned())
    });
    assert!(result.entries.iter().all(|entry| entry.samples.len() == 1));
    assert!(
        said.iter()
            .any(|line| line.contains("time is up; rounds done: 1")),
        "{said:?}"
    );
}
