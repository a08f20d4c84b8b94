//! Looks after stacks that nobody looks after: programs that compute for long, and those that died with something
//! left to send.
//!
//! A living program polls its own stack whenever it is in the library, and is woken when it sleeps there. Between its
//! calls nobody polls: then acknowledgements are late and timers do not fire. So the agent looks at every stack from
//! time to time, and polls it if frames wait or timers are overdue. It looks often while programs communicate and
//! seldom while they do not.

use crate::registry::{Registry, StackEntry, Unavailable};
use sidestep_control::StackId;
use sidestep_shm::{Nanos, barrier};
use sidestep_stack::{Kind, SocketReport, StackReport};

/// A stack that was polled within this time looks after itself.
const PATIENCE: Nanos = Nanos::from_millis(5);
/// How often to look while anything happens, and how seldom while nothing does.
const TICK: Nanos = Nanos::from_millis(10);
const TICK_IDLE: Nanos = Nanos::from_millis(20);
/// How often to look at stacks without processes.
const ORPHAN_TICK: Nanos = Nanos::from_millis(20);
/// How long a stack without processes may go on sending.
const ORPHAN_MAX: Nanos = Nanos::from_secs(60);
/// How long a slot that is kept for a child may stay without one when no other process is left.
const UNBORN_MAX: Nanos = Nanos::from_secs(2);
/// How often the tables of wires and slots are compared with what we know of them.
const CHECK: Nanos = Nanos::from_secs(1);
/// How soon to try again what could not be done because a stack was busy.
const JOB_RETRY: Nanos = Nanos::from_millis(2);

/// When the caretaker looks next, and how often.
#[derive(Debug)]
pub(crate) struct Caretaker {
    tick: Nanos,
    next_tick: Nanos,
    next_check: Nanos,
}

impl Default for Caretaker {
    fn default() -> Self {
        Self {
            tick: TICK,
            next_tick: Nanos::ZERO,
            next_check: Nanos::ZERO,
        }
    }
}

/// What a look at a stack found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Its program polls it.
    Active,
    /// Nothing to do.
    Quiet,
    /// It was polled by us.
    Cared,
}

impl Caretaker {
    /// Does what is due. Call after every round of events.
    pub(crate) fn run(&mut self, registry: &mut Registry) {
        registry.run_jobs();
        let now = registry.now();
        if now >= self.next_tick {
            let busy = registry.tick(now);
            self.tick = if busy {
                TICK
            } else {
                Nanos((self.tick.0 * 2).min(TICK_IDLE.0))
            };
            if registry
                .stacks
                .values()
                .any(|entry| entry.orphan_since.is_some())
            {
                self.tick = ORPHAN_TICK;
            }
            self.next_tick = now + self.tick;
        }
        if now >= self.next_check {
            registry.check(now);
            self.next_check = now + CHECK;
        }
    }

    /// When to be called again, if nothing happens before; none while there is nothing to look after.
    pub(crate) fn deadline(&self, registry: &Registry) -> Option<Nanos> {
        let job = (!registry.jobs.is_empty()).then(|| registry.now() + JOB_RETRY);
        let pending = registry.stacks.values().any(needs_looks);
        let tick = pending.then_some(self.next_tick);
        let check = (!registry.stacks.is_empty()).then_some(self.next_check);
        [job, tick, check].into_iter().flatten().min()
    }
}

/// Without wires nothing comes in and nothing can be sent.
fn needs_looks(entry: &StackEntry) -> bool {
    !entry.retired && (entry.orphan_since.is_some() || entry.has_wires)
}

