//! The network namespace that the calling thread is in, and the addresses that are this host's there.

mod sys;

use rustix::fs::{CWD, Mode, OFlags};
use sidestep_wire::Address;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Most addresses that are told of; a host with more keeps the rest in the kernel.
pub const ADDRESSES_MAX: usize = 1024;
/// Longest line that the kernel writes in these files, and more.
const LINE_BYTES: usize = 256;

/// Names the network namespace: the inode of its file.
///
/// # Errors
/// Where `/proc` is not mounted.
pub fn network() -> io::Result<u64> {
    Ok(rustix::fs::stat("/proc/thread-self/ns/net")?.st_ino)
}

/// Names the namespace in which processes have the numbers that the calling process sees.
///
/// # Errors
/// Where `/proc` is not mounted.
pub fn pids() -> io::Result<u64> {
    Ok(rustix::fs::stat("/proc/self/ns/pid")?.st_ino)
}

/// Names the network namespace of another process, as [`network`] does.
///
/// # Errors
/// Where there is no such process, or its namespaces are not to be seen.
pub fn of_process(pid: u32) -> io::Result<u64> {
    Ok(rustix::fs::stat(format!("/proc/{pid}/ns/net"))?.st_ino)
}

/// Names the network namespace that a socket was made in, as [`network`] does.
///
/// # Errors
/// Without `CAP_NET_ADMIN` there, and for what is no socket.
pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(sys::of_socket(socket)?)?.st_ino)
}

/// Fills `list` with the addresses of this namespace but for loopback; how many there are. Allocates nothing.
///
/// # Errors
/// Where `/proc` is not mounted. A missing family is no error.
pub fn addresses(list: &mut [Address]) -> io::Result<usize> {
    addresses_in(
        Path::new("/proc/thread-self/net/fib_trie"),
        Path::new("/proc/thread-self/net/if_inet6"),
        list,
    )
}

/// As [`addresses`], of the namespace that another process is in.
///
/// # Errors
/// Where there is no such process, or its namespaces are not to be seen.
pub fn addresses_of(pid: u32, list: &mut [Address]) -> io::Result<usize> {
    addresses_in(
        Path::new(&format!("/proc/{pid}/net/fib_trie")),
        Path::new(&format!("/proc/{pid}/net/if_inet6")),
        list,
    )
}

fn addresses_in(v4: &Path, v6: &Path, list: &mut [Address]) -> io::Result<usize> {
    let mut found = Found { list, count: 0 };
    let mut pending = None;
    lines(v4, |line| {
        pending = fib_trie_line(line, pending, &mut found);
    })?;
    let v6 = lines(v6, |line| {
        if let Some(address) = if_inet6_line(line) {
            found.push(address);
        }
    });
    match v6 {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(found.count),
    }
}

struct Found<'l> {
    list: &'l mut [Address],
    count: usize,
}

impl Found<'_> {
    fn push(&mut self, address: Address) {
        let known = self
            .list
            .iter()
            .take(self.count)
            .any(|known| *known == address);
        if known || address.is_loopback() || address.is_unspecified() {
            return;
        }
        if let Some(place) = self.list.get_mut(self.count) {
            *place = address;
            self.count += 1;
        }
    }
}

/// A leaf is written as `|-- 192.0.2.1`, its routes on the lines that follow: `/32 host LOCAL` makes it ours.
fn fib_trie_line(line: &str, leaf: Option<Address>, found: &mut Found<'_>) -> Option<Address> {
    let line = line.trim();
    if let Some(text) = line.strip_prefix("|-- ") {
        return text.parse::<core::net::Ipv4Addr>().ok().map(Address::from);
    }
    if let (Some(address), true) = (leaf, line.starts_with("/32 host LOCAL")) {
        found.push(address);
    }
    leaf
}

/// A line is `fe80…  index prefix scope flags name`, the address in 32 hexadecimal digits.
fn if_inet6_line(line: &str) -> Option<Address> {
    let digits = line.get(..32)?;
    let value = u128::from_str_radix(digits, 16).ok()?;
    let address = core::net::Ipv6Addr::from(value);
    // A link-local address means nothing without its link.
    (!address.is_unicast_link_local()).then(|| Address::from(address))
}

/// Calls `on_line` for each line of a file; what is longer than any line of the kernel's is cut.
fn lines(path: &Path, mut on_line: impl FnMut(&str)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let (mut block, mut line, mut used) = ([0; 4096], [0; LINE_BYTES], 0);
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut block))?;
        if n == 0 {
            return Ok(());
        }
        for byte in block.iter().take(n) {
            if *byte == b'\n' {
                let whole = line.get(..used).unwrap_or(&[]);
                on_line(core::str::from_utf8(whole).unwrap_or(""));
                used = 0;
            } else if let Some(place) = line.get_mut(used) {
                *place = *byte;
                used += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
