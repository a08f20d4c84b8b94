//! What each request does.

use crate::networks::interface::Mapping as QueueMapping;
use crate::networks::ways;
use crate::registry::{Registry, StackEntry};
use crate::report;
use crate::wires::Mapping;
use sidestep_control::directory::PublishError;
use sidestep_control::transport::Fds;
use sidestep_control::{Fault, NetworkWay, Publication, Request, StackId, VERSION};
use sidestep_shm::{EventFd, Nanos, is_eventfd};
use sidestep_stack::WAITERS;
use sidestep_wire::{Address, Endpoint};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Most stacks at a time.
const STACKS_MAX: usize = 4096;

/// What to answer.
pub(crate) enum Answer {
    Done,
    Stop,
    Welcome(OwnedFd),
    Stack(Vec<OwnedFd>),
    Wire(u32),
    Mapped(Mapping),
    MappedQueue(QueueMapping),
    Way(NetworkWay),
    Spread(Vec<u8>),
    Report { json: OwnedFd, bytes: u64 },
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    /// Its process.
    pub(crate) pid: u32,
    /// Its user.
    pub(crate) user: u32,
    /// Whether it may end the agent: its user is the agent's own, or root.
    pub(crate) is_trusted: bool,
    /// Whether it said [`Request::Hello`].
    pub(crate) introduced: bool,
}

impl Registry {
    /// Does what is asked.
    pub(crate) fn on_request(
        &mut self,
        asker: Asker,
        request: &Request<'_>,
        fds: Fds,
    ) -> Result<Answer, Fault> {
        let pid = asker.pid;
        match *request {
            Request::Hello {
                version,
                layout,
                name,
            } => self.hello(pid, (version, layout), name),
            _ if !asker.introduced => Err(Fault::NoHello),
            Request::Addresses { netns, first, list } => self.addresses(&asker, netns, first, list),
            Request::RegisterStack { stack, netns, slot } => {
                self.register_stack(asker, (stack, netns), slot, fds)
            }
            Request::AttachSlot { stack, slot } => self.attach_slot(asker, stack, slot),
            Request::AwaitChild { stack, slot, times } => {
                self.await_child(pid, (stack, slot, times), fds)
            }
            Request::DetachSlot { stack, slot } => self.detach_slot(pid, stack, slot),
            Request::MapStack { stack } => self.map_stack(asker.user, stack),
            Request::Publish {
                stack,
                what,
                networks,
            } => self.publish(&asker, stack, &what, (networks, fds)),
            Request::Withdraw { stack, what } => self.withdraw(pid, stack, &what),
            Request::OpenWire { from, to } => {
                self.stack_of(from, pid)?;
                self.open_wire(from, to).map(Answer::Wire)
            }
            Request::MapWire { stack, wire } => {
                self.stack_of(stack, pid)?;
                self.map(stack, wire)
            }
            Request::Route {
                stack,
                protocol,
                remote,
                port,
                source,
                device,
            } => {
                let to = ways::Wanted {
                    protocol,
                    remote: Endpoint::new(Address(remote), port),
                    source: Address(source),
                    device,
                };
                self.way(pid, stack, &to).map(Answer::Way)
            }
            Request::Spread { stack, wire } => self.spread(pid, stack, wire).map(Answer::Spread),
            Request::Claim { stack, keep } => {
                self.claim(pid, stack, keep, fds).map(|()| Answer::Done)
            }
            Request::Unclaim { stack, what } => {
                self.stack_of(stack, pid)?;
                self.unclaim(stack, &what);
                Ok(Answer::Done)
            }
            Request::Group { stack, change } => self
                .change_group(pid, stack, &change, fds)
                .map(|()| Answer::Done),
            Request::RestoreWire { stack, wire } => self.restore(pid, stack, wire, fds),
            Request::Ps => self.report(),
            Request::Stop if asker.is_trusted => Ok(Answer::Stop),
            Request::Stop => Err(Fault::NotYours),
        }
    }

    fn report(&mut self) -> Result<Answer, Fault> {
        let text = report::json(self).map_err(|_| Fault::Exhausted)?;
        let json = report::to_memory(&text).map_err(|_| Fault::Exhausted)?;
        Ok(Answer::Report {
            json,
            bytes: text.len() as u64,
        })
    }

