//! Agents and programs for tests: an agent in a thread or a process of its own, stacks, and children that die.

#![allow(dead_code, reason = "each test file uses a part of it")]

use sidestep_agent::Options;
use sidestep_agent::report::Report;
use sidestep_control::directory::Directory;
use sidestep_control::{
    Client, ClientError, MappedMemif, MappedWire, Publication, RuntimeDir, StackId, Welcome,
};
use sidestep_nic::memif::{Attachment, Geometry, Role};
use sidestep_shm::{Clock, EventFd, Foreign, ForeignMut, Nanos, Owner, Region};
use sidestep_stack::{
    Address, Config, ConnectState, Endpoint, Error, SharedStack, SocketFlags, SocketRef, Stack,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use zerocopy::FromBytes;

/// The namespace that the stacks of these tests say they are in.
pub(crate) const NETNS: u64 = 77;

/// Longest wait for anything.
const PATIENCE: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `ready` gives something; fails the test when it does not within ten seconds.
pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("never happened: {what}");
}

/// A private directory, removed at the end.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidestep-agent-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        RuntimeDir::open(&path).unwrap();
        Self(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// An agent in a thread of this process.
    pub(crate) fn start(&self, linger: Duration) -> JoinHandle<()> {
        let options = Options {
            runtime_dir: Some(self.0.clone()),
            linger,
            foreground: true,
            log_to_stderr: false,
            ..Options::default()
        };
        std::thread::spawn(move || sidestep_agent::run(&options).unwrap())
    }

    /// An agent in a thread, that stays until it is stopped.
    pub(crate) fn agent(&self) -> Agent {
        Agent {
            thread: Some(self.start(Duration::from_secs(60))),
            socket: self.socket(),
        }
    }

    pub(crate) fn connect(&self) -> (Client, Directory) {
        connect(&self.socket())
    }

    pub(crate) fn report(&self) -> Report {
        report(&mut self.connect().0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct Agent {
    thread: Option<JoinHandle<()>>,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok((mut client, _)) = Client::connect(&self.socket, "stop") {
            let _ = client.stop();
        }
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || matches!(ended, Some(Ok(()))),
            "the agent failed"
        );
    }
}

/// Connects as soon as the agent listens.
pub(crate) fn connect(socket: &Path) -> (Client, Directory) {
    let (client, welcome) = eventually("an agent listens", || {
        match Client::connect(socket, "test") {
            Ok(connected) => Some(connected),
            Err(ClientError::NoAgent | ClientError::Lost) => None,
            Err(e) => panic!("{e}"),
        }
    });
    let Welcome { directory, .. } = welcome;
    (client, Directory::attach(directory).unwrap())
}

pub(crate) fn report(client: &mut Client) -> Report {
    let (fd, bytes) = client.ps().unwrap();
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    assert_eq!(text.len() as u64, bytes);
    serde_json::from_str(&text).unwrap()
}

/// What it takes to use a wire between stacks.
pub(crate) fn map_wire(client: &mut Client, stack: StackId, wire: u32) -> MappedMemif {
    match client.map_wire(stack, wire).unwrap() {
        MappedWire::Memif(mapped) => mapped,
        MappedWire::Queue(_) => panic!("a queue of a network"),
    }
}

/// A stack with a slot of this process.
pub(crate) struct TestStack {
    pub(crate) id: StackId,
    pub(crate) shared: SharedStack,
    pub(crate) doorbell: EventFd,
    pub(crate) owner: Owner,
    clock: Clock,
}

impl TestStack {
    pub(crate) fn new(id: StackId) -> Self {
        Self::in_netns(id, NETNS)
    }

    pub(crate) fn in_netns(id: StackId, netns: u64) -> Self {
        let config = Config {
            name: "test".into(),
            id,
            netns,
            sockets_max: 64,
            chunks_max: 1024,
            ..Config::default()
        };
        let shared = sidestep_stack::create(&config).unwrap();
        let pid = std::process::id();
        let nobody = Owner { slot: 0, pid };
        let slot = shared.lock(nobody).unwrap().take_slot(pid).unwrap();
        let owner = Owner { slot, pid };
        Self {
            id,
            shared,
            doorbell: EventFd::new().unwrap(),
            clock: Clock::new(),
            owner,
        }
    }

    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.shared.region().fd().unwrap()
    }

    pub(crate) fn register(&self, client: &mut Client) {
        let fds = [self.memory(), self.doorbell.as_fd()];
        let netns = self.shared.lock(self.owner).unwrap().netns();
        client
            .register_stack(self.id, netns, self.owner.slot, &fds)
            .unwrap();
    }

    /// Attaches this process to a wire.
    pub(crate) fn attach(&self, client: &mut Client, wire: u32) {
        let mapped = map_wire(client, self.id, wire);
        let geometry = Geometry::read_from_bytes(mapped.geometry.bytes()).unwrap();
        let role = if mapped.role == Role::Slave as u8 {
            Role::Slave
        } else {
            Role::Master
        };
        let region = Region::attach(mapped.region).unwrap();
        let doorbell = EventFd::attach(mapped.doorbell).unwrap();
        let attachment = Attachment::for_wire(region, &geometry, role, doorbell).unwrap();
        let mut stack = self.shared.lock(self.owner).unwrap();
        let open = stack.open_wires().find(|open| open.index == wire).unwrap();
        stack.attach_wire(wire, open.generation, attachment);
    }

    /// Works on the stack after a poll.
    pub(crate) fn polled<R>(&self, work: impl FnOnce(&mut Stack<'static>, Nanos) -> R) -> R {
        let now = self.clock.now();
        let mut stack = self.shared.lock(self.owner).unwrap();
        stack.poll(now);
        work(&mut stack, now)
    }

    /// A listening socket.
    pub(crate) fn listen(&self, at: &str) -> SocketRef {
        self.polled(|stack, _| {
            let socket = stack
                .new_stream(SocketFlags::empty(), self.owner.slot)
                .unwrap();
            stack.bind(socket, endpoint(at)).unwrap();
            stack.listen(socket, 16).unwrap();
            socket
        })
    }

    /// A connection over `wire`, begun but not established.
    pub(crate) fn connect(&self, wire: u32, local: &str, remote: &str) -> SocketRef {
        let ends = (endpoint(local), endpoint(remote));
        self.polled(|stack, now| {
            let socket = stack
                .new_stream(SocketFlags::empty(), self.owner.slot)
                .unwrap();
            stack.connect(now, socket, ends, wire).unwrap();
            socket
        })
    }

    /// Waits until a connection is established, polling only this stack.
    pub(crate) fn established(&self, socket: SocketRef) {
        eventually("the connection is established", || {
            let state = self.polled(|stack, _| stack.connect_state(socket).unwrap());
            (state == ConnectState::Connected).then_some(())
        });
    }

    /// Waits for a connection to accept, polling only this stack.
    pub(crate) fn accept(&self, listener: SocketRef) -> SocketRef {
        eventually("a connection", || {
            self.polled(|stack, _| stack.accept(listener, self.owner.slot).ok())
        })
        .socket
    }

    /// Reads until the end of the stream, or until an error, polling only this stack.
    pub(crate) fn read_to_end(&self, socket: SocketRef) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        eventually("the end of the stream", || {
            let mut buffer = [0; 4096];
            let part = ForeignMut::from(&mut buffer[..]);
            match self.polled(|stack, now| stack.recv(now, socket, &mut [part], false)) {
                Ok(0) => return Some(Ok(())),
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(Error::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Some(Err(error)),
            }
            None
        })?;
        Ok(all)
    }

    /// Sends all of it, polling only this stack.
    pub(crate) fn send(&self, socket: SocketRef, bytes: &[u8]) {
        let mut sent = 0;
        eventually("all is sent", || {
            let part = Foreign::from(&bytes[sent..]);
            sent += self
                .polled(|stack, now| stack.send(now, socket, &[part], false))
                .unwrap_or(0);
            (sent == bytes.len()).then_some(())
        });
    }

    /// Identities of its open wires and the stacks at their other ends.
    pub(crate) fn wires(&self) -> Vec<(u32, u64)> {
        let stack = self.shared.lock(self.owner).unwrap();
        stack
            .open_wires()
            .filter_map(|wire| Some((wire.index, wire.peer_stack()?)))
            .collect()
    }
}

pub(crate) fn tcp(text: &str) -> Publication {
    Publication::new(6, endpoint(text), false, false)
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::new(Address::from(address.ip()), address.port())
}

pub(crate) fn served_by(directory: &Directory, text: &str) -> Vec<u64> {
    directory
        .lookup(6, NETNS, endpoint(text))
        .unwrap()
        .stacks()
        .to_vec()
}

/// A test started again as a program of its own, which plays a part in it.
pub(crate) struct Program {
    pub(crate) child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Program {
    /// Runs this test binary once more, only the test `name`, which finds `part` and `place` by [`part`].
    pub(crate) fn start(name: &str, part: &str, place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env("SIDESTEP_TEST_PART", part)
            .env("SIDESTEP_TEST_PLACE", &place.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits until the program says `word`.
    pub(crate) fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(word) {
                return;
            }
            line.clear();
        }
        panic!("the program ended without saying {word:?}");
    }

    /// Lets the program go on from [`wait_for_go`].
    pub(crate) fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The part that this process plays, and the agent's directory; none in the test itself.
pub(crate) fn part() -> Option<(String, PathBuf)> {
    let part = std::env::var("SIDESTEP_TEST_PART").ok()?;
    Some((part, std::env::var_os("SIDESTEP_TEST_PLACE")?.into()))
}

pub(crate) fn say(word: &str) {
    println!("\n{word}");
    std::io::stdout().flush().unwrap();
}

pub(crate) fn wait_for_go() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Plays an agent until killed.
pub(crate) fn be_agent(place: PathBuf) -> ! {
    let linger = Duration::from_secs(60);
    let options = Options {
        runtime_dir: Some(place),
        linger,
        foreground: true,
        log_to_stderr: false,
        ..Options::default()
    };
    sidestep_agent::run(&options).unwrap();
    std::process::exit(0)
}
