//! The order of measurements: cases one by one, contenders alternating within each, the placement looked at
//! before and after every one.

use crate::lab::Lab;
use crate::model::{CaseResult, Contender, Effort, Entry, Figures, Metric, Problem, Sample};
use crate::placement::cache_line_ns;

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
    /// Measures one contender once.
    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem>;
}

/// Measures a case: `rounds` rounds, in every other one the contenders the other way round. A contender with a
/// problem takes no further part. `said` hears of every measurement.
pub(crate) fn run(
    case: &mut dyn Case,
    lab: &Lab,
    effort: Effort,
    rounds: usize,
    said: &mut dyn FnMut(&str),
) -> CaseResult {
    let new = |&contender| Entry {
        contender,
        samples: Vec::new(),
        problem: None,
    };
    let mut entries: Vec<Entry> = case.contenders().iter().map(new).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let entry = &mut entries[index];
            if entry.problem.is_some() {
                continue;
            }
            let before = cache_line_ns(lab.cpus);
            match case.measure(entry.contender, lab, effort) {
                Ok(figures) => {
                    let sample = Sample::new(round, figures, before, cache_line_ns(lab.cpus));
                    said(&describe(case, entry.contender, &sample));
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
