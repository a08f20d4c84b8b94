//! What the figures were measured on. No dates and no names: two runs on one machine say the same.

use crate::placement::Cpus;
use serde::Serialize;
use std::fs;

/// The machine and the setting of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Processor model.
    pub(crate) processor: String,
    /// Processors this program may use.
    pub(crate) processors: usize,
    /// Whether a hypervisor runs below.
    pub(crate) virtual_machine: bool,
    /// Kernel and its release.
    pub(crate) kernel: String,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel's default congestion control.
    pub(crate) congestion_control: String,
    /// Where the two sides ran.
    pub(crate) cpus: Cpus,
    /// Our version.
    pub(crate) sidestep: &'static str,
    /// Rounds of each case.
    pub(crate) rounds: usize,
    /// Timed seconds in each measurement.
    pub(crate) seconds: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn here(cpus: Cpus, rounds: usize, seconds: f64) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let uname = rustix::system::uname();
        let words =
            [uname.sysname(), uname.release(), uname.machine()].map(|w| w.to_string_lossy());
        let control =
            fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        let memory = field(&meminfo, "MemTotal")
            .and_then(|m| m.split_whitespace().next()?.parse::<u64>().ok());
        let flags = field(&cpuinfo, "flags").unwrap_or_default();
        Self {
            processor: field(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            kernel: words.join(" "),
            memory_mib: memory.unwrap_or(0) / 1024,
            congestion_control: control.trim().to_owned(),
            cpus,
            sidestep: env!("CARGO_PKG_VERSION"),
            rounds,
            seconds,
        }
    }

    /// A few lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kind = if self.virtual_machine {
            ", virtual"
        } else {
            ""
        };
        let Cpus { server, client } = self.cpus;
        vec![
            format!(
                "{} ({} processors{kind}), {} MiB",
                self.processor, self.processors, self.memory_mib
            ),
            format!(
                "{}, default congestion control {}",
                self.kernel, self.congestion_control
            ),
            format!(
                "Sidestep {}; servers on processor {server}, clients on {client}; {} rounds of {} s, alternating",
                self.sidestep, self.rounds, self.seconds
            ),
        ]
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "name"), None);
    }
}
