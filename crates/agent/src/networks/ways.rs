//! How packets of a stack reach a host: the kernel's route, by one of our interfaces, to the next station.

use super::Networks;
use super::solicit::solicit;
use crate::registry::Registry;
use sidestep_control::{Fault, NetworkWay, StackId};
use sidestep_netlink::{
    Carrier, Descent, Flow, LinkKind, NeighbourState, NoCarrier, Query, Route, RouteKind,
};
use sidestep_stack::{HopState, NextHop};
use sidestep_wire::{Address, Endpoint, Mac};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::Duration;

/// How long a bridge's or macvlan's neighbour is waited for: the way depends on where it is, and on a local network it
/// answers within a fraction of that.
const TRIES: u32 = 50;
const TRY_AGAIN: Duration = Duration::from_micros(200);

/// What a way is asked for.
pub(crate) struct Wanted {
    /// IP protocol number.
    pub(crate) protocol: u8,
    pub(crate) remote: Endpoint,
    /// The local address, where it is chosen already; else unspecified.
    pub(crate) source: Address,
    /// The index of the interface by which it must go; 0 for any.
    pub(crate) device: u32,
}

impl Registry {
    /// The way of packets to a host. Refused where the kernel is to carry them.
    pub(crate) fn way(&mut self, pid: u32, id: StackId, to: &Wanted) -> Result<NetworkWay, Fault> {
        let Wanted { remote, source, .. } = *to;
        self.stack_of(id, pid)?;
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let query = Query {
            source: (!source.is_unspecified()).then(|| source.ip()),
            flow: Some(Flow {
                protocol: to.protocol,
                source_port: 0,
                destination_port: remote.port,
            }),
            oif: (to.device != 0).then_some(to.device),
            ..Query::to(remote.addr.ip())
        };
        let route = networks
            .routes
            .lookup(&query)
            .map_err(|_| Fault::NoNetwork)?;
        if remote.addr.is_multicast() {
            return self.group_way(pid, id, to, &route);
        }
        let source = match (route.kind, route.source) {
            (RouteKind::Unicast, Some(source)) => Address::from(source),
            (RouteKind::Broadcast, _) => return Err(Fault::Broadcast),
            // What goes nowhere, or to this host, is the kernel's.
            _ => return Err(Fault::NoNetwork),
        };
        if to.device != 0 && to.device != route.link {
            return Err(Fault::NoNetwork);
        }
        let neighbour = route.gateway.unwrap_or(query.destination);
        let carrier = self.carrier_of(route.link, neighbour)?;
        let networks = self.networks.as_ref().ok_or(Fault::NoNetwork)?;
        let at = networks.port_for(route.link, &carrier, neighbour)?;
        let picture = networks.config.picture();
        let mtu = picture.mtu_of(&route).ok_or(Fault::NoNetwork)?;
        self.join_networks(id, pid)?;
        self.way_by(id, (route.link, neighbour), (at, &carrier))
            .map(|(wire, hop)| NetworkWay {
                wire,
                hop,
                source,
                mtu,
            })
    }

    /// The way to a group, by a served interface itself.
    fn group_way(
        &mut self,
        pid: u32,
        id: StackId,
        to: &Wanted,
        route: &Route,
    ) -> Result<NetworkWay, Fault> {
        let is_there = matches!(route.kind, RouteKind::Multicast | RouteKind::Unicast)
            && (to.device == 0 || to.device == route.link);
        let source = Address::from(route.source.ok_or(Fault::NoNetwork)?);
        let networks = self.networks.as_ref().ok_or(Fault::NoNetwork)?;
        if !is_there || source.is_link_local() || !networks.is_served(route.link) {
            return Err(Fault::NoNetwork);
        }
        let mtu = networks.config.picture().mtu_of(route);
        let mtu = mtu.ok_or(Fault::NoNetwork)?;
        self.join_networks(id, pid)?;
        let Self {
            networks, stacks, ..
        } = self;
        let networks = networks.as_ref().ok_or(Fault::NoNetwork)?;
        let mut interfaces = networks.interfaces.iter();
        let interface = interfaces.find(|i| i.index == route.link && i.sends);
        let interface = interface.ok_or(Fault::NoQueue)?;
        let queue = interface.queues_of(id).next().ok_or(Fault::NoQueue)?;
        let entry = stacks.get_mut(&id).ok_or(Fault::UnknownStack)?;
        let (wire, station, group) = (queue.wire, interface.station, to.remote.addr);
        let hop = entry.with(|stack| stack.group_hop(wire, station, group))?;
        let hop = hop.map_err(|_| Fault::WiresFull)?;
        Ok(NetworkWay {
            wire,
            hop,
            source,
            mtu,
        })
    }

