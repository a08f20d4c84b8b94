//! Looks after stacks that nobody looks after: programs that compute for long, and those that died with something
//! left to send.
//!
//! A living program polls its own stack whenever it is in the library, and is woken when it sleeps there. Between its
//! calls nobody polls. So the agent looks at every stack from time to time, and where no program has polled for a while
//! it *stands guard*: it has the doorbell rung for itself, and answers for the program at once until that polls again.
//! A program that polls is not disturbed: the first poll ends the guard, and with it the ringing.

use crate::orphans::Fate;
use crate::registry::{Registry, StackEntry, Unavailable};
use sidestep_control::StackId;
use sidestep_shm::{Nanos, barrier};
use sidestep_stack::{Kind, SocketReport, Stack};

/// A stack that was polled within this time looks after itself.
const PATIENCE: Nanos = Nanos::from_millis(2);
/// How often to look while anything happens, and how seldom while nothing does.
const TICK: Nanos = Nanos::from_millis(5);
const TICK_IDLE: Nanos = Nanos::from_millis(10);
/// The least time between two looks at the timers of a stack that we guard.
const TIMERS: Nanos = Nanos::from_millis(1);
/// How often to look at stacks without processes.
const ORPHAN_TICK: Nanos = Nanos::from_millis(20);
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
        registry.serve_timers(now);
        if now >= self.next_tick {
            let busy = registry.tick(now);
            self.tick = if busy {
                TICK
            } else {
                Nanos((self.tick.0 * 2).min(TICK_IDLE.0))
            };
            if registry.stacks.values().any(|entry| entry.orphan.is_some()) {
                self.tick = ORPHAN_TICK;
            }
            self.next_tick = now + self.tick;
        }
        registry.check_groups(now);
        registry.ask_unanswering(now);
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
        let guarded = registry.stacks.values().filter(|entry| entry.guarded);
        let timer = guarded.map(|entry| entry.timer_at).min();
        let check = (!registry.stacks.is_empty()).then_some(self.next_check);
        [job, tick, timer, check].into_iter().flatten().min()
    }
}

/// Without wires nothing comes in and nothing can be sent.
fn needs_looks(entry: &StackEntry) -> bool {
    !entry.retired && (entry.orphan.is_some() || entry.has_wires)
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
            if entry.orphan.is_some() {
                self.care_for_orphan(id, now);
                continue;
            }
            let found = look(entry, now, false);
            busy |= self.on_look(id, found);
        }
        busy
    }

    /// Sees to it that the doorbell rings where it should after a look. Whether there was anything.
    fn on_look(&mut self, id: StackId, found: Result<Found, Unavailable>) -> bool {
        match found {
            Ok(found) => {
                self.counts.cared += u64::from(found == Found::Cared);
                let guarded = self.stacks.get(&id).is_some_and(|entry| entry.guarded);
                self.watch_doorbell(id, guarded);
                found != Found::Quiet
            }
            // Somebody is at work in it.
            Err(Unavailable::Busy) => true,
            Err(Unavailable::Retired) => {
                self.on_retired(id);
                true
            }
        }
    }

    /// Looks at the stacks that we guard and whose timers may be due.
    fn serve_timers(&mut self, now: Nanos) {
        let due = |(id, entry): (&StackId, &StackEntry)| {
            (entry.guarded && entry.timer_at <= now).then_some(*id)
        };
        let due: Vec<StackId> = self.stacks.iter().filter_map(due).collect();
        for id in due {
            if let Some(entry) = self.stacks.get_mut(&id) {
                let found = look(entry, now, false);
                if found == Err(Unavailable::Busy) {
                    entry.timer_at = now + TIMERS;
                }
                self.on_look(id, found);
            }
        }
    }

    /// A frame has come for a stack whose doorbell we watch.
    pub(crate) fn on_doorbell(&mut self, id: StackId) {
        let now = self.now();
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        if entry.orphan.is_some() {
            return self.care_for_orphan(id, now);
        }
        let found = look(entry, now, true);
        self.on_look(id, found);
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
        self.check_queues();
        self.check_new_queues();
        self.check_busy_polls();
        self.check_claims();
        self.check_ports();
        self.look_for_guests();
        self.refresh_neighbours(now);
        self.run_jobs();
    }

    /// Polls a stack that has no process any more, and frees it when it has nothing left to do.
    pub(crate) fn care_for_orphan(&mut self, id: StackId, now: Nanos) {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        let Some(mut orphan) = entry.orphan else {
            return;
        };
        entry.doorbell.drain();
        let report = entry.with(|stack| {
            guard(stack, now);
            stack.report()
        });
        let fate = match &report {
            Ok(report) => orphan.look(report, now),
            Err(Unavailable::Busy) => Fate::GoesOn,
            Err(Unavailable::Retired) => return self.on_retired(id),
        };
        entry.orphan = Some(orphan);
        self.counts.cared += 1;
        if fate == Fate::IsOver || (fate == Fate::HasSaidAll && !self.has_readers(id)) {
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
                    && !s.holders.is_empty()
                    && matches!(s.state, "TIME-WAIT" | "LAST-ACK" | "CLOSING" | "CLOSE-WAIT")
            };
            match entry.with(|stack| stack.report().sockets.iter().any(reads)) {
                Ok(reads) => reads,
                Err(why) => why == Unavailable::Busy,
            }
        })
    }
}

/// Polls a stack if that is overdue, and stands guard if its program has not polled it for a while.
///
/// `surely`: there is something to do, so that it is worth waiting for a lock that is held.
fn look(entry: &mut StackEntry, now: Nanos, surely: bool) -> Result<Found, Unavailable> {
    let (seen, guarded, doorbell) = (entry.seen_polled, entry.guarded, entry.doorbell.clone());
    let work = |stack: &mut Stack<'static>| {
        let polled = stack.last_polled();
        let still = guarded && stack.is_guarded();
        if !still && now - polled < PATIENCE {
            return (polled, Found::Active, false, Nanos::NEVER);
        }
        let overdue = stack.next_timer() <= now || stack.rx_pending();
        let found = if overdue {
            Found::Cared
        } else if polled == seen {
            Found::Quiet
        } else {
            Found::Active
        };
        if stack.has_sleepers() {
            // They look after it; unless they are late, for which there is no reason but a fault of theirs.
            if overdue && now - polled >= PATIENCE {
                stack.poll(now);
            }
            return (stack.last_polled(), found, false, Nanos::NEVER);
        }
        // No thread sleeps on the doorbell, and none will before it has had the lock.
        doorbell.drain();
        if overdue || !still {
            guard(stack, now);
        }
        let timer = stack.next_timer().max(now + TIMERS);
        (stack.last_polled(), found, true, timer)
    };
    let (polled, found, guarded, timer) = if surely {
        entry.with(work)?
    } else {
        entry.try_with(work)?
    };
    entry.seen_polled = polled;
    entry.guarded = guarded;
    entry.timer_at = timer;
    Ok(found)
}

/// Polls, and has the doorbell rung for what comes later.
fn guard(stack: &mut Stack<'static>, now: Nanos) {
    stack.poll(now);
    // Where no barrier is to be had we look again soon enough.
    let raise = || {
        barrier::raise();
    };
    if stack.stand_guard(raise) {
        stack.poll(now);
        stack.stand_guard(|| ());
    }
}
