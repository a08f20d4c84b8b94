//! The entry of a socket in the stack's table.

use crate::complaints::Discover;
use crate::express::Aim;
use crate::memory::{Core, Stack};
use crate::udp::{LastWay, UdpQueue};
use crate::{Address, Endpoint, Error, Result};
use bitflags::bitflags;
use sidestep_shm::{NONE, Nanos};
use sidestep_tcp::Tcb;
use sidestep_wire::plain::{Template, V4Ends};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Entry not in use.
    Free = 0,
    /// A TCP socket, from creation to TIME-WAIT.
    Stream = 1,
    /// A TCP socket in LISTEN.
    Listener = 2,
    /// A UDP socket.
    Datagram = 3,
}

bitflags! {
    /// Small facts of a socket.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SocketFlags: u32 {
        /// Calls do not block (O_NONBLOCK of the open file).
        const NONBLOCK = 1;
        /// An IPv6 socket that serves no IPv4 peers.
        const V6ONLY = 1 << 1;
        /// May share its address (SO_REUSEADDR, SO_REUSEPORT).
        const REUSE = 1 << 2;
        /// Has a local port.
        const BOUND = 1 << 3;
        /// Made by socket(AF_INET6, …).
        const INET6 = 1 << 4;
        /// A UDP socket with a fixed peer.
        const CONNECTED = 1 << 5;
        /// In the flow table.
        const IN_FLOWS = 1 << 6;
        /// In the port table.
        const IN_PORTS = 1 << 7;
        /// On its wire's list of sockets that have something to send.
        const PENDING = 1 << 8;
        /// Child of a listening socket that was not accepted yet.
        const CHILD = 1 << 9;
        /// A child whose handshake is complete.
        const ACCEPTABLE = 1 << 10;
        /// Receiving side shut down by the program.
        const SHUT_READ = 1 << 11;
        /// Sending side shut down by the program.
        const SHUT_WRITE = 1 << 12;
        /// On the list of recyclable TIME-WAIT sockets.
        const TIME_WAIT = 1 << 13;
        /// Was established at some time.
        const WAS_CONNECTED = 1 << 14;
        /// The program was told that its connect succeeded.
        const TOLD = 1 << 15;
        /// SO_REUSEADDR, which says nothing to the stack but is inherited and asked for.
        const REUSEADDR = 1 << 16;
        /// A child whose handshake is complete, but that is held back until data comes (TCP_DEFER_ACCEPT).
        const DEFERRED = 1 << 17;
        /// Bound to one interface (SO_BINDTODEVICE).
        const DEVICE = 1 << 18;
        /// A UDP socket of whose messages the kernel makes several datagrams (UDP_SEGMENT).
        const SEGMENT = 1 << 19;
        /// A connection that came with data, and whose handshake is not complete (RFC 7413).
        const FAST_PENDING = 1 << 20;
        /// SO_ZEROCOPY: the program wants to know when bytes lent with MSG_ZEROCOPY are its own again.
        const ZEROCOPY = 1 << 21;
        /// SO_TIMESTAMPING has writes watched.
        const STAMPED = 1 << 22;
        /// There are notices to be read.
        const NOTICES = 1 << 23;
        /// TCP_INQ: the program wants to be told how many bytes are left to read.
        const INQ = 1 << 24;
        /// IP_RECVERR and IPV6_RECVERR: the program is told what becomes of packets.
        const RECVERR = 1 << 25;
        /// See `RECVERR`.
        const RECVERR6 = 1 << 26;
        /// IP_MULTICAST_LOOP is off: what is sent to groups is not for members on this host.
        const NO_LOOP = 1 << 27;
        /// The same of IPV6_MULTICAST_LOOP.
        const NO_LOOP6 = 1 << 28;
    }
}

/// What a socket serves, where it listens or receives datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Whether TCP; else UDP.
    pub is_tcp: bool,
    /// What it is bound to.
    pub local: Endpoint,
    /// Its flags.
    pub flags: SocketFlags,
    /// The index of the interface that it is bound to; 0 for none.
    pub device: u32,
}

