//! The lock: one holder at a time, and no one hangs when a holder is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sidestep_shm::lock::LockWord;
use sidestep_shm::{Locked, Owner, Region, Retired, Span};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn me(slot: u32) -> Owner {
    let pid = std::process::id();
    Owner { slot, pid }
}

/// Number of a process that has ended.
fn dead_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[test]
fn one_thread_at_a_time_changes_the_tables() {
    const THREADS: u32 = 4;
    const ROUNDS: u64 = 20_000;
    let mut layout = Locked::<()>::layout();
    let span: Span<u64> = layout.table(2);
    let region = Region::create("test", layout.bytes()).unwrap();
    let tables = Locked::new(region, |carver| carver.table(span)).unwrap();
    std::thread::scope(|scope| {
        for slot in 0..THREADS {
            let tables = &tables;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let mut view = tables.lock(me(slot)).unwrap();
                    assert_eq!(tables.word().holder(), Some(slot));
                    assert_eq!(view[0], view[1], "somebody else is between the two");
                    view[0] += 1;
                    view[1] += 1;
                }
            });
        }
    });
    let view = tables.lock(me(0)).unwrap();
    assert_eq!(view[..], [u64::from(THREADS) * ROUNDS; 2]);
}

#[test]
fn a_lock_that_is_held_is_not_taken() {
    let lock = LockWord::default();
    assert_eq!(lock.holder(), None);
    assert_eq!(lock.try_lock(me(7)), Ok(true));
    assert_eq!(lock.holder(), Some(7));
    assert_eq!(lock.try_lock(me(8)), Ok(false));
    lock.unlock();
    assert_eq!(lock.holder(), None);
    assert_eq!(lock.try_lock(me(8)), Ok(true));
    assert_eq!(lock.holder(), Some(8));
}

#[test]
fn a_guard_gives_the_lock_back() {
    let tables = Locked::new(Region::private(4096).unwrap(), |_| Ok(0u32)).unwrap();
    let guard = tables.try_lock(me(1)).unwrap().unwrap();
    assert!(tables.try_lock(me(2)).unwrap().is_none());
    drop(guard);
    *tables.try_lock(me(2)).unwrap().unwrap() += 1;
    assert_eq!(*tables.lock(me(1)).unwrap(), 1);
}

#[test]
fn a_living_holder_keeps_the_lock_however_long_it_takes() {
    let lock = LockWord::default();
    lock.lock(me(0)).unwrap();
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for slot in 1..4 {
            let (lock, taken) = (&lock, &taken);
            scope.spawn(move || {
                lock.lock(me(slot)).unwrap();
                taken.fetch_add(1, Ordering::Relaxed);
                assert_eq!(lock.holder(), Some(slot));
                lock.unlock();
            });
        }
        // Long enough for those who wait to look several times whether we live.
        std::thread::sleep(Duration::from_millis(160));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert!(!lock.is_retired());
        lock.unlock();
    });
    assert_eq!(taken.load(Ordering::Relaxed), 3);
    assert_eq!(lock.holder(), None);
}

#[test]
fn retiring_wakes_everyone_who_waits() {
    let lock = LockWord::default();
    lock.lock(me(0)).unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (1..5)
            .map(|slot| {
                let lock = &lock;
                scope.spawn(move || lock.lock(me(slot)))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(30));
        lock.retire();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(Retired));
        }
    });
    assert!(lock.is_retired());
    assert_eq!(lock.holder(), None);
    assert_eq!(lock.try_lock(me(1)), Err(Retired));
    // The holder that was overtaken by it changes nothing.
    lock.unlock();
    assert!(lock.is_retired());
    assert_eq!(lock.lock(me(1)), Err(Retired));
}

#[test]
fn the_lock_of_a_dead_process_is_retired() {
    assert_retired(dead_pid());
}

/// Its parent may be waiting for the lock, and not for the process.
#[test]
fn the_lock_of_a_dead_process_that_nobody_waited_for_is_retired() {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    // It has ended, or is about to.
    output.read_to_end(&mut Vec::new()).unwrap();
    assert_retired(child.id());
    child.wait().unwrap();
}

fn assert_retired(dead: u32) {
    let lock = LockWord::default();
    lock.lock(Owner { slot: 3, pid: dead }).unwrap();
    assert_eq!(lock.holder(), Some(3));
    std::thread::scope(|scope| {
        let waiting = [1, 2].map(|slot| {
            let lock = &lock;
            scope.spawn(move || lock.lock(me(slot)))
        });
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(Retired));
        }
    });
    assert!(lock.is_retired());
}
