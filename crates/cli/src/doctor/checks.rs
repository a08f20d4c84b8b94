//! What local acceleration needs.

use super::Check;
use crate::{agent, library};
use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{PidfdFlags, Resource};
use sidestep_control::RuntimeDir;
use std::path::Path;
use std::process::{Command, Stdio};

/// Every accelerated socket has a descriptor; a busy server needs more than this.
const DESCRIPTORS_FEW: u64 = 4096;
/// Oldest kernel with all that is used: pidfd_open, and memory files sealed against writing.
const KERNEL_OLDEST: (u32, u32) = (5, 3);

/// What can be told without an agent, in the order in which a missing one explains the next.
pub(super) fn machine() -> Vec<Check> {
    let mut checks = vec![
        kernel(&rustix::system::uname().release().to_string_lossy()),
        user(),
        runtime_dir(),
        memory(),
        from_result(
            "process handles",
            pidfd(),
            "pidfd_open: deaths of programs are noticed at once",
        ),
        from_result("wake-ups", eventfd(), "eventfd"),
        from_result("messages", seqpacket(), "AF_UNIX SOCK_SEQPACKET"),
        from_result("socket identity", cookie(), "SO_COOKIE"),
        processors(),
        clock(),
        descriptors(),
        huge_pages(),
        confinement(),
    ];
    checks.extend(preload());
    checks
}

fn from_result(name: &'static str, tried: Result<(), Errno>, what: &str) -> Check {
    match tried {
        Ok(()) => Check::ok(name, what),
        Err(error) => Check::missing(
            name,
            format!("{what}: {error}"),
            "a newer kernel, or a container whose seccomp filter allows it",
        ),
    }
}

/// Whether a kernel of that release has what is used.
pub(super) fn kernel(release: &str) -> Check {
    if is_at_least(release, KERNEL_OLDEST) {
        return Check::ok("kernel", format!("Linux {release}"));
    }
    let (major, minor) = KERNEL_OLDEST;
    Check::missing(
        "kernel",
        format!("Linux {release}"),
        format!("needs {major}.{minor} or newer"),
    )
}

/// Whether a kernel is that old or newer, by what it calls itself.
pub(super) fn is_at_least(release: &str, oldest: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= oldest
}

fn user() -> Check {
    let user = rustix::process::geteuid();
    let name = if user.is_root() {
        "root"
    } else {
        "an ordinary user"
    };
    Check::ok(
        "user",
        format!(
            "{name} ({}); each user has an agent of their own",
            user.as_raw()
        ),
    )
}

fn runtime_dir() -> Check {
    match RuntimeDir::from_env() {
        Ok(directory) => Check::ok("agent's directory", directory.path().display().to_string()),
        Err(error) => Check::missing(
            "agent's directory",
            error.to_string(),
            "export SIDESTEP_RUNTIME_DIR=DIRECTORY, one of your own with mode 0700",
        ),
    }
}

fn memory() -> Check {
    let tried = || {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("sidestep-doctor", flags)?;
        rustix::fs::ftruncate(&file, 4096)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE,
        )
    };
    from_result("shared memory", tried(), "memory files (memfd) with seals")
}

fn pidfd() -> Result<(), Errno> {
    rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map(drop)
}

fn eventfd() -> Result<(), Errno> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map(drop)
}

fn seqpacket() -> Result<(), Errno> {
    let kind = SocketType::SEQPACKET;
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map(drop)
}

fn cookie() -> Result<(), Errno> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    rustix::net::sockopt::socket_cookie(&socket).map(drop)
}

fn processors() -> Check {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => Check::limited(
            "processors",
            "one: whoever spins keeps the other end from running",
            "give it two or more; until then the library sleeps instead of spinning",
        ),
        count => Check::ok("processors", format!("{count}")),
    }
}

fn clock() -> Check {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = read(path);
    match source.as_str() {
        "tsc" | "arch_sys_counter" | "" => Check::ok("clock", "read without a system call"),
        other => Check::limited(
            "clock",
            format!("the kernel distrusts the processor's counter and uses {other}"),
            "boot with clocksource=tsc tsc=reliable where the machine's counter is sound",
        ),
    }
}

fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let hard = limit
        .maximum
        .map_or("unlimited".to_owned(), |hard| hard.to_string());
    match limit.current {
        Some(soft) if soft < DESCRIPTORS_FEW => Check::limited(
            "descriptors",
            format!("{soft} for a program, which bounds its sockets (at most {hard})"),
            format!(
                "ulimit -n {}",
                if hard == "unlimited" {
                    "1048576"
                } else {
                    &hard
                }
            ),
        ),
        soft => Check::ok(
            "descriptors",
            soft.map_or("unlimited".to_owned(), |soft| {
                format!("{soft} for a program")
            }),
        ),
    }
}

fn huge_pages() -> Check {
    let pages = meminfo("HugePages_Total").unwrap_or(0);
    let found = match pages {
        0 => "none reserved; wires between programs do not need them".to_owned(),
        _ => format!("{pages} reserved; wires between programs do not need them"),
    };
    Check::ok("huge pages", found)
}

/// A number from /proc/meminfo.
fn meminfo(name: &str) -> Option<u64> {
    read("/proc/meminfo").lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// Security modules that may keep a confined daemon from loading a library or passing descriptors.
fn confinement() -> Check {
    let advice = "unconfined programs are not concerned; for a confined one, allow it the library's path \
                  and the agent's directory";
    if read("/sys/fs/selinux/enforce") == "1" {
        return Check::limited("confinement", "SELinux is enforcing", advice);
    }
    if read("/sys/module/apparmor/parameters/enabled") == "Y" {
        return Check::limited("confinement", "AppArmor is enabled", advice);
    }
    Check::ok("confinement", "neither SELinux nor AppArmor is in force")
}

/// Whether the library is there, and whether the loader takes it: by loading it into a program.
fn preload() -> Vec<Check> {
    let library = match library::find() {
        Ok(library) => library,
        Err(error) => {
            let change = "cargo xtask build, or export SIDESTEP_LIBRARY=PATH";
            return vec![Check::missing("library", error.to_string(), change)];
        }
    };
    let path = library.display().to_string();
    vec![Check::ok("library", &path), loadable(&library)]
}

fn loadable(library: &Path) -> Check {
    const NAME: &str = "preloading";
    let output = Command::new("cat")
        .arg("/proc/self/maps")
        .env("LD_PRELOAD", library)
        .env("SIDESTEP_OFF", "1")
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            return Check::limited(
                NAME,
                format!("cannot be tried: cat: {error}"),
                "install coreutils",
            );
        }
    };
    let maps = String::from_utf8_lossy(&output.stdout);
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    if output.status.success() && maps.contains(&*name) {
        return Check::ok(NAME, "the loader takes the library by LD_PRELOAD");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Check::missing(
        NAME,
        format!(
            "the loader did not take the library ({}) {}",
            output.status,
            complaint.trim()
        ),
        "use a glibc system of this architecture, or build the library on this machine",
    )
}

/// Whether an agent runs, or can be started.
pub(super) fn agent() -> Check {
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return Check::missing("agent", error.to_string(), "mount /proc"),
    };
    match agent::ensure_running(&exe) {
        Ok(_) => Check::ok("agent", "answers"),
        Err(error) => Check::missing("agent", format!("{error:#}"), "sidestep agent --foreground"),
    }
}

/// A small file's content without white space at its ends; empty where it cannot be read.
pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
