//! poll, epoll and select of the C library, on one descriptor.
//!
//! By their symbols rather than as system calls, so that a preloaded library sees them.
#![expect(unsafe_code, reason = "calls poll, epoll and select of the C library")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// An epoll descriptor that watches one socket for reading, level-triggered.
#[derive(Debug)]
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    /// Watches `fd`.
    pub(super) fn watch(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel just handed this descriptor out, and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: 0,
        };
        // SAFETY: `event` lives across the call; both descriptors are open.
        check(unsafe {
            libc::epoll_ctl(
                epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(Self(epoll))
    }

    /// Whether the socket became readable within the time.
    #[inline]
    pub(super) fn readable(&self, timeout: Duration) -> io::Result<bool> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event, which lives across the call.
        ready(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, millis(timeout)) })
    }
}

/// Whether `fd` became readable within the time, by poll.
#[inline]
pub(super) fn poll_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    poll(fd, libc::POLLIN, timeout)
}

/// Whether `fd` took more bytes within the time, by poll.
pub(super) fn poll_writable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    poll(fd, libc::POLLOUT, timeout)
}

#[inline]
fn poll(fd: BorrowedFd<'_>, events: i16, timeout: Duration) -> io::Result<bool> {
    let mut pollfd = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one pollfd, which lives across the call.
    ready(unsafe { libc::poll(&raw mut pollfd, 1, millis(timeout)) })
}

/// Whether `fd` became readable within the time, by select.
#[inline]
pub(super) fn select_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let number = fd.as_raw_fd();
    if usize::try_from(number).is_ok_and(|number| number >= libc::FD_SETSIZE) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptor too large for select",
        ));
    }
    let mut timeout = libc::timeval {
        tv_sec: timeout.as_secs().cast_signed(),
        tv_usec: timeout.subsec_micros().into(),
    };
    // SAFETY: all zeroes is an empty fd_set.
    let mut set: libc::fd_set = unsafe { core::mem::zeroed() };
    // SAFETY: the descriptor is below FD_SETSIZE by the check above.
    unsafe { libc::FD_SET(number, &raw mut set) };
    let none = core::ptr::null_mut();
    // SAFETY: set and timeout live across the call; the other sets are absent.
    ready(unsafe { libc::select(number + 1, &raw mut set, none, none, &raw mut timeout) })
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// A count of ready descriptors; an interrupted wait found none.
#[inline]
fn ready(count: i32) -> io::Result<bool> {
    match check(count) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

#[inline]
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
