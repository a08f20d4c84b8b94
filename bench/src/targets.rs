//! The rows that people judge the project by: which figure is set against which, and what it should reach.
//!
//! Thresholds are targets, fixed before anything was measured; the figures beside them come from this run only.

mod losses;
mod many;
mod networks;
mod table;

use crate::model::{CaseResult, Contender, Problem, Sample, Unit};
use crate::placement;
use crate::stats::Summary;
use serde::Serialize;

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Source {
    /// The case.
    pub(crate) case: &'static str,
    /// Who was measured.
    pub(crate) contender: Contender,
    /// Which of its figures.
    pub(crate) metric: &'static str,
}

/// How the subject is set against the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Relation {
    /// reference ÷ subject: how many times less time. Larger is better.
    TimesFaster,
    /// subject ÷ reference: how many times the rate. Larger is better.
    TimesMore,
    /// subject ÷ reference: what share of the cost. Smaller is better.
    Share,
    /// subject − reference. Smaller is better.
    Excess,
    /// The subject by itself. Smaller is better.
    Bound,
    /// The subject by itself. Larger is better.
    Floor,
}

impl Relation {
    const fn larger_is_better(self) -> bool {
        matches!(self, Self::TimesFaster | Self::TimesMore | Self::Floor)
    }

    fn apply(self, subject: f64, reference: f64) -> f64 {
        match self {
            Self::TimesFaster => reference / subject,
            Self::TimesMore | Self::Share => subject / reference,
            Self::Excess => subject - reference,
            Self::Bound | Self::Floor => subject,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Target {
    /// What is compared, for people.
    pub(crate) what: &'static str,
    /// Unit of the subject.
    pub(crate) unit: Unit,
    /// The figure judged.
    pub(crate) subject: Source,
    /// The figure that it is set against.
    pub(crate) reference: Option<Source>,
    /// How.
    pub(crate) relation: Relation,
    /// What has to be reached; none where the figure is worth seeing, but nothing was promised.
    pub(crate) at_least: Option<f64>,
    /// What is aimed at, where there is more to aim at.
    pub(crate) aim: Option<f64>,
}

impl Target {
    /// A value of this row's relation, for people.
    pub(crate) fn show(&self, x: f64) -> String {
        match self.relation {
            Relation::TimesFaster | Relation::TimesMore | Relation::Share if x >= 100.0 => {
                format!("{x:.0}×")
            }
            Relation::TimesFaster | Relation::TimesMore | Relation::Share if x >= 10.0 => {
                format!("{x:.1}×")
            }
            Relation::TimesFaster | Relation::TimesMore | Relation::Share => format!("{x:.2}×"),
            Relation::Excess if x < 0.0 => format!("−{}", self.unit.show(-x)),
            Relation::Excess => format!("+{}", self.unit.show(x)),
            Relation::Bound | Relation::Floor => self.unit.show(x),
        }
    }

    /// A threshold of this row, for people.
    pub(crate) fn show_threshold(&self, x: f64) -> String {
        let sign = if self.relation.larger_is_better() {
            '≥'
        } else {
            '≤'
        };
        format!("{sign} {}", self.show(x))
    }

    fn reaches(&self, x: f64, threshold: f64) -> bool {
        if self.relation.larger_is_better() {
            x >= threshold
        } else {
            x <= threshold
        }
    }
}

/// What became of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As good as aimed at.
    Aim,
    /// What has to be reached is reached.
    Met,
    /// It is not.
    Missed,
    /// Nothing was to be reached.
    Reported,
    /// There is no figure that may be believed.
    NoFigure(Problem),
    /// Its case was not asked for.
    NotRun,
}

impl Verdict {
    /// One or two words for people.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Aim => "aim met",
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Reported => "reported",
            Self::NoFigure(Problem::Invalid(_)) => "INVALID",
            Self::NoFigure(_) => "no figure",
            Self::NotRun => "not run",
        }
    }
}

