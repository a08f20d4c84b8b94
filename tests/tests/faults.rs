//! Ends that are killed, and programs that run out of something.

use std::time::Duration;

use sidestep_tests::{
    Mode, Process, Program, Seed, World, free_port, in_modes, wait_listening, wait_until,
};

const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);
/// Within this the survivor must know that its peer is gone, and have said so.
const TOLD: Duration = Duration::from_secs(1);

/// A part of `faults.py`.
fn part(program: Program, part: &str, port: u16) -> Program {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/faults.py");
    program
        .arg("-B")
        .arg(script)
        .arg(part)
        .arg(port.to_string())
}

fn wait_said(process: &mut Process, word: &str) {
    wait_until(
        &format!("{:?} from {}", word, process.name()),
        SHORT,
        || {
            process.assert_running();
            process.stdout().contains(word).then_some(())
        },
    );
}

/// Waits until the survivor of a kill has said how its connection ended, which must be soon, and returns all it said.
fn wait_told(survivor: Process) -> String {
    wait_until("the survivor to be told", TOLD, || {
        survivor.stdout().contains("ended:").then_some(())
    });
    survivor.wait(SHORT).success().text()
}

/// Kills the end `victim` ("server" or "client") of busy connections at random moments; the other is told, the port
/// is free again and the memory returned.
fn kill_at_random(mode: Mode, seed: u64, server_work: &str, client_work: &str) {
    let mut seed = Seed::of_test(seed);
    let world = World::new(mode);
    let port = free_port();
    for turn in 0..10 {
        // The same port each time: it must be free at once after the death of whoever had it.
        let mut server = part(world.server("python3"), "serve_one", port)
            .arg(server_work)
            .spawn();
        wait_listening(port);
        let mut client = part(world.client("python3"), "connect_one", port)
            .arg(client_work)
            .spawn();
        wait_said(&mut server, "busy");
        wait_said(&mut client, "busy");
        std::thread::sleep(Duration::from_micros(seed.between(0, 60_000)));
        let (mut victim, survivor) = if turn % 2 == 0 {
            (server, client)
        } else {
            (client, server)
        };
        victim.assert_running();
        victim.kill();
        let output = wait_told(survivor);
        let told = ["ended: end of file", "ended: ECONNRESET", "ended: EPIPE"];
        assert!(
            told.iter().any(|end| output.contains(end)),
            "turn {turn}: {output}"
        );
        assert!(!output.contains("WRONG DATA"), "turn {turn}: {output}");
    }
    if mode != Mode::Kernel {
        assert_all_returned(&world);
    }
}

/// Waits until the agent knows no stack any more: all that was killed or ended has been cleaned up.
fn assert_all_returned(world: &World) {
    wait_until("all stacks to be gone", Duration::from_secs(30), || {
        world.ps().stacks.is_empty().then_some(())
    });
}

fn killed_in_round_trips(mode: Mode) {
    kill_at_random(mode, 1, "echo", "ask");
}
in_modes!(killed_in_round_trips: both, server_only, client_only, kernel);

fn killed_while_client_floods(mode: Mode) {
    kill_at_random(mode, 2, "drain", "flood");
}
in_modes!(killed_while_client_floods: both, server_only, client_only, kernel);

fn killed_while_server_floods(mode: Mode) {
    kill_at_random(mode, 3, "flood", "drain");
}
in_modes!(killed_while_server_floods: both, server_only, client_only, kernel);

/// An idle peer, blocked without a deadline, is told too.
fn killed_while_peer_sleeps(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let mut server = part(world.server("python3"), "serve_one", port)
        .arg("drain")
        .spawn();
    wait_listening(port);
    let mut client = part(world.client("python3"), "connect_one", port)
        .arg("drain")
        .spawn();
    wait_said(&mut server, "busy");
    wait_said(&mut client, "busy");
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    let output = wait_told(client);
    assert!(output.contains("ended:"), "{output}");
}
in_modes!(killed_while_peer_sleeps: both, server_only, client_only, kernel);

