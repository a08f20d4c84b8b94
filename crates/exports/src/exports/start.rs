//! What happens when the library is loaded.
#![expect(
    unsafe_code,
    reason = "a constructor, and handlers that the C library calls"
)]

use crate::{heap, real};
use sidestep_socket::{process, set_signal_delivery};

/// Run by the dynamic linker; programs may have called us before.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    real::find_all();
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
    heap::before_fork();
}

unsafe extern "C" fn after_fork_in_parent() {
    heap::after_fork();
    process().after_fork_in_parent();
}

unsafe extern "C" fn after_fork_in_child() {
    heap::after_fork();
    process().after_fork_in_child();
}
