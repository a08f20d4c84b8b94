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
