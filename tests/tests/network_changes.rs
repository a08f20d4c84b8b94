//! Connections over an interface while it is changed under them: its addresses, its name, its queues, its place.

use std::time::Duration;

use sidestep_tests::netns::Netns;
use sidestep_tests::{Host, Mode, Network, Process, Program, in_modes, wait_until};

const SHORT: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;

/// A part of `networks.py`, at the server's address.
fn part(network: &Network, python: Program, part: &str) -> Program {
    let words = format!("{part} {} {PORT}", network.server.address);
    python.script("networks.py").args(&words)
}

/// An echo server on all addresses.
fn start_server(network: &Network) -> Process {
    let words = format!("serve_epoll 0.0.0.0 {PORT}");
    let server = network
        .serving("python3")
        .script("networks.py")
        .args(&words);
    let server = server.spawn();
    network.server.wait_listening(PORT);
    server
}

/// Clients that talk to the server for ever, and do so by now.
fn start_busy(network: &Network, count: usize) -> Vec<Process> {
    let client = || {
        let client = network.asking_long("python3").script("faults.py");
        let client = client.env("SIDES_HOST", network.server.address);
        client.args(&format!("ask_for_ever {PORT}")).spawn()
    };
    let mut clients: Vec<Process> = (0..count).map(|_| client()).collect();
    clients.iter_mut().for_each(wait_goes_on);
    clients
}

fn wait_goes_on(client: &mut Process) {
    let before = client.stdout().len();
    wait_until("the connection to go on", SHORT, || {
        client.assert_running();
        (client.stdout().len() > before + 30).then_some(())
    });
    assert!(!client.stdout().contains("WRONG DATA"));
}

fn assert_answers(network: &Network) {
    let said = part(network, network.asking_long("python3"), "ask").run(SHORT);
    assert!(said.success().text().starts_with("all right"));
}

fn hosts(network: &Network) -> [(&Host, u8); 2] {
    [(&network.server, 1), (&network.client, 2)]
}

/// The interface's own hardware address; its name, while it is on.
fn station_and_name(mode: Mode) {
    let network = Network::new(mode);
    let server = start_server(&network);
    let mut clients = start_busy(&network, 1);
    for (host, n) in hosts(&network) {
        let netns = &host.netns;
        netns.run(&format!(
            "ip link set {} address 02:00:00:00:09:0{n}",
            host.interface
        ));
    }
    // Else each learns of it when its kernel asks again.
    for (host, n) in hosts(&network) {
        host.netns.run("ip neigh flush all");
        let other = format!("ping -c 1 -W 1 10.9.0.{}", 3 - n);
        wait_until("an answer", SHORT, || {
            host.netns.try_run(&other).status.success().then_some(())
        });
    }
    clients.iter_mut().for_each(wait_goes_on);
    assert_answers(&network);
    for (host, _) in hosts(&network) {
        let (netns, name) = (&host.netns, host.interface);
        netns.run(&format!("ip link set {name} name other0"));
    }
    clients.iter_mut().for_each(wait_goes_on);
    assert_answers(&network);
    if mode.server() {
        let said = network.server.sidestep().args("ps").run(SHORT).success();
        assert!(said.text().contains("other0"), "{}", said.text());
        network.server.ps().assert_network_used(server.pid());
    }
}
in_modes!("needs root, ip, ethtool, sysctl, ping and python3", station_and_name: both);

/// The address of a connection is taken away, and given back.
fn address_taken_away(mode: Mode) {
    let network = Network::new(mode);
    let _server = start_server(&network);
    let mut clients = start_busy(&network, 1);
    for (host, n) in hosts(&network) {
        let (netns, name) = (&host.netns, host.interface);
        netns.run(&format!("ip addr del 10.9.0.{n}/24 dev {name}"));
        std::thread::sleep(Duration::from_millis(300));
        netns.run(&format!("ip addr add 10.9.0.{n}/24 dev {name}"));
        clients.iter_mut().for_each(wait_goes_on);
    }
    assert_answers(&network);
}
in_modes!("needs root, ip, ethtool, sysctl and python3", address_taken_away: both);

/// The interface goes into another namespace: its connections end, and programs and agent live on.
fn moved_away(mode: Mode) {
    let mut network = Network::new(mode);
    let mut server = start_server(&network);
    let mut clients = start_busy(&network, 1);
    let elsewhere = Netns::new();
    let path = elsewhere.path();
    network
        .server
        .netns
        .run(&format!("ip link set near0 netns {path}"));
    wait_until("the agent to notice", SHORT, || {
        network.server.log().contains("is gone").then_some(())
    });
    network.server.agent().assert_running();
    server.assert_running();
    // The server's end ends at once; the client's kernel has nobody to ask.
    let is_open = || {
        let ps = network.server.ps();
        let mut stacks = ps.stacks_of(server.pid());
        stacks.any(|stack| stack.sockets.iter().any(|s| s.state == "ESTAB"))
    };
    wait_until("the server's connection to end", SHORT, || {
        (!is_open()).then_some(())
    });
    clients.iter_mut().for_each(Process::kill);
}
in_modes!("needs root, ip, ethtool, sysctl and python3", moved_away: server_only);

/// The interface gets more queues than there were. Fewer it gets only when nobody has sockets on those: the kernel sees to
/// that.
fn more_queues(mode: Mode) {
    let network = Network::with_queues(mode, 1, 4);
    let server = start_server(&network);
    let mut clients = start_busy(&network, 6);
    // A veth that is on does not run its XDP program on queues that it gets; and it must be able to receive on as many
    // as the other end sends on.
    let changes = [
        "ip link set LINK down",
        "ethtool -L LINK rx 4",
        "ethtool -L LINK tx 4",
    ];
    for change in changes.into_iter().chain(["ip link set LINK up"]) {
        for (host, _) in hosts(&network) {
            let change = change.replace("LINK", host.interface);
            host.netns.run(&change);
        }
    }
    clients.iter_mut().for_each(wait_goes_on);
    assert_answers(&network);
    if mode.server() {
        network.server.ps().assert_network_used(server.pid());
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", more_queues: server_only, client_only);