/// A worker of a server dies inside the stack that it shares with others: their connections are reset, and what waits for
/// these is told; whoever blocks in accept(2) serves what comes by the kernel, and sleeps until then.
#[test]
fn worker_that_dies_inside_the_stack() {
    let world = World::new(Mode::Both);
    let port = free_port();
    let mut server = part(world.server("python3"), "survivors", port).spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "read_only", port).spawn();
    wait_said(&mut server, "ready");
    assert_eq!(
        server.stdout(),
        "events [(True, 25)]\nread ECONNRESET\nread b''\nblocking True False\nsleeps True\nready\n"
    );
    assert!(client.wait(SHORT).success().text().contains("ended:"));
    for _ in 0..2 {
        let answer = part(world.client("python3"), "ask_once", port).run(SHORT);
        assert_eq!(answer.success().text(), "answer hello\n");
    }
}

/// The child that finds no place in the stack has lost what it inherited and says so; all else works in it, and for others
/// nothing is changed.
#[test]
fn more_children_than_the_stack_has_places() {
    let world = World::new(Mode::Both);
    let port = free_port();
    let mut server = part(world.server("python3"), "crowd", port).spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "five_bytes", port).spawn();
    wait_said(&mut server, "crowded");
    let answer = part(world.plain("python3"), "ask_once", port).run(SHORT);
    assert_eq!(answer.success().text(), "answer hello\n");
    assert_eq!(client.wait(SHORT).success().text(), "got alive\n");
    assert_eq!(
        server.wait(SHORT).success().text(),
        "read ECONNRESET\nreads a file True \"\"\"Programs\nblocking True\ncrowded\ndone\n"
    );
}

/// One of many clients is killed, again and again; the server and the others do not notice.
fn others_go_on(mode: Mode) {
    let mut seed = Seed::of_test(4);
    let world = World::new(mode);
    let port = free_port();
    let mut server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let mut steady = part(world.client("python3"), "ask_for_ever", port).spawn();
    wait_said(&mut steady, "turns");
    for _ in 0..10 {
        let mut client = part(world.client("python3"), "ask_for_ever", port).spawn();
        wait_said(&mut client, "busy");
        std::thread::sleep(Duration::from_micros(seed.between(0, 50_000)));
        client.kill();
        server.assert_running();
        let before = steady.stdout().len();
        wait_until("the steady client to go on", SHORT, || {
            steady.assert_running();
            (steady.stdout().len() > before).then_some(())
        });
    }
    assert!(!steady.stdout().contains("WRONG DATA"));
    if mode == Mode::Both {
        let ps = world.ps();
        ps.assert_wire_used(server.pid());
        ps.assert_wire_used(steady.pid());
    }
    drop((server, steady));
    if mode != Mode::Kernel {
        assert_all_returned(&world);
    }
}
in_modes!(others_go_on: both, server_only, kernel);

/// Children of fork(2) are killed at once, or while they take their place in the stack: what they had of it is given
/// back, and their parent, who shares the stack, and its peer go on.
fn children_killed(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = part(world.server("python3"), "kill_children", port).arg("300");
    let mut server = server.spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "outlive_children", port).arg("300");
    let mut client = client.spawn();
    wait_until("all children to be killed", LONG, || {
        client.assert_running();
        server.assert_running();
        client.stdout().contains("over").then_some(())
    });
    assert_eq!(client.stdout(), "over: end of file\n");
    if mode == Mode::Both {
        wait_until("all to be given back", SHORT, || {
            let ps = world.ps();
            ps.assert_wire_used(server.pid());
            let stack = ps.stacks_of(server.pid()).next()?;
            let rest = stack.sockets.iter().filter(|s| s.state != "TIME-WAIT");
            (stack.processes.len() == 1 && rest.count() == 2).then_some(())
        });
    }
}
in_modes!(children_killed: both, server_only, kernel);

