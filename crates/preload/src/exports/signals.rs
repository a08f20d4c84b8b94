//! Signal handlers: entered by way of ours, so that a call that waits knows of them.
#![expect(
    unsafe_code,
    reason = "functions that C programs call, and a signal handler"
)]

use crate::real;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{sighandler_t, siginfo_t};
use sidestep_socket::note_signal;

const SIGNALS: usize = 65;

/// What the program installed for each signal: its handler, and its flags.
static HANDLERS: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(libc::SIG_DFL) }; SIGNALS];
static FLAGS: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];

/// What the kernel enters.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some((handler, flags)) = installed(signal) else {
        return;
    };
    note_signal(flags & libc::SA_RESTART != 0);
    let handler = core::ptr::with_exposed_provenance::<c_void>(handler);
    if handler.is_null() {
        return;
    }
    if flags & libc::SA_SIGINFO == 0 {
        // SAFETY: the program installed a function of this type, by not asking for SA_SIGINFO.
        let handler =
            unsafe { core::mem::transmute::<*const c_void, extern "C" fn(c_int)>(handler) };
        handler(signal);
    } else {
        // SAFETY: the program installed a function of this type, by asking for SA_SIGINFO.
        let handler = unsafe {
            core::mem::transmute::<*const c_void, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(
                handler,
            )
        };
        handler(signal, info, context);
    }
}

fn installed(signal: c_int) -> Option<(usize, c_int)> {
    let index = usize::try_from(signal).ok().filter(|i| *i < SIGNALS)?;
    let flags = c_int::try_from(FLAGS[index].load(Ordering::Relaxed)).unwrap_or(0);
    Some((HANDLERS[index].load(Ordering::Relaxed), flags))
}

fn ours() -> sighandler_t {
    let ours: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
    (ours as *const c_void).expose_provenance()
}

/// sigaction(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    act: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let before = installed(signal);
    // SAFETY: the caller passes an action, or null.
    let wanted = unsafe { act.as_ref() };
    let mut entered = None;
    if let (Some(wanted), Some(_), Ok(index)) = (wanted, before, usize::try_from(signal)) {
        let mut action = *wanted;
        if action.sa_sigaction != libc::SIG_DFL
            && action.sa_sigaction != libc::SIG_IGN
            && action.sa_sigaction != ours()
        {
            HANDLERS[index].store(action.sa_sigaction, Ordering::Relaxed);
            FLAGS[index].store(
                usize::try_from(action.sa_flags & 0x7fff_ffff).unwrap_or(0),
                Ordering::Relaxed,
            );
            action.sa_sigaction = ours();
            action.sa_flags |= libc::SA_SIGINFO;
        }
        entered = Some(action);
    }
    let action = entered.as_ref().map_or(act, core::ptr::from_ref);
    // SAFETY: both are actions of this function or of the caller's, or null.
    let done = unsafe { real::sigaction(signal, action, old) };
    if done == 0
        && let Some((handler, flags)) = before
        // SAFETY: the caller passes room for an action, or null; the kernel has filled it.
        && let Some(old) = unsafe { old.as_mut() }
        && old.sa_sigaction == ours()
    {
        old.sa_sigaction = handler;
        if flags & libc::SA_SIGINFO == 0 {
            old.sa_flags &= !libc::SA_SIGINFO;
        }
    }
    done
}

/// signal(2), with the BSD semantics that the C library gives it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: all zeroes is an action.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a mask of this function's own.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, number) };
    // SAFETY: both actions are of this function.
    let done = unsafe { sigaction(number, &raw const action, &raw mut old) };
    if done == 0 {
        old.sa_sigaction
    } else {
        libc::SIG_ERR
    }
}

/// siginterrupt(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siginterrupt(number: c_int, on: c_int) -> c_int {
    // SAFETY: all zeroes is an action.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: asks for what is installed.
    if unsafe { sigaction(number, core::ptr::null(), &raw mut action) } != 0 {
        return -1;
    }
    if on == 0 {
        action.sa_flags |= libc::SA_RESTART;
    } else {
        action.sa_flags &= !libc::SA_RESTART;
    }
    // SAFETY: an action of this function.
    unsafe { sigaction(number, &raw const action, core::ptr::null_mut()) }
}
