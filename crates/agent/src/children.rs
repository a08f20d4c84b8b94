//! Children that are being forked: until one has attached itself, a pipe tells that it is dead.
//!
//! The parent takes the child's slot and has it hold what the child will inherit, before either goes on. A child that is
//! killed before it has run, or a fork that fails, leaves nobody who could give that back.

use crate::registry::{Job, Registry, Token};
use crate::requests::Answer;
use rustix::event::epoll::{self, EventFlags};
use sidestep_control::transport::Fds;
use sidestep_control::{Fault, StackId};
use sidestep_stack::SLOTS;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// A child of which nothing was heard yet.
struct Child {
    stack: StackId,
    slot: u32,
    /// How often the slot had been taken for it.
    times: u32,
    /// Hung up when the child has closed its end.
    pipe: OwnedFd,
}

/// Children that are being forked, by number: at most one for each slot of each stack.
#[derive(Default)]
pub(crate) struct Children(BTreeMap<u64, Child>);

impl Children {
    /// The child in a slot has attached itself.
    pub(crate) fn forget(&mut self, epoll: &OwnedFd, stack: StackId, slot: u32) {
        self.remove(epoll, |child| child.stack == stack && child.slot == slot);
    }

    /// A stack is gone.
    pub(crate) fn forget_all(&mut self, epoll: &OwnedFd, stack: StackId) {
        self.remove(epoll, |child| child.stack == stack);
    }

    /// Whether one is awaited in a slot.
    fn awaits(&self, stack: StackId, slot: u32) -> bool {
        let mut children = self.0.values();
        children.any(|child| child.stack == stack && child.slot == slot)
    }

    fn remove(&mut self, epoll: &OwnedFd, which: impl Fn(&Child) -> bool) {
        self.0.retain(|_, child| {
            let goes = which(child);
            if goes {
                let _ = epoll::delete(epoll, &child.pipe);
            }
            !goes
        });
    }
}

impl Registry {
    /// Process `pid` is about to fork, and keeps a slot for the child.
    pub(crate) fn await_child(
        &mut self,
        pid: u32,
        (stack, slot, times): (StackId, u32, u32),
        mut fds: Fds,
    ) -> Result<Answer, Fault> {
        let pipe = fds.take().ok_or(Fault::Malformed)?;
        self.stack_of(stack, pid)?;
        if slot as usize >= SLOTS {
            return Err(Fault::NotYours);
        }
        self.children.forget(&self.epoll, stack, slot);
        let number = self.next_number();
        let data = Token::Child(number).data();
        // A hang-up is told of in any case.
        epoll::add(&self.epoll, &pipe, data, EventFlags::empty()).map_err(|_| Fault::Exhausted)?;
        let child = Child {
            stack,
            slot,
            times,
            pipe,
        };
        self.children.0.insert(number, child);
        Ok(Answer::Done)
    }

    /// A child that did not attach itself has closed its end of the pipe.
    pub(crate) fn on_child_gone(&mut self, number: u64) {
        let Some(child) = self.children.0.remove(&number) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, &child.pipe);
        let Child {
            stack, slot, times, ..
        } = child;
        // It may have died at work in the stack before we knew its process, and nobody else has the slot meanwhile.
        let holds = self.stacks.get(&stack).is_some_and(|entry| {
            entry.shared.word().holder() == Some(slot) && !entry.slots.contains_key(&slot)
        });
        if holds && !self.children.awaits(stack, slot) {
            self.retire(stack, "a child died while it was changing the stack");
        }
        self.jobs.push_back(Job::ChildDead { stack, slot, times });
        self.run_jobs();
    }
}
