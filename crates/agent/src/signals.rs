//! Signals to programs that have asked to hear of urgent data.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::unix::fs::MetadataExt;

/// Sends SIGURG to those of `holders`, the processes that have a stack, that are `owner`, or of the group that it names, if
/// negative, as far as they are the user's own: the stack's memory says both, and may say anything.
pub(crate) fn signal_urgent(owner: i32, holders: impl Iterator<Item = u32>, user: u32) {
    for pid in holders.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        if is_meant(owner, pid) {
            let _ = signal(pid, user);
        }
    }
}

fn is_meant(owner: i32, pid: Pid) -> bool {
    let raw = pid.as_raw_nonzero().get();
    // Neither the first process nor everybody.
    raw > 1 && (owner == raw || owner < -1 && group_of(pid) == Some(owner.saturating_neg()))
}

/// The group of a process, as /proc says it. Not by the system call: where a group's leader is outside of our namespace that
/// says 0, which is none.
fn group_of(pid: Pid) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, group.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

fn signal(pid: Pid, user: u32) -> std::io::Result<()> {
    // Held before it is looked at, so that it is the same one still.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let is_users = std::fs::metadata(format!("/proc/{pid}"))?.uid() == user;
    if is_users || user == 0 {
        pidfd_send_signal(&process, Signal::URG)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpid, getuid};

    #[test]
    fn only_holders_are_meant() {
        let me = getpid();
        let raw = me.as_raw_nonzero().get();
        let group = group_of(me).unwrap();
        assert!(is_meant(raw, me));
        assert_eq!(is_meant(-group, me), group > 1);
        assert!(!is_meant(raw + 1, me) && !is_meant(-group - 1, me));
        for everybody in [-1, 0, 1, i32::MIN] {
            assert!(!is_meant(everybody, me));
            assert!(!is_meant(everybody, Pid::INIT));
        }
        assert!(!is_meant(1, Pid::INIT));
    }

    #[test]
    fn a_process_of_the_user_is_told() {
        use rustix::process::{PidfdFlags, pidfd_open};
        assert!(pidfd_open(getpid(), PidfdFlags::empty()).is_ok());
        // Ignored where nobody has asked for it.
        signal(getpid(), getuid().as_raw()).unwrap();
    }
}
