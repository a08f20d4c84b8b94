//! Ports: which are free, and which are being listened on.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Seed, wait_until};

/// Below the range from which the kernel takes ports for connections, so that none of those is in the way.
const PORTS: std::ops::Range<u16> = 2_000..32_000;

/// A port that is free for TCP and UDP, IPv4 and IPv6, and that this process has not given out before.
///
/// Taken here and there in the range, so that test programs that run beside each other seldom choose the same one; never,
/// where `SIDESTEP_TEST_LANE=N/M` says which of how many they are.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<(Option<Seed>, BTreeSet<u16>)> = Mutex::new((None, BTreeSet::new()));
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, ports) = &mut *given;
    let seed = seed.get_or_insert_with(|| Seed::fixed(u64::from(std::process::id()) << 32));
    let range = lane(std::env::var("SIDESTEP_TEST_LANE").ok().as_deref());
    for _ in 0..20 * range.len() {
        let port = seed.between(u64::from(range.start), u64::from(range.end));
        let port = u16::try_from(port).expect("within the range");
        let any = (Ipv6Addr::UNSPECIFIED, port);
        if !ports.contains(&port) && TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok()
        {
            ports.insert(port);
            return port;
        }
    }
    panic!("no free port in {range:?}");
}

/// The ports of a lane; all of them where there is none.
fn lane(said: Option<&str>) -> std::ops::Range<u16> {
    let Some(said) = said else {
        return PORTS;
    };
    let number = |word: &str| word.parse::<u16>().ok();
    let lane = said
        .split_once('/')
        .and_then(|(lane, of)| Some((number(lane)?, number(of)?)))
        .filter(|(lane, of)| lane < of);
    let (lane, of) = lane.unwrap_or_else(|| panic!("SIDESTEP_TEST_LANE={said}: not N/M"));
    let each = (PORTS.end - PORTS.start) / of;
    let start = PORTS.start + lane * each;
    start..start + each
}

/// How long a server may take to begin; an emulated processor takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many free ports, all different.
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

/// Waits until somebody listens on this TCP port, without connecting to it: that would be counted.
pub fn wait_listening(port: u16) {
    wait_until(&format!("a listener on port {port}"), PATIENCE, || {
        is_listening(port).then_some(())
    });
}

/// Waits until somebody has bound this UDP port.
pub fn wait_bound_udp(port: u16) {
    wait_until(&format!("a UDP socket on port {port}"), PATIENCE, || {
        is_bound_udp(port).then_some(())
    });
}

/// Whether a TCP socket of the calling thread's network namespace listens on the port.
pub fn is_listening(port: u16) -> bool {
    const LISTEN: &str = "0A";
    has_socket("/proc/thread-self/net/tcp", port, Some(LISTEN))
        || has_socket("/proc/thread-self/net/tcp6", port, Some(LISTEN))
}

/// Whether a UDP socket of the calling thread's network namespace is bound to the port.
pub fn is_bound_udp(port: u16) -> bool {
    has_socket("/proc/thread-self/net/udp", port, None)
        || has_socket("/proc/thread-self/net/udp6", port, None)
}

/// Looks for a socket with this local port, and state if given, in one of the kernel's tables.
fn has_socket(table: &str, port: u16, state: Option<&str>) -> bool {
    // A machine without IPv6 has no tcp6; that is the same as an empty one.
    let text = fs::read_to_string(table).unwrap_or_default();
    text.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1).unwrap_or_default();
        let is_state = fields.nth(1);
        let is_port = local
            .rsplit(':')
            .next()
            .and_then(|hex| u16::from_str_radix(hex, 16).ok());
        is_port == Some(port) && (state.is_none() || state == is_state)
    })
}
