//! The connection to the agent: registering what this process has, and finding what others serve.

use crate::Address;
use crate::explain::Decision;
use crate::fdtable::Entry;
use crate::networks::{Networks, Reached, Wanted};
use crate::process::{Process, Shared, with_fd};
use crate::stream::source_for;
use rustix::pipe::PipeFlags;
use sidestep_control::directory::Directory;
use sidestep_control::start::ensure_running;
use sidestep_control::{
    Client, ClientError, Fault, MappedMemif, MappedQueue, MappedWire, Publication, namespace,
};
use sidestep_nic::{any, memif, packet, xdp};
use sidestep_shm::{EventFd, Fd, Region};
use sidestep_stack::{Handover, Served, SocketFlags, Stack, Way, WireKind, WireToAttach};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerocopy::FromBytes;

/// IP protocol numbers, as publications have them.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What we have of the agent.
pub(crate) struct Session {
    client: Option<Client>,
    pub(crate) directory: Option<Directory>,
    /// The agent's; 0 before there was one.
    generation: u64,
    pub(crate) networks: Option<Networks>,
    /// What this process published, to say it again to another agent.
    published: Vec<Publication>,
    /// The agent that it was published to, by generation; 0 before there was one.
    published_to: u64,
    /// Memory of attached wires by their identity, to give it to another agent.
    regions: Option<HashMap<u64, Arc<Region>>>,
    /// Children of which nothing was heard when last looked, to tell another agent of them.
    children: Vec<Child>,
    /// Our end of the pipe by which the agent hears of our death, until it knows us.
    pub(crate) begun: Option<Fd>,
}

/// A child that was forked.
struct Child {
    slot: u32,
    /// How often the slot had been taken for it.
    times: u32,
    /// The agent's end of the pipe that tells whether it lives.
    pipe: Fd,
}

impl Session {
    pub(crate) const fn new() -> Self {
        Self {
            client: None,
            directory: None,
            generation: 0,
            networks: None,
            published: Vec::new(),
            published_to: 0,
            regions: None,
            children: Vec::new(),
            begun: None,
        }
    }

    /// Connects to the agent, starting one if need be, and registers the stack, its wires and its endpoints.
    pub(crate) fn register(
        &mut self,
        process: &Process,
        shared: &Shared,
        slot: u32,
    ) -> Result<(), ClientError> {
        if process.rehearsal.get().is_some() {
            return Err(ClientError::NoAgent);
        }
        let config = process.config();
        let (mut client, welcome) =
            ensure_running(&config.exe, &config.name, sidestep_stack::layout())
                .inspect_err(|_| self.on_other_agent(process, shared, 0))?;
        let knows_wires = self.generation == welcome.generation;
        self.on_other_agent(process, shared, welcome.generation);
        let directory = Directory::attach(welcome.directory).map_err(|_| ClientError::Garbage)?;
        let mut addresses = [Address::UNSPECIFIED_V6; 1024];
        let count = namespace::addresses(&mut addresses).unwrap_or(0);
        client.addresses(shared.netns, &addresses[..count])?;
        match client.attach_slot(shared.id, slot) {
            Err(ClientError::Refused(Fault::UnknownStack)) => {
                let memory = shared.stack.region().fd().ok_or(ClientError::Garbage)?;
                let mut fds: Vec<BorrowedFd<'_>> = vec![memory, shared.doorbell.as_fd()];
                fds.extend(shared.waiters.iter().map(AsFd::as_fd));
                client.register_stack(shared.id, shared.netns, slot, &fds)?;
            }
            other => other?,
        }
        let is_other = self.published_to != 0 && self.published_to != welcome.generation;
        let shown = if is_other && directory.networks().is_some() {
            self.show_again(process, shared, &mut client)
        } else {
            Vec::new()
        };
        self.published_to = welcome.generation;
        for what in self.published.iter().filter(|what| !shown.contains(what)) {
            // Taken by somebody else meanwhile: then the kernel's reservation was lost too, and it is theirs.
            let _ = client.publish(shared.id, *what, false, None);
        }
        if !knows_wires {
            self.restore_wires(process, shared, &mut client);
            self.await_children_again(process, shared, &mut client);
        }
        (self.client, self.directory) = (Some(client), Some(directory));
        self.begun = None;
        Ok(())
    }

