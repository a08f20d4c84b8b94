//! nginx, master and workers, with curl and wrk.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sidestep_tests::{
    Mode, Process, Stack, World, free_port, in_modes, pattern, wait_listening, wait_until,
};

const SHORT: Duration = Duration::from_secs(30);
/// Files that it serves, with their sizes.
const FILES: [(&str, usize); 4] = [
    ("empty", 0),
    ("kilobyte", 1024),
    ("megabyte", 1_000_000),
    ("large", 100_000_000),
];

/// How nginx is set up.
#[derive(Clone, Copy)]
struct Setup {
    workers: u32,
    /// The user that workers become; `None` keeps the one who starts it.
    user: Option<&'static str>,
    /// Directives that go into the main block.
    main: &'static str,
    /// Directives that go into the http block.
    http: &'static str,
}

const TWO_WORKERS: Setup = Setup {
    workers: 2,
    user: None,
    main: "",
    http: "",
};
const ONE_WORKER: Setup = Setup {
    workers: 1,
    user: None,
    main: "",
    http: "",
};

struct Nginx<'w> {
    world: &'w World,
    master: Process,
    port: u16,
}

impl<'w> Nginx<'w> {
    fn start(world: &'w World, setup: Setup) -> Self {
        let port = free_port();
        let www = world.dir().join("www");
        fs::create_dir(&www).expect("a new directory");
        for (name, bytes) in FILES {
            fs::write(www.join(name), content(name, bytes)).expect("room for the file");
        }
        let config = world.file("nginx.conf", configuration(world, setup, port));
        let master = world
            .server("nginx")
            .arg("-p")
            .arg(world.dir())
            .arg("-c")
            .arg(config)
            .spawn();
        wait_listening(port);
        Self {
            world,
            master,
            port,
        }
    }

    fn url(&self, file: &str) -> String {
        format!("http://127.0.0.1:{}/{file}", self.port)
    }

    /// Fetches the files with one curl each and compares every byte.
    fn fetch_all(&self, options: &str) {
        for (name, bytes) in FILES {
            let target = self.world.dir().join("fetched");
            let curl = self
                .world
                .explained_client("curl")
                .args("-sS --fail --max-time 30")
                .args(options);
            curl.arg("-o")
                .arg(&target)
                .arg(self.url(name))
                .run(SHORT)
                .success();
            let fetched = fs::read(&target).expect("curl wrote it");
            assert_eq!(fetched.len(), bytes, "{name}");
            assert!(fetched == content(name, bytes), "{name} differs");
        }
    }

    /// Loads it with wrk; panics at any error that wrk saw.
    fn load(&self, options: &str, file: &str) -> u64 {
        let wrk = self.world.explained_client("wrk");
        let wrk = wrk.args(options).arg(self.url(file));
        let output = wrk.run(Duration::from_secs(60)).success().text();
        assert!(
            !output.contains("Socket errors") && !output.contains("Non-2xx"),
            "{output}"
        );
        let line = output
            .lines()
            .find(|line| line.contains(" requests in "))
            .unwrap_or_default();
        let requests = line.split_whitespace().next().and_then(|n| n.parse().ok());
        let requests = requests.unwrap_or_else(|| panic!("no figure in\n{output}"));
        assert!(requests > 0, "{output}");
        requests
    }

    fn assert_mode(&self) {
        self.world
            .ps()
            .assert_server(self.world.mode(), self.master.pid());
        self.world.assert_reasons_given();
    }
}

fn content(name: &str, bytes: usize) -> Vec<u8> {
    pattern(u64::from(name.as_bytes()[0]), bytes)
}

fn configuration(world: &World, setup: Setup, port: u16) -> String {
    let dir = world.dir().display();
    let user = match setup.user {
        Some(user) => format!("user {user};"),
        // As root it would become somebody else; as an ordinary user the directive is only warned about.
        None if rustix::process::geteuid().is_root() => "user root;".to_owned(),
        None => String::new(),
    };
    let Setup {
        workers,
        main,
        http,
        ..
    } = setup;
    format!(
        "{user} worker_processes {workers}; {main} daemon off; error_log stderr; pid {dir}/nginx.pid;
        events {{ worker_connections 2048; }}
        http {{
            access_log off; sendfile on; tcp_nopush on;
            client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
            uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
            {http}
            server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; root {dir}/www;
                location = /worker {{ return 200 $pid; }} }}
        }}"
    )
}

