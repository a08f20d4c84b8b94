//! Programs over a network: two hosts, each with an agent of its own or over the kernel.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use sidestep_tests::differential::compare_over;
use sidestep_tests::netns::Netns;
use sidestep_tests::{Host, Mode, Network, Process, Program, in_modes, pattern, wait_until};

const SHORT: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;

/// A part of `networks.py`, at the server's address.
fn part(network: &Network, python: Program, part: &str) -> Program {
    part_at(python, part, network.server.address)
}

fn part_at(python: Program, part: &str, address: &str) -> Program {
    let words = format!("{part} {address} {PORT}");
    python.script("networks.py").args(&words)
}

fn assert_all_right(client: Program) {
    let said = client.run(Duration::from_secs(40)).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

// redis

fn start_redis(network: &Network) -> Process {
    let server = network
        .serving("redis-server")
        .args("--bind 0.0.0.0 :: --protected-mode no --appendonly no --save")
        .arg("")
        .arg("--dir")
        .arg(network.server.dir())
        .spawn();
    network.server.wait_listening(6379);
    server
}

fn load_redis(network: &Network, options: &str) {
    let host = network.server.address;
    let benchmark = network
        .asking("redis-benchmark")
        .args(&format!("-h {host} --csv -t ping,set,get,lrange {options}"));
    let output = benchmark.run(Duration::from_secs(60)).success().text();
    for test in ["PING_INLINE", "SET", "GET", "LRANGE_600"] {
        let line = output
            .lines()
            .find(|line| line.starts_with(&format!("\"{test}")));
        let rate = line.and_then(|line| line.split("\",\"").nth(1));
        let rate: f64 = rate
            .and_then(|r| r.trim_end_matches('"').parse().ok())
            .unwrap_or_else(|| panic!("no {test} in\n{output}"));
        assert!(rate > 0.0, "{test}: {rate} requests/s");
    }
}

fn redis(mode: Mode) {
    let network = Network::new(mode);
    let server = start_redis(&network);
    load_redis(&network, "-c 1 -n 300");
    load_redis(&network, "-c 50 -n 2000");
    load_redis(&network, "-c 50 -P 16 -n 4000");
    for size in [1, 1_448, 65_537, 10_000_000] {
        let value = pattern(u64::try_from(size).expect("small"), size);
        let cli = |words: &str| {
            let host = network.server.address;
            network
                .asking("redis-cli")
                .args(&format!("-h {host} {words}"))
        };
        let file = network.client.file("value", &value);
        let set = cli("-x set key").stdin(&file).run(SHORT).success();
        assert_eq!(set.text(), "OK\n");
        let got = cli("--raw get key").run(SHORT).success().stdout;
        let got = got.strip_suffix(b"\n").unwrap_or(&got);
        let differ = got.iter().zip(&value).position(|(a, b)| a != b);
        assert!(
            got == value,
            "{} bytes of {size} came back; first difference at {differ:?}",
            got.len()
        );
    }
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, redis-server and redis-cli", redis: both, server_only, client_only);

// nginx

/// Files that nginx serves, with their sizes.
const FILES: [(&str, usize); 3] = [("empty", 0), ("kilobyte", 1024), ("large", 100_000_000)];

fn content(name: &str, bytes: usize) -> Vec<u8> {
    pattern(u64::from(name.as_bytes()[0]), bytes)
}

fn start_nginx(network: &Network, program: Program) -> Process {
    let dir = network.server.dir();
    let www = dir.join("www");
    fs::create_dir(&www).expect("a new directory");
    for (name, bytes) in FILES {
        fs::write(www.join(name), content(name, bytes)).expect("room for the file");
    }
    let place = dir.display();
    let config = format!(
        "user root; worker_processes 2; daemon off; error_log stderr; pid {place}/nginx.pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; sendfile on; tcp_nopush on;
            client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
            uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
            server {{ listen 80; listen [::]:80; root {place}/www; }}
        }}"
    );
    let config = network.server.file("nginx.conf", config);
    let master = program.arg("-p").arg(dir).arg("-c").arg(config).spawn();
    network.server.wait_listening(80);
    master
}

