//! What lies upon the served interfaces: VLANs, bonds, bridges and macvlans, which have hardware addresses, IP addresses
//! and packet lengths of their own. Followed live, and handed on to steering programs and stacks.
//!
//! Served is what the agent was told to serve. A link upon it is accelerated if all that it receives comes by served
//! interfaces as the steering program sees frames; else it is the kernel's, and the log says why.

use super::Networks;
use super::interface::Interface;
use crate::registry::{Job, Registry, StackEntry, Unavailable};
use sidestep_control::StackId;
use sidestep_netlink::{BondMode, Link, LinkKind, Picture, Receiver};
use sidestep_steering::{Station, hides_tags};
use sidestep_wire::Mac;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// No interface has that address; frames to groups are not compared with it.
const NOBODY: [u8; 6] = [0xff; 6];

/// A link whose frames come by an interface: that itself, or one upon it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upon {
    pub(crate) link: u32,
    pub(crate) station: Mac,
    /// The tag that its frames have there, 0 for none.
    pub(crate) vlan: u16,
}

/// How an interface is used, as the kernel's configuration is now.
struct Plan {
    upon: Vec<Upon>,
    /// Addresses of this host, each in a VLAN.
    addresses: BTreeSet<(IpAddr, u16)>,
    /// Longest IP packet.
    packet_bytes: u32,
    /// Frames may be sent by it: it is no port of a bond that sends by another.
    sends: bool,
    /// Links that are left to the kernel, and why.
    left: Vec<(u32, String)>,
}

/// Something that a stack must know of one of its queues, by its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueChange {
    /// It is of another network.
    Network(u64),
    /// What was sent by it is sent by the queue of this wire.
    MoveTo(u32),
    /// Longest IP packet.
    Mtu(u32),
    /// Our hardware address in a VLAN is another one.
    Station { vlan: u16, from: Mac, to: Mac },
    /// We have it no more.
    StationLost { vlan: u16, station: Mac },
}

impl QueueChange {
    /// Tells the stack.
    pub(crate) fn tell(self, entry: &mut StackEntry, wire: u32) -> Result<(), Unavailable> {
        entry.with(|stack| match self {
            // Without room for a further network it stays in the one that it had.
            Self::Network(network) => stack.set_network(wire, network).unwrap_or(()),
            Self::MoveTo(to) => stack.move_wire(wire, to),
            Self::Mtu(mtu) => stack.set_network_mtu(wire, mtu),
            Self::Station { vlan, from, to } => stack.set_station(wire, vlan, (from, to)),
            Self::StationLost { vlan, station } => stack.lose_station(wire, vlan, station),
        })
    }
}

impl Networks {
    pub(super) fn is_served(&self, link: u32) -> bool {
        self.interfaces.iter().any(|i| i.index == link)
    }

    /// Whether a served interface is among those that a link is made of, in whatever way.
    pub(super) fn lies_upon_served(&self, link: u32) -> bool {
        let picture = self.config.picture();
        let (mut seen, mut next) = (BTreeSet::new(), vec![link]);
        while let Some(index) = next.pop() {
            if self.is_served(index) {
                return true;
            }
            if !seen.insert(index) {
                continue;
            }
            match picture.link(index).map(|link| &link.kind) {
                Some(LinkKind::Vlan { lower, .. } | LinkKind::Macvlan { lower, .. }) => {
                    next.extend(*lower);
                }
                Some(LinkKind::Bond { .. } | LinkKind::Bridge { .. }) => {
                    next.extend(picture.ports(index).map(|port| port.index));
                }
                _ => {}
            }
        }
        false
    }

