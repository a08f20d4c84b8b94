//! redis-server with redis-cli and redis-benchmark.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sidestep_tests::{
    Mode, Process, World, free_port, in_modes, pattern, wait_listening, wait_until,
};

const SHORT: Duration = Duration::from_secs(20);
/// The default tests of redis-benchmark 7.0, by the names in its CSV output.
const DEFAULT_TESTS: [&str; 20] = [
    "PING_INLINE",
    "PING_MBULK",
    "SET",
    "GET",
    "INCR",
    "LPUSH",
    "RPUSH",
    "LPOP",
    "RPOP",
    "SADD",
    "HSET",
    "SPOP",
    "ZADD",
    "ZPOPMIN",
    "LPUSH (needed to benchmark LRANGE)",
    "LRANGE_100 (first 100 elements)",
    "LRANGE_300 (first 300 elements)",
    "LRANGE_500 (first 500 elements)",
    "LRANGE_600 (first 600 elements)",
    "MSET (10 keys)",
];

/// A redis server of the test's own, and how to talk to it.
struct Redis<'w> {
    world: &'w World,
    server: Process,
    port: u16,
}

impl<'w> Redis<'w> {
    fn start(world: &'w World) -> Self {
        Self::start_with(world, "")
    }

    fn start_with(world: &'w World, options: &str) -> Self {
        let port = free_port();
        let server = world
            .server("redis-server")
            .args(&format!(
                "--port {port} --bind 127.0.0.1 ::1 --appendonly no --daemonize no"
            ))
            .args("--enable-debug-command yes --save")
            .arg("")
            .arg("--dir")
            .arg(world.dir())
            .args(options)
            .spawn();
        wait_listening(port);
        Self {
            world,
            server,
            port,
        }
    }

    /// Runs a command with redis-cli, accelerated if the mode says so, and returns its answer.
    fn ask(&self, command: &str) -> String {
        let cli = self
            .world
            .explained_client("redis-cli")
            .args(&format!("-e -p {} --raw", self.port))
            .args(command);
        cli.run(SHORT).success().text().trim_end().to_owned()
    }

    /// The same over the kernel, whatever the mode.
    fn ask_by_kernel(&self, command: &str) -> String {
        let cli = self
            .world
            .plain("redis-cli")
            .args(&format!("-e -p {} --raw", self.port))
            .args(command);
        cli.run(SHORT).success().text().trim_end().to_owned()
    }

    /// Runs redis-benchmark with these options; panics unless each of its default tests had a result.
    fn all_default_tests(&self, options: &str) {
        let benchmark = self
            .world
            .explained_client("redis-benchmark")
            .args(&format!("-p {} --csv {options}", self.port));
        let output = benchmark.run(Duration::from_secs(60)).success().text();
        for test in DEFAULT_TESTS {
            let wanted = format!("\"{test}\",");
            let line = output.lines().find(|line| line.starts_with(&wanted));
            let rate = line.and_then(|line| line[wanted.len()..].split('"').nth(1));
            let rate: f64 = rate
                .and_then(|r| r.parse().ok())
                .unwrap_or_else(|| panic!("no {test} in\n{output}"));
            assert!(rate > 0.0, "{test}: {rate} requests/s");
        }
    }

    /// Asserts that the agent's report of the server says what the mode says; the clients may be gone.
    ///
    /// Redis counts its connections itself: with both ends accelerated all but the one that asks came by a wire.
    fn assert_mode(&self) {
        let (mode, pid) = (self.world.mode(), self.server.pid());
        let ps = self.world.ps();
        ps.assert_server(mode, pid);
        self.world.assert_reasons_given();
        if mode == Mode::Both {
            let stats = self.ask_by_kernel("info stats");
            let received = stats
                .lines()
                .find_map(|line| line.strip_prefix("total_connections_received:"));
            let received: u64 = received
                .and_then(|n| n.trim().parse().ok())
                .expect("a figure from redis");
            assert_eq!(
                ps.count(pid, "tcp_accepts") + 1,
                received,
                "connections by wires, and all"
            );
        }
    }
}