/// Fetches all files with one curl each, and compares every byte.
fn fetch_all(network: &Network, host: &str) {
    for (name, bytes) in FILES {
        let target = network.client.dir().join("fetched");
        let curl = network.asking("curl").args("-sS --fail --max-time 30 -o");
        curl.arg(&target)
            .arg(format!("http://{host}/{name}"))
            .run(Duration::from_secs(40))
            .success();
        let fetched = fs::read(&target).expect("curl wrote it");
        assert_eq!(fetched.len(), bytes, "{name}");
        assert!(fetched == content(name, bytes), "{name} differs");
    }
}

fn load_nginx(network: &Network, options: &str) {
    let url = format!("http://{}/kilobyte", network.server.address);
    let wrk = network.asking("wrk").args(options).arg(url);
    let output = wrk.run(SHORT).success().text();
    assert!(
        !output.contains("Socket errors") && !output.contains("Non-2xx"),
        "{output}"
    );
    let line = output.lines().find(|line| line.contains(" requests in "));
    let requests = line.and_then(|line| line.split_whitespace().next());
    let requests: u64 = requests
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no figure in\n{output}"));
    assert!(requests > 50, "{output}");
}

fn nginx(mode: Mode) {
    let network = Network::new(mode);
    let server = start_nginx(&network, network.serving("nginx"));
    fetch_all(&network, network.server.address);
    load_nginx(&network, "-t 1 -c 16 -d 1s");
    load_nginx(&network, "-t 1 -c 16 -d 1s -H Connection:close");
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, nginx, curl and wrk", nginx: both, server_only, client_only);

fn by_ipv6(mode: Mode) {
    let network = Network::new(mode);
    let server = start_nginx(&network, network.serving("nginx"));
    fetch_all(&network, &format!("[{}]", network.server.address6));
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, nginx and curl", by_ipv6: both, server_only, client_only);

fn long_frames(mode: Mode) {
    let network = Network::with_mtu(mode, 9000);
    let server = start_nginx(&network, network.serving("nginx"));
    fetch_all(&network, network.server.address);
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, nginx and curl", long_frames: both, server_only, client_only);

fn through_a_router(mode: Mode) {
    let network = Network::routed(mode);
    let server = start_nginx(&network, network.serving("nginx"));
    fetch_all(&network, network.server.address);
    fetch_all(&network, &format!("[{}]", network.server.address6));
    load_nginx(&network, "-t 1 -c 16 -d 1s");
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, nginx, curl and wrk", through_a_router: both, server_only, client_only);

// memcached

fn memcached(mode: Mode) {
    let network = Network::new(mode);
    let server = network
        .serving("memcached")
        .args("-l 0.0.0.0 -p 11211 -U 11211 -t 4 -m 128 -I 8m -u root")
        .spawn();
    network.server.wait_listening(11_211);
    network.server.wait_bound_udp(11_211);
    for part in ["values", "clients", "udp"] {
        let client = network
            .asking("python3")
            .env("SIDES_HOST", network.server.address)
            .script("memcached_client.py")
            .arg(part)
            .arg("11211");
        assert_all_right(client);
    }
    network.assert_mode(&server);
    network.assert_udp_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl and memcached", memcached: both, server_only, client_only);

// sockperf

fn ping_pong(mode: Mode, protocol: &str) {
    let network = Network::new(mode);
    let host = network.server.address;
    let server = network
        .serving("sockperf")
        .args(&format!("server -i {host} -p {PORT} {protocol}"))
        .spawn();
    if protocol == "--tcp" {
        network.server.wait_listening(PORT);
    } else {
        network.server.wait_bound_udp(PORT);
    }
    let mut client = network
        .asking_long("sockperf")
        .args(&format!(
            "ping-pong --mps 100000 -i {host} -p {PORT} -t 2 {protocol}"
        ))
        .spawn();
    network.wait_used(&server, &mut client);
    let output = client.wait(SHORT).success().text();
    let none = "dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0";
    assert!(output.contains(none), "{output}");
    let received = output
        .split("ReceivedMessages=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let received: u64 = received.and_then(|n| n.parse().ok()).unwrap_or_default();
    assert!(received > 500, "{output}");
}

fn sockperf_tcp(mode: Mode) {
    ping_pong(mode, "--tcp");
}
in_modes!("needs root, ip, ethtool, sysctl and sockperf", sockperf_tcp: both, server_only, client_only);

fn sockperf_udp(mode: Mode) {
    ping_pong(mode, "");
}
in_modes!("needs root, ip, ethtool, sysctl and sockperf", sockperf_udp: both, server_only, client_only);

/// Questions and answers to a group, of which both ends are members.
fn sockperf_multicast(mode: Mode) {
    const GROUP: &str = "239.7.7.9";
    let network = Network::new(mode);
    let at =
        |address: &str| format!("-i {GROUP} -p {PORT} --mc-rx-if {address} --mc-tx-if {address}");
    let server = network
        .serving("sockperf")
        .args(&format!("server {}", at(network.server.address)))
        .spawn();
    network.server.wait_bound_udp(PORT);
    let client = network.asking("sockperf").args(&format!(
        "ping-pong --mps 100000 -t 1 {}",
        at(network.client.address)
    ));
    let output = client.run(SHORT).success().text();
    let none = "dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0";
    assert!(output.contains(none), "{output}");
    if mode.server() {
        let ps = network.server.ps();
        for counter in ["udp_rx_datagrams", "udp_tx_datagrams"] {
            let count = ps.count(server.pid(), counter);
            assert!(count > 500, "{counter}: {count}");
        }
    }
    if mode.client() {
        let said = network.client.explanations();
        let joined = said.lines().find(|line| line.contains(" join "));
        assert!(
            joined.is_some_and(|line| line.ends_with(": accelerated")),
            "{said}"
        );
    }
}
in_modes!("needs root, ip, ethtool, sysctl and sockperf", sockperf_multicast: both, server_only);

// iperf3

fn iperf3(mode: Mode) {
    let network = Network::new(mode);
    let host = network.server.address;
    let server = network.serving("iperf3").args("-s --forceflush").spawn();
    for (done, options) in ["", "-R", "-P 4 --bidir"].into_iter().enumerate() {
        // It has one client at a time, and refuses the next while it has yet to read that the last one is done.
        wait_until("the server to be free", SHORT, || {
            let freed = server.stdout().matches("Server listening").count();
            (freed > done).then_some(())
        });
        let mut client = network
            .asking_long("iperf3")
            .args(&format!("-c {host} -t 2 -J {options}"))
            .spawn();
        network.wait_used(&server, &mut client);
        let report = client.wait(SHORT).success().text();
        let report: Value = serde_json::from_str(&report).expect("JSON from iperf3");
        let bytes = |sum: &str| report["end"][sum]["bytes"].as_u64().unwrap_or(0);
        let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
        let error = &report["error"];
        assert!(
            received > 5_000_000,
            "{options}: only {received} bytes: {error}"
        );
        assert!(received <= sent, "{received} bytes came of {sent}");
    }
}
in_modes!("needs root, ip, ethtool, sysctl and iperf3", iperf3: both, server_only, client_only);

// python

/// Whoever sends much at once still hears what comes meanwhile: no acknowledgement is lost, nor what follows the last one,
/// the peer's end and its next connection.
fn gifts(mode: Mode) {
    let network = Network::new(mode);
    let server = part(&network, network.serving("python3"), "serve_gifts").spawn();
    network.server.wait_listening(PORT);
    assert_all_right(part(&network, network.asking("python3"), "take_gifts").arg("20"));
    network.assert_mode(&server);
    if mode.server() {
        assert_eq!(network.server.ps().frames_lost(), 0);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", gifts: server_only);

/// The cable by which a server's long segments leave is taken away while they do: each segment leaves by itself then.
fn gifts_uncut(mode: Mode) {
    let network = Network::new(mode);
    let _server = part(&network, network.serving("python3"), "serve_gifts").spawn();
    network.server.wait_listening(PORT);
    let client = part(&network, network.asking("python3"), "take_gifts").arg("60");
    let client = client.spawn();
    wait_until("long segments", SHORT, || {
        (network.server.ps().segments_cut() > 100).then_some(())
    });
    let index = network.server.netns.ifindex("near0");
    network.server.netns.run(&format!("ip link del ssc{index}"));
    let cut = network.server.ps().segments_cut();
    let said = client.wait(Duration::from_secs(40)).success().text();
    assert!(said.starts_with("all right"), "{said}");
    let more = network.server.ps().segments_cut() - cut;
    assert!(more < 10, "{more} long segments left by no cable");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", gifts_uncut: server_only);

fn python_echo(mode: Mode) {
    for serving in ["serve_blocking", "serve_epoll", "serve_asyncio"] {
        let network = Network::new(mode);
        let server = part(&network, network.serving("python3"), serving).spawn();
        network.server.wait_listening(PORT);
        assert_all_right(part(&network, network.asking("python3"), "ask"));
        network.assert_mode(&server);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", python_echo: both, server_only, client_only);

/// Checksums are left to a virtual cable, which leaves them to whoever is at its other end; and to the kernel, where it may not.
fn checksums_left(mode: Mode) {
    let mut network = Network::new(Mode::Kernel);
    for (host, tx) in [(&network.server, "on"), (&network.client, "off")] {
        let words = format!("ethtool -K {} tx {tx}", host.interface);
        host.netns.run(&words);
    }
    network.serve_as(mode, |interface| {
        format!("xdp:{interface},txcsum=on,gso=off")
    });
    let server = part(&network, network.serving("python3"), "serve_epoll").spawn();
    network.server.wait_listening(PORT);
    assert_all_right(part(&network, network.asking("python3"), "ask"));
    assert_all_right(part(&network, network.asking("python3"), "ask_datagrams"));
    network.assert_mode(&server);
    if mode.server() {
        let left = network.server.ps().checksums_left();
        assert!(left > 1000, "{left} checksums were left to the cable");
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", checksums_left: both, server_only, client_only);

fn datagrams(mode: Mode) {
    for mtu in [1500, 9000] {
        let network = Network::with_mtu(mode, mtu);
        let server = part_at(network.serving("python3"), "serve_epoll", "::").spawn();
        network.server.wait_bound_udp(PORT);
        let ends = [(network.server.address, 28), (network.server.address6, 48)];
        for (address, headers) in ends {
            let client = part_at(network.asking("python3"), "ask_datagrams", address);
            assert_all_right(client.arg((mtu - headers).to_string()));
        }
        network.assert_udp_mode(&server);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", datagrams: both, server_only, client_only);

/// A thread that sleeps is woken by networks; one that does not is not, which would cost its peers time.
fn stay_awake(mode: Mode) {
    let network = Network::new(mode);
    let _server = part(&network, network.serving("python3"), "serve_blocking").spawn();
    network.server.wait_listening(PORT);
    let accelerated = mode == Mode::ClientOnly;
    let client = part(&network, network.asking("python3"), "stay_awake");
    assert_all_right(client.arg(accelerated.to_string()));
}
in_modes!("needs root, ip, ethtool, sysctl and python3", stay_awake: client_only);

/// Small messages, one call each; `SIDESTEP_BULK_MESSAGES` says how many.
fn many_small_messages(mode: Mode) {
    let count = std::env::var("SIDESTEP_BULK_MESSAGES").unwrap_or_else(|_| "200000".to_owned());
    let network = Network::new(mode);
    let server = part(&network, network.serving("python3"), "serve_blocking").spawn();
    network.server.wait_listening(PORT);
    let patience = 40 + count.parse::<u64>().expect("a number") / 10_000;
    let client = part(&network, network.asking("python3"), "bulk").arg(count);
    let said = client.run(Duration::from_secs(patience)).success().text();
    assert!(said.starts_with("all right"), "{said}");
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl and python3", many_small_messages: both, server_only, client_only);

// What lies upon an interface. Made while the agents serve it, which follow.

/// The two hosts, with the last byte of their addresses.
fn hosts(network: &Network) -> [(&Host, u8); 2] {
    [(&network.server, 1), (&network.client, 2)]
}

/// Macvlans `mac0` with addresses 10.9.7.1 and 10.9.7.2.
fn add_macvlans(network: &Network) {
    for (host, n) in hosts(network) {
        let (netns, lower) = (&host.netns, host.interface);
        netns.run(&format!(
            "ip link add link {lower} name mac0 type macvlan mode bridge"
        ));
        netns.run(&format!("ip addr add 10.9.7.{n}/24 dev mac0"));
        netns.run("ethtool -K mac0 tx off");
        netns.run("ip link set mac0 up");
    }
}

fn over_macvlans(mode: Mode) {
    let network = Network::new(mode);
    add_macvlans(&network);
    let server = part_at(network.serving("python3"), "serve_epoll", "0.0.0.0").spawn();
    network.server.wait_listening(PORT);
    assert_all_right(part_at(network.asking("python3"), "ask", "10.9.7.1").args("2 20"));
    let datagrams = part_at(network.asking("python3"), "ask_datagrams", "10.9.7.1");
    assert_all_right(datagrams);
    network.assert_mode(&server);
    network.assert_udp_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl and python3", over_macvlans: both, server_only, client_only);

fn over_bridges(mode: Mode) {
    let network = Network::new(mode);
    for (host, n) in hosts(&network) {
        let (netns, port) = (&host.netns, host.interface);
        netns.run("ip link add br0 type bridge");
        netns.run(&format!("ip addr flush dev {port}"));
        netns.run(&format!("ip link set {port} master br0"));
        netns.run(&format!("ip addr add 10.9.0.{n}/24 dev br0"));
        netns.run(&format!("ip addr add fd09::{n}/64 dev br0 nodad"));
        netns.run("ethtool -K br0 tx off");
        netns.run("ip link set br0 up");
    }
    // A kernel asks for no IPv6 neighbour before it has finished with its own address.
    let asking = &network.client.netns;
    let ping = format!("ping -6 -c 1 -W 1 {}", network.server.address6);
    wait_until("an answer over the bridges", SHORT, || {
        asking.try_run(&ping).status.success().then_some(())
    });
    let server = part_at(network.serving("python3"), "serve_epoll", "::").spawn();
    network.server.wait_listening(PORT);
    for host in [network.server.address, network.server.address6] {
        assert_all_right(part_at(network.asking("python3"), "ask", host).args("2 20"));
    }
    network.assert_mode(&server);
}
in_modes!("needs root, ip, ethtool, sysctl, ping and python3", over_bridges: both, server_only, client_only);

/// A connection goes on while hardware addresses and MTUs change under it.
fn interfaces_that_change(mode: Mode) {
    let network = Network::new(mode);
    add_macvlans(&network);
    let server = part_at(network.serving("python3"), "serve_blocking", "0.0.0.0").spawn();
    network.server.wait_listening(PORT);
    let client = part_at(network.asking_long("python3"), "bulk", "10.9.7.1");
    let mut client = client.arg("500000").spawn();
    network.wait_used(&server, &mut client);
    let pause = || std::thread::sleep(Duration::from_millis(100));
    for (change, mtu) in [1000, 1300, 1500].into_iter().enumerate() {
        for (host, n) in hosts(&network) {
            let mac = format!("02:00:00:00:0{n}:0{change}");
            host.netns.run(&format!("ip link set mac0 address {mac}"));
            host.netns
                .run(&format!("ip link set {} mtu {mtu}", host.interface));
            host.netns.run(&format!("ip link set mac0 mtu {mtu}"));
        }
        pause();
        // Else the others learn of it when their kernels ask again.
        for (host, n) in hosts(&network) {
            host.netns.run("ip neigh flush dev mac0");
            let other = format!("ping -c 1 -W 1 10.9.7.{}", 3 - n);
            wait_until("an answer", SHORT, || {
                host.netns.try_run(&other).status.success().then_some(())
            });
        }
        if !client.is_running() {
            assert!(change > 0, "it ended before the second change");
            break;
        }
        pause();
    }
    let said = client.wait(Duration::from_secs(60)).success().text();
    assert!(said.starts_with("all right"), "{said}");
}
in_modes!("needs root, ip, ethtool, sysctl, ping and python3", interfaces_that_change: both, server_only);

// Interfaces

/// Sockets that are bound to interfaces reach, and are reached by, whom they are over the kernel; those of the
/// accelerated interface by that.
fn devices(mode: Mode) {
    let network = Network::new(mode);
    let (here, there) = (&network.server, &network.client);
    let other = "ip link add other0 type veth peer name other1";
    there.netns.run(other);
    there.netns.run("ip link set other0 up");
    let serve = |python: Program| {
        let mut server = part(&network, python, "serve_devices").arg("near0").spawn();
        wait_until("the sockets", SHORT, || {
            server.assert_running();
            server.stdout().contains("ready").then_some(())
        });
        server
    };
    let ask = |python: Program, devices: &str| {
        let client = part(&network, python, "ask_devices").args(devices);
        client.run(SHORT).success().text()
    };
    let by_kernel = serve(here.plain("python3"));
    let far = ask(there.plain("python3"), "far0 lo other0");
    let near = ask(here.plain("python3"), "near0 lo");
    drop(by_kernel);
    let server = serve(network.serving("python3"));
    assert_eq!(ask(network.asking("python3"), "far0 lo other0"), far);
    assert_eq!(ask(network.serving("python3"), "near0 lo"), near);
    if mode == Mode::Kernel {
        return;
    }
    // By any interface and by the right one, to each of the two ports there.
    let ps = here.ps();
    assert_eq!(ps.count(server.pid(), "tcp_accepts"), 4, "{ps:#?}");
    assert_eq!(ps.count(server.pid(), "udp_rx_datagrams"), 6, "{ps:#?}");
    let explained = there.explanations();
    let why = "the socket is bound to an interface that is not accelerated";
    let left: Vec<&str> = explained
        .lines()
        .filter(|line| line.contains(" connect ") && line.contains(why))
        .collect();
    // TCP by `lo` and by the other cable; datagrams make a decision only where they are connected.
    assert_eq!(left.len(), 3, "{explained}");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", devices: both);

// Scripts whose every call must return what it returns over the kernel

/// Groups: every member gets its copy, whoever serves it.
fn groups(mode: Mode) {
    let network = Network::new(mode);
    compare_over(&network, "multicast");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", groups: both);

/// What is sent to groups, and to all hosts, by the kernel, with the reason.
fn reasons_of_groups(mode: Mode) {
    let network = Network::new(mode);
    let script = "import socket\n\
        for to, option in ('239.9.9.9', 1), ('239.9.9.9', 0), ('10.9.0.255', 1):\n    \
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n    \
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n    \
            s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, option)\n    \
            s.bind(('10.9.0.2', 0))\n    \
            s.connect((to, 9))\n";
    network
        .client
        .netns
        .run("ip route add 239.0.0.0/8 dev far0");
    let client = network.asking("python3").arg("-c").arg(script);
    client.run(SHORT).success();
    let explained = network.client.explanations();
    let said: Vec<&str> = explained
        .lines()
        .filter(|l| l.contains(" connect "))
        .collect();
    assert_eq!(said.len(), 3, "{explained}");
    assert!(said[0].contains("IP_MULTICAST_LOOP"), "{explained}");
    assert!(said[1].ends_with(": accelerated"), "{explained}");
    assert!(said[2].contains("broadcast"), "{explained}");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", reasons_of_groups: client_only);

/// Has a kernel answer everything that it has an ICMP error for.
fn report_all(netns: &Netns) {
    netns.run("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
}

/// What became of packets on their way, with IP_RECVERR.
fn error_queues(mode: Mode) {
    let network = Network::new(mode);
    report_all(&network.server.netns);
    compare_over(&network, "errqueue");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", error_queues: both);

/// The same with a router between, beyond which packets are shorter.
fn error_queues_of_routers(mode: Mode) {
    let network = Network::routed(mode);
    report_all(&network.server.netns);
    let router = network.router.as_ref().expect("a router");
    report_all(router);
    router.run("ip link set to-near0 mtu 1400");
    compare_over(&network, "errqueue");
}
in_modes!("needs root, ip, ethtool, sysctl and python3", error_queues_of_routers: client_only);

fn scripts(mode: Mode) {
    let network = Network::new(mode);
    for script in ["ancillary", "blocking", "closing", "timestamps"] {
        compare_over(&network, script);
    }
}
in_modes!("needs root, ip, ethtool, sysctl and python3", scripts: both);