    fn plan(&self, interface: &Interface) -> Plan {
        let picture = self.config.picture();
        let receivers = picture.receivers(interface.index, |link| self.is_served(link));
        let is_tagged = receivers.iter().any(|receiver| receiver.vlan.is_some());
        // Packet sockets are told of tags that were taken out of frames.
        let hides =
            is_tagged && !interface.is_packet() && hides_tags(interface.index) == Some(true);
        let (mut upon, mut left, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for receiver in &receivers {
            let Some(link) = picture.link(receiver.link).filter(|link| link.ethernet) else {
                continue;
            };
            let Some(station) = link.mac else { continue };
            if receiver.vlan.is_some() && hides {
                hidden.push(link.index);
            }
            match self.obstacle(interface, receiver, hides) {
                Some(why) => left.push((link.index, format!("{}: {why}", link.name))),
                None => upon.push(Upon {
                    link: link.index,
                    station,
                    vlan: receiver.vlan.unwrap_or(0),
                }),
            }
        }
        let link = picture.link(interface.index);
        let uses = |link: &&Link| picture.addresses().any(|a| a.link == link.index);
        let lengths = upon.iter().filter_map(|upon| picture.link(upon.link));
        let packet_bytes = lengths.filter(uses).map(|link| link.mtu).min();
        Plan {
            addresses: self.addresses_at(&upon, &hidden),
            packet_bytes: packet_bytes.map_or(interface.mtu, |bytes| bytes.min(interface.mtu)),
            sends: link.is_none_or(|link| sends(picture, link)),
            upon,
            left,
        }
    }

    /// Why a link that receives frames by an interface is not accelerated, if it is not.
    fn obstacle(
        &self,
        interface: &Interface,
        receiver: &Receiver,
        hides_tags: bool,
    ) -> Option<String> {
        let ports = receiver.bond.map(|bond| self.config.picture().ports(bond));
        // By one that is off nothing comes; it is served once it is on.
        let unserved = |port: &&Link| port.up && !self.is_served(port.index);
        if let Some(port) = ports.into_iter().flatten().find(unserved) {
            let name = &port.name;
            return Some(format!(
                "port {name} of the bond is not served: name it too, with --link xdp:{name}"
            ));
        }
        self.tags_hidden(interface, receiver, hides_tags)
    }

    fn tags_hidden(
        &self,
        interface: &Interface,
        receiver: &Receiver,
        hides_tags: bool,
    ) -> Option<String> {
        let name = &interface.name;
        (receiver.vlan.is_some() && hides_tags).then(|| {
            format!(
                "the driver of {name} takes VLAN tags out of frames: `ethtool -K {name} rxvlan off` leaves them in"
            )
        })
    }

    /// The addresses of this host that frames at an interface can be for. As with the kernel, an address is the host's and
    /// not a link's, but those of VLANs, which may be the same in several, are so in their own one only.
    fn addresses_at(&self, upon: &[Upon], hidden: &[u32]) -> BTreeSet<(IpAddr, u16)> {
        let picture = self.config.picture();
        let vlans: BTreeSet<u16> = upon.iter().map(|upon| upon.vlan).collect();
        let mut found = BTreeSet::new();
        let usable = || {
            let addresses = picture.addresses();
            addresses.filter(|a| !a.tentative && super::is_steered(a.ip))
        };
        for address in usable() {
            if let Some(at) = upon.iter().find(|upon| upon.link == address.link) {
                found.insert((address.ip, at.vlan));
            } else if is_of_no_wire(picture, address.link) {
                found.extend(vlans.iter().map(|vlan| (address.ip, *vlan)));
            } else if !is_tagged(picture, address.link) {
                found.insert((address.ip, 0));
            }
        }
        // Frames whose tag is hidden look as if they had none.
        for address in usable().filter(|address| hidden.contains(&address.link)) {
            found.remove(&(address.ip, 0));
        }
        found
    }

    /// Why links upon an interface are left to the kernel.
    pub(super) fn left_by(&self, interface: &Interface) -> impl Iterator<Item = &str> {
        let picture = self.config.picture();
        let receivers = picture.receivers(interface.index, |link| self.is_served(link));
        let why = receivers.into_iter().filter_map(|r| self.left.get(&r.link));
        why.map(String::as_str)
    }

    /// The link whose frames go by an interface, or by another of the same bond, from that station of ours in that VLAN.
    pub(super) fn link_from(&self, interface: &Interface, station: Mac, vlan: u16) -> u32 {
        let ports = self
            .interfaces
            .iter()
            .filter(|i| i.network == interface.network);
        let mut upon = ports.flat_map(|port| &port.upon);
        upon.find(|upon| upon.station == station && upon.vlan == vlan)
            .map_or(interface.index, |upon| upon.link)
    }
}

impl Registry {
    /// Brings steering programs and stacks in line with the kernel's configuration.
    pub(crate) fn settle_networks(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let picture = networks.config.picture();
        for interface in &mut networks.interfaces {
            let Some(link) = picture.link(interface.index) else {
                continue;
            };
            interface.name.clone_from(&link.name);
            interface.mtu = link.mtu;
            interface.station = link.mac.unwrap_or(interface.station);
        }
        let plans: Vec<Plan> = networks
            .interfaces
            .iter()
            .map(|i| networks.plan(i))
            .collect();
        let mut left = BTreeMap::new();
        let mut moved = BTreeSet::new();
        for (at, plan) in plans.into_iter().enumerate() {
            left.extend(plan.left.iter().cloned());
            moved.extend(self.follow_plan(at, plan));
        }
        for network in moved {
            self.move_off_idle_ports(network);
        }
        self.say_what_is_left(left);
        self.run_jobs();
    }

