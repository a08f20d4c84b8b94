//! The one request to the kernel that no crate offers.
#![expect(unsafe_code, reason = "makes a request by ioctl")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `struct ifreq`, as far as it is used: a name and flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes an open `/dev/net/tun` the interface of that name in the network namespace of the calling thread, with bare IP
/// packets.
pub(crate) fn attach_tun(fd: &OwnedFd, name: &str) -> io::Result<()> {
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags,
        rest: [0; 22],
    };
    let len = name.len().min(libc::IFNAMSIZ - 1);
    request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
    // SAFETY: `request` is as long as `struct ifreq` and lives as long as the call, which only reads and writes it.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
