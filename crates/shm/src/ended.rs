//! Whether another process has ended.

use crate::atomic::{AtomicBool, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use rustix::time::Timespec;

/// The numbers that others have written down mean nothing here.
static STRANGERS: AtomicBool = AtomicBool::new(false);

/// This process, and those that it will fork, are in another namespace of process numbers than those with whom they share
/// memory: from now on nobody has [ended](has_ended).
pub fn among_strangers() {
    STRANGERS.store(true, Ordering::Relaxed);
}

/// Whether there is no such process any more, or only what is left of it until its parent waits for it. Number 0 is no
/// process.
pub fn has_ended(pid: u32) -> bool {
    if STRANGERS.load(Ordering::Relaxed) {
        return false;
    }
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
        return true;
    };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => {
            let mut poll = [PollFd::new(&process, PollFlags::IN)];
            rustix::event::poll(&mut poll, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        }
        Err(Errno::SRCH) => true,
        // Forbidden, or no descriptor left.
        Err(_) => rustix::process::test_kill_process(pid) == Err(Errno::SRCH),
    }
}
