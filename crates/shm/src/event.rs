//! A wake-up that crosses processes and can be waited for together with any other descriptor.

use crate::Fd;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::io::{ReadWriteFlags, preadv2};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As the kernel calls one in `/proc/self/fd`.
const KIND: &[u8] = b"anon_inode:[eventfd]";
/// Not to wait.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A non-blocking eventfd at a high number.
#[derive(Debug)]
pub struct EventFd {
    fd: Fd,
    /// Whether somebody who is not trusted can have it block, or be full.
    of_stranger: bool,
}

impl EventFd {
    /// A new one, not signalled.
    pub fn new() -> io::Result<Self> {
        Self::attach(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)
    }

    /// One that another process made.
    pub fn attach(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            fd: Fd::adopt(fd)?,
            of_stranger: false,
        })
    }

    /// One that somebody made who is not trusted, and who can change its flags and its value at any moment: looked at before
    /// it is rung, so that it can block us only if that changes between the two. That it [is one](is_eventfd) somebody else
    /// has looked at.
    pub fn of_stranger(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            fd: Fd::adopt(fd)?,
            of_stranger: true,
        })
    }

    /// Wakes whoever waits. A full counter is as good as a signalled one.
    #[inline]
    pub fn ring(&self) {
        if !self.of_stranger || has_room(self.fd.as_fd()) {
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Takes the signal back; tells whether there was one.
    pub fn drain(&self) -> bool {
        let mut value = [0u8; 8];
        if self.of_stranger {
            let parts = &mut [IoSliceMut::new(&mut value)];
            return preadv2(&self.fd, parts, u64::MAX, ReadWriteFlags::NOWAIT).is_ok();
        }
        rustix::io::read(&self.fd, &mut value).is_ok()
    }
}

#[cold]
fn has_room(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    poll(&mut polled, Some(&AT_ONCE)) == Ok(1) && polled[0].revents() == PollFlags::OUT
}

/// Whether a descriptor is an eventfd. False where `/proc` is not mounted.
pub fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::readlink(path, Vec::new()).is_ok_and(|kind| kind.as_bytes() == KIND)
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
