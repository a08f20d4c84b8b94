//! What `ps` shows of a stack.

use crate::memory::Stack;
use crate::socket::{Kind, SocketFlags};
use crate::{Counters, Endpoint, WireKind};
use sidestep_nic::PortStats;
use sidestep_nic::fault::{Count, Direction};

/// A stack as it is now.
#[derive(Clone, Debug)]
pub struct StackReport {
    /// Its identity.
    pub id: u64,
    /// The name of the program that made it.
    pub name: String,
    /// Slots and processes that have it mapped.
    pub processes: Vec<(u32, u32)>,
    /// All sockets, those in TIME-WAIT too.
    pub sockets: Vec<SocketReport>,
    /// Open wires.
    pub wires: Vec<WireReport>,
    /// Counters since its creation.
    pub counters: Counters,
    /// Entries of the socket table: in use, and all.
    pub sockets_used: (u32, u32),
    /// Data buffers: in use, and all.
    pub chunks_used: (u32, u32),
    /// Times that there was no data buffer.
    pub chunks_exhausted: u64,
    /// Watches in use.
    pub watches_used: u32,
    /// Epoll sets in use.
    pub sets_used: u32,
    /// The bad link that its frames go over, if that was asked for.
    pub faults: Option<FaultReport>,
}

/// A bad link.
#[derive(Clone, Debug)]
pub struct FaultReport {
    /// Its description.
    pub text: String,
    /// What it did to frames that went out.
    pub out: Count,
    /// What it did to frames that came in.
    pub back: Count,
}

/// A socket as it is now.
#[derive(Clone, Debug)]
pub struct SocketReport {
    /// What it is.
    pub kind: Kind,
    /// State, as `ss` names it.
    pub state: &'static str,
    /// Our end.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
    /// The wire it uses.
    pub wire: Option<u32>,
    /// The VLAN that its frames are sent in, 0 for none.
    pub vlan: u16,
    /// The index of the interface that it is bound to; 0 for none.
    pub device: u32,
    /// Slots that hold it.
    pub holders: Vec<u32>,
    /// Bytes received and not read; connections to accept for a listener.
    pub rcv_queue: usize,
    /// Bytes written and not acknowledged; the backlog for a listener.
    pub snd_queue: usize,
    /// Kernel's cookie of the socket behind it.
    pub cookie: u64,
}

/// An open wire.
#[derive(Clone, Copy, Debug)]
pub struct WireReport {
    /// Index in the stack.
    pub index: u32,
    /// Identity, the same at both ends.
    pub id: u64,
    /// What it is, and where it leads to.
    pub kind: WireKind,
    /// The port's counters.
    pub stats: PortStats,
}

impl Stack<'_> {
    /// Looks at everything once.
    pub fn report(&mut self) -> StackReport {
        let fresh = self.core.header.sockets.fresh();
        let sockets = (0..fresh).filter_map(|i| self.socket_report(i)).collect();
        let wires = self
            .open_wires()
            .filter_map(|wire| {
                Some(WireReport {
                    index: wire.index,
                    id: wire.id,
                    kind: wire.kind,
                    stats: self.wire_stats(wire.index)?,
                })
            })
            .collect();
        let h = &self.core.header;
        let end = h.name.iter().position(|b| *b == 0).unwrap_or(h.name.len());
        StackReport {
            id: h.id,
            name: String::from_utf8_lossy(&h.name[..end]).into_owned(),
            processes: self.slots().collect(),
            sockets,
            wires,
            counters: *self.core.counters,
            sockets_used: (h.sockets.used(), h.sockets_max),
            chunks_used: (self.core.pool.used(), h.chunks_max),
            chunks_exhausted: self.core.pool.exhausted(),
            watches_used: h.watches.used(),
            sets_used: u32::try_from(self.core.sets.iter().filter(|s| s.holders != 0).count())
                .unwrap_or(u32::MAX),
            faults: self.faults.is_on().then(|| FaultReport {
                text: self.faults.text(),
                out: self.faults.count(Direction::Out),
                back: self.faults.count(Direction::In),
            }),
        }
    }

    fn socket_report(&mut self, index: u32) -> Option<SocketReport> {
        let vlan = self.core.vlan(self.core.sockets[index as usize].hop);
        let holders = self.core.holders(index);
        let s = self.core.at(index);
        let (state, rcv_queue, snd_queue) = match s.kind() {
            Kind::Free => return None,
            Kind::Listener => ("LISTEN", s.ready_children as usize, s.backlog as usize),
            Kind::Datagram if s.has(SocketFlags::CONNECTED) => ("ESTAB", s.udp.bytes() as usize, 0),
            Kind::Datagram => ("UNCONN", s.udp.bytes() as usize, 0),
            Kind::Stream => (s.tcb.state().name(), s.tcb.recv_len(), s.tcb.send_len()),
        };
        Some(SocketReport {
            kind: s.kind(),
            state,
            local: s.local,
            remote: s.remote,
            wire: (s.wire != sidestep_shm::NONE).then_some(s.wire),
            vlan,
            device: s.device,
            holders,
            rcv_queue,
            snd_queue,
            cookie: s.cookie,
        })
    }
}
