//! Descriptors of our own, kept out of the program's way: high numbers, close-on-exec, and known as ours, so that
//! a program that closes every number it can think of does not close these.
#![expect(unsafe_code, reason = "closes descriptors by number")]

use crate::atomic::{AtomicI32, AtomicU64, Ordering};
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Numbers below this are watched; ours are never higher but where nothing else is left.
const WATCHED: usize = 1 << 17;
/// How much room there should be for ours above the first.
const ROOM: u64 = 4096;
/// The highest number we ask for: the kernel keeps a table as long as the highest number in use.
const HIGHEST: u64 = 65_536;
/// The lowest that we ask for.
const LOWEST: RawFd = 16;

static FIRST: AtomicI32 = AtomicI32::new(-1);
static OURS: [AtomicU64; WATCHED / 64] = [const { AtomicU64::new(0) }; WATCHED / 64];

/// A descriptor of ours. Closed when dropped, past any interposed `close`.
#[derive(Debug)]
pub struct Fd(RawFd);

impl Fd {
    /// Moves `fd` to a high number and remembers it as ours.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let high = first_number();
        let limits = rustix::process::getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limits.maximum,
            maximum: limits.maximum,
        };
        // A descriptor above the soft limit goes on working when the limit is put back.
        let must_raise = limits
            .current
            .is_some_and(|soft| soft <= u64::from(high.cast_unsigned()) + ROOM);
        if must_raise {
            let _ = rustix::process::setrlimit(Resource::Nofile, raised);
        }
        // A program that lowered its limits leaves room below only; without any, the number stays as it is.
        let lower = limits.maximum.unwrap_or(HIGHEST).saturating_sub(512);
        let lower = RawFd::try_from(lower).unwrap_or(0).max(LOWEST);
        let moved = rustix::io::fcntl_dupfd_cloexec(&fd, high)
            .or_else(|_| rustix::io::fcntl_dupfd_cloexec(&fd, lower));
        if must_raise {
            let _ = rustix::process::setrlimit(Resource::Nofile, limits);
        }
        let raw = match moved {
            Ok(moved) => {
                close_raw(fd.into_raw_fd());
                moved.into_raw_fd()
            }
            Err(_) => fd.into_raw_fd(),
        };
        mark(raw, true);
        Ok(Self(raw))
    }

    /// Lets the descriptor survive `exec`, or not.
    pub fn keep_over_exec(&self, keep: bool) -> io::Result<()> {
        let flags = if keep {
            FdFlags::empty()
        } else {
            FdFlags::CLOEXEC
        };
        Ok(rustix::io::fcntl_setfd(self, flags)?)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is open while self lives, and only self closes it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        mark(self.0, false);
        close_raw(self.0);
    }
}

/// Whether this number is a descriptor of ours.
pub fn is_internal(fd: RawFd) -> bool {
    watched(fd).is_some_and(|i| OURS[i / 64].load(Ordering::Relaxed) & (1 << (i % 64)) != 0)
}

/// All descriptors of ours, in ascending order.
pub fn internal_fds() -> impl Iterator<Item = RawFd> {
    let words = OURS
        .iter()
        .enumerate()
        .filter(|(_, word)| word.load(Ordering::Relaxed) != 0);
    words
        .flat_map(|(w, _)| (w * 64..w * 64 + 64).filter_map(|i| RawFd::try_from(i).ok()))
        .filter(|fd| is_internal(*fd))
}

fn watched(fd: RawFd) -> Option<usize> {
    usize::try_from(fd).ok().filter(|i| *i < WATCHED)
}

fn mark(fd: RawFd, ours: bool) {
    if let Some(i) = watched(fd) {
        let bit = 1 << (i % 64);
        if ours {
            OURS[i / 64].fetch_or(bit, Ordering::Relaxed);
        } else {
            OURS[i / 64].fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Chooses, once, where our numbers begin: just above the soft limit, where the kernel gives the program none.
fn first_number() -> RawFd {
    let chosen = FIRST.load(Ordering::Relaxed);
    if chosen >= 0 {
        return chosen;
    }
    let limits = rustix::process::getrlimit(Resource::Nofile);
    let hard = limits.maximum.unwrap_or(HIGHEST);
    let soft = limits.current.unwrap_or(HIGHEST);
    let number = soft.min(hard.saturating_sub(ROOM)).clamp(64, HIGHEST);
    let number = number.min(hard.saturating_sub(512)).max(16);
    let number = RawFd::try_from(number).unwrap_or(512);
    let _ = FIRST.compare_exchange(-1, number, Ordering::Relaxed, Ordering::Relaxed);
    FIRST.load(Ordering::Relaxed)
}

fn close_raw(fd: RawFd) {
    // SAFETY: the caller owned this descriptor and gives it up here; rustix's own system call is not interposed.
    unsafe { rustix::io::close(fd) };
}

/// Takes back a descriptor from its number.
impl FromRawFd for Fd {
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        mark(fd, true);
        Self(fd)
    }
}
