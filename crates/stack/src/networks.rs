//! The networks of a stack: interfaces, of which each queue is a wire. What is known of a network is the same for all
//! of them: a connection may receive over any, and goes on over another when its own is closed.

use crate::memory::{Core, Stack};
use crate::socket::Kind;
use crate::wires::WireKind;
use crate::{Error, Result};
use sidestep_nic::any;
use sidestep_wire::{Address, Mac, ethernet, ipv4, ipv6, tcp, vlan};

/// What is needed to add a queue of a network to a stack.
#[derive(Debug)]
pub struct NetworkSetup {
    /// The queue's identity.
    pub id: u64,
    /// The network's identity, the same for all queues of an interface.
    pub network: u64,
    /// The interface's index, by which sockets are bound to it.
    pub device: u32,
    /// The interface's hardware address. Frames that were sent to a group are answered from it.
    pub station: Mac,
    /// Longest IP packet in bytes that the interface carries, with a VLAN tag or without. A port whose frames have no
    /// room for such a packet and a tag carries shorter ones with a tag.
    pub mtu: u32,
    /// Its frames may come with transport checksums that nobody has finished: over a virtual cable, from a kernel that
    /// left them to a card that is not there. As the kernel itself does, such packets are believed.
    pub unfinished_checksums: bool,
    /// The port, just opened.
    pub port: any::State,
}

impl Stack<'_> {
    /// Adds a queue of a network; each process attaches it when it next looks. Returns the index of the wire.
    pub fn add_network(&mut self, setup: NetworkSetup) -> Result<u32> {
        let group = self.group_of(setup.network)?;
        let free = self.new_wire(setup.id)?;
        let wire = &mut self.wires[free];
        wire.network = setup.network;
        wire.is_network = 1;
        wire.port = setup.port;
        self.core.networks[free] = group;
        self.core.mtus[free] = setup.mtu;
        self.core.own_stations[free] = setup.station;
        self.core.devices[free] = setup.device;
        self.core.unfinished[free] = u8::from(setup.unfinished_checksums);
        Ok(self.wire_added(free))
    }

    /// The open wires of a network, one for each of its queues.
    pub fn network_wires(&self, network: u64) -> impl Iterator<Item = u32> + '_ {
        self.open_wires()
            .filter(move |wire| wire.kind == WireKind::Network { network })
            .map(|wire| wire.index)
    }

    /// What left by one queue of a network leaves by another from now on, as when a bond fails over to its next port.
    pub fn move_wire(&mut self, from: u32, to: u32) {
        if from == to || !self.core.is_same_network(from, to) {
            return;
        }
        for socket in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(socket);
            if s.wire == from && matches!(s.kind(), Kind::Stream | Kind::Datagram) {
                self.core.move_socket(socket, to);
            }
        }
        self.core.move_routes(from, Some(to));
        self.flush_wire(to);
    }

    /// A queue is of another network from now on. What goes over it stays with its old network, over another queue of that;
    /// if there is none, it ends.
    pub fn set_network(&mut self, wire: u32, network: u64) -> Result<()> {
        let kind = self.open_wires().find(|w| w.index == wire);
        match kind.map(|wire| wire.kind) {
            Some(WireKind::Network { network: old }) if old != network => {}
            _ => return Ok(()),
        }
        let group = self.group_of(network)?;
        self.reset_over_network(wire);
        self.empty_wire(wire);
        self.wires[wire as usize].network = network;
        self.core.networks[wire as usize] = group;
        Ok(())
    }

    /// Receiving by a queue drives its interface from now on.
    pub fn busy_poll(&mut self, wire: u32) {
        if let Some(wire) = self.wires.get_mut(wire as usize) {
            wire.port.set_busy_poll(true);
        }
    }

    /// The longest IP packet in bytes that a queue carries is another one: connections adapt their segments to it.
    pub fn set_network_mtu(&mut self, wire: u32, mtu: u32) {
        let Some(known) = self.core.mtus.get_mut(wire as usize) else {
            return;
        };
        if core::mem::replace(known, mtu) == mtu {
            return;
        }
        for socket in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(socket);
            if s.wire == wire && s.kind() == Kind::Stream {
                let limit = self.core.path_mss(socket);
                self.core.at(socket).tcb.set_path_mss(limit);
            }
        }
    }

    /// The number of a network in this stack: that of its other queues, or one that no network has.
    fn group_of(&self, network: u64) -> Result<u8> {
        let groups = &self.core.networks;
        if let Some(other) = self.network_wires(network).next() {
            return Ok(groups[other as usize]);
        }
        (1..=u8::MAX)
            .find(|group| !groups.contains(group))
            .ok_or(Error::TableFull)
    }

    /// Sends what waits on other queues of a wire's network: what comes in over one may be for a connection that sends
    /// over another.
    pub(crate) fn flush_siblings(&mut self, wire: u32) {
        for sibling in 0..self.core.header.wires_end {
            if sibling != wire
                && self.core.has_pending(sibling)
                && self.core.is_same_network(sibling, wire)
            {
                self.flush_wire(sibling);
            }
        }
    }
}

