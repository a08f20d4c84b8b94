//! How long a stack may go on that no process has any more.

use sidestep_shm::Nanos;
use sidestep_stack::{Kind, SocketReport, StackReport};

/// How long a slot that is kept for a child may stay without one when no other process is left.
const UNBORN_MAX: Nanos = Nanos::from_secs(2);
/// How long what is left to send may wait for a peer. Longer than TCP itself waits for one that keeps an orphan's window
/// closed; what it has given up is not left any more.
const SILENCE_MAX: Nanos = Nanos::from_secs(400);
/// How long a stack that has said all may wait for its peers' programs to read it.
const READERS_MAX: Nanos = Nanos::from_secs(60);

/// A stack without processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orphan {
    since: Nanos,
    /// When less was left to say than ever before.
    moved: Nanos,
    /// Connections that had something to say then, and the bytes that were not acknowledged.
    left: (usize, usize),
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    GoesOn,
    /// It may go once no peer's program has yet to read.
    HasSaidAll,
    /// It has had its time.
    IsOver,
}

impl Orphan {
    /// Its last process is gone.
    pub(crate) const fn new(now: Nanos) -> Self {
        Self {
            since: now,
            moved: now,
            left: (usize::MAX, usize::MAX),
        }
    }

    /// Looks at it after it was polled. As long as peers take what it has to say it goes on, as in the kernel.
    pub(crate) fn look(&mut self, report: &StackReport, now: Nanos) -> Fate {
        let left = left_to_say(report);
        if left < self.left {
            (self.left, self.moved) = (left, now);
        }
        let silent = now - self.moved;
        let unborn = !report.processes.is_empty() && now - self.since < UNBORN_MAX;
        if left.0 > 0 && silent <= SILENCE_MAX || unborn {
            Fate::GoesOn
        } else if left.0 > 0 || silent > READERS_MAX {
            Fate::IsOver
        } else {
            Fate::HasSaidAll
        }
    }
}

/// Connections that TCP has still something to do for, and bytes that were not acknowledged. TIME-WAIT does not count: it
/// only listens.
fn left_to_say(report: &StackReport) -> (usize, usize) {
    if report.wires.is_empty() {
        return (0, 0);
    }
    let is_left = |socket: &&SocketReport| {
        socket.kind == Kind::Stream
            && socket.wire.is_some()
            && !matches!(socket.state, "TIME-WAIT" | "CLOSED" | "LISTEN")
    };
    let left = report.sockets.iter().filter(is_left);
    left.fold((0, 0), |(count, bytes), socket| {
        (count + 1, bytes + socket.snd_queue)
    })
}

#[cfg(test)]
mod tests;
