//! The picture of a namespace, and how messages of the kernel change it.

#[cfg(test)]
mod tests;

use crate::address::{Address, AddressKey};
use crate::change::{Change, Changes};
use crate::link::{Link, LinkKind};
use crate::neighbour::{Forwarding, Neighbour, NeighbourState};
use crate::routes::Route;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use sidestep_wire::Mac;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Links, addresses and neighbours of a network namespace, as the kernel last told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<AddressKey, Address>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    /// By bridge, station and VLAN: behind which port.
    forwarding: BTreeMap<(u32, Mac, u16), u32>,
}

impl Picture {
    /// All links, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link of that index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The link of that name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links().find(|link| link.name == name)
    }

    /// The ports of a bridge or bond.
    pub fn ports(&self, master: u32) -> impl Iterator<Item = &Link> {
        self.links().filter(move |link| link.master == Some(master))
    }

    /// All addresses, by link.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values()
    }

    /// Whether some link has this address, and may use it.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.addresses()
            .any(|address| address.ip == ip && !address.tentative)
    }

    /// All neighbours, by link.
    pub fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.values()
    }

    /// What is known of an address on a link.
    pub fn neighbour(&self, link: u32, ip: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(link, ip))
    }

    /// Behind which port of a bridge that does not look at VLAN tags a station is, if the bridge knows.
    pub fn port_of(&self, bridge: u32, station: Mac) -> Option<u32> {
        self.forwarding.get(&(bridge, station, 0)).copied()
    }

    /// The longest IP packet, in bytes, that may be sent by a route: the route's own limit, which is the path's where
    /// the kernel learned that, or the link's if that is lower. Nothing if the link is not there.
    pub fn mtu_of(&self, route: &Route) -> Option<u32> {
        let link = self.link(route.link)?;
        Some(route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
    }

    /// Takes in what the kernel says.
    pub(crate) fn apply(&mut self, message: &RouteNetlinkMessage, changes: &mut Changes) {
        match message {
            RouteNetlinkMessage::NewLink(said) => {
                if let Some(link) = Link::of(said) {
                    self.set_link(link, changes);
                }
            }
            RouteNetlinkMessage::DelLink(said) => {
                if let Some(link) = Link::of(said) {
                    self.remove_link(link.index, changes);
                }
            }
            RouteNetlinkMessage::NewAddress(said) => {
                if let Some(address) = Address::of(said) {
                    self.set_address(address, changes);
                }
            }
            RouteNetlinkMessage::DelAddress(said) => {
                if let Some(address) = Address::of(said) {
                    self.remove_address(address.key(), changes);
                }
            }
            RouteNetlinkMessage::NewNeighbour(said) => self.set_neighbour(said, changes),
            RouteNetlinkMessage::DelNeighbour(said) => self.remove_neighbour(said, changes),
            _ => {}
        }
    }

    fn set_link(&mut self, link: Link, changes: &mut Changes) {
        let index = link.index;
        let old = self.links.get(&index);
        if old == Some(&link) {
            return;
        }
        changes.push(Change::LinkChanged(index));
        // The kernel says nothing of the IPv4 routes that go with a link, or come back with it.
        if old.is_none_or(|old| (old.up, old.running, old.mtu) != (link.up, link.running, link.mtu))
        {
            changes.push(Change::RoutesChanged);
        }
        if let LinkKind::Veth { peer: Some(peer) } = link.kind {
            self.join(peer, index, changes);
        }
        self.links.insert(index, link);
    }

    /// Enters the other end of a virtual cable: the kernel tells of the end that it makes first before there is another,
    /// and not again.
    fn join(&mut self, end: u32, other: u32, changes: &mut Changes) {
        if let Some(Link {
            kind: LinkKind::Veth { peer },
            ..
        }) = self.links.get_mut(&end)
            && peer.is_none()
        {
            *peer = Some(other);
            changes.push(Change::LinkChanged(end));
        }
    }

    fn remove_link(&mut self, index: u32, changes: &mut Changes) {
        let Some(link) = self.links.remove(&index) else {
            return;
        };
        let addresses: Vec<_> = self.addresses.keys().copied().collect();
        for key in addresses.into_iter().filter(|key| key.link == index) {
            self.remove_address(key, changes);
        }
        self.neighbours.retain(|_, neighbour| {
            let stays = neighbour.link != index;
            if !stays {
                changes.push(Change::NeighbourGone(*neighbour));
            }
            stays
        });
        self.forwarding.retain(|&(bridge, mac, _), port| {
            let stays = bridge != index && *port != index;
            if !stays && bridge != index {
                changes.push(Change::StationMoved { bridge, mac });
            }
            stays
        });
        let name = link.name;
        changes.push(Change::LinkGone { index, name });
        changes.push(Change::RoutesChanged);
    }

    fn set_address(&mut self, address: Address, changes: &mut Changes) {
        match self.addresses.insert(address.key(), address) {
            None => changes.push(Change::AddressAdded(address)),
            Some(old) if old != address => changes.push(Change::AddressChanged(address)),
            Some(_) => return,
        }
        changes.push(Change::RoutesChanged);
    }

    fn remove_address(&mut self, key: AddressKey, changes: &mut Changes) {
        if let Some(address) = self.addresses.remove(&key) {
            changes.push(Change::AddressRemoved(address));
            changes.push(Change::RoutesChanged);
        }
    }

    fn set_neighbour(&mut self, said: &NeighbourMessage, changes: &mut Changes) {
        if let Some(entry) = Forwarding::of(said) {
            let key = (entry.bridge, entry.mac, entry.vlan);
            if self.forwarding.insert(key, entry.port) != Some(entry.port) {
                let (bridge, mac) = (entry.bridge, entry.mac);
                changes.push(Change::StationMoved { bridge, mac });
            }
            return;
        }
        let Some(neighbour) = Neighbour::of(said) else {
            return;
        };
        self.neighbours
            .insert((neighbour.link, neighbour.ip), neighbour);
        // Even if it is what was known: whoever asked again waits for the answer.
        changes.push(Change::NeighbourChanged(neighbour));
    }

    fn remove_neighbour(&mut self, said: &NeighbourMessage, changes: &mut Changes) {
        if let Some(entry) = Forwarding::of(said) {
            let key = (entry.bridge, entry.mac, entry.vlan);
            // One that moved is deleted from where it was, too.
            if self.forwarding.get(&key) == Some(&entry.port) {
                self.forwarding.remove(&key);
                let (bridge, mac) = (entry.bridge, entry.mac);
                changes.push(Change::StationMoved { bridge, mac });
            }
            return;
        }
        let Some(neighbour) = Neighbour::of(said) else {
            return;
        };
        if let Some(last) = self.neighbours.remove(&(neighbour.link, neighbour.ip)) {
            changes.push(Change::NeighbourGone(last));
        }
    }

    /// Says what is different in `new`, which was read anew because notifications were lost, and takes it over.
    pub(crate) fn replace(&mut self, new: Self, changes: &mut Changes) {
        for index in missing(&self.links, &new.links) {
            self.remove_link(index, changes);
        }
        for key in missing(&self.addresses, &new.addresses) {
            self.remove_address(key, changes);
        }
        for link in new.links.values() {
            self.set_link(link.clone(), changes);
        }
        for address in new.addresses.values() {
            self.set_address(*address, changes);
        }
        for (key, neighbour) in &self.neighbours {
            if !new.neighbours.contains_key(key) {
                changes.push(Change::NeighbourGone(*neighbour));
            }
        }
        for (key, neighbour) in &new.neighbours {
            // A second failure looks like the first, and somebody may be waiting for it.
            let failed = neighbour.state == NeighbourState::Failed;
            if failed || self.neighbours.get(key) != Some(neighbour) {
                changes.push(Change::NeighbourChanged(*neighbour));
            }
        }
        for key in self.forwarding.keys().chain(new.forwarding.keys()) {
            if self.forwarding.get(key) != new.forwarding.get(key) {
                let &(bridge, mac, _) = key;
                changes.push(Change::StationMoved { bridge, mac });
            }
        }
        changes.push(Change::RoutesChanged);
        *self = new;
    }
}

fn missing<K: Copy + Ord, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<K> {
    let keys = old.keys().filter(|key| !new.contains_key(key));
    keys.copied().collect()
}