    /// Another agent than before has networks: it wants to see the sockets that are served there. Returns what it took.
    fn show_again(
        &self,
        process: &Process,
        shared: &Shared,
        client: &mut Client,
    ) -> Vec<Publication> {
        let mut shown = Vec::new();
        let mut seen: Vec<u32> = Vec::new();
        for (fd, entry) in process.fds.iter() {
            let Entry::Socket(r, _) = entry else { continue };
            let served = process.with_stack(shared, |stack| stack.served(r));
            let Ok(Some(served)) = served else { continue };
            if seen.contains(&r.index) || served.local.port == 0 {
                continue;
            }
            seen.push(r.index);
            let what = publication(&served);
            let accepted = if served.device != 0 {
                with_fd(fd, |fd| client.claim(shared.id, false, &[fd]))
            } else if self.published.contains(&what) {
                let published = with_fd(fd, |fd| client.publish(shared.id, what, true, Some(fd)));
                if published.is_ok() {
                    shown.push(what);
                }
                published
            } else {
                continue;
            };
            process.explain(&Decision {
                fd,
                is_tcp: served.is_tcp,
                event: if served.is_tcp { "listen" } else { "bind" },
                local: Some(served.local),
                remote: None,
                handover: accepted.err().map(|_| Handover::NoQueue),
            });
        }
        shown
    }

    /// Another agent than before: the one that steered frames to us steers no more.
    fn on_other_agent(&mut self, process: &Process, shared: &Shared, generation: u64) {
        if self.generation != generation && self.generation != 0 {
            self.lose_networks(process, shared);
        }
        self.generation = generation;
    }

    fn restore_wires(&mut self, process: &Process, shared: &Shared, client: &mut Client) {
        let Some(regions) = &self.regions else { return };
        let wires = process.with_stack(shared, |stack| stack.open_wires().collect::<Vec<_>>());
        for wire in wires.unwrap_or_default() {
            if let Some(fd) = regions.get(&wire.id).and_then(|region| region.fd()) {
                let _ = client.restore_wire(shared.id, wire.index, fd);
            }
        }
    }

    /// Makes a request; a lost agent is replaced once.
    pub(crate) fn ask<R>(
        &mut self,
        process: &Process,
        shared: &Shared,
        mut request: impl FnMut(&mut Client) -> Result<R, ClientError>,
    ) -> Result<R, ClientError> {
        for _ in 0..2 {
            let Some(client) = &mut self.client else {
                self.register(process, shared, process.slot())?;
                continue;
            };
            match request(client) {
                Err(ClientError::Lost | ClientError::NoAgent | ClientError::Garbage) => {
                    self.client = None;
                    self.register(process, shared, process.slot())?;
                }
                result => return result,
            }
        }
        match &mut self.client {
            Some(client) => request(client),
            None => Err(ClientError::NoAgent),
        }
    }

    /// A child is to be forked, whose slot is taken. Returns the end of a pipe that tells the agent, when it is closed, that
    /// the child is dead or known.
    pub(crate) fn await_child(
        &mut self,
        shared: &Shared,
        slot: u32,
        times: u32,
    ) -> Option<OwnedFd> {
        let (agents, childs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).ok()?;
        let pipe = Fd::adopt(agents).ok()?;
        if let Some(client) = &mut self.client {
            // Whom it cannot be told now, it is told of again.
            let _ = client.await_child(shared.id, slot, times, pipe.as_fd());
        }
        self.children.push(Child { slot, times, pipe });
        Some(childs)
    }

    /// Forgets the children that have begun, or are gone.
    pub(crate) fn forget_begun_children(&mut self, stack: &Stack<'_>) {
        self.children
            .retain(|child| stack.awaits_child(child.slot, child.times));
    }

    fn await_children_again(&mut self, process: &Process, shared: &Shared, client: &mut Client) {
        if self.children.is_empty() {
            return;
        }
        let _ = process.lock_only(shared, |stack| self.forget_begun_children(stack));
        for child in &self.children {
            let _ = client.await_child(shared.id, child.slot, child.times, child.pipe.as_fd());
        }
    }

    /// Notices an agent that is gone, and finds another.
    pub(crate) fn check(&mut self, process: &Process, shared: &Shared) {
        if !self.client.as_ref().is_some_and(Client::is_connected) {
            self.client = None;
            if self.register(process, shared, process.slot()).is_ok() {
                self.attach_wires(process, shared);
            }
        }
    }

    /// A forked child has a connection of its own, and no children.
    pub(crate) fn forget(&mut self) {
        self.client = None;
        self.children.clear();
        self.begun = None;
    }

