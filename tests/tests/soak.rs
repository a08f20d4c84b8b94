//! Mixed load for minutes, after which everything is back to where it began.
//!
//! Two minutes in the suite; `SIDESTEP_SOAK_SECONDS` asks for more.

use std::fs;
use std::time::Duration;

use sidestep_tests::{
    Deadline, Mode, Process, World, free_port, in_modes, pattern, wait_listening, wait_until,
};

const SHORT: Duration = Duration::from_secs(30);
/// Growth of a program's own memory that is put down to its allocator and not to a leak.
const MEMORY_SLACK_KIB: u64 = 6_000;

/// What must be back to where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    descriptors: Vec<usize>,
    /// Pieces of shared memory that are mapped.
    mappings: Vec<usize>,
    sockets: u32,
    buffers: u32,
}

/// The programs that stay for the whole soak.
struct Servers {
    redis: Process,
    redis_port: u16,
    nginx: Process,
    nginx_port: u16,
}

impl Servers {
    fn start(world: &World) -> Self {
        let (redis_port, nginx_port) = (free_port(), free_port());
        let redis = world
            .server("redis-server")
            .args(&format!("--port {redis_port} --appendonly no --save"))
            .arg("");
        let redis = redis.arg("--dir").arg(world.dir()).spawn();
        let dir = world.dir().display();
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "{user} worker_processes 2; daemon off; error_log stderr; pid {dir}/nginx.pid;
            events {{ worker_connections 2048; }}
            http {{ access_log off; sendfile on; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2;
                fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
                server {{ listen 127.0.0.1:{nginx_port}; root {dir}; }} }}"
        );
        let config = world.file("nginx.conf", config);
        world.file("kilobyte", pattern(1, 1024));
        world.file("megabyte", pattern(2, 1_000_000));
        let nginx = world
            .server("nginx")
            .arg("-p")
            .arg(world.dir())
            .arg("-c")
            .arg(config)
            .spawn();
        wait_listening(redis_port);
        wait_listening(nginx_port);
        Self {
            redis,
            redis_port,
            nginx,
            nginx_port,
        }
    }

    /// One round of load, several programs at once.
    fn round(&self, world: &World) {
        let benchmark = |options: &str| {
            world
                .client("redis-benchmark")
                .args(&format!("-p {} -q {options}", self.redis_port))
                .spawn()
        };
        let wrk = |options: &str, file: &str| {
            let url = format!("http://127.0.0.1:{}/{file}", self.nginx_port);
            // A machine that has other work makes answers late, which is no fault; none must stay away.
            world
                .client("wrk")
                .args("--timeout 30s")
                .args(options)
                .arg(url)
                .spawn()
        };
        let load = [
            benchmark("-t set,get -c 50 -n 30000 -r 1000"),
            benchmark("-t ping -c 20 -k 0 -n 3000"),
            wrk("-t 1 -c 20 -d 2s", "kilobyte"),
            wrk("-t 1 -c 10 -d 2s -H Connection:close", "kilobyte"),
            wrk("-t 1 -c 2 -d 2s", "megabyte"),
        ];
        for program in load {
            let output = program.wait(Duration::from_secs(60)).success().text();
            assert!(
                !output.contains("Socket errors") && !output.contains("Non-2xx"),
                "{output}"
            );
        }
        world
            .plain("redis-cli")
            .args(&format!("-p {} flushall", self.redis_port))
            .run(SHORT)
            .success();
    }

    fn pids(&self) -> Vec<u32> {
        [self.redis.pid(), self.nginx.pid()]
            .into_iter()
            .chain(self.nginx.children())
            .collect()
    }

    fn held(&self, world: &World) -> Held {
        let ps = world.ps();
        let pids = self.pids();
        let agent = ps.agent.as_ref().map(|agent| agent.pid);
        let every: Vec<u32> = pids.into_iter().chain(agent).collect();
        let descriptors =
            |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let mappings = |pid: &u32| {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            maps.lines().filter(|line| line.contains("/memfd:")).count()
        };
        Held {
            descriptors: every.iter().map(descriptors).collect(),
            mappings: every.iter().map(mappings).collect(),
            sockets: ps.stacks.iter().map(|stack| stack.sockets_used).sum(),
            buffers: ps.stacks.iter().map(|stack| stack.buffers_used).sum(),
        }
    }

    fn memory_kib(&self, world: &World) -> u64 {
        let agent = world.ps().agent.map(|agent| agent.pid);
        self.pids()
            .into_iter()
            .chain(agent)
            .map(anonymous_kib)
            .sum()
    }
}

fn anonymous_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0)
}

fn nothing_is_leaked(mode: Mode) {
    let seconds = std::env::var("SIDESTEP_SOAK_SECONDS")
        .ok()
        .map(|s| s.parse().expect("a number of seconds"));
    let deadline = Deadline::after(Duration::from_secs(seconds.unwrap_or(100)));
    let world = World::new(mode);
    let servers = Servers::start(&world);
    // Two rounds in which caches and tables grow to the size they then keep.
    servers.round(&world);
    servers.round(&world);
    let before = settled(&servers, &world, None);
    let memory_before = servers.memory_kib(&world);
    let mut rounds = 0;
    while !deadline.passed() {
        servers.round(&world);
        rounds += 1;
    }
    let after = settled(&servers, &world, Some(&before));
    let memory_after = servers.memory_kib(&world);
    println!(
        "{rounds} rounds; {before:?} and {memory_before} KiB before, {after:?} and {memory_after} KiB after"
    );
    assert_eq!(
        before, after,
        "something was left over after {rounds} rounds"
    );
    assert!(
        memory_after <= memory_before + MEMORY_SLACK_KIB,
        "{memory_before} KiB before, {memory_after} KiB after {rounds} rounds"
    );
    world.ps().assert_server(mode, servers.redis.pid());
    world.ps().assert_server(mode, servers.nginx.pid());
}
in_modes!("needs redis-server, nginx and wrk", nothing_is_leaked: both);

/// What is held once it no longer changes: connections in TIME_WAIT go by the clock, the clients' stacks by the agent.
fn settled(servers: &Servers, world: &World, wanted: Option<&Held>) -> Held {
    let patience = Deadline::after(Duration::from_secs(90));
    let mut last = servers.held(world);
    let mut same = 0;
    wait_until("the state to settle", Duration::from_secs(120), || {
        std::thread::sleep(Duration::from_millis(500));
        let now = servers.held(world);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        let is_wanted = wanted.is_none_or(|wanted| *wanted == last) || patience.passed();
        (same >= 6 && is_wanted).then(|| last.clone())
    })
}
