//! Which ports of this host are whose: what networks send there goes to the stack.
//!
//! A port is claimed by showing a socket of the kernel that is bound to it, so nobody gets what the kernel would not have
//! given him.

use super::interface::Interface;
use crate::bound::{Bound, bound};
use crate::ports::Tables;
use crate::registry::Registry;
use sidestep_control::transport::Fds;
use sidestep_control::{Fault, Publication, StackId};
use sidestep_shm::Nanos;
use sidestep_stack::{Kind, SocketReport};
use sidestep_steering::{Connection, Flow, Protocol, SteeringError};
use sidestep_wire::{Address, Endpoint};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

/// How long a claim stays although no socket of the stack has the port: it was made for one that is about to.
const GRACE: Nanos = Nanos::from_secs(3);

/// A port that is a stack's.
pub(crate) struct Claim {
    pub(super) flow: Flow,
    /// The index of the one interface where it holds; 0 for all.
    device: u32,
    kind: ClaimKind,
    since: Nanos,
}

/// How long it is.
enum ClaimKind {
    /// As long as the stack: we keep the port reserved meanwhile.
    Kept(#[expect(dead_code, reason = "held, not looked at")] OwnedFd),
    /// As long as it is published.
    Served,
    /// As long as a socket of the stack has the port: looked at from time to time.
    Used,
}

impl Claim {
    /// Whether it holds at the interface with that index.
    pub(super) const fn is_at(&self, interface: u32) -> bool {
        self.device == 0 || self.device == interface
    }

    /// The port, if the kernel may have connections there from before it was claimed.
    pub(super) fn kernels_port(&self) -> Option<u16> {
        let may_be = matches!(self.kind, ClaimKind::Served) && self.flow.protocol == Protocol::Tcp;
        may_be.then_some(self.flow.port)
    }

    /// Has its flow steered to the stack with that number.
    pub(super) fn steer(
        &self,
        interface: &mut Interface,
        number: u32,
    ) -> Result<(), SteeringError> {
        interface.steering.add(&self.flow, number)
    }

