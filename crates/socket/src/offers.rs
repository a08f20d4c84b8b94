//! The kernel's parameters of TCP that connections of ours go by, too: those that say what is offered to peers.

use crate::sysctl::number;
use sidestep_stack::Offers;
use sidestep_tcp::Ecn;

/// What the parameters of this network namespace say.
pub(crate) fn of_kernel() -> Offers {
    let is_on = |name: &str| number(name).is_none_or(|value| value != 0);
    Offers {
        timestamps: is_on("net/ipv4/tcp_timestamps"),
        window_scale: is_on("net/ipv4/tcp_window_scaling"),
        sack: is_on("net/ipv4/tcp_sack"),
        // All ones stand for no limit.
        unsent_low: number("net/ipv4/tcp_notsent_lowat")
            .filter(|low| *low != u32::MAX)
            .unwrap_or(0),
        slow_start_after_idle: is_on("net/ipv4/tcp_slow_start_after_idle"),
        burst_segments: number("net/ipv4/tcp_min_tso_segs")
            .map_or(2, |segments| u8::try_from(segments).unwrap_or(u8::MAX)),
        ecn: number("net/ipv4/tcp_ecn").map_or(Ecn::Accept, Ecn::from_number),
    }
}
