use super::*;
use crate::model::{Contender, Entry, Figures, Metric, Problem, Sample, Unit};
use crate::placement::Cpus;
use crate::targets::{self, judge};

/// A run of one case in which the placement moved once, and one contender is not what it claims.
fn report(problem: Option<Problem>) -> Report {
    const METRICS: &[Metric] = &[
        Metric {
            name: "p50_ns",
            unit: Unit::Ns,
        },
        Metric {
            name: "p999_ns",
            unit: Unit::Ns,
        },
    ];
    let samples = |p50: f64, last_line| {
        let figures = Figures::from([("p50_ns", p50), ("p999_ns", p50 * 2.0)]);
        vec![
            Sample::new(0, figures.clone(), Some(52.0), Some(53.0)),
            Sample::new(1, figures, Some(52.0), Some(last_line)),
        ]
    };
    let entry = |contender, samples, problem| Entry {
        contender,
        samples,
        problem,
    };
    let cases = vec![CaseResult {
        case: "tcp_rtt_spin",
        title: "half round trip <32 B> & more",
        metrics: METRICS,
        entries: vec![
            entry(Contender::Kernel, samples(5400.0, 255.0), None),
            entry(Contender::Sidestep, samples(300.0, 52.0), problem),
        ],
    }];
    let machine = Machine::here(
        Cpus {
            server: 0,
            client: 1,
        },
        2,
        0.5,
    );
    Report {
        machine,
        rows: judge(&targets::all(), &cases),
        cases,
    }
}

#[test]
fn the_table_has_figures_spread_thresholds_and_verdict() {
    let text = report(None).table();
    let row = text
        .lines()
        .find(|l| l.contains("both spinning, p50: kernel ÷ ours") && l.starts_with("TCP"))
        .unwrap();
    for cell in [
        "300 ns",
        "5.40 µs",
        "18.0×",
        "≥ 10.0×",
        "≥ 20.0×",
        "met",
        "1 moved round left out",
    ] {
        assert!(row.contains(cell), "{cell:?} is not in {row:?}");
    }
    assert!(text.contains("placement moved in 1"), "{text}");
    assert!(!text.contains("redis"), "{text}");
    assert!(text.contains("targets are not shown"), "{text}");
}

#[test]
fn an_invalid_contender_shows_no_figure_anywhere() {
    let report = report(Some(Problem::Invalid("no frame took the wire".into())));
    for text in [
        report.table(),
        report.html().split("<script").next().unwrap().to_owned(),
    ] {
        assert!(text.contains("INVALID: no frame took the wire"));
        assert!(!text.contains("300 ns"), "{text}");
        assert!(!text.contains("18.0×"), "{text}");
    }
}

#[test]
fn the_page_needs_nothing_else_and_is_well_formed() {
    let page = report(None).html();
    for foreign in ["http://", "https://", "src=", "<link", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for tag in [
        "svg", "section", "figure", "table", "tr", "td", "text", "main", "script",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(page.contains("half round trip &lt;32 B&gt; &amp; more"));
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn json_holds_every_sample_and_the_verdicts() {
    let value: serde_json::Value = serde_json::from_str(&report(None).json().unwrap()).unwrap();
    let entry = &value["cases"][0]["entries"][0];
    assert_eq!(entry["contender"], "kernel");
    assert_eq!(entry["samples"][1]["moved"], true);
    assert_eq!(entry["samples"][0]["figures"]["p50_ns"], 5400.0);
    assert_eq!(value["rows"][0]["verdict"]["verdict"], "met");
}
