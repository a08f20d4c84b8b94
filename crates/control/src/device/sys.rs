//! Socket options and requests about interfaces that no crate knows.
#![expect(unsafe_code, reason = "makes system calls")]

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Interfaces with addresses of IPv4 that are looked at.
const ADDRESSES: usize = 256;

/// `struct ifreq` with an address of IPv4, or with an index.
#[repr(C)]
#[derive(Clone, Copy)]
struct Named {
    name: [u8; 16],
    family: u16,
    port: u16,
    address: [u8; 4],
    rest: [u8; 16],
}

/// `struct ifconf`.
#[repr(C)]
struct List {
    bytes: i32,
    entries: *mut Named,
}

/// What the kernel answers to `SO_BINDTOIFINDEX`.
pub(super) fn bound_ifindex(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut index = 0i32;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(0);
    // SAFETY: both pointers are to values that outlive the call, with their true lengths.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            &raw mut index,
            &raw mut len,
        )
    };
    if failed == 0 {
        Ok(index)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets `SO_BINDTOIFINDEX`.
pub(super) fn bind_ifindex(socket: BorrowedFd<'_>, index: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a value that outlives the call, with its true length.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_setsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            &raw const index,
            size_of::<i32>(),
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The index of the interface that has an address of IPv4 (`SIOCGIFCONF`, `SIOCGIFINDEX`).
pub(super) fn device_of_v4(address: [u8; 4]) -> io::Result<Option<u32>> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    let mut entries = [Named {
        name: [0; 16],
        family: 0,
        port: 0,
        address: [0; 4],
        rest: [0; 16],
    }; ADDRESSES];
    let mut list = List {
        bytes: i32::try_from(size_of_val(&entries)).unwrap_or(0),
        entries: entries.as_mut_ptr(),
    };
    // SAFETY: the list names memory of ours with its true length, and the kernel writes whole entries.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            socket.as_raw_fd(),
            libc::SIOCGIFCONF,
            &raw mut list,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    let found = entries.into_iter().find(|entry| entry.address == address);
    let Some(entry) = found else { return Ok(None) };
    // An alias has the index of its interface.
    let end = entry.name.iter().position(|b| *b == 0 || *b == b':');
    let name = entry.name.get(..end.unwrap_or(entry.name.len()));
    let name = name
        .and_then(|name| str::from_utf8(name).ok())
        .unwrap_or("");
    Ok(Some(rustix::net::netdevice::name_to_index(&socket, name)?))
}

/// The first address of IPv4 of the interface with that index (`SIOCGIFNAME`, `SIOCGIFADDR`).
pub(super) fn v4_of_device(index: u32) -> io::Result<[u8; 4]> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    let mut named = Named {
        name: [0; 16],
        family: 0,
        port: 0,
        address: [0; 4],
        rest: [0; 16],
    };
    // The index lies where an address would begin.
    let [a, b, c, d] = index.to_ne_bytes();
    (named.family, named.port) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
    for request in [libc::SIOCGIFNAME, libc::SIOCGIFADDR] {
        let request = libc::c_long::try_from(request).unwrap_or(0);
        // SAFETY: the pointer is to an entry that outlives the call.
        let failed =
            unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), request, &raw mut named) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(named.address)
}
