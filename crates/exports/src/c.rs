//! C's values, translated: addresses, buffers, times, errno.
#![expect(
    unsafe_code,
    reason = "reads and writes what the program's pointers point at"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it leads to are looked at together"
)]

use core::ffi::{c_int, c_void};
use core::mem::offset_of;
use libc::{iovec, msghdr, sockaddr, sockaddr_in, sockaddr_in6, socklen_t, timespec};
use sidestep_socket::{Address, Endpoint, Errno, Foreign, ForeignMut, Nanos};
use smallvec::SmallVec;

/// Address families as addresses have them.
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
pub(crate) const INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
pub(crate) const INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;
/// Most buffers in one call, as the kernel has it (UIO_MAXIOV).
pub(crate) const IOV_MAX: usize = 1024;

/// Buffers that a call can have without memory being allocated for them.
const FEW: usize = 16;

/// Sets errno; returns -1.
#[inline]
pub(crate) fn fail(errno: Errno) -> c_int {
    // SAFETY: the C library gives each thread its errno.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
    -1
}

/// Sets errno; returns -1.
#[inline]
pub(crate) fn fail_long(errno: Errno) -> isize {
    fail(errno) as isize
}

/// errno as the last call left it.
pub(crate) fn errno() -> c_int {
    // SAFETY: as in `fail`.
    unsafe { *libc::__errno_location() }
}

/// Sets errno back to what it was.
pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: as in `fail`.
    unsafe { *libc::__errno_location() = errno };
}

/// The internet endpoint at `addr`; none for other families, too short ones, and null.
pub(crate) unsafe fn endpoint(addr: *const sockaddr, len: socklen_t) -> Option<Endpoint> {
    if is_bad(addr.cast()) || (len as usize) < size_of::<sockaddr_in>() {
        return None;
    }
    // SAFETY: the program passes an address of `len` bytes, at least as many as are read.
    let family = unsafe { addr.cast::<libc::sa_family_t>().read_unaligned() };
    if c_int::from(family) == libc::AF_INET {
        // SAFETY: as above.
        let v4 = unsafe { addr.cast::<sockaddr_in>().read_unaligned() };
        let ip = core::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some(Endpoint::new(Address::from(ip), u16::from_be(v4.sin_port)));
    }
    if c_int::from(family) == libc::AF_INET6
        && len as usize >= offset_of!(sockaddr_in6, sin6_scope_id)
    {
        let mut v6 = core::mem::MaybeUninit::<sockaddr_in6>::zeroed();
        let n = (len as usize).min(size_of::<sockaddr_in6>());
        // SAFETY: as above; n bytes fit on both sides.
        unsafe {
            core::ptr::copy_nonoverlapping(addr.cast::<u8>(), v6.as_mut_ptr().cast::<u8>(), n)
        };
        // SAFETY: every bit pattern is an address, and it was zeroed.
        let v6 = unsafe { v6.assume_init() };
        let ip = core::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
        return Some(Endpoint::new(Address::from(ip), u16::from_be(v6.sin6_port)));
    }
    None
}

/// The family of the address at `addr`.
pub(crate) unsafe fn family(addr: *const sockaddr, len: socklen_t) -> Option<c_int> {
    if is_bad(addr.cast()) || (len as usize) < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the program passes an address of `len` bytes.
    Some(c_int::from(unsafe {
        addr.cast::<libc::sa_family_t>().read_unaligned()
    }))
}

/// Writes an endpoint where the program wants it, cut to the room it has, and the full length to `len`.
pub(crate) unsafe fn put_endpoint(
    endpoint: Endpoint,
    is_v6: bool,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) {
    if is_bad(addr.cast()) || is_bad(len.cast()) {
        return;
    }
    // SAFETY: the program passes the room at `addr` in `*len`.
    let room = unsafe { *len } as usize;
    let put = |bytes: *const u8, full: usize| {
        // SAFETY: `full` bytes are at `bytes`, and the program has `room` bytes at `addr`.
        unsafe { core::ptr::copy_nonoverlapping(bytes, addr.cast::<u8>(), full.min(room)) };
        // SAFETY: checked for null above.
        unsafe { *len = socklen_t::try_from(full).unwrap_or(0) };
    };
    match (endpoint.addr.v4(), is_v6) {
        (Some(ip), false) => {
            let v4 = sockaddr_in {
                sin_family: INET,
                sin_port: endpoint.port.to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                },
                sin_zero: [0; 8],
            };
            put((&raw const v4).cast(), size_of::<sockaddr_in>());
        }
        _ => {
            let v6 = sockaddr_in6 {
                sin6_family: INET6,
                sin6_port: endpoint.port.to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: endpoint.addr.0,
                },
                sin6_scope_id: 0,
            };
            put((&raw const v6).cast(), size_of::<sockaddr_in6>());
        }
    }
}

/// Whether a pointer can be told at sight to lead nowhere: null, the first page, what is not user space. The kernel
/// finds every bad pointer and reports EFAULT; here the others end the program, as they do everywhere else.
#[inline]
pub(crate) fn is_bad(ptr: *const c_void) -> bool {
    let address = ptr.addr();
    address < 4096 || address >> 47 != 0
}

/// A buffer of the program's to send from.
#[inline]
pub(crate) unsafe fn bytes<'a>(buf: *const c_void, len: usize) -> Result<Foreign<'a>, Errno> {
    if is_bad(buf) && len > 0 {
        return Err(Errno::FAULT);
    }
    let ptr = if is_bad(buf) {
        core::ptr::NonNull::dangling().as_ptr()
    } else {
        buf.cast::<u8>()
    };
    // SAFETY: the program passes `len` readable bytes.
    Ok(unsafe { Foreign::from_raw(ptr, len) })
}

