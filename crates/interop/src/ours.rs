//! A host whose TCP is ours: a stack in the memory of this process, and the far end of its network.

use crate::host::{Conn, Host, MTU, PORT};
use anyhow::Context as _;
use sidestep_nic::Port as _;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Foreign, NONE, Nanos, Owner};
use sidestep_stack::{
    Address, Config, ConnectState, Endpoint, Error, NetworkSetup, NextHop, SharedStack,
    SocketFlags, SocketRef, Stack, Way, create_private,
};
use sidestep_wire::Mac;
use sidestep_wire::ethernet::{self, EtherType};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const BACKLOG: u32 = 1024;
/// The first port that connections are made from.
const FIRST_PORT: u16 = 20_000;
/// What Linux lets a connection buffer at most, either way (`tcp_rmem`, `tcp_wmem`).
const RCV_BUF_BYTES: u32 = 6 << 20;
const SND_BUF_BYTES: u32 = 4 << 20;

/// A stack.
pub(crate) struct Ours {
    stack: SharedStack,
    owner: Owner,
    wire: u32,
    number: u8,
    next_port: u16,
    listener: Option<SocketRef>,
    conns: Vec<SocketRef>,
    far: State,
    far_at: Attachment,
    taken: VecDeque<Vec<u8>>,
    retransmits: u64,
    timeouts: u64,
}

const fn address(number: u8) -> Address {
    Address::from_v4([10, 77, 0, number])
}

impl Ours {
    /// The host with that number, seen first at `now`.
    pub(crate) fn new(number: u8, now: Nanos) -> anyhow::Result<Self> {
        let config = Config {
            name: "interop".to_owned(),
            id: u64::from(number),
            netns: 1,
            sockets_max: 8192,
            chunks_max: 32_768,
            secret: 0x0123_4567_89ab_cdef ^ u64::from(number),
            snd_buf_bytes: SND_BUF_BYTES,
            rcv_buf_bytes: RCV_BUF_BYTES,
            ..Config::default()
        };
        let stack = create_private(&config).context("memory for a stack")?;
        let pid = std::process::id();
        let nobody = Owner { slot: 0, pid };
        let slot = stack.lock(nobody).map_err(|_| gone())?.take_slot(pid);
        let owner = Owner {
            slot: slot.map_err(failed)?,
            pid,
        };
        let geometry = Geometry::default();
        let region = Arc::new(wire::create(&geometry)?);
        let at = |role| -> anyhow::Result<Attachment> {
            let bell = EventFd::new()?;
            Ok(Attachment::for_wire(
                Arc::clone(&region),
                &geometry,
                role,
                bell,
            )?)
        };
        let setup = NetworkSetup {
            id: 1,
            network: 1,
            device: 1,
            station: STATION,
            mtu: u32::try_from(MTU)?,
            unfinished_checksums: false,
            port: State::new(Role::Slave, &geometry).into(),
        };
        let mut own = stack.lock(owner).map_err(|_| gone())?;
        own.poll(now);
        let wire = own.add_network(setup).map_err(failed)?;
        let open = own.unattached_wire().context("the wire just added")?;
        own.attach_wire(wire, open.generation, at(Role::Slave)?);
        drop(own);
        Ok(Self {
            owner,
            wire,
            number,
            next_port: FIRST_PORT,
            listener: None,
            conns: Vec::new(),
            far: State::new(Role::Master, &geometry),
            far_at: at(Role::Master)?,
            taken: VecDeque::new(),
            retransmits: 0,
            timeouts: 0,
            stack,
        })
    }