bitflags! {
    /// What the program wants to be told with each datagram.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Asked: u16 {
        /// IP_PKTINFO: the address it was sent to, and the interface it came by.
        const INFO = 1;
        /// IP_RECVTTL.
        const TTL = 1 << 1;
        /// IP_RECVTOS.
        const TOS = 1 << 2;
        /// IPV6_RECVPKTINFO.
        const INFO6 = 1 << 3;
        /// IPV6_RECVHOPLIMIT.
        const HOP_LIMIT = 1 << 4;
        /// IPV6_RECVTCLASS.
        const CLASS = 1 << 5;
        /// SO_TIMESTAMP: when it came, in microseconds; also of the bytes of a connection, as all about times.
        const TIME = 1 << 6;
        /// SO_TIMESTAMPNS: in nanoseconds.
        const TIME_NS = 1 << 7;
        /// SO_TIMESTAMPING: as `struct scm_timestamping`.
        const TIMES = 1 << 8;
        /// By the options for programs whose times have 64 bits everywhere, of which the layout is the same here.
        const TIME_NEW = 1 << 9;
        /// IPV6_2292HOPLIMIT: as HOP_LIMIT, by the message of RFC 2292.
        const OLD_HOP_LIMIT = 1 << 10;
    }
}

impl Asked {
    /// All about times.
    pub const ANY_TIME: Self = Self::TIME.union(Self::TIME_NS).union(Self::TIMES);
    /// What connections have from their listening socket.
    pub(crate) const INHERITED: Self = Self::ANY_TIME.union(Self::TIME_NEW);
}

/// What is told with bytes of a connection; none of it where the program has not asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// How many bytes are left to read.
    pub left: Option<i32>,
    /// When the last ones came, and as what that is to be told.
    pub at: Option<(Asked, Nanos)>,
}

/// Names a socket: its index, and which of the entry's lives is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketRef {
    /// Index in the table.
    pub index: u32,
    /// The entry's life.
    pub generation: u32,
}

/// An entry. Every field is written by the holder of the stack's lock only.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Socket {
    // What a received segment looks at.
    pub(crate) kind: u8,
    /// [`Discover`] for IPv6 and IPv4.
    pub(crate) discover: [u8; 2],
    _reserved: u8,
    pub(crate) flags: u32,
    pub(crate) generation: u32,
    pub(crate) wire: u32,
    pub(crate) watches: u32,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) pending_next: u32,
    pub(crate) port_next: u32,
    // What a socket call looks at.
    pub(crate) holders: u64,
    /// When the timer wheel looks at the socket next; NEVER while it is in no slot.
    pub(crate) timer_at: Nanos,
    /// While in the flow table, and of IPv4: both ends, as frames have them.
    pub(crate) v4: V4Ends,
    pub(crate) timer_prev: u32,
    pub(crate) timer_next: u32,
    /// Links of the list that the socket is on: children of a listener, or TIME-WAIT.
    pub(crate) prev: u32,
    pub(crate) next: u32,
    /// The listening socket of a child, and of one that was accepted before its handshake was complete.
    pub(crate) parent: u32,
    /// A listener's children that are ready to be accepted.
    pub(crate) ready_head: u32,
    pub(crate) ready_tail: u32,
    /// The error that the next call reports (SO_ERROR), as `Error` + 1; 0 for none.
    pub(crate) error: u32,
    /// Process-independent name of the kernel socket behind (SO_COOKIE); 0 if not asked for yet.
    pub(crate) cookie: u64,
    /// SO_RCVTIMEO and SO_SNDTIMEO; zero for none.
    pub(crate) rcv_timeout: Nanos,
    pub(crate) snd_timeout: Nanos,
    /// Bytes that the socket may buffer, as set by SO_RCVBUF and SO_SNDBUF.
    pub(crate) rcv_buf_bytes: u32,
    pub(crate) snd_buf_bytes: u32,
    /// SO_LINGER: seconds + 1, 0 for off.
    pub(crate) linger: u32,
    /// SO_RCVLOWAT.
    pub(crate) rcv_low: u32,
    pub(crate) hop_limit: u8,
    pub(crate) tos: u8,
    /// What is to be told with each datagram, as [`Asked`].
    pub(crate) asked: u16,
    /// SO_BINDTODEVICE: the interface's index, where the flag says so.
    pub(crate) device: u32,
    pub(crate) udp: UdpQueue,
    pub(crate) tcb: Tcb,
    /// Headers as they were sent last, for segments and datagrams that differ little.
    pub(crate) template: Template,
    /// The next station, [`NONE`] on a wire between stacks.
    pub(crate) hop: u32,
    /// On a network: the station that the last segment came from, see [`Stations::other`](crate::hops::Stations::other).
    pub(crate) heard: u64,
    /// Longest IP packet that goes its way, as the route said; 0 where it said nothing.
    pub(crate) mtu: u32,
    /// F_SETOWN: whom to send SIGURG, negative for a group; 0 for nobody.
    pub(crate) owner: i32,
    /// Of a UDP socket: what the template is for.
    pub(crate) aim: Aim,
    /// IP_UNICAST_IF: the index of the interface by which datagrams leave where nothing else says it; 0 for any.
    pub(crate) leaves_by: u32,
    /// Of a UDP socket without a fixed peer: whom the way above leads to, and from which address.
    pub(crate) last: LastWay,
    /// A listener's children whose handshake is not complete; how many children it has, and how many are ready.
    pub(crate) embryo_head: u32,
    pub(crate) children: u32,
    pub(crate) ready_children: u32,
    /// Most children of a listener; of a child that came with data, the listener's generation.
    pub(crate) backlog: u32,
    /// Of a listener: connections that came with data and whose handshake is not complete, those that were reset, and
    /// when the last one was.
    pub(crate) fast_pending: u32,
    pub(crate) fast_resets: u32,
    pub(crate) fast_reset_at: Nanos,
    /// Chunk + 1 of what it has for notices; 0 for nothing.
    pub(crate) extra: u32,
    /// IP_MULTICAST_IF: the index of the interface by which datagrams to groups leave, and the address that they leave from;
    /// 0 and unspecified for what the route says.
    pub(crate) group_device: u32,
    pub(crate) group_source: Address,
    /// IPV6_MULTICAST_HOPS and IP_MULTICAST_TTL.
    pub(crate) group_hops: [u8; 2],
    _reserved2: [u8; 6],
    _reserved3: [u8; UNUSED_BYTES],
}

