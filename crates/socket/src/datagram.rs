//! UDP sockets, and the calls that streams and datagrams share: send and receive.

use crate::errno::from_stack;
use crate::explain::Decision;
use crate::networks::Wanted;
use crate::process::{Process, Shared};
use crate::session::is_near_group;
use crate::stream::{kernel_name, reachable, reserve, source_for};
use crate::sys::set_number;
use crate::verdict::{Arrival, Departure, Received, RecvFlags, SendFlags, Verdict};
use crate::wait::{KernelSide, Target, Waiting, Woken};
use crate::{Address, Endpoint, Errno, Foreign, ForeignMut};
use sidestep_shm::{NONE, Nanos, Retired};
use sidestep_stack::{
    Asked, Beside, Datagram, Discover, Error, Handover, HopState, Ready, SocketFlags, SocketRef,
    Stack, WaitFor, Way,
};

impl Process {
    /// Sends: on a stream, or a datagram to `target` (or the connected peer).
    pub fn send(
        &self,
        fd: i32,
        parts: &[Foreign<'_>],
        flags: SendFlags,
        target: Option<Endpoint>,
    ) -> Verdict<usize> {
        self.send_with(fd, parts, flags, target, &Departure::default())
    }

    /// Sends, as [`send`](Self::send), with what came beside a datagram. Streams have nothing of that.
    pub fn send_with(
        &self,
        fd: i32,
        parts: &[Foreign<'_>],
        flags: SendFlags,
        target: Option<Endpoint>,
        departure: &Departure,
    ) -> Verdict<usize> {
        let Some((shared, r, is_tcp)) = self.typed_socket_of(fd) else {
            return Verdict::Kernel;
        };
        if is_tcp {
            let sent = if flags.contains(SendFlags::FAST_OPEN) {
                self.send_fast(shared, fd, r, parts, (flags, target))
            } else {
                self.send_stream(shared, fd, r, parts, flags)
            };
            if flags.contains(SendFlags::LENT) && matches!(sent, Verdict::Done(Ok(1..))) {
                self.note_lent(shared, r);
            }
            return sent;
        }
        let is_plain = *departure == Departure::default();
        if let [message] = parts
            && is_plain
        {
            let now = self.now();
            let sent = self.with_stack(shared, |stack| {
                stack.send_to_at_once(now, r, target.map(reachable), *message)
            });
            if let Ok(Some(n)) = sent {
                return Verdict::Done(Ok(n));
            }
        }
        match self.datagram_way(shared, fd, r, target, departure) {
            Ok((local, remote, way)) => {
                let now = self.now();
                match self.with_stack(shared, |stack| {
                    let leaving = (!is_plain).then_some(departure.leaving);
                    stack.send_as(now, r, (local, remote), way, leaving, parts)
                }) {
                    Ok(Ok(n)) => Verdict::Done(Ok(n)),
                    // The way is lost, or too narrow: the kernel's loopback takes what IP can carry.
                    Ok(Err(Error::NoWay)) => Verdict::Kernel,
                    Ok(Err(Error::TooLong)) => {
                        self.have_cut(shared, fd, r, remote, way);
                        Verdict::Kernel
                    }
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
        // The lines come from another processor while the clock is read and the lock is taken.
        shared.ahead.prefetch();
        if is_tcp {
            return self.recv_stream(shared, fd, r, parts, flags);
        }
        let peek = flags.contains(RecvFlags::PEEK);
        let now = self.now();
        if peek {
            self.glances.keep_turn(fd);
        }
        let first = self.with_stack(shared, |stack| {
            let yields = !peek && stack.has_datagrams(r) && self.kernel_goes_first(fd);
            (!yields).then(|| take_datagram(stack, now, r, parts, peek))
        });
        let (blocks, shut, asked) = match first {
            Err(Retired) => return Verdict::Kernel,
            Ok(None) => return Verdict::KernelNow,
            Ok(Some((Ok(datagram), _, _, asked))) => {
                return Verdict::Done(Ok(received(&datagram, asked)));
            }
            Ok(Some((Err(Error::WouldBlock), blocks, shut, asked))) => (blocks, shut, asked),
            Ok(Some((Err(error), ..))) => return Verdict::fail(from_stack(error)),
        };
        if flags.contains(RecvFlags::DONTWAIT) || !blocks {
            self.stayed_awake();
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
                other => Some(other.map(|datagram| received(&datagram, asked))),
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

    /// Whether receiving is to be asked for again of a socket of which the kernel's side had nothing after all.
    pub fn has_datagrams(&self, fd: i32) -> bool {
        let queued = self.on_socket(fd, |stack, r| Ok(stack.has_datagrams(r)));
        matches!(queued, Some(Ok(true)))
    }

    /// Whether the socket is a TCP one; none where it is not ours.
    pub fn is_tcp(&self, fd: i32) -> Option<bool> {
        self.typed_socket_of(fd).map(|(_, _, is_tcp)| is_tcp)
    }

    /// What the stack knows of a datagram's way.
    fn known_of(
        &self,
        shared: &Shared,
        r: SocketRef,
        target: Option<Endpoint>,
        departure: &Departure,
    ) -> Result<Known, NoWay> {
        let known = self
            .with_stack(shared, |stack| {
                let peer = stack.datagram_peer(r)?;
                let target = target.map(reachable);
                let hint = target.and_then(|t| stack.route_hint(&t));
                let device = match (departure.device, stack.leaves_by(r)?) {
                    (0, own) => own,
                    (given, _) => given,
                };
                let plain = departure.device == 0 && departure.source.is_none();
                let last = target.filter(|_| plain && peer.is_none());
                Ok(Known {
                    peer,
                    // It may lead by another interface.
                    hint: hint.filter(|_| device == 0),
                    last: last.and_then(|target| stack.last_way(r, &target)),
                    bound: stack.local(r)?,
                    flags: stack.flags(r)?,
                    device,
                })
            })
            .map_err(|Retired| NoWay::Kernel)?;
        known.map_err(|e: Error| NoWay::Failed(from_stack(e)))
    }

    /// From where, to where and which way a datagram goes.
    fn datagram_way(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        target: Option<Endpoint>,
        departure: &Departure,
    ) -> Result<(Endpoint, Endpoint, Way), NoWay> {
        let Known {
            peer,
            hint,
            last,
            bound,
            flags,
            device,
        } = self.known_of(shared, r, target, departure)?;
        let bound = bound.map(not_a_group);
        if departure.other || flags.intersects(SocketFlags::SEGMENT.union(SocketFlags::STAMPED)) {
            self.count_handover(shared, Handover::Option);
            return Err(NoWay::Kernel);
        }
        let (remote, way) = match (target.map(reachable), peer) {
            (None, None) => return Err(NoWay::Kernel),
            (None, Some((remote, way))) => (remote, Some(way)),
            (Some(target), Some((remote, way))) if target == remote => (target, Some(way)),
            (Some(target), _) => (target, hint),
        };
        let group = self.group_device(shared, r, remote);
        let group = group.map_err(|_| NoWay::Kernel)?;
        let device = match group {
            Some((by, _)) if device == 0 => by,
            _ => device,
        };
        // From where, if that is given: an address that is this host's, of which the kernel is the judge.
        let given = match departure.source {
            Some(source) if self.lock_session().is_local(shared, source) => Some(source),
            Some(_) => return Err(NoWay::Kernel),
            None => group.map(|(_, from)| from).filter(|from| {
                !from.is_unspecified() && bound.is_none_or(|b| b.addr.is_unspecified())
            }),
        };
        let port = bound.map_or(0, |b| b.port);
        let from = given.map(|given| Endpoint::new(given, port)).or(bound);
        let is_bound = from.is_some_and(|local| !local.addr.is_unspecified());
        let (way, source) = match (last, way.filter(|_| departure.device == 0)) {
            (Some(last), _) => last,
            (None, Some(way)) if way.hop == NONE || is_bound => (way, source_for(remote.addr)),
            // From the address that the route wants.
            _ => {
                let to = Wanted {
                    bound: from,
                    remote,
                    device,
                };
                let found = self.routed_datagram(shared, &to)?;
                if peer.is_none() && departure.device == 0 && given.is_none() {
                    let _ = self.with_stack(shared, |stack| stack.remember_way(r, &remote, found));
                }
                found
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
        let local = match given {
            Some(given) => Endpoint::new(given, local.port),
            None if local.addr.is_unspecified() => Endpoint::new(source, local.port),
            None => local,
        };
        Ok((local, remote, way))
    }

    /// The kernel is to cut a datagram, and knows nothing of what we know of its path: it sends it whole, and routers cut it.
    /// Those of IPv6 cut nothing.
    #[cold]
    fn have_cut(&self, shared: &Shared, fd: i32, r: SocketRef, remote: Endpoint, way: Way) {
        let cut = self.with_stack(shared, |stack| {
            let is_known = stack.path_limit(&way, &remote.addr).is_some() && remote.addr.is_v4();
            is_known && stack.discover(r, true) == Ok(Discover::Want)
        });
        if cut == Ok(true) {
            let dont = Discover::Dont as u32;
            set_number(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, dont);
        }
    }

    /// How a datagram to a group is to leave; none where it goes to no group. Where members on this host are to get it, too,
    /// the kernel sends it.
    fn group_device(
        &self,
        shared: &Shared,
        r: SocketRef,
        remote: Endpoint,
    ) -> Result<Option<(u32, Address)>, Handover> {
        if !remote.addr.is_multicast() {
            return Ok(None);
        }
        let leaves = self.with_stack(shared, |stack| {
            stack.leaves_to_group(r, remote.addr.is_v4())
        });
        match leaves {
            Ok(Ok(Some(leaves))) => Ok(Some(leaves)),
            _ => {
                let why = if is_near_group(remote.addr) {
                    Handover::Group
                } else {
                    Handover::GroupLoop
                };
                self.count_handover(shared, why);
                Err(why)
            }
        }
    }

    /// The way of a datagram, and the source address that goes with it.
    fn routed_datagram(&self, shared: &Shared, to: &Wanted) -> Result<(Way, Address), NoWay> {
        let routed = self.lock_session().route(self, shared, false, to, 0);
        routed
            .map(|reached| (reached.way, reached.source))
            .map_err(|why| {
                self.count_handover(shared, why);
                NoWay::Kernel
            })
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
            Address::UNSPECIFIED_V6
        } else {
            Address::UNSPECIFIED_V4
        };
        let local = match reserve(fd, any, is_v6) {
            // A datagram that went by the kernel has bound it.
            Err(Errno::INVAL) => kernel_name(fd).filter(|local| local.port != 0),
            reserved => Some(reserved.map_err(NoWay::Failed)?),
        };
        let local = local.ok_or(NoWay::Kernel)?;
        let bound = self.with_stack(shared, |stack| stack.bind(r, local));
        if !matches!(bound, Ok(Ok(()))) {
            return Err(NoWay::Kernel);
        }
        // On this host answers come back by the wire; networks must be told where to.
        if self.lock_session().networks_number().is_some() {
            let served = self.with_stack(shared, |stack| stack.served(r));
            if let Ok(Some(served)) = served {
                self.publish(shared, fd, "bind", &served);
            }
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
        match self.route_datagrams(shared, fd, r, reachable(remote)) {
            Some(errno) => Verdict::fail(errno),
            None => Verdict::Kernel,
        }
    }

    /// Datagrams of a connected socket go to `target` from now on: by the kernel where no way is found. Says what
    /// failed, if anything did.
    pub(crate) fn route_datagrams(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        target: Endpoint,
    ) -> Option<Errno> {
        let known = self.with_stack(shared, |stack| {
            sidestep_stack::Result::Ok((stack.local(r)?, stack.flags(r)?, stack.leaves_by(r)?))
        });
        let Ok(Ok((bound, flags, device))) = known else {
            return None;
        };
        let bound = bound.map(not_a_group);
        let group = self.group_device(shared, r, target);
        let (device, from) = match group {
            Ok(Some((by, from))) if device == 0 => (by, Some(from)),
            _ => (device, None),
        };
        let from = from.filter(|from| !from.is_unspecified());
        let to = Wanted {
            bound: from.map(|from| Endpoint::new(from, 0)).or(bound),
            remote: target,
            device,
        };
        let routed = match group {
            Ok(_) => self.lock_session().route(self, shared, false, &to, 0),
            Err(why) => Err(why),
        };
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
            // Both sides stay open to receive: an accelerated peer may still send to our port.
            let _ = self.with_stack(shared, |stack| stack.connect_datagram::<Way>(r, None));
            return None;
        };
        if bound.is_none() {
            match self.bind_datagram(shared, fd, r, flags) {
                Ok(_) => {}
                Err(NoWay::Kernel) => return None,
                Err(NoWay::Failed(errno)) => return Some(errno),
            }
        }
        match self.with_stack(shared, |stack| {
            stack.connect_datagram(r, Some((target, way)))
        }) {
            Ok(Err(error)) => Some(from_stack(error)),
            Ok(Ok(())) | Err(Retired) => None,
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

/// What the stack knows of a datagram's way: the socket's peer, the way that its target was heard by, and that of the last
/// datagram there; and of the socket.
struct Known {
    peer: Option<(Endpoint, Way)>,
    hint: Option<Way>,
    last: Option<(Way, Address)>,
    bound: Option<Endpoint>,
    flags: SocketFlags,
    device: u32,
}

/// What a socket sends from: one that is bound to a group, to hear nothing else, from any address.
fn not_a_group(bound: Endpoint) -> Endpoint {
    if !bound.addr.is_multicast() {
        return bound;
    }
    let any = if bound.addr.is_v4() {
        Address::UNSPECIFIED_V4
    } else {
        Address::UNSPECIFIED_V6
    };
    Endpoint::new(any, bound.port)
}

enum NoWay {
    Kernel,
    Failed(Errno),
}

fn received(datagram: &Datagram, asked: Asked) -> Received {
    let arrival = (!asked.is_empty()).then(|| Arrival {
        asked,
        target: datagram.target,
        device: match datagram.device {
            0 => sidestep_control::device::of_address(datagram.target),
            device => device,
        },
        tos: datagram.tos,
        hop_limit: datagram.hop_limit,
        at: datagram.at,
    });
    Received {
        copied: datagram.copied,
        len: datagram.len,
        source: Some(datagram.source),
        arrival,
        beside: Beside::default(),
    }
}

/// The next datagram; where there is none, whether to wait, and whether the socket is shut down. What is to be told of it.
#[inline]
fn take_datagram(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    parts: &mut [ForeignMut<'_>],
    peek: bool,
) -> (sidestep_stack::Result<Datagram>, bool, bool, Asked) {
    let got = stack.recv_from_new(now, r, parts, peek);
    let wait = got.is_err() && stack.blocks(r);
    let asked = stack.asked(r).unwrap_or(Asked::empty());
    let shut = got.is_err() && stack.is_shut_for_reading(r);
    (got, wait, shut, asked)
}
