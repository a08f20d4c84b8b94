//! The agent: started by need, private, killed without harm, gone when unused; and `sidestep run` and `ps`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sidestep_tests::{Mode, Process, Program, World, free_port, wait_listening, wait_until};

const SHORT: Duration = Duration::from_secs(20);

/// A part of `faults.py`.
fn part(program: Program, part: &str, port: u16) -> Program {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/faults.py");
    program
        .arg("-B")
        .arg(script)
        .arg(part)
        .arg(port.to_string())
}

fn is_alive(pid: u32) -> bool {
    // A zombie that nobody waits for has ended all the same.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Kills the agent as no program can prevent, and waits for it to be gone.
fn kill_agent(world: &World) -> u32 {
    let agent = world.ps().agent_pid();
    let pid = Pid::from_raw(agent.cast_signed()).expect("not zero");
    kill_process(pid, Signal::KILL).expect("the agent is ours");
    wait_until("the agent to be gone", SHORT, || {
        (!is_alive(agent)).then_some(())
    });
    agent
}

fn wait_said(process: &mut Process, word: &str) {
    wait_until(&format!("{word:?}"), SHORT, || {
        process.assert_running();
        process.stdout().contains(word).then_some(())
    });
}

fn wait_goes_on(process: &mut Process) {
    let before = process.stdout().len();
    wait_until("the connection to go on", SHORT, || {
        process.assert_running();
        (process.stdout().len() > before + 20).then_some(())
    });
    assert!(!process.stdout().contains("WRONG DATA"));
}

#[test]
fn is_started_by_need_and_private() {
    let world = World::new(Mode::Both);
    assert!(!world.runtime_dir().exists());
    let port = free_port();
    let server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let ps = world.ps();
    assert!(is_alive(ps.agent_pid()));
    assert!(ps.stacks_of(server.pid()).next().is_some());
    let mode = fs::metadata(world.runtime_dir())
        .expect("its directory")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700, "others must not reach the agent");
}

#[test]
fn ps_says_so_where_no_agent_runs() {
    let world = World::new(Mode::Both);
    let output = world.sidestep().args("ps").run(SHORT).success();
    assert!(
        output.text().contains("no accelerated programs"),
        "{}",
        output.text()
    );
    assert!(world.ps().stacks.is_empty());
}

#[test]
fn ends_when_unused() {
    let world = World::new(Mode::Both);
    world.accelerated("true").run(SHORT).success();
    let agent = world.ps().agent_pid();
    // It stays for ten seconds after the last program.
    wait_until(
        "the agent to end by itself",
        Duration::from_secs(40),
        || (!is_alive(agent)).then_some(()),
    );
}

#[test]
fn stops_when_told() {
    let world = World::new(Mode::Both);
    world.accelerated("true").run(SHORT).success();
    let agent = world.ps().agent_pid();
    world.sidestep().args("agent stop").run(SHORT).success();
    wait_until("the agent to end", SHORT, || {
        (!is_alive(agent)).then_some(())
    });
}

#[test]
fn many_programs_at_once_start_one_agent() {
    let world = World::new(Mode::Both);
    let port = free_port();
    let programs: Vec<Process> = (0..8)
        .map(|_| world.accelerated("sleep").arg("2").spawn())
        .collect();
    let server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let client = part(world.client("python3"), "ask_once", port)
        .run(SHORT)
        .success();
    assert_eq!(client.text(), "answer hello\n");
    let ps = world.ps();
    assert_eq!(
        ps.count(server.pid(), "tcp_accepts"),
        1,
        "not two agents with a program each"
    );
    for program in programs {
        program.wait(SHORT).success();
    }
}

#[test]
fn established_connections_outlive_it() {
    let world = World::new(Mode::Both);
    let port = free_port();
    let mut server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let mut client = part(world.client("python3"), "ask_for_ever", port).spawn();
    wait_said(&mut client, "turns");
    world.ps().assert_wire_used(client.pid());
    for _ in 0..3 {
        let killed = kill_agent(&world);
        wait_goes_on(&mut client);
        // A new program starts a new agent; the server is known to it again.
        wait_until(
            "a new connection by a wire",
            Duration::from_secs(30),
            || {
                let output = part(world.client("python3"), "ask_once", port)
                    .run(SHORT)
                    .success();
                assert_eq!(
                    output.text(),
                    "answer hello\n",
                    "connections must work all the time"
                );
                let ps = world.ps();
                assert_ne!(ps.agent_pid(), killed);
                ps.stacks_of(server.pid()).next().is_some().then_some(())
            },
        );
        let before = world.ps().count(server.pid(), "tcp_accepts");
        wait_until(
            "connections to be accelerated again",
            Duration::from_secs(30),
            || {
                part(world.client("python3"), "ask_once", port)
                    .run(SHORT)
                    .success();
                (world.ps().count(server.pid(), "tcp_accepts") > before).then_some(())
            },
        );
        wait_goes_on(&mut client);
    }
    server.assert_running();
}