    /// Ends it, but for what other claims of the stack share with it.
    fn end(&self, interfaces: &mut [Interface], others: &[Self], number: u32) {
        for interface in interfaces.iter_mut().filter(|i| self.is_at(i.index)) {
            let _ = interface.steering.remove(&self.flow, number);
            for other in others {
                if other.is_at(interface.index) && other.flow.port == self.flow.port {
                    let _ = interface.steering.add(&other.flow, number);
                }
            }
        }
    }
}

/// What is steered for a socket; none for what no network reaches.
fn steered(bound: &Bound) -> Option<Flow> {
    flow(bound.protocol, bound.local, bound.v6_only)
}

/// What is steered for what a stack serves; none for what no network reaches.
fn flow_of(what: &Publication) -> Option<Flow> {
    let protocol = match what.protocol {
        17 => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    flow(protocol, what.endpoint(), what.v6_only)
}

/// What is steered for an endpoint; none for one that no network reaches.
fn flow(protocol: Protocol, local: Endpoint, v6_only: bool) -> Option<Flow> {
    let ip = local.addr.ip();
    // `::` takes IPv4 too, unless it is told not to.
    let both = local.addr == Address::UNSPECIFIED_V6 && !v6_only;
    let reachable = !ip.is_loopback() && !ip.is_multicast();
    reachable.then(|| Flow::new(protocol, (!both).then_some(ip), local.port))
}

impl Registry {
    /// The ports of these sockets are the stack's.
    pub(crate) fn claim(
        &mut self,
        pid: u32,
        id: StackId,
        keep: bool,
        mut fds: Fds,
    ) -> Result<(), Fault> {
        self.stack_of(id, pid)?;
        self.join_networks(id, pid)?;
        while let Some(socket) = fds.take() {
            let netns = self.networks.as_ref().map_or(0, |n| n.netns);
            let bound = bound(socket.as_fd(), netns)?;
            let Some(flow) = steered(&bound) else {
                continue;
            };
            self.check_port(pid, id, &bound.publication())?;
            let kind = if keep {
                ClaimKind::Kept(socket)
            } else {
                ClaimKind::Used
            };
            self.add_claim(id, flow, bound.device, kind)?;
        }
        Ok(())
    }

    /// A stack serves an endpoint: to networks too, if its program shows the socket that is bound to it. Where there is
    /// no network, or none for it, it is served on this host alone.
    pub(crate) fn claim_published(
        &mut self,
        pid: u32,
        id: StackId,
        what: &Publication,
        socket: Option<OwnedFd>,
    ) -> Result<(), Fault> {
        let Some(socket) = socket.filter(|_| self.networks.is_some()) else {
            return Ok(());
        };
        match self.join_networks(id, pid) {
            Err(Fault::OtherNamespace) => return Ok(()),
            joined => joined?,
        }
        let netns = self.networks.as_ref().map_or(0, |n| n.netns);
        let bound = bound(socket.as_fd(), netns)?;
        if !bound.is(what) {
            return Err(Fault::NotBound);
        }
        match steered(&bound) {
            Some(flow) => self.add_claim(id, flow, bound.device, ClaimKind::Served),
            None => Ok(()),
        }
    }

    fn add_claim(
        &mut self,
        id: StackId,
        flow: Flow,
        device: u32,
        kind: ClaimKind,
    ) -> Result<(), Fault> {
        let since = self.now();
        self.make_way(id, &flow)?;
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let port = flow.port;
        let may_be_kernels = matches!(kind, ClaimKind::Served) && flow.protocol == Protocol::Tcp;
        if may_be_kernels {
            networks.leave_to_kernel(port);
        }
        let member = networks.members.get_mut(&id).ok_or(Fault::NoNetwork)?;
        let is_known = |claim: &&mut Claim| claim.flow == flow && claim.device == device;
        if let Some(known) = member.claims.iter_mut().find(is_known) {
            known.since = since;
            match (&known.kind, &kind) {
                (ClaimKind::Kept(_), _) | (_, ClaimKind::Used) => {}
                _ => known.kind = kind,
            }
            return Ok(());
        }
        let claim = Claim {
            flow,
            device,
            kind,
            since,
        };
        let mut interfaces = networks.interfaces.iter_mut();
        let mut concerned = interfaces
            .by_ref()
            .filter(|i| claim.is_at(i.index))
            .peekable();
        // Where other links lie upon the interface, a port there is not theirs too.
        let is_shared = |i: &&mut Interface| i.upon.iter().any(|upon| upon.link != device);
        if device != 0 && concerned.peek().is_none_or(is_shared) {
            return Err(Fault::NoNetwork);
        }
        for interface in concerned {
            let added = interface.steering.add(&claim.flow, member.number);
            added.map_err(|error| {
                self.log.line(format_args!("steering: {error}"));
                Fault::Interface
            })?;
        }
        member.claims.push(claim);
        if may_be_kernels {
            // Once more, for those that it accepted until now.
            networks.leave_to_kernel(port);
        }
        Ok(())
    }

    /// The kernel gives two users a TCP port that neither listens at, or one for datagrams, if both allow that: here it is
    /// the first one's, or root's.
    fn make_way(&mut self, id: StackId, flow: &Flow) -> Result<(), Fault> {
        let user = self.stack(id)?.user;
        let of_another = |other: u32, claim: &Claim| other != user && overlap(&claim.flow, flow);
        if Self::is_trusted(user) {
            self.end_claims(of_another);
            return Ok(());
        }
        let members = self.networks.iter().flat_map(|n| &n.members);
        let taken = members.into_iter().any(|(other, member)| {
            let other = self.stacks.get(other).map(|entry| entry.user);
            other.is_some_and(|other| member.claims.iter().any(|c| of_another(other, c)))
        });
        if taken { Err(Fault::InUse) } else { Ok(()) }
    }

    /// Ends claims to ports at which another user's sockets serve by now.
    fn end_robbing_claims(&mut self) {
        let mut users = self.stacks.values().map(|entry| entry.user);
        if users.all(Self::is_trusted) {
            return;
        }
        let tables = Tables::of("/proc/thread-self");
        self.end_claims(|user, claim| {
            let ip = claim.flow.address.map(Address::from);
            let at = Endpoint::new(ip.unwrap_or(Address::UNSPECIFIED_V6), claim.flow.port);
            let what = Publication::new(claim.flow.protocol as u8, at, false, false);
            tables.say_taken(user, &what)
        });
    }

    /// Ends some claims, given with their user; not root's.
    fn end_claims(&mut self, which: impl Fn(u32, &Claim) -> bool) {
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        for (id, member) in &mut networks.members {
            let Some(user) = stacks.get(id).map(|entry| entry.user) else {
                continue;
            };
            if Self::is_trusted(user) {
                continue;
            }
            let ends =
                |claim: &mut Claim| !matches!(claim.kind, ClaimKind::Kept(_)) && which(user, claim);
            let gone: Vec<Claim> = member.claims.extract_if(.., ends).collect();
            for claim in gone {
                claim.end(&mut networks.interfaces, &member.claims, member.number);
                let port = claim.flow.port;
                self.log.line(format_args!(
                    "stack {id:016x}: port {port} is another user's"
                ));
            }
        }
    }

    /// Ends claims of all stacks to ports that no socket has any more, or another user's has.
    pub(crate) fn check_claims(&mut self) {
        let now = self.now();
        let Some(networks) = &mut self.networks else {
            return;
        };
        networks.check_kernels();
        self.end_robbing_claims();
        let Some(networks) = &self.networks else {
            return;
        };
        let members: Vec<StackId> = networks.members.keys().copied().collect();
        for id in members {
            self.settle_claims(id, |claim| {
                matches!(claim.kind, ClaimKind::Used) && now - claim.since > GRACE
            });
        }
    }

    /// The stack no longer serves an endpoint.
    pub(crate) fn unclaim(&mut self, id: StackId, what: &Publication) {
        let Some(flow) = flow_of(what) else {
            return;
        };
        let member = self.networks.as_mut().and_then(|n| n.members.get_mut(&id));
        let claims = member.into_iter().flat_map(|member| &mut member.claims);
        for claim in claims.filter(|claim| claim.flow == flow) {
            // Others may serve it still, or the stack be busy now: then it is looked at again.
            if matches!(claim.kind, ClaimKind::Served) {
                claim.kind = ClaimKind::Used;
            }
        }
        self.settle_claims(id, |claim| claim.flow == flow);
    }

    /// Ends the claim of a stack to what the kernel has given to somebody else since.
    pub(crate) fn lose_claim(&mut self, id: StackId, what: &Publication) {
        let lost = flow_of(what);
        let Some(networks) = &mut self.networks else {
            return;
        };
        let Some(member) = networks.members.get_mut(&id) else {
            return;
        };
        let is_lost = |claim: &mut Claim| {
            Some(claim.flow) == lost && !matches!(claim.kind, ClaimKind::Kept(_))
        };
        let ended: Vec<Claim> = member.claims.extract_if(.., is_lost).collect();
        for claim in ended {
            claim.end(&mut networks.interfaces, &member.claims, member.number);
        }
    }

    /// Ends those of some claims whose ports the stack does not serve any more. Connections that are left of them are
    /// steered one by one, so that the port is free for others.
    fn settle_claims(&mut self, id: StackId, of: impl Fn(&Claim) -> bool) {
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        let Some(member) = networks.members.get_mut(&id) else {
            return;
        };
        let number = member.number;
        let concerned = |claim: &Claim| !matches!(claim.kind, ClaimKind::Kept(_)) && of(claim);
        if member.connections.is_empty() && !member.claims.iter().any(concerned) {
            return;
        }
        // A stack that is busy is looked at again.
        let entry = stacks.get_mut(&id);
        let Some(Ok(report)) = entry.map(|entry| entry.with(|stack| stack.report())) else {
            return;
        };
        let over_networks: Vec<u32> = networks
            .interfaces
            .iter()
            .flat_map(|interface| interface.queues_of(id).map(|queue| queue.wire))
            .collect();
        let connection = |s: &SocketReport| {
            let by_network = s.wire.is_some_and(|wire| over_networks.contains(&wire));
            (s.kind == Kind::Stream && by_network && s.state != "CLOSED").then(|| {
                let (local, remote) = (s.local, s.remote);
                let local = SocketAddr::new(local.addr.ip(), local.port);
                let remote = SocketAddr::new(remote.addr.ip(), remote.port);
                Connection {
                    vlan: s.vlan,
                    ..Connection::new(Protocol::Tcp, local, remote)
                }
            })
        };
        let serves = |s: &SocketReport, claim: &Claim| uses(s, claim) && connection(s).is_none();
        let ended = |claim: &mut Claim| {
            concerned(claim) && !report.sockets.iter().any(|s| serves(s, claim))
        };
        let ended: Vec<Claim> = member.claims.extract_if(.., ended).collect();
        for claim in ended {
            let left = report.sockets.iter().filter(|s| uses(s, &claim));
            for connection in left.filter_map(connection) {
                for interface in &mut networks.interfaces {
                    let _ = interface.steering.add_connection(&connection, number);
                }
                member.connections.push(connection);
            }
            claim.end(&mut networks.interfaces, &member.claims, number);
        }
        let lives = |c: &Connection| {
            report
                .sockets
                .iter()
                .any(|s| connection(s).as_ref() == Some(c))
        };
        for gone in member.connections.extract_if(.., |c| !lives(c)) {
            for interface in &mut networks.interfaces {
                let _ = interface.steering.remove_connection(&gone);
            }
        }
    }

    /// A process of the stack is gone, and what it served.
    pub(crate) fn settle_all_claims(&mut self, id: StackId) {
        self.settle_claims(id, |_| true);
    }
}

/// Whether some packets would be of both.
fn overlap(a: &Flow, b: &Flow) -> bool {
    let both_get = match (a.address, b.address) {
        (Some(a), Some(b)) => {
            a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
        }
        _ => true,
    };
    a.protocol == b.protocol && a.port == b.port && both_get
}

/// Whether packets of what is claimed are for this socket.
fn uses(socket: &SocketReport, claim: &Claim) -> bool {
    let flow = &claim.flow;
    let protocol = match socket.kind {
        Kind::Datagram => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    // A connection may have been bound to an interface later.
    let of_device =
        socket.device == claim.device || (claim.device == 0 && socket.kind == Kind::Stream);
    let of_any = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv4() == socket.local.addr.is_v4();
    let here = socket.local.addr.is_unspecified()
        || flow
            .address
            .is_none_or(|ip| of_any(ip) || Address::from(ip) == socket.local.addr);
    protocol == flow.protocol && socket.local.port == flow.port && here && of_device
}
