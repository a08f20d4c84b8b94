//! Stacks in one process, joined by wires, in virtual time. Every test ends with [`Net::finish`] or
//! [`Node::assert_as_at_first`]: nothing may be left.

use sidestep_nic::Port;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Foreign, Nanos, Owner, Region};
use sidestep_stack::{
    Accepted, Address, Config, Counters, Datagram, Endpoint, NetworkSetup, Result, SetRef,
    SharedStack, SocketFlags, SocketRef, Stack, WireKind, WireSetup, create_private,
};
use sidestep_wire::Mac;
use std::sync::Arc;

/// Where virtual time begins.
const BEGIN: Nanos = Nanos::from_secs(1_000);
/// Rounds of polls after which a net that is not quiet is stuck.
const ROUNDS_MAX: usize = 10_000;

pub(crate) const ADDR_A: Address = Address::from_v4([10, 0, 0, 1]);
pub(crate) const ADDR_B: Address = Address::from_v4([10, 0, 0, 2]);
/// The port that B serves.
pub(crate) const PORT: u16 = 80;

pub(crate) const fn at_a(port: u16) -> Endpoint {
    Endpoint::new(ADDR_A, port)
}

pub(crate) const fn at_b(port: u16) -> Endpoint {
    Endpoint::new(ADDR_B, port)
}

/// A small stack.
pub(crate) fn config() -> Config {
    Config {
        name: "test".to_owned(),
        id: 1,
        netns: 1,
        sockets_max: 64,
        chunks_max: 1024,
        secret: 0x1234_5678_9abc_def0,
        syn_cookies: true,
        fast_open: 3,
        ..Config::default()
    }
}

/// What a stack has in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) sockets: u32,
    pub(crate) chunks: u32,
    pub(crate) watches: u32,
    pub(crate) sets: u32,
}

/// A stack with one process in it.
pub(crate) struct Node {
    shared: SharedStack,
    pub(crate) slot: u32,
    at_first: Usage,
    pub(crate) now: Nanos,
}

impl Node {
    pub(crate) fn new(config: &Config) -> Self {
        let shared = create_private(config).unwrap();
        let mut node = Self {
            shared,
            slot: 0,
            at_first: Usage {
                sockets: 0,
                chunks: 0,
                watches: 0,
                sets: 0,
            },
            now: BEGIN,
        };
        node.slot = node.with(|s| s.take_slot(std::process::id())).unwrap();
        node.poll();
        node.at_first = node.usage();
        node
    }

