//! Charts as inline SVG. Colours are classes, which the page defines for light and for dark.

use super::Bar;
use crate::model::Unit;
use crate::stats::Summary;
use crate::targets::{Relation, Row};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LABEL_WIDTH: f64 = 100.0;
const VALUE_WIDTH: f64 = 210.0;
const BAR_HEIGHT: f64 = 18.0;
const ROW_HEIGHT: f64 = 30.0;

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Horizontal bars from zero: the median, with a whisker from the least to the greatest round.
pub(super) fn bar_chart(title: &str, unit: Unit, bars: &[Bar]) -> String {
    let greatest = bars
        .iter()
        .filter_map(|b| b.figure.as_ref().ok())
        .map(|s| s.max)
        .fold(0.0, f64::max);
    let room = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
    let x = |value: f64| {
        LABEL_WIDTH
            + if greatest > 0.0 {
                value / greatest * room
            } else {
                0.0
            }
    };
    let mut out = open(title, row_y(bars.len()));
    let _ = write!(
        out,
        r#"<line class="axis" x1="{LABEL_WIDTH}" x2="{LABEL_WIDTH}" y1="0" y2="{:.1}"/>"#,
        row_y(bars.len())
    );
    for (index, bar) in bars.iter().enumerate() {
        let (top, middle) = (row_y(index) + 6.0, row_y(index) + 6.0 + BAR_HEIGHT / 2.0);
        let _ = write!(
            out,
            r#"<text class="label" x="{:.1}" y="{middle:.1}" text-anchor="end">{}</text>"#,
            LABEL_WIDTH - 8.0,
            bar.name
        );
        match &bar.figure {
            Ok(s) => {
                let class = class_of(bar.name);
                let _ = write!(
                    out,
                    r#"<rect class="{class}" x="{LABEL_WIDTH}" y="{top:.1}" width="{:.1}" height="{BAR_HEIGHT}" rx="2"><title>{}</title></rect>"#,
                    (x(s.median) - LABEL_WIDTH).max(1.0),
                    escape(&tip(bar, unit, s))
                );
                out += &whisker(x(s.min), x(s.max), middle);
                let moved = if bar.rounds_moved > 0 {
                    " ⚠ placement moved"
                } else {
                    ""
                };
                let _ = write!(
                    out,
                    r#"<text class="value" x="{:.1}" y="{middle:.1}">{}{moved}</text>"#,
                    x(s.max) + 8.0,
                    unit.show(s.median)
                );
            }
            Err(why) => {
                let short: String = why.chars().take(80).collect();
                let _ = write!(
                    out,
                    r#"<text class="none" x="{:.1}" y="{middle:.1}">{}</text>"#,
                    LABEL_WIDTH + 8.0,
                    escape(&short)
                );
            }
        }
    }
    out + "</svg>"
}

/// One row a target on a logarithmic scale of how far it goes beyond what has to be reached: 1 is just met.
pub(super) fn target_chart(rows: &[Row]) -> String {
    const LABELS: f64 = 430.0;
    const LOWEST: f64 = 0.1;
    const HIGHEST: f64 = 10.0;
    let charted: Vec<(&Row, f64, f64, f64)> = rows
        .iter()
        .filter_map(|row| scored(row).map(|(m, l, h)| (row, m, l, h)))
        .collect();
    let height = row_y(charted.len()) + 24.0;
    let x = |score: f64| {
        let share = (score.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
        LABELS + share * (WIDTH - LABELS - 20.0)
    };
    let mut out = open("Every target on one scale", height);
    for tick in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let class = if (tick - 1.0_f64).abs() < f64::EPSILON {
            "threshold"
        } else {
            "grid"
        };
        let _ = write!(
            out,
            r#"<line class="{class}" x1="{0:.1}" x2="{0:.1}" y1="0" y2="{1:.1}"/><text class="tick" x="{0:.1}" y="{2:.1}" text-anchor="middle">{tick}×</text>"#,
            x(tick),
            height - 20.0,
            height - 8.0
        );
    }
    for (index, (row, middle, least, greatest)) in charted.iter().enumerate() {
        let y = row_y(index) + ROW_HEIGHT / 2.0;
        let what: String = row.target.what.chars().take(72).collect();
        let class = if *middle >= 1.0 {
            "dot-met"
        } else {
            "dot-missed"
        };
        let _ = write!(
            out,
            r#"<text class="label small" x="{:.1}" y="{y:.1}" text-anchor="end">{}</text>{}<circle class="{class}" cx="{:.1}" cy="{y:.1}" r="5"><title>{}</title></circle>"#,
            LABELS - 10.0,
            escape(&what),
            whisker(x(*least), x(*greatest), y),
            x(*middle),
            escape(
                &row.value
                    .map_or_else(String::new, |v| row.target.show(v.median))
            )
        );
        if let Some(aim) = row.target.aim.and_then(|aim| score(row, aim)) {
            let _ = write!(
                out,
                r#"<path class="aim" d="M{:.1} {:.1}l4 -5h-8z"/>"#,
                x(aim),
                y - 5.0
            );
        }
    }
    out + "</svg>"
}

/// The value of a row and its spread as multiples of what has to be reached; more is better, 1 is met.
fn scored(row: &Row) -> Option<(f64, f64, f64)> {
    let v = row.value?;
    let (a, b) = (score(row, v.min)?, score(row, v.max)?);
    Some((score(row, v.median)?, a.min(b), a.max(b)))
}

fn score(row: &Row, value: f64) -> Option<f64> {
    let at_least = row.target.at_least?;
    let score = match row.target.relation {
        Relation::TimesFaster | Relation::TimesMore | Relation::Floor => value / at_least,
        // Less than nothing over the reference is as good as the scale can show.
        Relation::Excess if value <= 0.0 => f64::MAX,
        Relation::Share | Relation::Excess | Relation::Bound => at_least / value,
    };
    (score > 0.0).then_some(score)
}

fn open(title: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.1}" role="img" aria-label="{}">"#,
        escape(title)
    )
}

#[expect(clippy::cast_precision_loss, reason = "a few rows")]
fn row_y(index: usize) -> f64 {
    index as f64 * ROW_HEIGHT
}

fn whisker(from: f64, to: f64, y: f64) -> String {
    format!(
        r#"<path class="whisker" d="M{from:.1} {:.1}v8M{to:.1} {:.1}v8M{from:.1} {y:.1}H{to:.1}"/>"#,
        y - 4.0,
        y - 4.0
    )
}

fn tip(bar: &Bar, unit: Unit, s: &Summary) -> String {
    format!(
        "{}: median {}, quartiles {} to {}, all {} rounds {} to {}",
        bar.name,
        unit.show(s.median),
        unit.show(s.q1),
        unit.show(s.q3),
        s.count,
        unit.show(s.min),
        unit.show(s.max)
    )
}

fn class_of(name: &str) -> &'static str {
    match name {
        "kernel" | "no offloads" => "bar-kernel",
        "Sidestep" | "server alone" | "raw memif" | "raw AF_XDP" => "bar-ours",
        _ => "bar-peer",
    }
}
