//! What happens when a process is gone, however it went.
//!
//! Its slots are cleared in every stack that it had mapped: sockets that nobody else holds are closed as TCP closes
//! them, and the caretaker sees to it that what must still be sent is sent. A process that held a stack's lock leaves
//! tables in an unknown state; that stack is given up. A stack without processes is kept until it has nothing to
//! send any more, or until nobody listened for long enough.

use crate::orphans::Orphan;
use crate::registry::{Job, Registry, Unavailable};
use crate::wires::close_in;
use sidestep_control::{Publication, StackId};
use sidestep_shm::Nanos;
use sidestep_stack::{Kind, StackReport};

/// Who held a slot.
#[derive(Debug, Clone, Copy)]
enum Holder {
    /// This process.
    Process(u32),
    /// A child that never began, for which the slot was taken for the `times`th time.
    Unbegun { times: u32 },
}

impl Registry {
    /// Process `pid` has ended.
    pub(crate) fn on_process_end(&mut self, pid: u32) {
        let held = |(id, entry): (&StackId, &crate::registry::StackEntry)| -> Vec<(StackId, u32)> {
            let of_pid = entry.slots.iter().filter(|(_, p)| **p == pid);
            of_pid.map(|(slot, _)| (*id, *slot)).collect()
        };
        let held: Vec<(StackId, u32)> = self.stacks.iter().flat_map(held).collect();
        self.takeover.on_process_end(pid);
        self.forget(pid);
        for (stack, slot) in &held {
            self.slot_lost(*stack, *slot, pid);
        }
        if !held.is_empty() {
            self.counts.deaths += 1;
            self.log.line(format_args!("process {pid} ended"));
        }
        self.save();
        self.run_jobs();
    }

    /// The process in a slot is gone: at once or, while another process holds the stack's lock, later.
    pub(crate) fn slot_lost(&mut self, stack: StackId, slot: u32, pid: u32) {
        let Some(entry) = self.stacks.get_mut(&stack) else {
            return;
        };
        if entry.shared.word().holder() == Some(slot) {
            self.retire(stack, "a process died while it was changing the stack");
        }
        self.jobs.push_back(Job::SlotDead { stack, slot, pid });
    }

    /// Does what there is to do; what is in use now stays in the queue.
    pub(crate) fn run_jobs(&mut self) {
        let mut busy: Vec<Job> = Vec::new();
        // A job may bring others; a bound, so that the event loop has its turn.
        for _ in 0..4 * self.jobs.len() + 16 {
            let Some(job) = self.jobs.pop_front() else {
                break;
            };
            // What is done to a stack is done in order.
            if busy.iter().any(|other| other.stack() == job.stack()) {
                busy.push(job);
                continue;
            }
            let now = self.now();
            let done = match job {
                Job::SlotDead { stack, slot, pid } => {
                    self.clear_slot(stack, slot, Holder::Process(pid), now)
                }
                Job::ChildDead { stack, slot, times } => {
                    self.clear_slot(stack, slot, Holder::Unbegun { times }, now)
                }
                Job::CloseWire { stack, wire } => match self.stacks.get_mut(&stack) {
                    Some(entry) => close_in(entry, wire, now),
                    None => Ok(()),
                },
                Job::Queue {
                    stack,
                    wire,
                    change,
                } => match self.stacks.get_mut(&stack) {
                    Some(entry) => change.tell(entry, wire),
                    None => Ok(()),
                },
                Job::ForgetWays { stack } => match self.stacks.get_mut(&stack) {
                    Some(entry) => entry.with(sidestep_stack::Stack::forget_ways),
                    None => Ok(()),
                },
            };
            match done {
                Ok(()) => {}
                Err(Unavailable::Busy) => busy.push(job),
                Err(Unavailable::Retired) => self.on_retired(job.stack()),
            }
        }
        for job in busy.into_iter().rev() {
            self.jobs.push_front(job);
        }
    }

