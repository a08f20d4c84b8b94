//! What becomes of the sockets of a process that loses its stack: because another process died inside it, or because a
//! forked child found no place in it. From then on the process is on its own with the kernel.
//!
//! Every descriptor becomes the kernel's. A connection of the stack cannot go on there, so a connection of the kernel's
//! takes its number that was reset: calls, poll(2) and epoll(7) tell of it as of any that was.

use crate::accept::AcceptedFd;
use crate::epoll::{EpollChange, Event, kernel_side};
use crate::explain::Decision;
use crate::fdtable::Entry;
use crate::process::{Process, Shared, with_fd};
use crate::signals::{Handled, quietly};
use crate::sys::ppoll;
use crate::{Errno, Verdict};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags as OpenFlags, SocketType, socket_with};
use sidestep_shm::Nanos;
use sidestep_shm::atomic::Ordering;
use sidestep_stack::{Handover, Kind, LastMember, SocketFlags, SocketRef, last_members, remains};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A member of an epoll set that is the kernel's by now, and the file that it was then.
pub(crate) struct LostMember {
    member: LastMember,
    file: Option<u64>,
}

/// How often a thread yields the processor at most to another that is about to leave the stack.
const PATIENCE: u32 = 10_000;

impl Process {
    /// The stack was given up, or is not to be used by this process any more, for the reason `why`.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose_stack(&self, shared: &Shared, why: Handover) {
        if self.is_borrowed() {
            return;
        }
        if self.losing.swap(true, Ordering::AcqRel) {
            // Another thread is at it.
            for _ in 0..PATIENCE {
                if self.attached().is_none() {
                    break;
                }
                rustix::thread::sched_yield();
            }
            return;
        }
        quietly(|| {
            let members = last_members(&shared.stack);
            let mut lost = Vec::new();
            for (fd, entry) in self.fds.iter() {
                let Entry::Socket(r, is_tcp) = entry else {
                    continue;
                };
                self.lose_socket(shared, (fd, entry), (r, is_tcp), why);
                // A set that is shared with processes that have the stack is none of ours to change.
                let of_this =
                    |m: &&LastMember| why == Handover::Retired && m.socket == r.index && m.fd == fd;
                let file = inode(fd);
                lost.extend(
                    members
                        .iter()
                        .filter(of_this)
                        .map(|m| LostMember { member: *m, file }),
                );
            }
            let _ = self.lost_members.set(lost);
            self.forget_stack();
        });
    }

    fn lose_socket(
        &self,
        shared: &Shared,
        (fd, entry): (i32, Entry),
        (r, is_tcp): (SocketRef, bool),
        why: Handover,
    ) {
        let left = remains(&shared.stack, r);
        let (kind, flags, connects) = left.map_or((Kind::Free, SocketFlags::empty(), true), |l| {
            (l.kind, l.flags, l.connects)
        });
        let blocks = !flags.contains(SocketFlags::NONBLOCK);
        let becomes = match kind {
            Kind::Listener => Entry::Listener(blocks),
            _ if is_tcp && connects => {
                // Where none can be had, it is a socket that is not connected.
                let _ = reset_connection(fd, flags.contains(SocketFlags::INET6), blocks);
                Entry::Kernel
            }
            _ => Entry::Kernel,
        };
        if self.fds.entry(fd) == entry {
            self.fds.replace(fd, becomes);
        }
        self.explain(&Decision {
            fd,
            is_tcp,
            event: if why == Handover::NoPlace {
                "fork"
            } else {
                "loss"
            },
            local: None,
            remote: None,
            handover: Some(why),
        });
    }

    /// A thread is about to wait for a set of the kernel's that had accelerated members: they become members there. Not
    /// before that, as processes that share the set by fork have each lost their own.
    #[cold]
    pub(crate) fn adopt_lost_members(&self, epfd: i32, set: u32) {
        let lost = self.lost_members.get().into_iter().flatten();
        for LostMember { member, file } in lost.filter(|lost| lost.member.set == set) {
            // The number may be another file's by now.
            if file.is_some() && inode(member.fd) == *file {
                let event = Event {
                    events: member.events.bits(),
                    data: member.data,
                };
                kernel_side(epfd, member.fd, EpollChange::Add(event));
            }
        }
    }

    /// accept(2) on a descriptor that the stack has nothing to do with (any more).
    pub(crate) fn accept_of_kernel(&self, fd: i32) -> Verdict<AcceptedFd> {
        if self.fds.entry(fd) != Entry::Listener(true) {
            return Verdict::Kernel;
        }
        let timeout = with_fd(fd, |fd| sockopt::socket_timeout(fd, Timeout::Recv));
        let timeout = timeout.ok().flatten().map(span);
        let deadline = timeout.map_or(Nanos::NEVER, |timeout| self.now() + timeout);
        let handled = Handled::now();
        loop {
            let now = self.now();
            let mut readable = [libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            }];
            let left = if deadline == Nanos::NEVER {
                Nanos::from_secs(3600)
            } else {
                deadline - now.min(deadline)
            };
            match ppoll(&mut readable, left, None) {
                Ok(0) if now >= deadline => return Verdict::fail(Errno::AGAIN),
                Ok(0) => {}
                Ok(_) => return Verdict::KernelNow,
                Err(Errno::INTR) if handled.may_restart(timeout.is_none()) => {}
                Err(errno) => return Verdict::fail(errno),
            }
        }
    }
}

/// What tells the file behind a descriptor from others.
fn inode(fd: i32) -> Option<u64> {
    with_fd(fd, |fd| rustix::fs::fstat(fd))
        .ok()
        .map(|stat| stat.st_ino)
}

fn span(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Makes `fd` a connection of the kernel's that its peer has reset.
fn reset_connection(fd: i32, is_v6: bool, blocks: bool) -> Result<(), Errno> {
    let (family, host) = if is_v6 {
        (AddressFamily::INET6, Ipv6Addr::LOCALHOST.into())
    } else {
        (AddressFamily::INET, Ipv4Addr::LOCALHOST.into())
    };
    let new = || socket_with(family, SocketType::STREAM, OpenFlags::CLOEXEC, None);
    let (listener, connection): (OwnedFd, OwnedFd) = (new()?, new()?);
    rustix::net::bind(&listener, &SocketAddr::new(host, 0))?;
    rustix::net::listen(&listener, 1)?;
    let at = rustix::net::getsockname(&listener)?;
    rustix::net::connect(&connection, &at)?;
    let peer = rustix::net::accept(&listener)?;
    sockopt::set_socket_linger(&peer, Some(Duration::ZERO))?;
    drop(peer);
    rustix::io::ioctl_fionbio(&connection, !blocks)?;
    let closes = with_fd(fd, |fd| rustix::io::fcntl_getfd(fd))?;
    crate::sys::duplicate_onto(&connection, fd, closes)
}
