//! Wires: the shared memory between two stacks, made once for a pair, known by both, and closed when one end is gone.

use crate::registry::{Job, Registry, StackEntry, Unavailable};
use sidestep_control::{Fault, StackId};
use sidestep_nic::any;
use sidestep_nic::memif::{Attachment, Geometry, Role, wire};
use sidestep_shm::{EventFd, Nanos, Region};
use sidestep_stack::{Stack, WireKind, WireSetup};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// How long a stack that became known to a new agent waits for the other ends of its wires.
const RESTORE_WAIT: Nanos = Nanos::from_secs(2);
/// Polls of a stack before one of its wires is closed, so that what the other end sent last is not lost.
const DRAIN_POLLS: u32 = 64;

/// One end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The stack.
    pub(crate) stack: StackId,
    /// Index in the stack's table.
    pub(crate) index: u32,
    /// The stack at the other end.
    pub(crate) peer: StackId,
    /// This end's part.
    pub(crate) role: Role,
}

/// A wire.
pub(crate) struct Wire {
    pub(crate) geometry: Geometry,
    /// Its memory; none while a new agent has yet to be told of it.
    pub(crate) region: Option<Arc<Region>>,
    /// The ends that are known: one while a new agent waits for the other. The end of the stack that asked comes first.
    pub(crate) ends: Vec<End>,
}

impl Wire {
    /// The end at which a stack's table has `index`, and the other one.
    fn seen_from(&self, stack: StackId, index: u32) -> Option<(End, Option<End>)> {
        let at = self
            .ends
            .iter()
            .position(|e| e.stack == stack && e.index == index)?;
        let other = self
            .ends
            .iter()
            .enumerate()
            .find(|(i, _)| *i != at)
            .map(|(_, e)| *e);
        Some((*self.ends.get(at)?, other))
    }

    /// The index in `from` of a wire from there to `to`.
    fn joins(&self, from: StackId, to: StackId) -> Option<u32> {
        let complete = self.ends.len() == 2;
        let end = self.ends.iter().find(|e| e.stack == from && e.peer == to)?;
        complete.then_some(end.index)
    }
}

/// What it takes to use a wire.
pub(crate) struct Mapping {
    pub(crate) peer: StackId,
    pub(crate) role: Role,
    pub(crate) stranger: bool,
    pub(crate) geometry: Geometry,
    pub(crate) region: OwnedFd,
    pub(crate) doorbell: OwnedFd,
}

