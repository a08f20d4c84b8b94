//! UDP: queues of datagrams, and the ways to peers.
//!
//! A queued datagram lies in a chain of chunks. The first begins with a [`Preamble`]; its `tag` links to the next
//! datagram's first chunk, its `aux` is the payload's length.

use crate::complaints::Discover;
use crate::hops::Way;
use crate::input::Packet;
use crate::memory::{Core, ROUTE_HINTS, Stack};
use crate::networks::ip_header_bytes;
use crate::output::Path;
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::wires::Wire;
use crate::{Address, Endpoint, Error, Ready, Result};
use sidestep_nic::Port;
use sidestep_shm::{CHUNK_BYTES, ChunkPool, Foreign, ForeignMut, NONE, Nanos, Steps, Use};
use sidestep_wire::udp;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most bytes in a datagram's payload (IPv4).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 65_507;
/// What a queued datagram counts for beside its payload, as the kernel counts its own buffers.
const OVERHEAD_BYTES: u32 = 512;

/// What is known of a queued datagram.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Preamble {
    source: Endpoint,
    target: Address,
    tos: u8,
    hop_limit: u8,
    device: u32,
    at: Nanos,
}

/// Received datagrams that wait for the program.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct UdpQueue {
    head: u32,
    tail: u32,
    datagrams: u32,
    /// Payload and overhead of all.
    bytes: u32,
}

/// A remembered way to a peer: the wire that its last datagram came over.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RouteHint {
    peer: Endpoint,
    _reserved: u16,
    /// Index + 1; 0 for none.
    wire: u32,
    hop: u32,
}

/// What was last sent to over a network; zeroed memory is nothing.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LastWay {
    to: Endpoint,
    source: Address,
    _reserved: u16,
    /// The stack's count of changes when it was found; 0 for none.
    ways: u32,
}

impl LastWay {
    pub(crate) const fn forget(&mut self) {
        self.ways = 0;
    }
}

/// A datagram as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub source: Endpoint,
    /// The address that it was sent to.
    pub target: Address,
    /// Bytes copied out.
    pub copied: usize,
    /// Bytes that it had.
    pub len: usize,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Routers that it could still have passed.
    pub hop_limit: u8,
    /// The index of the interface that it came by; 0 where it came by a wire between stacks.
    pub device: u32,
    /// When it came.
    pub at: Nanos,
}

/// How a datagram leaves, where that is not as its socket says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Type of service, or traffic class.
    pub tos: Option<u8>,
    /// Routers that it may pass.
    pub hop_limit: Option<u8>,
}

impl UdpQueue {
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        datagrams: 0,
        bytes: 0,
    };

    pub(crate) const fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    pub(crate) const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The payload's length of the first datagram.
    pub(crate) fn first_len(&self, pool: &ChunkPool<'_>) -> usize {
        if self.head == NONE {
            0
        } else {
            pool.meta(self.head).aux as usize
        }
    }

    fn push(
        &mut self,
        pool: &mut ChunkPool<'_>,
        preamble: &Preamble,
        payload: Foreign<'_>,
    ) -> bool {
        let Some(first) = pool.alloc(Use::Receive) else {
            return false;
        };
        pool.fill(first, preamble.as_bytes().into());
        let mut rest = payload.skip(pool.fill(first, payload));
        let mut last = first;
        while !rest.is_empty() {
            let Some(id) = pool.alloc(Use::Receive) else {
                free_chain(pool, first);
                return false;
            };
            rest = rest.skip(pool.fill(id, rest));
            pool.meta_mut(last).next = id;
            last = id;
        }
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let meta = pool.meta_mut(first);
        (meta.tag, meta.aux) = (NONE, len);
        if self.tail == NONE {
            self.head = first;
        } else {
            pool.meta_mut(self.tail).tag = first;
        }
        self.tail = first;
        self.datagrams += 1;
        self.bytes += len + OVERHEAD_BYTES;
        true
    }

    /// Copies the first datagram out; takes it off the queue unless `peek`.
    fn read(
        &mut self,
        pool: &mut ChunkPool<'_>,
        parts: &mut [ForeignMut<'_>],
        peek: bool,
    ) -> Option<Datagram> {
        let first = (self.head != NONE).then_some(self.head)?;
        let meta = *pool.meta(first);
        let (preamble, _) = Preamble::read_from_prefix(pool.bytes(first)).ok()?;
        let mut copied = 0;
        let (mut id, mut skip) = (first, size_of::<Preamble>());
        let (mut part, mut filled) = (0, 0);
        let mut steps = Steps::new(pool.capacity() + parts.len());
        while id != NONE && part < parts.len() {
            steps.step();
            let bytes = &pool.bytes(id)[skip..];
            let n = parts[part].skip(filled).copy_from(bytes);
            copied += n;
            filled += n;
            skip += n;
            if n == bytes.len() {
                (id, skip) = (pool.meta(id).next, 0);
            }
            if filled == parts[part].len() {
                (part, filled) = (part + 1, 0);
            }
        }
        if !peek {
            self.pop(pool);
        }
        Some(Datagram {
            source: preamble.source,
            target: preamble.target,
            copied,
            len: meta.aux as usize,
            tos: preamble.tos,
            hop_limit: preamble.hop_limit,
            device: preamble.device,
            at: preamble.at,
        })
    }

    fn pop(&mut self, pool: &mut ChunkPool<'_>) {
        let meta = *pool.meta(self.head);
        free_chain(pool, self.head);
        self.head = meta.tag;
        if self.head == NONE {
            self.tail = NONE;
        }
        self.datagrams -= 1;
        self.bytes -= meta.aux + OVERHEAD_BYTES;
    }

    pub(crate) fn clear(&mut self, pool: &mut ChunkPool<'_>) {
        let mut steps = pool.steps();
        while self.datagrams > 0 {
            steps.step();
            self.pop(pool);
        }
    }
}