    /// Other programs can reach what `fd` serves from now on, and so can networks. A socket that is bound to an interface
    /// can be reached by that one only.
    pub(crate) fn publish(
        &mut self,
        process: &Process,
        shared: &Shared,
        fd: i32,
        served: &Served,
    ) -> Result<(), Handover> {
        let what = publication(served);
        let device = served.device;
        let on_networks = self.networks_number().is_some() && device == 0;
        if what.endpoint().addr.is_link_local() {
            return Err(Handover::Device);
        }
        if device != 0 {
            self.networks_number().ok_or(Handover::Device)?;
            let claimed = with_fd(fd, |fd| {
                self.ask(process, shared, |client| {
                    client.claim(shared.id, false, &[fd])
                })
            });
            self.attach_wires(process, shared);
            return claimed.map_err(|error| match error {
                ClientError::Refused(Fault::NoNetwork) => Handover::Device,
                ClientError::Refused(_) => Handover::NoQueue,
                _ => Handover::NoAgent,
            });
        }
        let mut published = Ok(());
        if on_networks {
            published = with_fd(fd, |fd| {
                self.ask(process, shared, |client| {
                    client.publish(shared.id, what, true, Some(fd))
                })
            });
            self.attach_wires(process, shared);
        }
        let networks_refuse = matches!(
            published,
            Err(ClientError::Refused(
                Fault::NoQueue | Fault::Interface | Fault::NotBound | Fault::NoNetwork
            ))
        );
        if !on_networks || networks_refuse {
            published = with_fd(fd, |fd| {
                self.ask(process, shared, |client| {
                    client.publish(shared.id, what, false, Some(fd))
                })
            });
        }
        published.map_err(|error| match error {
            ClientError::Refused(Fault::InUse) => Handover::Taken,
            ClientError::Refused(Fault::DirectoryFull) => Handover::Full,
            _ => Handover::NoAgent,
        })?;
        self.published.push(what);
        if networks_refuse {
            return Err(Handover::NoQueue);
        }
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, process: &Process, shared: &Shared, served: &Served) {
        let what = publication(served);
        if served.device != 0 {
            let _ = self.ask(process, shared, |client| client.unclaim(shared.id, what));
            return;
        }
        if let Some(at) = self.published.iter().position(|p| *p == what) {
            self.published.swap_remove(at);
        }
        let _ = self.ask(process, shared, |client| client.withdraw(shared.id, what));
    }

    /// Whether an address is this host's.
    pub(crate) fn is_local(&self, shared: &Shared, address: Address) -> bool {
        let listed = |d: &Directory| d.is_local(shared.netns, address).unwrap_or(false);
        address.is_loopback() || self.directory.as_ref().is_some_and(listed)
    }

    /// The way to whoever serves an endpoint: a wire to a stack of this host, opened now if need be, or a network.
    pub(crate) fn route(
        &mut self,
        process: &Process,
        shared: &Shared,
        is_tcp: bool,
        to: &Wanted,
        flow_hash: u32,
    ) -> Result<Reached, Handover> {
        if let Some(rehearsal) = process.rehearsal.get() {
            return rehearsal.route(process, shared, to.remote);
        }
        let remote = to.remote;
        if remote.addr.is_broadcast() || is_near_group(remote.addr) {
            return Err(Handover::Group);
        }
        if remote.addr.is_multicast() {
            self.check(process, shared);
            return self.network_way(process, shared, UDP, to);
        }
        // A directory that no agent writes any more may name stacks that are gone.
        self.check(process, shared);
        let directory = self.directory.as_ref().ok_or(Handover::NoAgent)?;
        let protocol = if is_tcp { TCP } else { UDP };
        let is_local = || {
            directory
                .is_local(shared.netns, remote.addr)
                .unwrap_or(false)
        };
        // Which link is meant by such an address, the kernel knows; and what goes to this host by an interface.
        let mut ends = to.bound.into_iter().chain([remote]);
        if ends.any(|end| end.addr.is_link_local()) || (to.device != 0 && is_local()) {
            return Err(Handover::Device);
        }
        if to.device != 0 {
            return self.network_way(process, shared, protocol, to);
        }
        let found = directory
            .lookup(protocol, shared.netns, remote)
            .map_err(|_| Handover::NoAgent)?;
        let Some(peer) = found.pick(flow_hash) else {
            if is_local() {
                return Err(Handover::NotServed);
            }
            return self.network_way(process, shared, protocol, to);
        };
        let known = process
            .with_stack(shared, |stack| stack.wire_to(peer))
            .map_err(|_| Handover::Retired)?;
        let wire = match known {
            Some(wire) => wire,
            None => self
                .ask(process, shared, |client| client.open_wire(shared.id, peer))
                .map_err(|_| Handover::NoWire)?,
        };
        self.attach_wires(process, shared);
        Ok(Reached {
            way: Way::from(wire),
            source: source_for(remote.addr),
            by_network: false,
        })
    }