/// While no agent runs, deaths are noticed by the next one.
#[test]
fn a_new_agent_cleans_up_after_deaths_before_it() {
    let world = World::new(Mode::Both);
    let port = free_port();
    let server = part(world.server("python3"), "serve", port).spawn();
    wait_listening(port);
    let mut client = part(world.client("python3"), "ask_for_ever", port).spawn();
    wait_said(&mut client, "turns");
    kill_agent(&world);
    client.kill();
    world.accelerated("true").run(SHORT).success();
    wait_until(
        "the server's connection to be closed",
        Duration::from_secs(30),
        || {
            let ps = world.ps();
            let mut stacks = ps.stacks_of(server.pid()).peekable();
            stacks.peek()?;
            let established = stacks
                .flat_map(|stack| &stack.sockets)
                .filter(|socket| socket.state == "ESTAB");
            (established.count() == 0).then_some(())
        },
    );
}

#[test]
fn run_passes_the_exit_status() {
    let world = World::new(Mode::Both);
    for explain in ["", "--explain"] {
        let run = |script: &str| {
            world
                .sidestep()
                .args("run")
                .args(explain)
                .args("-- sh -c")
                .arg(script)
                .run(SHORT)
        };
        assert_eq!(run("exit 0").status.code(), Some(0));
        assert_eq!(run("exit 41").status.code(), Some(41));
        let killed = run("kill -TERM $$");
        assert_eq!(killed.status.signal(), Some(15), "{explain}: {killed:?}");
        let output = run("echo out; echo err >&2").success();
        assert_eq!(output.text(), "out\n");
        assert!(
            output.error_text().ends_with("err\n") || explain == "--explain",
            "{output:?}"
        );
        let missing = world
            .sidestep()
            .args("run")
            .args(explain)
            .args("-- no-such-program")
            .run(SHORT);
        assert_eq!(missing.status.code(), Some(127));
        let plain = world.file("plain", "no program");
        let denied = world
            .sidestep()
            .args("run")
            .args(explain)
            .arg("--")
            .arg(plain)
            .run(SHORT);
        assert_eq!(denied.status.code(), Some(126));
    }
}

#[test]
fn run_is_the_program_itself() {
    let world = World::new(Mode::Both);
    let stdin = world.file("stdin", "by the standard input");
    let program = world
        .accelerated("sh")
        .arg("-c")
        .arg("echo $$; cat")
        .stdin(&stdin)
        .spawn();
    let pid = program.pid();
    assert_eq!(
        program.wait(SHORT).success().text(),
        format!("{pid}\nby the standard input")
    );
}

#[test]
fn explain_names_sockets_and_reasons() {
    let world = World::new(Mode::Both);
    let (port, kernel_port) = (free_port(), free_port());
    let _server = part(world.server("python3"), "serve", port).spawn();
    let _kernel = part(world.plain("python3"), "serve", kernel_port).spawn();
    wait_listening(port);
    wait_listening(kernel_port);
    let explained = |port: u16| {
        let run = world.sidestep().args("run --explain -- python3");
        let output = part(run, "ask_once", port).run(SHORT).success();
        assert_eq!(output.text(), "answer hello\n");
        output.error_text()
    };
    let wired = explained(port);
    assert!(wired.contains("accelerated"), "{wired}");
    let handed = explained(kernel_port);
    assert!(
        handed.contains("kernel") && handed.contains("no accelerated program serves"),
        "{handed}"
    );
}

/// What cannot be accelerated runs all the same, and it is said.
#[test]
fn a_static_program_runs_and_it_is_said() {
    let world = World::new(Mode::Both);
    let compiler = Path::new("/usr/bin/cc");
    assert!(compiler.exists(), "Rust needs cc, so it is there");
    let source = world.file("p.c", "int main(void) { return 7; }");
    let program = world.dir().join("static");
    world
        .plain("cc")
        .args("-static -o")
        .arg(&program)
        .arg(source)
        .run(SHORT)
        .success();
    let output = world.sidestep().args("run --").arg(&program).run(SHORT);
    assert_eq!(output.status.code(), Some(7));
    assert!(
        output.error_text().contains("static"),
        "{}",
        output.error_text()
    );
}
