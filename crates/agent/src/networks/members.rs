//! A stack joins the networks when it first needs them, and leaves them when it ends.

use super::claims::Claim;
use super::cutter::Cutting;
use super::groups::{Membership, unsteer};
use super::hop::{FarEndsOf, Hop};
use super::interface::{Interface, Mapping, Opened, Queue};
use crate::registry::{Job, Registry};
use crate::wires::random;
use anyhow::Context;
use sidestep_control::{Fault, StackId, namespace};
use sidestep_netlink::Cables;
use sidestep_nic::any::Attachment;
use sidestep_nic::xdp;
use sidestep_stack::NetworkSetup;
use sidestep_steering::{Connection, STACKS_MAX};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A stack that frames are steered to.
pub(crate) struct Member {
    /// Its number in the steering programs' tables.
    pub(super) number: u32,
    pub(super) claims: Vec<Claim>,
    /// Connections that are left of claims that ended.
    pub(super) connections: Vec<Connection>,
    /// Groups that its sockets are members of.
    pub(super) groups: Vec<Membership>,
}

/// Takes a stack's sockets off an interface; the wires that they were.
fn take_queues(interface: &mut Interface, cables: &mut Cables, of: (StackId, u32)) -> Vec<u64> {
    let (id, number) = of;
    let mut wires = Vec::new();
    for queue in interface.queues.extract_if(.., |queue| queue.stack == id) {
        wires.push(queue.id);
        let _ = match &queue.hop {
            None => {
                interface.released.insert(queue.queue);
                interface.steering.clear_socket(number, queue.queue)
            }
            Some(hop) => {
                let cleared = interface.steering.clear_hop_device(number);
                let _ = cables.remove(hop.index);
                cleared
            }
        };
    }
    wires
}

