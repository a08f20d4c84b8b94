//! What comes out: a table for the terminal, JSON for programs, one HTML page for people.

mod html;
mod svg;
mod table;

use crate::machine::Machine;
use crate::model::{CaseResult, Metric};
use crate::stats::Summary;
use crate::targets::{Row, Verdict};
use serde::Serialize;

/// Everything of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// The judged rows.
    pub(crate) rows: Vec<Row>,
    /// Every sample that they are of.
    pub(crate) cases: Vec<CaseResult>,
}

impl Report {
    /// For the terminal.
    pub(crate) fn table(&self) -> String {
        table::render(self)
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// For people: one page that needs nothing else.
    pub(crate) fn html(&self) -> String {
        html::render(self)
    }
}

/// One contender's figure in one case, over the rounds.
struct Bar {
    name: &'static str,
    /// Or why there is none.
    figure: Result<Summary, String>,
    /// Rounds within which the placement moved.
    rounds_moved: usize,
}

/// The bars of one metric.
fn bars(case: &CaseResult, metric: Metric) -> Vec<Bar> {
    let bar = |entry: &crate::model::Entry| {
        let figures = entry
            .samples
            .iter()
            .filter_map(|s| s.figures.get(metric.name).copied());
        let figure = match (&entry.problem, Summary::of(figures)) {
            (Some(problem), _) => Err(problem.show()),
            (None, Some(summary)) => Ok(summary),
            (None, None) => Err("not measured".into()),
        };
        let rounds_moved = entry.samples.iter().filter(|s| s.moved).count();
        Bar {
            name: entry.contender.name(),
            figure,
            rounds_moved,
        }
    };
    case.entries.iter().map(bar).collect()
}

/// What there is to say beside the verdict: why there is no figure, or what to mind about it.
fn note(row: &Row) -> String {
    if let Verdict::NoFigure(problem) = &row.verdict {
        return problem.show();
    }
    let mut notes = Vec::new();
    if row.slower_than_kernel() {
        notes.push("slower than the kernel".to_owned());
    }
    match (row.moved, row.rounds_moved) {
        (_, 0) => {}
        (true, _) => notes.push("placement moved in every round".into()),
        (false, n) => notes.push(format!(
            "{n} moved round{} left out",
            if n == 1 { "" } else { "s" }
        )),
    }
    notes.join("; ")
}

#[cfg(test)]
mod tests;
