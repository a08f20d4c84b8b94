//! What programs are told beside data: by MSG_ERRQUEUE, and with what they read (TCP_INQ).

use crate::errno::from_stack;
use crate::process::{Process, Shared};
use crate::{Errno, ForeignMut, Nanos, Verdict};
use sidestep_stack::{Complaint, Error, Notice, SocketRef};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What MSG_ERRQUEUE tells.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Of bytes that were written.
    Notice(Notice),
    /// Of a packet, whose error number is this.
    Complaint(Complaint, Errno),
}

impl Process {
    /// recvmsg(2) with MSG_ERRQUEUE, `parts` for what came back of a packet. It never waits.
    pub fn take_told(&self, fd: i32, parts: &mut [ForeignMut<'_>]) -> Verdict<Told> {
        let now = self.now();
        let got = self.on_socket(fd, |stack, r| {
            stack.poll(now);
            let told = match stack.take_complaint(r, parts) {
                Err(Error::WouldBlock) => stack.take_notice(r).map(Told::Notice),
                other => other.map(|told| Told::Complaint(told, from_stack(told.error))),
            };
            Ok((stack.is_connected_stream(r), told))
        });
        match got {
            Some(Ok((_, Ok(told)))) => Verdict::Done(Ok(told)),
            Some(Ok((true, Err(Error::WouldBlock)))) => Verdict::fail(Errno::AGAIN),
            // What comes by the kernel is told by the kernel.
            _ => Verdict::Kernel,
        }
    }

    /// When something was, by the clock on the wall, since 1970. In a rehearsal, where time is made, by that.
    pub fn time_of_day(&self, at: Nanos) -> Duration {
        if self.rehearsal.get().is_some() {
            return Duration::from_nanos(at.0);
        }
        let since = Duration::from_nanos((self.now() - at).0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().saturating_sub(since)
    }

    /// Bytes were written with MSG_ZEROCOPY.
    #[cold]
    pub(crate) fn note_lent(&self, shared: &Shared, r: SocketRef) {
        let _ = self.with_stack(shared, |stack| stack.note_lent(r));
    }
}