impl Registry {
    /// Gives a stack sockets on the queues of all interfaces, if it has none yet. `pid` asks for it, and must be in the
    /// networks' namespace: who has a queue can send by it.
    pub(super) fn join_networks(&mut self, id: StackId, pid: u32) -> Result<(), Fault> {
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let entry = self.stacks.get(&id).ok_or(Fault::UnknownStack)?;
        if entry.netns != networks.netns {
            return Err(Fault::OtherNamespace);
        }
        if networks.members.contains_key(&id) {
            return Ok(());
        }
        if namespace::of_process(pid).ok() != Some(networks.netns) {
            return Err(Fault::OtherNamespace);
        }
        let taken = |number: &u32| networks.members.values().any(|m| m.number == *number);
        let number = (0..STACKS_MAX).find(|number| !taken(number));
        let member = Member {
            number: number.ok_or(Fault::NoQueue)?,
            claims: Vec::new(),
            connections: Vec::new(),
            groups: Vec::new(),
        };
        networks.members.insert(id, member);
        // One that cannot be joined, for a reason that the log has, is none to do without the others.
        let all = 0..networks.interfaces.len();
        let join = |at| {
            self.join_interface(id, at)
                .inspect_err(|_| self.leave_interface(id, at))
        };
        let joined: Vec<Result<(), Fault>> = all.map(join).collect();
        let is_joined = joined.iter().any(Result::is_ok);
        self.check_new_queues();
        match joined.into_iter().find_map(Result::err) {
            Some(fault) if !is_joined => {
                self.leave_networks(id);
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn join_interface(&mut self, id: StackId, at: usize) -> Result<(), Fault> {
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let interface = networks.interfaces.get_mut(at);
        let interface = interface.ok_or(Fault::NoNetwork)?;
        let (opened, all) = interface.open_queues(id).map_err(|error| {
            let name = &interface.name;
            self.log
                .line(format_args!("interface {name}, stack {id:016x}: {error}"));
            Fault::Interface
        })?;
        for socket in opened {
            let socket = self.add_cutter(at, socket)?;
            self.add_queue(id, at, socket, None)?;
        }
        if all || self.queue_of(at, id, |queue| queue.hop.is_some()) {
            return Ok(());
        }
        match self.lay_cable(id, at) {
            Ok((hop, socket)) => {
                let socket = self.add_cutter(at, socket)?;
                self.add_queue(id, at, socket, Some(hop))
            }
            Err(error) => {
                self.log.line(format_args!(
                    "stack {id:016x} shares no queue, and so has none: {error:#}"
                ));
                Err(Fault::NoQueue)
            }
        }
    }

    /// Whether a stack has such a queue of an interface.
    fn queue_of(&self, at: usize, id: StackId, wanted: impl Fn(&Queue) -> bool) -> bool {
        let networks = self.networks.iter();
        let mut interface = networks.filter_map(|networks| networks.interfaces.get(at));
        interface.any(|interface| interface.queues_of(id).any(&wanted))
    }

    /// Stacks get sockets, or a cable, where an interface has more queues than before.
    pub(crate) fn check_new_queues(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let mut grown = Vec::new();
        for (at, interface) in networks.interfaces.iter_mut().enumerate() {
            let beyond = interface.steering.counters().unwrap_or_default().beyond;
            if beyond != interface.beyond || interface.queues_seen != interface.queues_settled {
                interface.beyond = beyond;
                grown.push(at);
            }
        }
        let members: Vec<StackId> = networks.members.keys().copied().collect();
        for at in grown {
            for id in &members {
                // Why it cannot be is in the log.
                let _ = self.join_interface(*id, at);
            }
            let networks = self.networks.as_mut();
            if let Some(interface) = networks.and_then(|n| n.interfaces.get_mut(at)) {
                interface.queues_settled = interface.queues_seen;
                let _ = interface.steering.set_queues(interface.queues_seen);
            }
        }
    }

    /// Programs begin to drive those queues that they were asked to, and that can be driven.
    pub(crate) fn check_busy_polls(&mut self) {
        let Self {
            networks, stacks, ..
        } = self;
        let interfaces = networks.iter_mut().flat_map(|n| &mut n.interfaces);
        for queue in interfaces.flat_map(|interface| &mut interface.queues) {
            if queue.busy_poll != Some(false) || !xdp::can_busy_poll(&queue) {
                continue;
            }
            // A stack that is busy is told the next time.
            let told = stacks.get_mut(&queue.stack);
            let told = told.map(|entry| entry.with(|stack| stack.busy_poll(queue.wire)));
            queue.busy_poll = Some(matches!(told, Some(Ok(()))));
        }
    }

    /// The socket with one for long segments, where the kernel copies its frames. Without that it does, too.
    fn add_cutter(&mut self, at: usize, opened: Opened) -> Result<Opened, Fault> {
        let networks = self.networks.as_mut().ok_or(Fault::NoNetwork)?;
        let interface = networks.interfaces.get_mut(at).ok_or(Fault::NoNetwork)?;
        if !opened.is_copied() || matches!(interface.cutter, Cutting::Off) {
            return Ok(opened);
        }
        let mut cutter = core::mem::replace(&mut interface.cutter, Cutting::Off);
        let socket = networks
            .hidden
            .place(FarEndsOf::Segments)
            .and_then(|hidden| cutter.socket(interface, (hidden, &mut networks.cables)))
            .unwrap_or_else(|error| {
                let name = &interface.name;
                self.log.line(format_args!(
                    "interface {name}: segments are not cut by the kernel: {error:#}"
                ));
                None
            });
        interface.cutter = cutter;
        match socket {
            None => Ok(opened),
            Some(socket) => opened.with_cutter(socket).map_err(|_| Fault::Exhausted),
        }
    }

    /// A cable for what comes by queues on which the stack has no socket.
    fn lay_cable(&mut self, id: StackId, at: usize) -> anyhow::Result<(Hop, Opened)> {
        let networks = self.networks.as_mut().context("no networks")?;
        let number = networks.members.get(&id).context("not a member")?.number;
        let interface = networks.interfaces.get(at).context("no interface")?;
        let user = self.stacks.get(&id).context("no such stack")?.user;
        let hidden = networks.hidden.place(FarEndsOf::User(user))?;
        let cables = &mut networks.cables;
        let options = xdp::Options {
            busy_poll: None,
            // What comes out of a cable goes on by another program, which knows nothing of it.
            finish_checksums: false,
            ..interface.options()
        };
        Hop::lay(interface, number, (hidden, cables), &options)
    }

    /// Enters a socket into the stack, and into the steering program.
    fn add_queue(
        &mut self,
        id: StackId,
        at: usize,
        opened: Opened,
        hop: Option<Hop>,
    ) -> Result<(), Fault> {
        let Self {
            networks, stacks, ..
        } = self;
        let networks = networks.as_mut().ok_or(Fault::NoNetwork)?;
        let number = networks.members.get(&id).ok_or(Fault::NoNetwork)?.number;
        let interface = networks.interfaces.get_mut(at).ok_or(Fault::NoNetwork)?;
        let entry = stacks.get_mut(&id).ok_or(Fault::UnknownStack)?;
        let wire_id = random().map_err(|_| Fault::Exhausted)?;
        let setup = NetworkSetup {
            id: wire_id,
            network: interface.network,
            device: interface.index,
            station: interface.station,
            mtu: interface.packet_bytes,
            unfinished_checksums: interface.is_virtual,
            port: opened.state,
        };
        let added = entry.with(|stack| {
            let index = stack.add_network(setup)?;
            let mut open = stack.open_wires();
            let open = open.find(|open| open.index == index);
            Ok((index, open.map_or(0, |open| open.generation)))
        })?;
        let (wire, generation) = added.map_err(|_: sidestep_stack::Error| Fault::WiresFull)?;
        let queue = Queue::of(opened.parts, hop, id, (wire_id, wire));
        entry.with(|stack| stack.attach_wire(wire, generation, opened.attachment))?;
        entry.attached.insert(wire, generation);
        let steered = match &queue.hop {
            Some(hop) => interface.steering.set_hop_device(number, hop.index),
            None => interface.steering.set_socket(number, queue.queue, &queue),
        };
        let has = if queue.hop.is_some() {
            "a cable to".to_owned()
        } else {
            format!("queue {} of", queue.queue)
        };
        let copying = if queue.zero_copy {
            ", without copying"
        } else {
            ""
        };
        let cutting = if queue.cuts() {
            ", segments cut behind it"
        } else {
            ""
        };
        let name = &interface.name;
        self.log.line(format_args!(
            "stack {id:016x} has {has} interface {name}{copying}{cutting}"
        ));
        interface.queues.push(queue);
        steered.map_err(|error| {
            self.log.line(format_args!("steering: {error}"));
            Fault::Interface
        })
    }

    /// Stacks that closed their end of a queue, as one that broke, leave the networks.
    pub(crate) fn check_queues(&mut self) {
        let Self {
            networks, stacks, ..
        } = self;
        let Some(networks) = networks else { return };
        let queues = networks.interfaces.iter().flat_map(|i| &i.queues);
        let mut lost: Vec<StackId> = Vec::new();
        for queue in queues {
            let Some(entry) = stacks.get_mut(&queue.stack) else {
                continue;
            };
            let open = entry.with(|stack| stack.open_wires().any(|w| w.id == queue.id));
            if open == Ok(false) && !lost.contains(&queue.stack) {
                lost.push(queue.stack);
            }
        }
        for id in lost {
            self.leave_networks(id);
        }
    }

    /// A stack has not got what it needs of an interface: what it has of it goes.
    pub(super) fn leave_interface(&mut self, id: StackId, at: usize) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let number = networks.members.get(&id).map(|member| member.number);
        let interface = networks.interfaces.get_mut(at);
        if let (Some(number), Some(interface)) = (number, interface) {
            let gone = take_queues(interface, &mut networks.cables, (id, number));
            let close = gone
                .into_iter()
                .map(|wire| Job::CloseWire { stack: id, wire });
            self.jobs.extend(close);
        }
    }

    /// A stack ends: what arrived for it is the kernel's from now on.
    pub(crate) fn leave_networks(&mut self, id: StackId) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let Some(member) = networks.members.remove(&id) else {
            return;
        };
        for membership in &member.groups {
            unsteer(&mut networks.interfaces, membership, member.number);
        }
        for interface in &mut networks.interfaces {
            for claim in &member.claims {
                let _ = interface.steering.remove(&claim.flow, member.number);
            }
            for connection in &member.connections {
                let _ = interface.steering.remove_connection(connection);
            }
            take_queues(interface, &mut networks.cables, (id, member.number));
        }
    }

    /// The agent's own attachment to a queue of a network; none where that is unknown.
    pub(crate) fn queue_attachment(&self, id: u64) -> io::Result<Option<Attachment>> {
        self.queue(|queue| queue.id == id)
            .map(Queue::attachment)
            .transpose()
    }

    /// What a program needs to use a queue.
    pub(crate) fn map_queue(&self, stack: StackId, wire: u32) -> Option<io::Result<Mapping>> {
        let queue = self.queue(|queue| queue.stack == stack && queue.wire == wire)?;
        Some(queue.mapping())
    }

    /// The sockets of a stack, which are readable when frames have come.
    pub(crate) fn queue_sockets(&self, stack: StackId) -> impl Iterator<Item = BorrowedFd<'_>> {
        let interfaces = self.networks.iter().flat_map(|n| &n.interfaces);
        let queues = interfaces.flat_map(move |interface| interface.queues_of(stack));
        queues.map(AsFd::as_fd)
    }

    fn queue(&self, wanted: impl Fn(&Queue) -> bool) -> Option<&Queue> {
        let interfaces = self.networks.iter().flat_map(|n| &n.interfaces);
        interfaces
            .flat_map(|interface| &interface.queues)
            .find(|queue| wanted(queue))
    }
}
