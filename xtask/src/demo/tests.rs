//! Reading what the programs of the demonstration print.

use super::*;
use serde_json::json;

#[test]
fn redis_rates_are_read() {
    let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"16583.75\",\"0.05\"\n\"GET\",\"17001.00\",\"0.05\"\n";
    assert_eq!(redis::rates(csv), Some([16583.75, 17001.0]));
    assert_eq!(redis::rates("Could not connect"), None);
}

#[test]
fn pingpong_median_is_read() {
    assert_eq!(
        plain::median_ns(r#"{"results":[{"size":32,"p50_ns":4321}]}"#),
        Some(4321.0)
    );
    assert_eq!(plain::median_ns("{}"), None);
}

#[test]
fn growth_is_told_for_each_stack() {
    let report = |stacks: &[(&str, u64)]| {
        let stacks = stacks
            .iter()
            .map(|(id, n)| json!({"id": id, "counters": {"tx_frames": n}}));
        counters::frames(&json!({"stacks": stacks.collect::<Vec<_>>()}))
    };
    let before = report(&[("server", 100), ("client", 500)]);
    assert_eq!(counters::growth(&before, &report(&[("server", 110)])), 10);
    assert_eq!(
        counters::growth(&before, &report(&[("server", 100), ("other", 7)])),
        7
    );
    assert_eq!(counters::growth(&before, &before), 0);
    assert_eq!(
        counters::frames(&json!({"stacks": [{"id": "a", "status": "busy"}]})).len(),
        0
    );
}
