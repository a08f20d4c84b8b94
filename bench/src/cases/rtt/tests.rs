use super::*;

const SAID: &str = r#"{"protocol": "tcp", "results": [
    {"size": 32, "p50_ns": 5400, "p99_ns": 6000, "p999_ns": 9000, "max_ns": 12000, "iterations": 1000, "lost": 0}]}"#;

#[test]
fn figures_are_taken_by_name() {
    let (figures, iterations) = parse(SAID).unwrap();
    assert_eq!(
        (figures["p50_ns"], figures["p999_ns"], iterations),
        (5400.0, 9000.0, 1000)
    );
}

#[test]
fn what_is_not_the_report_is_a_failure() {
    for said in [
        "",
        "{}",
        r#"{"results": []}"#,
        &SAID.replace("p999_ns", "p998_ns"),
    ] {
        assert!(matches!(parse(said), Err(Problem::Failed(_))), "{said}");
    }
}

#[test]
fn a_lossy_run_is_invalid() {
    let said = SAID.replace(r#""lost": 0"#, r#""lost": 11"#);
    assert!(matches!(parse(&said), Err(Problem::Invalid(_))));
}

#[test]
fn warming_up_takes_as_long_for_the_fast_as_for_the_slow() {
    let mut rtt = Rtt::tcp_spin();
    assert_eq!(rtt.warmup(Contender::Kernel, Effort::QUICK), FIRST_WARMUP);
    rtt.half_ns = BTreeMap::from([(Contender::Kernel, 5_000.0), (Contender::Sidestep, 500.0)]);
    assert_eq!(rtt.warmup(Contender::Kernel, Effort::QUICK), 30_000);
    assert_eq!(rtt.warmup(Contender::Sidestep, Effort::QUICK), 300_000);
}
