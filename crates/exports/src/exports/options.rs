//! Socket options.
#![expect(unsafe_code, reason = "functions that C programs call")]

use crate::{c, groups, real};
use core::ffi::{c_int, c_void};
use libc::{linger, socklen_t, timeval};
use sidestep_socket::{CONGESTION_NAME_BYTES, OptionAnswer, OptionValue, process};

/// setsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let kernel = || unsafe { real::setsockopt(fd, level, name, value, len) };
    if !process().is_socket(fd) || c::is_bad(value) {
        return kernel();
    }
    // SAFETY: the caller passes `len` bytes.
    let decoded = unsafe { decode(level, name, value, len as usize) };
    match process().set_option(fd, level, name, decoded) {
        Some(Ok(())) => 0,
        Some(Err(errno)) => c::fail(errno),
        None => {
            let done = kernel();
            if done == 0 {
                process().note_device(fd, level, name, decoded);
                process().note_group(fd, decoded);
            }
            let noted = process().note_option(fd, level, name, decoded, done != 0);
            if noted { 0 } else { done }
        }
    }
}

unsafe fn decode(level: c_int, name: c_int, value: *const c_void, len: usize) -> OptionValue {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_LINGER) if len >= size_of::<linger>() => {
            // SAFETY: as many bytes are there.
            let l = unsafe { value.cast::<linger>().read_unaligned() };
            OptionValue::Linger(l.l_onoff != 0, l.l_linger)
        }
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO)
            if len >= size_of::<timeval>() =>
        {
            // SAFETY: as many bytes are there.
            let t = unsafe { value.cast::<timeval>().read_unaligned() };
            c::span(t.tv_sec, t.tv_usec * 1000).map_or(OptionValue::Other, OptionValue::Time)
        }
        (libc::SOL_SOCKET, libc::SO_LINGER | libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
            OptionValue::Other
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if len > 0 => {
            let mut bytes = [0_u8; CONGESTION_NAME_BYTES];
            // As the kernel: what is longer is cut.
            let len = len.min(CONGESTION_NAME_BYTES - 1);
            // SAFETY: as many bytes are there.
            unsafe {
                core::ptr::copy_nonoverlapping(value.cast::<u8>(), bytes.as_mut_ptr(), len);
            }
            OptionValue::Name(bytes)
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => OptionValue::Other,
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE) if len >= size_of::<u64>() => {
            // SAFETY: as many bytes are there.
            OptionValue::Long(unsafe { value.cast::<u64>().read_unaligned() })
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => {
            // SAFETY: as many bytes are there.
            let bytes = unsafe { core::slice::from_raw_parts(value.cast::<u8>(), len) };
            groups::device(bytes).map_or(OptionValue::Other, |(device, address)| {
                OptionValue::GroupDevice(device, address)
            })
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, _) if groups::is_one(level, name) => {
            // SAFETY: as many bytes are there.
            let bytes = unsafe { core::slice::from_raw_parts(value.cast::<u8>(), len) };
            groups::decode(level, name, bytes).map_or(OptionValue::Other, OptionValue::Group)
        }
        _ if len >= size_of::<c_int>() => {
            // SAFETY: as many bytes are there.
            OptionValue::Int(unsafe { value.cast::<c_int>().read_unaligned() })
        }
        // IP options may be a single byte.
        (libc::IPPROTO_IP, _) if len == 1 => {
            // SAFETY: one byte is there.
            OptionValue::Int(c_int::from(unsafe { value.cast::<u8>().read() }))
        }
        _ => OptionValue::Other,
    }
}

/// getsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let answer = if !process().is_socket(fd) || c::is_bad(value) || c::is_bad(len.cast()) {
        None
    } else if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) {
        let taken = process().take_error(fd);
        taken.map(|error| OptionAnswer::Int(error.map_or(0, |e| e.raw_os_error())))
    } else {
        process().option(fd, level, name).and_then(Result::ok)
    };
    match answer {
        None => {
            // SAFETY: the caller's own arguments.
            unsafe { real::getsockopt(fd, level, name, value, len) }
        }
        Some(OptionAnswer::Int(n)) => {
            // SAFETY: the caller's own room.
            unsafe { put(&n.to_ne_bytes(), value, len) }
        }
        Some(OptionAnswer::Long(n)) => {
            // SAFETY: the caller passes its room in `*len`; checked for null before.
            let room = unsafe { *len } as usize;
            let short = u32::try_from(n).unwrap_or(u32::MAX).to_ne_bytes();
            let long = n.to_ne_bytes();
            let bytes = if room < long.len() { &short[..] } else { &long };
            // SAFETY: the caller's own room.
            unsafe { put(bytes, value, len) }
        }
        Some(OptionAnswer::Name(name)) => {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            // SAFETY: the caller's own room.
            unsafe { put(&bytes, value, len) }
        }
        Some(OptionAnswer::Linger(on, seconds)) => {
            let mut bytes = [0; size_of::<linger>()];
            bytes[..4].copy_from_slice(&c_int::from(on).to_ne_bytes());
            bytes[4..].copy_from_slice(&seconds.to_ne_bytes());
            // SAFETY: the caller's own room.
            unsafe { put(&bytes, value, len) }
        }
        Some(OptionAnswer::Time(span)) => {
            let mut bytes = [0; size_of::<timeval>()];
            let us = span.as_micros();
            bytes[..8].copy_from_slice(&(us / 1_000_000).to_ne_bytes());
            bytes[8..].copy_from_slice(&(us % 1_000_000).to_ne_bytes());
            // SAFETY: the caller's own room.
            unsafe { put(&bytes, value, len) }
        }
        Some(OptionAnswer::Info(info)) => {
            // SAFETY: the caller's own room.
            unsafe { put(&info[..], value, len) }
        }
    }
}

/// Writes an answer, cut to the caller's room, and its length.
unsafe fn put(bytes: &[u8], value: *mut c_void, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller passes its room in `*len`; checked for null before.
    let room = unsafe { *len } as usize;
    let n = bytes.len().min(room);
    // SAFETY: n bytes are on both sides.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast::<u8>(), n) };
    // SAFETY: as above.
    unsafe { *len = socklen_t::try_from(n).unwrap_or(0) };
    0
}
