use super::*;

#[test]
fn callgrind_totals_are_read_and_zero_is_none() {
    assert_eq!(
        total_instructions("events: Ir\nfn=(1) send\n0 12\ntotals: 4200\n"),
        Some(4200.0)
    );
    assert_eq!(total_instructions("summary: 17\n"), Some(17.0));
    assert_eq!(total_instructions("totals: 0\n"), None);
    assert_eq!(total_instructions("events: Ir\n"), None);
}

#[test]
fn a_load_that_says_nothing_is_a_failure() {
    assert!(parse("").is_err());
    assert!(parse(r#"{"send_ns": 5}"#).is_err());
    assert_eq!(
        parse(r#"{"send_ns": 5, "recv_ns": 6.5}"#).unwrap()["recv_ns"],
        6.5
    );
}

#[test]
fn where_most_answers_were_late_there_is_no_figure() {
    let said = |late| format!(r#"{{"send_ns": 5, "recv_ns": 6, "calls": 10, "late": {late}}}"#);
    assert!(parse(&said(5)).is_ok());
    assert!(matches!(parse(&said(6)), Err(Problem::Invalid(_))));
}

#[test]
fn calls_that_found_nothing_were_calls_too() {
    let said = r#"{"calls": 10, "recv_calls": 13}"#;
    assert_eq!(
        (calls_made(said, "send"), calls_made(said, "recv")),
        (Some(10.0), Some(13.0))
    );
    assert_eq!(calls_made("{}", "recv"), None);
}
