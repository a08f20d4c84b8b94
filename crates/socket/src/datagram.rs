//! UDP sockets, and the calls that streams and datagrams share: send and receive.

use crate::errno::from_stack;
use crate::explain::Decision;
use crate::process::{Process, Shared};
use crate::stream::{kernel_name, reachable, reserve, source_for};
use crate::verdict::{Received, RecvFlags, SendFlags, Verdict};
use crate::wait::{KernelSide, Target, Waiting, Woken};
use crate::{Endpoint, Errno, Foreign, ForeignMut};
use sidestep_shm::{NONE, Nanos, Retired};
use sidestep_stack::{Datagram, Error, HopState, Ready, SocketFlags, SocketRef, WaitFor, Way};

impl Process {
    /// Sends: on a stream, or a datagram to `target` (or the connected peer).
    pub fn send(
        &self,
        fd: i32,
        parts: &[Foreign<'_>],
        flags: SendFlags,
        target: Option<Endpoint>,
    ) -> Verdict<usize> {
        let Some((shared, r, is_tcp)) = self.typed_socket_of(fd) else {
            return Verdict::Kernel;
        };
        if is_tcp && flags.contains(SendFlags::FAST_OPEN) {
            return self.send_fast(shared, fd, r, parts, (flags, target));
        }
        if is_tcp {
            return self.send_stream(shared, fd, r, parts, flags);
        }
        if let [message] = parts {
            let now = self.now();
            let sent = self.with_stack(shared, |stack| {
                stack.send_to_at_once(now, r, target.map(reachable), *message)
            });
            if let Ok(Some(n)) = sent {
                return Verdict::Done(Ok(n));
            }
        }
        match self.datagram_way(shared, fd, r, target) {
            Ok((local, remote, way)) => {
                let now = self.now();
                match self.with_stack(shared, |stack| {
                    stack.send_to(now, r, (local, remote), way, parts)
                }) {
                    Ok(Ok(n)) => Verdict::Done(Ok(n)),
                    // The way is lost, or too narrow: the kernel's loopback takes what IP can carry.
                    Ok(Err(Error::Unreachable | Error::MessageSize)) => Verdict::Kernel,
                    Ok(Err(error)) => Verdict::fail(from_stack(error)),
                    Err(Retired) => Verdict::Kernel,
                }
            }
            Err(NoWay::Kernel) => Verdict::Kernel,
            Err(NoWay::Failed(errno)) => Verdict::fail(errno),
        }
    }

    /// Receives: from a stream, or the next datagram from either side.
    pub fn recv(
        &self,
        fd: i32,
        parts: &mut [ForeignMut<'_>],
        flags: RecvFlags,
    ) -> Verdict<Received> {
        let Some((shared, r, is_tcp)) = self.typed_socket_of(fd) else {
            return Verdict::Kernel;
        };
        if is_tcp {
            return self.recv_stream(shared, fd, r, parts, flags);
        }
        let peek = flags.contains(RecvFlags::PEEK);
        let now = self.now();
        let first = self.with_stack(shared, |stack| {
            let got = stack.recv_from_new(now, r, parts, peek);
            let wait = got.is_err() && stack.blocks(r);
            (got, wait, got.is_err() && stack.is_shut_for_reading(r))
        });
        let (blocks, shut) = match first {
            Err(Retired) => return Verdict::Kernel,
            Ok((Ok(datagram), ..)) => return Verdict::Done(Ok(received(&datagram))),
            Ok((Err(Error::WouldBlock), blocks, shut)) => (blocks, shut),
            Ok((Err(error), ..)) => return Verdict::fail(from_stack(error)),
        };
        if flags.contains(RecvFlags::DONTWAIT) || !blocks {
            let glance = self.glance_due(fd, now);
            return if glance {
                Verdict::KernelNow
            } else {
                Verdict::fail(Errno::AGAIN)
            };
        }
        if shut {
            // What came by the kernel is told of there; else this is the end.
            let waits_there = crate::wait::has_datagram(fd);
            return if waits_there {
                Verdict::KernelNow
            } else {
                Verdict::Done(Ok(crate::stream::stream_bytes(0)))
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
        let woken = self.wait(shared, &waiting, |stack, _| {
            match stack.recv_from(r, parts, peek) {
                Err(Error::WouldBlock) if stack.is_shut_for_reading(r) => {
                    Some(Ok(crate::stream::stream_bytes(0)))
                }
                Err(Error::WouldBlock) => None,
                other => Some(other.map(|datagram| received(&datagram))),
            }
        });
        match woken {
            Woken::Got(Ok(received)) => Verdict::Done(Ok(received)),
            Woken::Got(Err(error)) => Verdict::fail(from_stack(error)),
            Woken::Kernel => Verdict::KernelNow,
            Woken::TimedOut => Verdict::fail(Errno::AGAIN),
            Woken::Interrupted => Verdict::fail(Errno::INTR),
            Woken::Retired => Verdict::Kernel,
        }
    }

    /// Whether the socket is a TCP one; none where it is not ours.
    pub fn is_tcp(&self, fd: i32) -> Option<bool> {
        self.typed_socket_of(fd).map(|(_, _, is_tcp)| is_tcp)
    }

    /// From where, to where and which way a datagram goes.
    fn datagram_way(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        target: Option<Endpoint>,
    ) -> Result<(Endpoint, Endpoint, Way), NoWay> {
        let known = self
            .with_stack(shared, |stack| {
                let peer = stack.datagram_peer(r)?;
                let target = target.map(reachable);
                let hint = target.and_then(|t| stack.route_hint(&t));
                Ok((peer, hint, stack.local(r)?, stack.flags(r)?))
            })
            .map_err(|Retired| NoWay::Kernel)?;
        let (peer, hint, bound, flags) = known.map_err(|e: Error| NoWay::Failed(from_stack(e)))?;
        let (remote, way) = match (target.map(reachable), peer) {
            (None, None) => return Err(NoWay::Kernel),
            (None, Some((remote, way))) => (remote, Some(way)),
            (Some(target), Some((remote, way))) if target == remote => (target, Some(way)),
            (Some(target), _) => (target, hint),
        };
        let is_bound = bound.is_some_and(|local| !local.addr.is_unspecified());
        let (way, source) = match way {
            Some(way) if way.hop == NONE || is_bound => (way, source_for(remote.addr)),
            // From the address that the route wants.
            _ => {
                let mut session = self.lock_session();
                let routed = session.route(self, shared, false, (bound, remote), 0);
                let routed = routed.map(|reached| (reached.way, reached.source));
                routed.map_err(|why| {
                    drop(session);
                    self.count_handover(shared, why);
                    NoWay::Kernel
                })?
            }
        };
        let is_found = way.hop == NONE
            || self.with_stack(shared, |stack| stack.hop_state(way.hop)) == Ok(HopState::Reachable);
        if !is_found {
            // The kernel looks for the station, and keeps what is to be sent until it has found it.
            return Err(NoWay::Kernel);
        }
        let local = match bound {
            Some(local) if !local.addr.is_unspecified() => local,
            Some(local) => Endpoint::new(source, local.port),
            None => self.bind_datagram(shared, fd, r, flags)?,
        };
        let local = if local.addr.is_unspecified() {
            Endpoint::new(source, local.port)
        } else {
            local
        };
        Ok((local, remote, way))
    }

    /// A first datagram binds the socket to a port of the kernel's choice.
    fn bind_datagram(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        flags: SocketFlags,
    ) -> Result<Endpoint, NoWay> {
        let is_v6 = flags.contains(SocketFlags::INET6);
        let any = if is_v6 {
            crate::Address::UNSPECIFIED_V6
        } else {
            crate::Address::UNSPECIFIED_V4
        };
        let local = reserve(fd, any, is_v6).map_err(NoWay::Failed)?;
        let bound = self.with_stack(shared, |stack| stack.bind(r, local));
        if !matches!(bound, Ok(Ok(()))) {
            return Err(NoWay::Kernel);
        }
        // On this host answers come back by the wire; networks must be told where to.
        if self.lock_session().networks_number().is_some() {
            self.publish(shared, fd, "bind", local, flags);
        }
        Ok(local)
    }

    /// connect(2) of a datagram socket. The kernel's socket is connected too, so that its side filters alike.
    pub(crate) fn connect_datagram(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        remote: Endpoint,
    ) -> Verdict<()> {
        let target = reachable(remote);
        let bound = self.with_stack(shared, |stack| stack.local(r));
        let bound = bound.ok().and_then(Result::ok).flatten();
        let routed = self
            .lock_session()
            .route(self, shared, false, (bound, target), 0);
        let (way, handover) = match routed {
            Ok(reached) => (Some(reached.way), None),
            Err(why) => (None, Some(why)),
        };
        self.explain(&Decision {
            fd,
            is_tcp: false,
            event: "connect",
            local: None,
            remote: Some(target),
            handover,
        });
        let Some(way) = way else {
            if let Some(why) = handover {
                self.count_handover(shared, why);
            }
            let _ = self.with_stack(shared, |stack| stack.connect_datagram::<Way>(r, None));
            // Both sides stay open to receive: an accelerated peer may still send to our port.
            return Verdict::Kernel;
        };
        let bound = self.with_stack(shared, |stack| {
            sidestep_stack::Result::Ok((stack.local(r)?, stack.flags(r)?))
        });
        let Ok(Ok((bound, flags))) = bound else {
            return Verdict::Kernel;
        };
        if bound.is_none() {
            match self.bind_datagram(shared, fd, r, flags) {
                Ok(_) => {}
                Err(NoWay::Kernel) => return Verdict::Kernel,
                Err(NoWay::Failed(errno)) => return Verdict::fail(errno),
            }
        }
        match self.with_stack(shared, |stack| {
            stack.connect_datagram(r, Some((target, way)))
        }) {
            Ok(Ok(())) => Verdict::Kernel,
            Ok(Err(error)) => Verdict::fail(from_stack(error)),
            Err(Retired) => Verdict::Kernel,
        }
    }

    /// The kernel has connected a datagram socket: what it chose as source is ours too.
    pub fn connected_by_kernel(&self, fd: i32) {
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        if let Some(local) = kernel_name(fd) {
            let _ = self.with_stack(shared, |stack| {
                if stack.is_stream(r) {
                    Ok(())
                } else {
                    stack.bind(r, local)
                }
            });
        }
    }

    /// connect(2) to AF_UNSPEC: a datagram socket has no fixed peer any more.
    pub fn disconnect(&self, fd: i32) {
        let _ = self.on_socket(fd, |stack, r| {
            if stack.is_stream(r) {
                Ok(())
            } else {
                stack.connect_datagram::<Way>(r, None)
            }
        });
    }

    /// The kernel's side reported something for the program: its next call must look there.
    pub fn kernel_side_ready(&self) {
        self.glances.all_due();
    }

    /// Our name, where the kernel's socket does not know it: accelerated connections.
    pub fn local_name(&self, fd: i32) -> Option<(Endpoint, bool)> {
        let found = self.on_socket(fd, |stack, r| {
            let flags = stack.flags(r)?;
            Ok((
                stack.local(r)?.filter(|_| stack.is_connected_stream(r)),
                flags.contains(SocketFlags::INET6),
            ))
        })?;
        let (local, is_v6) = found.ok()?;
        local.map(|l| (l, is_v6))
    }

    /// The peer's name: of an accelerated connection or datagram socket with a fixed peer.
    pub fn peer_name(&self, fd: i32) -> Option<Result<(Endpoint, bool), Errno>> {
        let found = self.on_socket(fd, |stack, r| {
            let is_v6 = stack.flags(r)?.contains(SocketFlags::INET6);
            if !stack.is_stream(r) {
                return Ok((stack.datagram_peer(r)?.map(|(peer, _)| peer), is_v6, false));
            }
            Ok((stack.stream_peer(r)?, is_v6, stack.is_connected_stream(r)))
        })?;
        match found {
            Ok((Some(peer), is_v6, _)) => Some(Ok((peer, is_v6))),
            Ok((None, _, true)) => Some(Err(Errno::NOTCONN)),
            _ => None,
        }
    }

    /// Bytes that a send on a stream takes now.
    pub fn send_room(&self, fd: i32) -> Option<usize> {
        let found = self.on_socket(fd, |stack, r| {
            stack.poll(self.now());
            stack.send_room(r)
        })?;
        found.ok()
    }

    /// Bytes to read now: FIONREAD. None where the kernel must say.
    pub fn readable_bytes(&self, fd: i32) -> Option<usize> {
        let found = self.on_socket(fd, |stack, r| {
            stack.poll(self.now());
            Ok((
                stack.readable_len(r)?,
                stack.is_stream(r),
                stack.is_connected_stream(r),
            ))
        })?;
        match found {
            Ok((n, true, true)) => Some(n),
            Ok((n, false, _)) if n > 0 => Some(n),
            _ => None,
        }
    }
}

enum NoWay {
    Kernel,
    Failed(Errno),
}

const fn received(datagram: &Datagram) -> Received {
    Received {
        copied: datagram.copied,
        len: datagram.len,
        source: Some(datagram.source),
    }
}
