//! `sidestep pingpong`, a plain sockets program: every protocol, way of waiting and family.

use std::time::Duration;

use serde_json::Value;
use sidestep_tests::{Mode, World, free_port, in_modes, wait_listening};

const WAYS: [&str; 5] = ["blocking", "spin", "poll", "epoll", "select"];

/// Runs one server, and clients that compare what comes back byte by byte, in every way of waiting.
fn in_all_ways(mode: Mode, options: &str, host: &str) {
    let world = World::new(mode);
    let port = free_port();
    let program = World::sidestep_path();
    let server = world
        .server(&program)
        .args(&format!("pingpong server --listen {host}:{port}"))
        .spawn();
    wait_listening(port);
    for way in WAYS {
        let client = world.client(&program).args(&format!(
            "pingpong client {host}:{port} --mode {way} {options}"
        ));
        let client =
            client.args("--sizes 1,32,1000,1460,16384 --iter 2000 --duration 400ms --json");
        let report = client.run(Duration::from_secs(30)).success().text();
        let report: Value =
            serde_json::from_str(&report).unwrap_or_else(|e| panic!("{e} in {report}"));
        let sizes = report["results"].as_array().map_or(0, Vec::len);
        assert_eq!(sizes, 5, "{report:#}");
    }
    if options.contains("--udp") {
        world.ps().assert_udp_server(mode, server.pid());
    } else {
        world.ps().assert_server(mode, server.pid());
    }
}

fn tcp(mode: Mode) {
    in_all_ways(mode, "--tcp", "127.0.0.1");
}
in_modes!(tcp: both, server_only, client_only);

fn tcp_ipv6(mode: Mode) {
    in_all_ways(mode, "--tcp", "[::1]");
}
in_modes!(tcp_ipv6: both);

fn udp(mode: Mode) {
    in_all_ways(mode, "--udp", "127.0.0.1");
}
in_modes!(udp: both, server_only, client_only);

fn udp_connected(mode: Mode) {
    in_all_ways(mode, "--udp --connect", "127.0.0.1");
}
in_modes!(udp_connected: both, server_only, client_only);

fn udp_ipv6(mode: Mode) {
    in_all_ways(mode, "--udp --connect", "[::1]");
}
in_modes!(udp_ipv6: both);

/// The server's program sees a link on which each way takes half a millisecond.
#[test]
fn over_a_bad_link() {
    let world = World::new(Mode::both());
    let port = free_port();
    let program = World::sidestep_path();
    let server = world
        .server(&program)
        .env("SIDESTEP_FAULT", "delay=500us,duplicate=1%")
        .args(&format!("pingpong server --listen 127.0.0.1:{port}"))
        .spawn();
    wait_listening(port);
    let client = world.client(&program).args(&format!(
        "pingpong client 127.0.0.1:{port} --mode blocking --tcp --sizes 32 --iter 100 --duration 1s --json"
    ));
    let report = client.run(Duration::from_secs(30)).success().text();
    let report: Value = serde_json::from_str(&report).expect("a report");
    let half_ns = report["results"][0]["p50_ns"].as_f64();
    assert!(half_ns.is_some_and(|ns| ns > 5e5), "{report:#}");
    world.ps().assert_server(Mode::both(), server.pid());
}
