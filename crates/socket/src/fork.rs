//! fork(2): parent and child share the stack from then on, each with a client slot of its own.

use crate::fdtable::Entry;
use crate::nesting::NestingGuard;
use crate::networks::WakesGuard;
use crate::process::{Process, SessionGuard, SettledGuard, Shared};
use crate::session::Session;
use core::cell::RefCell;
use sidestep_shm::Fd;
use sidestep_shm::atomic::Ordering;
use sidestep_stack::{Handover, SocketRef};
use std::os::fd::OwnedFd;

struct Forking {
    child: Option<Child>,
    /// Another thread may be making the stack. Held over the fork, as what follows.
    _settled: SettledGuard<'static>,
    /// Held over the fork, so that the child's copy is not locked by a thread that it does not have.
    session: SessionGuard<'static>,
    _nesting: NestingGuard<'static>,
    _wakes: WakesGuard<'static>,
}

/// What is prepared for the child.
struct Child {
    slot: u32,
    /// Closed by the child once the agent knows it, or by its death. The parent's is closed at once.
    begun: Option<OwnedFd>,
    /// What its slot holds, in ascending order; none where that may be other sockets than we have descriptors for.
    holds: Option<Vec<SocketRef>>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

impl Process {
    /// Before a fork: a slot for the child, which holds all that we hold, before either side goes on.
    pub fn before_fork(&'static self) {
        let settled = self.lock_settled();
        let mut session = self.lock_session();
        let shared = self.attached();
        let child = shared.and_then(|shared| self.expect_child(shared, &mut session));
        let nesting = self.epolls.nesting.lock();
        let wakes = self.wakes.list();
        FORKING.with(|f| {
            *f.borrow_mut() = Some(Forking {
                child,
                _settled: settled,
                session,
                _nesting: nesting,
                _wakes: wakes,
            })
        });
    }

    /// Takes a slot for a child, tells the agent, and has it hold all that we hold, in this order: who is killed between two
    /// of these leaves nothing open.
    fn expect_child(&self, shared: &Shared, session: &mut Session) -> Option<Child> {
        let mine = self.slot();
        let kept = self.lock_only(shared, |stack| {
            session.forget_begun_children(stack);
            let kept = stack.keep_slot(mine);
            if kept.is_err() {
                stack.count_handover(Handover::NoPlace);
            }
            kept
        });
        let (slot, times) = kept.ok()?.ok()?;
        let begun = session.await_child(shared, slot, times);
        let mut held = self.sockets();
        held.dedup();
        let is_all = self.lock_only(shared, |stack| {
            stack.inherit(mine, slot);
            stack.holds_exactly(mine, &held)
        });
        Some(Child {
            slot,
            begun,
            holds: (is_all == Ok(true)).then_some(held),
        })
    }

    /// The sockets that we have descriptors for, in ascending order, one for each.
    fn sockets(&self) -> Vec<SocketRef> {
        let socket = |(_, entry)| match entry {
            Entry::Socket(r, _) => Some(r),
            _ => None,
        };
        let mut sockets: Vec<SocketRef> = self.fds.iter().filter_map(socket).collect();
        sockets.sort_unstable();
        sockets
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
            child,
            _settled: settled,
            mut session,
            _nesting: nesting,
            _wakes: wakes,
        } = forking;
        drop((settled, nesting, wakes));
        session.forget();
        let shared = self.attached();
        let slot = child.as_ref().map_or(self.slot(), |child| child.slot);
        self.become_child(slot, shared.is_some());
        let (Some(shared), Some(child)) = (shared, child) else {
            if let Some(shared) = shared {
                // What was inherited stays the parent's.
                self.lose_stack(shared, Handover::NoPlace);
            }
            return;
        };
        let Child { slot, begun, holds } = child;
        let mut held = self.sockets();
        for same in held.chunk_by(|a, b| a == b) {
            if let Some(count) = self.references.of(same[0].index) {
                count.store(u32::try_from(same.len()).unwrap_or(1), Ordering::Relaxed);
            }
        }
        held.dedup();
        if holds.as_ref() != Some(&held) {
            // Another thread of the parent opened or closed sockets while the slot was taken.
            let _ = self.lock_only(shared, |stack| stack.hold_exactly(slot, &held));
        }
        // The agent enters us: who is killed here has not touched the stack, so that the others go on.
        if session.register(self, shared, slot).is_err() {
            let pid = self.owner().pid;
            let _ = self.lock_only(shared, |stack| stack.name_slot(slot, pid));
            session.begun = begun.and_then(|pipe| Fd::adopt(pipe).ok());
        }
    }
}
