//! poll(2) itself, on the program's own descriptors, which may be negative or closed; and options that no safe function
//! knows.
#![expect(unsafe_code, reason = "makes a system call")]

use crate::{Errno, Nanos};
use libc::{c_int, c_long, pollfd, sigset_t, timespec};
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of a set of signals, as the kernel has it.
const SIGSET_BYTES: usize = 8;

/// ppoll(2): waits for `span` at most, with `mask` in place of the thread's own if given. Says how many are ready.
pub(crate) fn ppoll(
    fds: &mut [pollfd],
    span: Nanos,
    mask: Option<&sigset_t>,
) -> Result<usize, Errno> {
    // The kernel writes what is left of the time.
    let mut span = timespec {
        tv_sec: c_long::try_from(span.0 / 1_000_000_000).unwrap_or(c_long::MAX),
        tv_nsec: c_long::try_from(span.0 % 1_000_000_000).unwrap_or(0),
    };
    let mask = mask.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: all pointers are to values that outlive the call, with their true lengths.
    let ready = unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            fds.as_mut_ptr(),
            fds.len(),
            &raw mut span,
            mask,
            SIGSET_BYTES,
        )
    };
    usize::try_from(ready).map_err(|_| {
        let errno = std::io::Error::last_os_error().raw_os_error();
        Errno::from_raw_os_error(errno.unwrap_or(libc::EIO as c_int))
    })
}

/// dup3(2): makes the program's descriptor `onto` one of the same file as `fd`, with the given flags.
pub(crate) fn duplicate_onto(
    fd: &OwnedFd,
    onto: c_int,
    flags: rustix::io::FdFlags,
) -> Result<(), Errno> {
    let closes = flags.contains(rustix::io::FdFlags::CLOEXEC);
    let flags = if closes { libc::O_CLOEXEC } else { 0 };
    // SAFETY: numbers only.
    let done = unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), onto, flags) };
    if done < 0 { Err(Errno::BADF) } else { Ok(()) }
}

/// The keys that the kernel makes cookies of TCP Fast Open with for a socket. Returns how many bytes they take in `keys`.
pub(crate) fn fast_open_keys(fd: c_int, keys: &mut [u8]) -> usize {
    let mut len = libc::socklen_t::try_from(keys.len()).unwrap_or(0);
    // SAFETY: both pointers are to values that outlive the call, and the length is that of the room.
    let done = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_KEY,
            keys.as_mut_ptr(),
            &raw mut len,
        )
    };
    if done == 0 {
        keys.len().min(len as usize)
    } else {
        0
    }
}

/// Sets an option that is a number of the kernel's socket, past what the program has of it.
pub(crate) fn set_number(fd: c_int, level: c_int, name: c_int, value: u32) {
    // SAFETY: the pointer is to a value that outlives the call, and the length is its own.
    unsafe {
        libc::syscall(
            libc::SYS_setsockopt,
            fd,
            level,
            name,
            &raw const value,
            size_of::<u32>(),
        )
    };
}
