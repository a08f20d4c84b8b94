//! Interfaces by their indices: which one a socket is bound to, and which one has an address.

mod sys;

use sidestep_wire::Address;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

/// The index of `lo`, in every network namespace.
const LOOPBACK: u32 = 1;

/// The index of the interface that a socket is bound to (`SO_BINDTODEVICE`, or a link-local address); 0 for none.
///
/// # Errors
/// For what is no socket, and on kernels before 5.0.
pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<u32> {
    sys::bound_ifindex(socket).map(i32::unsigned_abs)
}

/// Binds a socket that is not bound to an interface yet to one.
///
/// # Errors
/// Where there is no such interface.
pub fn bind_socket(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    sys::bind_ifindex(socket, index.cast_signed())
}

/// The index of the interface that has an address of this host; that of `lo` for one that is unknown. Asks the kernel.
pub fn of_address(address: Address) -> u32 {
    if address.is_loopback() {
        return LOOPBACK;
    }
    let found = match address.v4() {
        Some(v4) => sys::device_of_v4(v4.octets()).unwrap_or(None),
        None => device_of_v6(address),
    };
    found.unwrap_or(LOOPBACK)
}

/// The first address of IPv4 of the interface with that index; none where it has none. Asks the kernel.
pub fn v4_of_device(index: u32) -> Option<Address> {
    sys::v4_of_device(index).ok().map(Address::from_v4)
}

/// A line of the file is an address in 32 hexadecimal digits, the interface's index in hexadecimal digits, and more.
fn device_of_v6(address: Address) -> Option<u32> {
    let hex = format!("{:032x}", u128::from_be_bytes(address.0));
    let list = fs::read_to_string("/proc/thread-self/net/if_inet6").ok()?;
    let mut lines = list.lines().map(str::split_whitespace);
    let mut line =
        lines.find_map(|mut line| (line.next() == Some(hex.as_str())).then_some(line))?;
    u32::from_str_radix(line.next()?, 16).ok()
}
