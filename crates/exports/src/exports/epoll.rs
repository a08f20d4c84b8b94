//! epoll.
#![expect(unsafe_code, reason = "functions that C programs call")]

use crate::{c, real};
use core::ffi::c_int;
use libc::{epoll_event, sigset_t, timespec};
use sidestep_socket::{EpollChange, Event, Nanos, process};

/// Most events in one answer; a program that has room for more asks again.
const EVENTS_MAX: usize = 256;

/// epoll_create(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_create(size: c_int) -> c_int {
    // SAFETY: numbers only.
    opened(unsafe { real::epoll_create(size) })
}

/// epoll_create1(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: numbers only.
    opened(unsafe { real::epoll_create1(flags) })
}

fn opened(epfd: c_int) -> c_int {
    if epfd >= 0 {
        process().epoll_opened(epfd);
    }
    epfd
}

/// epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_ctl(
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::epoll_ctl(epfd, op, fd, event) };
    let (is_socket, is_epoll) = (process().is_socket(fd), process().is_epoll(fd));
    if !is_socket && !is_epoll {
        return kernel();
    }
    // SAFETY: the caller passes an event, or null.
    let asked = unsafe { event.as_ref() }.map(|e| Event {
        events: e.events,
        data: e.u64,
    });
    let change = match (op, asked) {
        (libc::EPOLL_CTL_ADD, Some(event)) => EpollChange::Add(event),
        (libc::EPOLL_CTL_MOD, Some(event)) => EpollChange::Modify(event),
        (libc::EPOLL_CTL_DEL, _) => EpollChange::Remove,
        _ => return kernel(),
    };
    if is_epoll {
        let done = kernel();
        if done == 0 {
            process().epoll_nested(epfd, fd, change);
        }
        return done;
    }
    match process().epoll_ctl(epfd, fd, change) {
        Some(Ok(())) => 0,
        Some(Err(errno)) => c::fail(errno),
        None => kernel(),
    }
}

/// epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epfd: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { epoll_pwait(epfd, events, max, timeout, core::ptr::null()) }
}

/// epoll_pwait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait(
    epfd: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::epoll_pwait(epfd, events, max, timeout, mask) };
    // SAFETY: as above.
    unsafe { wait_both(epfd, events, max, c::timeout_ms(timeout), mask, kernel) }
}

/// epoll_pwait2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait2(
    epfd: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::epoll_pwait2(epfd, events, max, timeout, mask) };
    // SAFETY: the caller's own pointer.
    match unsafe { c::timeout(timeout) } {
        // SAFETY: the caller's own arguments.
        Ok(span) => unsafe { wait_both(epfd, events, max, span, mask, kernel) },
        Err(_) => kernel(),
    }
}

unsafe fn wait_both(
    epfd: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: Option<Nanos>,
    mask: *const sigset_t,
    kernel: impl Fn() -> c_int,
) -> c_int {
    let room = usize::try_from(max).unwrap_or(0).min(EVENTS_MAX);
    if room == 0 || events.is_null() {
        return kernel();
    }
    // SAFETY: the caller passes room for `max` events.
    let out = unsafe { core::slice::from_raw_parts_mut(events, room) };
    loop {
        if process().epoll_is_ours(epfd) {
            let mut found = [Event { events: 0, data: 0 }; EVENTS_MAX];
            // SAFETY: the caller passes a mask, or null.
            let mask = unsafe { mask.as_ref() };
            match process().epoll_wait(epfd, &mut found[..room], timeout, mask) {
                Some(Ok(count)) => {
                    for (place, event) in out.iter_mut().zip(&found[..count]) {
                        *place = epoll_event {
                            events: event.events,
                            u64: event.data,
                        };
                    }
                    return c_int::try_from(count).unwrap_or(c_int::MAX);
                }
                Some(Err(errno)) => return c::fail(errno),
                // The stack was lost, and what was in the set is the kernel's by now, as a rule.
                None if process().epoll_is_ours(epfd) => return kernel(),
                None => {}
            }
        }
        if !process().epoll_enter_kernel(epfd) {
            continue;
        }
        let got = kernel();
        let Ok(count) = usize::try_from(got) else {
            process().epoll_leave_kernel(epfd, &mut []);
            return got;
        };
        let mut found = [Event { events: 0, data: 0 }; EVENTS_MAX];
        let count = count.min(room);
        for (event, place) in found.iter_mut().zip(&out[..count]) {
            *event = Event {
                events: place.events,
                data: place.u64,
            };
        }
        let (count, again) = process().epoll_leave_kernel(epfd, &mut found[..count]);
        if again {
            continue;
        }
        for (place, event) in out.iter_mut().zip(&found[..count]) {
            *place = epoll_event {
                events: event.events,
                u64: event.data,
            };
        }
        return c_int::try_from(count).unwrap_or(c_int::MAX);
    }
}
