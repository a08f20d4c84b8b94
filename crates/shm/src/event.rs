//! A wake-up that crosses processes and can be waited for together with any other descriptor.

use crate::Fd;
use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A non-blocking eventfd at a high number.
#[derive(Debug)]
pub struct EventFd(Fd);

impl EventFd {
    /// A new one, not signalled.
    pub fn new() -> io::Result<Self> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Fd::adopt(fd)?))
    }

    /// One that another process made.
    pub fn attach(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Fd::adopt(fd)?))
    }

    /// Wakes whoever waits. A full counter is as good as a signalled one.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes the signal back; tells whether there was one.
    pub fn drain(&self) -> bool {
        rustix::io::read(&self.0, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
