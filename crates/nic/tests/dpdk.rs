//! Our memif driver with DPDK's at the other end: `dpdk-testpmd` swaps the addresses of every frame and sends it back.
//!
//! Needs root and Debian's package `dpdk-dev` (testpmd; it brings the memif driver along). Run by
//! `cargo test -p sidestep-nic --test dpdk -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::event::{PollFd, PollFlags, Timespec};
use sidestep_nic::memif::control::{Link, Options, connect, listen};
use sidestep_nic::memif::{Memif, Role};
use sidestep_nic::{Port, PortStats};
use sidestep_shm::{Clock, Foreign, Nanos};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// One testpmd at a time: it takes a processor for itself, and so do we.
static ONE: Mutex<()> = Mutex::new(());

/// A directory of this test's own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidestep-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("runtime")).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `dpdk-testpmd`, taking its commands from us; killed when dropped.
struct Testpmd {
    child: Child,
    stdin: ChildStdin,
}

impl Testpmd {
    fn start(role: &str, socket: &Path, more: &str) -> Self {
        let device = format!(
            "net_memif0,role={role},socket={},socket-abstract=no{more}",
            socket.display()
        );
        let mut child = Command::new("dpdk-testpmd")
            .args([
                "-l",
                "0,1",
                "--no-huge",
                "--no-pci",
                "-m",
                "64",
                "--no-telemetry",
            ])
            .args([
                "--vdev",
                &device,
                "--",
                "-i",
                "--forward-mode=macswap",
                "--auto-start",
            ])
            .args(["--total-num-mbufs=2048", "--no-mlockall", "--no-flush-rx"])
            // Where it keeps its own files, as a service manager would say.
            .env("RUNTIME_DIRECTORY", socket.with_file_name("runtime"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dpdk-testpmd (package dpdk-dev)");
        let stdin = child.stdin.take().unwrap();
        Self { child, stdin }
    }

    /// Asks for the port's counters and ends it: packets received and packets sent.
    fn finish(mut self) -> (u64, u64) {
        self.stdin
            .write_all(b"stop\nshow port stats 0\nquit\n")
            .unwrap();
        let mut said = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let statistics = said
            .split("NIC statistics for port 0")
            .nth(1)
            .expect(&said)
            .to_owned();
        let count = |name: &str| -> u64 {
            let after = statistics.split(name).nth(1).unwrap();
            after.split_whitespace().next().unwrap().parse().unwrap()
        };
        (count("RX-packets:"), count("TX-packets:"))
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frame(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| u8::try_from((number * 13 + i * 5 + i / 251) & 0xff).unwrap())
        .collect()
}

/// What testpmd makes of a frame.
fn swapped(frame: &[u8]) -> Vec<u8> {
    [&frame[6..12], &frame[..6], &frame[12..]].concat()
}

/// Sends frames, a few in flight at a time, and checks that each comes back as it should.
fn exchange(link: &mut Link, sizes: &[usize], rounds: usize) -> PortStats {
    let clock = Clock::new();
    let mut port = Memif::new(&mut link.state, &link.at);
    port.rx_wakeups(false);
    let (mut sent, mut received, total) = (0, 0, sizes.len() * rounds);
    let mut deadline = clock.now() + Nanos::from_secs(10);
    while received < total {
        while sent < total && sent < received + 8 {
            let frame = frame(sent, sizes[sent % sizes.len()]);
            if !port.tx(frame.len(), |mut room| {
                assert_eq!(room.copy_from(&frame), frame.len())
            }) {
                break;
            }
            sent += 1;
        }
        port.tx_flush();
        let got = port.rx_batch(32, |bytes: Foreign<'_>| {
            let mut copy = vec![0; bytes.len()];
            bytes.copy_to(&mut copy);
            let expected = swapped(&frame(received, sizes[received % sizes.len()]));
            assert!(
                copy == expected,
                "frame {received} of {} bytes came back wrong",
                expected.len()
            );
            received += 1;
        });
        if got != 0 {
            deadline = clock.now() + Nanos::from_secs(10);
        }
        assert!(
            clock.now() < deadline,
            "{received} of {sent} frames came back, then silence"
        );
        assert!(!port.is_broken());
    }
    port.stats()
}

/// A sleeping receiver is woken by DPDK's sender.
fn wake_up(link: &mut Link) {
    link.rx_event.drain();
    let mut port = Memif::new(&mut link.state, &link.at);
    port.rx_wakeups(true);
    assert!(!port.rx_pending());
    assert!(port.tx(60, |mut room| assert_eq!(room.copy_from(&frame(0, 60)), 60)));
    port.tx_flush();
    let mut wait = [PollFd::new(&link.rx_event, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut wait, Some(&limit)).unwrap(),
        1,
        "never woken"
    );
    assert!(link.rx_event.drain());
    assert_eq!(port.rx_batch(9, |_| {}), 1);
}

fn run(mut link: Link, testpmd: Testpmd) {
    let plain = [60, 61, 64, 127, 512, 1514, 2048];
    // More than either ring holds, so that all indices wrap, with frames that need two and five buffers.
    exchange(&mut link, &plain, 1500);
    let stats = exchange(&mut link, &[60, 2049, 9014, 64], 2000);
    assert_eq!(
        (stats.rx_malformed, stats.tx_doorbells),
        (0, 0),
        "DPDK polls"
    );
    wake_up(&mut link);
    let stats = Memif::new(&mut link.state, &link.at).stats();
    assert_eq!(stats.rx_frames, 7 * 1500 + 4 * 2000 + 1);
    assert_eq!(
        (stats.tx_frames, stats.tx_bytes),
        (stats.rx_frames, stats.rx_bytes)
    );
    assert!(link.channel.check().is_ok());
    let (rx, tx) = testpmd.finish();
    // testpmd counts buffers of a chain as bytes, not as packets, when it receives; as packets all the same.
    assert_eq!((rx, tx), (stats.tx_frames, stats.rx_frames));
    assert!(link.channel.check().is_err(), "the link ended with testpmd");
}

#[test]
#[ignore = "needs dpdk-testpmd and root"]
fn dpdk_as_server() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("dpdk-server");
    let socket = directory.0.join("memif");
    let testpmd = Testpmd::start("server", &socket, "");
    let clock = Clock::new();
    let deadline = clock.now() + Nanos::from_secs(20);
    // testpmd accepts once its port is started, a moment after the socket appears.
    let link = loop {
        match connect(&socket, &Options::default(), PATIENCE) {
            Ok(link) => break link,
            Err(error) => assert!(clock.now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(link.state.role(), Role::Slave);
    run(link, testpmd);
}

#[test]
#[ignore = "needs dpdk-testpmd and root"]
fn dpdk_as_client() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("dpdk-client");
    let socket = directory.0.join("memif");
    let listener = listen(&socket, &Options::default()).unwrap();
    let testpmd = Testpmd::start("client", &socket, "");
    let link = listener.accept(PATIENCE).unwrap();
    assert_eq!(link.state.role(), Role::Master);
    run(link, testpmd);
}

#[test]
#[ignore = "needs dpdk-testpmd and root"]
fn dpdk_with_a_secret_and_rings_of_its_own_size() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("dpdk-secret");
    let socket = directory.0.join("memif");
    let options = Options {
        id: 7,
        secret: "open sesame".into(),
        log2_slots: 8,
        ..Options::default()
    };
    let listener = listen(&socket, &options).unwrap();
    let testpmd = Testpmd::start(
        "client",
        &socket,
        ",id=7,secret=open sesame,rsize=11,bsize=4096",
    );
    let mut link = listener.accept(PATIENCE).unwrap();
    assert_eq!(link.state.geometry().s2m.log2_slots, 8);
    exchange(&mut link, &[60, 4000, 9014], 500);
    testpmd.finish();
}
