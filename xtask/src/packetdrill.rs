//! Google's packetdrill over Sidestep: its scripts against the stack and the library's own calls, in virtual time.
//!
//! The tool and its scripts are not part of this repository: whoever has them says where. Each script runs in a network
//! namespace of its own, as it sets the kernel's parameters, which the stack takes over.

use crate::steps::{cargo, say, succeed, target_directory};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

/// How long a script may take, in seconds.
const LIMIT_S: &str = "60";
/// Scripts that run at a time.
const AT_A_TIME: usize = 4;
/// An interface for the addresses that scripts use; nothing goes over it.
const INTERFACE: &str = "ip link set lo up; ip tuntap add tun0 mode tun; ip link set tun0 up; \
    ip addr add 192.168.0.1/16 dev tun0; ip addr add fd3d:0a0b:17d6::1/64 dev tun0 nodad; \
    ip route add default dev tun0; ip -6 route add default dev tun0; exec timeout \"$@\"";

/// Play packetdrill scripts over Sidestep; the tool is yours to bring.
#[derive(Debug, Args)]
pub(crate) struct Packetdrill {
    /// The packetdrill executable.
    #[arg(long)]
    tool: PathBuf,
    /// Scripts, or directories with scripts.
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
    /// Only these families of addresses; all of them if none is named.
    #[arg(long, value_enum)]
    family: Vec<Family>,
    /// Show what the tool says of each script that fails, rather than its first line.
    #[arg(long)]
    verbose: bool,
}

/// What scripts are played over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    Ipv4,
    Ipv6,
    /// IPv4 on IPv6 sockets.
    Mapped,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Mapped => "IPv4-mapped",
        }
    }

    /// Longest packet of the network.
    const fn mtu(self) -> u32 {
        match self {
            Self::Ipv6 => 1520,
            _ => 1500,
        }
    }

    /// Arguments, as the tool's own `run_all.py` gives them.
    const fn arguments(self) -> &'static str {
        match self {
            Self::Ipv4 => {
                "--ip_version=ipv4 --local_ip=192.168.0.1 --gateway_ip=192.168.0.1 \
                 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1 -D TFO_COOKIE=3021b9d889017eeb \
                 -D CODE=host_unreachable -D CMSG_LEVEL_IP=SOL_IP -D CMSG_TYPE_RECVERR=IP_RECVERR"
            }
            Self::Ipv6 => {
                "--ip_version=ipv6 --mtu=1520 --local_ip=fd3d:0a0b:17d6::1 \
                 --gateway_ip=fd3d:0a0b:17d6:8888::1 --remote_ip=fd3d:fa7b:d17d::1 \
                 -D TFO_COOKIE=c1d1e9742a47a9bc -D CMSG_LEVEL_IP=SOL_IPV6 \
                 -D CMSG_TYPE_RECVERR=IPV6_RECVERR"
            }
            Self::Mapped => {
                "--ip_version=ipv4-mapped-ipv6 --local_ip=192.168.0.1 --gateway_ip=192.168.0.1 \
                 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1 -D TFO_COOKIE=3021b9d889017eeb \
                 -D CODE=host_unreachable -D CMSG_LEVEL_IP=SOL_IPV6 \
                 -D CMSG_TYPE_RECVERR=IPV6_RECVERR"
            }
        }
    }

    /// Whether a script is for this family: some say so in their names.
    fn plays(self, script: &Path) -> bool {
        let name = script.to_string_lossy();
        let other = if self == Self::Ipv6 {
            "v4.pkt"
        } else {
            "v6.pkt"
        };
        !name.ends_with(other)
    }
}

/// One script over one family, and what became of it.
struct Run {
    script: PathBuf,
    family: Family,
    /// What the tool said, where it failed.
    failure: Option<String>,
}

