//! Starting the agent by need: by `sidestep run`, and by a program's library when the agent was killed.
//!
//! The agent is not to be noticed by the program that happens to start it: it is no child of it that could be waited
//! for, holds none of its descriptors, and no signal tells of it.

mod sys;

use crate::{Client, ClientError, RuntimeDir, Welcome};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// How long a new agent may take until it listens.
const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(5);
/// A starting agent may lose to one that is ending: try again from time to time.
const ATTEMPTS_A_START: u32 = 100;

/// Connects to the agent of this user, as the environment names its place; starts `exe agent` where none runs. `layout` is
/// that of the program's stack.
///
/// # Errors
/// [`ClientError::NoAgent`] where it cannot be started or does not listen within three seconds.
pub fn ensure_running(
    exe: &Path,
    name: &str,
    layout: u32,
) -> Result<(Client, Welcome), ClientError> {
    let dir = RuntimeDir::from_env().map_err(|_| ClientError::NoAgent)?;
    ensure_running_in(&dir, exe, name, layout)
}

/// Connects to the agent of `dir`; starts `exe agent` where none runs. `exe` finds `dir` in `SIDESTEP_RUNTIME_DIR`.
///
/// # Errors
/// As [`ensure_running`].
pub fn ensure_running_in(
    dir: &RuntimeDir,
    exe: &Path,
    name: &str,
    layout: u32,
) -> Result<(Client, Welcome), ClientError> {
    let socket = dir.socket();
    for attempt in 0..ATTEMPTS {
        match Client::introduce(&socket, name, layout) {
            Err(ClientError::NoAgent | ClientError::Lost) => {}
            result => return result,
        }
        if !dir.may_start() {
            // For the administrator to start.
            return Err(ClientError::NoAgent);
        }
        if attempt % ATTEMPTS_A_START == 0 {
            spawn(dir, exe).map_err(|_| ClientError::NoAgent)?;
        }
        sleep(PAUSE);
    }
    Err(ClientError::NoAgent)
}

/// Starts `exe agent` for `dir`, in a session of its own and with nothing of ours but the environment's basics.
fn spawn(dir: &RuntimeDir, exe: &Path) -> io::Result<()> {
    let exe = CString::new(exe.as_os_str().as_bytes())?;
    let mut place = b"SIDESTEP_RUNTIME_DIR=".to_vec();
    place.extend_from_slice(dir.c_path()?.as_bytes());
    let environment = [
        CString::new(place)?,
        c"PATH=/usr/local/bin:/usr/bin:/bin".into(),
    ];
    sys::spawn_detached(&exe, &[&exe, c"agent"], &environment)
}

fn sleep(span: Duration) {
    if let Ok(span) = rustix::time::Timespec::try_from(span) {
        let _ = rustix::thread::nanosleep(&span);
    }
}

#[cfg(test)]
mod tests;
