//! From descriptor to descriptor: sendfile and splice, by copying.
#![expect(unsafe_code, reason = "functions that C programs call")]

use super::io::{recv_parts, send_parts};
use crate::{c, real};
use core::ffi::{c_int, c_uint, c_void};
use libc::{off64_t, pollfd, size_t, ssize_t};
use sidestep_socket::{Errno, ForeignMut, process};

/// Bytes copied at a time by sendfile.
const FILE_BLOCK: usize = 64 << 10;
/// Bytes copied at a time by splice.
const PIPE_BLOCK: usize = 16 << 10;
/// What a pipe that poll(2) calls writable takes without blocking, at least: a page.
const PIPE_ROOM: usize = 4096;

/// sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(
    out: c_int,
    input: c_int,
    offset: *mut libc::off_t,
    count: size_t,
) -> ssize_t {
    if !process().is_accelerated_stream(out) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::sendfile(out, input, offset, count) };
    }
    // SAFETY: the two types are one on this machine.
    unsafe { copy_file(out, input, offset, count) }
}

/// sendfile(2) with 64-bit offsets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(
    out: c_int,
    input: c_int,
    offset: *mut off64_t,
    count: size_t,
) -> ssize_t {
    if !process().is_accelerated_stream(out) {
        // SAFETY: the caller's own arguments.
        return unsafe { real::sendfile64(out, input, offset, count) };
    }
    // SAFETY: as above.
    unsafe { copy_file(out, input, offset, count) }
}

/// Sends a file block by block. What was read but not taken is read again next time.
unsafe fn copy_file(out: c_int, input: c_int, offset: *mut off64_t, count: size_t) -> ssize_t {
    let mut block = vec![0u8; FILE_BLOCK.min(count)];
    // SAFETY: the caller's own offset, or null for the file's position.
    let mut at = match unsafe { offset.as_ref() } {
        Some(at) => *at,
        // SAFETY: a number and constants.
        None => unsafe { libc::lseek64(input, 0, libc::SEEK_CUR) },
    };
    if at < 0 {
        // What has no position has nothing that could be read again.
        return if c::errno() == libc::ESPIPE {
            c::fail_long(Errno::INVAL)
        } else {
            -1
        };
    }
    let (mut done, mut failed) = (0, false);
    while done < count {
        let want = block.len().min(count - done);
        // SAFETY: `want` bytes fit into the block.
        let got = unsafe { real::pread64(input, block.as_mut_ptr().cast(), want, at) };
        let Ok(n) = usize::try_from(got) else {
            failed = true;
            break;
        };
        if n == 0 {
            break;
        }
        let more = if done + n < count { libc::MSG_MORE } else { 0 };
        let sent = send_parts(out, &[block[..n].into()], more, None, || {
            c::fail_long(Errno::NOTCONN)
        });
        let Ok(sent) = usize::try_from(sent) else {
            failed = true;
            break;
        };
        done += sent;
        at += i64::try_from(sent).unwrap_or(0);
        if sent < n {
            break;
        }
    }
    // SAFETY: as above.
    match unsafe { offset.as_mut() } {
        Some(place) => *place = at,
        None => {
            // SAFETY: numbers only.
            unsafe { libc::lseek64(input, at, libc::SEEK_SET) };
        }
    }
    if done == 0 && failed {
        -1
    } else {
        done.cast_signed()
    }
}

/// splice(2): between an accelerated stream and a pipe by copying, else by the kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn splice(
    input: c_int,
    in_offset: *mut off64_t,
    out: c_int,
    out_offset: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let (from_us, to_us) = (
        process().is_accelerated_stream(input),
        process().is_accelerated_stream(out),
    );
    if !from_us && !to_us {
        // SAFETY: the caller's own arguments.
        return unsafe { real::splice(input, in_offset, out, out_offset, len, flags) };
    }
    let pipe = if from_us { out } else { input };
    if from_us == to_us || !is_pipe(pipe) {
        return c::fail_long(Errno::INVAL);
    }
    let (of_stream, of_pipe) = if from_us {
        (in_offset, out_offset)
    } else {
        (out_offset, in_offset)
    };
    if !of_pipe.is_null() {
        return c::fail_long(Errno::SPIPE);
    }
    if !of_stream.is_null() {
        return c::fail_long(Errno::INVAL);
    }
    if len == 0 {
        return 0;
    }
    // SAFETY: numbers only.
    let pipe_flags = unsafe { real::fcntl(pipe, libc::F_GETFL, 0) };
    let waits = flags & libc::SPLICE_F_NONBLOCK == 0 && pipe_flags & libc::O_NONBLOCK == 0;
    if from_us {
        stream_to_pipe(input, out, len, waits)
    } else {
        let more = flags & libc::SPLICE_F_MORE != 0;
        pipe_to_stream(input, out, len, waits, more)
    }
}

