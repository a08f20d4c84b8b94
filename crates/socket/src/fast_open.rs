//! MSG_FASTOPEN: connects and sends in one call (RFC 7413).

use crate::process::{Process, Shared};
use crate::stream::Begin;
use crate::verdict::SendFlags;
use crate::{Endpoint, Errno, Foreign, Verdict, sysctl};
use sidestep_stack::{ConnectState, SocketRef};

/// The bit of `net.ipv4.tcp_fastopen` that allows it.
const CLIENT: u32 = 1;

impl Process {
    /// sendto(2) with MSG_FASTOPEN on a stream. Without a cookie of the server the connection is opened as usual, and one
    /// that does not block gets EINPROGRESS, as on Linux.
    pub(crate) fn send_fast(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &[Foreign<'_>],
        (flags, target): (SendFlags, Option<Endpoint>),
    ) -> Verdict<usize> {
        let idle = self.with_stack(shared, |stack| {
            let listens = stack.served(r).is_some_and(|served| served.is_tcp);
            (!listens).then(|| stack.connect_state(r))
        });
        let (Ok(Some(state)), Some(remote)) = (idle, target) else {
            return Verdict::Kernel;
        };
        match state {
            Ok(ConnectState::Idle) => {}
            Ok(ConnectState::Connecting) => return Verdict::fail(Errno::ALREADY),
            Ok(ConnectState::Connected) => return Verdict::fail(Errno::ISCONN),
            Err(error) => return Verdict::fail(crate::errno::from_stack(error)),
        }
        if sysctl::number("net/ipv4/tcp_fastopen").unwrap_or(0) & CLIENT == 0 {
            return Verdict::fail(Errno::OPNOTSUPP);
        }
        match self.begin_connection(shared, fd, r, remote, Some(parts)) {
            Ok(queued @ 1..) => return Verdict::Done(Ok(queued)),
            Ok(0) => {}
            Err(Begin::Handover(why)) => {
                self.hand_over(shared, fd, r, "connect", Some(remote), why);
                return Verdict::Kernel;
            }
            Err(Begin::Failed(errno)) => return Verdict::fail(errno),
        }
        if flags.contains(SendFlags::DONTWAIT) {
            return Verdict::fail(Errno::INPROGRESS);
        }
        match self.await_connection(shared, fd, r, false) {
            Verdict::Done(Ok(())) => self.send_stream(shared, fd, r, parts, flags),
            Verdict::Done(Err(errno)) => Verdict::fail(errno),
            Verdict::Kernel | Verdict::KernelNow => Verdict::Kernel,
        }
    }
}
