//! accept(2): connections come to a listening socket from the stack and from the kernel.

use crate::errno::from_stack;
use crate::explain::Decision;
use crate::process::{Process, Shared};
use crate::verdict::Verdict;
use crate::wait::{KernelSide, Target, Waiting, Woken};
use crate::{Endpoint, Errno};
use rustix::net::SocketFlags as OpenFlags;
use rustix::net::{AddressFamily, SocketType};
use sidestep_shm::{Nanos, Retired};
use sidestep_stack::{Error, Ready, SocketFlags, SocketRef, WaitFor};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

/// A connection that accept(2) returns.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedFd {
    /// Its descriptor.
    pub fd: i32,
    /// The peer.
    pub remote: Endpoint,
    /// Whether the listening socket is an IPv6 one, so that addresses are told as IPv6.
    pub is_v6: bool,
}

impl Process {
    /// Accepts a connection from either side. `cloexec` and `nonblock` are for the new descriptor.
    pub fn accept(&self, fd: i32, cloexec: bool, nonblock: bool) -> Verdict<AcceptedFd> {
        let Some((shared, r)) = self.socket_of(fd) else {
            return self.accept_of_kernel(fd);
        };
        let found = self.with_stack(shared, |stack| {
            if !stack.acceptable(r)? {
                stack.poll(self.now());
            }
            Ok((
                stack.acceptable(r)?,
                stack.flags(r)?,
                stack.served(r).is_some_and(|served| served.is_tcp),
            ))
        });
        let (ready, flags) = match found {
            Ok(Ok((ready, flags, true))) => (ready, flags),
            Ok(Ok(_) | Err(Error::Stale)) => return Verdict::Kernel,
            Ok(Err(error)) => return Verdict::fail(from_stack(error)),
            Err(Retired) => return self.accept_of_kernel(fd),
        };
        if ready && self.kernel_goes_first(fd) {
            return Verdict::KernelNow;
        }
        if !ready {
            if flags.contains(SocketFlags::NONBLOCK) {
                let glance = self.glance_due(fd, self.now());
                return if glance {
                    Verdict::KernelNow
                } else {
                    Verdict::fail(Errno::AGAIN)
                };
            }
            let (timeout, _) = self.timeouts(fd);
            let waiting = Waiting {
                target: Target::One(WaitFor::Socket(r, Ready::IN)),
                kernel: KernelSide::Readable(fd),
                deadline: self.deadline(timeout),
                mask: None,
                restarts: timeout == Nanos::ZERO,
            };
            match self.wait(shared, &waiting, |stack, _| {
                stack.acceptable(r).unwrap_or(true).then_some(())
            }) {
                Woken::Got(()) => {}
                Woken::Kernel => return Verdict::KernelNow,
                Woken::TimedOut => return Verdict::fail(Errno::AGAIN),
                Woken::Interrupted => return Verdict::fail(Errno::INTR),
                Woken::Retired => return self.accept_of_kernel(fd),
            }
        }
        match self.accept_one(shared, fd, r, flags, cloexec, nonblock) {
            // Another thread took it.
            Err(Errno::AGAIN) if !flags.contains(SocketFlags::NONBLOCK) => {
                self.accept(fd, cloexec, nonblock)
            }
            result => Verdict::Done(result),
        }
    }

    /// Whether accept(2) is to be asked again of a socket of which the kernel's side had nothing after all.
    pub fn accepts_again(&self, fd: i32) -> bool {
        let queued = self.on_socket(fd, |stack, r| stack.acceptable(r));
        self.nonblocking(fd) == Some(false) || matches!(queued, Some(Ok(true)))
    }

    fn accept_one(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        flags: SocketFlags,
        cloexec: bool,
        nonblock: bool,
    ) -> Result<AcceptedFd, Errno> {
        let is_v6 = flags.contains(SocketFlags::INET6);
        let backing = open_backing(is_v6, cloexec, nonblock)?;
        let slot = self.slot();
        let accepted = self
            .with_stack(shared, |stack| {
                let accepted = stack.accept(r, slot)?;
                stack.set_flags(accepted.socket, SocketFlags::NONBLOCK, nonblock)?;
                Ok(accepted)
            })
            .map_err(|Retired| Errno::CONNABORTED)?
            .map_err(from_stack)?;
        if accepted.needs_keys {
            self.take_fast_keys(shared, fd, r);
        }
        if accepted.device != 0 {
            let _ = sidestep_control::device::bind_socket(backing.as_fd(), accepted.device);
        }
        let new = backing.into_raw_fd();
        self.install(new, accepted.socket, true);
        let (local, remote) = (accepted.local, accepted.remote);
        self.explain(&Decision {
            fd,
            is_tcp: true,
            event: "accept",
            local: Some(local),
            remote: Some(remote),
            handover: None,
        });
        Ok(AcceptedFd {
            fd: new,
            remote,
            is_v6,
        })
    }
}

fn open_backing(is_v6: bool, cloexec: bool, nonblock: bool) -> Result<OwnedFd, Errno> {
    let family = if is_v6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::CLOEXEC, cloexec);
    flags.set(OpenFlags::NONBLOCK, nonblock);
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    debug_assert!(fd.as_raw_fd() >= 0, "a descriptor");
    Ok(fd)
}
