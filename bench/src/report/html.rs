//! One page with everything: verdicts, charts, figures, and the samples as JSON for whoever wants to look closer.

use super::svg::{bar_chart, escape, target_chart};
use super::{Report, bars, note};
use crate::targets::{Row, Verdict};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
    let _ = write!(
        out,
        "<title>Sidestep benchmark</title><style>{STYLE}</style></head><body><main>"
    );
    out += "<h1>Sidestep beside the kernel</h1><p class=\"machine\">";
    out += &report
        .machine
        .lines()
        .iter()
        .map(|l| escape(l))
        .collect::<Vec<_>>()
        .join("<br>");
    out += "</p>";
    out += &summary(&report.rows);
    out += "<h2>Targets</h2><p>Each value is taken round by round and its median shown; whiskers and spreads reach \
        from the least to the greatest round. Rounds in which the distance between the two processors changed by \
        more than 30 % are left out, and said to be.</p>";
    out += &target_table(&report.rows);
    out += "<h2>All on one scale</h2><p>How many times over the target is met: right of the line it is met, left of \
        it missed. A triangle marks the aim. Values off the scale sit at its edge.</p><figure>";
    out += &target_chart(&report.rows);
    out += "</figure><h2>Figures</h2>";
    for case in &report.cases {
        let _ = write!(
            out,
            "<section><h3>{}</h3><p><code>{}</code></p>",
            escape(case.title),
            case.case
        );
        for &metric in case.metrics {
            let chart = bar_chart(metric.name, metric.unit, &bars(case, metric));
            let _ = write!(
                out,
                "<figure><figcaption>{}</figcaption>{chart}</figure>",
                metric.name
            );
        }
        out += "</section>";
    }
    // What could end the element early is escaped; JSON allows that inside strings.
    let json = serde_json::to_string(report)
        .unwrap_or_default()
        .replace('<', "\\u003c");
    let _ = writeln!(
        out,
        "<script type=\"application/json\" id=\"samples\">{json}</script></main></body></html>"
    );
    out
}

/// How many targets came out how.
fn summary(rows: &[Row]) -> String {
    let count = |word: &str| rows.iter().filter(|r| r.verdict.word() == word).count();
    let mut out = String::from("<ul class=\"summary\">");
    for (word, class) in [
        ("aim met", "aim"),
        ("met", "met"),
        ("missed", "missed"),
        ("reported", "none"),
        ("INVALID", "none"),
        ("no figure", "none"),
        ("not run", "none"),
    ] {
        let n = count(word);
        if n > 0 {
            let _ = write!(out, "<li class=\"{class}\"><b>{n}</b> {word}</li>");
        }
    }
    out + "</ul>"
}

fn target_table(rows: &[Row]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for head in [
        "what",
        "subject",
        "reference",
        "value",
        "spread",
        "at least",
        "aim",
        "verdict",
    ] {
        let _ = write!(out, "<th>{head}</th>");
    }
    out += "</tr></thead><tbody>";
    for row in rows {
        let t = &row.target;
        let class = match row.verdict {
            Verdict::Aim => "aim",
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::Reported | Verdict::NoFigure(_) | Verdict::NotRun => "none",
        };
        let remark = note(row);
        let cells = [
            row.subject
                .map_or_else(|| "–".into(), |s| t.unit.show(s.median)),
            row.reference
                .map_or_else(|| "–".into(), |s| t.unit.show(s.median)),
            row.value.map_or_else(|| "–".into(), |v| t.show(v.median)),
            row.value.map_or_else(
                || "–".into(),
                |v| format!("{} to {}", t.show(v.min), t.show(v.max)),
            ),
            t.at_least.map_or_else(String::new, |x| t.show_threshold(x)),
            t.aim.map_or_else(String::new, |aim| t.show_threshold(aim)),
        ];
        let _ = write!(out, "<tr><td>{}</td>", escape(t.what));
        for cell in cells {
            let _ = write!(out, "<td class=\"figure\">{}</td>", escape(&cell));
        }
        let _ = write!(
            out,
            "<td><span class=\"verdict {class}\">{}</span>",
            row.verdict.word()
        );
        if !remark.is_empty() {
            let _ = write!(out, "<br><small>{}</small>", escape(&remark));
        }
        out += "</td></tr>";
    }
    out + "</tbody></table></div>"
}