/// What all fields of a socket but the last take, and what is missing to a whole number of cache lines.
const USED_BYTES: usize = 192
    + size_of::<Tcb>()
    + size_of::<Template>()
    + size_of::<Aim>()
    + size_of::<LastWay>()
    + 16
    + 4
    + 4
    + 8
    + 4
    + 4
    + 8
    + 4
    + 4
    + 4
    + 4
    + 16
    + 8;
const UNUSED_BYTES: usize = USED_BYTES.next_multiple_of(64) - USED_BYTES;

/// The connection begins on a cache line, as its fields are laid out for.
const _: () = assert!(core::mem::offset_of!(Socket, holders) == 64);
const _: () = assert!(core::mem::offset_of!(Socket, tcb) == 192);

impl Socket {
    pub(crate) fn kind(&self) -> Kind {
        match self.kind {
            1 => Kind::Stream,
            2 => Kind::Listener,
            3 => Kind::Datagram,
            _ => Kind::Free,
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: SocketFlags) -> bool {
        self.flags & flags.bits() == flags.bits()
    }

    #[inline]
    pub(crate) fn set(&mut self, flags: SocketFlags, on: bool) {
        if on {
            self.flags |= flags.bits();
        } else {
            self.flags &= !flags.bits();
        }
    }

    /// Keeps the first error until somebody asks.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.error == 0 {
            self.error = error as u32 + 1;
        }
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        decode_error(core::mem::take(&mut self.error))
    }

    /// Begins a life of the entry.
    pub(crate) fn reset(&mut self, kind: Kind) {
        let generation = self.generation;
        self.zero();
        self.generation = generation;
        self.kind = kind as u8;
        self.wire = NONE;
        self.hop = NONE;
        self.watches = NONE;
        self.timer_at = Nanos::NEVER;
        self.timer_prev = NONE;
        self.timer_next = NONE;
        self.pending_next = NONE;
        self.port_next = NONE;
        self.prev = NONE;
        self.next = NONE;
        self.parent = NONE;
        self.embryo_head = NONE;
        self.ready_head = NONE;
        self.ready_tail = NONE;
        self.rcv_low = 1;
        self.hop_limit = 64;
        self.udp = UdpQueue::EMPTY;
        self.discover = [Discover::Want as u8; 2];
        self.group_hops = [1; 2];
        self.group_source = Address::UNSPECIFIED_V6;
    }

    /// Routers that a datagram to `target` may pass.
    pub(crate) fn hops_to(&self, target: &Address) -> u8 {
        if target.is_multicast() {
            self.group_hops[usize::from(target.is_v4())]
        } else {
            self.hop_limit
        }
    }

    pub(crate) fn discover(&self, is_v4: bool) -> Discover {
        Discover::of(i32::from(self.discover[usize::from(is_v4)])).unwrap_or(Discover::Want)
    }
}

