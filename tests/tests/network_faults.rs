//! What goes wrong on a network, and what goes on beside accelerated programs: killed agents and programs, links that
//! go, neighbours that do not answer, and the kernel's own traffic.

use std::time::Duration;

use rustix::process::Signal;
use sidestep_tests::{Mode, Network, Process, Program, World, in_modes, wait_until};

const SHORT: Duration = Duration::from_secs(20);
/// Within this the survivor must know that its peer is gone, and have said so.
const TOLD: Duration = Duration::from_secs(1);
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

/// An echo server on all addresses.
fn start_server(network: &Network) -> Process {
    let server = part(network.serving("python3"), "serve_epoll", "0.0.0.0", PORT).spawn();
    network.server.wait_listening(PORT);
    server
}

/// A client that talks to the server for ever, and does so by now.
fn start_busy(network: &Network) -> Process {
    let address = network.server.address;
    let client = faults(network.asking_long("python3"), "ask_for_ever", address);
    let mut client = client.spawn();
    wait_goes_on(&mut client);
    client
}

fn wait_goes_on(client: &mut Process) {
    let before = client.stdout().len();
    wait_until("the connection to go on", SHORT, || {
        client.assert_running();
        (client.stdout().len() > before + 30).then_some(())
    });
    assert!(!client.stdout().contains("WRONG DATA"));
}

/// One connection to the server, by a client over the kernel.
fn assert_answers(network: &Network) {
    let address = network.server.address;
    let said = faults(network.client.plain("python3"), "ask_once", address).run(SHORT);
    assert_eq!(said.success().text(), "answer hello\n");
}

