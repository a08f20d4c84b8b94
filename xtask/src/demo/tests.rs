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
fn frames_of_all_stacks_are_summed() {
    let report = json!({"stacks": [
        {"wires": [{"stats": {"tx_frames": 3, "rx_frames": 5}}, {"tx_frames": 4}]},
        {"wires": []},
    ]});
    assert_eq!(counters::frames(&report), 7);
    assert_eq!(counters::frames(&json!({"stacks": []})), 0);
}
