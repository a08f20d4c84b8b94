//! Signals of a waiting parent: noticed here, passed on to the program, and at the end died of.
#![expect(unsafe_code, reason = "installs signal handlers")]

use rustix::process::Signal;
use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

/// Signals that a program may be sent and the parent passes on. Those of the terminal (INT, QUIT, HUP, WINCH) reach the
/// program by themselves when the terminal sends them, and are passed on only when a process sent them.
const PASSED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
];

/// Where the handler writes the numbers of signals to pass on; -1 before there is anything.
static NOTICES: AtomicI32 = AtomicI32::new(-1);

/// Begins to notice signals; each one to pass on is a byte in the returned pipe.
pub(super) fn notice() -> io::Result<File> {
    let (reader, writer) = rustix::pipe::pipe_with(
        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
    )?;
    rustix::io::ioctl_fionbio(&reader, false)?;
    NOTICES.store(writer.into_raw_fd(), Ordering::Release);
    let ignored = ignored_signals();
    for signal in PASSED_ON {
        // What was ignored from the start (by nohup, say) stays ignored, here and in the program.
        if ignored & (1 << (signal - 1)) == 0 {
            install(signal, on_signal as *const () as usize)?;
        }
    }
    Ok(File::from(reader))
}

/// The program dies when this process is killed, rather than staying behind unnoticed.
pub(super) fn die_with_parent(command: &mut Command) {
    let after_fork = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(
            Signal::KILL,
        ))?)
    };
    // SAFETY: the closure makes one system call and touches nothing else.
    unsafe { command.pre_exec(after_fork) };
}

/// Ends this process by the signal that ended the program, without a second core dump.
pub(super) fn die_of(signal: i32) {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = install(signal, libc::SIG_DFL);
    // SAFETY: raise takes no pointers; the disposition is the default one.
    unsafe { libc::raise(signal) };
}

fn install(signal: i32, handler: usize) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sigaction with an empty mask.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: `action` lives across the call; the handler is SIG_DFL or `on_signal`, which is async-signal-safe.
    match unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_signal(
    signal: i32,
    info: *const libc::siginfo_t,
    _context: *const core::ffi::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // Above zero it came from the kernel, thus from the terminal: the program shares our process group and has it.
    if code > 0 {
        return;
    }
    let byte = signal.to_le_bytes();
    let (to, from) = (NOTICES.load(Ordering::Acquire), byte.as_ptr().cast());
    // SAFETY: one readable byte on the stack; write is async-signal-safe, and a full pipe loses nothing but repeats.
    unsafe { libc::write(to, from, 1) };
}

/// Bit n-1 is set where signal n is ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