fn one_connection(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    redis.all_default_tests("-c 1 -n 500");
    redis.assert_mode();
}
in_modes!("needs redis-server", one_connection: both, server_only, client_only);

fn fifty_connections(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    redis.all_default_tests("-c 50 -n 4000");
    redis.assert_mode();
}
in_modes!("needs redis-server", fifty_connections: both, server_only, client_only);

fn pipelined(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    redis.all_default_tests("-c 50 -P 16 -n 8000");
    redis.assert_mode();
}
in_modes!("needs redis-server", pipelined: both, server_only, client_only);

/// Threads of redis itself read and write the connections, and the benchmark has threads of its own.
fn threads_on_both_sides(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start_with(&world, "--io-threads 3 --io-threads-do-reads yes");
    redis.all_default_tests("-c 50 -P 16 -n 4000 --threads 2");
    redis.assert_mode();
}
in_modes!("needs redis-server", threads_on_both_sides: both, server_only, client_only);

fn values_come_back_intact(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    for size in [
        1, 2, 100, 1_448, 16_384, 65_536, 65_537, 1_000_000, 10_000_000,
    ] {
        let value = pattern(u64::try_from(size).expect("small"), size);
        let file = world.file("value", &value);
        let set = world
            .explained_client("redis-cli")
            .args(&format!("-p {} -x set key", redis.port))
            .stdin(&file);
        assert_eq!(set.run(SHORT).success().text(), "OK\n");
        let get = world
            .explained_client("redis-cli")
            .args(&format!("-p {} --raw get key", redis.port))
            .run(SHORT)
            .success();
        assert_same(&get.stdout, &value, "redis-cli");
        // And by the kernel, which a client that is not accelerated goes by.
        let get = world
            .plain("redis-cli")
            .args(&format!("-p {} --raw get key", redis.port))
            .run(SHORT)
            .success();
        assert_same(&get.stdout, &value, "redis-cli over the kernel");
    }
    world.assert_reasons_given();
    // The same server was reached both ways, so that only the wire's part can be asserted here.
    if mode == Mode::Both {
        world.ps().assert_wire_used(redis.server.pid());
    }
}
in_modes!("needs redis-server", values_come_back_intact: both, server_only, client_only);

fn assert_same(printed: &[u8], value: &[u8], by: &str) {
    let printed = printed.strip_suffix(b"\n").unwrap_or(printed);
    let differ = printed.iter().zip(value).position(|(a, b)| a != b);
    assert!(
        printed == value,
        "{by}: {} bytes came back of {}; first difference at {differ:?}",
        printed.len(),
        value.len()
    );
}

fn kernel_client_beside_an_accelerated_one(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    assert_eq!(redis.ask("set shared 1"), "OK");
    assert_eq!(redis.ask_by_kernel("incr shared"), "2");
    assert_eq!(redis.ask("incr shared"), "3");
    assert_eq!(redis.ask_by_kernel("-h ::1 incr shared"), "4");
    assert_eq!(redis.ask("-h ::1 incr shared"), "5");
    if mode == Mode::Both {
        let ps = world.ps();
        ps.assert_wire_used(redis.server.pid());
        // The other two went by the kernel.
        assert_eq!(ps.count(redis.server.pid(), "tcp_accepts"), 3);
    }
}
in_modes!("needs redis-server", kernel_client_beside_an_accelerated_one: both);

/// BGSAVE forks; the child inherits all sockets, writes and exits while the parent goes on.
fn saves_in_a_fork_while_serving(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    redis.ask("debug populate 100000 key 100");
    let load = world
        .client("redis-benchmark")
        .args(&format!("-p {} -t set,get -c 20 -n 200000 -q", redis.port));
    let mut load = load.spawn();
    for _ in 0..3 {
        redis.ask_by_kernel("bgsave");
        wait_until("the end of BGSAVE", SHORT, || {
            let info = redis.ask_by_kernel("info persistence");
            info.contains("rdb_bgsave_in_progress:0").then_some(())
        });
        assert!(
            redis
                .ask_by_kernel("info persistence")
                .contains("rdb_last_bgsave_status:ok")
        );
    }
    if load.is_running() {
        load.signal(rustix::process::Signal::TERM);
        load.wait(SHORT);
    } else {
        load.wait(SHORT).success();
    }
    assert_eq!(redis.ask("ping"), "PONG");
    assert_holds(&world.dir().join("dump.rdb"), 100_000);
    if mode == Mode::Both {
        world.ps().assert_wire_used(redis.server.pid());
    }
}
in_modes!("needs redis-server", saves_in_a_fork_while_serving: both, server_only);

