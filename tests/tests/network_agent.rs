//! Agents of interfaces that end and begin again: what becomes of programs that were accelerated by them.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidestep_tests::{Mode, Network, Process, Program, Ps, World, in_modes, wait_until};

const SHORT: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;

/// A part of `networks.py`.
fn part(python: Program, part: &str, address: &str, port: u16) -> Program {
    let words = format!("{part} {address} {port}");
    python.script("networks.py").args(&words)
}

/// A part of `faults.py`.
fn faults(python: Program, part: &str, address: &str) -> Program {
    python
        .script("faults.py")
        .env("SIDES_HOST", address)
        .args(&format!("{part} {PORT}"))
}

fn wait_goes_on(client: &mut Process) {
    let before = client.stdout().len();
    wait_until("the connection to go on", SHORT, || {
        client.assert_running();
        (client.stdout().len() > before + 30).then_some(())
    });
    assert!(!client.stdout().contains("WRONG DATA"));
}

/// Echo servers of TCP and UDP on all addresses.
fn start_server(network: &Network) -> Process {
    let server = part(network.serving("python3"), "serve_epoll", "0.0.0.0", PORT).spawn();
    network.server.wait_listening(PORT);
    server
}

/// Connections by a client over the kernel, until this server's stack accepts them.
fn wait_accelerated(network: &Network, server: &Process) {
    wait_until("the running server to be accelerated again", SHORT, || {
        let ask = part(
            network.client.plain("python3"),
            "ask",
            network.server.address,
            PORT,
        );
        assert!(ask.run(SHORT).success().text().starts_with("all right"));
        let ps = network.server.ps();
        let known = ps.stacks_of(server.pid()).next().is_some();
        (known && ps.is_network_used(server.pid())).then_some(())
    });
}

/// What listened goes on: over the kernel while there is no agent, then accelerated. What the kernel accepted meanwhile
/// goes on over the kernel.
fn agent_again(mode: Mode) {
    if mode == Mode::Kernel {
        return;
    }
    let mut network = Network::new(mode);
    let server = start_server(&network);
    let address = network.server.address;
    let forever = |network: &Network| {
        let client = network.client.plain("python3");
        faults(client, "ask_for_ever", address).spawn()
    };
    let mut reset = forever(&network);
    wait_goes_on(&mut reset);
    for turn in 0..2 {
        network.server.agent().kill();
        wait_until("the kernel to have the interface", SHORT, || {
            (!network.server.has_xdp()).then_some(())
        });
        wait_until("the client to be told", SHORT, || {
            (turn > 0 || !reset.is_running()).then_some(())
        });
        let mut by_kernel = forever(&network);
        wait_goes_on(&mut by_kernel);
        network.server.start_agent();
        wait_accelerated(&network, &server);
        wait_goes_on(&mut by_kernel);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", agent_again: server_only);

/// An agent that nobody looks after is started again by root's programs, with its interfaces; one that was told to stop
/// is not, and programs say so.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl, setpriv and python3"]
fn agent_by_need() {
    let network = Network::new(Mode::Kernel);
    let host = &network.server;
    let run = || host.sidestep().args("run --link xdp:near0 -- true");
    run().run(SHORT).success();
    let server = host.accelerated("python3");
    let server = part(server, "serve_epoll", "0.0.0.0", PORT).spawn();
    host.wait_listening(PORT);
    wait_accelerated(&network, &server);
    let killed = host.ps().agent_pid();
    let pid = Pid::from_raw(killed.cast_signed()).expect("not zero");
    kill_process(pid, Signal::KILL).expect("the agent is ours");
    wait_until("another agent", SHORT, || {
        // It may have asked the one that was about to end.
        let said = host.sidestep().args("ps --json").run(SHORT);
        let ps = said.status.success().then(|| Ps::parse(&said.text()))?;
        ps.agent.filter(|agent| agent.pid != killed).map(|_| ())
    });
    wait_accelerated(&network, &server);
    host.sidestep().args("agent stop").run(SHORT).success();
    // Nor can another user start what serves an interface.
    let bin = World::sidestep_path();
    let user = host.plain("setpriv").args("--reuid=65534 --clear-groups");
    for program in [host.sidestep(), user.arg(bin)] {
        let ran = program.args("run -- true").run(SHORT).success();
        let said = ran.error_text();
        assert!(said.contains("does not run"), "{said}");
        assert!(said.contains("sidestep agent --link"), "{said}");
    }
    assert!(!host.has_xdp());
}

/// An agent of another build is said, and can be ended.
#[test]
#[ignore = "needs python3"]
fn agent_of_another_build() {
    let world = World::new(Mode::Both);
    world.accelerated("true").run(SHORT).success();
    world.sidestep().args("agent stop").run(SHORT).success();
    let place = world.runtime_dir().join("agent.sock");
    wait_until("the agent to end", SHORT, || {
        (!place.exists()).then_some(())
    });
    // It refuses whoever introduces himself for being of another version: the second reply's first reason.
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.bind(sys.argv[1]); s.listen()\n\
        while True:\n c, _ = s.accept(); c.recv(4096); c.send(bytes([1, 0])); c.close()";
    let other = world.plain("python3").arg("-c").arg(script).arg(&place);
    let mut other = other.spawn();
    wait_until("it to listen", SHORT, || place.exists().then_some(()));
    let ran = world.accelerated("true").run(SHORT).success();
    let said = ran.error_text();
    assert!(said.contains("of another build"), "{said}");
    assert!(said.contains("`sidestep agent stop`"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let stopped = world.sidestep().args("agent stop").run(SHORT).success();
    assert!(stopped.text().contains("ends"), "{}", stopped.text());
    wait_until("it to end", SHORT, || (!other.is_running()).then_some(()));
    let ran = world.accelerated("true").run(SHORT).success();
    assert_eq!(ran.error_text(), "");
}

/// The doctor finds a virtual cable whose other end leaves checksums unfinished, and the command that it says mends it.
#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn checksums_left_unfinished() {
    let network = Network::new(Mode::Kernel);
    let host = &network.server;
    host.netns.run("ip link add cable0 type veth peer cable1");
    host.netns.run("ip link set cable0 up");
    host.netns.run("ip link set cable1 up");
    host.netns.run("ethtool -K cable0 tx off");
    let check = || {
        let said = host.sidestep().args("doctor --json").run(SHORT).text();
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let cards = said["cards"].as_array().cloned().unwrap_or_default();
        let found = cards.into_iter().find(|card| card["name"] == "cable0");
        found.unwrap_or_else(|| panic!("no cable0 in {said}"))
    };
    let before = check();
    assert_eq!(before["verdict"], "limited", "{before}");
    let found = before["found"].as_str().unwrap_or_default();
    assert!(found.contains("native XDP"), "{found}");
    let change = before["change"].as_str().expect("a command");
    host.netns.run(change);
    assert_eq!(check()["verdict"], "ok");
}
