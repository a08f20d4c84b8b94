//! Socket options.
#![expect(unsafe_code, reason = "functions that C programs call")]

use crate::{c, real};
use core::ffi::{c_int, c_void};
use libc::{linger, socklen_t, timeval};
use sidestep_socket::{Nanos, OptionAnswer, OptionValue, TcpInfo, process};

/// setsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    if process().is_socket(fd) && !c::is_bad(value) {
        // SAFETY: the caller passes `len` bytes.
        let value = unsafe { decode(level, name, value, len as usize) };
        match process().set_option(fd, level, name, value) {
            Some(Ok(())) => return 0,
            Some(Err(errno)) => return c::fail(errno),
            None => {}
        }
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::setsockopt(fd, level, name, value, len) }
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
            unsafe { put(&tcp_info(&info), value, len) }
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

/// struct tcp_info of linux/tcp.h, up to tcpi_segs_in.
fn tcp_info(info: &TcpInfo) -> [u8; 144] {
    let mut out = [0u8; 144];
    let us = |t: Nanos| u32::try_from(t.as_micros()).unwrap_or(u32::MAX);
    let mss = u32::from(info.snd_mss.max(1));
    let segments = |bytes: u32| bytes.div_ceil(mss);
    let (snd, rcv) = info.window_scale.map_or((0, 0), |(rcv, snd)| (snd, rcv));
    // Linux counts from 1 (ESTABLISHED); CLOSE is 7.
    out[0] = linux_state(info);
    out[2] = info.retransmits;
    out[3] = info.probes;
    out[4] = info.backoff;
    out[5] = u8::from(info.timestamps)
        | u8::from(info.sack) << 1
        | u8::from(info.window_scale.is_some()) << 2;
    out[6] = snd & 0xf | rcv << 4;
    let words = [
        us(info.rto),
        40_000,
        mss,
        u32::from(info.rcv_mss),
        segments(info.unacked_bytes),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        u32::from(info.adv_mss) + 40,
        info.rcv_wnd_bytes,
        us(info.rtt),
        us(info.rttvar),
        if info.snd_ssthresh_bytes == u32::MAX {
            0x7fff_ffff
        } else {
            segments(info.snd_ssthresh_bytes)
        },
        segments(info.snd_cwnd_bytes),
        u32::from(info.adv_mss),
        3,
        0,
        info.rcv_space_bytes,
        info.counters.retransmits,
    ];
    for (place, word) in out[8..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    // Two pacing rates of no limit, then bytes and segments.
    out[104..112].copy_from_slice(&u64::MAX.to_ne_bytes());
    out[112..120].copy_from_slice(&u64::MAX.to_ne_bytes());
    out[120..128].copy_from_slice(&info.counters.bytes_acked.to_ne_bytes());
    out[128..136].copy_from_slice(&info.counters.bytes_received.to_ne_bytes());
    out[136..140].copy_from_slice(&info.counters.segments_out.to_ne_bytes());
    out[140..144].copy_from_slice(&info.counters.segments_in.to_ne_bytes());
    out
}

fn linux_state(info: &TcpInfo) -> u8 {
    match info.state.name() {
        "ESTAB" => 1,
        "SYN-SENT" => 2,
        "SYN-RECV" => 3,
        "FIN-WAIT-1" => 4,
        "FIN-WAIT-2" => 5,
        "TIME-WAIT" => 6,
        "CLOSE-WAIT" => 8,
        "LAST-ACK" => 9,
        "LISTEN" => 10,
        "CLOSING" => 11,
        _ => 7,
    }
}
