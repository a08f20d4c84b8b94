//! A lock in shared memory that survives the death of its holder: nobody hangs, and nobody goes on with
//! half-changed tables. A dead holder's lock is *retired* for good, and every later attempt says so.

use crate::atomic::{AtomicU32, Ordering};
use rustix::process::Pid;
use rustix::thread::futex;
use rustix::time::Timespec;

/// Set in the word while somebody may sleep on it.
const WAITERS: u32 = 1 << 31;
/// The word of a lock that will not be taken again.
const RETIRED: u32 = 0x7fff_ffff;
/// Attempts before sleeping; the lock is held for some hundred nanoseconds as a rule.
const SPINS: u32 = 200;
/// How long to sleep before looking whether the holder still lives.
const CHECK_HOLDER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
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
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct LockWord {
    /// 0 free, else slot + 1, with [`WAITERS`]; [`RETIRED`] for ever. Everybody writes, by compare-and-swap.
    word: AtomicU32,
    /// The holder's process. Written by the holder.
    holder_pid: AtomicU32,
}

impl LockWord {
    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self, owner: Owner) -> Result<bool, Retired> {
        match self
            .word
            .compare_exchange(0, owner.slot + 1, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => {
                self.holder_pid.store(owner.pid, Ordering::Relaxed);
                Ok(true)
            }
            Err(RETIRED) => Err(Retired),
            Err(_) => Ok(false),
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
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word == RETIRED {
                return Err(Retired);
            }
            if word == 0 {
                // Others may sleep: taken with the flag set, so that our unlock wakes one of them.
                if self
                    .word
                    .compare_exchange(
                        0,
                        (owner.slot + 1) | WAITERS,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok()
                {
                    self.holder_pid.store(owner.pid, Ordering::Relaxed);
                    return Ok(());
                }
                continue;
            }
            if word & WAITERS == 0
                && self
                    .word
                    .compare_exchange(word, word | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            let slept = futex::wait(
                &self.word,
                futex::Flags::empty(),
                word | WAITERS,
                Some(&CHECK_HOLDER),
            );
            if slept == Err(rustix::io::Errno::TIMEDOUT) {
                self.retire_if_orphaned(word | WAITERS);
            }
        }
    }

    /// Retires the lock if it is still held as `word` says, by a process that is no more.
    fn retire_if_orphaned(&self, word: u32) {
        let pid = self.holder_pid.load(Ordering::Relaxed);
        let dead = Pid::from_raw(pid.cast_signed()).is_none_or(|pid| {
            rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
        });
        // A holder between taking the word and storing its pid looks like its predecessor, which may be dead:
        // the word must still be the same a moment later.
        if dead
            && self.word.load(Ordering::Relaxed) == word
            && self.holder_pid.load(Ordering::Relaxed) == pid
        {
            let _ = self
                .word
                .compare_exchange(word, RETIRED, Ordering::Relaxed, Ordering::Relaxed);
            let _ = futex::wake(&self.word, futex::Flags::empty(), u32::MAX >> 1);
        }
    }

    /// Gives the lock back. Only the holder may call this.
    #[inline]
    pub fn unlock(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if word != RETIRED
            && word & WAITERS == 0
            && self
                .word
                .compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        {
            return;
        }
        self.unlock_slowly();
    }

    #[cold]
    fn unlock_slowly(&self) {
        let free = |word| (word != RETIRED).then_some(0);
        let _ = self
            .word
            .fetch_update(Ordering::Release, Ordering::Relaxed, free);
        let _ = futex::wake(&self.word, futex::Flags::empty(), 1);
    }

    /// The slot that holds the lock now.
    pub fn holder(&self) -> Option<u32> {
        match self.word.load(Ordering::Relaxed) {
            RETIRED => None,
            word => (word & !WAITERS).checked_sub(1),
        }
    }

    /// Whether the lock was given up.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.word.load(Ordering::Relaxed) == RETIRED
    }

    /// Gives the lock up and wakes everyone who waits for it.
    pub fn retire(&self) {
        self.word.store(RETIRED, Ordering::Relaxed);
        let _ = futex::wake(&self.word, futex::Flags::empty(), u32::MAX >> 1);
    }
}
