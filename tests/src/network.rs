//! Two hosts on a network: namespaces that a cable joins, or a router between them, an agent on each host whose
//! programs are accelerated, and programs inside. Needs root.
//!
//! The server is host 1 and the client host 2, 10.9.0.1 and 10.9.0.2, fd09::1 and fd09::2. No host has another's
//! agent, so that nothing but frames passes between them.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Duration;

use crate::netns::{Cable, Netns};
use crate::world::{find, sidestep, turn};
use crate::{Mode, Process, Program, Ps, TempDir, wait_listening, wait_until};

const SHORT: Duration = Duration::from_secs(20);

/// One host: its namespace, its interface, and its agent if it has one.
#[derive(Debug)]
pub struct Host {
    /// Its network namespace.
    pub netns: Netns,
    /// Its interface.
    pub interface: &'static str,
    /// Its IPv4 address.
    pub address: &'static str,
    /// Its IPv6 address.
    pub address6: &'static str,
    dir: PathBuf,
    agent: Option<Process>,
    /// Where its explained programs wrote.
    explained: RefCell<Vec<PathBuf>>,
}

impl Host {
    fn new(
        dir: &Path,
        netns: Netns,
        interface: &'static str,
        (address, address6): (&'static str, &'static str),
    ) -> Self {
        let dir = dir.join(interface);
        fs::create_dir_all(dir.join("log")).expect("a new directory");
        Self {
            netns,
            interface,
            address,
            address6,
            dir,
            agent: None,
            explained: RefCell::new(Vec::new()),
        }
    }

    /// Starts the agent, and waits for it to serve the interface.
    pub fn start_agent(&mut self) {
        self.start_agent_for(&format!("xdp:{}", self.interface));
    }

    /// The same, with what it is told of the interface.
    pub fn start_agent_for(&mut self, link: &str) {
        self.start_agent_by(self.sidestep(), link, "");
    }

    /// The same, by a program that becomes the agent, with further words.
    pub fn start_agent_by(&mut self, program: Program, link: &str, more: &str) {
        let agent = program.args("agent --foreground --link").arg(link);
        let mut agent = agent.args(more).spawn();
        wait_until("the agent to serve", SHORT, || {
            agent.assert_running();
            let status = self.sidestep().args("agent status").run(SHORT);
            status.status.success().then_some(())
        });
        self.agent = Some(agent);
    }

    /// The agent; panics where none was started.
    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("an agent on this host")
    }

    /// Whether the kernel has an XDP program on the interface.
    pub fn has_xdp(&self) -> bool {
        let said = self
            .netns
            .run(&format!("ip -d link show dev {}", self.interface));
        said.contains("xdp")
    }

    /// The host's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file in the host's directory and says where it is.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content)
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }

    /// A program on this host, over the kernel.
    pub fn plain(&self, program: &str) -> Program {
        self.program(program, &[find(program).display().to_string()])
    }

    /// A program on this host under `sidestep run`.
    pub fn accelerated(&self, program: &str) -> Program {
        let words = [
            sidestep().display().to_string(),
            "run".into(),
            "--".into(),
            find(program).display().to_string(),
        ];
        self.program(program, &words)
    }

    /// The same, writing down where its sockets went, for [`assert_accelerated`](Self::assert_accelerated). Waits
    /// until no other program has the interface, so that it has queues of its own.
    pub fn explained(&self, program: &str) -> Program {
        wait_until("the interface to be free", SHORT, || {
            self.ps().stacks.is_empty().then_some(())
        });
        let mut explained = self.explained.borrow_mut();
        let log = self.dir.join(format!("explained-{}", explained.len()));
        let words = [
            sidestep().display().to_string(),
            "run".into(),
            "--explain".into(),
            "--log".into(),
            log.display().to_string(),
            "--".into(),
            find(program).display().to_string(),
        ];
        explained.push(log);
        self.program(program, &words)
    }

    /// Asserts that the explained programs, of which there was one at least, left no connection and no datagram to
    /// the kernel.
    pub fn assert_accelerated(&self) {
        let explained = self.explained.borrow();
        assert!(!explained.is_empty(), "no program was explained");
        for log in &*explained {
            let said = fs::read_to_string(log).unwrap_or_default();
            let ways = [" connect ", " send "];
            let mut sent = said
                .lines()
                .filter(|line| ways.iter().any(|way| line.contains(way)))
                .peekable();
            assert!(sent.peek().is_some(), "a program sent nothing: {said}");
            for line in sent {
                assert!(line.ends_with(": accelerated"), "{line}");
            }
        }
    }

    /// What the explained programs wrote.
    pub fn explanations(&self) -> String {
        let read = |log: &PathBuf| fs::read_to_string(log).unwrap_or_default();
        self.explained.borrow().iter().map(read).collect()
    }

    /// What the host's agent reports now; asks again while a stack is too busy to be looked into, or the agent to answer, as on
    /// an emulated processor.
    pub fn ps(&self) -> Ps {
        wait_until("a report without busy stacks", SHORT, || {
            let said = self.sidestep().args("ps --json").run(SHORT);
            let ps = said.status.success().then(|| Ps::parse(&said.text()));
            ps.filter(|ps| !ps.is_busy())
        })
    }

    /// The `sidestep` command itself, on this host.
    pub fn sidestep(&self) -> Program {
        self.program("sidestep", &[sidestep().display().to_string()])
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        self.agent.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// Waits until somebody listens on this TCP port.
    pub fn wait_listening(&self, port: u16) {
        self.netns.inside(|| wait_listening(port));
    }

    /// Waits until somebody has bound this UDP port.
    pub fn wait_bound_udp(&self, port: u16) {
        self.netns.inside(|| crate::wait_bound_udp(port));
    }

    fn program(&self, program: &str, words: &[String]) -> Program {
        let name = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let enter = [
            find("nsenter").display().to_string(),
            format!("--net={}", self.netns.path()),
            "--".into(),
        ];
        let words: Vec<String> = enter.iter().chain(words).cloned().collect();
        // A path under it must be short enough for a socket's address.
        Program::new(&name, &words, &self.dir.join("log"))
            .env("SIDESTEP_RUNTIME_DIR", self.dir.join("run"))
    }
}

