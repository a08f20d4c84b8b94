//! Local ports for outgoing connections: from the kernel's range, one after another from a random start.

use sidestep_shm::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

/// The range where the kernel does not say: RFC 6335's is smaller than what Linux uses.
const RANGE_DEFAULT: (u16, u16) = (32_768, 60_999);

/// Chooses ports.
pub(crate) struct Ports {
    range: OnceLock<(u16, u16)>,
    next: AtomicU32,
}

impl Ports {
    pub(crate) const fn new() -> Self {
        Self {
            range: OnceLock::new(),
            next: AtomicU32::new(0),
        }
    }

    /// The next candidate.
    pub(crate) fn next(&self) -> u16 {
        let (low, high) = *self.range.get_or_init(|| {
            // A random start, so that two processes rarely try the same ports (RFC 6056).
            let mut start = [0; 4];
            let _ = rustix::rand::getrandom(&mut start, rustix::rand::GetRandomFlags::empty());
            self.next
                .store(u32::from_ne_bytes(start), Ordering::Relaxed);
            kernel_range().unwrap_or(RANGE_DEFAULT)
        });
        let count = u32::from(high - low) + 1;
        let offset = self.next.fetch_add(1, Ordering::Relaxed) % count;
        low + u16::try_from(offset).unwrap_or(0)
    }
}

fn kernel_range() -> Option<(u16, u16)> {
    let mut text = [0; 64];
    let mut words =
        crate::sysctl::text("net/ipv4/ip_local_port_range", &mut text)?.split_ascii_whitespace();
    let range = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (range.0 <= range.1 && range.0 > 0).then_some(range)
}
