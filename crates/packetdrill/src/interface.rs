//! The table of functions that the tool calls, as its `packetdrill.h` has it.

use core::ffi::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use libc::{
    epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t,
    timeval,
};
use sidestep_exports::{descriptors, epoll, io, options, poll, sockets, transfer};
use sidestep_socket::{Nanos, process};

/// How long the tool waits for a packet in vain, in virtual time: longer than any timer of TCP.
const PATIENCE: Nanos = Nanos::from_secs(3 * 3600);

/// Declares the structure, and fills it in: functions that are passed on as they are, and those of this file.
macro_rules! interface {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $call:path;)*) => {
        /// `struct packetdrill_interface`.
        #[repr(C)]
        pub struct Interface {
            userdata: *mut c_void,
            free: unsafe extern "C" fn(*mut c_void),
            $($name: unsafe extern "C" fn(*mut c_void, $($ty),*) -> $ret,)*
        }

        /// All of it.
        pub(crate) const INTERFACE: Interface = Interface {
            userdata: core::ptr::null_mut(),
            free,
            $($name,)*
        };

        $(
            unsafe extern "C" fn $name(_: *mut c_void, $($arg: $ty),*) -> $ret {
                // SAFETY: the tool's own arguments.
                unsafe { $call($($arg),*) }
            }
        )*
    };
}

interface! {
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int = sockets::socket;
    bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int = sockets::bind;
    listen(fd: c_int, backlog: c_int) -> c_int = sockets::listen;
    accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int = sockets::accept;
    connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int = sockets::connect;
    read(fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t = io::read;
    readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t = io::readv;
    recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t = io::recv;
    recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t = io::recvfrom;
    recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t = io::recvmsg;
    write(fd: c_int, buf: *const c_void, count: size_t) -> ssize_t = io::write;
    writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t = io::writev;
    send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t = io::send;
    sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, addr: *const sockaddr, alen: socklen_t) -> ssize_t = io::sendto;
    sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t = io::sendmsg;
    fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int = descriptors::fcntl;
    ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int = descriptors::ioctl;
    close(fd: c_int) -> c_int = descriptors::close;
    shutdown(fd: c_int, how: c_int) -> c_int = sockets::shutdown;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int = options::getsockopt;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int = options::setsockopt;
    poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int = poll::poll;
    netdev_send(packet: *const c_void, bytes: size_t) -> c_int = arrive;
    netdev_receive(packet: *mut c_void, bytes: *mut size_t, at_us: *mut c_longlong) -> c_int = depart;
    usleep(us: c_uint) -> c_int = sleep;
    gettimeofday(tv: *mut timeval, zone: *mut c_void) -> c_int = clock;
    epoll_create(size: c_int) -> c_int = epoll::epoll_create;
    epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int = epoll::epoll_ctl;
    epoll_wait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int) -> c_int = epoll::epoll_wait;
    pipe(fds: *mut c_int) -> c_int = libc::pipe;
    splice(input: c_int, in_offset: *mut loff_t, out: c_int, out_offset: *mut loff_t, len: size_t, flags: c_uint) -> ssize_t = splice_between;
}

/// Everything is the process's, and ends with it.
unsafe extern "C" fn free(_: *mut c_void) {}

unsafe fn arrive(packet: *const c_void, bytes: size_t) -> c_int {
    // SAFETY: the tool passes so many bytes.
    process().arrive(unsafe { core::slice::from_raw_parts(packet.cast::<u8>(), bytes) });
    0
}

/// The next packet that the stack sends. Where none comes, what is no packet: the tool asks for ever otherwise.
unsafe fn depart(packet: *mut c_void, bytes: *mut size_t, at_us: *mut c_longlong) -> c_int {
    let (at, sent) = process()
        .await_departure(PATIENCE)
        .unwrap_or((process().look_at_clock(), vec![0; 20]));
    // SAFETY: the tool says how much room there is.
    let room = unsafe { *bytes };
    let n = sent.len().min(room);
    // SAFETY: as many bytes are on both sides.
    unsafe { core::ptr::copy_nonoverlapping(sent.as_ptr(), packet.cast::<u8>(), n) };
    // SAFETY: the tool's own room.
    unsafe { *bytes = n };
    // SAFETY: as above.
    unsafe { *at_us = c_longlong::try_from(at.as_micros()).unwrap_or(c_longlong::MAX) };
    0
}

/// The tool passes the places of the offsets that a script names, also where that says NULL.
unsafe fn splice_between(
    input: c_int,
    in_offset: *mut loff_t,
    out: c_int,
    out_offset: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let named = |offset: *mut loff_t| {
        // SAFETY: null, or the tool's own place.
        let is_null = unsafe { offset.as_ref() }.is_none_or(|value| *value == 0);
        if is_null {
            core::ptr::null_mut()
        } else {
            offset
        }
    };
    // SAFETY: the tool's own arguments.
    unsafe { transfer::splice(input, named(in_offset), out, named(out_offset), len, flags) }
}

unsafe fn sleep(us: c_uint) -> c_int {
    process().pass_time(Nanos::from_micros(u64::from(us)));
    0
}

unsafe fn clock(tv: *mut timeval, _: *mut c_void) -> c_int {
    let us = c_long::try_from(process().look_at_clock().as_micros()).unwrap_or(c_long::MAX);
    let now = timeval {
        tv_sec: us / 1_000_000,
        tv_usec: us % 1_000_000,
    };
    // SAFETY: the tool's own room.
    unsafe { tv.write(now) };
    0
}
