//! The kernel's parameters of TCP that connections of ours go by, too: those that say what is offered to peers.

use rustix::fs::{Mode, OFlags};
use sidestep_stack::Offers;
use sidestep_tcp::Ecn;

/// What the parameters of this network namespace say.
pub(crate) fn of_kernel() -> Offers {
    let is_on = |name: &str| parameter(name).is_none_or(|value| value != 0);
    Offers {
        timestamps: is_on("tcp_timestamps"),
        window_scale: is_on("tcp_window_scaling"),
        sack: is_on("tcp_sack"),
        ecn: match parameter("tcp_ecn") {
            Some(0) => Ecn::Off,
            // 3 and 4 are for AccECN, and ask for ECN where the peer knows no more.
            Some(1 | 3 | 4) => Ecn::Ask,
            _ => Ecn::Accept,
        },
    }
}

fn parameter(name: &str) -> Option<u32> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 16];
    let n = rustix::io::read(&file, &mut text).ok()?;
    let text = core::str::from_utf8(text.get(..n)?).ok()?;
    text.trim().parse().ok()
}