    /// Returns the network of the interface, if which of its ports send has changed.
    fn follow_plan(&mut self, at: usize, plan: Plan) -> Option<u64> {
        let Self {
            networks,
            jobs,
            log,
            ..
        } = self;
        let networks = networks.as_mut()?;
        let picture = networks.config.picture();
        let bond = picture
            .link(networks.interfaces[at].index)
            .and_then(|link| {
                let bond = picture.link(link.master?)?;
                matches!(bond.kind, LinkKind::Bond { .. }).then_some(bond.index)
            });
        let interface = &mut networks.interfaces[at];
        let mut changes = Vec::new();
        // All ports of a bond are one network: what comes in by one is answered by whichever.
        let network = bond.map_or(interface.own_network, |bond| {
            let new = || crate::wires::random().unwrap_or(interface.own_network);
            *networks.bonds.entry(bond).or_insert_with(new)
        });
        let other_network = interface.network != network;
        if other_network {
            interface.network = network;
            changes.push(QueueChange::Network(network));
        }
        let other_sends = interface.sends != plan.sends;
        interface.sends = plan.sends;
        if interface.packet_bytes != plan.packet_bytes {
            interface.packet_bytes = plan.packet_bytes;
            changes.push(QueueChange::Mtu(plan.packet_bytes));
        }
        let is_there = |link: u32| picture.link(link).is_some();
        changes.extend(differences(&interface.upon, &plan.upon, is_there));
        for queue in &interface.queues {
            jobs.extend(changes.iter().map(|change| Job::Queue {
                stack: queue.stack,
                wire: queue.wire,
                change: *change,
            }));
        }
        let steered = interface.steer_to(plan);
        if let Err(error) = steered {
            log.line(format_args!("steering: {error}"));
        }
        (bond.is_some() && (other_sends || other_network)).then_some(network)
    }

    /// What stacks send by ports of a bond that do not send goes by one that does.
    fn move_off_idle_ports(&mut self, network: u64) {
        let Self { networks, jobs, .. } = self;
        let Some(networks) = networks else { return };
        let ports = || networks.interfaces.iter().filter(|i| i.network == network);
        let Some(used) = ports().find(|port| port.sends) else {
            return;
        };
        let to: BTreeMap<StackId, u32> = used.queues.iter().map(|q| (q.stack, q.wire)).collect();
        let idle = ports().filter(|port| !port.sends);
        for queue in idle.flat_map(|port| &port.queues) {
            let (stack, wire) = (queue.stack, queue.wire);
            jobs.extend(to.get(&stack).map(|to| Job::Queue {
                stack,
                wire,
                change: QueueChange::MoveTo(*to),
            }));
        }
    }

