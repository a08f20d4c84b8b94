//! One stack of the two, with the cable's end of its only queue.

use sidestep_nic::Port as _;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Foreign, Nanos, Owner};
use sidestep_stack::{
    Address, Config, Endpoint, FastKeys, FastRules, NetworkSetup, NextHop, Ready, SetRef,
    SharedStack, SocketRef, Stack, Way, create_private,
};
use sidestep_wire::Mac;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// What a stack has in use: sockets, chunks, watches, sets.
pub(crate) type Usage = (u32, u32, u32, u32);

/// A socket of the program.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) r: SocketRef,
    /// Bytes written to a stream, and read.
    pub(crate) written: u32,
    pub(crate) read: u32,
}

/// A set, and its members: socket, descriptor, whether told of for as long as it is ready.
pub(crate) struct Watched {
    pub(crate) set: SetRef,
    pub(crate) members: Vec<(SocketRef, i32, Ready)>,
}

pub(crate) struct End {
    shared: SharedStack,
    pub(crate) slot: u32,
    port: State,
    at: Attachment,
    pub(crate) wire: u32,
    pub(crate) station: Mac,
    pub(crate) addresses: [Address; 2],
    pub(crate) held: Vec<Held>,
    pub(crate) sets: Vec<Watched>,
    /// Slots of children.
    pub(crate) children: Vec<u32>,
    pub(crate) waiters: Vec<u32>,
    pub(crate) next_port: u16,
    at_first: Usage,
}

/// The slots and buffers of the queue.
fn geometry() -> Geometry {
    Geometry::wire(8, 2048).unwrap()
}

impl End {
    pub(crate) fn new(number: u8, now: Nanos) -> Self {
        let shared = create_private(&Config {
            name: "whole".to_owned(),
            id: u64::from(number),
            netns: 1,
            sockets_max: 24,
            chunks_max: 200,
            secret: 77 + u64::from(number),
            snd_buf_bytes: 60_000,
            rcv_buf_bytes: 60_000,
            syn_cookies: number == 1,
            fast_open: FastRules::CLIENT | FastRules::SERVER,
            ..Config::default()
        })
        .unwrap();
        let geometry = geometry();
        let region = Arc::new(wire::create(&geometry).unwrap());
        let end = |role| {
            let doorbell = EventFd::new().unwrap();
            Attachment::for_wire(Arc::clone(&region), &geometry, role, doorbell).unwrap()
        };
        let station = Mac([2, 0, 0, 0, 0, number]);
        let mut this = Self {
            shared,
            slot: 0,
            port: State::new(Role::Master, &geometry),
            at: end(Role::Master),
            wire: 0,
            station,
            addresses: [
                Address::from_v4([10, 0, 0, number]),
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)).into(),
            ],
            held: Vec::new(),
            sets: Vec::new(),
            children: Vec::new(),
            waiters: Vec::new(),
            next_port: 5000,
            at_first: (0, 0, 0, 0),
        };
        let near = end(Role::Slave);
        (this.slot, this.wire) = this.with(|stack| {
            let wire = stack
                .add_network(NetworkSetup {
                    device: 1,
                    id: 9,
                    network: 1,
                    station,
                    mtu: 1500,
                    unfinished_checksums: false,
                    port: State::new(Role::Slave, &geometry).into(),
                })
                .unwrap();
            let open = stack.unattached_wire().unwrap();
            stack.attach_wire(wire, open.generation, near);
            stack.set_fast_rules(FastRules {
                bits: FastRules::CLIENT | FastRules::SERVER,
                pause: Nanos::ZERO,
            });
            stack.set_fast_keys(FastKeys::new(&[7; 16]));
            (stack.take_slot(1000).unwrap(), wire)
        });
        this.with(|stack| stack.poll(now));
        this.at_first = this.usage();
        this
    }

    /// Runs `f` with the lock held.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Stack<'static>) -> T) -> T {
        let owner = Owner {
            slot: self.slot,
            pid: std::process::id(),
        };
        f(&mut self.shared.lock(owner).unwrap())
    }

    /// The other end, as a neighbour: its address of that family.
    pub(crate) fn neighbour(&self, other: &Self, is_v6: bool) -> NextHop {
        NextHop {
            wire: self.wire,
            station: self.station,
            vlan: 0,
            neighbour: other.addresses[usize::from(is_v6)],
        }
    }

    /// The way to the other end, which is known or looked for.
    pub(crate) fn way(&self, other: &Self, is_v6: bool, known: bool) -> Option<Way> {
        let to = self.neighbour(other, is_v6);
        self.with(|stack| {
            let (hop, _) = stack.hop(&to).ok()?;
            if known {
                stack.set_hop(&to, Some(other.station));
            }
            Some(Way {
                hop,
                ..Way::from(to.wire)
            })
        })
    }

    /// Both ends of a new connection to a port of the other.
    pub(crate) fn ends(&mut self, other: &Self, is_v6: bool, port: u16) -> (Endpoint, Endpoint) {
        self.next_port += 1;
        let family = usize::from(is_v6);
        (
            Endpoint::new(self.addresses[family], self.next_port),
            Endpoint::new(other.addresses[family], port),
        )
    }

    pub(crate) fn usage(&self) -> Usage {
        let report = self.with(Stack::report);
        assert_eq!(report.sockets_used.0 as usize, report.sockets.len());
        assert!(report.chunks_used.0 <= report.chunks_used.1);
        (
            report.sockets_used.0,
            report.chunks_used.0,
            report.watches_used,
            report.sets_used,
        )
    }

    /// Whether nothing is left of what happened.
    pub(crate) fn is_as_at_first(&self) -> bool {
        self.usage() == self.at_first
    }

    /// What is left, for whoever wonders.
    pub(crate) fn left(&self) -> String {
        let report = self.with(Stack::report);
        format!("{:?} left, {:#?}", self.usage(), report.sockets)
    }

    /// Frames that the stack has sent.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        Memif::new(&mut self.port, &self.at).rx_batch(usize::MAX, |frame: Foreign<'_>| {
            let mut bytes = vec![0; frame.len()];
            frame.copy_to(&mut bytes);
            frames.push(bytes);
        });
        frames
    }

    /// A frame arrives, unless there is no room.
    pub(crate) fn give(&mut self, frame: &[u8]) {
        let mut port = Memif::new(&mut self.port, &self.at);
        if frame.len() <= 2048 {
            port.tx(frame.len(), |mut room| {
                room.copy_from(frame);
            });
            port.tx_flush();
        }
    }
}