    /// Attaches all wires of the stack that this process has not attached yet.
    pub(crate) fn attach_wires(&mut self, process: &Process, shared: &Shared) {
        loop {
            let next = process.lock_only(shared, |stack| {
                stack.detach_closed();
                if let Some(regions) = &mut self.regions {
                    regions.retain(|id, _| stack.open_wires().any(|wire| wire.id == *id));
                }
                process
                    .wakes
                    .retain(|id| stack.open_wires().any(|wire| wire.id == id));
                stack.unattached_wire()
            });
            let Ok(Some(wire)) = next else { return };
            match self.attachment(process, shared, &wire) {
                Ok(attachment) => {
                    let _ = process.lock_only(shared, |stack| {
                        stack.attach_wire(wire.index, wire.generation, attachment)
                    });
                }
                // Nobody is at its other end any more.
                Err(ClientError::Refused(Fault::UnknownWire)) => {
                    let _ = process.lock_only(shared, |stack| stack.close_wire(wire.index));
                }
                // The agent is busy or being replaced: asked again with the next call.
                Err(_) => return,
            }
        }
    }

    fn attachment(
        &mut self,
        process: &Process,
        shared: &Shared,
        wire: &WireToAttach,
    ) -> Result<any::Attachment, ClientError> {
        let mapped = self.ask(process, shared, |client| {
            client.map_wire(shared.id, wire.index)
        })?;
        match mapped {
            MappedWire::Memif(memif) => self.memif(wire, memif).map(any::Attachment::from),
            MappedWire::Queue(queue) => {
                let (attachment, wake) = attach_queue(queue)?;
                process.wakes.add(wire.id, wake);
                Ok(attachment)
            }
        }
    }

    fn memif(
        &mut self,
        wire: &WireToAttach,
        mapped: MappedMemif,
    ) -> Result<memif::Attachment, ClientError> {
        let geometry = memif::Geometry::read_from_bytes(mapped.geometry.bytes())
            .map_err(|_| ClientError::Garbage)?;
        let region = Arc::new(Region::attach(mapped.region).map_err(unusable)?);
        let doorbell = if mapped.stranger {
            EventFd::of_stranger(mapped.doorbell)
        } else {
            EventFd::attach(mapped.doorbell)
        };
        let doorbell = doorbell.map_err(unusable)?;
        let WireKind::Memif { role, .. } = wire.kind else {
            return Err(ClientError::Garbage);
        };
        let attachment = memif::Attachment::for_wire(region.clone(), &geometry, role, doorbell)
            .map_err(unusable)?;
        self.regions.get_or_insert_default().insert(wire.id, region);
        Ok(attachment)
    }
}

/// A queue of a network, and a descriptor to sleep on.
fn attach_queue(mapped: MappedQueue) -> Result<(any::Attachment, OwnedFd), ClientError> {
    let wake = mapped.socket.try_clone().map_err(unusable)?;
    let bytes = mapped.geometry.bytes();
    let attachment = match mapped.buffers {
        Some(buffers) => {
            let geometry =
                xdp::Geometry::read_from_bytes(bytes).map_err(|_| ClientError::Garbage)?;
            let buffers = Region::attach_unsealed(buffers).map_err(unusable)?;
            let at = xdp::Attachment::new(mapped.socket, buffers, &geometry);
            match mapped.cutter {
                Some(cutter) => at.and_then(|at| at.with_cutter(cutter)).map(Into::into),
                None => at.map(Into::into),
            }
        }
        None => {
            let geometry =
                packet::Geometry::read_from_bytes(bytes).map_err(|_| ClientError::Garbage)?;
            packet::Attachment::new(mapped.socket, &geometry).map(Into::into)
        }
    };
    Ok((attachment.map_err(unusable)?, wake))
}

fn unusable(_: std::io::Error) -> ClientError {
    ClientError::Garbage
}

/// Whether it is a group of one link or host (RFC 4291 section 2.7), which needs sources of that link.
pub(crate) const fn is_near_group(address: Address) -> bool {
    address.0[0] == 0xff && address.0[1] & 0xf < 3
}

fn publication(served: &Served) -> Publication {
    Publication::new(
        if served.is_tcp { TCP } else { UDP },
        served.local,
        served.flags.contains(SocketFlags::V6ONLY),
        served.flags.contains(SocketFlags::REUSE),
    )
}
