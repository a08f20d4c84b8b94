//! How packets of a stack reach a host: the kernel's route, by one of our interfaces, to the next station.

use crate::registry::Registry;
use sidestep_control::{Fault, NetworkWay, StackId};
use sidestep_netlink::{Flow, NeighbourState, Query, RouteKind};
use sidestep_stack::{HopState, NextHop};
use sidestep_wire::{Address, Endpoint};
use std::net::IpAddr;

impl Registry {
    /// The way of packets to `remote`. Refused where the kernel is to carry them.
    pub(crate) fn way(
        &mut self,
        pid: u32,
        id: StackId,
        protocol: u8,
        remote: Endpoint,
        source: Address,
    ) -> Result<NetworkWay, Fault> {
        self.stack_of(id, pid)?;
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let query = Query {
            source: (!source.is_unspecified()).then(|| source.ip()),
            flow: Some(Flow {
                protocol,
                source_port: 0,
                destination_port: remote.port,
            }),
            ..Query::to(remote.addr.ip())
        };
        let route = networks
            .routes
            .lookup(&query)
            .map_err(|_| Fault::NoNetwork)?;
        let source = match (route.kind, route.source) {
            (RouteKind::Unicast, Some(source)) => Address::from(source),
            // What goes nowhere, to this host, to all or to groups is the kernel's.
            _ => return Err(Fault::NoNetwork),
        };
        let neighbour = route.gateway.unwrap_or(query.destination);
        let picture = networks.config.picture();
        let known = picture.neighbour(route.link, neighbour);
        let carrier = picture
            .carrier(route.link, known.and_then(|n| n.mac))
            .map_err(|_| Fault::NoNetwork)?;
        let interface = networks
            .interfaces
            .iter()
            .find(|interface| carrier.links.contains(&interface.index))
            .ok_or(Fault::NoNetwork)?;
        if carrier.vlan.is_some() || carrier.mac != interface.station {
            return Err(Fault::NoNetwork);
        }
        let mtu = picture.mtu_of(&route).unwrap_or(interface.mtu);
        let at = interface.index;
        self.join_networks(id, pid)?;
        self.way_by(id, (route.link, neighbour), at)
            .map(|(wire, hop)| NetworkWay {
                wire,
                hop,
                source,
                mtu,
            })
    }

    /// A queue of the interface, and the hop there. The kernel is asked to find the neighbour if it is not known.
    fn way_by(
        &mut self,
        id: StackId,
        (link, neighbour): (u32, IpAddr),
        interface: u32,
    ) -> Result<(u32, u32), Fault> {
        let Self {
            networks, stacks, ..
        } = self;
        let networks = networks.as_mut().ok_or(Fault::NoNetwork)?;
        let mut interfaces = networks.interfaces.iter();
        let interface = interfaces.find(|i| i.index == interface);
        let interface = interface.ok_or(Fault::NoQueue)?;
        let queue = interface.queues_of(id).next().ok_or(Fault::NoQueue)?;
        let entry = stacks.get_mut(&id).ok_or(Fault::UnknownStack)?;
        let wire = queue.wire;
        let to = NextHop {
            wire,
            station: interface.station,
            vlan: 0,
            neighbour: Address::from(neighbour),
        };
        let hop = entry.with(|stack| stack.hop(&to))?;
        let (hop, state) = hop.map_err(|_| Fault::WiresFull)?;
        if state == HopState::Incomplete {
            let found = networks.neighbours.resolve(link, neighbour);
            let found = found.map_err(|_| Fault::NoNetwork)?;
            if let Some(mac) = found.and_then(|n| n.mac) {
                entry.with(|stack| stack.set_hop(&to, Some(mac)))?;
            } else if found.is_some_and(|n| n.state == NeighbourState::Failed) {
                // It was looked for not long ago; the kernel looks again, and tells of what it finds.
                let _ = networks.neighbours.resolve(link, neighbour);
            }
        }
        Ok((wire, hop))
    }
}
