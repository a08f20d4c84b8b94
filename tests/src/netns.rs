//! Network namespaces joined by pairs of virtual Ethernet interfaces, made by a test and gone with it. Needs root.

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::process::{Command, Output};

/// A network namespace of its own, without a name, with its loopback up; it lasts as long as the value and the
/// processes inside.
#[derive(Debug)]
pub struct Netns(OwnedFd);

impl Netns {
    /// A new one, empty.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            #[expect(
                deprecated,
                reason = "what it warns of, unsharing descriptors, is not done here"
            )]
            rustix::thread::unshare(UnshareFlags::NEWNET)
                .expect("a network namespace of its own: needs root");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
        });
        let fd = made.join().expect("a thread").expect("the new namespace");
        let netns = Self(fd);
        netns.run("ip link set lo up");
        netns
    }

    /// The one that this thread is in.
    pub fn here() -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty());
        Self(fd.expect("this namespace"))
    }

    /// Runs `f` inside, on a thread of its own; what it opens stays inside.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                f()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread inside, for good.
    pub fn enter(&self) {
        use rustix::fd::AsFd as _;
        rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("into the namespace");
    }

    /// Runs a command, given as words with spaces between, inside. It must succeed; returns what it prints.
    pub fn run(&self, words: &str) -> String {
        let output = self.try_run(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words}: {}\n{said}{wrong}",
            output.status
        );
        said
    }

    /// The same, whatever becomes of it.
    pub fn try_run(&self, words: &str) -> Output {
        let mut words_of = words.split_whitespace();
        let program = words_of.next().expect("a command");
        self.inside(|| {
            Command::new(program)
                .args(words_of)
                .output()
                .unwrap_or_else(|error| panic!("{words}: {error}"))
        })
    }

    /// How another process finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The index of an interface inside.
    pub fn ifindex(&self, name: &str) -> u32 {
        let links = self.link(name);
        let index = links[0]["ifindex"].as_u64().expect("an index");
        u32::try_from(index).expect("a small one")
    }

    /// The hardware address of an interface inside.
    pub fn station(&self, name: &str) -> [u8; 6] {
        let links = self.link(name);
        let said = links[0]["address"].as_str().expect("an address");
        let mut bytes = said.split(':').map(|hex| u8::from_str_radix(hex, 16));
        core::array::from_fn(|_| bytes.next().expect("six bytes").expect("hexadecimal"))
    }

    /// What `ip` says of an interface inside.
    fn link(&self, name: &str) -> serde_json::Value {
        let said = self.run(&format!("ip -json link show dev {name}"));
        serde_json::from_str(&said).expect("JSON from ip")
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

/// Two namespaces with a cable between them: `near0` in one, `far0` in the other.
#[derive(Debug)]
pub struct Cable {
    /// Where `near0` is.
    pub near: Netns,
    /// Where `far0` is.
    pub far: Netns,
}

impl Cable {
    /// Both ends up, with that many queues each and that MTU, with 10.9.0.1/24 and fd09::1/64 on `near0`,
    /// 10.9.0.2/24 and fd09::2/64 on `far0`, and with finished checksums on what they send.
    pub fn new(queues: u32, mtu: u32) -> Self {
        let cable = Self::made(queues, mtu, 0);
        for (netns, name, n) in cable.ends() {
            netns.run(&format!("ip addr add 10.9.0.{n}/24 dev {name}"));
            netns.run(&format!("ip addr add fd09::{n}/64 dev {name} nodad"));
            netns.run(&format!("ethtool -K {name} tx off"));
            netns.run(&format!("ip link set {name} up"));
        }
        cable
    }

    /// Both ends up without addresses: no frame is on the cable but the test's own.
    pub fn silent(queues: u32, mtu: u32) -> Self {
        let cable = Self::made(queues, mtu, 1);
        for (netns, name, _) in cable.ends() {
            netns.run(&format!("ip link set {name} up"));
        }
        cable
    }

    fn made(queues: u32, mtu: u32, disable_ipv6: u8) -> Self {
        let cable = Self {
            near: Netns::new(),
            far: Netns::new(),
        };
        for (netns, _, _) in cable.ends() {
            // Nobody else is there whose address ours could be, and nothing is asked of a neighbour before that is sure.
            netns.run(&format!(
                "sysctl -qw net.ipv6.conf.default.disable_ipv6={disable_ipv6} net.ipv6.conf.default.accept_dad=0"
            ));
        }
        let rx_tx = format!("numrxqueues {queues} numtxqueues {queues}");
        cable.near.run(&format!(
            "ip link add near0 mtu {mtu} {rx_tx} type veth peer name far0 mtu {mtu} {rx_tx} netns {}",
            cable.far.path()
        ));
        cable
    }

    fn ends(&self) -> [(&Netns, &'static str, u8); 2] {
        [(&self.near, "near0", 1), (&self.far, "far0", 2)]
    }
}