    /// Runs `f` with the lock held.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Stack<'static>) -> T) -> T {
        let pid = std::process::id();
        let owner = Owner {
            slot: self.slot,
            pid,
        };
        f(&mut self.shared.lock(owner).unwrap())
    }

    pub(crate) const fn region(&self) -> &Region {
        self.shared.region()
    }

    pub(crate) fn poll(&self) -> usize {
        self.with(|s| s.poll(self.now))
    }

    pub(crate) fn usage(&self) -> Usage {
        let report = self.with(|s| s.report());
        Usage {
            sockets: report.sockets_used.0,
            chunks: report.chunks_used.0,
            watches: report.watches_used,
            sets: report.sets_used,
        }
    }

    pub(crate) fn assert_as_at_first(&self) {
        let sockets = self.with(|s| s.report().sockets);
        assert_eq!(self.usage(), self.at_first, "left: {sockets:#?}");
    }

    pub(crate) fn counters(&self) -> Counters {
        self.with(|s| *s.counters())
    }

    pub(crate) fn stream(&self) -> SocketRef {
        self.with(|s| s.new_stream(SocketFlags::NONBLOCK, self.slot))
            .unwrap()
    }

    pub(crate) fn listener(&self, local: Endpoint, backlog: u32) -> SocketRef {
        let r = self.stream();
        self.with(|s| {
            s.bind(r, local)?;
            s.listen(r, backlog)
        })
        .unwrap();
        r
    }

    pub(crate) fn datagram(&self, local: Endpoint) -> SocketRef {
        self.with(|s| {
            let r = s.new_datagram(SocketFlags::NONBLOCK, self.slot)?;
            s.bind(r, local).map(|()| r)
        })
        .unwrap()
    }

    pub(crate) fn connect(&self, ends: (Endpoint, Endpoint), wire: u32) -> SocketRef {
        let r = self.stream();
        self.with(|s| s.connect(self.now, r, ends, wire)).unwrap();
        r
    }

    pub(crate) fn accept(&self, listener: SocketRef) -> Result<Accepted> {
        self.with(|s| s.accept(listener, self.slot))
    }

    pub(crate) fn send(&self, r: SocketRef, bytes: &[u8]) -> Result<usize> {
        self.with(|s| match s.send_at_once(self.now, r, bytes.into()) {
            Some(sent) => Ok(sent),
            None => s.send(self.now, r, &[bytes.into()], false),
        })
    }

    /// Up to `bytes_max` received bytes.
    pub(crate) fn recv(&self, r: SocketRef, bytes_max: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; bytes_max];
        let n = self.with(|s| s.recv_new(self.now, r, &mut [(&mut bytes[..]).into()], false))?;
        bytes.truncate(n);
        Ok(bytes)
    }

    pub(crate) fn send_to(
        &self,
        r: SocketRef,
        ends: (Endpoint, Endpoint),
        wire: u32,
        bytes: &[u8],
    ) -> Result<usize> {
        self.with(|s| s.send_to(self.now, r, ends, wire, &[bytes.into()]))
    }

    /// The next datagram, at most `bytes_max` bytes of it.
    pub(crate) fn recv_from(&self, r: SocketRef, bytes_max: usize) -> Result<(Vec<u8>, Datagram)> {
        let mut bytes = vec![0; bytes_max];
        let datagram = self.with(|s| s.recv_from(r, &mut [(&mut bytes[..]).into()], false))?;
        bytes.truncate(datagram.copied);
        Ok((bytes, datagram))
    }

    pub(crate) fn close(&self, r: SocketRef) {
        self.with(|s| s.close(self.now, r, self.slot));
    }

    /// States of all TCP and UDP sockets, sorted.
    pub(crate) fn states(&self) -> Vec<&'static str> {
        let report = self.with(|s| s.report());
        let mut states: Vec<_> = report.sockets.iter().map(|s| s.state).collect();
        states.sort_unstable();
        states
    }

    /// What a set reports, at most `max` members.
    pub(crate) fn collect(&self, set: SetRef, max: usize) -> Vec<(sidestep_stack::Ready, u64)> {
        let mut told = Vec::new();
        let n = self.with(|s| s.set_collect(set, max, |ready, data| told.push((ready, data))));
        assert_eq!(n, Ok(told.len()));
        told
    }

    pub(crate) fn take_wakes(&self) -> u64 {
        self.with(Stack::take_wakes)
    }

    /// Adds and attaches one end of a wire over `region`.
    pub(crate) fn plug(
        &self,
        region: &Arc<Region>,
        geometry: &Geometry,
        (id, role): (u64, Role),
    ) -> u32 {
        let setup = WireSetup {
            id,
            peer_stack: id,
            geometry: *geometry,
            role,
        };
        self.with(|s| {
            let index = s.add_wire(&setup).unwrap();
            let open = s.unattached_wire().unwrap();
            let kind = WireKind::Memif {
                peer_stack: id,
                role,
                geometry: *geometry,
            };
            assert_eq!((open.index, open.id, open.kind), (index, id, kind));
            s.attach_wire(index, open.generation, attachment(region, geometry, role));
            assert!(s.unattached_wire().is_none());
            index
        })
    }
}

pub(crate) fn attachment(region: &Arc<Region>, geometry: &Geometry, role: Role) -> Attachment {
    let doorbell = EventFd::new().unwrap();
    Attachment::for_wire(Arc::clone(region), geometry, role, doorbell).unwrap()
}

/// The end of a wire in the hands of a test.
pub(crate) struct Tap {
    state: State,
    at: Attachment,
}

impl Tap {
    /// A wire from `node` to the test; its index in the node.
    pub(crate) fn new(node: &Node, id: u64) -> (Self, u32) {
        let geometry = Geometry::default();
        let region = Arc::new(wire::create(&geometry).unwrap());
        let index = node.plug(&region, &geometry, (id, Role::Slave));
        let tap = Self {
            state: State::new(Role::Master, &geometry),
            at: attachment(&region, &geometry, Role::Master),
        };
        (tap, index)
    }

    /// A network of `node`, where it is `station`, with the test at the other end; its index in the node.
    pub(crate) fn network(node: &Node, station: Mac) -> (Self, u32) {
        Self::on(node, (9, 1), station)
    }

    /// The queue with that number of network 1.
    pub(crate) fn queue(node: &Node, number: u64, station: Mac) -> (Self, u32) {
        Self::on(node, (100 + number, 1), station)
    }

