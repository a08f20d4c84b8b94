//! fork(2): parent and child share the stack from then on, each with a client slot of its own.

use crate::fdtable::Entry;
use crate::nesting::NestingGuard;
use crate::networks::WakesGuard;
use crate::process::{Process, SessionGuard};
use core::cell::RefCell;
use sidestep_shm::atomic::Ordering;
use std::os::fd::OwnedFd;

struct Forking {
    slot: Option<u32>,
    /// Closed by the child once the agent knows it, or by its death. The parent's is closed at once.
    begun: Option<OwnedFd>,
    /// Held over the fork, so that the child's copy is not locked by a thread that it does not have.
    session: SessionGuard<'static>,
    _nesting: NestingGuard<'static>,
    _wakes: WakesGuard<'static>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

impl Process {
    /// Before a fork: a slot for the child, which holds all that we hold, before either side goes on.
    pub fn before_fork(&'static self) {
        let mut session = self.lock_session();
        let slot = self.attached().and_then(|shared| {
            let mine = self.slot();
            let taken = self.lock_only(shared, |stack| {
                let slot = stack.take_slot(0).ok()?;
                stack.inherit(mine, slot);
                Some((slot, stack.times_taken(slot)))
            });
            taken.ok().flatten()
        });
        let begun = self
            .attached()
            .zip(slot)
            .and_then(|(shared, (slot, times))| session.await_child(shared, slot, times));
        let nesting = self.epolls.nesting.lock();
        let wakes = self.wakes.list();
        FORKING.with(|f| {
            *f.borrow_mut() = Some(Forking {
                slot: slot.map(|(slot, _)| slot),
                begun,
                session,
                _nesting: nesting,
                _wakes: wakes,
            })
        });
    }

    /// After a fork, in the parent.
    pub fn after_fork_in_parent(&self) {
        FORKING.with(|f| drop(f.borrow_mut().take()));
    }

    /// After a fork, in the child.
    pub fn after_fork_in_child(&self) {
        let Some(forking) = FORKING.with(|f| f.borrow_mut().take()) else {
            return;
        };
        let Forking {
            slot,
            begun,
            mut session,
            _nesting: nesting,
            _wakes: wakes,
        } = forking;
        drop((nesting, wakes));
        session.forget();
        let Some(shared) = self.attached() else {
            return;
        };
        let Some(slot) = slot else {
            // No slot: what was inherited stays the parent's, and new sockets the kernel's.
            for (fd, _) in self.fds.iter() {
                self.fds.replace(fd, Entry::Kernel);
            }
            return;
        };
        self.become_child(slot);
        let pid = self.owner().pid;
        let held: Vec<_> = self
            .fds
            .iter()
            .filter_map(|(_, entry)| {
                if let Entry::Socket(r, _) = entry {
                    Some(r)
                } else {
                    None
                }
            })
            .collect();
        let _ = self.lock_only(shared, |stack| {
            stack.name_slot(slot, pid);
            // Another thread of the parent may have opened or closed sockets since the slot was taken.
            stack.hold_exactly(slot, &held);
        });
        for r in &held {
            if let Some(count) = self.references.of(r.index) {
                let of_this = held.iter().filter(|other| *other == r).count();
                count.store(u32::try_from(of_this).unwrap_or(1), Ordering::Relaxed);
            }
        }
        let _ = session.register(self, shared, slot);
        drop(begun);
    }
}