/// What has come is looked at, written as far as the pipe has room, and only then taken.
fn stream_to_pipe(input: c_int, pipe: c_int, len: usize, waits: bool) -> ssize_t {
    if let Err(failed) = ready(pipe, libc::POLLOUT, waits) {
        return failed;
    }
    if process().at_mark(input) == Some(true) {
        // What is urgent does not go into pipes, and nothing goes past it.
        return 0;
    }
    let mut block = [0u8; PIPE_BLOCK];
    let want = len.min(PIPE_BLOCK);
    let seen = receive(input, &mut block[..want], libc::MSG_PEEK);
    let Ok(seen) = usize::try_from(seen) else {
        return seen;
    };
    let mut written = 0;
    while written < seen && (written == 0 || ready(pipe, libc::POLLOUT, false).is_ok()) {
        let part = &block[written..seen.min(written + PIPE_ROOM)];
        // SAFETY: the part's own bytes.
        let n = unsafe { real::write(pipe, part.as_ptr().cast::<c_void>(), part.len()) };
        let Ok(n) = usize::try_from(n) else {
            if written == 0 {
                return -1;
            }
            break;
        };
        written += n;
    }
    if written > 0 {
        receive(input, &mut block[..written], libc::MSG_DONTWAIT);
    }
    written.cast_signed()
}

fn receive(fd: c_int, into: &mut [u8], flags: c_int) -> ssize_t {
    let gone = |_| c::fail_long(Errno::NOTCONN);
    match recv_parts(fd, &mut [ForeignMut::from(into)], flags, gone) {
        Ok(received) => received.copied.cast_signed(),
        Err(failed) => failed,
    }
}

/// No more is read from the pipe than the stream has room for, so that nothing is left over.
fn pipe_to_stream(pipe: c_int, out: c_int, len: usize, waits: bool, more: bool) -> ssize_t {
    match ready(pipe, libc::POLLIN, waits) {
        Ok(events) if events & libc::POLLIN == 0 => return 0,
        Ok(_) => {}
        Err(failed) => return failed,
    }
    let blocks = process().nonblocking(out) == Some(false);
    let room = if blocks {
        PIPE_BLOCK
    } else {
        process().send_room(out).unwrap_or(0)
    };
    let mut block = [0u8; PIPE_BLOCK];
    let want = len.min(PIPE_BLOCK).min(room);
    if want == 0 {
        return c::fail_long(Errno::AGAIN);
    }
    // SAFETY: `want` bytes fit into the block.
    let got = unsafe { real::read(pipe, block.as_mut_ptr().cast::<c_void>(), want) };
    let Ok(got) = usize::try_from(got) else {
        return got;
    };
    let flags = if more { libc::MSG_MORE } else { 0 };
    let mut sent = 0;
    while sent < got {
        let n = send_parts(out, &[block[sent..got].into()], flags, None, || {
            c::fail_long(Errno::NOTCONN)
        });
        if let Ok(n) = usize::try_from(n) {
            sent += n;
        } else if matches!(c::errno(), libc::EAGAIN | libc::EINTR) {
            // Another thread was quicker, or a signal came: what was taken from the pipe must go all the same.
            let mut entry = pollfd {
                fd: out,
                events: libc::POLLOUT,
                revents: 0,
            };
            // SAFETY: one entry.
            unsafe { super::poll::poll(&raw mut entry, 1, -1) };
        } else {
            return if sent > 0 { sent.cast_signed() } else { n };
        }
    }
    sent.cast_signed()
}

/// Waits until a pipe is ready, if it `waits`; for what, which may be its end only.
fn ready(pipe: c_int, events: i16, waits: bool) -> Result<i16, ssize_t> {
    let mut entry = pollfd {
        fd: pipe,
        events,
        revents: 0,
    };
    // SAFETY: one entry.
    match unsafe { real::poll(&raw mut entry, 1, if waits { -1 } else { 0 }) } {
        0 => Err(c::fail_long(Errno::AGAIN)),
        1.. => Ok(entry.revents),
        _ => Err(-1),
    }
}

fn is_pipe(fd: c_int) -> bool {
    // SAFETY: all zeroes is a status, to be filled in.
    let mut status: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: room for a status.
    let found = unsafe { libc::fstat(fd, &raw mut status) } == 0;
    found && status.st_mode & libc::S_IFMT == libc::S_IFIFO
}
