//! A lock in shared memory that survives the death of its holder: nobody hangs, and nobody goes on with
//! half-changed tables. A dead holder's lock is *retired* for good, and every later attempt says so.

use crate::atomic::{AtomicU32, Ordering};
use crate::barrier;
use crate::ended::has_ended;
use rustix::thread::futex;
use rustix::time::Timespec;

/// Attempts before sleeping; the lock is held for some hundred nanoseconds as a rule.
const SPINS: u32 = 200;
/// How long to sleep before looking whether the holder still lives.
const CHECK_HOLDER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// How long where no barrier was raised, so that a wake-up may have been missed.
const CHECK_OFTEN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Who takes the lock: a client slot of the stack, and the process in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Index of the client slot; must be below 2^24.
    pub slot: u32,
    /// The process, to see whether it still lives.
    pub pid: u32,
}

/// The lock's holder died holding it; what it guards is in an unknown state and is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired;

impl core::fmt::Display for Retired {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a process died while it was changing the stack, which was given up")
    }
}

impl std::error::Error for Retired {}

/// The lock, one cache line at the start of a region; zeroed memory is a free lock.
///
/// Giving it back is a plain store, not an atomic exchange, which would have to wait until all that was written before
/// has reached memory: the frames just sent, whose lines the peer has. A plain store may be seen later than the look for
/// sleepers that follows it, so who is about to sleep lets it [settle](barrier::settle) between
/// announcing that and its last attempt, sleeps briefly, and [raises](barrier::raise) a barrier before it sleeps longer.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct LockWord {
    /// 0 free, else slot + 1. Taken by compare-and-swap, given back by a store.
    word: AtomicU32,
    /// The holder's process. Written by the holder.
    holder_pid: AtomicU32,
    /// Threads that sleep or are about to. Everybody writes.
    sleepers: AtomicU32,
    /// Not 0: the lock will not be taken again.
    retired: AtomicU32,
}

impl LockWord {
    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self, owner: Owner) -> Result<bool, Retired> {
        let taken = self
            .word
            .compare_exchange(0, owner.slot + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if taken {
            self.holder_pid.store(owner.pid, Ordering::Relaxed);
        }
        if self.is_retired() {
            Err(Retired)
        } else {
            Ok(taken)
        }
    }

    /// Takes the lock, waiting as long as its holder lives.
    #[inline]
    pub fn lock(&self, owner: Owner) -> Result<(), Retired> {
        if self.try_lock(owner)? {
            Ok(())
        } else {
            self.lock_slowly(owner)
        }
    }

    #[cold]
    fn lock_slowly(&self, owner: Owner) -> Result<(), Retired> {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == 0 && self.try_lock(owner)? {
                return Ok(());
            }
        }
        let mut slept_before = false;
        loop {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            // SYNC POINT: pairs with the barrier in `unlock`. Most sleeps are short, and not worth an interrupt of the others.
            let raised = slept_before && barrier::raise();
            if !raised {
                barrier::settle();
            }
            slept_before = true;
            let word = self.word.load(Ordering::SeqCst);
            let taken = self.try_lock(owner);
            if taken == Ok(false) && word != 0 {
                let span = if raised { CHECK_HOLDER } else { CHECK_OFTEN };
                let slept = futex::wait(&self.word, futex::Flags::empty(), word, Some(&span));
                if slept == Err(rustix::io::Errno::TIMEDOUT) {
                    self.retire_if_orphaned(word);
                }
            }
            let fewer = |n: u32| n.checked_sub(1);
            let _ = self
                .sleepers
                .fetch_update(Ordering::SeqCst, Ordering::Relaxed, fewer);
            if taken? {
                return Ok(());
            }
        }
    }

    /// Retires the lock if it is still held as `word` says, by a process that is no more.
    fn retire_if_orphaned(&self, word: u32) {
        let pid = self.holder_pid.load(Ordering::Relaxed);
        let dead = has_ended(pid);
        // A holder between taking the word and storing its pid looks like its predecessor, which may be dead:
        // the word must still be the same a moment later.
        if dead
            && self.word.load(Ordering::Relaxed) == word
            && self.holder_pid.load(Ordering::Relaxed) == pid
        {
            self.retire();
        }
    }

    /// Gives the lock back. Only the holder may call this.
    #[inline]
    pub fn unlock(&self) {
        self.word.store(0, Ordering::Release);
        // SYNC POINT: pairs with the barrier in `lock_slowly`.
        barrier::light();
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        let _ = futex::wake(&self.word, futex::Flags::empty(), 1);
    }

    /// Forgets the sleepers, after the death of a process that may have been one. Those that live look again in time.
    pub fn forget_sleepers(&self) {
        self.sleepers.store(0, Ordering::Relaxed);
    }

    /// The slot that holds the lock now.
    pub fn holder(&self) -> Option<u32> {
        if self.is_retired() {
            return None;
        }
        self.word.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether the lock was given up.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed) != 0
    }

    /// Gives the lock up and wakes everyone who waits for it.
    pub fn retire(&self) {
        self.retired.store(1, Ordering::SeqCst);
        let _ = futex::wake(&self.word, futex::Flags::empty(), u32::MAX >> 1);
    }
}
