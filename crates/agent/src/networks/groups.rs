//! Groups (multicast) that sockets of stacks are members of. The kernel's sockets behind them have joined, so the kernel
//! reports the memberships and answers questions about them; frames for a group go to one stack at most.
//!
//! A group's frames on a port are a stack's while its socket is the only one of the host that would get a copy from the
//! kernel: nobody else is bound to the port there. The kernel's table of sockets says so, and is looked at again and
//! again: who binds to the port later has the kernel serve all from then on.

use super::interface::Interface;
use super::{Networks, is_served_alone};
use crate::ports::{self, Bound};
use crate::registry::Registry;
use rustix::net::{ipproto, sockopt};
use sidestep_control::transport::Fds;
use sidestep_control::{Fault, GroupChange, StackId, namespace};
use sidestep_netlink::{Query, RouteKind};
use sidestep_shm::Nanos;
use sidestep_steering::{Flow, Protocol};
use std::net::IpAddr;
use std::os::fd::AsFd;

/// How often the kernel's sockets are looked at while any group is steered.
pub(super) const LOOK: Nanos = Nanos::from_millis(20);
/// Most memberships of one stack; further ones are the kernel's.
const GROUPS_MAX: usize = 4096;

/// A socket's membership.
pub(super) struct Membership {
    /// Names the socket, as the kernel's table does.
    inode: u64,
    group: IpAddr,
    /// The index of the interface.
    device: u32,
    /// What is steered for it now.
    steered: Option<Flow>,
    /// Why it is not, as the log says.
    told: Option<Fault>,
    /// It was seen bound to a port, and is gone when it no longer is.
    was_bound: bool,
}

/// The flow to steer for a membership as things are now, or why there is none.
fn judged(
    membership: &Membership,
    sockets: Option<&[Bound]>,
    interfaces: &[Interface],
) -> Result<Flow, Fault> {
    let flow = flow_of(membership, sockets.ok_or(Fault::Unsupported)?)?;
    let interface = interfaces.iter().find(|i| i.index == membership.device);
    let alone = interface.is_some_and(is_served_alone);
    alone.then_some(flow).ok_or(Fault::Carrier)
}

/// The flow to steer where nobody else would get a copy.
fn flow_of(membership: &Membership, sockets: &[Bound]) -> Result<Flow, Fault> {
    let own = sockets.iter().find(|s| s.inode == membership.inode);
    let own = own.ok_or(Fault::NotBound)?;
    let group = membership.group;
    if !own.hears(group) {
        return Err(Fault::NotBound);
    }
    let others = sockets.iter().filter(|s| s.inode != membership.inode);
    let shared = others
        .filter(|s| s.port == own.port)
        .any(|s| s.hears(group));
    if shared {
        return Err(Fault::Shared);
    }
    Ok(Flow {
        vlan: Some(0),
        ..Flow::new(Protocol::Udp, Some(group), own.port)
    })
}

impl Registry {
    /// A socket of a stack has joined a group by an interface, or has left it.
    pub(crate) fn change_group(
        &mut self,
        pid: u32,
        id: StackId,
        change: &GroupChange,
        mut fds: Fds,
    ) -> Result<(), Fault> {
        self.stack_of(id, pid)?;
        let socket = fds.take().ok_or(Fault::Malformed)?;
        let netns = self.networks.as_ref().ok_or(Fault::NoNetwork)?.netns;
        let is_udp = matches!(
            sockopt::socket_protocol(socket.as_fd()),
            Ok(Some(ipproto::UDP))
        );
        if !is_udp || namespace::of_socket(socket.as_fd()).ok() != Some(netns) {
            return Err(Fault::NotBound);
        }
        let inode = rustix::fs::fstat(&socket)
            .map_err(|_| Fault::NotBound)?
            .st_ino;
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let group = change.group();
        let device = if change.joins {
            Some(networks.group_device(change)?)
        } else {
            None
        };
        self.leave_group(id, |m| {
            let there = device.is_none_or(|device| device == m.device);
            m.inode == inode && m.group == group && there
        });
        let Some(device) = device else {
            return Ok(());
        };
        let networks = self.networks.as_ref().ok_or(Fault::NoNetwork)?;
        // Groups of one link or host have sources of that, which programs see with its name.
        let is_near = matches!(group, IpAddr::V6(v6) if v6.octets()[1] & 0xf < 3);
        if is_near || !networks.is_served(device) {
            return Err(Fault::NoNetwork);
        }
        self.join_networks(id, pid)?;
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let member = networks.members.get_mut(&id).ok_or(Fault::NoNetwork)?;
        if member.groups.len() >= GROUPS_MAX {
            return Err(Fault::Exhausted);
        }
        member.groups.push(Membership {
            inode,
            group,
            device,
            steered: None,
            told: None,
            was_bound: false,
        });
        self.look_for_guests();
        self.settle_groups();
        let member = self.networks.as_ref().and_then(|n| n.members.get(&id));
        // One that is not bound yet is steered once it is.
        let joined = member.and_then(|member| member.groups.last());
        joined.and_then(|joined| joined.told).map_or(Ok(()), Err)
    }