/// Runs the scripts, and prints a table.
pub(crate) fn main(args: &Packetdrill) -> anyhow::Result<ExitCode> {
    say("build: libsidestep_packetdrill.so");
    succeed(&mut cargo(&["build", "--package", "sidestep-packetdrill"]))?;
    let library = target_directory()
        .join("debug/libsidestep_packetdrill.so")
        .canonicalize()
        .context("no library")?;
    let tool = args.tool.canonicalize().context("no such tool")?;
    let mut scripts = Vec::new();
    for path in &args.scripts {
        find(
            &path
                .canonicalize()
                .with_context(|| path.display().to_string())?,
            &mut scripts,
        )?;
    }
    scripts.sort();
    let families: &[Family] = if args.family.is_empty() {
        Family::value_variants()
    } else {
        &args.family
    };
    let waiting: Vec<(PathBuf, Family)> = families
        .iter()
        .flat_map(|family| scripts.iter().map(|script| (script.clone(), *family)))
        .filter(|(script, family)| family.plays(script))
        .collect();
    if waiting.is_empty() {
        bail!("no scripts found");
    }
    let runs = play_all(&tool, &library, waiting)?;
    print(&runs, families, args.verbose);
    let failed = runs.iter().any(|run| run.failure.is_some());
    Ok(ExitCode::from(u8::from(failed)))
}

fn find(path: &Path, scripts: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            find(&entry?.path(), scripts)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "pkt") {
        scripts.push(path.to_owned());
    }
    Ok(())
}

fn play_all(
    tool: &Path,
    library: &Path,
    mut waiting: Vec<(PathBuf, Family)>,
) -> anyhow::Result<Vec<Run>> {
    waiting.reverse();
    let waiting = Mutex::new(waiting);
    let take = || waiting.lock().ok()?.pop();
    let worker = || {
        let mut runs = Vec::new();
        while let Some((script, family)) = take() {
            let failure = play(tool, library, &script, family)?;
            runs.push(Run {
                script,
                family,
                failure,
            });
        }
        anyhow::Ok(runs)
    };
    let mut runs = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => runs.extend(done?),
                Err(_) => bail!("a worker panicked"),
            }
        }
        Ok(())
    })?;
    runs.sort_by(|a, b| a.script.cmp(&b.script));
    Ok(runs)
}

/// Plays one script; what the tool says where it fails.
fn play(
    tool: &Path,
    library: &Path,
    script: &Path,
    family: Family,
) -> anyhow::Result<Option<String>> {
    let (Some(directory), Some(name)) = (script.parent(), script.file_name()) else {
        bail!("{}: not a script", script.display());
    };
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", INTERFACE, "sh", LIMIT_S])
        .arg(tool)
        .arg(format!("--so_filename={}", library.display()))
        .arg(format!("--so_flags=mtu={}", family.mtu()))
        .arg("--send_omit_free")
        .args(family.arguments().split_ascii_whitespace())
        .arg(name)
        .current_dir(directory)
        .env("SIDESTEP_SOCKETS_MAX", "64")
        .env("SIDESTEP_BUFFER_MB", "32")
        // Some calls the tool makes by itself, not through the table (TCP_INFO, sendfile): they find the library too.
        // What else runs in a script stays with the kernel.
        .env("LD_PRELOAD", library)
        .env("SIDESTEP_OFF", "1")
        .output()
        .context("cannot run unshare")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(Some(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }))
}

fn print(runs: &[Run], families: &[Family], verbose: bool) {
    for run in runs {
        let Some(failure) = &run.failure else {
            continue;
        };
        let said = if verbose {
            failure.as_str()
        } else {
            // What the script's own commands said comes before.
            let line = failure.lines().find(|line| line.contains(".pkt:"));
            line.or(failure.lines().next()).unwrap_or_default()
        };
        println!("{:<12} {}: {said}", run.family.name(), run.script.display());
    }
    println!("\n| family | pass | fail |\n| --- | ---: | ---: |");
    for family in families {
        let of = || runs.iter().filter(|run| run.family == *family);
        let failed = of().filter(|run| run.failure.is_some()).count();
        println!(
            "| {} | {} | {failed} |",
            family.name(),
            of().count() - failed
        );
    }
}
