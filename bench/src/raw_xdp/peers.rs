//! Programs of our own on the drivers of peers, built against Debian's libraries when the benchmark runs.

use anyhow::{Context as _, Result, ensure};
use sidestep_tests::netns::Netns;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Longer than DPDK takes to start.
const START: Duration = Duration::from_secs(20);
const WORK: &str = include_str!("../../xdp/work.h");

/// Whose driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// DPDK's net_af_xdp.
    Dpdk,
    /// libxdp's helpers, as its examples use them.
    Libxdp,
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Dpdk => "dpdk",
            Self::Libxdp => "libxdp",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Dpdk => include_str!("../../xdp/dpdk.c"),
            Self::Libxdp => include_str!("../../xdp/libxdp.c"),
        }
    }

    /// Libraries, as pkg-config knows them, and the packages that bring them.
    const fn libraries(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Dpdk => (&["libdpdk"], "dpdk-dev"),
            Self::Libxdp => (&["libxdp", "libbpf"], "libxdp-dev, libbpf-dev"),
        }
    }
}

/// The built programs, in a directory of their own.
pub(crate) struct Peers {
    directory: PathBuf,
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A peer at work; killed when dropped.
pub(crate) struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The figures that it prints on one line, within that time.
    pub(crate) fn figures(&mut self, within: Duration) -> Result<Vec<f64>> {
        let line = self.line(within)?;
        let figures: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        let figures = figures.context("figures that are no numbers")?;
        ensure!(!figures.is_empty(), "the peer measured nothing");
        Ok(figures)
    }

    /// The next line, within that time; else it is killed.
    fn line(&mut self, within: Duration) -> Result<String> {
        let until = crate::clock::Deadline::after(within);
        let Self { child, said } = self;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut line = String::new();
                said.take(4096).read_line(&mut line).map(|_| line)
            });
            while !reader.is_finished() && !until.passed() {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !reader.is_finished() {
                let _ = child.kill();
            }
            let line = reader
                .join()
                .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
            Ok(line.trim().to_owned())
        })
    }
}

impl Peers {
    /// An empty directory; programs are built when first needed.
    pub(crate) fn new() -> Result<Self> {
        let name = format!("sidestep-bench-xdp-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(directory.join("runtime"))?;
        std::fs::write(directory.join("work.h"), WORK)?;
        Ok(Self { directory })
    }

    /// Builds a peer's program, unless it is there. Fails where the compiler or the library is missing.
    pub(crate) fn build(&self, peer: Peer) -> Result<()> {
        if self.program(peer).exists() {
            return Ok(());
        }
        let (libraries, packages) = peer.libraries();
        let said = Command::new("pkg-config")
            .args(["--cflags", "--libs"])
            .args(libraries)
            .output()
            .context("pkg-config (Debian: pkg-config)")?;
        ensure!(
            said.status.success(),
            "{} is not installed (Debian: {packages})",
            libraries.join(", ")
        );
        let source = self.directory.join(format!("{}.c", peer.name()));
        std::fs::write(&source, peer.source())?;
        let built = Command::new("cc")
            .args(["-O3", "-march=native"])
            .arg(&source)
            .arg("-o")
            .arg(self.program(peer))
            .args(String::from_utf8(said.stdout)?.split_whitespace())
            .output()
            .context("cc (Debian: gcc)")?;
        ensure!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        Ok(())
    }

    /// Starts a peer's program inside a namespace, on a processor, with that work, and waits until it is ready.
    pub(crate) fn start(
        &self,
        peer: Peer,
        netns: &Netns,
        interface: &str,
        cpu: usize,
        work: &[String],
    ) -> Result<Running> {
        let mut command = Command::new("taskset");
        command
            .args(["-c", &cpu.to_string()])
            .arg(self.program(peer));
        match peer {
            Peer::Dpdk => {
                let device = format!("net_af_xdp0,iface={interface}");
                command
                    .args(["-l", &cpu.to_string(), "--no-huge", "--no-pci", "-m", "256"])
                    .args(["--no-telemetry", "--single-file-segments"])
                    .args(["--file-prefix", interface, "--log-level", "3"])
                    .args(["--vdev", &device, "--"]);
            }
            Peer::Libxdp => {
                command.arg(interface);
            }
        }
        command
            .args(work)
            .env("RUNTIME_DIRECTORY", self.directory.join("runtime"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = netns.inside(|| command.spawn()).context("taskset")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut running = Running {
            child,
            said: BufReader::new(stdout),
        };
        let said = running.line(START)?;
        ensure!(said == "ready", "{} does not start", peer.name());
        Ok(running)
    }

    fn program(&self, peer: Peer) -> PathBuf {
        self.directory.join(peer.name())
    }
}
