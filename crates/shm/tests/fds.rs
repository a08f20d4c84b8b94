//! Descriptors of our own. Numbers belong to the whole process, so these tests take turns.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::io::{Errno, FdFlags, fcntl_getfd};
use sidestep_shm::{EventFd, Fd, Region, internal_fds, is_internal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().unwrap()
}

fn closes_on_exec(fd: BorrowedFd<'_>) -> bool {
    fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)
}

#[test]
fn an_adopted_descriptor_moves_up_and_is_known() {
    let _turn = turn();
    let (reader, writer) = pipe();
    let low = writer.as_raw_fd();
    let ours = Fd::adopt(writer).unwrap();
    let high = ours.as_raw_fd();
    assert!(high >= 64 && high > low, "{high}");
    assert!(is_internal(high) && !is_internal(low));
    assert_eq!(internal_fds().collect::<Vec<_>>(), [high]);
    assert!(closes_on_exec(ours.as_fd()));
    rustix::io::write(&ours, b"x").unwrap();

    // The writer's first number is closed, so its end is closed for good with ours.
    drop(ours);
    assert!(!is_internal(high));
    assert_eq!(internal_fds().next(), None);
    let mut byte = [0; 2];
    assert_eq!(rustix::io::read(&reader, &mut byte[..]).unwrap(), 1);
    assert_eq!(rustix::io::read(&reader, &mut byte[..]).unwrap(), 0);
}

#[test]
fn several_are_listed_in_order() {
    let _turn = turn();
    let (reader, writer) = pipe();
    let ours = [Fd::adopt(reader).unwrap(), Fd::adopt(writer).unwrap()];
    let mut numbers = ours.each_ref().map(AsRawFd::as_raw_fd);
    numbers.sort_unstable();
    assert_eq!(internal_fds().collect::<Vec<_>>(), numbers);
    assert!(numbers.iter().all(|n| *n >= 64));
}

#[test]
fn one_can_be_kept_over_exec() {
    let _turn = turn();
    let ours = Fd::adopt(pipe().0).unwrap();
    ours.keep_over_exec(true).unwrap();
    assert!(!closes_on_exec(ours.as_fd()));
    ours.keep_over_exec(false).unwrap();
    assert!(closes_on_exec(ours.as_fd()));
}

#[test]
fn numbers_that_cannot_be_ours_are_not() {
    for fd in [-1, i32::MIN, i32::MAX, 0, 2] {
        assert!(!is_internal(fd), "{fd}");
    }
}

#[test]
fn memory_and_bells_keep_out_of_the_way() {
    let _turn = turn();
    let region = Region::create("test", 4096).unwrap();
    let bell = EventFd::new().unwrap();
    assert!(is_internal(region.fd().unwrap().as_raw_fd()));
    assert!(is_internal(bell.as_fd().as_raw_fd()));
    assert_eq!(internal_fds().count(), 2);
    drop((region, bell));
    assert_eq!(internal_fds().count(), 0);
}

#[test]
fn a_bell_rings_until_it_is_drained() {
    let _turn = turn();
    let bell = EventFd::new().unwrap();
    let same = EventFd::attach(bell.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert!(!bell.drain());
    same.ring();
    same.ring();
    assert!(bell.drain());
    assert!(!bell.drain() && !same.drain());
    assert_eq!(rustix::io::read(&bell, &mut [0; 8][..]), Err(Errno::AGAIN));
}
