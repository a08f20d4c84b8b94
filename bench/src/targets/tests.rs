use super::*;
use crate::model::{Entry, Figures, Metric};

const P50: &[Metric] = &[Metric {
    name: "p50_ns",
    unit: Unit::Ns,
}];

fn source(contender: Contender) -> Source {
    Source {
        case: "rtt",
        contender,
        metric: "p50_ns",
    }
}

fn target(relation: Relation, at_least: f64, aim: f64) -> Target {
    Target {
        what: "test",
        unit: Unit::Ns,
        subject: source(Contender::Sidestep),
        reference: Some(source(Contender::Kernel)),
        relation,
        at_least: Some(at_least),
        aim: Some(aim),
    }
}

fn entry(contender: Contender, rounds: &[(f64, f64)]) -> Entry {
    let samples = rounds
        .iter()
        .enumerate()
        .map(|(round, &(ns, line))| {
            Sample::new(
                round,
                Figures::from([("p50_ns", ns)]),
                Some(line),
                Some(line),
            )
        })
        .collect();
    Entry {
        contender,
        samples,
        problem: None,
    }
}

fn results(ours: &[(f64, f64)], kernel: &[(f64, f64)]) -> Vec<CaseResult> {
    let entries = vec![
        entry(Contender::Kernel, kernel),
        entry(Contender::Sidestep, ours),
    ];
    vec![CaseResult {
        case: "rtt",
        title: "",
        metrics: P50,
        entries,
    }]
}

fn judged(target: Target, results: &[CaseResult]) -> Row {
    judge(&[target], results).remove(0)
}

#[test]
fn times_faster_is_reference_over_subject_and_reaches_the_aim() {
    let r = results(&[(200.0, 50.0); 3], &[(5000.0, 50.0); 3]);
    let row = judged(target(Relation::TimesFaster, 10.0, 20.0), &r);
    assert_eq!(row.value.unwrap().median, 25.0);
    assert_eq!(row.verdict, Verdict::Aim);
}

#[test]
fn between_the_thresholds_is_met_and_below_is_missed() {
    let r = results(&[(400.0, 50.0)], &[(5000.0, 50.0)]);
    assert_eq!(
        judged(target(Relation::TimesFaster, 10.0, 20.0), &r).verdict,
        Verdict::Met
    );
    assert_eq!(
        judged(target(Relation::TimesFaster, 13.0, 20.0), &r).verdict,
        Verdict::Missed
    );
}

#[test]
fn a_share_and_an_excess_are_better_when_smaller() {
    let r = results(&[(300.0, 50.0)], &[(400.0, 50.0)]);
    assert_eq!(
        judged(target(Relation::Share, 1.0, 0.7), &r).verdict,
        Verdict::Met
    );
    let excess = judged(target(Relation::Excess, 250.0, 120.0), &r);
    assert_eq!(excess.value.unwrap().median, -100.0);
    assert_eq!(excess.verdict, Verdict::Aim);
}

#[test]
fn rounds_with_unlike_placement_are_left_out() {
    // The second round met the two sides at unlike distances: its ratio of 1 says nothing.
    let r = results(
        &[(200.0, 50.0), (5000.0, 250.0)],
        &[(4000.0, 50.0), (5000.0, 50.0)],
    );
    let row = judged(target(Relation::TimesFaster, 10.0, 20.0), &r);
    assert_eq!(row.value.unwrap().median, 20.0);
    assert_eq!((row.rounds_moved, row.moved), (1, false));
}

#[test]
fn where_every_round_moved_the_value_is_marked() {
    let r = results(&[(200.0, 250.0)], &[(4000.0, 50.0)]);
    let row = judged(target(Relation::TimesFaster, 10.0, 20.0), &r);
    assert_eq!((row.rounds_moved, row.moved), (1, true));
    assert_eq!(row.value.unwrap().median, 20.0);
}

#[test]
fn a_problem_of_either_side_leaves_no_figure() {
    for broken in [Contender::Kernel, Contender::Sidestep] {
        let mut r = results(&[(200.0, 50.0)], &[(4000.0, 50.0)]);
        let problem = Problem::Invalid("no frame took the wire".into());
        r[0].entries
            .iter_mut()
            .find(|e| e.contender == broken)
            .unwrap()
            .problem = Some(problem.clone());
        let row = judged(target(Relation::TimesFaster, 10.0, 20.0), &r);
        assert_eq!(row.verdict, Verdict::NoFigure(problem));
        assert_eq!(row.value, None);
    }
}

#[test]
fn a_case_that_did_not_run_is_said_to_be_so() {
    assert_eq!(
        judged(target(Relation::Share, 1.0, 0.7), &[]).verdict,
        Verdict::NotRun
    );
}

#[test]
fn a_bound_needs_no_reference() {
    let r = results(&[(1500.0, 50.0)], &[]);
    let bound = Target {
        reference: None,
        relation: Relation::Bound,
        aim: None,
        ..target(Relation::Bound, 2048.0, 0.0)
    };
    let row = judged(bound, &r);
    assert_eq!(
        (row.value.unwrap().median, row.verdict),
        (1500.0, Verdict::Met)
    );
}

#[test]
fn a_row_without_a_threshold_is_reported() {
    let r = results(&[(5001.0, 50.0)], &[(5000.0, 50.0)]);
    let reported = Target {
        at_least: None,
        aim: None,
        ..target(Relation::TimesFaster, 10.0, 20.0)
    };
    let row = judged(reported, &r);
    assert_eq!(
        (row.verdict.clone(), row.slower_than_kernel()),
        (Verdict::Reported, true)
    );
}

#[test]
fn aims_are_never_easier_than_what_has_to_be_reached() {
    for t in all() {
        match (t.at_least, t.aim) {
            (Some(at_least), Some(aim)) => assert!(t.reaches(aim, at_least), "{}", t.what),
            (None, aim) => assert_eq!(aim, None, "{}", t.what),
            (Some(_), None) => {}
        }
    }
}

#[test]
fn doing_worse_than_the_kernel_is_told_from_missing_a_target() {
    let r = results(&[(5001.0, 50.0)], &[(5000.0, 50.0)]);
    assert!(judged(target(Relation::TimesFaster, 10.0, 20.0), &r).slower_than_kernel());
    assert!(judged(target(Relation::Share, 1.5, 1.0), &r).slower_than_kernel());
    let r = results(&[(2500.0, 50.0)], &[(5000.0, 50.0)]);
    let row = judged(target(Relation::TimesFaster, 10.0, 20.0), &r);
    assert_eq!(
        (row.verdict.clone(), row.slower_than_kernel()),
        (Verdict::Missed, false)
    );
}
