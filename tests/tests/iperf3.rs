//! iperf3: streams both ways, parallel and at once, and datagrams.

use std::time::Duration;

use serde_json::Value;
use sidestep_tests::{Mode, World, free_port, in_modes, wait_listening};

/// Runs iperf3 with these options and returns what the client reports. Both ends are looked at while they are busy.
fn run(mode: Mode, options: &str) -> Value {
    let world = World::new(mode);
    let port = free_port();
    let server = world
        .server("iperf3")
        .args(&format!("-s -1 -B 127.0.0.1 -p {port}"))
        .spawn();
    wait_listening(port);
    let mut client = world
        .client("iperf3")
        .args(&format!("-c 127.0.0.1 -p {port} -t 2 -J {options}"))
        .spawn();
    world.wait_mode(&server, &mut client);
    let report = client.wait(Duration::from_secs(30)).success().text();
    server.wait(Duration::from_secs(10)).success();
    serde_json::from_str(&report).unwrap_or_else(|e| panic!("{e} in\n{report}"))
}

/// The bytes of a sum in the report's end.
fn bytes(report: &Value, sum: &str) -> u64 {
    report["end"][sum]["bytes"]
        .as_u64()
        .unwrap_or_else(|| panic!("no {sum} in\n{report:#}"))
}

/// Asserts that all that was sent came, but for what was under way at the end.
fn assert_stream(report: &Value) {
    let (sent, received) = (bytes(report, "sum_sent"), bytes(report, "sum_received"));
    assert!(received > 10_000_000, "only {received} bytes came");
    assert!(received <= sent, "{received} bytes came of {sent}");
}

fn tcp(mode: Mode) {
    assert_stream(&run(mode, ""));
}
in_modes!("needs iperf3", tcp: both, server_only, client_only);

fn tcp_reverse(mode: Mode) {
    assert_stream(&run(mode, "-R"));
}
in_modes!("needs iperf3", tcp_reverse: both, server_only, client_only);

fn tcp_parallel(mode: Mode) {
    assert_stream(&run(mode, "-P 4"));
}
in_modes!("needs iperf3", tcp_parallel: both, server_only, client_only);

fn tcp_both_ways_at_once(mode: Mode) {
    let report = run(mode, "--bidir");
    assert_stream(&report);
    assert!(bytes(&report, "sum_received_bidir_reverse") > 10_000_000);
}
in_modes!("needs iperf3", tcp_both_ways_at_once: both, server_only, client_only);

fn tcp_small_writes(mode: Mode) {
    assert_stream(&run(mode, "-l 1000 -N"));
}
in_modes!("needs iperf3", tcp_small_writes: both);

/// iperf3 itself checks nothing of the content; its cookie and results pass the control connection.
fn tcp_with_sendfile(mode: Mode) {
    assert_stream(&run(mode, "-Z"));
}
in_modes!("needs iperf3", tcp_with_sendfile: both, server_only);

fn udp(mode: Mode) {
    let report = run(mode, "-u -b 50M");
    let end = &report["end"]["sum"];
    let (packets, lost) = (
        end["packets"].as_u64().unwrap_or(0),
        end["lost_packets"].as_u64().unwrap_or(u64::MAX),
    );
    assert!(packets > 100, "{report:#}");
    // The receiver's queue is bounded and it may not be given a processor: loss is allowed, but not the rule.
    assert!(lost <= packets / 2, "{lost} of {packets} lost");
}
in_modes!("needs iperf3", udp: both, server_only, client_only);
