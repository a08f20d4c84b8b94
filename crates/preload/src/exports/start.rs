//! What happens when the library is loaded.
#![expect(
    unsafe_code,
    reason = "a constructor, and handlers that the C library calls"
)]

use crate::c;
use crate::real;
use core::ffi::c_int;
use libc::pollfd;
use sidestep_socket::{Errno, Nanos, process, set_signal_delivery};

/// Run by the dynamic linker; programs may have called us before.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    real::find_all();
    process().set_masked_poll(masked_poll);
    set_signal_delivery(super::signals::deliver);
    // SAFETY: the handlers are functions for the life of the process.
    unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
}

unsafe extern "C" fn before_fork() {
    process().before_fork();
}

unsafe extern "C" fn after_fork_in_parent() {
    process().after_fork_in_parent();
}

unsafe extern "C" fn after_fork_in_child() {
    process().after_fork_in_child();
}

fn masked_poll(
    fds: &mut [pollfd],
    timeout: Option<Nanos>,
    mask: &libc::sigset_t,
) -> Result<(), Errno> {
    let span = timeout.map(c::to_timespec);
    let span = span.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: all pointers are to values that outlive the call.
    let n: c_int = unsafe { real::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, span, mask) };
    if n < 0 {
        Err(Errno::from_raw_os_error(c::errno()))
    } else {
        Ok(())
    }
}