    /// A stack turned out to be given up, by one of its processes or by a panic of ours.
    pub(crate) fn on_retired(&mut self, stack: StackId) {
        self.retire(stack, "its tables are in an unknown state");
        let ended: Vec<u32> = match self.stacks.get(&stack) {
            Some(entry) => {
                let gone = entry.slots.iter().filter(|(_, pid)| self.has_ended(**pid));
                gone.map(|(slot, _)| *slot).collect()
            }
            None => return,
        };
        let Some(entry) = self.stacks.get_mut(&stack) else {
            return;
        };
        entry.slots.retain(|slot, _| !ended.contains(slot));
        if entry.slots.is_empty() {
            self.free(stack);
        }
    }

    fn clear_slot(
        &mut self,
        id: StackId,
        slot: u32,
        holder: Holder,
        now: Nanos,
    ) -> Result<(), Unavailable> {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return Ok(());
        };
        let report = entry.with(|stack| {
            // The process may have left the slot in good order, and another one may have it by now.
            let is_its = match holder {
                Holder::Process(pid) => stack.slots().any(|held| held == (slot, pid)),
                Holder::Unbegun { times } => stack.awaits_child(slot, times),
            };
            if is_its {
                stack.on_slot_dead(now, slot);
            }
            stack.report()
        })?;
        entry.shared.word().forget_sleepers();
        if let Holder::Process(pid) = holder {
            entry.slots.retain(|s, p| (*s, *p) != (slot, pid));
        }
        // A wake-up may have been meant for the process, or on its way from it.
        entry.wake_all();
        let _ = self.learn_slots(id);
        let Some(entry) = self.stacks.get_mut(&id) else {
            return Ok(());
        };
        if entry.slots.is_empty() {
            entry.orphan = Some(Orphan::new(now));
            self.directory.withdraw_stack(id);
            self.log
                .line(format_args!("stack {id:016x} has no process any more"));
            self.settle_all_claims(id);
            self.watch_doorbell(id, true);
            self.care_for_orphan(id, now);
        } else {
            self.withdraw_closed(id, &report);
            self.settle_all_claims(id);
        }
        Ok(())
    }

    /// Withdraws what the stack does not serve any more by its own tables.
    pub(crate) fn withdraw_unserved(&mut self, id: StackId) {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        if let Ok(report) = entry.with(|stack| stack.report()) {
            self.withdraw_closed(id, &report);
        }
    }

    /// Withdraws what the stack does not serve any more because the process that did so is gone.
    fn withdraw_closed(&mut self, id: StackId, report: &StackReport) {
        let Some(netns) = self.stacks.get(&id).map(|entry| entry.netns) else {
            return;
        };
        for what in self.directory.publications(id) {
            if !serves(report, &what) {
                self.directory.withdraw_all(netns, id, &what);
            }
        }
    }

    /// Lets go of a stack.
    pub(crate) fn free(&mut self, id: StackId) {
        self.directory.withdraw_stack(id);
        self.watch_doorbell(id, false);
        self.unplug(id);
        self.leave_networks(id);
        self.children.forget_all(&self.epoll, id);
        let Some(entry) = self.stacks.remove(&id) else {
            return;
        };
        if !self.stacks.values().any(|other| other.netns == entry.netns) {
            self.directory.clear_addresses(entry.netns);
        }
        self.log.line(format_args!("stack {id:016x} is gone"));
        let processes: Vec<u32> = entry.slots.into_values().collect();
        for pid in processes {
            self.forget_if_unused(pid);
        }
        self.save();
    }
}

/// Whether a socket of the stack is bound as published.
fn serves(report: &StackReport, what: &Publication) -> bool {
    report.sockets.iter().any(|socket| {
        let kind = if what.protocol == 17 {
            Kind::Datagram
        } else {
            Kind::Listener
        };
        socket.kind == kind && socket.local == what.endpoint() && !socket.holders.is_empty()
    })
}