fn files_are_identical(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, TWO_WORKERS);
    nginx.fetch_all("");
    nginx.fetch_all("--http1.0");
    nginx.assert_mode();
}
in_modes!("needs nginx and curl", files_are_identical: both, server_only, client_only);

fn files_are_identical_without_sendfile(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(
        &world,
        Setup {
            http: "tcp_nodelay on; gzip off; output_buffers 4 64k;",
            ..ONE_WORKER
        },
    );
    nginx.fetch_all("-H Connection:close");
    nginx.assert_mode();
}
in_modes!("needs nginx and curl", files_are_identical_without_sendfile: both, server_only);

/// One curl asks for many files over one connection.
fn one_connection_many_requests(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, ONE_WORKER);
    let target = world.dir().join("fetched");
    let mut curl = world
        .explained_client("curl")
        .args("-sS --fail --max-time 30 -w %{num_connects}\\n");
    for _ in 0..50 {
        curl = curl.arg("-o").arg(&target).arg(nginx.url("kilobyte"));
    }
    let connects = curl.run(SHORT).success().text();
    let connects: u32 = connects
        .lines()
        .map(|line| line.parse::<u32>().expect("a number"))
        .sum();
    assert_eq!(connects, 1, "connections for 50 requests");
    nginx.assert_mode();
}
in_modes!("needs nginx and curl", one_connection_many_requests: both, server_only, client_only);

fn by_ipv6(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, ONE_WORKER);
    let curl = world
        .explained_client("curl")
        .args("-sS --fail")
        .arg(format!("http://[::1]:{}/megabyte", nginx.port));
    assert!(curl.run(SHORT).success().stdout == content("megabyte", 1_000_000));
    nginx.assert_mode();
}
in_modes!("needs nginx and curl", by_ipv6: both, server_only, client_only);

fn keep_alive(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, ONE_WORKER);
    nginx.load("-t 1 -c 8 -d 2s", "kilobyte");
    nginx.assert_mode();
}
in_modes!("needs nginx and wrk", keep_alive: both, server_only, client_only);

fn a_connection_for_each_request(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, ONE_WORKER);
    nginx.load("-t 1 -c 8 -d 2s -H Connection:close", "kilobyte");
    nginx.assert_mode();
}
in_modes!("needs nginx and wrk", a_connection_for_each_request: both, server_only, client_only);

/// Workers also change how many descriptors they may have, as they are usually told to.
fn a_thousand_connections(mode: Mode) {
    let world = World::new(mode);
    let setup = Setup {
        main: "worker_rlimit_nofile 8192;",
        ..TWO_WORKERS
    };
    let nginx = Nginx::start(&world, setup);
    let requests = nginx.load("-t 2 -c 1000 -d 3s --timeout 10s", "kilobyte");
    assert!(
        requests >= 1000,
        "{requests} requests over 1,000 connections"
    );
    nginx.assert_mode();
}
in_modes!("needs nginx and wrk", a_thousand_connections: both, server_only, client_only);

/// Bulk and short answers at once, from two workers.
fn large_files_under_load(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, TWO_WORKERS);
    let wrk = world
        .client("wrk")
        .args("-t 1 -c 20 -d 3s")
        .arg(nginx.url("kilobyte"))
        .spawn();
    nginx.fetch_all("");
    wrk.wait(SHORT).success();
    nginx.assert_mode();
}
in_modes!("needs nginx, curl and wrk", large_files_under_load: both, server_only);

/// Each worker listens on a socket of its own (`SO_REUSEPORT`).
fn workers_with_listeners_of_their_own(mode: Mode) {
    let world = World::new(mode);
    let port = free_port();
    let www = world.dir().join("www");
    fs::create_dir(&www).expect("a new directory");
    fs::write(www.join("kilobyte"), content("kilobyte", 1024)).expect("room for the file");
    let config =
        configuration(&world, TWO_WORKERS, port).replace(";\n            server", ";\n server");
    let config = config.replace(
        &format!("listen 127.0.0.1:{port}"),
        &format!("listen 127.0.0.1:{port} reuseport"),
    );
    let config = world.file("nginx.conf", config);
    let master = world
        .server("nginx")
        .arg("-p")
        .arg(world.dir())
        .arg("-c")
        .arg(config)
        .spawn();
    wait_listening(port);
    let nginx = Nginx {
        world: &world,
        master,
        port,
    };
    nginx.load("-t 1 -c 16 -d 2s -H Connection:close", "kilobyte");
    nginx.assert_mode();
}
in_modes!("needs nginx and wrk", workers_with_listeners_of_their_own: both, server_only);

