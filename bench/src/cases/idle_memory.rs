//! Memory that an idle connection takes at one end.

use super::BESIDE_KERNEL;
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::TempDir;
use std::fs;
use std::time::Duration;

/// Connections made before the memory is first looked at, so that rings and tables have been touched.
const FIRST_CONNECTIONS: usize = 1_000;
/// Longest that making all connections may take.
const SPAN: Duration = Duration::from_secs(20);

/// Growth of the server's process, and of the kernel's tables, as connections are added that do nothing.
#[derive(Debug)]
pub(super) struct IdleMemory;

impl Case for IdleMemory {
    fn name(&self) -> &'static str {
        "idle_memory"
    }

    fn title(&self) -> &'static str {
        "memory of an idle connection, one end: in the process, and beside it in the kernel"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "bytes_per_connection",
                unit: Unit::Bytes,
            },
            Metric {
                name: "kernel_bytes_per_connection",
                unit: Unit::Bytes,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        BESIDE_KERNEL
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let dir = TempDir::new()?;
        let go = dir.path().join("go");
        let ends = Ends::new(lab, Place::Host, who)?;
        let (port, count) = (
            ends.free_port()?.to_string(),
            effort.idle_connections.to_string(),
        );
        let listening = Listening::Tcp(port.parse().unwrap_or(0));
        let server = ends.serve(
            "hold load",
            ends.server.load("hold-server", &["--port", &port]),
            listening,
        )?;
        let mut command = ends
            .client
            .load("hold", &["--port", &port, "--then", &count]);
        command
            .args(["--first", &FIRST_CONNECTIONS.to_string()])
            .arg("--when")
            .arg(&go);
        let before_all = ends.server.traffic()?;
        let client = ends.client.start("hold load", command)?;
        client.says("first", SPAN)?;
        server.says(&format!("holds {FIRST_CONNECTIONS}\n"), SPAN)?;
        let before = Memory::of(server.id())?;
        fs::write(&go, "")?;
        client.says("then", SPAN)?;
        server.says(
            &format!("holds {}\n", FIRST_CONNECTIONS + effort.idle_connections),
            SPAN,
        )?;
        let after = Memory::of(server.id())?;
        if who == Contender::Sidestep {
            // A handshake takes three frames.
            let connections = (FIRST_CONNECTIONS + effort.idle_connections) as u64;
            let moved = ends.server.traffic()?.since(&before_all);
            moved.at_least(3 * connections, 0)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
        let each = |before: u64, after: u64, ends: usize| {
            (after as f64 - before as f64).max(0.0) / (effort.idle_connections * ends) as f64
        };
        Ok(Figures::from([
            (
                "bytes_per_connection",
                each(before.process, after.process, 1),
            ),
            (
                "kernel_bytes_per_connection",
                each(before.kernel, after.kernel, 2),
            ),
        ]))
    }
}

/// Bytes in use.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// By one process, shared memory included.
    process: u64,
    /// By the kernel's small objects: sockets, files, and all else.
    kernel: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self, Problem> {
        Ok(Self {
            process: memory_in(&format!("/proc/{pid}/status"), "VmRSS:")?,
            kernel: memory_in("/proc/meminfo", "Slab:")?,
        })
    }
}

/// The bytes that a line of a file like `/proc/meminfo` tells.
pub(super) fn memory_in(path: &str, field: &str) -> Result<u64, Problem> {
    kilobytes(&fs::read_to_string(path)?, field)
        .map(|kb| kb * 1024)
        .ok_or_else(|| Problem::Failed(format!("{path} has no {field}")))
}

/// The figure of a line like `VmRSS:      1234 kB`.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|l| {
        l.strip_prefix(field)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(
            kilobytes("VmSize:\t  99 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"),
            Some(1234)
        );
        assert_eq!(kilobytes("VmSize:\t  99 kB\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_some() {
        assert!(Memory::of(std::process::id()).unwrap().process > 0);
    }
}
