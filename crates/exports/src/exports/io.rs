//! Sending and receiving.
#![expect(unsafe_code, reason = "functions that C programs call")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it leads to are looked at together"
)]

use crate::{c, control, real};
use core::ffi::{c_int, c_uint, c_void};
use libc::{iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};
use sidestep_socket::{
    Beside, Departure, Endpoint, Errno, Foreign, ForeignMut, Nanos, Received, RecvFlags, SendFlags,
    Told, Verdict, process,
};

/// Sends through the stack; `kernel` is the same call of the C library.
#[inline]
pub(super) fn send_parts(
    fd: c_int,
    parts: &[Foreign<'_>],
    flags: c_int,
    target: Option<Endpoint>,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    send_parts_with(fd, parts, flags, target, &Departure::default(), kernel)
}

/// As [`send_parts`], with what came beside a datagram.
#[inline]
fn send_parts_with(
    fd: c_int,
    parts: &[Foreign<'_>],
    flags: c_int,
    target: Option<Endpoint>,
    departure: &Departure,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    if flags & libc::MSG_OOB != 0 && process().is_tcp(fd) != Some(true) {
        return c::fail_long(Errno::OPNOTSUPP);
    }
    let mut asked = SendFlags::empty();
    asked.set(SendFlags::URGENT, flags & libc::MSG_OOB != 0);
    asked.set(SendFlags::DONTWAIT, flags & libc::MSG_DONTWAIT != 0);
    asked.set(SendFlags::MORE, flags & libc::MSG_MORE != 0);
    asked.set(SendFlags::FAST_OPEN, flags & libc::MSG_FASTOPEN != 0);
    asked.set(SendFlags::RECORD, flags & libc::MSG_EOR != 0);
    asked.set(SendFlags::LENT, flags & libc::MSG_ZEROCOPY != 0);
    match process().send_with(fd, parts, asked, target, departure) {
        Verdict::Kernel | Verdict::KernelNow => kernel(),
        Verdict::Done(Ok(n)) => n.cast_signed(),
        Verdict::Done(Err(errno)) => {
            if errno == Errno::PIPE
                && flags & libc::MSG_NOSIGNAL == 0
                && process().is_tcp(fd) == Some(true)
            {
                c::raise_sigpipe();
            }
            c::fail_long(errno)
        }
    }
}

/// Receives through the stack; `kernel(more flags)` is the same call of the C library.
#[inline]
pub(super) fn recv_parts(
    fd: c_int,
    parts: &mut [ForeignMut<'_>],
    flags: c_int,
    kernel: impl FnMut(c_int) -> ssize_t,
) -> Result<Received, ssize_t> {
    recv_parts_with(fd, parts, flags, RecvFlags::empty(), kernel)
}

/// As [`recv_parts`], and what else is `asked` for.
#[inline]
fn recv_parts_with(
    fd: c_int,
    parts: &mut [ForeignMut<'_>],
    flags: c_int,
    mut asked: RecvFlags,
    mut kernel: impl FnMut(c_int) -> ssize_t,
) -> Result<Received, ssize_t> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return match process().take_told(fd, parts) {
            Verdict::Kernel | Verdict::KernelNow => Err(kernel(0)),
            // Read by a call without room for what it says.
            Verdict::Done(Ok(Told::Complaint(told, _))) => Ok(Received {
                copied: told.copied,
                len: told.copied,
                source: Some(told.about),
                ..nothing()
            }),
            Verdict::Done(Ok(Told::Notice(_))) => Ok(nothing()),
            Verdict::Done(Err(errno)) => Err(c::fail_long(errno)),
        };
    }
    if flags & libc::MSG_OOB != 0 {
        return recv_urgent(fd, parts, flags, kernel);
    }
    asked.set(RecvFlags::PEEK, flags & libc::MSG_PEEK != 0);
    asked.set(RecvFlags::DONTWAIT, flags & libc::MSG_DONTWAIT != 0);
    asked.set(RecvFlags::WAITALL, flags & libc::MSG_WAITALL != 0);
    asked.set(RecvFlags::TRUNC, flags & libc::MSG_TRUNC != 0);
    loop {
        match process().recv(fd, parts, asked) {
            Verdict::Kernel => return Err(kernel(0)),
            Verdict::KernelNow => {
                let n = kernel(libc::MSG_DONTWAIT);
                if n >= 0 {
                    process().kernel_side_ready();
                }
                let again = || {
                    let blocks = !asked.contains(RecvFlags::DONTWAIT)
                        && process().nonblocking(fd) == Some(false);
                    blocks || process().has_datagrams(fd)
                };
                if !(n < 0 && c::errno() == libc::EAGAIN && again()) {
                    return Err(n);
                }
            }
            Verdict::Done(Ok(received)) => return Ok(received),
            Verdict::Done(Err(errno)) => return Err(c::fail_long(errno)),
        }
    }
}

/// recv(2) with MSG_OOB.
fn recv_urgent(
    fd: c_int,
    parts: &mut [ForeignMut<'_>],
    flags: c_int,
    mut kernel: impl FnMut(c_int) -> ssize_t,
) -> Result<Received, ssize_t> {
    if process().is_tcp(fd) != Some(true) {
        return Err(c::fail_long(Errno::INVAL));
    }
    match process().recv_urgent(fd, flags & libc::MSG_PEEK != 0) {
        Verdict::Kernel | Verdict::KernelNow => Err(kernel(0)),
        Verdict::Done(Ok(byte)) => {
            let room = parts.iter_mut().find(|part| !part.is_empty());
            let copied = match (byte, room) {
                (Some(byte), Some(room)) if flags & libc::MSG_TRUNC == 0 => room.copy_from(&[byte]),
                (Some(_), Some(_)) => 1,
                _ => 0,
            };
            Ok(Received {
                copied,
                len: copied,
                ..nothing()
            })
        }
        Verdict::Done(Err(errno)) => Err(c::fail_long(errno)),
    }
}

/// What a call got that asked for no data.
const fn nothing() -> Received {
    Received {
        copied: 0,
        len: 0,
        source: None,
        arrival: None,
        beside: Beside {
            left: None,
            at: None,
        },
    }
}

fn length(received: &Received, flags: c_int) -> ssize_t {
    if flags & libc::MSG_TRUNC != 0 {
        received.len.cast_signed()
    } else {
        received.copied.cast_signed()
    }
}

/// read(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t {
    if !process().is_socket(fd) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::read(fd, buf, count) };
    }
    // SAFETY: as above.
    unsafe { recv(fd, buf, count, 0) }
}