    fn with<T>(
        &self,
        f: impl FnOnce(&mut Stack<'static>) -> sidestep_stack::Result<T>,
    ) -> io::Result<T> {
        let mut stack = self.stack.lock(self.owner).map_err(|_| gone())?;
        f(&mut stack).map_err(failed)
    }

    fn conn(&self, conn: Conn) -> io::Result<SocketRef> {
        let socket = self.conns.get(conn).copied();
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn way(&self) -> io::Result<Way> {
        let next = NextHop {
            wire: self.wire,
            station: STATION,
            vlan: 0,
            neighbour: address(254),
        };
        let hop = self.with(|s| {
            let (hop, _) = s.hop(&next)?;
            s.set_hop(&next, Some(PEER));
            Ok(hop)
        })?;
        debug_assert_ne!(hop, NONE, "a network's way has a hop");
        Ok(Way {
            wire: self.wire,
            hop,
            mtu: 0,
        })
    }
}

impl Host for Ours {
    fn listen(&mut self) -> io::Result<()> {
        let local = Endpoint::new(address(self.number), PORT);
        let slot = self.owner.slot;
        let listener = self.with(|s| {
            let socket = s.new_stream(SocketFlags::NONBLOCK, slot)?;
            s.bind(socket, local)?;
            s.listen(socket, BACKLOG)?;
            Ok(socket)
        })?;
        self.listener = Some(listener);
        Ok(())
    }

    fn connect(&mut self, now: Nanos, to: u8) -> io::Result<Conn> {
        let local = Endpoint::new(address(self.number), self.next_port);
        self.next_port += 1;
        let (way, slot) = (self.way()?, self.owner.slot);
        let remote = Endpoint::new(address(to), PORT);
        let socket = self.with(|s| {
            let socket = s.new_stream(SocketFlags::NONBLOCK, slot)?;
            s.connect(now, socket, (local, remote), way)?;
            Ok(socket)
        })?;
        self.conns.push(socket);
        Ok(self.conns.len() - 1)
    }

    fn accept(&mut self) -> Option<Conn> {
        let (listener, slot) = (self.listener?, self.owner.slot);
        let accepted = self.with(|s| s.accept(listener, slot)).ok()?;
        self.conns.push(accepted.socket);
        Some(self.conns.len() - 1)
    }

    fn send(&mut self, now: Nanos, conn: Conn, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.conn(conn)?;
        self.with(|s| s.send(now, socket, &[bytes.into()], false))
    }

    fn recv(&mut self, now: Nanos, conn: Conn, bytes: &mut [u8]) -> io::Result<usize> {
        let socket = self.conn(conn)?;
        self.with(|s| {
            if s.connect_state(socket)? == ConnectState::Connecting {
                return Err(Error::WouldBlock);
            }
            s.recv(now, socket, &mut [bytes.into()], false)
        })
    }

    fn finish(&mut self, now: Nanos, conn: Conn) -> io::Result<()> {
        let socket = self.conn(conn)?;
        self.with(|s| s.shutdown(now, socket, false, true))
    }

    fn close(&mut self, now: Nanos, conn: Conn) {
        let (Ok(socket), slot) = (self.conn(conn), self.owner.slot) else {
            return;
        };
        let counted = self.with(|s| {
            let counted = *s.tcb(socket)?.counters();
            s.close(now, socket, slot);
            Ok(counted)
        });
        if let Ok(counted) = counted {
            self.retransmits += u64::from(counted.retransmits);
            self.timeouts += u64::from(counted.timeouts);
        }
    }

    fn take(&mut self, _now: Nanos, packet: &mut [u8; MTU]) -> io::Result<usize> {
        if self.taken.is_empty() {
            let taken = &mut self.taken;
            Memif::new(&mut self.far, &self.far_at).rx_batch(256, |frame: Foreign<'_>| {
                let mut bytes = vec![0; frame.len()];
                frame.copy_to(&mut bytes);
                taken.push_back(bytes);
            });
        }
        let Some(frame) = self.taken.pop_front() else {
            return Ok(0);
        };
        let bytes = frame.get(ethernet::HEADER_BYTES..).unwrap_or_default();
        let room = packet.get_mut(..bytes.len());
        room.ok_or(io::ErrorKind::InvalidData)?
            .copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn give(&mut self, packet: &[u8]) -> io::Result<()> {
        let header = ethernet::Repr {
            dst: STATION,
            src: PEER,
            ethertype: EtherType::IPV4,
        };
        let mut port = Memif::new(&mut self.far, &self.far_at);
        let sent = port.tx(ethernet::HEADER_BYTES + packet.len(), |mut frame| {
            let mut bytes = [0; ethernet::HEADER_BYTES];
            header.emit(&mut bytes);
            frame.copy_from(&bytes);
            frame.skip(ethernet::HEADER_BYTES).copy_from(packet);
        });
        port.tx_flush();
        if sent {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn poll(&mut self, now: Nanos) {
        // A stack of this process alone: its lock is there to be had.
        if let Ok(mut stack) = self.stack.lock(self.owner) {
            stack.poll(now);
            stack.take_wakes();
        }
    }

    fn next_timer(&self) -> Nanos {
        let timer = self.with(|s| Ok(s.next_timer()));
        timer.unwrap_or(Nanos::NEVER)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> (u64, u64) {
        (self.retransmits, self.timeouts)
    }
}

fn gone() -> io::Error {
    io::Error::other("the stack is gone")
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::WouldBlock => io::ErrorKind::WouldBlock.into(),
        other => io::Error::other(format!("{other:?}")),
    }
}
