//! What the kernel tells of changes, handed on to steering programs and stacks.

use super::Networks;
use super::solicit::solicit;
use crate::registry::{Job, Registry};
use sidestep_control::StackId;
use sidestep_netlink::{Change, Neighbour, NeighbourState};
use sidestep_shm::Nanos;
use sidestep_stack::{NextHop, Stack};
use sidestep_wire::Address;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How often neighbours that are in use are asked for: more often than the kernel forgets that they answered.
const REFRESH: Nanos = Nanos::from_secs(5);
/// How often it is looked which neighbours do not answer connections: seldom beside what the kernel waits for them.
const DOUBTS: Nanos = Nanos::from_millis(50);

/// Entries of a stack's table of hops that are looked at while it is locked.
const HOPS_AT_ONCE: usize = 256;

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
            let members = networks.members.keys();
            self.jobs
                .extend(members.map(|stack| Job::ForgetWays { stack: *stack }));
            self.run_jobs();
        }
        let mut settle = false;
        for change in changes {
            settle |= !is_of_neighbour(&change) && change != Change::RoutesChanged;
            match change {
                Change::NeighbourChanged(neighbour) => self.on_neighbour(&neighbour),
                Change::AddressAdded(address) | Change::AddressChanged(address) => {
                    self.on_address(address.ip, !address.tentative);
                }
                Change::LinkGone { index, name } => self.on_link_gone(index, &name),
                Change::AddressRemoved(_)
                | Change::LinkChanged(_)
                | Change::NeighbourGone(_)
                | Change::StationMoved { .. }
                | Change::RoutesChanged => {}
            }
        }
        if settle {
            // First, so that a bond is not left to the kernel for a port that is served in a moment.
            self.serve_again();
            self.settle_networks();
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
        let picture = networks.config.picture();
        if found.is_none()
            && neighbour.ip.is_ipv6()
            && let Some(link) = picture.link(neighbour.link)
            && picture
                .addresses()
                .any(|address| address.link == neighbour.link && address.tentative)
        {
            // It was not asked: the address to ask from is still looked for duplicates of.
            let _ = networks.neighbours.resolve(neighbour.link, neighbour.ip);
            let _ = solicit(networks.config.picture(), link, neighbour.ip);
            return;
        }
        for interface in &networks.interfaces {
            let upon = interface.upon.iter().find(|u| u.link == neighbour.link);
            let Some(upon) = upon else { continue };
            for queue in &interface.queues {
                let Some(entry) = stacks.get_mut(&queue.stack) else {
                    continue;
                };
                let at = NextHop {
                    wire: queue.wire,
                    station: upon.station,
                    vlan: upon.vlan,
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
        let Some(networks) = &mut self.networks else {
            return;
        };
        if now < networks.refresh_at {
            return;
        }
        networks.refresh_at = now + REFRESH;
        // The kernel does not tell when a driver begins to leave tags in frames.
        self.serve_again();
        self.settle_networks();
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        let mut asked = BTreeSet::new();
        for id in networks.members.keys() {
            let Some(entry) = stacks.get_mut(id) else {
                continue;
            };
            // A few at a time, so that the program seldom waits for us.
            let mut hops = Vec::new();
            let mut rest = Some(0);
            while let Some(from) = rest {
                let found = entry.with(|stack| stack.followed_hops(from, HOPS_AT_ONCE));
                let Ok((some, more)) = found else { break };
                hops.extend(some);
                rest = more;
            }
            for hop in hops {
                if let Some((link, neighbour)) = networks.neighbour_at(*id, &hop)
                    && asked.insert((link, neighbour))
                {
                    let _ = networks.neighbours.resolve(link, neighbour);
                }
            }
        }
    }

    /// Has the kernel ask neighbours at once that connections get no answer over: it would, had it to send what is repeated.
    pub(crate) fn ask_unanswering(&mut self, now: Nanos) {
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks.as_mut().filter(|n| now >= n.doubts_at) else {
            return;
        };
        networks.doubts_at = now + DOUBTS;
        for id in networks.members.keys() {
            let Some(entry) = stacks.get_mut(id) else {
                continue;
            };
            let doubted = match entry.try_with(Stack::take_doubts) {
                Ok(Some(doubted)) => doubted,
                // So many that all are asked.
                Ok(None) => {
                    networks.refresh_at = now;
                    continue;
                }
                // They stay doubted.
                Err(_) => continue,
            };
            for hop in doubted {
                if let Some((link, neighbour)) = networks.neighbour_at(*id, &hop) {
                    let _ = networks.neighbours.resolve(link, neighbour);
                }
            }
        }
    }

    fn on_address(&mut self, ip: IpAddr, usable: bool) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        if !super::is_steered(ip) {
            return;
        }
        if usable {
            let _ = self.directory.add_address(networks.netns, ip.into());
        }
    }

    /// An interface was deleted, or is in another namespace: connections over it end.
    fn on_link_gone(&mut self, index: u32, name: &str) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let of_index = |i: &mut super::Interface| i.index == index;
        let gone: Vec<_> = networks.interfaces.extract_if(.., of_index).collect();
        for cable in gone.iter().filter_map(|interface| interface.cutter.cable()) {
            let _ = networks.cables.remove(cable);
        }
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

impl Networks {
    /// The kernel's name for a hop of a stack.
    fn neighbour_at(&self, stack: StackId, hop: &NextHop) -> Option<(u32, IpAddr)> {
        let has = |i: &&super::Interface| i.queues_of(stack).any(|q| q.wire == hop.wire);
        let interface = self.interfaces.iter().find(has)?;
        let link = self.link_from(interface, hop.station, hop.vlan);
        Some((link, hop.neighbour.ip()))
    }
}

const fn is_of_neighbour(change: &Change) -> bool {
    matches!(
        change,
        Change::NeighbourChanged(_) | Change::NeighbourGone(_) | Change::StationMoved { .. }
    )
}