/// The two hosts of a test, and which of them accelerate.
#[derive(Debug)]
pub struct Network {
    mode: Mode,
    /// Where servers run.
    pub server: Host,
    /// Where clients run.
    pub client: Host,
    /// What is between them, if anything is.
    pub router: Option<Netns>,
    _dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Network {
    /// Two hosts on a cable with an MTU of 1500 bytes.
    pub fn new(mode: Mode) -> Self {
        Self::with_mtu(mode, 1500)
    }

    /// Two hosts on a cable.
    pub fn with_mtu(mode: Mode, mtu: u32) -> Self {
        Self::on(mode, Cable::new(1, mtu))
    }

    /// Two hosts on a cable with an MTU of 1500 bytes, with up to `most` queues at each end, of which so many are used.
    pub fn with_queues(mode: Mode, queues: u32, most: u32) -> Self {
        let cable = Cable::new(most, 1500);
        for (netns, name) in [(&cable.near, "near0"), (&cable.far, "far0")] {
            netns.run(&format!("ethtool -L {name} rx {queues} tx {queues}"));
        }
        Self::on(mode, cable)
    }

    fn on(mode: Mode, Cable { near, far }: Cable) -> Self {
        let turn = turn();
        let dir = TempDir::new();
        let server = Host::new(dir.path(), near, "near0", ("10.9.0.1", "fd09::1"));
        let client = Host::new(dir.path(), far, "far0", ("10.9.0.2", "fd09::2"));
        Self::begin(mode, (server, client, None), (dir, turn))
    }

    /// Two hosts on a cable with an MTU of 1500 bytes, which the agents use by packet sockets. Their kernels leave segments
    /// whole and checksums unfinished, as for cards that do the rest.
    pub fn by_packets(mode: Mode) -> Self {
        let mut network = Self::new(Mode::Kernel);
        for host in [&network.server, &network.client] {
            let offload = format!("ethtool -K {} tx on tso on", host.interface);
            host.netns.run(&offload);
        }
        network.serve_by_packets(mode);
        network
    }

    /// From now on agents are on the hosts that the mode says, by packet sockets. There are none so far.
    pub fn serve_by_packets(&mut self, mode: Mode) {
        self.serve_as(mode, |interface| format!("packet:{interface}"));
    }

    /// The ends that the mode names are served from now on, as `link` says of their interfaces.
    pub fn serve_as(&mut self, mode: Mode, link: impl Fn(&str) -> String) {
        self.mode = mode;
        let ends = [
            (mode.server(), &mut self.server),
            (mode.client(), &mut self.client),
        ];
        for (_, host) in ends.into_iter().filter(|end| end.0) {
            host.start_agent_for(&link(host.interface));
        }
    }

    /// Two hosts on networks of their own, with a router between them.
    pub fn routed(mode: Mode) -> Self {
        let turn = turn();
        let dir = TempDir::new();
        let router = Netns::new();
        router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let addresses = [("10.9.1.1", "fd09:1::1"), ("10.9.2.1", "fd09:2::1")];
        let names = ["near0", "far0"];
        let host = |n: usize| {
            let netns = Netns::new();
            for netns in [&netns, &router] {
                netns.run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
            }
            let (name, other, net) = (names[n], format!("to-{}", names[n]), n + 1);
            netns.run(&format!(
                "ip link add {name} type veth peer name {other} netns {}",
                router.path()
            ));
            let ends = [(&netns, name, 1), (&router, other.as_str(), 2)];
            for (netns, name, host) in ends {
                netns.run(&format!("ip addr add 10.9.{net}.{host}/24 dev {name}"));
                netns.run(&format!(
                    "ip addr add fd09:{net}::{host}/64 dev {name} nodad"
                ));
                netns.run(&format!("ethtool -K {name} tx off"));
                netns.run(&format!("ip link set {name} up"));
            }
            netns.run(&format!("ip route add default via 10.9.{net}.2"));
            netns.run(&format!("ip route add default via fd09:{net}::2"));
            Host::new(dir.path(), netns, name, addresses[n])
        };
        let (server, client) = (host(0), host(1));
        Self::begin(mode, (server, client, Some(router)), (dir, turn))
    }

    /// Two hosts that the test has joined: of each its namespace, its interface, and its IPv4 and IPv6 addresses.
    pub fn joined(
        mode: Mode,
        [server, client]: [(Netns, &'static str, (&'static str, &'static str)); 2],
    ) -> Self {
        let turn = turn();
        let dir = TempDir::new();
        let host = |place: &str, (netns, interface, addresses)| {
            Host::new(&dir.path().join(place), netns, interface, addresses)
        };
        let (server, client) = (host("s", server), host("c", client));
        Self::begin(mode, (server, client, None), (dir, turn))
    }

    fn begin(
        mode: Mode,
        (mut server, mut client, router): (Host, Host, Option<Netns>),
        (dir, turn): (TempDir, MutexGuard<'static, ()>),
    ) -> Self {
        if mode.server() {
            server.start_agent();
        }
        if mode.client() {
            client.start_agent();
        }
        Self {
            mode,
            server,
            client,
            router,
            _dir: dir,
            _turn: turn,
        }
    }

    /// Which ends are accelerated.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A program on the server's host; accelerated if the mode says so.
    pub fn serving(&self, program: &str) -> Program {
        if self.mode.server() {
            self.server.accelerated(program)
        } else {
            self.server.plain(program)
        }
    }

    /// A program on the client's host; accelerated if the mode says so, and then explained.
    pub fn asking(&self, program: &str) -> Program {
        if self.mode.client() {
            self.client.explained(program)
        } else {
            self.client.plain(program)
        }
    }

    /// A program on the client's host that runs for long; accelerated if the mode says so.
    pub fn asking_long(&self, program: &str) -> Program {
        if self.mode.client() {
            self.client.accelerated(program)
        } else {
            self.client.plain(program)
        }
    }

    /// Asserts what the mode promises of a server of TCP and of the clients that were explained; they may be gone.
    pub fn assert_mode(&self, server: &Process) {
        self.assert_mode_by("tcp_accepts", server);
    }

    /// The same of a server of datagrams.
    pub fn assert_udp_mode(&self, server: &Process) {
        self.assert_mode_by("udp_rx_datagrams", server);
    }

    fn assert_mode_by(&self, counter: &str, server: &Process) {
        if self.mode.server() {
            let ps = self.server.ps();
            ps.assert_network_used(server.pid());
            assert!(ps.count(server.pid(), counter) > 0, "{counter}: {ps:#?}");
        }
        if self.mode.client() {
            self.client.assert_accelerated();
        }
    }

    /// Waits until those of the two programs that are accelerated have sent and received frames of the network; they
    /// must before the client ends.
    pub fn wait_used(&self, server: &Process, client: &mut Process) {
        let ends = [
            (self.mode.server(), &self.server, server.pid()),
            (self.mode.client(), &self.client, client.pid()),
        ];
        loop {
            let is_over = !client.is_running();
            let mut used = ends.iter().filter(|end| end.0);
            if used.all(|(_, host, pid)| host.ps().is_network_used(*pid)) {
                return;
            }
            assert!(
                !is_over,
                "the client ended before frames were counted; last seen: {:#?}\n{}",
                [self.server.ps(), self.client.ps()],
                client.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
