//! memcached by its text protocol, TCP and UDP, with several threads.

use std::time::Duration;

use sidestep_tests::{Mode, Process, World, free_port, in_modes, wait_bound_udp, wait_listening};

fn start(world: &World, port: u16) -> Process {
    let user = if rustix::process::geteuid().is_root() {
        "-u root"
    } else {
        ""
    };
    let options = format!("-l 127.0.0.1 -p {port} -U {port} -t 4 -m 128 -I 8m {user}");
    let server = world.server("memcached").args(&options).spawn();
    wait_listening(port);
    wait_bound_udp(port);
    server
}

/// Plays a part of `memcached_client.py`, which checks every answer itself.
fn play(world: &World, part: &str, port: u16) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/memcached_client.py");
    let client = world
        .explained_client("python3")
        .arg("-B")
        .arg(script)
        .arg(part)
        .arg(port.to_string());
    let output = client.run(Duration::from_secs(60)).success().text();
    assert!(output.ends_with("all right\n"), "{output}");
    world.assert_reasons_given();
}

fn values_by_tcp(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = start(&world, port);
    play(&world, "values", port);
    world.ps().assert_server(mode, server.pid());
}
in_modes!("needs memcached", values_by_tcp: both, server_only, client_only);

fn many_clients_by_tcp(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = start(&world, port);
    play(&world, "clients", port);
    world.ps().assert_server(mode, server.pid());
}
in_modes!("needs memcached", many_clients_by_tcp: both, server_only, client_only);

fn requests_by_udp(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = start(&world, port);
    play(&world, "udp", port);
    world.ps().assert_udp_server(mode, server.pid());
}
in_modes!("needs memcached", requests_by_udp: both, server_only, client_only);