fn free_chain(pool: &mut ChunkPool<'_>, first: u32) {
    let mut id = first;
    let mut steps = pool.steps();
    while id != NONE {
        steps.step();
        let next = pool.meta(id).next;
        pool.free(id);
        id = next;
    }
}

impl Stack<'_> {
    /// A new UDP socket held by `slot`.
    pub fn new_datagram(&mut self, flags: SocketFlags, slot: u32) -> Result<SocketRef> {
        let index = self.core.alloc_socket(Kind::Datagram)?;
        let rcv_buf_bytes = self.core.header.rcv_buf_bytes;
        let s = self.core.at(index);
        s.set(flags, true);
        s.rcv_buf_bytes = rcv_buf_bytes;
        self.core.hold(index, slot);
        Ok(self.core.reference(index))
    }

    /// Fixes the peer of a UDP socket (`None`: no more), and the way to it.
    pub fn connect_datagram<W: Into<Way>>(
        &mut self,
        r: SocketRef,
        peer: Option<(Endpoint, W)>,
    ) -> Result<()> {
        let nobody = (Endpoint::new(Address::UNSPECIFIED_V6, 0), Way::from(NONE));
        let is_connected = peer.is_some();
        let (remote, way) = peer.map_or(nobody, |(remote, way)| (remote, way.into()));
        let s = self.core.socket(r)?;
        s.set(SocketFlags::CONNECTED, is_connected);
        s.remote = remote;
        s.last.forget();
        self.core.forget_recent();
        self.core.set_way(r.index, way);
        Ok(())
    }

    /// The peer of a connected UDP socket, and the way to it.
    pub fn datagram_peer(&mut self, r: SocketRef) -> Result<Option<(Endpoint, Way)>> {
        let s = self.core.socket(r)?;
        Ok(s.has(SocketFlags::CONNECTED).then_some((
            s.remote,
            Way {
                wire: s.wire,
                hop: s.hop,
                mtu: s.mtu,
            },
        )))
    }

    /// The way over a network that a datagram to `target` went last, and its source address; none where that has changed
    /// since, or another went another way.
    pub fn last_way(&mut self, r: SocketRef, target: &Endpoint) -> Option<(Way, Address)> {
        let ways = self.core.header.ways;
        let s = self.core.socket(r).ok()?;
        if s.last.ways == 0 || s.last.ways != ways || s.last.to != *target {
            return None;
        }
        let (source, way) = (
            s.last.source,
            Way {
                wire: s.wire,
                hop: s.hop,
                mtu: s.mtu,
            },
        );
        let open = self.wires.get(way.wire as usize).is_some_and(Wire::is_open);
        (open && self.core.is_current(&way)).then_some((way, source))
    }

    /// Remembers the way of a datagram over a network, for the next one.
    pub fn remember_way(
        &mut self,
        r: SocketRef,
        target: &Endpoint,
        (way, source): (Way, Address),
    ) -> Result<()> {
        let ways = self.core.header.ways.max(1);
        self.core.header.ways = ways;
        let s = self.core.socket(r)?;
        if s.has(SocketFlags::CONNECTED) || way.hop == NONE {
            return Ok(());
        }
        s.last = LastWay {
            to: *target,
            source,
            _reserved: 0,
            ways,
        };
        self.core.set_way(r.index, way);
        Ok(())
    }

    /// What leads where on networks has changed: ways are to be asked for anew.
    pub const fn forget_ways(&mut self) {
        let ways = self.core.header.ways;
        self.core.header.ways = if ways == u32::MAX { 1 } else { ways + 1 };
    }

    /// Sends a datagram from `source` to `target` the given `way`. A link without room drops it, as networks do, and so
    /// does a station that is not known yet.
    pub fn send_to(
        &mut self,
        now: Nanos,
        r: SocketRef,
        addresses: (Endpoint, Endpoint),
        way: impl Into<Way>,
        payload: &[Foreign<'_>],
    ) -> Result<usize> {
        self.send_as(now, r, addresses, way, None, payload)
    }

    /// As [`send_to`](Self::send_to), `leaving` otherwise than the socket says, or from another address.
    pub fn send_as(
        &mut self,
        now: Nanos,
        r: SocketRef,
        addresses: (Endpoint, Endpoint),
        way: impl Into<Way>,
        leaving: Option<Leaving>,
        payload: &[Foreign<'_>],
    ) -> Result<usize> {
        self.core.advance(now);
        let way = way.into();
        let wire = way.wire;
        let s = self.core.socket(r)?;
        if let Some(error) = s.take_error() {
            return Err(error);
        }
        if s.has(SocketFlags::SHUT_WRITE) {
            return Err(Error::Pipe);
        }
        let (source, target) = addresses;
        let other = leaving.unwrap_or_default();
        let mut path = Path {
            src: source.addr,
            dst: target.addr,
            hop_limit: other.hop_limit.unwrap_or_else(|| s.hops_to(&target.addr)),
            tos: other.tos.unwrap_or(s.tos),
            ident: 0,
        };
        let discover = s.discover(target.addr.is_v4());
        let len: usize = payload.iter().map(Foreign::len).sum();
        let entry = self
            .wires
            .get_mut(wire as usize)
            .filter(|w| w.is_open())
            .ok_or(Error::NoWay)?;
        let Some(mut port) = self.links.port(wire, entry, &mut self.faults, now) else {
            return Err(Error::NoWay);
        };
        let headers = ip_header_bytes(&target.addr) + udp::HEADER_BYTES;
        let route = (wire, way.hop, way.mtu);
        let packet_max = self.core.longest_packet(route, &target.addr);
        if len > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let is_long = len + headers > packet_max;
        if discover != Discover::Want || is_long {
            let rule = (discover, way, packet_max);
            path.ident = self.core.fit(r.index, &target, rule, len + headers)?;
        }
        let ports = (source.port, target.port);
        let sent = self.core.stations(way.hop).is_some_and(|stations| {
            self.core
                .transmit_datagram(&mut port, stations, &path, ports, payload)
        });
        if !sent {
            self.core.counters.udp_tx_full += 1;
        }
        port.tx_flush();
        if sent && way.hop == NONE && leaving.is_none() {
            self.core.aim(r.index, (&path, ports), wire, packet_max);
        }
        Ok(len)
    }

    /// Takes the next datagram: what fits into `parts`, the rest is dropped.
    pub fn recv_from(
        &mut self,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        peek: bool,
    ) -> Result<Datagram> {
        let core = &mut self.core;
        let s = core.socket(r)?;
        if let Some(error) = s.take_error() {
            return Err(error);
        }
        let s = &mut core.sockets[r.index as usize];
        let read = s.udp.read(&mut core.pool, parts, peek);
        read.ok_or(Error::WouldBlock)
    }

    /// Whether a datagram waits to be taken.
    #[inline]
    pub fn has_datagrams(&mut self, r: SocketRef) -> bool {
        self.core.socket(r).is_ok_and(|s| !s.udp.is_empty())
    }

    /// Whether the receiving side was shut down. As in Linux datagrams still arrive, but nobody waits for them.
    pub fn is_shut_for_reading(&mut self, r: SocketRef) -> bool {
        let shut = self.core.socket(r);
        shut.is_ok_and(|s| s.has(SocketFlags::SHUT_READ))
    }

    /// The way that the last datagram from `peer` came.
    pub fn route_hint(&self, peer: &Endpoint) -> Option<Way> {
        let hint = &self.core.routes[self.core.route_place(peer)];
        let wire = hint.wire.checked_sub(1).filter(|_| hint.peer == *peer)?;
        let open = self.wires.get(wire as usize).filter(|w| w.is_open());
        open.map(|_| Way {
            hop: hint.hop,
            ..Way::from(wire)
        })
    }
}

impl Core<'_> {
    pub(crate) fn on_datagram(
        &mut self,
        index: u32,
        packet: &Packet<'_>,
        local: Endpoint,
        remote: Endpoint,
        payload: Foreign<'_>,
    ) {
        self.remember_route(&remote, packet.wire);
        let device = self.device_of(packet.wire);
        let asked = self.at(index).asked;
        // The short way tells nothing of how a datagram came.
        if self.group(packet.wire) == 0 && asked == 0 {
            self.remember_recent(index, packet.wire, local, remote);
        }
        let marks = (packet.ip.tos, packet.ip.hop_limit);
        self.queue_datagram(index, (device, marks), (local, remote), payload);
    }

    /// Queues a datagram that came by interface `device`, with that type of service and hop limit.
    pub(crate) fn queue_datagram(
        &mut self,
        index: u32,
        (device, (tos, hop_limit)): (u32, (u8, u8)),
        (local, remote): (Endpoint, Endpoint),
        payload: Foreign<'_>,
    ) {
        let at = self.now();
        let s = &mut self.sockets[index as usize];
        let full = s.udp.bytes() as usize + payload.len() + OVERHEAD_BYTES as usize
            > s.rcv_buf_bytes as usize;
        let preamble = Preamble {
            source: remote,
            target: local.addr,
            tos,
            hop_limit,
            device,
            at,
        };
        if full || !s.udp.push(&mut self.pool, &preamble, payload) {
            self.counters.udp_rx_full += 1;
            return;
        }
        self.counters.udp_rx_datagrams += 1;
        self.notify(index, Ready::IN | Ready::RDNORM);
    }

    fn route_place(&self, peer: &Endpoint) -> usize {
        self.flow_hash(&Endpoint::new(Address::UNSPECIFIED_V6, 0), peer) as usize % ROUTE_HINTS
    }

    /// Remembers the way that the frame in hand came.
    fn remember_route(&mut self, peer: &Endpoint, wire: u32) {
        let place = self.route_place(peer);
        let hint = self.routes[place];
        let same_way = match self.group(wire) {
            0 => hint.hop == NONE,
            _ => self.leads_back(hint.hop),
        };
        if hint.wire == wire + 1 && hint.peer == *peer && same_way {
            return;
        }
        let Some(way) = self.way_back(wire) else {
            return;
        };
        self.hold_hop(way.hop);
        self.clear_route(place);
        self.routes[place] = RouteHint {
            peer: *peer,
            _reserved: 0,
            wire: way.wire + 1,
            hop: way.hop,
        };
    }

    fn clear_route(&mut self, place: usize) {
        self.routes_changed();
        let hint = &mut self.routes[place];
        if core::mem::take(&mut hint.wire) != 0 {
            let hop = core::mem::replace(&mut hint.hop, NONE);
            self.release_hop(hop);
        }
    }

    /// A peer was found not to be there.
    pub(crate) fn forget_route(&mut self, peer: &Endpoint) {
        self.routes_changed();
        let place = self.route_place(peer);
        if self.routes[place].peer == *peer {
            self.clear_route(place);
        }
    }

    /// A wire is gone: the ways over it lead over another queue of its network, if there is one.
    pub(crate) fn move_routes(&mut self, wire: u32, other: Option<u32>) {
        self.routes_changed();
        for place in 0..self.routes.len() {
            if self.routes[place].wire == wire + 1 {
                match other {
                    Some(other) => self.routes[place].wire = other + 1,
                    None => self.clear_route(place),
                }
            }
        }
    }
}

const _: () = assert!(size_of::<Preamble>() < CHUNK_BYTES / 2);