impl Registry {
    /// Looks at every stack once. Whether anything happened.
    fn tick(&mut self, now: Nanos) -> bool {
        let all: Vec<StackId> = self.stacks.keys().copied().collect();
        let mut busy = false;
        for id in all {
            let Some(entry) = self.stacks.get_mut(&id) else {
                continue;
            };
            if entry.orphan_since.is_some() {
                self.care_for_orphan(id, now);
                continue;
            }
            match look(entry, now) {
                Ok(found) => {
                    self.counts.cared += u64::from(found == Found::Cared);
                    busy |= found != Found::Quiet;
                }
                // Somebody is at work in it.
                Err(Unavailable::Busy) => busy = true,
                Err(Unavailable::Retired) => self.on_retired(id),
            }
        }
        busy
    }

    /// Compares what we know with what the stacks' tables say.
    fn check(&mut self, now: Nanos) {
        let all: Vec<StackId> = self.stacks.keys().copied().collect();
        for id in all {
            if self.learn_slots(id).is_ok() {
                let _ = self.attach_links(id);
            }
        }
        self.check_wires(now);
        self.run_jobs();
    }

    /// Polls a stack that has no process any more, and frees it when it has nothing left to do.
    pub(crate) fn care_for_orphan(&mut self, id: StackId, now: Nanos) {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        let Some(since) = entry.orphan_since else {
            return;
        };
        entry.doorbell.drain();
        let report = entry.with(|stack| {
            stack.poll(now);
            stack.reset_sleepers();
            // Where no barrier is to be had we look again soon enough.
            if stack.arm(|| {
                barrier::raise();
            }) {
                stack.poll(now);
            }
            stack.report()
        });
        self.counts.cared += 1;
        let finished = match &report {
            Ok(report) => {
                let unborn = !report.processes.is_empty() && now - since < UNBORN_MAX;
                !unborn && is_finished(report)
            }
            Err(Unavailable::Busy) => false,
            Err(Unavailable::Retired) => return self.on_retired(id),
        };
        if now - since > ORPHAN_MAX || (finished && !self.has_readers(id)) {
            self.free(id);
        }
    }

    /// Whether a peer still has a connection open whose end came from this stack: its program may have yet to read
    /// what came before the end, and that end itself, which closing the wire would turn into an error.
    fn has_readers(&mut self, id: StackId) -> bool {
        let ends = self.wires.values().flat_map(|wire| &wire.ends);
        let peers: Vec<_> = ends
            .filter(|end| end.peer == id && end.stack != id)
            .copied()
            .collect();
        peers.iter().any(|end| {
            let Some(entry) = self.stacks.get_mut(&end.stack) else {
                return false;
            };
            let reads = |s: &SocketReport| {
                s.kind == Kind::Stream
                    && s.wire == Some(end.index)
                    && s.holders != 0
                    && matches!(s.state, "TIME-WAIT" | "LAST-ACK" | "CLOSING" | "CLOSE-WAIT")
            };
            match entry.with(|stack| stack.report().sockets.iter().any(reads)) {
                Ok(reads) => reads,
                Err(why) => why == Unavailable::Busy,
            }
        })
    }
}

/// Polls a stack if that is overdue.
fn look(entry: &mut StackEntry, now: Nanos) -> Result<Found, Unavailable> {
    let seen = entry.seen_polled;
    let (polled, found) = entry.try_with(|stack| {
        let polled = stack.last_polled();
        if now - polled < PATIENCE {
            return (polled, Found::Active);
        }
        let overdue = stack.next_timer() + PATIENCE <= now;
        if overdue || stack.rx_pending() {
            stack.poll(now);
            return (stack.last_polled(), Found::Cared);
        }
        (
            polled,
            if polled == seen {
                Found::Quiet
            } else {
                Found::Active
            },
        )
    })?;
    entry.seen_polled = polled;
    Ok(found)
}

/// Whether nothing is left that TCP would still have to say. TIME-WAIT does not count: it only listens.
fn is_finished(report: &StackReport) -> bool {
    report.wires.is_empty()
        || !report.sockets.iter().any(|socket| {
            socket.kind == Kind::Stream
                && socket.wire.is_some()
                && !matches!(socket.state, "TIME-WAIT" | "CLOSED" | "LISTEN")
        })
}
