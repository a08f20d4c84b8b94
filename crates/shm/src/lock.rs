//! A lock in shared memory that survives the death of its holder: nobody hangs, and nobody goes on with
//! half-changed tables. A dead holder's lock is *retired* for good, and every later attempt says so.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
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
    /// 0 free, else slot + 1 and, in the upper half, the holder's process. Taken by compare-and-swap, given back by a store.
    word: AtomicU64,
    /// Threads that sleep or are about to. Everybody writes.
    sleepers: AtomicU32,
    /// Not 0: the lock will not be taken again.
    retired: AtomicU32,
    /// Counts wake-ups; what sleepers sleep on. Everybody writes.
    wakes: AtomicU32,
}

/// What the word is while `owner` has the lock.
#[inline]
const fn held_by(owner: Owner) -> u64 {
    (owner.pid as u64) << 32 | (owner.slot + 1) as u64
}

impl LockWord {
    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self, owner: Owner) -> Result<bool, Retired> {
        let taken = self
            .word
            .compare_exchange(0, held_by(owner), Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
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
            let wakes = self.wakes.load(Ordering::SeqCst);
            let word = self.word.load(Ordering::SeqCst);
            let taken = self.try_lock(owner);
            if taken == Ok(false) && word != 0 {
                let span = if raised { CHECK_HOLDER } else { CHECK_OFTEN };
                let slept = futex::wait(&self.wakes, futex::Flags::empty(), wakes, Some(&span));
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
    fn retire_if_orphaned(&self, word: u64) {
        let pid = (word >> 32) as u32;
        // Whoever has ended cannot give it back any more: what is the same afterwards stays so.
        if has_ended(pid) && self.word.load(Ordering::Relaxed) == word {
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
        self.wakes.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.wakes, futex::Flags::empty(), 1);
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
        #[expect(clippy::cast_possible_truncation, reason = "the lower half of a word")]
        let slot = self.word.load(Ordering::Relaxed) as u32;
        slot.checked_sub(1)
    }

    /// Whether the lock was given up.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed) != 0
    }

    /// Gives the lock up and wakes everyone who waits for it.
    pub fn retire(&self) {
        self.retired.store(1, Ordering::SeqCst);
        self.wakes.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.wakes, futex::Flags::empty(), u32::MAX >> 1);
    }
}