impl Core<'_> {
    /// The number of the network that a wire is a queue of; 0 for a wire between stacks, and for none.
    #[inline]
    pub(crate) fn group(&self, wire: u32) -> u8 {
        self.networks.get(wire as usize).copied().unwrap_or(0)
    }

    /// The index of the interface that the frame in hand came by; 0 for one upon it, by the tag or the station, whose own
    /// index nobody told us, and for a wire between stacks: to the kernel, such packets come by the interface that has their
    /// destination's address, and sockets that are bound to one leave them to it.
    pub(crate) fn device_of(&self, wire: u32) -> u32 {
        match self.devices.get(wire as usize) {
            Some(device) if self.group(wire) != 0 && self.is_own_station(wire) => *device,
            _ => 0,
        }
    }

    /// Whether the frame in hand was for the interface itself.
    fn is_own_station(&self, wire: u32) -> bool {
        let own = self.own_stations.get(wire as usize);
        self.back.vlan == 0 && own == Some(&self.back.src)
    }

    /// Whether both are queues of one network.
    pub(crate) fn is_same_network(&self, one: u32, other: u32) -> bool {
        self.group(one) != 0 && self.group(one) == self.group(other)
    }

    /// Whether what came over `wire` may speak for a socket that uses `own`: a peer speaks for its own wire only, and
    /// a network for all its queues.
    #[inline]
    pub(crate) fn is_same_side(&self, own: u32, wire: u32) -> bool {
        own == wire || self.is_same_network(own, wire)
    }

    /// An open queue of that network.
    pub(crate) fn queue_of(&self, group: u8) -> Option<u32> {
        let place = self.networks.iter().position(|g| *g == group && group != 0);
        place.and_then(|place| u32::try_from(place).ok())
    }

    /// Longest IP packet in bytes that a wire carries in a frame with that VLAN tag (0 for none).
    pub(crate) fn packet_bytes_max(&self, wire: u32, vlan: u16) -> usize {
        let tag = if vlan == 0 { 0 } else { vlan::TAG_BYTES };
        let place = wire as usize;
        let frame = self.frame_bytes.get(place).copied().unwrap_or(0) as usize;
        let packet = frame.saturating_sub(ethernet::HEADER_BYTES + tag);
        match self.mtus.get(place) {
            Some(mtu) if *mtu != 0 => packet.min(*mtu as usize),
            _ => packet,
        }
    }

    /// A socket goes on over another queue of its network.
    pub(crate) fn move_socket(&mut self, index: u32, wire: u32) {
        self.cancel_output(index);
        let s = self.at(index);
        s.wire = wire;
        if s.tcb.wants_output() {
            self.queue_output(index);
        }
    }
}

/// Bytes of an IP header to that address.
pub(crate) fn ip_header_bytes(remote: &Address) -> usize {
    if remote.is_v4() {
        ipv4::HEADER_BYTES
    } else {
        ipv6::HEADER_BYTES
    }
}

/// The shorter of two packets, in bytes; `limit` is 0 for none.
pub(crate) fn shorter(packet: usize, limit: u32) -> usize {
    match limit {
        0 => packet,
        limit => packet.min(limit as usize),
    }
}

/// Payload in bytes, without options, of a segment to `remote` in a packet of that length.
pub(crate) fn mss(remote: &Address, packet: usize) -> u16 {
    let headers = ip_header_bytes(remote) + tcp::HEADER_BYTES;
    u16::try_from(packet.saturating_sub(headers)).unwrap_or(u16::MAX)
}