    /// Ends some memberships of a stack.
    fn leave_group(&mut self, id: StackId, of: impl Fn(&Membership) -> bool) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let Some(member) = networks.members.get_mut(&id) else {
            return;
        };
        let number = member.number;
        for gone in member.groups.extract_if(.., |m| of(m)) {
            unsteer(&mut networks.interfaces, &gone, number);
        }
    }

    /// Steers what comes to groups to the stacks whose sockets are alone there, and leaves the rest to the kernel.
    pub(crate) fn settle_groups(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        if networks.members.values().all(|m| m.groups.is_empty()) {
            return;
        }
        networks.groups_at = self.clock.now();
        let sockets = ports::sockets("/proc/thread-self", Protocol::Udp as u8);
        let Networks {
            interfaces,
            members,
            ..
        } = networks;
        for (id, member) in members {
            for membership in &mut member.groups {
                let wanted = judged(membership, sockets.as_deref(), interfaces);
                membership.was_bound |= wanted != Err(Fault::NotBound);
                let (was, now) = (membership.steered, wanted.ok());
                if was != now {
                    unsteer(interfaces, membership, member.number);
                    membership.steered = None;
                    let mut at = interfaces.iter_mut();
                    let interface = at.find(|i| i.index == membership.device);
                    if let (Some(flow), Some(interface)) = (now, interface) {
                        let added = interface.steering.add(&flow, member.number);
                        membership.steered = added.is_ok().then_some(flow);
                    }
                }
                let why = wanted.err().filter(|why| *why != Fault::NotBound);
                if was == membership.steered && membership.told == why {
                    continue;
                }
                membership.told = why;
                let group = membership.group;
                match (membership.steered, why) {
                    (Some(flow), _) => self.log.line(format_args!(
                        "stack {id:016x} has group {group}, port {}",
                        flow.port
                    )),
                    (None, Some(why)) => self.log.line(format_args!(
                        "stack {id:016x}: group {group} is left to the kernel: {why}"
                    )),
                    (None, None) => {}
                }
            }
            let over = |m: &mut Membership| {
                let mut known = sockets.iter().flatten();
                m.was_bound && sockets.is_some() && !known.any(|s| s.inode == m.inode)
            };
            member.groups.extract_if(.., over).for_each(drop);
        }
    }

    /// Looks whether others take frames that arrive at interfaces where groups were joined.
    pub(crate) fn look_for_guests(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let Networks {
            interfaces,
            members,
            neighbours,
            ..
        } = networks;
        for interface in interfaces {
            let mut groups = members.values().flat_map(|member| &member.groups);
            if groups.any(|m| m.device == interface.index) {
                interface.is_shared = neighbours.is_shared(interface.index).unwrap_or(true);
            }
        }
    }

    /// Looks at the kernel's sockets again, if that is due.
    pub(crate) fn check_groups(&mut self, now: Nanos) {
        let due = |n: &Networks| now >= n.groups_at + LOOK;
        if self.networks.as_ref().is_some_and(due) {
            self.settle_groups();
        }
    }
}

/// What was steered for a membership is the kernel's again.
pub(super) fn unsteer(interfaces: &mut [Interface], membership: &Membership, number: u32) {
    if let Some(flow) = &membership.steered {
        let mut at = interfaces.iter_mut();
        if let Some(interface) = at.find(|i| i.index == membership.device) {
            let _ = interface.steering.remove(flow, number);
        }
    }
}

impl Networks {
    /// The interface by which a group is joined, as the kernel finds it: by its index, by an address of it, or by the
    /// route to the group.
    fn group_device(&mut self, change: &GroupChange) -> Result<u32, Fault> {
        if change.device != 0 {
            return Ok(change.device);
        }
        let near = change.near();
        if !near.is_unspecified() {
            let mut addresses = self.config.picture().addresses();
            let found = addresses.find(|address| address.ip == near);
            return found.map(|a| a.link).ok_or(Fault::NoNetwork);
        }
        let query = Query::to(change.group());
        let route = self.routes.lookup(&query).map_err(|_| Fault::NoNetwork)?;
        match route.kind {
            RouteKind::Multicast | RouteKind::Unicast => Ok(route.link),
            _ => Err(Fault::NoNetwork),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_steered_to_whom_nobody_else_hears_with() {
        let group = IpAddr::from([239, 1, 1, 1]);
        let membership = Membership {
            inode: 1,
            group,
            device: 2,
            steered: None,
            told: None,
            was_bound: false,
        };
        let socket = |inode, address: &str, port| Bound {
            inode,
            user: 0,
            address: address.parse().unwrap(),
            port,
            serves: true,
        };
        let own = || socket(1, "0.0.0.0", 7);
        let with = |others: Vec<Bound>| {
            let all: Vec<_> = others.into_iter().chain([own()]).collect();
            flow_of(&membership, &all).map(|flow| (flow.address, flow.port, flow.vlan))
        };
        let steered = Ok((Some(group), 7, Some(0)));
        assert_eq!(with(vec![]), steered);
        assert_eq!(with(vec![socket(2, "0.0.0.0", 8)]), steered);
        assert_eq!(with(vec![socket(2, "10.0.0.1", 7)]), steered);
        assert_eq!(with(vec![socket(2, "239.1.1.2", 7)]), steered);
        for other in ["0.0.0.0", "::", "239.1.1.1"] {
            assert_eq!(with(vec![socket(2, other, 7)]), Err(Fault::Shared));
        }
        assert_eq!(flow_of(&membership, &[]), Err(Fault::NotBound));
        let elsewhere = [socket(1, "239.1.1.2", 7)];
        assert_eq!(flow_of(&membership, &elsewhere), Err(Fault::NotBound));
    }
}