    /// Over which interfaces frames of a link go to a neighbour.
    fn carrier_of(&mut self, link: u32, neighbour: IpAddr) -> Result<Carrier, Fault> {
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        if !networks.lies_upon_served(link) {
            return Err(Fault::NoNetwork);
        }
        let (mut station, mut found) = networks.descend(link, neighbour);
        let depends = match &found {
            Ok(descent) => networks.sibling_place(descent).is_some(),
            Err(why) => matches!(why, NoCarrier::NoSuchStation(_)),
        };
        if depends && (station.is_none() || found.is_err()) {
            networks.find(link, neighbour);
            self.on_netlink();
            let networks = self.networks.as_ref().ok_or(Fault::NoNetwork)?;
            (station, found) = networks.descend(link, neighbour);
        }
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let descent = found.map_err(|why| {
            self.log.line(format_args!("left to the kernel: {why}"));
            Fault::Carrier
        })?;
        // What is sent to a macvlan beside ours would leave by the wire, and it is in this host.
        if let Some(lower) = networks.sibling_place(&descent) {
            let station = station.ok_or(Fault::Carrier)?;
            if networks.neighbours.is_own(lower, station).unwrap_or(true) {
                return Err(Fault::NoNetwork);
            }
        }
        Ok(descent.carrier)
    }

    /// A queue of the interface, and the hop there. The kernel is asked to find the neighbour if it is not known.
    fn way_by(
        &mut self,
        id: StackId,
        (link, neighbour): (u32, IpAddr),
        (interface, carrier): (u32, &Carrier),
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
            station: carrier.mac,
            vlan: carrier.vlan.unwrap_or(0),
            neighbour: Address::from(neighbour),
        };
        let hop = entry.with(|stack| stack.hop(&to))?;
        let (hop, state) = hop.map_err(|_| Fault::WiresFull)?;
        if state == HopState::Incomplete {
            let found = networks.neighbours.resolve(link, neighbour);
            let found = found.map_err(|_| Fault::NoNetwork)?;
            let picture = networks.config.picture();
            if let Some(link) = picture
                .link(link)
                .filter(|_| found.is_none_or(|n| n.mac.is_none()))
                && let Err(error) = solicit(picture, link, neighbour)
            {
                self.log
                    .line(format_args!("asking for {neighbour}: {error}"));
            }
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

impl Networks {
    /// The neighbour's hardware address, if it is known, and the way down to served interfaces.
    fn descend(&self, link: u32, neighbour: IpAddr) -> (Option<Mac>, Result<Descent, NoCarrier>) {
        let picture = self.config.picture();
        let station = picture.neighbour(link, neighbour).and_then(|n| n.mac);
        let found = picture.descend(link, station, |link| self.is_served(link));
        (station, found)
    }

    /// Where macvlans are that the kernel takes frames to by itself, if the way goes by one of those.
    fn sibling_place(&self, descent: &Descent) -> Option<u32> {
        let picture = self.config.picture();
        let mut by = descent.by.iter().filter_map(|link| picture.link(*link));
        by.find_map(|link| match link.kind {
            LinkKind::Macvlan {
                lower,
                bridge: true,
            } => lower,
            _ => None,
        })
    }

    /// Has the kernel look for a neighbour, and waits a little for its answer.
    fn find(&mut self, link: u32, neighbour: IpAddr) {
        let mut found = self.neighbours.resolve(link, neighbour);
        for _ in 0..TRIES {
            if !matches!(&found, Ok(known) if known.is_none_or(|n| !n.is_settled())) {
                return;
            }
            std::thread::sleep(TRY_AGAIN);
            found = self.neighbours.lookup(link, neighbour);
        }
    }

    /// The interface by which frames to a neighbour go: always the same one of those that a bond shares out to.
    fn port_for(&self, link: u32, carrier: &Carrier, neighbour: IpAddr) -> Result<u32, Fault> {
        let upon = |interface: u32| {
            let interface = self.interfaces.iter().find(|i| i.index == interface);
            interface.is_some_and(|interface| interface.upon.iter().any(|u| u.link == link))
        };
        // What is not received by an interface is not sent by it.
        if !carrier.links.iter().all(|interface| upon(*interface)) {
            let served = carrier.links.iter().any(|link| self.is_served(*link));
            return Err(if served {
                Fault::Carrier
            } else {
                Fault::NoNetwork
            });
        }
        let mut hasher = DefaultHasher::new();
        (neighbour, carrier.vlan).hash(&mut hasher);
        let count = carrier.links.len().max(1);
        let which = usize::try_from(hasher.finish() >> 1).unwrap_or(0) % count;
        carrier.links.get(which).copied().ok_or(Fault::NoNetwork)
    }
}
