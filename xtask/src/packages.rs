//! Programs that tests and the demonstration use, and the Debian packages that bring them.

use crate::steps;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and its package.
const PROGRAMS: [(&str, &str); 19] = [
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("redis-benchmark", "redis-tools"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("memcached", "memcached"),
    ("sockperf", "sockperf"),
    ("iperf3", "iperf3"),
    ("dpdk-testpmd", "dpdk-dev"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("clang", "clang"),
    ("ping", "iputils-ping"),
    ("sysctl", "procps"),
    ("strace", "strace"),
    ("openssl", "openssl"),
    ("cc", "gcc"),
];

/// Names of all programs that can be asked for.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|(program, _)| *program)
}

/// Where a program is, also where an ordinary user's PATH does not look.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Packages of those programs that are not here.
pub(crate) fn missing(programs: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut packages: Vec<_> = programs
        .filter(|program| find(program).is_none())
        .filter_map(|program| PROGRAMS.iter().find(|(name, _)| *name == program))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

/// Whether this user may install packages.
pub(crate) fn may_install() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs packages, and says so.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    steps::say(&format!("install: {}", packages.join(" ")));
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        // RUNLEVEL=1 keeps the packages' own services from starting.
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1");
        steps::succeed(command.arg("--quiet").args(words).stdin(Stdio::null()))
    };
    apt(&["update"]).context("cannot fetch the lists of packages")?;
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(packages);
    apt(&words).context("cannot install packages")
}