impl End {
    /// A child is gone, and what only it held.
    pub(crate) fn bury(&mut self, now: Nanos, child: u32) {
        self.with(|stack| stack.on_slot_dead(now, child));
        let mut sets = std::mem::take(&mut self.sets);
        for watched in &mut sets {
            watched
                .members
                .retain(|(r, ..)| self.with(|stack| !stack.holders(*r).is_empty()));
        }
        self.sets = sets;
    }

    /// Whoever looks is told of all that is ready, and of nothing else.
    pub(crate) fn look_at(&self, watched: &Watched) {
        let mut told = Vec::new();
        self.with(|stack| {
            let members = stack.set_members(watched.set);
            assert_eq!(members as usize, watched.members.len(), "members");
            stack
                .set_collect(watched.set, 64, |ready, data| told.push((ready, data)))
                .unwrap();
            for (r, fd, events) in &watched.members {
                let ready = stack.ready(*r).unwrap() & (*events | Ready::ALWAYS);
                let data = u64::from(r.index) << 8 | u64::from(*fd as u8);
                let was_told = told.iter().find(|(_, of)| *of == data);
                let lasting = !events.intersects(Ready::EDGE | Ready::ONESHOT);
                if let Some((said, _)) = was_told {
                    assert_eq!(*said, ready, "told of what is so");
                } else if lasting {
                    let to_do = ready & (Ready::IN | Ready::OUT | Ready::PRI);
                    assert_eq!(to_do, Ready::empty(), "ready, and nobody is told");
                }
            }
        });
    }

    /// The programs of this end let go of everything.
    pub(crate) fn let_go(&mut self, now: Nanos) {
        for watched in std::mem::take(&mut self.sets) {
            self.look_at(&watched);
            self.with(|stack| stack.close_set(watched.set, self.slot));
        }
        for child in std::mem::take(&mut self.children) {
            self.bury(now, child);
        }
        for waiter in std::mem::take(&mut self.waiters) {
            self.with(|stack| stack.give_waiter(waiter));
        }
        for held in std::mem::take(&mut self.held) {
            self.with(|stack| stack.close(now, held.r, self.slot));
        }
    }
}
