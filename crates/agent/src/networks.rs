//! Networks: the interfaces that the agent steers frames from to stacks.
//!
//! The kernel stays the owner of the configuration: routes are asked of it, neighbours are its to find, addresses and
//! links are followed. What arrives for a port goes to a stack only if the stack's program has shown a kernel's socket
//! that is bound to the port; all else stays the kernel's.
//!
//! - [`interface`]: one interface: its steering program, and the sockets of stacks on its queues.
//! - `hop`: the cable of a stack that shares a queue.
//! - `members`: a stack joins the networks, and leaves them.
//! - `claims`: which ports are whose.
//! - `kernels`: connections at such ports that are the kernel's.
//! - `groups`: which groups (multicast) are whose.
//! - `carriers`: VLANs, bonds, bridges and macvlans upon interfaces.
//! - `ways`: how packets of a stack reach a host.
//! - `last_words`: what becomes of the connections of a stack that was given up.
//! - `solicit`: asks for neighbours where the kernel cannot yet.
//! - `spread`: how cards spread what arrives over queues.
//! - `show`: what `ps` shows of it.
//! - `follow`: what the kernel tells of changes.
//! - `again`: interfaces that were gone and are back.

mod again;
pub(crate) mod carriers;
mod claims;
mod cutter;
mod follow;
mod groups;
mod hop;
pub(crate) mod interface;
mod kernels;
mod last_words;
mod members;
mod show;
mod solicit;
mod spread;
pub(crate) mod ways;

use crate::lifetime::LinkSpec;
use crate::registry::{Registry, Token};
use again::Wanted;
use anyhow::Context;
use hop::Hiding;
use interface::Interface;
use members::Member;
use rustix::event::epoll::{self, EventFlags};
use sidestep_control::{StackId, namespace};
use sidestep_netlink::{Cables, Config, Link, LinkKind, Neighbours, Options, Routes};
use sidestep_shm::Nanos;
use sidestep_wire::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// All of it, of one network namespace: the agent's own.
pub(crate) struct Networks {
    /// The namespace, as programs tell it.
    pub(crate) netns: u64,
    pub(crate) interfaces: Vec<Interface>,
    /// What is to be served, if it is there.
    wanted: Vec<Wanted>,
    /// The stacks that use them.
    members: BTreeMap<StackId, Member>,
    config: Config,
    routes: Routes,
    neighbours: Neighbours,
    cables: Cables,
    /// Where the far ends of cables are, of each user's stacks and of those for long segments: a packet socket can be tied
    /// to another interface of its namespace, and hear that one, by whoever has it.
    hidden: Hiding,
    /// The identity of the network that the ports of a bond are, by the bond's index.
    bonds: BTreeMap<u32, u64>,
    /// Connections of the kernel at ports that are stacks'.
    kernels: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Links upon interfaces that are left to the kernel, and why.
    left: BTreeMap<u32, String>,
    /// Changes with the configuration; never 0.
    number: u64,
    /// When neighbours are asked for again.
    refresh_at: Nanos,
    /// When it is looked next which of them do not answer connections.
    doubts_at: Nanos,
    /// When it was last looked who is bound to the ports of groups.
    groups_at: Nanos,
}

impl Networks {
    /// Attaches to no interface yet.
    fn open(epoll: &OwnedFd) -> anyhow::Result<Self> {
        let config = Config::open(&Options::default()).context("the kernel's configuration")?;
        epoll::add(epoll, &config, Token::Netlink.data(), EventFlags::IN)
            .context("watching the kernel's configuration")?;
        Ok(Self {
            netns: namespace::network().context("the network namespace")?,
            interfaces: Vec::new(),
            wanted: Vec::new(),
            members: BTreeMap::new(),
            config,
            routes: Routes::open().context("the kernel's routes")?,
            neighbours: Neighbours::open().context("the kernel's neighbours")?,
            cables: Cables::open().context("the kernel's links")?,
            hidden: Hiding::default(),
            bonds: BTreeMap::new(),
            kernels: BTreeSet::new(),
            left: BTreeMap::new(),
            number: 1,
            refresh_at: Nanos::ZERO,
            doubts_at: Nanos::ZERO,
            groups_at: Nanos::ZERO,
        })
    }

