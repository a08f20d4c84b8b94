//! Children of fork(2), and parents: killed at any moment, they leave nothing open and nobody waiting.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, Program, TestStack, eventually, part, say, wait_for_go};
use sidestep_control::Client;
use sidestep_shm::Owner;
use std::os::fd::{AsFd, OwnedFd};

/// The slots that are taken, with their processes.
fn slots(stack: &TestStack) -> Vec<(u32, u32)> {
    stack.polled(|stack, _| stack.slots().collect())
}

/// A stack about to fork: the child's slot and the pipe that the child would have.
fn fork(stack: &TestStack, client: &mut Client) -> (u32, OwnedFd) {
    let (slot, times) = stack.polled(|s, _| {
        let kept = s.keep_slot(stack.owner.slot).unwrap();
        s.inherit(stack.owner.slot, kept.0);
        kept
    });
    let (agents, childs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    client
        .await_child(stack.id, slot, times, agents.as_fd())
        .unwrap();
    (slot, childs)
}

#[test]
fn a_child_that_never_begins_leaves_nothing_open() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let listener = stack.listen("127.0.0.1:80");
    let (slot, pipe) = fork(&stack, &mut client);
    stack.polled(|s, now| s.close(now, listener, stack.owner.slot));
    assert!(
        stack.polled(|s, _| s.ready(listener).is_ok()),
        "the child has it"
    );
    drop(pipe);
    eventually("its slot is free", || {
        slots(&stack).iter().all(|(s, _)| *s != slot).then_some(())
    });
    assert!(stack.polled(|s, _| s.ready(listener).is_err()));
    // The next child has the same slot: what is said of the one before is nothing to it.
    let (again, pipe) = fork(&stack, &mut client);
    assert_eq!(again, slot);
    let (agents, stale) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let before = stack.polled(|s, _| s.times_taken(slot)) - 1;
    client
        .await_child(stack.id, slot, before, agents.as_fd())
        .unwrap();
    drop((stale, agents));
    client.ps().unwrap();
    assert!(slots(&stack).contains(&(slot, 0)));
    drop(pipe);
}

#[test]
fn a_child_that_dies_before_it_calls_is_noticed() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let (slot, pipe) = fork(&stack, &mut client);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    stack.polled(|s, _| s.name_slot(slot, child.id()));
    child.wait().unwrap();
    assert!(slots(&stack).contains(&(slot, child.id())));
    drop(pipe);
    eventually("its slot is free", || {
        slots(&stack).iter().all(|(s, _)| *s != slot).then_some(())
    });
}

#[test]
fn a_child_that_calls_is_entered() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let (slot, pipe) = fork(&stack, &mut client);
    client.attach_slot(stack.id, slot).unwrap();
    let (me, other) = (std::process::id(), stack.owner.slot);
    assert_eq!(slots(&stack), [(other, me), (slot, me)]);
    drop(pipe);
    client.ps().unwrap();
    assert_eq!(slots(&stack).len(), 2, "it lives");
}

/// Nobody can tell its process but its end of the pipe: the lock it holds must not be waited for.
#[test]
fn a_child_that_dies_at_work_before_it_calls_retires_the_stack() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let (slot, pipe) = fork(&stack, &mut client);
    // Who takes the lock writes his process down a moment later.
    let child = Owner { slot, pid: 1 };
    std::mem::forget(stack.shared.try_lock(child).unwrap());
    drop(pipe);
    eventually("the stack is given up", || {
        stack.shared.word().is_retired().then_some(())
    });
}

#[test]
fn a_lock_held_by_the_next_child_is_not_the_dead_ones() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let (slot, pipe) = fork(&stack, &mut client);
    // Another process saw to the dead one's slot, and takes it for a child of its own.
    stack.polled(|s, now| s.on_slot_dead(now, slot));
    let (again, _pipe) = fork(&stack, &mut client);
    assert_eq!(again, slot);
    let held = stack.shared.try_lock(Owner { slot, pid: 1 }).unwrap();
    drop(pipe);
    client.await_child(9, 0, 0, stack.memory()).unwrap_err();
    assert!(!stack.shared.word().is_retired());
    drop(held);
}

/// A parent that dies before it has told of the child: only the slot was taken.
#[test]
fn a_parent_that_dies_before_it_forks_leaves_no_slot() {
    if let Some((_, place)) = part() {
        let (mut client, _) = common::connect(&place.join("agent.sock"));
        let stack = TestStack::new(7);
        stack.register(&mut client);
        stack.polled(|s, _| s.keep_slot(stack.owner.slot).unwrap());
        say("kept");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let name = "a_parent_that_dies_before_it_forks_leaves_no_slot";
    let mut parent = Program::start(name, "parent", &place);
    parent.expect("kept");
    let (mut client, _) = place.connect();
    let memory = client.map_stack(7).unwrap().take().unwrap();
    let shared = sidestep_stack::attach(memory).unwrap();
    let pid = std::process::id();
    let mine = {
        let mut stack = shared.lock(Owner { slot: 63, pid }).unwrap();
        assert_eq!(stack.slots().count(), 2);
        stack.take_slot(pid).unwrap()
    };
    client.attach_slot(7, mine).unwrap();
    parent.kill();
    let owner = Owner { slot: mine, pid };
    eventually("nobody else has a slot", || {
        let stack = shared.lock(owner).unwrap();
        stack.slots().eq([(mine, pid)]).then_some(())
    });
}