    /// A queue with an identity, of a network with one.
    pub(crate) fn on(node: &Node, ids: (u64, u64), station: Mac) -> (Self, u32) {
        Self::with(node, ids, station, (1500, &Geometry::default()))
    }

    /// As [`on`](Self::on), of an interface with that MTU whose queues have that geometry.
    pub(crate) fn with(
        node: &Node,
        (id, network): (u64, u64),
        station: Mac,
        (mtu, geometry): (u32, &Geometry),
    ) -> (Self, u32) {
        let setup = NetworkSetup {
            device: 7,
            id,
            network,
            station,
            mtu,
            unfinished_checksums: false,
            port: State::new(Role::Slave, geometry).into(),
        };
        Self::of(node, setup, geometry)
    }

    /// A virtual cable to a kernel that leaves checksums unfinished.
    pub(crate) fn virtual_cable(node: &Node, station: Mac) -> (Self, u32) {
        let geometry = Geometry::default();
        let setup = NetworkSetup {
            id: 9,
            device: 7,
            network: 1,
            station,
            mtu: 1500,
            unfinished_checksums: true,
            port: State::new(Role::Slave, &geometry).into(),
        };
        Self::of(node, setup, &geometry)
    }

    fn of(node: &Node, setup: NetworkSetup, geometry: &Geometry) -> (Self, u32) {
        let region = Arc::new(wire::create(geometry).unwrap());
        let index = node.with(|s| {
            let index = s.add_network(setup).unwrap();
            let open = s.unattached_wire().unwrap();
            let own = attachment(&region, geometry, Role::Slave);
            s.attach_wire(index, open.generation, own);
            index
        });
        let tap = Self {
            state: State::new(Role::Master, geometry),
            at: attachment(&region, geometry, Role::Master),
        };
        (tap, index)
    }

    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        Memif::new(&mut self.state, &self.at).rx_batch(256, |frame: Foreign<'_>| {
            let mut bytes = vec![0; frame.len()];
            frame.copy_to(&mut bytes);
            frames.push(bytes);
        });
        frames
    }

    pub(crate) fn give(&mut self, frame: &[u8]) {
        let mut port = Memif::new(&mut self.state, &self.at);
        assert!(port.tx(frame.len(), |mut room| {
            room.copy_from(frame);
        }));
        port.tx_flush();
    }
}

/// Two stacks and a wire between them.
pub(crate) struct Net {
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) wire_a: u32,
    pub(crate) wire_b: u32,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self::with(&config(), &config())
    }

    pub(crate) fn with(a: &Config, b: &Config) -> Self {
        let (a, b) = (Node::new(a), Node::new(b));
        let geometry = Geometry::default();
        let region = Arc::new(wire::create(&geometry).unwrap());
        let wire_a = a.plug(&region, &geometry, (7, Role::Slave));
        let wire_b = b.plug(&region, &geometry, (7, Role::Master));
        Self {
            a,
            b,
            wire_a,
            wire_b,
        }
    }

    /// Polls both until nothing moves.
    pub(crate) fn settle(&self) {
        for _ in 0..ROUNDS_MAX {
            if self.a.poll() + self.b.poll() == 0 {
                return;
            }
        }
        panic!("the net does not come to rest");
    }

    /// Lets time go on, stopping wherever a stack says that it has something to do.
    pub(crate) fn advance(&mut self, span: Nanos) {
        let until = self.a.now + span;
        while self.a.now < until {
            let due = [&self.a, &self.b].map(|n| n.with(|s| s.next_timer()));
            let next = due[0].min(due[1]).max(self.a.now + Nanos(1)).min(until);
            (self.a.now, self.b.now) = (next, next);
            self.settle();
        }
    }

    /// A connection from port `port` of A to `listener` at [`PORT`] of B: both ends.
    pub(crate) fn pair(&self, listener: SocketRef, port: u16) -> (SocketRef, SocketRef) {
        let client = self.a.connect((at_a(port), at_b(PORT)), self.wire_a);
        self.settle();
        let accepted = self.b.accept(listener).unwrap();
        assert_eq!((accepted.local, accepted.remote), (at_b(PORT), at_a(port)));
        (client, accepted.socket)
    }

    /// Outlives TIME-WAIT; then nothing may be left.
    pub(crate) fn finish(mut self) {
        self.advance(Nanos::from_secs(3));
        self.a.assert_as_at_first();
        self.b.assert_as_at_first();
    }
}
