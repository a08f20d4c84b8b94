//! What network cards will need, by AF_XDP. Nothing of it concerns programs of one host.

use super::Check;
use super::checks::read;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Resource;

/// Linux's number for AF_XDP.
const AF_XDP: u16 = 44;

/// All checks.
pub(super) fn all() -> Vec<Check> {
    let xdp = rustix::net::socket(AddressFamily::from_raw(AF_XDP), SocketType::RAW, None);
    vec![af_xdp(xdp.map(drop)), bpf(), locked_memory()]
}

/// What came of making an AF_XDP socket.
pub(super) fn af_xdp(tried: Result<(), Errno>) -> Check {
    const NAME: &str = "AF_XDP sockets";
    match tried {
        Ok(()) => Check::ok(NAME, "can be made"),
        Err(Errno::PERM | Errno::ACCESS) => Check::limited(
            NAME,
            "in this kernel, for root only",
            "run the agent as root (programs need no privilege)",
        ),
        Err(Errno::AFNOSUPPORT) => Check::missing(
            NAME,
            "not in this kernel",
            "a kernel with CONFIG_XDP_SOCKETS=y, as distributions build it",
        ),
        Err(error) => Check::missing(NAME, error.to_string(), "see socket(2)"),
    }
}

fn bpf() -> Check {
    const NAME: &str = "BPF";
    let jit = read("/proc/sys/net/core/bpf_jit_enable");
    if jit == "0" {
        return Check::limited(NAME, "interpreted", "sysctl -w net.core.bpf_jit_enable=1");
    }
    match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_str() {
        "" => Check::missing(
            NAME,
            "not in this kernel",
            "a kernel with CONFIG_BPF_SYSCALL=y",
        ),
        _ if rustix::process::geteuid().is_root() => Check::ok(NAME, "can be loaded by this user"),
        _ => Check::limited(NAME, "for root only", "run the agent as root"),
    }
}

fn locked_memory() -> Check {
    match rustix::process::getrlimit(Resource::Memlock).current {
        None => Check::ok("locked memory", "unlimited"),
        Some(bytes) if bytes >= 64 << 20 => {
            Check::ok("locked memory", format!("{} MB", bytes >> 20))
        }
        Some(bytes) => Check::limited(
            "locked memory",
            format!("{} KB for a program", bytes >> 10),
            "ulimit -l unlimited, for the agent; kernels from 5.11 count it elsewhere",
        ),
    }
}
