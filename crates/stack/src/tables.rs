//! Entries of sockets, and the port table of listeners and UDP sockets: it holds index + 1, so that zeroed memory is
//! empty, and chains through the sockets.

use crate::hops::Way;
use crate::memory::Core;
use crate::socket::{Kind, Socket, SocketFlags};
use crate::{Endpoint, Error, Result};
use sidestep_shm::NONE;

/// Most sockets looked at for one port; more on one port share the rest by chance.
const PORT_CHAIN_MAX: usize = 4096;

impl Core<'_> {
    /// A fresh entry, recycling the oldest in TIME-WAIT when the table is full.
    pub(crate) fn alloc_socket(&mut self, kind: Kind) -> Result<u32> {
        let index = match self.take_entry() {
            Some(index) => index,
            None => {
                if self.header.time_wait_head == NONE {
                    self.counters.sockets_exhausted += 1;
                    return Err(Error::TableFull);
                }
                self.counters.tcp_time_wait_recycled += 1;
                self.free_socket(self.header.time_wait_head);
                self.take_entry().ok_or(Error::TableFull)?
            }
        };
        self.at(index).reset(kind);
        Ok(index)
    }

    fn take_entry(&mut self) -> Option<u32> {
        let sockets = &*self.sockets;
        self.header
            .sockets
            .take(sockets.len(), |i| sockets[i as usize].next)
    }

    /// Ends the life of an entry: off every list, its buffers given back.
    pub(crate) fn free_socket(&mut self, index: u32) {
        self.forget_socket(index);
        self.set_way(index, Way::from(NONE));
        self.drop_notices(index);
        if self.at(index).holders != 0 {
            self.disown(index);
        }
        let core = &mut *self;
        let socket = &mut core.sockets[index as usize];
        socket.tcb.release(&mut core.pool);
        socket.udp.clear(&mut core.pool);
        socket.kind = Kind::Free as u8;
        socket.generation = socket.generation.wrapping_add(1);
        socket.next = core.header.sockets.give(index);
    }

    /// Takes a socket off every list it may be on, but for the free list.
    fn forget_socket(&mut self, index: u32) {
        self.remove_flow(index);
        self.remove_port(index);
        self.cancel_timer(index);
        self.cancel_output(index);
        self.drop_watches(index);
        if self.at(index).has(SocketFlags::TIME_WAIT) {
            self.leave_time_wait(index);
        }
        if self.at(index).has(SocketFlags::CHILD) {
            self.orphan_child(index);
        }
    }

    /// The listener or UDP socket that takes what comes by `wire` to `local` from `remote`: the most particular one; of
    /// equals, which may share a port by SO_REUSEPORT, one chosen by the flow's hash.
    pub(crate) fn find_port(
        &self,
        kind: Kind,
        wire: u32,
        local: &Endpoint,
        remote: &Endpoint,
    ) -> Option<u32> {
        let device = self.device_of(wire);
        let mut at = self.ports[self.port_bucket(kind, local.port)];
        let (mut best, mut best_score, mut equals) = (None, 0, 0);
        for _ in 0..PORT_CHAIN_MAX {
            let Some(socket) = at.checked_sub(1).and_then(|i| self.sockets.get(i as usize)) else {
                break;
            };
            let score = if socket.kind == kind as u8 && socket.local.port == local.port {
                score(socket, device, local, remote)
            } else {
                0
            };
            if score > best_score {
                (best, best_score, equals) = (Some(at - 1), score, 1);
            } else if score > 0 && score == best_score {
                equals += 1;
                if self.flow_hash(local, remote).is_multiple_of(equals) {
                    best = Some(at - 1);
                }
            }
            at = socket.port_next.wrapping_add(1);
        }
        best
    }

    /// Puts a bound socket into the port table.
    pub(crate) fn insert_port(&mut self, index: u32) {
        if self.at(index).has(SocketFlags::IN_PORTS) {
            return;
        }
        self.forget_recent();
        let (kind, port) = (self.at(index).kind(), self.at(index).local.port);
        let bucket = self.port_bucket(kind, port);
        let head = self.ports[bucket];
        self.at(index).port_next = head.wrapping_sub(1);
        self.at(index).set(SocketFlags::IN_PORTS, true);
        self.ports[bucket] = index + 1;
    }

    pub(crate) fn remove_port(&mut self, index: u32) {
        if !self.at(index).has(SocketFlags::IN_PORTS) {
            return;
        }
        self.forget_recent();
        self.at(index).set(SocketFlags::IN_PORTS, false);
        let (kind, port, next) = {
            let s = self.at(index);
            (s.kind(), s.local.port, s.port_next)
        };
        let bucket = self.port_bucket(kind, port);
        if self.ports[bucket] == index + 1 {
            self.ports[bucket] = next.wrapping_add(1);
            return;
        }
        let mut at = self.ports[bucket].wrapping_sub(1);
        let mut steps = self.socket_steps();
        while at != NONE {
            steps.step();
            let following = self.at(at).port_next;
            if following == index {
                self.at(at).port_next = next;
                return;
            }
            at = following;
        }
    }

    fn port_bucket(&self, kind: Kind, port: u16) -> usize {
        (usize::from(port) ^ ((kind as usize) << 6)) & (self.ports.len() - 1)
    }
}

/// How well a bound socket fits what came by the interface `device`: 0 not at all. A peer is more particular than an
/// address, and that more than an interface, as in Linux.
fn score(socket: &Socket, device: u32, local: &Endpoint, remote: &Endpoint) -> u32 {
    let bound = &socket.local.addr;
    let by_device = socket.has(SocketFlags::DEVICE);
    if by_device && socket.device != device {
        return 0;
    }
    let address = if *bound == local.addr {
        6
    } else if !bound.is_unspecified() {
        return 0;
    } else if socket.has(SocketFlags::INET6) {
        if local.addr.is_v4() && socket.has(SocketFlags::V6ONLY) {
            return 0;
        }
        2
    } else if local.addr.is_v4() {
        4
    } else {
        return 0;
    };
    let peer = match socket.has(SocketFlags::CONNECTED) {
        true if socket.remote == *remote => 8,
        true => return 0,
        false => 0,
    };
    peer + address + u32::from(by_device)
}
