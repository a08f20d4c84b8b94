//! Requests to the kernel that no crate offers.
#![expect(unsafe_code, reason = "makes requests that no crate offers")]

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

/// Has the calling thread go before all that do not ask for it, but nothing that it starts; false where that is refused.
pub(crate) fn go_first() -> bool {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` lives as long as the call, which only reads it.
    unsafe { libc::sched_setscheduler(0, policy, &raw const priority) == 0 }
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