    /// Attaches to an interface, or to all ports of a bond.
    fn serve(&mut self, spec: &LinkSpec) -> anyhow::Result<()> {
        let name = &spec.interface;
        let link = self.config.picture().link_named(name);
        let link = link.with_context(|| format!("there is no interface {name}"))?;
        let is_bond = matches!(link.kind, LinkKind::Bond { .. });
        let found: Vec<Link> = self.links_meant(link).cloned().collect();
        anyhow::ensure!(!found.is_empty(), "bond {name} has no ports");
        for link in found {
            if self.interfaces.iter().any(|i| i.index == link.index) {
                continue;
            }
            let mut interface = Interface::attach(&link, spec)
                .with_context(|| format!("interface {}", link.name))?;
            interface.bond = is_bond.then(|| name.clone());
            self.interfaces.push(interface);
        }
        Ok(())
    }

    /// The link itself, or all ports of a bond.
    fn links_meant<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = &'a Link> {
        let is_bond = matches!(link.kind, LinkKind::Bond { .. });
        let ports = is_bond.then(|| self.config.picture().ports(link.index));
        let itself = (!is_bond).then_some(link);
        ports.into_iter().flatten().chain(itself)
    }
}

/// Whether what arrives at an interface for groups is for nobody but the interface itself: not for what lies upon it, here or
/// in containers, and not for a bridge.
fn is_served_alone(interface: &Interface) -> bool {
    let mut upon = interface.upon.iter();
    let is_itself = upon.all(|upon| upon.link == interface.index || upon.vlan != 0);
    is_itself && interface.bond.is_none() && !interface.is_shared
}

/// Whether what comes to an address of this host may be for a stack. Link-local ones are the kernel's, which knows the
/// scopes that programs see them with.
fn is_steered(ip: IpAddr) -> bool {
    !ip.is_loopback() && !Address::from(ip).is_link_local()
}

impl Registry {
    /// Serves these interfaces from now on.
    pub(crate) fn open_networks(&mut self, links: &[LinkSpec]) -> anyhow::Result<()> {
        if links.is_empty() {
            return Ok(());
        }
        let mut networks = Networks::open(&self.epoll)?;
        for link in links {
            networks.serve(link)?;
            networks.wanted.push(Wanted::new(link));
        }
        self.begin_networks(networks);
        Ok(())
    }

    /// The same in place of an agent that was killed: interfaces that cannot be had any more are done without.
    pub(crate) fn open_networks_again(&mut self, links: &[LinkSpec]) -> anyhow::Result<()> {
        let mut networks = Networks::open(&self.epoll)?;
        for link in links {
            let said = &link.said;
            networks.wanted.push(Wanted::new(link));
            match networks.serve(link) {
                Ok(()) => self.log.line(format_args!(
                    "{said} is served again: the agent before this one was killed"
                )),
                Err(error) => self
                    .log
                    .line(format_args!("{said} is not served again: {error:#}")),
            }
        }
        if !networks.interfaces.is_empty() {
            self.begin_networks(networks);
        }
        Ok(())
    }

    fn begin_networks(&mut self, networks: Networks) {
        self.say_how_served(&networks.interfaces);
        self.directory.set_networks(networks.number);
        self.networks = Some(networks);
        self.settle_networks();
    }

    /// Writes to the log in which way interfaces are served.
    fn say_how_served(&mut self, interfaces: &[Interface]) {
        for interface in interfaces {
            let name = match &interface.bond {
                Some(bond) => format!("{}, of bond {bond}", interface.name),
                None => interface.name.clone(),
            };
            match (&interface.fallback, interface.mode_name()) {
                (Some(why), _) => self.log.aloud(format_args!(
                    "interface {name}: packet sockets, slower than AF_XDP, because {why}"
                )),
                (None, "packet") => {
                    self.log
                        .line(format_args!("interface {name}: packet sockets"));
                }
                (None, "generic") if interface.is_second_choice => self.log.aloud(format_args!(
                    "interface {name}: generic XDP, slower than native, because the driver has no native XDP for its present MTU and queues"
                )),
                (None, mode) => self.log.line(format_args!("interface {name}: {mode} XDP")),
            }
        }
    }
}