/// As Debian sets it up: the master is root, workers are www-data.
fn workers_of_another_user(mode: Mode) {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can start workers of another user"
    );
    let world = World::new(mode);
    let nginx = Nginx::start(
        &world,
        Setup {
            user: Some("www-data"),
            ..TWO_WORKERS
        },
    );
    nginx.fetch_all("");
    nginx.load("-t 1 -c 8 -d 1s", "kilobyte");
    nginx.assert_mode();
}
in_modes!("needs nginx, curl, wrk and root", workers_of_another_user: both, server_only);

/// How often a worker is stopped until it stands where it is wanted.
const FREEZES_MAX: usize = 300;
/// Connections of [`Nginx::start_load`].
const LOAD_CONNECTIONS: u32 = 20;

impl Nginx<'_> {
    /// Stops a worker, again and again, until it stands where it is wanted: at work on the stack, or elsewhere.
    fn freeze_worker(&self, at_work: bool) -> Pid {
        for turn in 0..FREEZES_MAX {
            let workers = self.master.children();
            let number = workers[turn % workers.len()];
            let worker = Pid::from_raw(number.cast_signed()).expect("not 0");
            kill_process(worker, Signal::STOP).expect("a worker that runs");
            // Another process may be in the stack for a moment; one that stopped there stays.
            let is_at_work = (0..4).all(|_| {
                let ps = self.world.glance();
                ps.stacks_of(number).any(|stack| stack.status == "busy")
            });
            if is_at_work == at_work {
                return worker;
            }
            kill_process(worker, Signal::CONT).expect("a worker that runs");
        }
        panic!("no worker stopped at work on the stack: {at_work}");
    }

    /// Asks until this worker answers, which must be soon and without an error; returns how often it had to ask.
    fn wait_answer_of(&self, worker: u32) -> u64 {
        let what = format!("an answer of worker {worker}");
        let mut asked = 0;
        wait_until(&what, SHORT, || {
            let curl = self.world.client("curl").args("-sS --fail --max-time 10");
            let answer = curl.arg(self.url("worker")).run(SHORT).success().text();
            asked += 1;
            (answer == worker.to_string()).then_some(())
        });
        asked
    }

    /// Connections that came by wires; none where the server has no stack.
    fn accepts(&self) -> u64 {
        let ps = self.world.ps();
        let stacks = ps.stacks_of(self.master.pid());
        stacks.map(|stack| stack.count("tcp_accepts")).sum()
    }

    /// Waits until there is a worker that is not one of `before`, and as many again.
    fn wait_new_worker(&self, before: &[u32]) {
        wait_until("a new worker", SHORT, || {
            let now = self.master.children();
            let is_new = now.iter().any(|worker| !before.contains(worker));
            (is_new && now.len() == before.len()).then_some(())
        });
    }

    /// wrk with its connections, until it is told to end by [`end_load`]; already at work.
    fn start_load(&self) -> Process {
        let wrk = self.world.client("wrk").args("-t 1 -d 120s --timeout 10s");
        let wrk = wrk
            .arg(format!("-c{LOAD_CONNECTIONS}"))
            .arg(self.url("kilobyte"))
            .spawn();
        std::thread::sleep(Duration::from_secs(1));
        wrk
    }
}

/// Ends wrk and returns how often it failed to connect, read, write, and be answered in time.
fn end_load(mut wrk: Process) -> [u32; 4] {
    wrk.signal(Signal::INT);
    let output = wrk.wait(SHORT).success().text();
    assert!(!output.contains("Non-2xx"), "{output}");
    let errors = output
        .lines()
        .find_map(|line| line.split_once("Socket errors: "));
    let figure = |name: &str| {
        let of = |part: &str| part.trim().strip_prefix(name)?.trim().parse().ok();
        errors.map_or(Some(0), |(_, figures)| figures.split(',').find_map(of))
    };
    ["connect", "read", "write", "timeout"]
        .map(|name| figure(name).unwrap_or_else(|| panic!("no {name} in\n{output}")))
}

