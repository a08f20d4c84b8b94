//! recv(2) with MSG_TRUNC on a stream: bytes are dropped unseen, or counted.

use crate::Errno;
use crate::errno::from_stack;
use crate::process::{Process, Shared};
use crate::stream::stream_bytes;
use crate::verdict::{Received, RecvFlags, Verdict};
use crate::wait::{KernelSide, Target, Waiting, Woken};
use sidestep_shm::{Nanos, Retired};
use sidestep_stack::{Error, Ready, SocketRef, WaitFor};

impl Process {
    /// Drops up to `total` bytes of a stream, or counts them if they are to stay; waits as receiving them would.
    #[cold]
    pub(crate) fn discard(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        total: usize,
        flags: RecvFlags,
    ) -> Verdict<Received> {
        let (peek, all) = (
            flags.contains(RecvFlags::PEEK),
            flags.contains(RecvFlags::WAITALL),
        );
        let now = self.now();
        let first = self.with_stack(shared, |stack| {
            stack.poll(now);
            (stack.discard(now, r, total, peek), stack.blocks(r))
        });
        let (mut got, blocks) = match first {
            Err(Retired) => return Verdict::fail(Errno::CONNRESET),
            Ok((Err(Error::NotConnected), _)) => return Verdict::Kernel,
            Ok((Err(Error::WouldBlock), blocks)) => (0, blocks),
            Ok((Err(error), _)) => return Verdict::fail(from_stack(error)),
            Ok((Ok(n), blocks)) => (n, blocks && all && n > 0 && n < total),
        };
        let waits = blocks && !flags.contains(RecvFlags::DONTWAIT);
        if !waits && matches!(first, Ok((Err(_), _))) {
            return Verdict::fail(Errno::AGAIN);
        }
        if waits {
            match self.await_discarded(shared, fd, (r, total), (peek, all), got) {
                Ok(n) => got = n,
                Err(errno) => return Verdict::fail(errno),
            }
        }
        let beside = if flags.contains(RecvFlags::BESIDE) {
            self.with_stack(shared, |stack| stack.beside(r))
        } else {
            Ok(sidestep_stack::Beside::default())
        };
        Verdict::Done(Ok(Received {
            beside: beside.unwrap_or_default(),
            ..stream_bytes(got)
        }))
    }

    /// Waits for some bytes, or all, of which `got` are dropped, or counted, already.
    fn await_discarded(
        &self,
        shared: &Shared,
        fd: i32,
        (r, total): (SocketRef, usize),
        (peek, all): (bool, bool),
        mut got: usize,
    ) -> Result<usize, Errno> {
        let (timeout, _) = self.timeouts(fd);
        let waiting = Waiting {
            target: Target::One(WaitFor::Socket(r, Ready::IN)),
            kernel: KernelSide::None,
            deadline: self.deadline(timeout),
            mask: None,
            restarts: timeout == Nanos::ZERO,
        };
        loop {
            let woken = self.wait(shared, &waiting, |stack, now| {
                let counted = if peek { 0 } else { got };
                let enough = stack.recv_len(r).is_ok_and(|n| n >= total) || stack.at_end(r);
                if peek && all && !enough {
                    return None;
                }
                match stack.discard(now, r, total - counted, peek) {
                    Err(Error::WouldBlock) => None,
                    other => Some(other),
                }
            });
            let failed = match woken {
                Woken::Got(Ok(n)) => {
                    got = if peek { n } else { got + n };
                    if n == 0 || got == total || !all || peek {
                        return Ok(got);
                    }
                    continue;
                }
                Woken::Got(Err(error)) => {
                    self.put_back(shared, r, error, got);
                    from_stack(error)
                }
                Woken::TimedOut => Errno::AGAIN,
                Woken::Interrupted => Errno::INTR,
                Woken::Kernel | Woken::Retired => Errno::CONNRESET,
            };
            return if got > 0 { Ok(got) } else { Err(failed) };
        }
    }
}
