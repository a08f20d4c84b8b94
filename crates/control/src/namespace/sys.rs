//! The one question about namespaces that no crate asks.
#![expect(unsafe_code, reason = "an ioctl that returns a descriptor")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SIOCGSKNS` of `linux/sockios.h`: the network namespace of a socket.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The namespace that a socket was made in. Needs `CAP_NET_ADMIN` there.
pub(super) fn of_socket(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open, and this request takes no argument.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
