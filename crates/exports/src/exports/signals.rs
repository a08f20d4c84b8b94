//! Signal handlers: entered by way of ours, so that a call that waits knows of them, and none runs while its thread is
//! inside the stack.
//!
//! A signal that comes at the wrong time is put back: the thread queues it to itself again, with the same information,
//! and goes on with all signals blocked until it is out of the stack. So the kernel keeps the order, the queues and
//! the alternate stacks of signals as ever.
#![expect(
    unsafe_code,
    reason = "functions that C programs call, and a signal handler"
)]

use crate::{c, real};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use libc::{sighandler_t, siginfo_t, ucontext_t};
use sidestep_socket::{note_signal, puts_signal_off};

const SIGNALS: usize = 65;

/// What the program installed for each signal: its handler, and its flags.
static HANDLERS: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(libc::SIG_DFL) }; SIGNALS];
static FLAGS: [AtomicI32; SIGNALS] = [const { AtomicI32::new(0) }; SIGNALS];

thread_local! {
    /// The signals that were blocked in this thread before one was put off.
    static MASK: AtomicU64 = const { AtomicU64::new(0) };
}

/// Signals that tell of what the thread itself has just done: to be handled at once, or the instruction is repeated.
const AT_ONCE: [c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
];
/// Signals that the C library keeps to itself, for cancelling threads and changing their users.
const OF_LIBC: [c_int; 2] = [32, 33];

/// All that can wait, as the kernel has sets of signals.
const fn all_that_wait() -> u64 {
    let mut all = u64::MAX;
    let mut i = 0;
    while i < AT_ONCE.len() {
        all &= !(1 << (AT_ONCE[i] - 1));
        i += 1;
    }
    all & !(1 << (OF_LIBC[0] - 1)) & !(1 << (OF_LIBC[1] - 1))
}

/// What the kernel enters.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some((handler, flags)) = installed(signal) else {
        return;
    };
    if !AT_ONCE.contains(&signal) && puts_signal_off() {
        put_off(signal, info, context.cast());
        return;
    }
    note_signal(flags & libc::SA_RESTART != 0);
    if flags & libc::SA_RESETHAND != 0 {
        reset(signal);
    }
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

/// Gives the signal back to the kernel, blocked as all others until the thread may be interrupted.
fn put_off(signal: c_int, info: *const siginfo_t, context: *mut ucontext_t) {
    set_mask(all_that_wait());
    // SAFETY: the kernel passes the context of what was interrupted.
    let mask = unsafe { (&raw mut (*context).uc_sigmask).cast::<u64>() };
    // SAFETY: the kernel's sets are of 64 bits, and lie at the start of the C library's.
    let before = unsafe { mask.read() };
    MASK.with(|kept| kept.store(before, Ordering::Relaxed));
    // SAFETY: as above. What was interrupted goes on with this mask.
    unsafe { mask.write(before | all_that_wait()) };
    // SAFETY: asks for a number.
    let process = unsafe { libc::getpid() };
    // SAFETY: as above.
    let thread = unsafe { libc::gettid() };
    // SAFETY: the information is what the kernel has just passed.
    let queued =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) };
    if queued < 0 {
        // No room to queue it with its information: then without.
        // SAFETY: numbers only.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    }
}

/// Lets come what was put off.
pub(super) fn deliver() {
    let errno = c::errno();
    set_mask(MASK.with(|kept| kept.load(Ordering::Relaxed)));
    c::set_errno(errno);
}

fn set_mask(mask: u64) {
    let (none, set) = (core::ptr::null_mut::<u64>(), &raw const mask);
    let how = libc::SIG_SETMASK;
    // SAFETY: the set is of the size that is passed; the previous one is not asked for.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, none, size_of::<u64>()) };
}

/// The handler was for one signal only. (The kernel is not told so, for it may have to deliver that one twice.)
fn reset(signal: c_int) {
    // SAFETY: all zeroes is an action: the default one.
    let action: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: an action of this function.
    unsafe { real::sigaction(signal, &raw const action, core::ptr::null_mut()) };
}

fn installed(signal: c_int) -> Option<(usize, c_int)> {
    let index = usize::try_from(signal).ok().filter(|i| *i < SIGNALS)?;
    let flags = FLAGS[index].load(Ordering::Relaxed);
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
            FLAGS[index].store(action.sa_flags, Ordering::Relaxed);
            action.sa_sigaction = ours();
            action.sa_flags |= libc::SA_SIGINFO;
            action.sa_flags &= !libc::SA_RESETHAND;
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
        old.sa_flags |= flags & libc::SA_RESETHAND;
    }
    done
}

/// signal(2), with the BSD semantics that the C library gives it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    install(number, handler, libc::SA_RESTART, true)
}

/// signal(2) by its older name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bsd_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    install(number, handler, libc::SA_RESTART, true)
}

/// signal(2) by its name of GNU's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssignal(number: c_int, handler: sighandler_t) -> sighandler_t {
    install(number, handler, libc::SA_RESTART, true)
}

/// signal(2) with the semantics of System V: for one signal, which the handler does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sysv_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    install(
        number,
        handler,
        libc::SA_RESETHAND | libc::SA_NODEFER,
        false,
    )
}

/// What programs call that ask for System V's semantics by a macro.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sysv_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    install(
        number,
        handler,
        libc::SA_RESETHAND | libc::SA_NODEFER,
        false,
    )
}

/// Installs a handler by `sigaction`; returns the one before.
fn install(
    number: c_int,
    handler: sighandler_t,
    flags: c_int,
    blocks_itself: bool,
) -> sighandler_t {
    // SAFETY: all zeroes is an action.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    if blocks_itself {
        // SAFETY: a mask of this function's own.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, number) };
    }
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
