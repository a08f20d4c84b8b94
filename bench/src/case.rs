//! The order of measurements: cases one by one, contenders alternating within each, the placement looked at
//! before and after every one.

use crate::clock::Deadline;
use crate::lab::Lab;
use crate::model::{CaseResult, Contender, Effort, Entry, Figures, Metric, Problem, Sample};
use crate::placement::{cache_line_ns, moved};

/// Something to measure.
pub(crate) trait Case {
    /// Name, as `--only` takes it.
    fn name(&self) -> &'static str;
    /// What it does, for people.
    fn title(&self) -> &'static str;
    /// The figures it yields.
    fn metrics(&self) -> &'static [Metric];
    /// Who takes part.
    fn contenders(&self) -> &'static [Contender];
    /// How many shares of the whole time it has: one a contender, more where a measurement takes long.
    fn shares(&self) -> usize {
        self.contenders().len()
    }
    /// Measures one contender once.
    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem>;
}

/// Measures a case: `rounds` rounds, in every other one the contenders the other way round. For rounds within which
/// the placement moved there are others, up to half as many again. No round but the first begins after `deadline`. A
/// contender with a problem takes no further part. `said` hears of every measurement.
pub(crate) fn run(
    case: &mut dyn Case,
    lab: &Lab,
    effort: Effort,
    (rounds, deadline): (usize, Deadline),
    said: &mut dyn FnMut(&str),
) -> CaseResult {
    let new = |&contender| Entry {
        contender,
        samples: Vec::new(),
        problem: None,
    };
    let mut entries: Vec<Entry> = case.contenders().iter().map(new).collect();
    let mut still = 0;
    for round in 0..rounds + rounds.div_ceil(2) {
        if still == rounds || entries.iter().all(|entry| entry.problem.is_some()) {
            break;
        }
        if round > 0 && deadline.passed() {
            said(&format!(
                "{}: its time is up; rounds done: {round}",
                case.name()
            ));
            break;
        }
        let mut lines = Vec::new();
        let mut order: Vec<&mut Entry> = entries
            .iter_mut()
            .filter(|entry| entry.problem.is_none())
            .collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for entry in order {
            let before = cache_line_ns(lab.cpus);
            match case.measure(entry.contender, lab, effort) {
                Ok(figures) => {
                    let sample = Sample::new(round, figures, before, cache_line_ns(lab.cpus));
                    said(&describe(case, entry.contender, &sample));
                    lines.extend(sample.lines());
                    entry.samples.push(sample);
                }
                Err(problem) => {
                    said(&format!(
                        "{} {}: {}",
                        case.name(),
                        entry.contender.name(),
                        problem.show()
                    ));
                    entry.problem = Some(problem);
                }
            }
        }
        still += usize::from(!moved(lines));
    }
    CaseResult {
        case: case.name(),
        title: case.title(),
        metrics: case.metrics(),
        entries,
    }
}

/// One line about one measurement.
fn describe(case: &dyn Case, who: Contender, sample: &Sample) -> String {
    let mut line = format!("{} {} {}:", case.name(), sample.round + 1, who.name());
    for metric in case.metrics() {
        if let Some(&x) = sample.figures.get(metric.name) {
            line += &format!(" {} {}", metric.name, metric.unit.show(x));
        }
    }
    if let (Some(before), Some(after)) = (sample.line_before_ns, sample.line_after_ns) {
        line += &format!(
            " (line {before:.0}, {after:.0} ns{})",
            if sample.moved { ", moved" } else { "" }
        );
    }
    line
}

#[cfg(test)]
mod tests;