    /// Writes to the log what is left to the kernel, once.
    fn say_what_is_left(&mut self, left: BTreeMap<u32, String>) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        for (link, why) in &left {
            if networks.left.get(link) != Some(why) {
                self.log.line(format_args!("left to the kernel: {why}"));
            }
        }
        networks.left = left;
    }
}

impl Interface {
    /// Has the steering program know the stations and addresses.
    fn steer_to(&mut self, plan: Plan) -> Result<(), sidestep_steering::SteeringError> {
        let mut stations: BTreeSet<Station> = plan
            .upon
            .iter()
            .map(|upon| Station {
                address: upon.station.0,
                vlan: upon.vlan,
            })
            .collect();
        self.upon = plan.upon;
        let own = Station {
            address: self.station.0,
            vlan: 0,
        };
        let is_own = stations.remove(&own);
        for gone in self.addresses.difference(&plan.addresses) {
            self.steering.remove_address(gone.0, gone.1)?;
        }
        for new in plan.addresses.difference(&self.addresses) {
            self.steering.add_address(new.0, new.1)?;
        }
        self.addresses = plan.addresses;
        self.steering
            .set_station(if is_own { own.address } else { NOBODY })?;
        self.steering.set_stations(&stations)
    }
}

/// What is different for connections. A link that is merely off, or a bond that uses another port, ends nothing.
fn differences<'a>(
    before: &'a [Upon],
    after: &'a [Upon],
    is_there: impl Fn(u32) -> bool + 'a,
) -> impl Iterator<Item = QueueChange> + 'a {
    before.iter().filter_map(move |old| {
        let (vlan, from) = (old.vlan, old.station);
        match after.iter().find(|new| new.link == old.link) {
            Some(new) if new.vlan == vlan && new.station == from => None,
            Some(new) if new.vlan == vlan => {
                let to = new.station;
                Some(QueueChange::Station { vlan, from, to })
            }
            None if is_there(old.link) => None,
            _ => {
                let station = from;
                let is_anothers = |new: &Upon| (new.vlan, new.station) == (vlan, station);
                let lost = !after.iter().any(is_anothers);
                lost.then_some(QueueChange::StationLost { vlan, station })
            }
        }
    })
}

/// Whether frames may be sent by an interface.
fn sends(picture: &Picture, link: &Link) -> bool {
    let bond = link.master.and_then(|master| picture.link(master));
    match bond.map(|bond| &bond.kind) {
        Some(LinkKind::Bond { mode, active }) => match mode {
            BondMode::ActiveBackup => *active == Some(link.index),
            BondMode::Lacp | BondMode::Balance => link.active_port && link.running,
            BondMode::Other => false,
        },
        _ => true,
    }
}

/// Whether a link has addresses only, of the host as a whole.
fn is_of_no_wire(picture: &Picture, link: u32) -> bool {
    picture.link(link).is_some_and(|link| match &link.kind {
        LinkKind::Loopback => true,
        LinkKind::Other(kind) => kind == "dummy",
        _ => false,
    })
}

/// Whether a link's frames have a tag on the wire.
fn is_tagged(picture: &Picture, link: u32) -> bool {
    let mut next = Some(link);
    // The kernel allows no more interfaces upon each other.
    for _ in 0..10 {
        match next.and_then(|index| picture.link(index)).map(|l| &l.kind) {
            Some(LinkKind::Vlan { .. }) => return true,
            Some(LinkKind::Macvlan { lower, .. }) => next = *lower,
            _ => return false,
        }
    }
    false
}
