//! The same work as in the parent module, done by two DPDK processes on net_memif, zero-copy at the client: a small
//! program of our own, built against Debian's libdpdk when the benchmark runs.

use crate::placement::Cpus;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOURCE: &str = include_str!("../../dpdk/memif.c");
/// Longer than DPDK takes to start, both ends.
const START: Duration = Duration::from_secs(20);

/// Half of what a round trip took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfRoundTrips {
    /// The middle.
    pub(crate) p50_ns: f64,
    /// One in a hundred took longer.
    pub(crate) p99_ns: f64,
    /// One in a thousand took longer.
    pub(crate) p999_ns: f64,
    /// The longest.
    pub(crate) max_ns: f64,
}

/// The built program, in a directory of its own.
pub(crate) struct Dpdk {
    directory: PathBuf,
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Dpdk {
    /// Builds the program. Fails where the compiler or DPDK (Debian: gcc, pkg-config, dpdk-dev) is missing; DPDK
    /// itself needs root.
    pub(crate) fn build() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "DPDK needs root");
        let flags = |which| -> Result<Vec<String>> {
            let said = Command::new("pkg-config").args([which, "libdpdk"]).output();
            let said = said.context("pkg-config (Debian: pkg-config)")?;
            ensure!(
                said.status.success(),
                "libdpdk is not installed (Debian: dpdk-dev)"
            );
            let flags = String::from_utf8(said.stdout)?;
            Ok(flags.split_whitespace().map(str::to_owned).collect())
        };
        let (compile, link) = (flags("--cflags")?, flags("--libs")?);
        let name = format!("sidestep-bench-dpdk-{}", std::process::id());
        let dpdk = Self {
            directory: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(dpdk.directory.join("runtime"))?;
        let source = dpdk.directory.join("memif.c");
        std::fs::write(&source, SOURCE)?;
        let built = Command::new("cc")
            .args(["-O3", "-march=native"])
            .args(compile)
            .arg(&source)
            .arg("-o")
            .arg(dpdk.program())
            .args(link)
            .output()
            .context("cc (Debian: gcc)")?;
        ensure!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        Ok(dpdk)
    }

    /// Times round trips of `frames` frames of `bytes`.
    pub(crate) fn half_round_trips(
        &self,
        cpus: Cpus,
        frames: u64,
        bytes: usize,
    ) -> Result<HalfRoundTrips> {
        let amount = frames.to_string();
        let figures = self.run(
            cpus,
            bytes,
            ["ping", &amount],
            "echo",
            Duration::from_secs(60),
        )?;
        let &[p50_ns, p99_ns, p999_ns, max_ns] = figures.as_slice() else {
            bail!("not the figures that were asked for: {figures:?}");
        };
        Ok(HalfRoundTrips {
            p50_ns,
            p99_ns,
            p999_ns,
            max_ns,
        })
    }

    /// Frames of `bytes` that go one way in a second.
    pub(crate) fn one_way_rate(&self, cpus: Cpus, span: Duration, bytes: usize) -> Result<f64> {
        let amount = span.as_millis().to_string();
        let figures = self.run(cpus, bytes, ["receive", &amount], "send", span)?;
        figures.first().copied().context("no figure")
    }

    /// Runs a server that measures and a client that does its part; returns what the server prints.
    fn run(
        &self,
        cpus: Cpus,
        bytes: usize,
        server: [&str; 2],
        client: &str,
        span: Duration,
    ) -> Result<Vec<f64>> {
        ensure!(cpus.apart(), "two ends that poll need two processors");
        let socket = self.directory.join("socket");
        let _ = std::fs::remove_file(&socket);
        let bytes = bytes.to_string();
        let mut measuring = self.start(
            "server",
            cpus.client,
            &socket,
            &[server[0], &bytes, server[1]],
        )?;
        let stdout = measuring.0.stdout.take().context("no output")?;
        let until = crate::clock::Deadline::after(START + span);
        while !socket.exists() {
            ensure!(
                !until.passed() && measuring.0.try_wait()?.is_none(),
                "DPDK does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let other = self.start("client", cpus.server, &socket, &[client, &bytes])?;
        // The client goes first, whatever happens; a server that hangs is killed when its time is over.
        let said = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut line = String::new();
                BufReader::new(stdout.take(4096))
                    .read_line(&mut line)
                    .map(|_| line)
            });
            while !reader.is_finished() && !until.passed() {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(other);
            drop(measuring);
            reader
                .join()
                .map_err(|_| anyhow::anyhow!("the reader panicked"))?
                .map_err(anyhow::Error::from)
        })?;
        let figures: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        let figures = figures.context("figures that are no numbers")?;
        ensure!(!figures.is_empty(), "DPDK measured nothing");
        Ok(figures)
    }

    fn start(&self, role: &str, cpu: usize, socket: &Path, work: &[&str]) -> Result<Process> {
        // Only the client has memory to share; the server takes what it is given.
        let zero_copy = if role == "client" {
            ",zero-copy=yes"
        } else {
            ""
        };
        let device = format!(
            "net_memif0,role={role},socket={},socket-abstract=no{zero_copy}",
            socket.display()
        );
        let child = Command::new(self.program())
            .args(["-l", &cpu.to_string(), "--no-huge", "--no-pci", "-m", "256"])
            .args([
                "--no-telemetry",
                "--single-file-segments",
                "--file-prefix",
                role,
            ])
            .args(["--log-level", "3", "--vdev", &device, "--"])
            .args(work)
            .env("RUNTIME_DIRECTORY", self.directory.join("runtime"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Process(child))
    }

    fn program(&self) -> PathBuf {
        self.directory.join("memif")
    }
}