fn assert_all_right(client: Process) {
    let said = client.wait(Duration::from_secs(40)).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

/// Connections end or go on, the kernel serves what comes next, and nothing is left on the interface.
fn agent_killed(mode: Mode) {
    if mode == Mode::Kernel {
        return;
    }
    let mut network = Network::new(mode);
    let mut server = start_server(&network);
    let mut client = start_busy(&network);
    // Another one that has nothing to say.
    let address = network.server.address;
    let idle = network.client.plain("python3");
    let mut idle = faults(idle, "hold", address).spawn();
    wait_until("an idle connection", SHORT, || {
        idle.stdout().contains("busy").then_some(())
    });
    let is_server = mode.server();
    let host = if is_server {
        &mut network.server
    } else {
        &mut network.client
    };
    host.agent().kill();
    wait_until("the kernel to have the interface", SHORT, || {
        (!host.has_xdp()).then_some(())
    });
    // The connection's frames are the kernel's now, which knows no such connection and says so to the other host.
    wait_until("the client to be told", Duration::from_secs(5), || {
        (!client.is_running()).then_some(())
    });
    let said = client.stderr();
    assert!(said.contains("reset by peer"), "{said}");
    wait_until("the idle client to be told", Duration::from_secs(5), || {
        (idle.is_running() != is_server).then_some(())
    });
    assert_answers(&network);
    server.assert_running();
}
in_modes!("needs root, ip, ethtool, sysctl and python3", agent_killed: both, server_only, client_only);

/// Kills one end of a busy connection; the other is told, and the port can be used again.
fn program_killed(mode: Mode) {
    let network = Network::new(mode);
    let address = network.server.address;
    for (victim, work) in [("server", "ask"), ("client", "ask"), ("client", "drain")] {
        let serving = faults(network.serving("python3"), "serve_one", address);
        let other = if work == "ask" { "echo" } else { "flood" };
        let server = serving.arg(other).spawn();
        network.server.wait_listening(PORT);
        let asking = faults(network.asking_long("python3"), "connect_one", address);
        let client = asking.arg(work).spawn();
        for end in [&server, &client] {
            wait_until("both ends to be busy", SHORT, || {
                end.stdout().contains("busy").then_some(())
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        let (mut killed, survivor) = if victim == "server" {
            (server, client)
        } else {
            (client, server)
        };
        killed.assert_running();
        killed.kill();
        wait_until("the survivor to be told", TOLD, || {
            survivor.stdout().contains("ended:").then_some(())
        });
        let said = survivor.wait(SHORT).success().text();
        assert!(!said.contains("WRONG DATA"), "{said}");
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", program_killed: both, server_only, client_only);

/// A program that is killed while it works on its tables, so that nobody can go on with its connections: a peer that
/// only reads is told all the same, by the kernel.
fn died_inside(mode: Mode) {
    let network = Network::new(mode);
    for address in [network.server.address, network.server.address6] {
        let mut server = faults(network.serving("python3"), "spin", address).spawn();
        network.server.wait_listening(PORT);
        let reader = faults(network.asking_long("python3"), "read_only", address).spawn();
        for end in [&server, &reader] {
            wait_until("a connection", SHORT, || {
                end.stdout().contains("busy").then_some(())
            });
        }
        if mode.server() {
            wait_until("the program to be at its tables", SHORT, || {
                server.signal(Signal::STOP);
                let is_inside = server.is_in_stack();
                if !is_inside {
                    server.signal(Signal::CONT);
                }
                is_inside.then_some(())
            });
        }
        server.kill();
        wait_until("the reader to be told", TOLD, || {
            reader.stdout().contains("ended:").then_some(())
        });
        let said = reader.wait(SHORT).success().text();
        if mode.server() {
            assert!(said.contains("ECONNRESET"), "{said}");
            let log = network.server.log();
            assert!(
                log.contains("died while it was changing the stack"),
                "{log}"
            );
        }
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", died_inside: server_only, both);

/// Frames with something wrong in them, of every layer, while a transfer goes on: dropped and counted.
fn malformed_frames(mode: Mode) {
    let network = Network::new(mode);
    let server = start_server(&network);
    let mut client = start_busy(&network);
    let address = network.server.address;
    let station = network.server.netns.station("near0");
    let station: String = station.iter().map(|byte| format!("{byte:02x}")).collect();
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/wire_parse");
    let noise = part(network.client.plain("python3"), "noise", address, PORT);
    let noise = noise.args(&format!("far0 {station} 20000 {corpus}"));
    assert!(noise.run(SHORT).success().text().starts_with("sent"));
    wait_goes_on(&mut client);
    assert_all_right(part(network.client.plain("python3"), "ask", address, PORT).spawn());
    if mode.server() {
        let ps = network.server.ps();
        ps.assert_network_used(server.pid());
        for (counter, least) in [("rx_malformed", 1000), ("rx_checksum_bad", 1000)] {
            let count = ps.count(server.pid(), counter);
            assert!(count > least, "{counter}: {count}");
        }
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", malformed_frames: both);

/// A cable that is pulled and put back, a smaller MTU, and addresses that come and go.
fn link_changes(mode: Mode) {
    let network = Network::new(mode);
    let server = start_server(&network);
    let mut client = start_busy(&network);
    network.server.netns.run("ip link set near0 down");
    std::thread::sleep(Duration::from_millis(500));
    network.server.netns.run("ip link set near0 up");
    wait_goes_on(&mut client);
    network.server.netns.run("ip link set near0 mtu 1300");
    network.client.netns.run("ip link set far0 mtu 1300");
    wait_goes_on(&mut client);
    network
        .server
        .netns
        .run("ip addr add 10.9.0.9/24 dev near0");
    let ask = |address| part(network.client.plain("python3"), "ask", address, PORT).spawn();
    assert_all_right(ask("10.9.0.9"));
    network
        .server
        .netns
        .run("ip addr del 10.9.0.9/24 dev near0");
    wait_goes_on(&mut client);
    if mode.server() {
        let ps = network.server.ps();
        let accepted = ps.count(server.pid(), "tcp_accepts");
        assert!(accepted >= 9, "{accepted} connections: {ps:#?}");
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", link_changes: both, server_only, client_only);

/// The interface itself goes: connections by it end, and the programs and the agent live on.
fn link_deleted(mode: Mode) {
    let mut network = Network::new(mode);
    let mut server = start_server(&network);
    let mut client = start_busy(&network);
    network.server.netns.run("ip link del near0");
    let is_over = |client: &mut Process| !client.is_running();
    wait_until("the client to end", SHORT, || {
        is_over(&mut client).then_some(())
    });
    server.assert_running();
    // The server still serves its own host.
    let local = faults(network.server.plain("python3"), "ask_once", "127.0.0.1");
    assert_eq!(local.run(SHORT).success().text(), "answer hello\n");
    for host in [&mut network.server, &mut network.client] {
        let has_agent = (host.interface == "near0" && mode.server())
            || (host.interface == "far0" && mode.client());
        if has_agent {
            wait_until("the agent to notice", SHORT, || {
                host.log().contains("is gone").then_some(())
            });
            host.agent().assert_running();
        }
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", link_deleted: both, server_only, client_only);

/// The interface goes, and one with its name comes: programs that run already are accelerated by it, whoever connects.
fn link_back(mode: Mode) {
    if !mode.server() {
        return;
    }
    let network = Network::new(mode);
    let server = start_server(&network);
    assert_answers(&network);
    for _ in 0..2 {
        network.server.netns.run("ip link del near0");
        wait_until("the agent to notice", SHORT, || {
            let gone = network.server.ps().interfaces.is_empty();
            let other = !mode.client() || network.client.ps().interfaces.is_empty();
            (gone && other).then_some(())
        });
        let far = network.client.netns.path();
        let netns = &network.server.netns;
        netns.run(&format!(
            "ip link add near0 type veth peer name far0 netns {far}"
        ));
        for (host, n) in [(&network.server, 1), (&network.client, 2)] {
            let (netns, name) = (&host.netns, host.interface);
            netns.run(&format!("ethtool -K {name} tx off"));
            netns.run(&format!("ip addr add 10.9.0.{n}/24 dev {name}"));
            netns.run(&format!("ip link set {name} up"));
        }
        wait_until("the interfaces to be served again", SHORT, || {
            let back = !network.server.ps().interfaces.is_empty();
            let other = !mode.client() || !network.client.ps().interfaces.is_empty();
            (back && other).then_some(())
        });
        let before = network.server.ps().count(server.pid(), "tcp_accepts");
        let ask = faults(
            network.asking("python3"),
            "ask_once",
            network.server.address,
        );
        assert_eq!(ask.run(SHORT).success().text(), "answer hello\n");
        let ps = network.server.ps();
        assert!(ps.count(server.pid(), "tcp_accepts") > before, "{ps:#?}");
        ps.assert_network_used(server.pid());
        if mode.client() {
            network.client.assert_accelerated();
        }
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", link_back: both, server_only);

/// What connections are told of a neighbour that answers no more, and when; one that waits goes on when it does again.
fn neighbour_lost(mode: Mode) {
    let network = Network::new(mode);
    let server = part(
        network.server.plain("python3"),
        "serve_epoll",
        "0.0.0.0",
        PORT,
    );
    let _server = server.spawn();
    network.server.wait_listening(PORT);
    for setting in [
        "base_reachable_time_ms=500",
        "delay_first_probe_time=1",
        "retrans_time_ms=100",
    ] {
        let set = format!("sysctl -qw net.ipv4.neigh.far0.{setting}");
        network.client.netns.run(&set);
    }
    let [gone, back] = ["gone", "back"].map(|word| network.client.dir().join(word));
    let start = |python: Program| {
        let part = part(python, "lose_neighbour", network.server.address, PORT);
        part.arg(&gone).arg(&back).spawn()
    };
    let clients = [
        start(network.client.plain("python3")),
        start(network.asking_long("python3")),
    ];
    let wait_said = |word: &str| {
        wait_until(word, SHORT, || {
            let mut clients = clients.iter();
            clients.all(|c| c.stdout().contains(word)).then_some(())
        });
    };
    wait_said("connected");
    let netns = &network.server.netns;
    let station = netns.station("near0").map(|byte| format!("{byte:02x}"));
    netns.run("ip link set near0 arp off address 02:00:00:00:77:77");
    std::fs::write(&gone, "").expect("a file");
    wait_said("over");
    let station = station.join(":");
    netns.run(&format!("ip link set near0 arp on address {station}"));
    std::fs::write(&back, "").expect("a file");
    let said = clients.map(|client| client.wait(SHORT).success().text());
    let [expected, seen] = said;
    let taken_apart = |said: &str| -> (Vec<String>, Vec<f64>) {
        let lines = said.lines().map(|line| {
            let (what, after) = line.split_once(" after ").unwrap_or((line, "0"));
            (what.to_owned(), after.parse::<f64>().expect("seconds"))
        });
        lines.unzip()
    };
    let ((expected_words, expected_times), (words, times)) =
        (taken_apart(&expected), taken_apart(&seen));
    assert_eq!(words, expected_words, "{expected}\n{seen}");
    for (after, expected_after) in times.iter().zip(&expected_times) {
        let apart = (after - expected_after).abs();
        assert!(apart < 3.0, "{expected}\n{seen}");
    }
    assert!(seen.contains("EHOSTUNREACH"), "{seen}");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", neighbour_lost: client_only);

/// What connect(2) says and when, of hosts and ports that are not there.
fn nobody_there(mode: Mode) {
    let network = Network::new(mode);
    let connect = |python: Program, address: &str| {
        let output = part(python, "connect", address, PORT).arg("-").run(SHORT);
        let said = output.success().text();
        let (result, seconds) = said.trim().split_once(' ').expect("two words");
        let seconds: f64 = seconds.parse().expect("a number");
        (result.to_owned(), seconds)
    };
    for address in ["10.9.0.77", "fd09::77", network.server.address] {
        let (expected, after) = connect(network.client.plain("python3"), address);
        // Forgotten, so that the next one has to ask anew.
        network.client.netns.run("ip neigh flush all");
        let (seen, seconds) = connect(network.asking("python3"), address);
        assert_eq!(seen, expected, "{address}");
        assert!(
            (seconds - after).abs() < 2.0,
            "{address}: {seen} after {seconds} s, the kernel: after {after} s"
        );
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", nobody_there: client_only);

/// A neighbour of IPv6 is found at once although the interface is so young that its link-local address is still looked
/// for duplicates of.
fn young_link(mode: Mode) {
    let network = Network::new(mode);
    let server = part(network.serving("python3"), "serve_blocking", "::", PORT);
    let _server = server.spawn();
    network.server.wait_listening(PORT);
    let netns = &network.client.netns;
    netns.run("sysctl -qw net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.far0.accept_dad=1");
    netns.run("sysctl -qw net.ipv6.conf.far0.dad_transmits=5");
    let connect = |python: Program| {
        netns.run("ip link set far0 down");
        netns.run("ip link set far0 up");
        netns.run("ip addr add fd09::2/64 dev far0 nodad");
        let address = network.server.address6;
        let said = part(python, "connect", address, PORT).arg("4").run(SHORT);
        let listed = netns.run("ip -6 addr show dev far0 tentative");
        assert!(listed.contains("fe80::"), "too late: {listed}");
        let said = said.success().text();
        said.split(' ').next().map(str::to_owned)
    };
    assert_eq!(
        connect(network.asking("python3")).as_deref(),
        Some("connected")
    );
    network.client.assert_accelerated();
}
in_modes!("needs root, ip, ethtool, sysctl and python3", young_link: client_only);

/// Two accelerated servers at once, and two clients.
fn further_programs(mode: Mode) {
    let network = Network::new(mode);
    let address = network.server.address;
    let servers = [PORT, PORT + 1].map(|port| {
        let server = part(network.serving("python3"), "serve_epoll", address, port).spawn();
        network.server.wait_listening(port);
        server
    });
    let clients = [PORT, PORT + 1, PORT, PORT + 1]
        .map(|port| part(network.asking_long("python3"), "ask", address, port).spawn());
    clients.into_iter().for_each(assert_all_right);
    for mut server in servers {
        server.assert_running();
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", further_programs: both, server_only, client_only);

/// While the accelerated server is under load the kernel answers pings, and serves a program of its own.
fn kernel_beside(mode: Mode) {
    let network = Network::new(mode);
    let address = network.server.address;
    let redis = network
        .serving("redis-server")
        .args("--bind 0.0.0.0 --protected-mode no --appendonly no --save")
        .arg("")
        .spawn();
    network.server.wait_listening(6379);
    let plain = part(
        network.server.plain("python3"),
        "serve_blocking",
        address,
        PORT,
    );
    let _plain = plain.spawn();
    network.server.wait_listening(PORT);
    let load = network.asking_long("redis-benchmark");
    let load = load.args(&format!("-h {address} -t set,get -c 50 -n 1000000"));
    let mut load = load.spawn();
    network.wait_used(&redis, &mut load);
    let pinged = network
        .client
        .netns
        .run(&format!("ping -q -c 30 -i 0.05 -W 3 {address}"));
    assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    assert_all_right(part(network.client.plain("python3"), "ask", address, PORT).spawn());
    load.assert_running();
    if mode.server() {
        network.server.ps().assert_network_used(redis.pid());
    }
}
in_modes!("needs root, ip, ethtool, sysctl, ping, redis-server and redis-benchmark", kernel_beside: both, server_only);

/// One socket that is served by a wire, by the network and by the kernel at once.
fn all_ways_at_once(mode: Mode) {
    if mode == Mode::Kernel {
        return;
    }
    let network = Network::new(mode);
    let server = start_server(&network);
    let (here, there) = (&network.server, &network.client);
    let ask = |python: Program, address| part(python, "ask", address, PORT).spawn();
    let clients = [
        ask(here.accelerated("python3"), "127.0.0.1"),
        ask(here.accelerated("python3"), here.address),
        ask(here.plain("python3"), "127.0.0.1"),
        ask(there.plain("python3"), here.address),
    ];
    clients.into_iter().for_each(assert_all_right);
    let ps = here.ps();
    ps.assert_network_used(server.pid());
    // Eight connections by each of those three; the fourth's are the kernel's.
    assert_eq!(ps.count(server.pid(), "tcp_accepts"), 24, "{ps:#?}");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", all_ways_at_once: server_only);

/// getaddrinfo(3) by a name server on the other host. The C library's own sockets are the kernel's.
fn names(mode: Mode) {
    let network = Network::new(mode);
    let address = network.server.address;
    let server = part(network.serving("python3"), "answer_names", address, 53).spawn();
    network.server.wait_bound_udp(53);
    let resolver = network
        .client
        .file("resolv.conf", format!("nameserver {address}\n"));
    // In a mount namespace of its own, which changes nothing for others.
    let mount = format!("mount --bind {} /etc/resolv.conf", resolver.display());
    let resolve = network
        .asking_long("unshare")
        .args("-m sh -c")
        .arg(format!("{mount} && exec \"$@\""))
        .args("sh python3");
    let resolve = part(resolve, "resolve", "host.example", 80);
    assert_eq!(
        resolve.run(SHORT).success().text(),
        "['10.9.8.7', 'fd09::87']\n"
    );
    if mode.server() {
        let ps = network.server.ps();
        assert!(ps.count(server.pid(), "udp_rx_datagrams") > 0, "{ps:#?}");
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", names: both, server_only, client_only);

/// Without privilege, or without memory that may be locked, it is said what is missing.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl and python3"]
fn without_privilege() {
    let network = Network::new(Mode::Kernel);
    let host = &network.server;
    let bin = World::sidestep_path();
    let agent = host.plain("setpriv").args("--bounding-set=-all").arg(&bin);
    let refused = agent.args("agent --foreground --link xdp:near0").run(SHORT);
    let said = refused.error_text();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("root"), "{said}");

    let agent = host.plain("prlimit").args("--memlock=65536 setpriv");
    let agent = agent.args("--bounding-set=-ipc_lock").arg(&bin);
    let mut agent = agent.args("agent --foreground --link xdp:near0").spawn();
    wait_until("the agent to serve", SHORT, || {
        agent.assert_running();
        let status = host.sidestep().args("agent status").run(SHORT);
        status.status.success().then_some(())
    });
    let address = host.address;
    let server = part(host.accelerated("python3"), "serve_epoll", address, PORT).spawn();
    host.wait_listening(PORT);
    assert_answers(&network);
    let said = agent.stderr();
    assert!(said.contains("CAP_IPC_LOCK"), "{said}");
    assert_eq!(host.ps().count(server.pid(), "tcp_accepts"), 0);
}