/// Only the connections of a worker that is killed are lost, and the one in its place is as good.
fn killed_worker_is_replaced(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, TWO_WORKERS);
    let wrk = nginx.start_load();
    let mut held = 0;
    for _ in 0..3 {
        let before = nginx.master.children();
        let victim = nginx.freeze_worker(false);
        held += match mode {
            Mode::Both => world
                .ps()
                .connections_of(victim.as_raw_nonzero().get().cast_unsigned()),
            _ => LOAD_CONNECTIONS,
        };
        kill_process(victim, Signal::KILL).expect("a worker that is stopped");
        nginx.wait_new_worker(&before);
        let accepts = nginx.accepts();
        let now = nginx.master.children();
        let asked: u64 = now.iter().map(|worker| nginx.wait_answer_of(*worker)).sum();
        if mode == Mode::Both {
            assert!(nginx.accepts() >= accepts + asked, "not all by wires");
        }
        assert_eq!(nginx.master.children(), now, "others ended too");
    }
    let [connect, read, write, timeout] = end_load(wrk);
    assert_eq!((connect, timeout), (0, 0), "to connect, and in time");
    assert!(
        read + write <= held,
        "{read} + {write} connections lost of {held}"
    );
    assert!(read + write > 0, "no load on those that were killed");
    nginx.assert_mode();
}
in_modes!("needs nginx, curl and wrk", killed_worker_is_replaced: both, server_only);

/// A worker that dies at work on the stack takes the stack with it, which all workers share: every connection is
/// reset, once, and from then on the same server serves accelerated clients by the kernel.
fn worker_killed_inside_the_stack(mode: Mode) {
    if mode == Mode::Kernel {
        // The control run has no stack to die in.
        return;
    }
    let world = World::new(mode);
    let nginx = Nginx::start(&world, TWO_WORKERS);
    nginx.load("-t 1 -c 8 -d 1s", "kilobyte");
    nginx.assert_mode();
    let wrk = nginx.start_load();
    let before = nginx.master.children();
    let victim = nginx.freeze_worker(true);
    kill_process(victim, Signal::KILL).expect("a worker that is stopped");
    let retired = |stack: &Stack| stack.status == "retired";
    wait_until("the stack to be given up", Duration::from_secs(1), || {
        let ps = world.glance();
        ps.stacks_of(nginx.master.pid()).any(retired).then_some(())
    });
    nginx.wait_new_worker(&before);
    for worker in nginx.master.children() {
        nginx.wait_answer_of(worker);
    }
    let ps = world.ps();
    let reasons = ps.stacks_of(wrk.pid()).flat_map(|stack| &stack.kernel);
    let reasons: Vec<&str> = reasons.map(|handover| handover.reason.as_str()).collect();
    assert_eq!(reasons, ["no accelerated program serves the destination"]);
    let [connect, read, write, timeout] = end_load(wrk);
    assert_eq!((connect, timeout), (0, 0), "to connect, and in time");
    assert!(
        read + write <= LOAD_CONNECTIONS,
        "{read} + {write} connections lost"
    );
    nginx.master.terminate().success();
}
in_modes!("needs nginx, curl and wrk", worker_killed_inside_the_stack: both);

/// A front nginx asks a back one: each is server and client.
fn proxy(mode: Mode) {
    let world = World::new(mode);
    let back = Nginx::start(&world, ONE_WORKER);
    let port = free_port();
    let dir = world.dir().join("front");
    fs::create_dir(&dir).expect("a new directory");
    let config = format!(
        "{} worker_processes 1; daemon off; error_log stderr; pid {dir}/nginx.pid; events {{ }}
        http {{ access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2;
            fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
            server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{}; }} }} }}",
        if rustix::process::geteuid().is_root() { "user root;" } else { "" },
        back.port,
        dir = dir.display()
    );
    let config = world.file("front.conf", config);
    let master = world
        .client("nginx")
        .arg("-p")
        .arg(&dir)
        .arg("-c")
        .arg(config)
        .spawn();
    wait_listening(port);
    let front = Nginx {
        world: &world,
        master,
        port,
    };
    front.fetch_all("");
    front.load("-t 1 -c 8 -d 2s", "kilobyte");
    let ps = world.ps();
    ps.assert_mode(mode, back.master.pid(), front.master.pid());
}
in_modes!("needs nginx, curl and wrk", proxy: both, server_only, client_only);

fn ends_at_a_signal(mode: Mode) {
    let world = World::new(mode);
    let nginx = Nginx::start(&world, TWO_WORKERS);
    nginx.load("-t 1 -c 8 -d 1s", "kilobyte");
    let port = nginx.port;
    nginx.master.terminate().success();
    assert!(
        !sidestep_tests::is_listening(port),
        "port {port} is still taken"
    );
}
in_modes!("needs nginx and wrk", ends_at_a_signal: both);