/// Asserts that the file is a whole dump of about that many keys of 100 bytes.
fn assert_holds(dump: &Path, keys: u64) {
    let dump = fs::read(dump).expect("BGSAVE wrote a file");
    assert!(dump.starts_with(b"REDIS"), "no dump");
    assert!(
        dump.len() > usize::try_from(keys * 5).expect("small"),
        "only {} bytes",
        dump.len()
    );
}

/// A replica connects to its master from within redis-server, and is sent a dump by the master's child.
fn replica_follows(mode: Mode) {
    let world = World::new(mode);
    let master = Redis::start_with(&world, "--repl-diskless-sync-delay 0");
    master.ask("debug populate 20000 key 500");
    let replica_port = free_port();
    let replica = world
        .client("redis-server")
        .args(&format!(
            "--port {replica_port} --bind 127.0.0.1 --save '' --dbfilename replica.rdb"
        ))
        .args(&format!(
            "--replicaof 127.0.0.1 {} --repl-diskless-sync-delay 0 --dir",
            master.port
        ))
        .arg(world.dir())
        .spawn();
    wait_listening(replica_port);
    let ask_replica = |command: &str| {
        let cli = world
            .client("redis-cli")
            .args(&format!("-p {replica_port} --raw"))
            .args(command);
        cli.run(SHORT).success().text().trim_end().to_owned()
    };
    wait_until("the replica to be in step", SHORT, || {
        ask_replica("info replication")
            .contains("master_link_status:up")
            .then_some(())
    });
    assert_eq!(ask_replica("dbsize"), "20000");
    master.ask("set late word");
    wait_until("a write to arrive", SHORT, || {
        (ask_replica("get late") == "word").then_some(())
    });
    world.assert_reasons_given();
    let ps = world.ps();
    ps.assert_mode(mode, master.server.pid(), replica.pid());
}
in_modes!("needs redis-server", replica_follows: both, server_only, client_only);

/// A subscriber is told what another client publishes, blocked clients are woken, and idle ones stay.
fn blocked_clients_are_woken(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    let cli = || {
        world
            .explained_client("redis-cli")
            .args(&format!("-p {} --raw", redis.port))
    };
    let popping = cli().args("blpop list 15").spawn();
    let subscribed = cli().args("subscribe news").spawn();
    wait_until("both clients to be waiting", SHORT, || {
        let clients = redis.ask_by_kernel("client list");
        (clients.contains("cmd=blpop") && clients.contains("cmd=subscribe")).then_some(())
    });
    assert_eq!(redis.ask("publish news hello"), "1");
    redis.ask("rpush list item");
    assert_eq!(popping.wait(SHORT).success().text(), "list\nitem\n");
    wait_until("the message", SHORT, || {
        subscribed
            .stdout()
            .contains("message\nnews\nhello")
            .then_some(())
    });
    world.assert_reasons_given();
}
in_modes!("needs redis-server", blocked_clients_are_woken: both, server_only, client_only);

fn shuts_down_cleanly(mode: Mode) {
    let world = World::new(mode);
    let redis = Redis::start(&world);
    assert_eq!(redis.ask("ping"), "PONG");
    world.assert_reasons_given();
    let port = redis.port;
    redis.server.terminate().success();
    assert!(
        !sidestep_tests::is_listening(port),
        "port {port} is still taken"
    );
    let refused = world
        .client("redis-cli")
        .args(&format!("-p {port} ping"))
        .run(SHORT);
    assert!(
        !refused.status.success() && refused.error_text().contains("Connection refused"),
        "{refused:?}"
    );
}
in_modes!("needs redis-server", shuts_down_cleanly: both, server_only, client_only);
