//! Signals that were handled while a call waits: whether it is interrupted or goes on.
//!
//! Handlers that the program installs are entered by way of the preload library, which notes here that one ran. So a
//! call that spins notices, and a call that slept knows whether the handler asked for it to be restarted.

use core::cell::Cell;

thread_local! {
    static HANDLED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Counts of handlers that ran in this thread: all, and those that interrupt calls (without SA_RESTART).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handled {
    all: u32,
    interrupting: u32,
}

impl Handled {
    /// As of now.
    pub(crate) fn now() -> Self {
        let (all, interrupting) = HANDLED.try_with(Cell::get).unwrap_or_default();
        Self { all, interrupting }
    }

    /// Whether a call that began then must end with EINTR. `restarts`: it is one of those that SA_RESTART restarts.
    pub(crate) fn interrupts(self, restarts: bool) -> bool {
        let now = Self::now();
        if restarts {
            now.interrupting != self.interrupting
        } else {
            now.all != self.all
        }
    }

    /// Whether a system call that was interrupted since then may be made again.
    pub(crate) fn may_restart(self, restarts: bool) -> bool {
        let now = Self::now();
        restarts && now.all != self.all && now.interrupting == self.interrupting
    }
}

/// A handler of the program's is about to run in this thread.
pub fn note_signal(restarts: bool) {
    let _ = HANDLED.try_with(|handled| {
        let (all, interrupting) = handled.get();
        handled.set((
            all.wrapping_add(1),
            interrupting.wrapping_add(u32::from(!restarts)),
        ));
    });
}
