//! Making and joining sockets: socket, bind, listen, accept, connect, shutdown, names.
#![expect(unsafe_code, reason = "functions that C programs call")]

use crate::{c, real};
use core::ffi::c_int;
use libc::{sockaddr, socklen_t};
use sidestep_socket::{Errno, Listening, Verdict, process};

/// socket(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: numbers only.
    let fd = unsafe { real::socket(domain, kind, protocol) };
    if fd < 0 || (domain != libc::AF_INET && domain != libc::AF_INET6) {
        return fd;
    }
    let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    let is_v6 = domain == libc::AF_INET6;
    match (kind & 0xf, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => {
            process().socket_opened(fd, true, is_v6, nonblocking)
        }
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => {
            process().socket_opened(fd, false, is_v6, nonblocking)
        }
        _ => {}
    }
    fd
}

/// bind(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's own arguments.
    let done = unsafe { real::bind(fd, addr, len) };
    if done == 0 && process().is_socket(fd) {
        process().bound(fd);
    }
    done
}

/// listen(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    if process().must_not_listen(fd) {
        return c::fail(Errno::INVAL);
    }
    let before = process().listening(fd, backlog);
    // SAFETY: numbers only.
    let done = unsafe { real::listen(fd, backlog) };
    match before {
        Listening::NotOurs => return done,
        Listening::Begun if done != 0 => process().not_listening(fd),
        Listening::Unbound if done == 0 => {
            process().listening(fd, backlog);
        }
        _ => {}
    }
    if done == 0 {
        process().watch_second_side(fd);
        process().offer_fast_open(fd);
    }
    done
}

/// accept(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { accept4(fd, addr, len, 0) }
}

/// accept4(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let (cloexec, nonblock) = (
        flags & libc::SOCK_CLOEXEC != 0,
        flags & libc::SOCK_NONBLOCK != 0,
    );
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return c::fail(Errno::INVAL);
    }
    loop {
        match process().accept(fd, cloexec, nonblock) {
            // SAFETY: the caller's own arguments.
            Verdict::Kernel => return unsafe { real::accept4(fd, addr, len, flags) },
            Verdict::KernelNow => {
                // SAFETY: the caller's own arguments.
                let new = unsafe { real::accept4(fd, addr, len, flags) };
                let again = new < 0 && c::errno() == libc::EAGAIN && process().accepts_again(fd);
                if new >= 0 {
                    process().accepted_by_kernel(fd);
                }
                if !again {
                    return new;
                }
            }
            Verdict::Done(Ok(accepted)) => {
                // SAFETY: the caller's own pointers.
                unsafe { c::put_endpoint(accepted.remote, accepted.is_v6, addr, len) };
                return accepted.fd;
            }
            Verdict::Done(Err(errno)) => return c::fail(errno),
        }
    }
}

/// connect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    if process().is_socket(fd) {
        // SAFETY: the caller's own arguments.
        let remote = unsafe { c::endpoint(addr, len) };
        // SAFETY: as above.
        if unsafe { c::family(addr, len) } == Some(libc::AF_UNSPEC) {
            process().disconnect(fd);
        }
        if let Some(remote) = remote {
            match process().connect(fd, remote) {
                Verdict::Kernel | Verdict::KernelNow => {}
                Verdict::Done(Ok(())) => return 0,
                Verdict::Done(Err(errno)) => return c::fail(errno),
            }
        }
    }
    // SAFETY: the caller's own arguments.
    let done = unsafe { real::connect(fd, addr, len) };
    if done == 0 && process().is_socket(fd) {
        process().connected_by_kernel(fd);
    }
    done
}

/// shutdown(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    let (read, write) = match how {
        libc::SHUT_RD => (true, false),
        libc::SHUT_WR => (false, true),
        libc::SHUT_RDWR => (true, true),
        _ => return c::fail(Errno::INVAL),
    };
    match process().shutdown(fd, read, write) {
        Verdict::Done(Ok(())) => 0,
        Verdict::Done(Err(errno)) => c::fail(errno),
        // SAFETY: numbers only.
        _ => unsafe { real::shutdown(fd, how) },
    }
}

/// getsockname(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    if let Some((local, is_v6)) = process().local_name(fd) {
        if c::is_bad(addr.cast()) || c::is_bad(len.cast()) {
            return c::fail(Errno::FAULT);
        }
        // SAFETY: the caller's own pointers.
        unsafe { c::put_endpoint(local, is_v6, addr, len) };
        return 0;
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::getsockname(fd, addr, len) }
}

/// getpeername(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    match process().peer_name(fd) {
        Some(Ok((peer, is_v6))) => {
            if c::is_bad(addr.cast()) || c::is_bad(len.cast()) {
                return c::fail(Errno::FAULT);
            }
            // SAFETY: the caller's own pointers.
            unsafe { c::put_endpoint(peer, is_v6, addr, len) };
            0
        }
        Some(Err(errno)) => c::fail(errno),
        // SAFETY: the caller's own arguments.
        None => unsafe { real::getpeername(fd, addr, len) },
    }
}
