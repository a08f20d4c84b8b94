//! The connection to the agent: registering what this process has, and finding what others serve.

use crate::process::{Process, Shared};
use crate::{Address, Endpoint};
use sidestep_control::directory::Directory;
use sidestep_control::start::ensure_running;
use sidestep_control::{Client, ClientError, Fault, Publication, namespace};
use sidestep_nic::memif::{Attachment, Geometry};
use sidestep_shm::{EventFd, Region};
use sidestep_stack::{Handover, SocketFlags, WireToAttach};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use zerocopy::FromBytes;

/// IP protocol numbers, as publications have them.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What we have of the agent.
pub(crate) struct Session {
    client: Option<Client>,
    directory: Option<Directory>,
    /// What this process published, to say it again to another agent.
    published: Vec<Publication>,
    /// Memory of attached wires by their identity, to give it to another agent.
    regions: Option<HashMap<u64, Arc<Region>>>,
}

impl Session {
    pub(crate) const fn new() -> Self {
        Self {
            client: None,
            directory: None,
            published: Vec::new(),
            regions: None,
        }
    }

    /// Connects to the agent, starting one if need be, and registers the stack, its wires and its endpoints.
    pub(crate) fn register(
        &mut self,
        process: &Process,
        shared: &Shared,
        slot: u32,
    ) -> Result<(), ClientError> {
        let config = process.config();
        let (mut client, welcome) = ensure_running(&config.exe, &config.name)?;
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
        for what in &self.published {
            // Taken by somebody else meanwhile: then the kernel's reservation was lost too, and it is theirs.
            let _ = client.publish(shared.id, *what);
        }
        self.restore_wires(process, shared, &mut client);
        (self.client, self.directory) = (Some(client), Some(directory));
        Ok(())
    }

    fn restore_wires(&mut self, process: &Process, shared: &Shared, client: &mut Client) {
        let Some(regions) = &self.regions else { return };
        let wires = process.with_stack(shared, |stack| {
            stack.open_wires().map(|(w, _)| w).collect::<Vec<_>>()
        });
        for wire in wires.unwrap_or_default() {
            if let Some(fd) = regions.get(&wire.id).and_then(|region| region.fd()) {
                let _ = client.restore_wire(shared.id, wire.index, fd);
            }
        }
    }

    /// Makes a request; a lost agent is replaced once.
    fn ask<R>(
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

    /// Notices an agent that is gone, and finds another.
    pub(crate) fn check(&mut self, process: &Process, shared: &Shared) {
        if !self.client.as_ref().is_some_and(Client::is_connected) {
            self.client = None;
            let _ = self.register(process, shared, process.slot());
        }
    }

    /// A forked child has a connection of its own.
    pub(crate) fn forget(&mut self) {
        self.client = None;
    }

    /// Other programs can reach this endpoint from now on.
    pub(crate) fn publish(
        &mut self,
        process: &Process,
        shared: &Shared,
        is_tcp: bool,
        endpoint: Endpoint,
        flags: SocketFlags,
    ) -> Result<(), Handover> {
        let what = publication(is_tcp, endpoint, flags);
        self.ask(process, shared, |client| client.publish(shared.id, what))
            .map_err(|error| match error {
                ClientError::Refused(Fault::InUse) => Handover::Taken,
                ClientError::Refused(Fault::DirectoryFull) => Handover::Full,
                _ => Handover::NoAgent,
            })?;
        self.published.push(what);
        Ok(())
    }

    pub(crate) fn withdraw(
        &mut self,
        process: &Process,
        shared: &Shared,
        is_tcp: bool,
        endpoint: Endpoint,
        flags: SocketFlags,
    ) {
        let what = publication(is_tcp, endpoint, flags);
        if let Some(at) = self.published.iter().position(|p| *p == what) {
            self.published.swap_remove(at);
        }
        let _ = self.ask(process, shared, |client| client.withdraw(shared.id, what));
    }

    /// The index of a wire to the stack that serves an endpoint, opened now if need be.
    pub(crate) fn route(
        &mut self,
        process: &Process,
        shared: &Shared,
        is_tcp: bool,
        remote: Endpoint,
        flow_hash: u32,
    ) -> Result<u32, Handover> {
        // A directory that no agent writes any more may name stacks that are gone.
        self.check(process, shared);
        let directory = self.directory.as_ref().ok_or(Handover::NoAgent)?;
        let protocol = if is_tcp { TCP } else { UDP };
        let found = directory
            .lookup(protocol, shared.netns, remote)
            .map_err(|_| Handover::NoAgent)?;
        let Some(peer) = found.pick(flow_hash) else {
            let local = directory
                .is_local(shared.netns, remote.addr)
                .unwrap_or(false);
            return Err(if local {
                Handover::NotServed
            } else {
                Handover::OtherHost
            });
        };
        let known = process
            .with_stack(shared, |stack| stack.wire_to(peer))
            .map_err(|_| Handover::Retired)?;
        if let Some(index) = known {
            self.attach_wires(process, shared);
            return Ok(index);
        }
        let index = self
            .ask(process, shared, |client| client.open_wire(shared.id, peer))
            .map_err(|_| Handover::NoWire)?;
        self.attach_wires(process, shared);
        Ok(index)
    }

    /// Attaches all wires of the stack that this process has not attached yet.
    pub(crate) fn attach_wires(&mut self, process: &Process, shared: &Shared) {
        loop {
            let next = process.lock_only(shared, |stack| {
                stack.detach_closed();
                if let Some(regions) = &mut self.regions {
                    regions.retain(|id, _| stack.open_wires().any(|(wire, _)| wire.id == *id));
                }
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
    ) -> Result<Attachment, ClientError> {
        let mapped = self.ask(process, shared, |client| {
            client.map_wire(shared.id, wire.index)
        })?;
        let unusable = |_: std::io::Error| ClientError::Garbage;
        let geometry = mapped.geometry.get(..mapped.geometry_bytes).unwrap_or(&[]);
        let geometry = Geometry::read_from_bytes(geometry).map_err(|_| ClientError::Garbage)?;
        let region = Arc::new(Region::attach(mapped.region).map_err(unusable)?);
        let doorbell = EventFd::attach(mapped.doorbell).map_err(unusable)?;
        let attachment = Attachment::for_wire(region.clone(), &geometry, wire.role, doorbell)
            .map_err(unusable)?;
        self.regions.get_or_insert_default().insert(wire.id, region);
        Ok(attachment)
    }
}

fn publication(is_tcp: bool, endpoint: Endpoint, flags: SocketFlags) -> Publication {
    let v6_only = flags.contains(SocketFlags::V6ONLY);
    Publication::new(
        if is_tcp { TCP } else { UDP },
        endpoint,
        v6_only,
        flags.contains(SocketFlags::REUSE),
    )
}