impl Registry {
    /// A wire from one stack to another: the one there is, else a new one. Its index in `from`.
    pub(crate) fn open_wire(&mut self, from: StackId, to: StackId) -> Result<u32, Fault> {
        if self.stack(from)?.netns != self.stack(to)?.netns {
            return Err(Fault::OtherNamespace);
        }
        let between = |w: &Wire| w.joins(from, to).or_else(|| w.joins(to, from)).is_some();
        let known: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, w)| between(w))
            .map(|(id, _)| *id)
            .collect();
        for id in known {
            if self.confirm_wire(id)? {
                let index = self.wires.get(&id).and_then(|w| w.joins(from, to));
                return index.ok_or(Fault::UnknownWire);
            }
        }
        self.new_wire(from, to)
    }

    fn new_wire(&mut self, from: StackId, to: StackId) -> Result<u32, Fault> {
        let geometry = Geometry::default();
        let region = wire::create(&geometry).map_err(|_| Fault::Exhausted)?;
        let id = random().map_err(|_| Fault::Exhausted)?;
        let near = End {
            stack: from,
            index: 0,
            peer: to,
            role: Role::Slave,
        };
        let far = End {
            stack: to,
            index: 0,
            peer: from,
            role: Role::Master,
        };
        // To itself a stack has two ends, of which the first is for those who connect.
        let near = self.add_end(id, geometry, near)?;
        let far = match self.add_end(id, geometry, far) {
            Ok(far) => far,
            Err(fault) => {
                self.jobs.push_back(Job::CloseWire {
                    stack: from,
                    wire: id,
                });
                return Err(fault);
            }
        };
        let wire = Wire {
            geometry,
            region: Some(Arc::new(region)),
            ends: vec![near, far],
        };
        self.wires.insert(id, wire);
        self.counts.wires += 1;
        for stack in [to, from] {
            self.attach_links(stack)?;
            self.stack(stack)?.wake_all();
        }
        self.log.line(format_args!(
            "wire {id:016x} from stack {from:016x} to {to:016x}"
        ));
        Ok(near.index)
    }

    fn add_end(&mut self, id: u64, geometry: Geometry, end: End) -> Result<End, Fault> {
        let setup = WireSetup {
            id,
            peer_stack: end.peer,
            geometry,
            role: end.role,
        };
        let added = self
            .stack(end.stack)?
            .with(|stack| stack.add_wire(&setup))?;
        Ok(End {
            index: added.map_err(|_| Fault::WiresFull)?,
            ..end
        })
    }

    /// Whether both stacks still have their end of a wire; if one has not, the other one is closed too.
    fn confirm_wire(&mut self, id: u64) -> Result<bool, Fault> {
        let Some(wire) = self.wires.get(&id) else {
            return Ok(false);
        };
        for end in wire.ends.clone() {
            let has = |stack: &mut Stack<'_>| {
                stack
                    .open_wires()
                    .any(|w| w.id == id && w.index == end.index)
            };
            if !self.stack(end.stack)?.with(|stack| has(stack))? {
                self.drop_wire(id);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a process needs to use a wire of one of its stacks. Busy while a new agent has yet to hear of it from
    /// the other processes.
    pub(crate) fn map_wire(&mut self, stack: StackId, index: u32) -> Result<Mapping, Fault> {
        let wires = self.wires.values();
        let mut found = wires.filter_map(|w| Some((w, w.seen_from(stack, index)?)));
        let (wire, (end, other)) = found.next().ok_or(Fault::UnknownWire)?;
        let region = wire
            .region
            .as_ref()
            .ok_or(Fault::Busy)?
            .fd()
            .ok_or(Fault::UnknownWire)?;
        let peer = self
            .stacks
            .get(&other.ok_or(Fault::Busy)?.stack)
            .ok_or(Fault::UnknownWire)?;
        let region = region.try_clone_to_owned();
        let user = self.stacks.get(&stack).map(|own| own.user);
        let doorbell = peer.doorbell.as_fd().try_clone_to_owned();
        Ok(Mapping {
            peer: end.peer,
            role: end.role,
            stranger: user != Some(peer.user),
            geometry: wire.geometry,
            region: region.map_err(|_| Fault::Exhausted)?,
            doorbell: doorbell.map_err(|_| Fault::Exhausted)?,
        })
    }

    /// Learns from a stack's own table of the wires that an earlier agent made.
    pub(crate) fn learn_wires(&mut self, stack: StackId) -> Result<(), Fault> {
        let list: Vec<_> = self.stack(stack)?.with(|s| s.open_wires().collect())?;
        for open in list {
            let WireKind::Memif {
                peer_stack: peer,
                role,
                geometry,
            } = open.kind
            else {
                continue;
            };
            if !geometry.is_ours() {
                continue;
            }
            let wire = self.wires.entry(open.id).or_insert_with(|| Wire {
                geometry,
                region: None,
                ends: Vec::new(),
            });
            let end = End {
                stack,
                index: open.index,
                peer,
                role,
            };
            let fits = wire.ends.len() < 2 && wire.geometry == geometry;
            if fits && !wire.ends.contains(&end) {
                wire.ends.push(end);
            }
        }
        self.attach_everywhere();
        Ok(())
    }

    /// The memory of a wire that an earlier agent made.
    pub(crate) fn restore_wire(
        &mut self,
        stack: StackId,
        index: u32,
        memory: OwnedFd,
    ) -> Result<(), Fault> {
        let wire = self
            .wires
            .values_mut()
            .find(|w| w.seen_from(stack, index).is_some());
        let wire = wire.ok_or(Fault::UnknownWire)?;
        if wire.region.is_none() {
            let region = Region::attach(memory).map_err(|_| Fault::UnknownWire)?;
            if region.bytes() < wire.geometry.bytes() {
                return Err(Fault::UnknownWire);
            }
            wire.region = Some(Arc::new(region));
            self.attach_everywhere();
        }
        Ok(())
    }

    fn attach_everywhere(&mut self) {
        let all: Vec<StackId> = self.stacks.keys().copied().collect();
        for stack in all {
            // What cannot be attached now is not looked after by us; its own process does not need us for it.
            let _ = self.attach_links(stack);
        }
    }

    /// Attaches the agent itself to the wires of a stack, to be able to look after it.
    pub(crate) fn attach_links(&mut self, id: StackId) -> Result<(), Fault> {
        let entry = self.stack(id)?;
        let open: Vec<_> = entry.with(|stack| {
            stack.detach_closed();
            stack.open_wires().collect()
        })?;
        entry
            .attached
            .retain(|index, _| open.iter().any(|open| open.index == *index));
        let attached = &entry.attached;
        let missing: Vec<_> = open
            .into_iter()
            .filter(|open| attached.get(&open.index) != Some(&open.generation))
            .collect();
        for open in missing {
            let attachment = if open.is_network() {
                self.queue_attachment(open.id)
            } else {
                let wire = self.attachment(id, open.id, open.index);
                wire.map(|wire| wire.map(any::Attachment::from))
            };
            if let Some(attachment) = attachment.map_err(|_| Fault::Exhausted)? {
                let entry = self.stack(id)?;
                entry.with(|stack| stack.attach_wire(open.index, open.generation, attachment))?;
                entry.attached.insert(open.index, open.generation);
            }
        }
        Ok(())
    }

    fn attachment(&self, stack: StackId, id: u64, index: u32) -> io::Result<Option<Attachment>> {
        let Some(wire) = self.wires.get(&id) else {
            return Ok(None);
        };
        let (Some(region), Some((end, Some(other)))) = (&wire.region, wire.seen_from(stack, index))
        else {
            return Ok(None);
        };
        let Some(peer) = self.stacks.get(&other.stack) else {
            return Ok(None);
        };
        let doorbell = EventFd::of_stranger(peer.doorbell.as_fd().try_clone_to_owned()?)?;
        Attachment::for_wire(Arc::clone(region), &wire.geometry, end.role, doorbell).map(Some)
    }

    /// A stack is going: takes its wires from it and from the stacks at their other ends.
    pub(crate) fn unplug(&mut self, stack: StackId) {
        let of_stack = |w: &Wire| w.ends.iter().any(|e| e.stack == stack);
        let gone: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, w)| of_stack(w))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.drop_wire(id);
        }
    }

    /// Closes a wire at all ends that are left.
    fn drop_wire(&mut self, id: u64) {
        let Some(wire) = self.wires.remove(&id) else {
            return;
        };
        for end in wire.ends {
            let job = Job::CloseWire {
                stack: end.stack,
                wire: id,
            };
            if self
                .stacks
                .get(&end.stack)
                .is_some_and(|entry| !entry.retired)
            {
                self.jobs.push_back(job);
            }
        }
    }

    /// Closes wires of which one end is lost: closed by its stack, or not restored after a takeover although its
    /// processes are gone.
    pub(crate) fn check_wires(&mut self, now: Nanos) {
        let all: Vec<u64> = self.wires.keys().copied().collect();
        for id in all {
            let Some(wire) = self.wires.get(&id) else {
                continue;
            };
            let waiting =
                wire.ends.len() < 2 && wire.ends.iter().all(|end| self.may_return(end, now));
            if wire.ends.len() < 2 && !waiting {
                self.log.line(format_args!(
                    "wire {id:016x} was not restored by its other end"
                ));
                self.drop_wire(id);
            } else if !waiting {
                // A stack that is busy now is looked at again.
                let _ = self.confirm_wire(id);
            }
        }
    }

    /// Whether the other end of a wire, of which only `end` is known, may yet be made known.
    fn may_return(&self, end: &End, now: Nanos) -> bool {
        let Some(entry) = self.stacks.get(&end.stack) else {
            return false;
        };
        // A stack that is its own peer, or whose peer is here, was asked for both ends at once.
        let fresh = now - entry.since < RESTORE_WAIT;
        fresh || self.takeover.awaits_stack(end.peer)
    }
}

/// Closes a wire in one stack, after taking what came in over it. Its sleepers are woken to see what became of their
/// connections.
pub(crate) fn close_in(entry: &mut StackEntry, id: u64, now: Nanos) -> Result<(), Unavailable> {
    let of_wire = |stack: &Stack<'_>| {
        let mut open = stack.open_wires();
        open.find(|open| open.id == id).map(|open| open.index)
    };
    entry.with(|stack| {
        if of_wire(stack).is_none() {
            return;
        }
        for _ in 0..DRAIN_POLLS {
            if stack.poll(now) == 0 {
                break;
            }
        }
        // To itself a stack has two ends, and the poll may have closed what it found broken.
        while let Some(index) = of_wire(stack) {
            stack.close_wire(index);
        }
        stack.detach_closed();
    })?;
    entry.wake_all();
    Ok(())
}

/// A random number.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if n == bytes.len() {
        Ok(u64::from_ne_bytes(bytes))
    } else {
        Err(io::Error::other("no entropy"))
    }
}
