//! The table for the terminal.

use super::{Report, bars, note};
use crate::stats::Summary;
use crate::targets::{Row, Target, Verdict};
use std::fmt::Write as _;

/// The whole report as text.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for line in report.machine.lines() {
        let _ = writeln!(out, "# {line}");
    }
    out += "\nFigures: median over the rounds (least to greatest)\n";
    for case in &report.cases {
        let _ = writeln!(out, "\n{}: {}", case.case, case.title);
        for &metric in case.metrics {
            for bar in bars(case, metric) {
                let Ok(s) = bar.figure else { continue };
                let [median, min, max] = [s.median, s.min, s.max].map(|x| metric.unit.show(x));
                let moved = match bar.rounds_moved {
                    0 => String::new(),
                    n => format!("   placement moved in {n}"),
                };
                let (metric, who) = (metric.name, bar.name);
                let _ = writeln!(
                    out,
                    "  {metric:<28}{who:<13}{median:>14}  ({min} to {max}){moved}"
                );
            }
        }
        for entry in &case.entries {
            if let Some(problem) = &entry.problem {
                let _ = writeln!(out, "  {}: {}", entry.contender.name(), problem.show());
            }
        }
    }
    out += "\nTargets: round by round, over rounds whose placement did not move\n\n";
    let (rows, others): (Vec<&Row>, Vec<&Row>) = report
        .rows
        .iter()
        .partition(|row| row.verdict != Verdict::NotRun);
    out += &targets(&rows);
    if !others.is_empty() {
        let _ = writeln!(
            out,
            "\n{} targets are not shown: their cases were not asked for.",
            others.len()
        );
    }
    out
}

/// One row a target, in aligned columns.
fn targets(rows: &[&Row]) -> String {
    let head = [
        "what",
        "subject",
        "reference",
        "value",
        "spread",
        "at least",
        "aim",
        "verdict",
        "note",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| columns(row)));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

fn columns(row: &Row) -> [String; 9] {
    let t: &Target = &row.target;
    let figure = |s: Option<Summary>| s.map_or_else(|| "-".into(), |s| t.unit.show(s.median));
    let remark = note(row);
    [
        t.what.to_owned(),
        figure(row.subject),
        figure(row.reference),
        row.value.map_or_else(|| "-".into(), |v| t.show(v.median)),
        row.value.map_or_else(
            || "-".into(),
            |v| format!("{} to {}", t.show(v.min), t.show(v.max)),
        ),
        t.at_least.map_or_else(String::new, |x| t.show_threshold(x)),
        t.aim.map_or_else(String::new, |aim| t.show_threshold(aim)),
        row.verdict.word().to_owned(),
        remark,
    ]
}
