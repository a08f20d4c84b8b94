//! The kernel's parameters of TCP that connections of ours go by, too: those that say what is offered to peers.

use crate::sysctl::{number, text};
use sidestep_stack::Offers;
use sidestep_tcp::Ecn;

/// What the kernel's send buffers have at first where nobody has said otherwise: for its own, not for ours.
const SEND_BUFFER: u32 = 16 << 10;
/// What one may have.
const BUFFER_LEAST: u32 = 4 << 10;
const BUFFER_MOST: u32 = 64 << 20;

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
        snd_buf_bytes: text("net/ipv4/tcp_wmem", &mut [0; 64])
            .filter(|_| std::env::var_os("SIDESTEP_SNDBUF").is_none())
            .and_then(send_buffer)
            .unwrap_or(0),
        ecn: number("net/ipv4/tcp_ecn").map_or(Ecn::Accept, Ecn::from_number),
    }
}

/// The second of three numbers, if it is not the kernel's own.
fn send_buffer(sizes: &str) -> Option<u32> {
    let bytes: u32 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    (bytes != SEND_BUFFER).then(|| bytes.clamp(BUFFER_LEAST, BUFFER_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_buffers_are_as_the_administrator_has_set_them() {
        assert_eq!(send_buffer("4096\t16384\t4194304\n"), None);
        assert_eq!(send_buffer("4096 50000 4194304"), Some(50_000));
        assert_eq!(send_buffer("1 2 3"), Some(4096));
        assert_eq!(send_buffer(""), None);
    }
}
