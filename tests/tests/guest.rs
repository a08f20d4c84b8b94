//! What only a guest has that `cargo xtask test --vm` boots: VLANs, bonds, and network cards with drivers of their own.
//!
//! Each test is a server and a client on two hosts, in the modes in which the others over networks are tried. In the
//! guest the cards are in pairs, each on a segment of its own, and called by their drivers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sidestep_tests::netns::{Cable, Netns};
use sidestep_tests::{Deadline, Host, Mode, Network, Process, Program, in_modes};

/// An emulated processor takes its time.
const LONG: Duration = Duration::from_secs(120);
const PORT: u16 = 7000;
const ADDRESSES: [(&str, &str); 2] = [("10.9.5.1", "fd09:5::1"), ("10.9.5.2", "fd09:5::2")];

/// A part of `networks.py`, at an address.
fn part(python: Program, part: &str, address: &str, more: &str) -> Program {
    let words = format!("{part} {address} {PORT} {more}");
    python.script("networks.py").args(&words)
}

fn assert_all_right(client: Program) {
    let said = client.run(LONG).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

fn serve(network: &Network) -> Process {
    let server = part(network.serving("python3"), "serve_epoll", "::", "").spawn();
    network.server.wait_listening(PORT);
    server
}

/// TCP and UDP, by both families, and then what the mode promises.
fn try_all(network: &Network) {
    let server = serve(network);
    for address in [network.server.address, network.server.address6] {
        assert_all_right(part(network.asking("python3"), "ask", address, "2 20"));
        let datagrams = part(network.asking("python3"), "ask_datagrams", address, "1400");
        assert_all_right(datagrams);
    }
    network.assert_mode(&server);
    network.assert_udp_mode(&server);
}

/// Gives a link the addresses of host `n`, and switches it on.
fn address(netns: &Netns, link: &str, n: usize) {
    let (v4, v6) = ADDRESSES[n];
    netns.run(&format!("ip addr add {v4}/24 dev {link}"));
    netns.run(&format!("ip -6 addr add {v6}/64 dev {link} nodad"));
    netns.run(&format!("ip link set {link} up"));
}

/// Has a kernel do itself what a card would do for it.
fn no_offloads(netns: &Netns, link: &str) {
    netns.try_run(&format!("ethtool -K {link} tx off"));
    netns.try_run(&format!("ethtool -K {link} rxvlan off"));
    netns.try_run(&format!("ethtool -K {link} txvlan off"));
}

fn new_netns() -> Netns {
    let netns = Netns::new();
    netns.run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
    netns
}

// VLANs

/// Two hosts on a cable, with VLAN 5 on it and the addresses there.
fn with_vlan(mode: Mode) -> Network {
    with_vlan_and(mode, no_offloads)
}

/// The same, once something was done to each end.
fn with_vlan_and(mode: Mode, prepare: impl Fn(&Netns, &str)) -> Network {
    let Cable { near, far } = Cable::new(1, 1500);
    for (n, (netns, link)) in [(&near, "near0"), (&far, "far0")].into_iter().enumerate() {
        prepare(netns, link);
        netns.run(&format!("ip link add link {link} name tag5 type vlan id 5"));
        address(netns, "tag5", n);
    }
    Network::joined(
        mode,
        [(near, "near0", ADDRESSES[0]), (far, "far0", ADDRESSES[1])],
    )
}

fn vlan(mode: Mode) {
    let network = with_vlan(mode);
    try_all(&network);
    let _server = serve(&network);
    let untagged = part(network.asking("python3"), "ask", "10.9.0.1", "2 20");
    assert_all_right(untagged);
}
in_modes!("by hand, in a guest: cargo xtask test --vm", vlan: both, server_only, client_only);

/// By packet sockets, of ends that take tags out of frames and put them in, and leave checksums and long segments to others.
fn vlan_by_packets(mode: Mode) {
    let mut network = with_vlan_and(Mode::Kernel, |netns, link| {
        netns.run(&format!("ethtool -K {link} tx on tso on"));
    });
    network.serve_by_packets(mode);
    try_all(&network);
    let bulk = part(network.asking("python3"), "bulk", "10.9.5.1", "30000");
    let server = serve(&network);
    assert_all_right(bulk);
    network.assert_mode(&server);
}
in_modes!("by hand, in a guest: cargo xtask test --vm", vlan_by_packets: both, server_only, client_only);

/// The same address in two VLANs: each neighbour reaches it in its own, and the host each neighbour.
fn the_same_address_in_two_vlans(mode: Mode) {
    let network = with_vlan(mode);
    let server = serve(&network);
    for (host, n) in [(&network.server, 1), (&network.client, 2)] {
        let (netns, link) = (&host.netns, host.interface);
        netns.run(&format!("ip link add link {link} name tag6 type vlan id 6"));
        // The server has its address in both; the other VLAN's client comes from another network.
        let v4 = if n == 1 { "10.9.5.1/32" } else { "10.9.6.2/24" };
        netns.run(&format!("ip addr add {v4} dev tag6"));
        netns.run("ip link set tag6 up");
    }
    network
        .server
        .netns
        .run("ip route add 10.9.6.0/24 dev tag6");
    // In VLAN 6 by a source address, in VLAN 5 else.
    network
        .client
        .netns
        .run("ip route add 10.9.5.1/32 dev tag6 src 10.9.6.2 table 66");
    network
        .client
        .netns
        .run("ip rule add from 10.9.6.2 lookup 66");
    assert_all_right(part(network.asking("python3"), "ask", "10.9.5.1", "2 20"));
    let other = part(
        network.asking("python3"),
        "ask_from",
        "10.9.5.1",
        "10.9.6.2",
    );
    assert_all_right(other);
    network.assert_mode(&server);
}
in_modes!("by hand, in a guest: cargo xtask test --vm", the_same_address_in_two_vlans: both, server_only, client_only);

/// A VLAN that is deleted ends its connections; made again, it works again. One whose tags are hidden is the kernel's.
#[test]
#[ignore = "by hand, in a guest: cargo xtask test --vm"]
fn vlans_come_and_go() {
    let network = with_vlan(Mode::Both);
    let server = serve(&network);
    let bulk = part(
        network.asking_long("python3"),
        "bulk",
        "10.9.5.1",
        "4000000",
    );
    let mut client = bulk.spawn();
    network.wait_used(&server, &mut client);
    network.client.netns.run("ip link del tag5");
    let ended = client.wait(LONG);
    assert!(!ended.status.success(), "it had no network any more");
    let netns = &network.client.netns;
    netns.run("ip link add link far0 name tag5 type vlan id 5");
    address(netns, "tag5", 1);
    assert_all_right(part(network.asking("python3"), "ask", "10.9.5.1", "2 20"));
    network.client.assert_accelerated();
    netns.run("ethtool -K far0 rxvlan on");
    netns.run("ip link set tag5 down");
    address_again(netns);
    assert_all_right(part(
        network.asking_long("python3"),
        "ask",
        "10.9.5.1",
        "2 20",
    ));
    let log = network.client.log();
    assert!(log.contains("`ethtool -K far0 rxvlan off`"), "{log}");
    network.assert_mode(&server);
}

fn address_again(netns: &Netns) {
    netns.run("ip link set tag5 up");
    netns.try_run("ip -6 addr add fd09:5::2/64 dev tag5 nodad");
}

// Bonds

/// Two hosts on two cables, bonded at both ends; the addresses are on the bonds, or in a VLAN on them.
fn bonded(mode: Mode, bond: &str, vlan: bool) -> Network {
    bonded_by(mode, bond, vlan, &["p0", "q0"])
}

/// The same, where the client's bond has only those ports.
fn bonded_by(mode: Mode, bond: &str, vlan: bool, clients: &[&str]) -> Network {
    let ends = [new_netns(), new_netns()];
    for cable in ["p", "q"] {
        ends[0].run(&format!(
            "ip link add {cable}0 type veth peer name {cable}0 netns {}",
            ends[1].path()
        ));
    }
    for (n, netns) in ends.iter().enumerate() {
        netns.run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
        netns.run(&format!(
            "ip link add bond0 type bond miimon 20 mode {bond}"
        ));
        let ports = if n == 0 { &["p0", "q0"] } else { clients };
        for port in ports {
            no_offloads(netns, port);
            netns.run(&format!("ip link set {port} master bond0"));
        }
        netns.run("ip link set bond0 up");
        no_offloads(netns, "bond0");
        if vlan {
            netns.run("ip link add link bond0 name tag5 type vlan id 5");
            address(netns, "tag5", n);
        } else {
            address(netns, "bond0", n);
        }
    }
    let [server, client] = ends;
    Network::joined(
        mode,
        [
            (server, "bond0", ADDRESSES[0]),
            (client, "bond0", ADDRESSES[1]),
        ],
    )
}

/// A transfer goes on while the cables fail in turn.
fn fail_over(network: &Network) {
    let server = serve(network);
    let bulk = part(network.asking_long("python3"), "bulk", "10.9.5.1", "150000");
    let mut client = bulk.spawn();
    network.wait_used(&server, &mut client);
    let mut failures = 0;
    for port in ["p0", "q0"].into_iter().cycle().take(6) {
        if !client.is_running() {
            break;
        }
        network
            .client
            .netns
            .run(&format!("ip link set {port} down"));
        std::thread::sleep(Duration::from_millis(700));
        network.client.netns.run(&format!("ip link set {port} up"));
        std::thread::sleep(Duration::from_millis(700));
        failures += 1;
    }
    assert!(failures >= 2, "the client ended after {failures} failures");
    let said = client.wait(LONG).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

/// A port that was off when the programs began has its part when it comes on.
fn fail_over_to_a_late_port(mode: Mode) {
    let network = bonded(mode, "active-backup", true);
    let netns = &network.client.netns;
    netns.run("ip link set q0 down");
    let server = serve(&network);
    let bulk = part(network.asking_long("python3"), "bulk", "10.9.5.1", "150000");
    let mut client = bulk.spawn();
    network.wait_used(&server, &mut client);
    netns.run("ip link set q0 up");
    std::thread::sleep(Duration::from_millis(700));
    netns.run("ip link set p0 down");
    assert!(client.is_running(), "the client ended too soon");
    let said = client.wait(LONG).success().text();
    assert!(said.starts_with("all right"), "{said}");
}
in_modes!("by hand, in a guest: cargo xtask test --vm", fail_over_to_a_late_port: client_only);

/// A port that the bond gets while a transfer goes over another one has its part when that fails.
fn fail_over_to_a_port_that_was_added(mode: Mode) {
    let network = bonded_by(mode, "active-backup", true, &["p0"]);
    let server = serve(&network);
    let bulk = part(network.asking_long("python3"), "bulk", "10.9.5.1", "150000");
    let mut client = bulk.spawn();
    network.wait_used(&server, &mut client);
    let netns = &network.client.netns;
    no_offloads(netns, "q0");
    netns.run("ip link set q0 down");
    netns.run("ip link set q0 master bond0");
    netns.run("ip link set q0 up");
    sidestep_tests::wait_until("the port to be served", LONG, || {
        let log = network.client.log();
        log.contains("interface q0, of bond bond0").then_some(())
    });
    std::thread::sleep(Duration::from_millis(700));
    netns.run("ip link set p0 down");
    assert!(client.is_running(), "the client ended too soon");
    let said = client.wait(LONG).success().text();
    assert!(said.starts_with("all right"), "{said}");
}
in_modes!("by hand, in a guest: cargo xtask test --vm", fail_over_to_a_port_that_was_added: client_only);

fn bond_that_fails_over(mode: Mode) {
    let network = bonded(mode, "active-backup", false);
    try_all(&network);
}
in_modes!("by hand, in a guest: cargo xtask test --vm", bond_that_fails_over: both, server_only, client_only);

fn fail_over_in_a_transfer(mode: Mode) {
    fail_over(&bonded(mode, "active-backup", true));
}
in_modes!("by hand, in a guest: cargo xtask test --vm", fail_over_in_a_transfer: server_only, client_only);

fn link_aggregation(mode: Mode) {
    let network = bonded(mode, "802.3ad lacp_rate fast", false);
    // Both ends agree in their own time.
    for host in [&network.server, &network.client] {
        sidestep_tests::wait_until("two ports", LONG, || {
            let said = host.netns.run("ip -d -j link show master bond0");
            let agreed = said.matches("\"state\":\"ACTIVE\"").count();
            (agreed == 2).then_some(())
        });
    }
    std::thread::sleep(Duration::from_secs(3));
    try_all(&network);
}
in_modes!("by hand, in a guest: cargo xtask test --vm", link_aggregation: both, server_only, client_only);

// Drivers

/// The links whose driver has that name.
fn cards(driver: &str) -> Vec<String> {
    let all = fs::read_dir("/sys/class/net").expect("links");
    let named = all.filter_map(|link| link.ok()?.file_name().into_string().ok());
    let is_of = |link: &String| {
        let path = format!("/sys/class/net/{link}/device/driver");
        let target = fs::read_link(Path::new(&path));
        target.is_ok_and(|target| target.ends_with(driver))
    };
    let mut found: Vec<String> = named.filter(is_of).collect();
    found.sort();
    found
}

/// Two hosts with a card each, on one segment. The cards are given back as the namespaces end.
fn with_cards(mode: Mode, driver: &str) -> Option<Network> {
    with_cards_in(mode, driver, new_netns())
}

/// The same, where the client's is in that namespace.
fn with_cards_in(mode: Mode, driver: &str, of_client: Netns) -> Option<Network> {
    // Those of the test before come back in their own time.
    let patience = Deadline::after(Duration::from_secs(5));
    let mut found = cards(driver);
    while found.len() < 2 && !patience.passed() {
        std::thread::sleep(Duration::from_millis(100));
        found = cards(driver);
    }
    let [first, second, ..] = &found[..] else {
        println!("LEFT OUT: {driver}: this QEMU has no such card");
        return None;
    };
    let ends = [(first, "card1", new_netns()), (second, "card2", of_client)];
    for (n, (link, name, netns)) in ends.iter().enumerate() {
        let host = Command::new("ip")
            .args([
                "link",
                "set",
                link,
                "down",
                "netns",
                &netns.path(),
                "name",
                name,
            ])
            .status();
        assert!(host.expect("ip").success(), "moving {link}");
        no_offloads(netns, name);
        address(netns, name, n);
    }
    let [(.., server), (.., client)] = ends;
    Some(Network::joined(
        mode,
        [
            (server, "card1", ADDRESSES[0]),
            (client, "card2", ADDRESSES[1]),
        ],
    ))
}

/// All is tried, and the agents ran the driver as it can be run.
fn try_cards(mode: Mode, driver: &str, xdp: &str) {
    let Some(network) = with_cards(mode, driver) else {
        return;
    };
    try_all(&network);
    let ends = [
        (&network.server, mode.server()),
        (&network.client, mode.client()),
    ];
    for (host, _) in ends.into_iter().filter(|end| end.1) {
        let said = host.log();
        assert!(said.contains(&format!(": {xdp} XDP")), "{said}");
        let found = doctors(host);
        assert!(found.contains(&format!("{xdp} XDP")), "{found}");
    }
}

/// What the doctor says of a host's card.
fn doctors(host: &Host) -> String {
    let said = host.sidestep().args("doctor").run(LONG).text();
    let is_it = |line: &&str| line.contains(host.interface) && line.contains("MTU");
    let found = said.lines().find(is_it);
    found.unwrap_or_default().to_owned()
}

/// Programs drive those cards that can be driven, and leave the others to their interrupts.
fn busy_polling(driver: &str, can: bool) {
    let Some(mut network) = with_cards(Mode::Kernel, driver) else {
        return;
    };
    network.server.start_agent_for("xdp:card1,busypoll");
    let words = format!("serve_epoll :: {PORT}");
    let server = network.server.accelerated("python3").script("networks.py");
    let server = server.args(&words).spawn();
    network.server.wait_listening(PORT);
    let ask = || {
        let client = network.client.plain("python3");
        assert_all_right(part(client, "ask", network.server.address, "2 20"));
    };
    ask();
    let said = || {
        let said = network.server.sidestep().args("ps --json").run(LONG);
        said.success().text()
    };
    if can {
        sidestep_tests::wait_until("programs to drive the card", LONG, || {
            said().contains("\"busy_poll\": true").then_some(())
        });
    }
    ask();
    let found = said();
    assert_eq!(found.contains("\"busy_poll\": true"), can, "{found}");
    network.server.ps().assert_network_used(server.pid());
}

#[test]
#[ignore = "by hand, in a guest: cargo xtask test --vm"]
fn driven_by_programs() {
    busy_polling("virtio_net", true);
    busy_polling("e1000e", false);
    // Its driver in Linux 6.12 does not say what would have to be driven.
    busy_polling("igb", false);
}

/// Two programs with a queue of a card each choose ports whose answers come by their own queue, and not by the cable.
#[test]
#[ignore = "by hand, in a guest: cargo xtask test --vm"]
fn answers_come_by_ones_own_queue() {
    // Its driver tells of no key but the host's, which only the first namespace has.
    let Some(mut network) = with_cards_in(Mode::Kernel, "igb", Netns::here()) else {
        return;
    };
    network.client.start_agent_for("xdp:card2,queues=1");
    let _server = serve(&network);
    let programs = [1, 2].map(|n| {
        let done = network.client.dir().join(format!("done{n}"));
        let words = format!("100 {}", done.display());
        let program = network.client.accelerated("python3");
        let program = part(program, "keep", network.server.address, &words).spawn();
        sidestep_tests::wait_until("connections", LONG, || done.exists().then_some(()));
        program
    });
    let ps = network.client.ps();
    for program in &programs {
        let stack = ps.stacks_of(program.pid()).next().expect("a stack");
        let frames = |which: &str| -> u64 {
            let wires = stack.wires.iter();
            let named = wires.filter(|w| w.network.as_ref().is_some_and(|n| n.contains(which)));
            named.map(|wire| wire.rx_frames).sum()
        };
        let (own, cable) = (frames("queue"), frames("cable"));
        println!("own queue: {own} frames, cable: {cable}");
        assert!(own > 500 && own >= 19 * cable, "{own}, {cable} by a cable");
    }
    drop(programs);
    network.client.netns.run("ip addr flush dev card2");
}

fn virtio_net(mode: Mode) {
    try_cards(mode, "virtio_net", "native");
}
in_modes!("by hand, in a guest: cargo xtask test --vm", virtio_net: both, server_only, client_only);

fn e1000e(mode: Mode) {
    try_cards(mode, "e1000e", "generic");
}
in_modes!("by hand, in a guest: cargo xtask test --vm", e1000e: both, server_only, client_only);

fn igb(mode: Mode) {
    try_cards(mode, "igb", "native");
}
in_modes!("by hand, in a guest: cargo xtask test --vm", igb: both, server_only, client_only);
