//! What network interfaces need, by AF_XDP, and which of them can be accelerated. Nothing of it concerns programs of one
//! host.

use super::Check;
use super::checks::read;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Resource;
use sidestep_agent::netlink::{BondMode, Config, Link, LinkKind, Options, Picture};
use std::collections::BTreeSet;

/// Linux's number for AF_XDP.
const AF_XDP: u16 = 44;

/// All checks.
pub(super) fn all() -> Vec<Check> {
    let xdp = rustix::net::socket(AddressFamily::from_raw(AF_XDP), SocketType::RAW, None);
    let mut checks = vec![af_xdp(xdp.map(drop)), packets(), bpf(), steering()];
    checks.push(locked_memory());
    checks.push(Check::ok(
        "queues",
        "the first program gets an interface's; further ones share by a cable, at some 0.2 µs each way",
    ));
    checks.extend(interfaces());
    checks
}

/// Whether the steering program is in this build.
fn steering() -> Check {
    const NAME: &str = "steering program";
    if sidestep_agent::STEERS {
        Check::ok(NAME, "built in")
    } else {
        Check::missing(
            NAME,
            "not in this build, which was made without clang",
            "apt-get install clang libbpf-dev, and build again",
        )
    }
}

/// The interfaces of this network namespace that packets leave by.
fn interfaces() -> Vec<Check> {
    let config = match Config::open(&Options::default()) {
        Ok(config) => config,
        Err(error) => {
            return vec![Check::missing(
                "interfaces",
                error.to_string(),
                "a sandbox that allows netlink sockets",
            )];
        }
    };
    let picture = config.picture();
    let links = picture.links().filter(|link| link.up);
    links.filter_map(|link| interface(picture, link)).collect()
}

/// What is to be said of an interface; none of loopback, which needs no interface.
pub(super) fn interface(picture: &Picture, link: &Link) -> Option<Check> {
    let name = link.name.clone();
    let what = match &link.kind {
        LinkKind::Loopback => return None,
        LinkKind::Ethernet => "Ethernet".to_owned(),
        LinkKind::Veth { .. } => "a virtual cable".to_owned(),
        LinkKind::Vlan { id, .. } => format!("VLAN {id}"),
        LinkKind::Bond { .. } => "a bond".to_owned(),
        LinkKind::Bridge { .. } => "a bridge".to_owned(),
        LinkKind::Macvlan { .. } => "a further address of another interface".to_owned(),
        LinkKind::Other(kind) => kind.clone(),
    };
    let found = format!("{what}, MTU {}{}", link.mtu, driver(link.index));
    let by =
        |name: &str| format!("{found}; accelerate with: sudo sidestep agent --link xdp:{name}");
    if !link.ethernet {
        let found = format!("{found}, without Ethernet frames");
        return Some(Check::limited(
            name,
            found,
            "its traffic stays the kernel's",
        ));
    }
    if !link.running {
        let found = format!("{found}, without a carrier");
        let change = "plug the cable in, or switch the other end on";
        return Some(Check::limited(name, found, change));
    }
    let below = |lower: &Option<u32>| lower.and_then(|lower| picture.link(lower));
    Some(match &link.kind {
        LinkKind::Vlan { lower, .. } => match below(lower) {
            Some(lower) if sidestep_agent::hides_tags(lower.index) == Some(true) => Check::limited(
                name,
                format!(
                    "{found}; the driver of {} takes tags out of frames",
                    lower.name
                ),
                format!("ethtool -K {0} rxvlan off, and --link xdp:{0}", lower.name),
            ),
            Some(lower) => Check::ok(name, by(&lower.name)),
            None => Check::ok(name.clone(), by(&name)),
        },
        LinkKind::Macvlan { lower, .. } => {
            let by_name = below(lower).map_or(&name, |lower| &lower.name).clone();
            Check::ok(name, by(&by_name))
        }
        LinkKind::Bond {
            mode: BondMode::Other,
            ..
        } => Check::limited(
            name,
            format!("{found}, in a mode that is not accelerated"),
            "active-backup, 802.3ad, balance-rr or balance-xor",
        ),
        LinkKind::Bridge { .. } => {
            let port = picture.ports(link.index).find(|port| {
                matches!(port.kind, LinkKind::Ethernet | LinkKind::Veth { .. }) && port.running
            });
            let by_name = port.map_or(&name, |port| &port.name).clone();
            Check::ok(name, by(&by_name))
        }
        LinkKind::Veth { .. } => virtual_cable(picture, link, &by(&name)),
        _ => Check::ok(name.clone(), by(&name)),
    })
}

/// What the driver has, as far as the kernel says it.
fn driver(ifindex: u32) -> String {
    let Some(driver) = sidestep_agent::driver(ifindex) else {
        return String::new();
    };
    let xdp = match (driver.native, driver.zero_copy) {
        (true, true) => "native XDP, without copying",
        (true, false) => "native XDP",
        (false, _) => "generic XDP",
    };
    let checksums = if driver.finishes_checksums {
        ", finishes checksums for AF_XDP"
    } else {
        ""
    };
    let spread = match sidestep_agent::spreading(ifindex) {
        Some(spreading) => {
            let queues: BTreeSet<u32> = spreading.queues.into_iter().collect();
            format!(", spreads over {} queues (RSS)", queues.len())
        }
        None => String::new(),
    };
    format!(", {xdp}{checksums}{spread}")
}

/// A virtual cable, whose other end's kernel may leave checksums unfinished.
fn virtual_cable(picture: &Picture, link: &Link, found: &str) -> Check {
    let name = link.name.clone();
    let other = match link.kind {
        LinkKind::Veth { peer } => peer.and_then(|peer| picture.link(peer)),
        _ => None,
    };
    match other {
        Some(other) if sidestep_agent::leaves_checksums(other.index) == Some(true) => {
            Check::limited(
                name,
                format!(
                    "{found}; what comes from {} has unfinished checksums, which are believed",
                    other.name
                ),
                format!("ethtool -K {} tx off", other.name),
            )
        }
        _ => Check::ok(name, found),
    }
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
        Err(Errno::AFNOSUPPORT) => Check::limited(
            NAME,
            "not in this kernel; packet sockets do instead (packet:NAME), slower",
            "a kernel with CONFIG_XDP_SOCKETS=y, as distributions build it",
        ),
        Err(error) => Check::missing(NAME, error.to_string(), "see socket(2)"),
    }
}

/// What interfaces need where they have no AF_XDP.
fn packets() -> Check {
    const NAME: &str = "packet sockets";
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    if super::checks::is_at_least(&release, (6, 6)) {
        Check::ok(
            NAME,
            "can be steered to: packet:NAME, beside other XDP programs",
        )
    } else {
        Check::limited(
            NAME,
            format!("cannot be steered to by Linux {release}: packet:NAME is refused"),
            "Linux 6.6 or newer, if an interface cannot have AF_XDP",
        )
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
