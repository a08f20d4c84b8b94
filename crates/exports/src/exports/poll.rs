//! poll and select.
#![expect(unsafe_code, reason = "functions that C programs call")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it leads to are looked at together"
)]

use crate::{c, real};
use core::ffi::{c_int, c_long};
use libc::{fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};
use sidestep_socket::{Errno, Nanos, process};
use smallvec::SmallVec;

/// poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's own entries.
    match unsafe { poll_both(fds, n, c::timeout_ms(timeout), None) } {
        Some(done) => done,
        // SAFETY: the caller's own arguments.
        None => unsafe { real::poll(fds, n, timeout) },
    }
}

/// ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's own pointers.
    let (span, mask_ref) = unsafe { (c::timeout(timeout), mask.as_ref()) };
    let done = match span {
        // SAFETY: the caller's own entries.
        Ok(span) => unsafe { poll_both(fds, n, span, mask_ref) },
        Err(_) => None,
    };
    match done {
        Some(done) => done,
        // SAFETY: the caller's own arguments.
        None => unsafe { real::ppoll(fds, n, timeout, mask) },
    }
}

/// None: no entry is ours.
unsafe fn poll_both(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: Option<Nanos>,
    mask: Option<&sigset_t>,
) -> Option<c_int> {
    if fds.is_null() || n == 0 || !process().is_active() {
        return None;
    }
    // SAFETY: the caller passes n entries.
    let entries = unsafe { core::slice::from_raw_parts_mut(fds, usize::try_from(n).ok()?) };
    if !process().any_ours(entries) {
        return None;
    }
    Some(match process().poll(entries, timeout, mask)? {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(errno) => c::fail(errno),
    })
}

/// poll(2) of fortified programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: c_int,
    room: size_t,
) -> c_int {
    check(n, room);
    // SAFETY: the caller's own arguments.
    unsafe { poll(fds, n, timeout) }
}

/// ppoll(2) of fortified programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: size_t,
) -> c_int {
    check(n, room);
    // SAFETY: the caller's own arguments.
    unsafe { ppoll(fds, n, timeout, mask) }
}

fn check(n: nfds_t, room: size_t) {
    if usize::try_from(n)
        .unwrap_or(usize::MAX)
        .saturating_mul(size_of::<pollfd>())
        > room
    {
        std::process::abort();
    }
}

/// select(2). What is left of the timeout is written back, as Linux does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's own pointer.
    let left = unsafe { timeout.as_mut() };
    let span = match &left {
        None => Ok(None),
        Some(t) => c::span(t.tv_sec, t.tv_usec.saturating_mul(1000)).map(Some),
    };
    if let Ok(span) = span {
        // SAFETY: the caller's own sets.
        if let Some((done, rest)) = unsafe { select_both(n, [r, w, e], span, None) } {
            if let (Some(left), Some(rest)) = (left, rest) {
                left.tv_sec = (rest.as_micros() / 1_000_000).cast_signed();
                left.tv_usec = (rest.as_micros() % 1_000_000).cast_signed();
            }
            return done;
        }
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::select(n, r, w, e, timeout) }
}

/// pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's own pointers.
    let (span, mask_ref) = unsafe { (c::timeout(timeout), mask.as_ref()) };
    if let Ok(span) = span {
        // SAFETY: the caller's own sets.
        if let Some((done, _)) = unsafe { select_both(n, [r, w, e], span, mask_ref) } {
            return done;
        }
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::pselect(n, r, w, e, timeout, mask) }
}

/// What poll(2) must report for a descriptor to be in each of the three sets, as the kernel has it.
const READ: i16 =
    libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLHUP | libc::POLLERR;
const WRITE: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND | libc::POLLERR;
const EXCEPT: i16 = libc::POLLPRI;
const ASKED: [i16; 3] = [
    libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND,
    libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND,
    libc::POLLPRI,
];
const FOUND: [i16; 3] = [READ, WRITE, EXCEPT];

/// select(2) by way of poll(2). None: no descriptor is ours. Else the result, and what is left of the timeout.
unsafe fn select_both(
    n: c_int,
    sets: [*mut fd_set; 3],
    timeout: Option<Nanos>,
    mask: Option<&sigset_t>,
) -> Option<(c_int, Option<Nanos>)> {
    if !process().is_active() {
        return None;
    }
    let mut entries: SmallVec<[pollfd; 64]> = SmallVec::new();
    for fd in 0..n.max(0) {
        let mut events = 0;
        for (set, asked) in sets.iter().zip(ASKED) {
            // SAFETY: the caller's sets reach up to n.
            if !set.is_null() && unsafe { *word(*set, fd) } & bit(fd) != 0 {
                events |= asked;
            }
        }
        if events != 0 {
            entries.push(pollfd {
                fd,
                events,
                revents: 0,
            });
        }
    }
    if !process().any_ours(&entries) {
        return None;
    }
    let started = process().time();
    let polled = process().poll(&mut entries, timeout, mask)?;
    let rest = timeout.map(|t| t - (process().time() - started));
    if let Err(errno) = polled {
        return Some((c::fail(errno), rest));
    }
    if entries.iter().any(|p| p.revents & libc::POLLNVAL != 0) {
        return Some((c::fail(Errno::BADF), rest));
    }
    let mut count = 0;
    for p in &entries {
        for ((set, asked), found) in sets.iter().zip(ASKED).zip(FOUND) {
            if set.is_null() || p.events & asked == 0 {
                continue;
            }
            // SAFETY: as above.
            let place = unsafe { &mut *word(*set, p.fd) };
            if p.revents & found != 0 {
                count += 1;
            } else {
                *place &= !bit(p.fd);
            }
        }
    }
    Some((count, rest))
}

const LONG_BITS: c_int = c_long::BITS as c_int;

/// The word of a set that has a descriptor's bit. Sets may be longer than FD_SETSIZE: programs allocate their own.
unsafe fn word(set: *mut fd_set, fd: c_int) -> *mut c_long {
    // SAFETY: the caller's set reaches up to fd.
    unsafe {
        set.cast::<c_long>()
            .add((fd / LONG_BITS).unsigned_abs() as usize)
    }
}

const fn bit(fd: c_int) -> c_long {
    1 << (fd % LONG_BITS)
}