/// readv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    if !process().is_socket(fd) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::readv(fd, iov, count) };
    }
    let Ok(n) = usize::try_from(count) else {
        return c::fail_long(Errno::INVAL);
    };
    let kernel = |more: c_int| {
        let mut msg = plain_message(iov.cast_mut(), n);
        // SAFETY: the message describes the caller's own buffers.
        unsafe { real::recvmsg(fd, &raw mut msg, more) }
    };
    // SAFETY: the caller's own vectors.
    match unsafe { c::with_parts_mut(iov, n, |parts| recv_parts(fd, parts, 0, kernel)) } {
        Ok(Ok(received)) => received.copied.cast_signed(),
        Ok(Err(n)) => n,
        Err(errno) => c::fail_long(errno),
    }
}

/// Whether a call drops bytes of a stream, and so looks at no pointer that they could go to.
#[cold]
fn drops(fd: c_int, flags: c_int) -> bool {
    flags & libc::MSG_TRUNC != 0 && process().is_tcp(fd) == Some(true)
}

/// recv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = |more| unsafe { real::recv(fd, buf, len, flags | more) };
    if !process().is_socket(fd) {
        return kernel(0);
    }
    // SAFETY: the caller's own buffer.
    let part = match unsafe { c::bytes_mut(buf, len) } {
        Ok(part) => part,
        Err(_) if drops(fd, flags) => c::nowhere(len),
        Err(errno) => return c::fail_long(errno),
    };
    match recv_parts(fd, &mut [part], flags, kernel) {
        Ok(received) => length(&received, flags),
        Err(n) => n,
    }
}

/// recvfrom(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = |more| unsafe { real::recvfrom(fd, buf, len, flags | more, addr, alen) };
    if !process().is_socket(fd) {
        return kernel(0);
    }
    // SAFETY: the caller's own buffer.
    let part = match unsafe { c::bytes_mut(buf, len) } {
        Ok(part) => part,
        Err(_) if drops(fd, flags) => c::nowhere(len),
        Err(errno) => return c::fail_long(errno),
    };
    match recv_parts(fd, &mut [part], flags, kernel) {
        Ok(received) => {
            match received.source {
                // SAFETY: the caller's own pointers.
                Some(source) => unsafe { c::put_endpoint(source, process().is_v6(fd), addr, alen) },
                // SAFETY: as above; a stream names nobody.
                None if !addr.is_null() && !alen.is_null() => unsafe { *alen = 0 },
                None => {}
            }
            length(&received, flags)
        }
        Err(n) => n,
    }
}

/// recvmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = |more| unsafe { real::recvmsg(fd, msg, flags | more) };
    if !process().is_socket(fd) {
        return kernel(0);
    }
    // SAFETY: the caller's own message.
    let Some(header) = (unsafe { msg.as_mut() }) else {
        return c::fail_long(Errno::FAULT);
    };
    if flags & libc::MSG_ERRQUEUE != 0 {
        return recv_notice(fd, header, || kernel(0));
    }
    let (iov, count) = (header.msg_iov, header.msg_iovlen);
    let room = header.msg_controllen;
    let wanted = if room > 0 {
        RecvFlags::BESIDE
    } else {
        RecvFlags::empty()
    };
    let receive = |parts: &mut [ForeignMut<'_>]| recv_parts_with(fd, parts, flags, wanted, kernel);
    let received = if flags & libc::MSG_TRUNC != 0 && drops(fd, flags) {
        // SAFETY: the caller's own vectors.
        unsafe { c::total(iov, count) }.map(|len| receive(&mut [c::nowhere(len)]))
    } else {
        // SAFETY: as above.
        unsafe { c::with_parts_mut(iov, count, receive) }
    };
    match received {
        Ok(Ok(received)) => {
            header.msg_flags = flags & libc::MSG_OOB;
            if received.len > received.copied {
                header.msg_flags |= libc::MSG_TRUNC;
            }
            // SAFETY: the caller's own room for control messages.
            unsafe {
                let is_v6 = received.arrival.is_some() && process().is_v6(fd);
                control::put(header, received.arrival.as_ref(), is_v6);
            }
            // Of a stream other things are told.
            if received.beside.left.is_some() || received.beside.at.is_some() {
                header.msg_controllen = room;
                // SAFETY: as above.
                unsafe { control::put_beside(header, &received.beside, received.copied > 0) };
            }
            match received.source {
                // SAFETY: the caller's own room for a name.
                Some(source) => unsafe {
                    c::put_endpoint(
                        source,
                        process().is_v6(fd),
                        header.msg_name.cast(),
                        &raw mut header.msg_namelen,
                    );
                },
                None => header.msg_namelen = 0,
            }
            length(&received, flags)
        }
        Ok(Err(n)) => n,
        Err(errno) => c::fail_long(errno),
    }
}

/// recvmsg(2) with MSG_ERRQUEUE.
#[cold]
fn recv_notice(fd: c_int, header: &mut msghdr, kernel: impl FnOnce() -> ssize_t) -> ssize_t {
    let (iov, count) = (header.msg_iov, header.msg_iovlen);
    // SAFETY: the caller's own vectors.
    let told =
        match unsafe { c::with_parts_mut(iov, count, |parts| process().take_told(fd, parts)) } {
            Ok(told) => told,
            Err(errno) => return c::fail_long(errno),
        };
    match told {
        Verdict::Kernel | Verdict::KernelNow => kernel(),
        Verdict::Done(Ok(Told::Complaint(told, errno))) => {
            header.msg_flags = libc::MSG_ERRQUEUE;
            if told.len > told.copied {
                header.msg_flags |= libc::MSG_TRUNC;
            }
            let is_v6 = process().is_v6(fd);
            // SAFETY: the caller's own room for control messages, and for a name.
            unsafe {
                control::put_complaint(header, &told, errno, (process().asked(fd), is_v6));
                c::put_endpoint(
                    told.about,
                    is_v6,
                    header.msg_name.cast(),
                    &raw mut header.msg_namelen,
                );
            }
            told.copied.cast_signed()
        }
        Verdict::Done(Ok(Told::Notice(notice))) => {
            header.msg_namelen = 0;
            header.msg_flags = libc::MSG_ERRQUEUE;
            if notice.is_cut() {
                header.msg_flags |= libc::MSG_TRUNC;
            }
            // SAFETY: the caller's own room for control messages.
            unsafe { control::put_notice(header, &notice, process().is_v6(fd)) };
            0
        }
        Verdict::Done(Err(errno)) => c::fail_long(errno),
    }
}

/// recvmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    if !process().is_socket(fd) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::recvmmsg(fd, msgs, n, flags, timeout) };
    }
    // SAFETY: the caller passes a time, or null.
    let deadline = match unsafe { c::timeout(timeout) } {
        Ok(span) => span.map(|span| process().time() + span),
        Err(errno) => return c::fail(errno),
    };
    if let Some(errno) = process().pending_error(fd) {
        return c::fail(errno);
    }
    let mut asked = flags & !libc::MSG_WAITFORONE;
    let mut count = 0;
    while count < n as usize {
        // SAFETY: the caller passes n messages.
        let place = unsafe { &mut *msgs.add(count) };
        // SAFETY: as above.
        let got = unsafe { recvmsg(fd, &raw mut place.msg_hdr, asked) };
        if got < 0 {
            if count == 0 {
                return -1;
            }
            process().put_error_back(fd, Errno::from_raw_os_error(c::errno()));
            break;
        }
        place.msg_len = c_uint::try_from(got).unwrap_or(c_uint::MAX);
        count += 1;
        if flags & libc::MSG_WAITFORONE != 0 {
            asked |= libc::MSG_DONTWAIT;
        }
        if place.msg_hdr.msg_flags & libc::MSG_OOB != 0 {
            break;
        }
        // As in Linux it ends no wait: it is looked at when a message has come.
        if let Some(deadline) = deadline {
            let now = process().time();
            let left = deadline - deadline.min(now);
            // SAFETY: the time that was read above.
            unsafe { *timeout = c::timespec(left) };
            if left == Nanos::ZERO {
                break;
            }
        }
    }
    c_int::try_from(count).unwrap_or(c_int::MAX)
}