    fn hello(
        &mut self,
        pid: u32,
        (version, layout): (u16, u32),
        name: &str,
    ) -> Result<Answer, Fault> {
        if version != VERSION || (layout != 0 && layout != sidestep_stack::layout()) {
            return Err(Fault::Version);
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            name.clone_into(&mut process.name);
        }
        self.directory
            .descriptor()
            .map(Answer::Welcome)
            .map_err(|_| Fault::Exhausted)
    }

    fn addresses(
        &mut self,
        asker: &Asker,
        netns: u64,
        first: bool,
        list: &[u8],
    ) -> Result<Answer, Fault> {
        Self::check_namespace(asker, netns)?;
        let (chunks, rest) = list.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(Fault::Malformed);
        }
        let told = chunks.iter().map(|bytes| Address(*bytes)).collect();
        let Some(list) = Self::believed(asker, first, told) else {
            return Ok(Answer::Done);
        };
        let done = if first {
            self.directory.set_addresses(netns, &list)
        } else {
            list.iter()
                .try_for_each(|address| self.directory.add_address(netns, *address))
        };
        done.map(|()| Answer::Done)
            .map_err(|_| Fault::DirectoryFull)
    }

    fn register_stack(
        &mut self,
        asker: Asker,
        (id, netns): (StackId, u64),
        slot: u32,
        mut fds: Fds,
    ) -> Result<Answer, Fault> {
        let Asker { pid, user, .. } = asker;
        if !self.stacks.contains_key(&id) {
            if self.stacks.len() >= STACKS_MAX {
                return Err(Fault::AgentFull);
            }
            let (memory, doorbell) = (fds.take(), fds.take());
            let (Some(memory), Some(doorbell)) = (memory, doorbell) else {
                return Err(Fault::Malformed);
            };
            Self::check_namespace(&asker, netns)?;
            let waiters: Vec<OwnedFd> = core::iter::from_fn(|| fds.take()).take(WAITERS).collect();
            if !is_eventfd(doorbell.as_fd()) || !waiters.iter().all(|fd| is_eventfd(fd.as_fd())) {
                return Err(Fault::NotAStack);
            }
            let waiters: io::Result<Vec<EventFd>> =
                waiters.into_iter().map(EventFd::of_stranger).collect();
            let doorbell = EventFd::of_stranger(doorbell).map_err(|_| Fault::Exhausted)?;
            let now = self.now();
            let number = self.next_number();
            let mut entry = StackEntry {
                shared: sidestep_stack::attach(memory).map_err(|_| Fault::NotAStack)?,
                attached: BTreeMap::new(),
                netns,
                user,
                number,
                doorbell: Arc::new(doorbell),
                waiters: waiters.map_err(|_| Fault::Exhausted)?,
                slots: BTreeMap::new(),
                since: now,
                orphan: None,
                seen_polled: Nanos::ZERO,
                watched: false,
                guarded: false,
                timer_at: Nanos::NEVER,
                has_wires: false,
                retired: false,
            };
            if entry.with(|stack| (stack.id(), stack.netns()))? != (id, netns) {
                return Err(Fault::NotAStack);
            }
            self.stacks.insert(id, entry);
            self.takeover.on_stack(id);
            self.counts.stacks += 1;
            self.log
                .line(format_args!("stack {id:016x} of process {pid}"));
        }
        let attached = self.attach_slot(asker, id, slot);
        if attached.is_err()
            && self
                .stacks
                .get(&id)
                .is_some_and(|entry| entry.slots.is_empty())
        {
            self.free(id);
        }
        attached?;
        self.learn_wires(id).map(|()| Answer::Done)
    }

    /// The slot must be the asker's by the stack's own table, or kept for a child, which is entered here: so it need not
    /// change the stack while it begins.
    fn attach_slot(&mut self, asker: Asker, id: StackId, slot: u32) -> Result<Answer, Fault> {
        let Asker { pid, user, .. } = asker;
        let entry = self.stack(id)?;
        let is_child = entry.user == user;
        let holds = entry.with(|stack| {
            let holder = stack.slots().find(|held| held.0 == slot);
            if is_child && holder == Some((slot, 0)) {
                stack.name_slot(slot, pid);
                return true;
            }
            holder == Some((slot, pid))
        })?;
        if !holds {
            return Err(Fault::NotYours);
        }
        self.learn_slots(id).map(|()| Answer::Done)
    }

    fn detach_slot(&mut self, pid: u32, id: StackId, slot: u32) -> Result<Answer, Fault> {
        if self.stack(id)?.slots.get(&slot) != Some(&pid) {
            return Err(Fault::NotYours);
        }
        self.jobs.push_back(crate::registry::Job::SlotDead {
            stack: id,
            slot,
            pid,
        });
        self.run_jobs();
        Ok(Answer::Done)
    }

    fn map_stack(&mut self, user: u32, id: StackId) -> Result<Answer, Fault> {
        let entry = self.stack(id)?;
        if entry.user != user {
            return Err(Fault::NotYours);
        }
        let memory = entry.shared.region().fd().ok_or(Fault::UnknownStack)?;
        let all = [memory, entry.doorbell.as_fd()].into_iter();
        let all = all.chain(entry.waiters.iter().map(AsFd::as_fd));
        let copies: io::Result<Vec<OwnedFd>> = all.map(|fd| fd.try_clone_to_owned()).collect();
        copies.map(Answer::Stack).map_err(|_| Fault::Exhausted)
    }

    fn map(&mut self, stack: StackId, wire: u32) -> Result<Answer, Fault> {
        match self.map_queue(stack, wire) {
            None => self.map_wire(stack, wire).map(Answer::Mapped),
            Some(Err(_)) => Err(Fault::Exhausted),
            Some(Ok(mapping)) => Ok(Answer::MappedQueue(mapping)),
        }
    }

    fn publish(
        &mut self,
        asker: &Asker,
        id: StackId,
        what: &Publication,
        (networks, mut fds): (bool, Fds),
    ) -> Result<Answer, Fault> {
        let pid = asker.pid;
        let netns = self.stack_of(id, pid)?.netns;
        let socket = fds.take();
        Self::check_publication(asker, netns, what, socket.as_ref().map(AsFd::as_fd))?;
        self.check_port(pid, id, what)?;
        let mut published = self.directory.publish(netns, id, what);
        if let Err(PublishError::InUse(other)) = published {
            // The kernel gave the port to the asker; the other one's death is known to it but not yet to us.
            self.reap(other);
            self.withdraw_unserved(other);
            self.withdraw_for_root(id, other, what);
            published = self.directory.publish(netns, id, what);
            // Of two users the one has it who can show that the kernel gave it to him.
            if published == Err(PublishError::InUse(other))
                && !asker.is_trusted
                && self.stack(other)?.user != asker.user
            {
                self.directory.withdraw_all(netns, other, what);
                self.lose_claim(other, what);
                published = self.directory.publish(netns, id, what);
            }
        }
        published.map_err(|e| match e {
            PublishError::Full => Fault::DirectoryFull,
            PublishError::InUse(_) => Fault::InUse,
            PublishError::Protocol => Fault::Unsupported,
        })?;
        let claimed = self.claim_published(pid, id, what, socket.filter(|_| networks));
        if claimed.is_err() {
            self.directory.withdraw(netns, id, what);
        }
        self.settle_groups();
        claimed.map(|()| Answer::Done)
    }

    /// Notices now which processes of a stack have ended.
    fn reap(&mut self, id: StackId) {
        let Some(entry) = self.stacks.get(&id) else {
            return;
        };
        let processes: Vec<u32> = entry.slots.values().copied().collect();
        for pid in processes {
            if self.has_ended(pid) {
                self.on_process_end(pid);
            }
        }
    }

    fn withdraw(&mut self, pid: u32, id: StackId, what: &Publication) -> Result<Answer, Fault> {
        let netns = self.stack_of(id, pid)?.netns;
        let known = self.directory.withdraw(netns, id, what);
        // A forked child said it once more, and may have closed the socket without a word since; or the socket was bound
        // to more when it was published.
        if !known || self.directory.publications(id).contains(what) {
            self.withdraw_unserved(id);
        }
        self.unclaim(id, what);
        self.settle_groups();
        Ok(Answer::Done)
    }

    fn restore(&mut self, pid: u32, id: StackId, wire: u32, mut fds: Fds) -> Result<Answer, Fault> {
        self.stack_of(id, pid)?;
        let memory = fds.take().ok_or(Fault::Malformed)?;
        self.restore_wire(id, wire, memory).map(|()| Answer::Done)
    }
}
