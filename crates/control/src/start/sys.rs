//! A process that its parent never hears of.
//!
//! Made with bare system calls: the C library's `fork` would run the program's own fork handlers, and its children
//! send SIGCHLD and show up in `wait`.
#![expect(unsafe_code, reason = "forks, execs and sets signal masks")]

use core::ffi::{CStr, c_char, c_int, c_long};
use core::ptr;
use std::ffi::CString;
use std::io;

/// Runs `path` as an orphan in a session of its own, its standard descriptors on `/dev/null`, all others closed.
/// What goes wrong in the new process is not told; the caller sees that nobody listens.
pub(super) fn spawn_detached(
    path: &CStr,
    args: &[&CStr],
    environment: &[CString],
) -> io::Result<()> {
    let with_null = |list: Vec<*const c_char>| [list, vec![ptr::null()]].concat();
    let argv = with_null(args.iter().map(|arg| arg.as_ptr()).collect());
    let envp = with_null(environment.iter().map(|var| var.as_ptr()).collect());
    let mask = block_signals();
    let child = raw_fork();
    if child == 0 {
        // The first child makes the second one and ends, which leaves that one to init.
        if raw_fork() == 0 {
            become_agent(path, &argv, &envp);
        }
        exit(0);
    }
    restore_signals(&mask);
    if child < 0 {
        return Err(io::Error::from_raw_os_error(
            i32::try_from(-child).unwrap_or(libc::EAGAIN),
        ));
    }
    // __WALL: a child that was made without a signal is not seen by an ordinary wait, ours included.
    // SAFETY: waits for a child of ours; a null status and usage are allowed.
    unsafe {
        raw(
            libc::SYS_wait4,
            [child, 0, c_long::from(libc::__WALL), 0, 0],
        )
    };
    Ok(())
}

/// The new process, which shares nothing with its parent but a copy of memory in an unknown state: system calls only.
fn become_agent(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> ! {
    let null = c"/dev/null".as_ptr() as c_long;
    // SAFETY: plain numbers.
    unsafe { raw(libc::SYS_setsid, [0; 5]) };
    let cwd = c_long::from(libc::AT_FDCWD);
    // SAFETY: the path is a constant string.
    let fd = unsafe {
        raw(
            libc::SYS_openat,
            [cwd, null, c_long::from(libc::O_RDWR), 0, 0],
        )
    };
    for standard in 0..3 {
        // SAFETY: plain numbers; this process has no other user of its descriptors.
        unsafe { raw(libc::SYS_dup3, [fd, standard, 0, 0, 0]) };
    }
    // SAFETY: plain numbers, as above.
    unsafe { raw(libc::SYS_close_range, [3, c_long::from(u32::MAX), 0, 0, 0]) };
    // SAFETY: an all-zero set is the empty one.
    let none: libc::sigset_t = unsafe { core::mem::zeroed() };
    restore_signals(&none);
    let (argv, envp) = (argv.as_ptr() as c_long, envp.as_ptr() as c_long);
    // SAFETY: both lists end with a null pointer and their strings live in this copy of the memory.
    unsafe {
        raw(
            libc::SYS_execve,
            [path.as_ptr() as c_long, argv, envp, 0, 0],
        )
    };
    exit(127)
}

/// A child that sends no signal when it ends; 0 in the child, negative errno on failure.
fn raw_fork() -> c_long {
    // SAFETY: without flags the child gets a copy of everything; callers keep to system calls in it.
    unsafe { raw(libc::SYS_clone, [0; 5]) }
}

fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: ends this process without running anything of the program's.
        unsafe { raw(libc::SYS_exit_group, [c_long::from(status), 0, 0, 0, 0]) };
    }
}

/// Keeps the program's signal handlers from running in the children. Returns the mask to restore.
fn block_signals() -> libc::sigset_t {
    // SAFETY: an all-zero set is a valid value, overwritten below.
    let (mut all, mut before) = unsafe { core::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
    // SAFETY: a valid set.
    unsafe { libc::sigfillset(&raw mut all) };
    let set = (&raw const all) as c_long;
    let old = (&raw mut before) as c_long;
    // SAFETY: both point to sets that live here, of which the kernel uses the first eight bytes.
    unsafe {
        raw(
            libc::SYS_rt_sigprocmask,
            [c_long::from(libc::SIG_SETMASK), set, old, 8, 0],
        )
    };
    before
}

fn restore_signals(mask: &libc::sigset_t) {
    let set = ptr::from_ref(mask) as c_long;
    // SAFETY: points to a valid set, of which the kernel reads the first eight bytes.
    unsafe {
        raw(
            libc::SYS_rt_sigprocmask,
            [c_long::from(libc::SIG_SETMASK), set, 0, 8, 0],
        )
    };
}

/// A system call; negative errno on failure.
///
/// # Safety
/// As the system call demands.
unsafe fn raw(number: c_long, args: [c_long; 5]) -> c_long {
    let [a, b, c, d, e] = args;
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result < 0 {
        -c_long::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        result
    }
}