/// write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buf: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::write(fd, buf, count) };
    if !process().is_socket(fd) {
        return kernel();
    }
    // SAFETY: the caller's own buffer.
    match unsafe { c::bytes(buf, count) } {
        Ok(part) => send_parts(fd, &[part], 0, None, kernel),
        Err(errno) => c::fail_long(errno),
    }
}

/// writev(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::writev(fd, iov, count) };
    if !process().is_socket(fd) {
        return kernel();
    }
    let Ok(n) = usize::try_from(count) else {
        return c::fail_long(Errno::INVAL);
    };
    // SAFETY: the caller's own vectors.
    match unsafe { c::with_parts(iov, n, |parts| send_parts(fd, parts, 0, None, kernel)) } {
        Ok(n) => n,
        Err(errno) => c::fail_long(if errno == Errno::MSGSIZE {
            Errno::INVAL
        } else {
            errno
        }),
    }
}

/// send(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::send(fd, buf, len, flags) };
    if !process().is_socket(fd) {
        return kernel();
    }
    // SAFETY: the caller's own buffer.
    match unsafe { c::bytes(buf, len) } {
        Ok(part) => send_parts(fd, &[part], flags, None, kernel),
        Err(errno) => c::fail_long(errno),
    }
}

/// sendto(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::sendto(fd, buf, len, flags, addr, alen) };
    if !process().is_socket(fd) {
        return kernel();
    }
    // SAFETY: the caller's own address.
    let target = unsafe { c::endpoint(addr, alen) };
    if target.is_none() && !addr.is_null() && process().is_tcp(fd) == Some(false) {
        return kernel();
    }
    // SAFETY: the caller's own buffer.
    match unsafe { c::bytes(buf, len) } {
        Ok(part) => send_parts(fd, &[part], flags, target, kernel),
        Err(errno) => c::fail_long(errno),
    }
}

/// sendmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::sendmsg(fd, msg, flags) };
    if !process().is_socket(fd) {
        return kernel();
    }
    // SAFETY: the caller's own message.
    let header = match unsafe { c::message(msg) } {
        Ok(header) => header,
        Err(errno) => return c::fail_long(errno),
    };
    // SAFETY: the caller's own address.
    let target = unsafe { c::endpoint(header.msg_name.cast(), header.msg_namelen) };
    // SAFETY: the caller's own control messages.
    let departure = unsafe { control::read(header) };
    // SAFETY: the caller's own vectors.
    match unsafe {
        c::with_parts(header.msg_iov, header.msg_iovlen, |parts| {
            send_parts_with(fd, parts, flags, target, &departure, kernel)
        })
    } {
        Ok(n) => n,
        Err(errno) => c::fail_long(errno),
    }
}

/// sendmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    if !process().is_socket(fd) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::sendmmsg(fd, msgs, n, flags) };
    }
    for i in 0..n as usize {
        // SAFETY: the caller passes n messages.
        let place = unsafe { &mut *msgs.add(i) };
        // SAFETY: as above.
        let sent = unsafe { sendmsg(fd, &raw const place.msg_hdr, flags) };
        if sent < 0 {
            return if i > 0 {
                c_int::try_from(i).unwrap_or(c_int::MAX)
            } else {
                -1
            };
        }
        place.msg_len = c_uint::try_from(sent).unwrap_or(c_uint::MAX);
    }
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

fn plain_message(iov: *mut iovec, n: usize) -> msghdr {
    msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: iov,
        msg_iovlen: n,
        msg_control: core::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// read(2) of fortified programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(
    fd: c_int,
    buf: *mut c_void,
    count: size_t,
    room: size_t,
) -> ssize_t {
    check(count, room);
    // SAFETY: the caller's own arguments.
    unsafe { read(fd, buf, count) }
}

/// recv(2) of fortified programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    check(len, room);
    // SAFETY: the caller's own arguments.
    unsafe { recv(fd, buf, len, flags) }
}

/// recvfrom(2) of fortified programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> ssize_t {
    check(len, room);
    // SAFETY: the caller's own arguments.
    unsafe { recvfrom(fd, buf, len, flags, addr, alen) }
}

/// A fortified program that would overflow its buffer ends here, as the C library ends it.
fn check(len: usize, room: usize) {
    if len > room {
        std::process::abort();
    }
}