/// A server that runs out of descriptors is told EMFILE and serves again when there is room.
fn server_out_of_descriptors(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = if mode.server() {
        world.accelerated_with_ulimit("-n 64", "python3")
    } else {
        world.plain_with_ulimit("-n 64", "python3")
    };
    let mut server = part(server, "serve_while_told", port).spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "connect_many", port)
        .arg("100")
        .run(Duration::from_secs(60));
    let output = client.success().text();
    assert!(
        server.stdout().contains("accept: EMFILE"),
        "{}",
        server.stdout()
    );
    assert!(
        output.contains("turn 1: 5 connected, 5 right, failures []"),
        "{output}"
    );
    server.assert_running();
}
in_modes!(server_out_of_descriptors: both, server_only, kernel);

/// A client that runs out of descriptors is told EMFILE and connects again when there is room.
fn client_out_of_descriptors(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let _server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let client = if mode.client() {
        world.accelerated_with_ulimit("-n 64", "python3")
    } else {
        world.plain_with_ulimit("-n 64", "python3")
    };
    let output = part(client, "make_many", port)
        .arg("200")
        .run(SHORT)
        .success()
        .text();
    assert_eq!(output, "socket: EMFILE\nmade True\nafter closing: word\n");
}
in_modes!(client_out_of_descriptors: both, client_only, kernel);

/// A table of sockets that is too small: the documented errno, or the kernel with its reason, and recovery.
fn table_of_sockets_too_small(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = part(world.server("python3"), "serve_while_told", port).spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "connect_many", port)
        .arg("100")
        .env("SIDESTEP_SOCKETS_MAX", "32");
    assert_few(&client.run(Duration::from_secs(90)).success().text());
    let server_pid = server.pid();
    if mode == Mode::Both {
        world.ps().assert_wire_used(server_pid);
    }
    // The other way round: the server's table is the small one.
    let port = free_port();
    let small =
        part(world.server("python3"), "serve_while_told", port).env("SIDESTEP_SOCKETS_MAX", "32");
    let mut small = small.spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "connect_many", port).arg("100");
    assert_few(&client.run(Duration::from_secs(90)).success().text());
    small.assert_running();
}
in_modes!(table_of_sockets_too_small: both, server_only, client_only, kernel);

/// Asserts that some connections of the first turn and all of the second worked, and that no error was a strange one.
fn assert_few(output: &str) {
    let allowed = [
        "EMFILE",
        "ENOBUFS",
        "ENOMEM",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "ENFILE",
        "EAGAIN",
        "TimeoutError",
    ];
    let first = output
        .lines()
        .find(|line| line.starts_with("turn 0"))
        .unwrap_or_else(|| panic!("{output}"));
    let connected = first
        .split_whitespace()
        .nth(2)
        .and_then(|n| n.parse::<u32>().ok())
        .unwrap_or(0);
    assert!(connected >= 5, "{output}");
    let failures = first.split("failures ").nth(1).unwrap_or_default();
    for name in failures.split('\'').skip(1).step_by(2) {
        let name = name.strip_prefix("use ").unwrap_or(name);
        assert!(
            allowed.contains(&name) || name == "ECONNRESET",
            "{name} is not documented: {output}"
        );
    }
    assert!(
        output.contains("turn 1: 5 connected, 5 right, failures []"),
        "{output}"
    );
}

/// Little memory for data: slower perhaps, but every byte arrives, and all of it is given back.
fn little_memory_for_data(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let server = part(world.server("python3"), "serve", port)
        .env("SIDESTEP_BUFFER_MB", "1")
        .spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "transfer_many", port)
        .args("12 2")
        .env("SIDESTEP_BUFFER_MB", "1");
    assert_eq!(
        client.run(Duration::from_secs(90)).success().text(),
        "wrong []\n"
    );
    if mode.server() {
        let ps = wait_until("buffers to be given back", SHORT, || {
            let ps = world.ps();
            let is_back = ps
                .stacks_of(server.pid())
                .all(|stack| stack.buffers_used == 0);
            is_back.then_some(ps)
        });
        if mode == Mode::Both {
            ps.assert_wire_used(server.pid());
        }
    }
}
in_modes!(little_memory_for_data: both, server_only, kernel);