pub(crate) fn decode_error(code: u32) -> Option<Error> {
    const SOME: [Error; 14] = [
        Error::Pipe,
        Error::Reset,
        Error::Refused,
        Error::TimedOut,
        Error::MessageSize,
        Error::Unreachable,
        Error::Aborted,
        Error::NetUnreachable,
        Error::NoProtocol,
        Error::HostDown,
        Error::HostIsolated,
        Error::Protocol,
        Error::Prohibited,
        Error::NoSourceRoute,
    ];
    SOME.into_iter().find(|e| *e as u32 + 1 == code)
}

impl Core<'_> {
    /// The socket that `r` names, if it still lives.
    #[inline]
    pub(crate) fn socket(&mut self, r: SocketRef) -> Result<&mut Socket> {
        match self.sockets.get_mut(r.index as usize) {
            Some(s) if s.generation == r.generation && s.kind != Kind::Free as u8 => Ok(s),
            _ => Err(Error::Stale),
        }
    }

    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> &mut Socket {
        &mut self.sockets[index as usize]
    }

    pub(crate) fn reference(&self, index: u32) -> SocketRef {
        SocketRef {
            index,
            generation: self.sockets[index as usize].generation,
        }
    }
}

/// What the socket layer asks of a socket, and tells it.
impl Stack<'_> {
    /// Whether it is a TCP socket, listening or not.
    pub fn is_stream(&mut self, r: SocketRef) -> bool {
        self.core
            .socket(r)
            .is_ok_and(|s| s.kind() != Kind::Datagram)
    }

    /// Whether it is a TCP socket that has been connected here, or tries to: the kernel's socket behind it is not.
    pub fn is_connected_stream(&mut self, r: SocketRef) -> bool {
        self.core.socket(r).is_ok_and(|s| {
            let begun =
                s.tcb.state() != sidestep_tcp::State::Closed || s.has(SocketFlags::WAS_CONNECTED);
            s.kind() == Kind::Stream && begun
        })
    }

    /// What the socket serves beside the kernel's socket behind it. None for sockets with one side only.
    pub fn served(&mut self, r: SocketRef) -> Option<Served> {
        let s = self.core.socket(r).ok()?;
        let is_tcp = match s.kind() {
            Kind::Listener => true,
            Kind::Datagram => false,
            _ => return None,
        };
        Some(Served {
            is_tcp,
            local: s.local,
            flags: SocketFlags::from_bits_retain(s.flags),
            device: s.device,
        })
    }

    /// Its flags.
    #[inline]
    pub fn flags(&mut self, r: SocketRef) -> Result<SocketFlags> {
        self.core
            .socket(r)
            .map(|s| SocketFlags::from_bits_retain(s.flags))
    }

    /// Whether calls on it block.
    #[inline]
    pub fn blocks(&mut self, r: SocketRef) -> bool {
        self.core
            .socket(r)
            .is_ok_and(|s| !s.has(SocketFlags::NONBLOCK))
    }

    /// Sets or clears flags.
    pub fn set_flags(&mut self, r: SocketRef, flags: SocketFlags, on: bool) -> Result<()> {
        self.core.forget_recent();
        self.core.socket(r).map(|s| s.set(flags, on))
    }

    /// Its local endpoint, once it is bound.
    pub fn local(&mut self, r: SocketRef) -> Result<Option<Endpoint>> {
        self.core
            .socket(r)
            .map(|s| s.has(SocketFlags::BOUND).then_some(s.local))
    }

    /// The peer of a TCP connection that is established or was, and has not failed.
    pub fn stream_peer(&mut self, r: SocketRef) -> Result<Option<Endpoint>> {
        self.core.socket(r).map(|s| {
            let state = s.tcb.state();
            (s.has(SocketFlags::WAS_CONNECTED) && state != sidestep_tcp::State::Closed)
                .then_some(s.remote)
        })
    }

    /// A connect that succeeded is told once; true the first time.
    pub fn tell_connected(&mut self, r: SocketRef) -> Result<bool> {
        let s = self.core.socket(r)?;
        let first = !s.has(SocketFlags::TOLD);
        s.set(SocketFlags::TOLD, true);
        Ok(first)
    }

    /// Takes the pending error.
    pub fn take_error(&mut self, r: SocketRef) -> Result<Option<Error>> {
        self.core.socket(r).map(Socket::take_error)
    }

    /// An error that was taken, and not told of, is to be told of with the next call. Of a connection that cannot be
    /// written to any more its state tells.
    pub fn put_back(&mut self, r: SocketRef, error: Error) {
        if let Ok(s) = self.core.socket(r)
            && error != Error::Pipe
        {
            s.fail(error);
        }
    }

    /// SO_RCVTIMEO and SO_SNDTIMEO; zero for none.
    #[inline]
    pub fn timeouts(&mut self, r: SocketRef) -> Result<(Nanos, Nanos)> {
        self.core.socket(r).map(|s| (s.rcv_timeout, s.snd_timeout))
    }

    /// Sets timeouts.
    pub fn set_timeouts(
        &mut self,
        r: SocketRef,
        rcv: Option<Nanos>,
        snd: Option<Nanos>,
    ) -> Result<()> {
        let s = self.core.socket(r)?;
        s.rcv_timeout = rcv.unwrap_or(s.rcv_timeout);
        s.snd_timeout = snd.unwrap_or(s.snd_timeout);
        Ok(())
    }

    /// SO_LINGER: seconds, or off.
    pub fn set_linger(&mut self, r: SocketRef, seconds: Option<u32>) -> Result<()> {
        self.core
            .socket(r)
            .map(|s| s.linger = seconds.map_or(0, |n| n.saturating_add(1)))
    }

    /// SO_LINGER: seconds + 1, 0 for off.
    pub fn linger(&mut self, r: SocketRef) -> Result<u32> {
        self.core.socket(r).map(|s| s.linger)
    }

    /// SO_RCVLOWAT.
    pub fn set_rcv_low(&mut self, r: SocketRef, bytes: u32) -> Result<()> {
        self.core.socket(r).map(|s| s.rcv_low = bytes.max(1))
    }

    /// SO_RCVLOWAT.
    pub fn rcv_low(&mut self, r: SocketRef) -> Result<u32> {
        self.core.socket(r).map(|s| s.rcv_low)
    }

    /// The index of the interface that the socket is bound to; 0 for none.
    pub fn device(&mut self, r: SocketRef) -> Result<u32> {
        self.core.socket(r).map(|s| s.device)
    }

    /// The index of the interface by which datagrams leave; 0 for any.
    pub fn leaves_by(&mut self, r: SocketRef) -> Result<u32> {
        let s = self.core.socket(r)?;
        Ok(if s.device == 0 { s.leaves_by } else { s.device })
    }

    /// What is to be told with each datagram.
    pub fn asked(&mut self, r: SocketRef) -> Result<Asked> {
        self.core
            .socket(r)
            .map(|s| Asked::from_bits_retain(s.asked))
    }

    /// What is to be told with bytes of a connection: how many are left to read (TCP_INQ), one at its end; and when the last
    /// ones came.
    #[inline]
    pub fn beside(&mut self, r: SocketRef) -> Beside {
        match self.core.socket(r) {
            Ok(s) if s.asked != 0 || s.has(SocketFlags::INQ) => self.beside_all(r),
            _ => Beside::default(),
        }
    }

    #[cold]
    fn beside_all(&mut self, r: SocketRef) -> Beside {
        let asks = self
            .flags(r)
            .is_ok_and(|flags| flags.contains(SocketFlags::INQ));
        let asked = self.asked(r).unwrap_or(Asked::empty());
        let len = self.recv_len(r).unwrap_or(0);
        let left = i32::try_from(len).unwrap_or(i32::MAX);
        let at = self.core.at(r.index).tcb.last_data_received();
        let ended = left == 0 && self.at_end(r);
        Beside {
            left: asks.then_some(left + i32::from(ended)),
            at: asked.intersects(Asked::ANY_TIME).then_some((asked, at)),
        }
    }

    /// Asks to be told something with each datagram, or no longer.
    pub fn ask(&mut self, r: SocketRef, what: Asked, on: bool) -> Result<()> {
        let s = self.core.socket(r)?;
        let mut asked = Asked::from_bits_retain(s.asked);
        asked.set(what, on);
        s.asked = asked.bits();
        self.core.forget_recent();
        Ok(())
    }

    /// IP_UNICAST_IF: datagrams leave by that interface, or by any (0), if the socket is not bound to one.
    pub fn set_leaves_by(&mut self, r: SocketRef, device: u32) -> Result<()> {
        let s = self.core.socket(r)?;
        s.leaves_by = device;
        s.last.forget();
        s.template.forget();
        Ok(())
    }

    /// By which interface and from which address datagrams to groups leave; 0 and unspecified for what the route says.
    pub fn set_group_device(&mut self, r: SocketRef, device: u32, source: Address) -> Result<()> {
        let s = self.core.socket(r)?;
        (s.group_device, s.group_source) = (device, source);
        s.last.forget();
        Ok(())
    }

    /// How many routers datagrams to groups of that family may pass.
    pub fn set_group_hops(&mut self, r: SocketRef, is_v4: bool, hops: u8) -> Result<()> {
        self.core.socket(r)?.group_hops[usize::from(is_v4)] = hops;
        Ok(())
    }

    /// How datagrams to a group leave: by which interface, and from which address, as
    /// [`set_group_device`](Self::set_group_device) has it. None where members on this host get them, too.
    pub fn leaves_to_group(&mut self, r: SocketRef, is_v4: bool) -> Result<Option<(u32, Address)>> {
        let s = self.core.socket(r)?;
        let alone = s.has(if is_v4 {
            SocketFlags::NO_LOOP
        } else {
            SocketFlags::NO_LOOP6
        });
        let far = s.group_hops[usize::from(is_v4)] > 0;
        let device = if s.device == 0 {
            s.group_device
        } else {
            s.device
        };
        Ok((alone && far).then_some((device, s.group_source)))
    }

    /// Binds the socket to an interface, or to none (0): it hears what comes by that one only.
    pub fn set_device(&mut self, r: SocketRef, device: u32) -> Result<()> {
        let s = self.core.socket(r)?;
        s.device = device;
        s.last.forget();
        s.template.forget();
        s.set(SocketFlags::DEVICE, device != 0);
        self.core.forget_recent();
        Ok(())
    }

    /// Type of service and hop limit of packets sent.
    pub fn ip(&mut self, r: SocketRef) -> Result<(u8, u8)> {
        self.core.socket(r).map(|s| (s.tos, s.hop_limit))
    }

    /// Bytes that the socket may buffer: to receive, to send. Those of a connection grow as it needs them.
    pub fn buffers(&mut self, r: SocketRef) -> Result<(u32, u32)> {
        self.core.socket(r).map(|s| {
            if s.tcb.state() == sidestep_tcp::State::Closed {
                (s.rcv_buf_bytes, s.snd_buf_bytes)
            } else {
                (s.tcb.rcv_buf(), s.tcb.snd_buf())
            }
        })
    }

    /// Sets how much the socket may buffer, within bounds.
    pub fn set_buffers(&mut self, r: SocketRef, rcv: Option<u32>, snd: Option<u32>) -> Result<()> {
        let s = self.core.socket(r)?;
        if let Some(bytes) = rcv {
            s.rcv_buf_bytes = bytes.clamp(BUFFER_LEAST, BUFFER_MOST);
            s.tcb.set_rcv_buf(s.rcv_buf_bytes);
        }
        if let Some(bytes) = snd {
            s.snd_buf_bytes = bytes.clamp(SEND_BUFFER_LEAST, BUFFER_MOST);
            s.tcb.set_snd_buf(s.snd_buf_bytes);
        }
        Ok(())
    }

    /// Type of service and hop limit of packets sent.
    pub fn set_ip(&mut self, r: SocketRef, tos: Option<u8>, hop_limit: Option<u8>) -> Result<()> {
        let s = self.core.socket(r)?;
        s.tos = tos.unwrap_or(s.tos);
        s.hop_limit = hop_limit.unwrap_or(s.hop_limit);
        s.template.forget();
        Ok(())
    }

    /// Whether nothing more will be received.
    pub fn at_end(&mut self, r: SocketRef) -> bool {
        self.core.socket(r).map_or(true, |s| {
            s.error != 0
                || s.has(SocketFlags::SHUT_READ)
                || s.tcb.peer_closed()
                || s.tcb.state() == sidestep_tcp::State::Closed
        })
    }

    /// Whether the peer has acknowledged all that was sent, and our FIN.
    pub fn is_drained(&mut self, r: SocketRef) -> bool {
        use sidestep_tcp::State::{Closed, FinWait2, TimeWait};
        self.core.socket(r).map_or(true, |s| {
            matches!(s.tcb.state(), Closed | FinWait2 | TimeWait)
        })
    }
}

/// Bounds of what SO_RCVBUF and SO_SNDBUF may ask for, in bytes.
const BUFFER_LEAST: u32 = 4 << 10;
/// As Linux (`SOCK_MIN_SNDBUF`).
const SEND_BUFFER_LEAST: u32 = 4608;
const BUFFER_MOST: u32 = 8 << 20;
