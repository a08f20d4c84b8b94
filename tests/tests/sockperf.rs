//! sockperf: ping-pong and throughput, TCP and UDP.

use std::time::Duration;

use sidestep_tests::{Mode, Process, World, free_port, in_modes, wait_bound_udp, wait_listening};

const SHORT: Duration = Duration::from_secs(30);

fn server(world: &World, protocol: &str, port: u16) -> Process {
    let server = world
        .server("sockperf")
        .args(&format!("server -i 127.0.0.1 -p {port} {protocol}"))
        .spawn();
    if protocol == "--tcp" {
        wait_listening(port)
    } else {
        wait_bound_udp(port)
    }
    server
}

/// sockperf numbers its messages and gives up beyond what it thinks a machine can do in the time: a rate keeps it there.
const PING_PONG: &str = "ping-pong --mps 100000";

/// Runs one of sockperf's tests and returns what it printed; the report of the agent is asserted while both live.
fn run(mode: Mode, protocol: &str, test: &str) -> String {
    let world = World::new(mode);
    let port = free_port();
    let server = server(&world, protocol, port);
    let mut client = world
        .client("sockperf")
        .args(&format!("{test} -i 127.0.0.1 -p {port} -t 2 {protocol}"))
        .spawn();
    world.wait_mode(&server, &mut client);
    client.wait(SHORT).success().text()
}

/// The number behind a label in sockperf's output.
fn number(output: &str, label: &str) -> f64 {
    let rest = output
        .split(label)
        .nth(1)
        .unwrap_or_else(|| panic!("no {label:?} in\n{output}"));
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .unwrap_or_else(|_| panic!("no number after {label:?} in\n{output}"))
}

fn assert_ping_pong(output: &str) {
    assert!(number(output, "ReceivedMessages=") > 1000.0, "{output}");
    assert!(
        output.contains(
            "dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0"
        ),
        "{output}"
    );
}

fn tcp_ping_pong(mode: Mode) {
    assert_ping_pong(&run(mode, "--tcp", PING_PONG));
}
in_modes!("needs sockperf", tcp_ping_pong: both, server_only, client_only);

fn udp_ping_pong(mode: Mode) {
    assert_ping_pong(&run(mode, "", PING_PONG));
}
in_modes!("needs sockperf", udp_ping_pong: both, server_only, client_only);

fn tcp_ping_pong_without_blocking(mode: Mode) {
    assert_ping_pong(&run(
        mode,
        "--tcp",
        &format!("{PING_PONG} --nonblocked -m 1000"),
    ));
}
in_modes!("needs sockperf", tcp_ping_pong_without_blocking: both);

fn tcp_throughput(mode: Mode) {
    let output = run(mode, "--tcp", "throughput -m 4096");
    assert!(number(&output, "BandWidth is ") > 1.0, "{output}");
}
in_modes!("needs sockperf", tcp_throughput: both, server_only);

fn udp_throughput(mode: Mode) {
    let output = run(mode, "", "throughput -m 1400");
    assert!(number(&output, "BandWidth is ") > 1.0, "{output}");
}
in_modes!("needs sockperf", udp_throughput: both, client_only);

fn udp_under_load(mode: Mode) {
    let output = run(mode, "", "under-load --mps 5000");
    assert!(number(&output, "ReceivedMessages=") > 10.0, "{output}");
}
in_modes!("needs sockperf", udp_under_load: both);

/// One server process with TCP and UDP sockets in one set.
fn many_sockets_in_one_set(mode: Mode) {
    for waiting in ["select", "poll", "epoll"] {
        let world = World::new(mode);
        let ports: Vec<u16> = sidestep_tests::free_ports(4);
        let line = |(i, port): (usize, &u16)| {
            format!("{}:127.0.0.1:{port}\n", if i % 2 == 0 { "T" } else { "U" })
        };
        let feed = world.file(
            "feed",
            ports.iter().enumerate().map(line).collect::<String>(),
        );
        let server = world
            .server("sockperf")
            .args("server -F")
            .arg(waiting)
            .arg("-f")
            .arg(&feed)
            .spawn();
        wait_listening(ports[2]);
        let client = world
            .client("sockperf")
            .args(&format!("{PING_PONG} -t 1 -F"))
            .arg(waiting)
            .arg("-f")
            .arg(&feed);
        assert_ping_pong(&client.run(SHORT).success().text());
        if mode == Mode::Both {
            world.ps().assert_wire_used(server.pid());
        }
    }
}
in_modes!("needs sockperf", many_sockets_in_one_set: both);
