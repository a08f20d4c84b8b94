//! What the kernel tells of changes, handed on to steering programs and stacks.

use crate::registry::{Job, Registry};
use sidestep_netlink::{Change, Neighbour, NeighbourState};
use sidestep_shm::Nanos;
use sidestep_stack::NextHop;
use sidestep_wire::Address;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How often neighbours that are in use are asked for: more often than the kernel forgets that they answered.
const REFRESH: Nanos = Nanos::from_secs(5);

impl Registry {
    /// The kernel's configuration has changed.
    pub(crate) fn on_netlink(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let changes = match networks.config.process() {
            Ok(changes) => changes,
            Err(error) => {
                self.log.line(format_args!("following the kernel: {error}"));
                return;
            }
        };
        if changes.iter().any(|c| !is_of_neighbour(c)) {
            networks.number += 1;
            self.directory.set_networks(networks.number);
        }
        for change in changes {
            match change {
                Change::NeighbourChanged(neighbour) => self.on_neighbour(&neighbour),
                Change::AddressAdded(address) | Change::AddressChanged(address) => {
                    self.on_address(address.ip, !address.tentative);
                }
                Change::AddressRemoved(address) => self.on_address(address.ip, false),
                Change::LinkChanged(index) => self.on_link(index),
                Change::LinkGone { index, name } => self.on_link_gone(index, &name),
                Change::NeighbourGone(_) | Change::StationMoved { .. } | Change::RoutesChanged => {}
            }
        }
    }

    /// What the kernel found out of a neighbour goes to the stacks that have a hop there.
    fn on_neighbour(&mut self, neighbour: &Neighbour) {
        let found = match (neighbour.mac, neighbour.state) {
            (Some(mac), _) => Some(mac),
            (None, NeighbourState::Failed) => None,
            _ => return,
        };
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        let interfaces = networks.interfaces.iter();
        for interface in interfaces.filter(|interface| interface.index == neighbour.link) {
            for queue in &interface.queues {
                let Some(entry) = stacks.get_mut(&queue.stack) else {
                    continue;
                };
                let at = NextHop {
                    wire: queue.wire,
                    station: interface.station,
                    vlan: 0,
                    neighbour: Address::from(neighbour.ip),
                };
                // A stack that is busy for long asks again when its segments are not answered.
                let _ = entry.with(|stack| stack.set_hop(&at, found));
            }
        }
    }

    /// Has the kernel ask those neighbours that stacks send to whether they are still there: it sees nothing of what they
    /// answer. What it finds out it tells.
    pub(crate) fn refresh_neighbours(&mut self, now: Nanos) {
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        if now < networks.refresh_at {
            return;
        }
        networks.refresh_at = now + REFRESH;
        let mut asked = BTreeSet::new();
        for interface in &networks.interfaces {
            for queue in &interface.queues {
                let Some(entry) = stacks.get_mut(&queue.stack) else {
                    continue;
                };
                let hops = entry.with(|stack| stack.followed_hops().collect::<Vec<_>>());
                for hop in hops.unwrap_or_default() {
                    let neighbour = hop.neighbour.ip();
                    if hop.wire == queue.wire && asked.insert((interface.index, neighbour)) {
                        let _ = networks.neighbours.resolve(interface.index, neighbour);
                    }
                }
            }
        }
    }

    fn on_address(&mut self, ip: IpAddr, usable: bool) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        if ip.is_loopback() {
            return;
        }
        // Another link may have the same one.
        let usable = usable || networks.config.picture().is_local(ip);
        for interface in &mut networks.interfaces {
            let _ = if usable {
                interface.steering.add_address(ip).map(|()| true)
            } else {
                interface.steering.remove_address(ip)
            };
        }
        if usable {
            let _ = self.directory.add_address(networks.netns, ip.into());
        }
    }

    fn on_link(&mut self, index: u32) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let Some(link) = networks.config.picture().link(index) else {
            return;
        };
        let mut interfaces = networks.interfaces.iter_mut();
        let Some(interface) = interfaces.find(|interface| interface.index == index) else {
            return;
        };
        interface.name.clone_from(&link.name);
        interface.mtu = link.mtu;
        if let Some(mac) = link.mac.filter(|mac| *mac != interface.station) {
            interface.station = mac;
            let _ = interface.steering.set_station(mac.0);
        }
    }

    /// An interface was deleted, or is in another namespace: connections over it end.
    fn on_link_gone(&mut self, index: u32, name: &str) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let of_index = |i: &mut super::Interface| i.index == index;
        let gone: Vec<_> = networks.interfaces.extract_if(.., of_index).collect();
        for queue in gone.iter().flat_map(|interface| &interface.queues) {
            if let Some(hop) = &queue.hop {
                let _ = networks.cables.remove(hop.index);
            }
            self.jobs.push_back(Job::CloseWire {
                stack: queue.stack,
                wire: queue.id,
            });
        }
        if !gone.is_empty() {
            self.log.line(format_args!("interface {name} is gone"));
            self.run_jobs();
        }
    }
}

const fn is_of_neighbour(change: &Change) -> bool {
    matches!(
        change,
        Change::NeighbourChanged(_) | Change::NeighbourGone(_) | Change::StationMoved { .. }
    )
}
