//! Programs over a network where there is no native XDP, or none at all: by packet sockets, and by generic XDP.

use std::time::Duration;

use sidestep_tests::{Mode, Network, Process, Program, World, in_modes, pattern, wait_until};

const SHORT: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;

/// A part of `networks.py`.
fn part(python: Program, part: &str, address: &str) -> Program {
    let words = format!("{part} {address} {PORT}");
    python.script("networks.py").args(&words)
}

fn assert_all_right(client: Program) {
    let said = client.run(Duration::from_secs(40)).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

/// An echo server on all addresses.
fn start_server(network: &Network) -> Process {
    let server = part(network.serving("python3"), "serve_epoll", "::").spawn();
    network.server.wait_listening(PORT);
    server
}

/// Both ways by one connection and by many, short and long; and a server of datagrams.
fn python_echo(mode: Mode) {
    let network = Network::by_packets(mode);
    let server = start_server(&network);
    let ends = [
        (network.server.address, 1472),
        (network.server.address6, 1452),
    ];
    for (address, payload) in ends {
        assert_all_right(part(network.asking("python3"), "ask", address));
        network.assert_mode(&server);
        let datagrams = part(network.asking("python3"), "ask_datagrams", address);
        assert_all_right(datagrams.arg(payload.to_string()));
        network.assert_udp_mode(&server);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", python_echo: both, server_only, client_only);

/// Values of all lengths, while the kernel answers pings and serves a program of its own.
fn redis(mode: Mode) {
    let network = Network::by_packets(mode);
    let address = network.server.address;
    let server = network
        .serving("redis-server")
        .args("--bind 0.0.0.0 --protected-mode no --appendonly no --save")
        .arg("")
        .spawn();
    network.server.wait_listening(6379);
    let plain = part(network.server.plain("python3"), "serve_blocking", address);
    let _plain = plain.spawn();
    network.server.wait_listening(PORT);
    let load = network.asking_long("redis-benchmark");
    let load = load.args(&format!("-h {address} -t set,get -c 20 -n 1000000"));
    let mut load = load.spawn();
    network.wait_used(&server, &mut load);
    let pinged = network
        .client
        .netns
        .run(&format!("ping -q -c 10 -i 0.05 -W 3 {address}"));
    assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    assert_all_right(part(network.client.plain("python3"), "ask", address));
    load.assert_running();
    drop(load);
    for size in [1, 1_448, 65_537, 10_000_000] {
        let value = pattern(u64::try_from(size).expect("small"), size);
        let cli = |words: &str| {
            let cli = network.asking("redis-cli");
            cli.args(&format!("-h {address} {words}"))
        };
        let file = network.client.file("value", &value);
        let set = cli("-x set key").stdin(&file).run(SHORT).success();
        assert_eq!(set.text(), "OK\n");
        let got = cli("--raw get key").run(SHORT).success().stdout;
        let got = got.strip_suffix(b"\n").unwrap_or(&got);
        assert!(got == value, "{} bytes of {size} came back", got.len());
    }
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, ping, redis-server and redis-benchmark", redis: both, server_only, client_only);

/// The kernel answers for itself again, and nothing drops frames.
fn agent_killed(mode: Mode) {
    if mode == Mode::Kernel {
        return;
    }
    let mut network = Network::by_packets(mode);
    let mut server = start_server(&network);
    let address = network.server.address;
    let busy = network.client.plain("python3").script("faults.py");
    let busy = busy.env("SIDES_HOST", address);
    let mut busy = busy.args(&format!("ask_for_ever {PORT}")).spawn();
    wait_until("a busy connection", SHORT, || {
        (busy.stdout().len() > 30).then_some(())
    });
    network.server.agent().kill();
    wait_until("the client to be told", Duration::from_secs(5), || {
        (!busy.is_running()).then_some(())
    });
    assert!(busy.stderr().contains("reset by peer"), "{}", busy.stderr());
    assert_all_right(part(network.client.plain("python3"), "ask", address));
    server.assert_running();
    let sent = |netns: &sidestep_tests::netns::Netns| netns.run("ip -json link show");
    // A new one begins where nothing is left of the old one.
    drop(server);
    wait_until("the cable to be gone", SHORT, || {
        (!sent(&network.server.netns).contains("sst")).then_some(())
    });
    network.server.start_agent_for("packet:near0");
    let server = start_server(&network);
    assert_all_right(part(network.client.plain("python3"), "ask", address));
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl and python3", agent_killed: server_only);

/// Programs of two users share an interface: what one holds of it tells it nothing of the other's. Its packet sockets can be
/// tied to its own far ends, and hear nothing of what others send, long segments included.
fn users_apart(link: &str) {
    let mut network = Network::new(Mode::Kernel);
    let enter = "--reuid=4711 --regid=4711 --clear-groups";
    let host = &mut network.server;
    let agent = host.sidestep();
    host.start_agent_by(agent, &format!("{link}:near0"), "--user 4711");
    let gifts = part(host.accelerated("python3"), "serve_gifts", host.address);
    let _gifts = gifts.spawn();
    host.wait_listening(PORT);
    let done = host.dir().join("done");
    let nosy = host
        .plain("setpriv")
        .args(enter)
        .arg(World::sidestep_path());
    let nosy = nosy.args("run -- /usr/bin/python3").script("nosy.py");
    let nosy = nosy.arg(host.address).args("7001").arg(&done);
    let mut nosy = nosy.spawn();
    wait_until("the other user's sockets", SHORT, || {
        nosy.assert_running();
        nosy.stdout().contains("tied").then_some(())
    });
    assert_eq!(host.ps().stacks.len(), 2, "two users' programs");
    let client = network.client.plain("python3");
    assert_all_right(part(client, "take_gifts", network.server.address).arg("3"));
    std::fs::write(&done, "").expect("a file");
    let said = nosy.wait(SHORT).success().text();
    // The namespace's own loopback, and one far end.
    assert!(!said.contains("held 0\n"), "{said}");
    assert!(said.ends_with("\ntied to 2\nheard 0\n"), "{said}");
}

#[test]
#[ignore = "needs root, ip, ethtool, sysctl, setpriv and python3"]
fn users_apart_by_packets() {
    users_apart("packet");
}

#[test]
#[ignore = "needs root, ip, ethtool, sysctl, setpriv and python3"]
fn users_apart_with_long_segments() {
    users_apart("xdp");
}

/// A kernel without AF_XDP: packet sockets do instead, which is said, unless something of XDP was insisted on.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl and python3"]
fn without_af_xdp() {
    let mut network = Network::new(Mode::Kernel);
    let bin = World::sidestep_path();
    let host = &mut network.server;
    let without = |host: &sidestep_tests::Host| {
        let python = host.plain("python3").script("without_af_xdp.py");
        python.arg(&bin)
    };
    let refused = without(host).args("agent --foreground --link xdp:near0,native");
    let refused = refused.run(SHORT);
    let said = refused.error_text();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("CONFIG_XDP_SOCKETS"), "{said}");
    assert!(
        without(host)
            .arg("doctor")
            .run(SHORT)
            .text()
            .contains("packet:")
    );

    host.start_agent_by(without(host), "xdp:near0", "");
    let why = "because this kernel has no AF_XDP";
    assert!(host.log().contains(why), "{}", host.log());
    let told = host.sidestep().arg("ps").run(SHORT).success().text();
    assert!(told.contains(why), "{told}");
    let server = part(host.accelerated("python3"), "serve_epoll", host.address).spawn();
    host.wait_listening(PORT);
    assert_all_right(part(
        network.client.plain("python3"),
        "ask",
        network.server.address,
    ));
    network.server.ps().assert_network_used(server.pid());
}

/// An interface that another XDP program has: refused by that name, served by the other.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl and python3"]
fn beside_another_xdp_program() {
    let mut network = Network::new(Mode::Kernel);
    let host = &mut network.server;
    // That of an agent, told to serve by XDP.
    let link = "agent --foreground --link xdp:near0";
    let mut other = host.sidestep().args(link);
    other = other.env("SIDESTEP_RUNTIME_DIR", host.dir().join("other"));
    let _other = other.spawn();
    wait_until("an XDP program", SHORT, || host.has_xdp().then_some(()));
    let refused = host.sidestep().args(link).run(SHORT);
    let said = refused.error_text();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another XDP program"), "{said}");
    assert!(said.contains("packet:NAME"), "{said}");

    host.start_agent_for("packet:near0");
    let server = part(host.accelerated("python3"), "serve_epoll", host.address).spawn();
    host.wait_listening(PORT);
    assert_all_right(part(
        network.client.plain("python3"),
        "ask",
        network.server.address,
    ));
    network.server.ps().assert_network_used(server.pid());
}

/// Told to, and by itself where the driver has no native XDP, as that of a macvlan.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl and python3"]
fn generic_xdp() {
    for (interface, link) in [("near0", "xdp:near0,generic"), ("mac0", "xdp:mac0")] {
        let mut network = Network::new(Mode::Kernel);
        let mut address = network.server.address;
        if interface == "mac0" {
            address = "10.9.5.1";
            let netns = &network.server.netns;
            // Only the interface that has an address answers for it.
            netns.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1");
            netns.run("ip link add mac0 link near0 type macvlan mode bridge");
            netns.run("ip addr add 10.9.5.1/24 dev mac0");
            netns.run("ip link set mac0 up");
            let other = &network.client.netns;
            other.run("ip addr add 10.9.5.2/24 dev far0");
            let native = network.server.sidestep();
            let native = native.args("agent --foreground --link xdp:mac0,native");
            let said = native.run(SHORT).error_text();
            assert!(said.contains("no native XDP"), "{said}");
        }
        let host = &mut network.server;
        host.start_agent_for(link);
        assert!(host.log().contains("generic XDP"), "{}", host.log());
        let is_chosen = host.log().contains("the driver has no native XDP");
        assert_eq!(is_chosen, interface == "mac0", "{}", host.log());
        let server = part(host.accelerated("python3"), "serve_epoll", address).spawn();
        host.wait_listening(PORT);
        assert_all_right(part(network.client.plain("python3"), "ask", address));
        network.server.ps().assert_network_used(server.pid());
    }
}
