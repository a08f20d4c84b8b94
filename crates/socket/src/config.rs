//! What the environment says. Read once, when the first socket is made.

use sidestep_nic::fault::Spec;
use sidestep_shm::Nanos;
use std::path::PathBuf;

/// How long a blocked call spins before it sleeps, where nothing else is said: about what falling asleep and being
/// woken costs, so that spinning at worst doubles the wait.
const SPIN_DEFAULT: Nanos = Nanos::from_micros(50);

/// Settings of this process.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// SIDESTEP_OFF: leave everything to the kernel.
    pub(crate) off: bool,
    /// SIDESTEP_SPIN_US: longest spin. Set: spin as long whatever experience says.
    pub(crate) spin: Nanos,
    pub(crate) spin_fixed: bool,
    /// SIDESTEP_CHECKSUM=on.
    pub(crate) checksums: bool,
    pub(crate) sockets_max: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) snd_buf_bytes: u32,
    pub(crate) rcv_buf_bytes: u32,
    /// SIDESTEP_FAULT: the bad link that the program is to see. `sidestep run` has looked at it.
    pub(crate) faults: Option<Spec>,
    /// Descriptor that decisions are written to.
    pub(crate) explain_fd: Option<i32>,
    /// The `sidestep` executable, to start an agent with.
    pub(crate) exe: PathBuf,
    /// The program's name.
    pub(crate) name: String,
}

impl Config {
    pub(crate) fn from_env() -> Self {
        let spin = number("SIDESTEP_SPIN_US");
        Self {
            off: std::env::var_os("SIDESTEP_OFF").is_some_and(|v| v != "0" && !v.is_empty()),
            spin: spin.map_or(SPIN_DEFAULT, Nanos::from_micros),
            spin_fixed: spin.is_some(),
            checksums: std::env::var_os("SIDESTEP_CHECKSUM").is_some_and(|v| v == "on" || v == "1"),
            sockets_max: bounded("SIDESTEP_SOCKETS_MAX", 65_536, 16, 1 << 20),
            buffer_bytes: bounded("SIDESTEP_BUFFER_MB", 256, 1, 16_384) << 20,
            snd_buf_bytes: buffer("SIDESTEP_SNDBUF"),
            rcv_buf_bytes: buffer("SIDESTEP_RCVBUF"),
            faults: std::env::var("SIDESTEP_FAULT")
                .ok()
                .and_then(|text| text.parse().ok()),
            explain_fd: number("SIDESTEP_EXPLAIN_FD").and_then(|n| i32::try_from(n).ok()),
            exe: std::env::var_os("SIDESTEP_EXE")
                .map_or_else(|| PathBuf::from("sidestep"), PathBuf::from),
            name: program_name(),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

fn bounded(name: &str, default: u64, least: u64, most: u64) -> usize {
    usize::try_from(number(name).unwrap_or(default).clamp(least, most)).unwrap_or(usize::MAX)
}

fn buffer(name: &str) -> u32 {
    u32::try_from(number(name).unwrap_or(1 << 20).clamp(4 << 10, 64 << 20)).unwrap_or(u32::MAX)
}

/// As `ps` shows it: the last part of the first argument.
fn program_name() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let path = PathBuf::from(first);
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