/// A row with its figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was asked.
    pub(crate) target: Target,
    /// The subject's own figures over all rounds.
    pub(crate) subject: Option<Summary>,
    /// The reference's own figures over all rounds.
    pub(crate) reference: Option<Summary>,
    /// Subject against reference, round by round.
    pub(crate) value: Option<Summary>,
    /// Rounds left out of the value because the processors' distance changed within them.
    pub(crate) rounds_moved: usize,
    /// Whether the value had to be taken from such rounds because there are no others.
    pub(crate) moved: bool,
    /// What became of it.
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Whether an unmodified program does worse accelerated than over the kernel, whatever else is aimed at.
    pub(crate) fn slower_than_kernel(&self) -> bool {
        let beside_kernel = self
            .target
            .reference
            .is_some_and(|r| r.contender == Contender::Kernel);
        let worse = |v: Summary| match self.target.relation {
            Relation::TimesFaster | Relation::TimesMore => v.median < 1.0,
            Relation::Share => v.median > 1.0,
            Relation::Excess | Relation::Bound | Relation::Floor => false,
        };
        beside_kernel && self.value.is_some_and(worse)
    }
}

/// Every row, in the order of the report.
pub(crate) fn all() -> Vec<Target> {
    [
        table::TARGETS,
        many::TARGETS,
        networks::TARGETS,
        losses::TARGETS,
    ]
    .concat()
}

/// Works out every target that the results have something to say about.
pub(crate) fn judge(targets: &[Target], results: &[CaseResult]) -> Vec<Row> {
    targets
        .iter()
        .map(|target| judge_one(target, results))
        .collect()
}

fn judge_one(target: &Target, results: &[CaseResult]) -> Row {
    let figures = |source: Source| {
        let samples = samples_of(source, results).ok()?;
        Summary::of(
            samples
                .iter()
                .filter_map(|s| s.figures.get(source.metric).copied()),
        )
    };
    let (subject_figures, reference_figures) =
        (figures(target.subject), target.reference.and_then(figures));
    // What one side did is worth seeing even where there is nothing to set it against.
    let row = |verdict| Row {
        target: *target,
        subject: subject_figures,
        reference: reference_figures,
        value: None,
        rounds_moved: 0,
        moved: false,
        verdict,
    };
    let subject = match samples_of(target.subject, results) {
        Ok(samples) => samples,
        Err(verdict) => return row(verdict),
    };
    let reference = match target
        .reference
        .map(|source| samples_of(source, results))
        .transpose()
    {
        Ok(samples) => samples,
        Err(verdict) => return row(verdict),
    };
    let (values, rounds_moved, moved) = paired(target, subject, reference);
    let value = Summary::of(values);
    let verdict = match value {
        None => Verdict::NoFigure(Problem::Failed("no round has both figures".into())),
        Some(v) if target.aim.is_some_and(|aim| target.reaches(v.median, aim)) => Verdict::Aim,
        Some(v) => match target.at_least {
            Some(at_least) if target.reaches(v.median, at_least) => Verdict::Met,
            Some(_) => Verdict::Missed,
            None => Verdict::Reported,
        },
    };
    Row {
        value,
        rounds_moved,
        moved,
        ..row(verdict)
    }
}

/// The samples of a source, or the verdict that their absence means.
fn samples_of(source: Source, results: &[CaseResult]) -> Result<&[Sample], Verdict> {
    let case = results
        .iter()
        .find(|r| r.case == source.case)
        .ok_or(Verdict::NotRun)?;
    let entry = case.entry(source.contender).ok_or(Verdict::NotRun)?;
    match &entry.problem {
        Some(problem) => Err(Verdict::NoFigure(problem.clone())),
        None if entry.samples.is_empty() => Err(Verdict::NotRun),
        None => Ok(&entry.samples),
    }
}

/// The relation round by round. Rounds within which the placement moved count only where there are no others.
/// Returns the values, how many rounds moved, and whether the values are of such rounds.
fn paired(
    target: &Target,
    subject: &[Sample],
    reference: Option<&[Sample]>,
) -> (Vec<f64>, usize, bool) {
    let (mut still, mut moving) = (Vec::new(), Vec::new());
    for s in subject {
        let Some(&x) = s.figures.get(target.subject.metric) else {
            continue;
        };
        let (value, moved) = match (target.reference, reference) {
            (Some(source), Some(samples)) => {
                let Some(r) = samples.iter().find(|r| r.round == s.round) else {
                    continue;
                };
                let Some(&y) = r.figures.get(source.metric) else {
                    continue;
                };
                (
                    target.relation.apply(x, y),
                    placement::moved(s.lines().chain(r.lines())),
                )
            }
            _ => (target.relation.apply(x, f64::NAN), s.moved),
        };
        if moved {
            moving.push(value)
        } else {
            still.push(value)
        }
    }
    let rounds_moved = moving.len();
    if still.is_empty() {
        (moving, rounds_moved, rounds_moved > 0)
    } else {
        (still, rounds_moved, false)
    }
}

#[cfg(test)]
mod tests;
