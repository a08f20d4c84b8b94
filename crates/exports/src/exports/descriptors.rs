//! What becomes of descriptors: close, dup, fcntl, ioctl.
#![expect(unsafe_code, reason = "functions that C programs call")]

use crate::{c, real};
use core::ffi::{c_int, c_uint, c_ulong};
use sidestep_socket::{Errno, is_internal, process};

/// Requests of linux/sockios.h that the C library's crate does not know.
const FIOSETOWN: c_ulong = 0x8901;
const SIOCSPGRP: c_ulong = 0x8902;
const SIOCATMARK: c_ulong = 0x8905;

/// close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_internal(fd) {
        // A program that closes every number it can think of does not mean ours.
        return c::fail(Errno::BADF);
    }
    process().closing(fd);
    // SAFETY: numbers only.
    unsafe { real::close(fd) }
}

/// close_range(2): all but what is ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    /// CLOSE_RANGE_CLOEXEC: nothing is closed yet.
    const CLOEXEC: c_int = 4;
    if flags & CLOEXEC != 0 || first > last {
        // SAFETY: numbers only.
        return unsafe { real::close_range(first, last, flags) };
    }
    process().closing_range(first, last);
    let mut from = first;
    for ours in process().internal_fds() {
        let number = ours.cast_unsigned();
        if number < from || number > last {
            continue;
        }
        if number > from {
            // SAFETY: numbers only.
            let done = unsafe { real::close_range(from, number - 1, flags) };
            if done != 0 {
                return done;
            }
        }
        from = number + 1;
    }
    if from > last {
        return 0;
    }
    // SAFETY: numbers only.
    unsafe { real::close_range(from, last, flags) }
}

/// closefrom(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    let first = c_uint::try_from(first).unwrap_or(0);
    // SAFETY: numbers only.
    unsafe { close_range(first, c_uint::MAX, 0) };
}

/// dup(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: numbers only.
    let new = unsafe { real::dup(fd) };
    if new >= 0 {
        process().duplicated(fd, new);
    }
    new
}

/// dup2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if is_internal(new) {
        return c::fail(Errno::BADF);
    }
    if old == new {
        // SAFETY: numbers only.
        return unsafe { real::dup2(old, new) };
    }
    // SAFETY: numbers only.
    duplicate_onto(old, new, || unsafe { real::dup2(old, new) })
}

/// dup3(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if is_internal(new) {
        return c::fail(Errno::BADF);
    }
    // SAFETY: numbers only.
    duplicate_onto(old, new, || unsafe { real::dup3(old, new, flags) })
}

/// What `new` was is closed by a duplication onto it, if that succeeds.
fn duplicate_onto(old: c_int, new: c_int, duplicate: impl FnOnce() -> c_int) -> c_int {
    let done = duplicate();
    if done >= 0 && old != new {
        process().closing(new);
        process().duplicated(old, new);
    }
    done
}

/// fcntl(2). The third argument, where there is one, is a number or a pointer: both travel alike.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    with_fcntl(fd, cmd, arg, |arg| unsafe { real::fcntl(fd, cmd, arg) })
}

/// fcntl(2) as programs with 64-bit offsets call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    with_fcntl(fd, cmd, arg, |arg| unsafe { real::fcntl64(fd, cmd, arg) })
}

fn with_fcntl(fd: c_int, cmd: c_int, arg: usize, call: impl FnOnce(usize) -> c_int) -> c_int {
    let nonblock = libc::O_NONBLOCK as usize;
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let new = call(arg);
            if new >= 0 {
                process().duplicated(fd, new);
            }
            new
        }
        libc::F_SETFL if process().is_socket(fd) || process().is_left_to_kernel(fd) => {
            let always = if never_blocks(fd) { nonblock } else { 0 };
            let done = call(arg | always);
            if done >= 0 {
                process().set_nonblocking(fd, arg & nonblock != 0);
            }
            done
        }
        libc::F_GETFL => match (call(arg), process().nonblocking(fd)) {
            (flags, Some(ours)) if flags >= 0 => {
                if ours {
                    flags | libc::O_NONBLOCK
                } else {
                    flags & !libc::O_NONBLOCK
                }
            }
            (flags, _) => flags,
        },
        libc::F_SETOWN if process().is_socket(fd) => {
            let done = call(arg);
            if done >= 0 {
                #[expect(clippy::cast_possible_truncation, reason = "the argument is an int")]
                process().set_owner(fd, (arg as u32).cast_signed());
            }
            done
        }
        _ => call(arg),
    }
}

/// Whether the kernel's own calls on a socket must not block, whatever the program's do.
fn never_blocks(fd: c_int) -> bool {
    process().has_two_accepting_sides(fd) || process().is_left_to_kernel(fd)
}

/// ioctl(2). The third argument is a pointer or a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::ioctl(fd, request, arg) };
    if !process().is_socket(fd) && !process().is_left_to_kernel(fd) {
        return kernel();
    }
    let value = core::ptr::with_exposed_provenance_mut::<c_int>(arg);
    match request {
        libc::FIONBIO => {
            // SAFETY: the caller passes a pointer to a number, or null.
            let Some(on) = (unsafe { value.as_ref() }) else {
                return c::fail(Errno::FAULT);
            };
            process().set_nonblocking(fd, *on != 0);
            if never_blocks(fd) { 0 } else { kernel() }
        }
        libc::FIONREAD => match process().readable_bytes(fd) {
            Some(n) => {
                // SAFETY: as above.
                let Some(place) = (unsafe { value.as_mut() }) else {
                    return c::fail(Errno::FAULT);
                };
                *place = c_int::try_from(n).unwrap_or(c_int::MAX);
                0
            }
            None => kernel(),
        },
        SIOCATMARK => match process().at_mark(fd) {
            Some(at_mark) => {
                // SAFETY: as above.
                let Some(place) = (unsafe { value.as_mut() }) else {
                    return c::fail(Errno::FAULT);
                };
                *place = c_int::from(at_mark);
                0
            }
            None => kernel(),
        },
        FIOSETOWN | SIOCSPGRP => {
            let done = kernel();
            // SAFETY: as above; the kernel has read it.
            let owner = unsafe { value.as_ref() };
            if let Some(owner) = owner.filter(|_| done >= 0) {
                process().set_owner(fd, *owner);
            }
            done
        }
        _ => kernel(),
    }
}