/// A buffer of the program's to receive into.
#[inline]
pub(crate) unsafe fn bytes_mut<'a>(buf: *mut c_void, len: usize) -> Result<ForeignMut<'a>, Errno> {
    if is_bad(buf) && len > 0 {
        return Err(Errno::FAULT);
    }
    let ptr = if is_bad(buf) {
        core::ptr::NonNull::dangling().as_ptr()
    } else {
        buf.cast::<u8>()
    };
    // SAFETY: the program passes `len` writable bytes.
    Ok(unsafe { ForeignMut::from_raw(ptr, len) })
}

/// A buffer of so many bytes of which none is ever read or written.
pub(crate) fn nowhere<'a>(len: usize) -> ForeignMut<'a> {
    // SAFETY: whoever gets it only asks for its length.
    unsafe { ForeignMut::from_raw(core::ptr::NonNull::dangling().as_ptr(), len) }
}

/// How many bytes the buffers of an iovec take.
pub(crate) unsafe fn total(iov: *const iovec, count: usize) -> Result<usize, Errno> {
    // SAFETY: the caller's own vectors.
    let list = unsafe { vectors(iov, count)? };
    let total = |sum: usize, v: &iovec| sum.saturating_add(v.iov_len);
    Ok(list.iter().fold(0, total))
}

/// Runs `f` on the buffers of an iovec.
pub(crate) unsafe fn with_parts<R>(
    iov: *const iovec,
    count: usize,
    f: impl FnOnce(&[Foreign<'_>]) -> R,
) -> Result<R, Errno> {
    // SAFETY: the caller's own vectors.
    let list = unsafe { vectors(iov, count)? };
    if let [one] = list {
        // SAFETY: as the caller promises for each vector.
        let part = unsafe { bytes(one.iov_base, one.iov_len)? };
        return Ok(f(&[part]));
    }
    let mut parts: SmallVec<[Foreign<'_>; FEW]> = SmallVec::with_capacity(count);
    for v in list {
        // SAFETY: as above.
        parts.push(unsafe { bytes(v.iov_base, v.iov_len)? });
    }
    Ok(f(&parts))
}

/// Runs `f` on the writable buffers of an iovec.
pub(crate) unsafe fn with_parts_mut<R>(
    iov: *const iovec,
    count: usize,
    f: impl FnOnce(&mut [ForeignMut<'_>]) -> R,
) -> Result<R, Errno> {
    // SAFETY: the caller's own vectors.
    let list = unsafe { vectors(iov, count)? };
    if let [one] = list {
        // SAFETY: as the caller promises for each vector.
        let part = unsafe { bytes_mut(one.iov_base, one.iov_len)? };
        return Ok(f(&mut [part]));
    }
    let mut parts: SmallVec<[ForeignMut<'_>; FEW]> = SmallVec::with_capacity(count);
    for v in list {
        // SAFETY: as above.
        parts.push(unsafe { bytes_mut(v.iov_base, v.iov_len)? });
    }
    Ok(f(&mut parts))
}

unsafe fn vectors<'a>(iov: *const iovec, count: usize) -> Result<&'a [iovec], Errno> {
    if count > IOV_MAX {
        return Err(Errno::MSGSIZE);
    }
    if count == 0 {
        return Ok(&[]);
    }
    if is_bad(iov.cast()) {
        return Err(Errno::FAULT);
    }
    // SAFETY: the program passes `count` vectors at `iov`.
    Ok(unsafe { core::slice::from_raw_parts(iov, count) })
}

/// The message header at `msg`.
pub(crate) unsafe fn message<'a>(msg: *const msghdr) -> Result<&'a msghdr, Errno> {
    if is_bad(msg.cast()) {
        return Err(Errno::FAULT);
    }
    // SAFETY: the program passes a header.
    unsafe { msg.as_ref() }.ok_or(Errno::FAULT)
}

/// A span from C's parts; EINVAL where they are out of range.
pub(crate) fn span(seconds: i64, nanoseconds: i64) -> Result<Nanos, Errno> {
    let nanos = u64::try_from(nanoseconds)
        .ok()
        .filter(|n| *n < 1_000_000_000)
        .ok_or(Errno::INVAL)?;
    let seconds = u64::try_from(seconds).map_err(|_| Errno::INVAL)?;
    Ok(Nanos::from_secs(seconds.min(1 << 33)) + Nanos(nanos))
}

/// The span at `t`; none for null, which means for ever.
pub(crate) unsafe fn timeout(t: *const timespec) -> Result<Option<Nanos>, Errno> {
    // SAFETY: the program passes a timespec, or null.
    match unsafe { t.as_ref() } {
        None => Ok(None),
        Some(t) => span(t.tv_sec, t.tv_nsec).map(Some),
    }
}

/// A span as C has it.
pub(crate) fn timespec(span: Nanos) -> timespec {
    timespec {
        tv_sec: i64::try_from(span.0 / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(span.0 % 1_000_000_000).unwrap_or(0),
    }
}

/// Milliseconds as poll(2) has them: negative means for ever.
pub(crate) fn timeout_ms(ms: c_int) -> Option<Nanos> {
    u64::try_from(ms).ok().map(Nanos::from_millis)
}

/// Writing to a connection that is no more tells the thread so, unless it asked not to be told.
pub(crate) fn raise_sigpipe() {
    // SAFETY: sends a signal to this very thread.
    unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGPIPE) };
}
