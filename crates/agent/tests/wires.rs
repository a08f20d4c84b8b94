//! Wires between stacks, the death of processes, and the death of the agent.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{
    NETNS, Place, Program, TestStack, be_agent, connect, eventually, map_wire, part, say,
    served_by, tcp, wait_for_go,
};
use sidestep_control::{Client, ClientError, Fault};
use sidestep_nic::memif::Geometry;
use sidestep_shm::Region;
use std::os::fd::AsFd;
use std::path::PathBuf;
use zerocopy::FromBytes;

/// A program with stack `id` that serves port 80, until it is killed.
fn be_server(place: PathBuf, id: u64) -> (TestStack, Client) {
    let (mut client, _) = connect(&place.join("agent.sock"));
    let stack = TestStack::new(id);
    stack.register(&mut client);
    stack.listen("0.0.0.0:80");
    client.publish(id, tcp("0.0.0.0:80"), false, None).unwrap();
    say("serving");
    (stack, client)
}

#[test]
fn a_wire_joins_two_stacks_once() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let (one, two) = (TestStack::new(1), TestStack::new(2));
    one.register(&mut client);
    two.register(&mut client);
    let near = client.open_wire(1, 2).unwrap();
    assert!(two.doorbell.drain());
    assert_eq!(client.open_wire(1, 2).unwrap(), near);
    let far = client.open_wire(2, 1).unwrap();
    assert_eq!(
        (one.wires(), two.wires()),
        (vec![(near, 2)], vec![(far, 1)])
    );
    let (at_one, at_two) = (
        map_wire(&mut client, 1, near),
        map_wire(&mut client, 2, far),
    );
    assert_eq!((at_one.peer, at_two.peer), (2, 1));
    assert_ne!(at_one.role, at_two.role);
    let geometry = Geometry::read_from_bytes(at_one.geometry.bytes()).unwrap();
    assert!(geometry.is_ours());
    let inode = |fd: &std::os::fd::OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
    assert_eq!(inode(&at_one.region), inode(&at_two.region));
    assert!(Region::attach(at_one.region).unwrap().bytes() >= geometry.bytes());
    assert_eq!(
        client.map_wire(1, near + 7).err(),
        Some(ClientError::Refused(Fault::UnknownWire))
    );
}

#[test]
fn a_stack_can_be_wired_to_itself() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let near = client.open_wire(1, 1).unwrap();
    assert_eq!(client.open_wire(1, 1).unwrap(), near);
    let wires = stack.wires();
    assert_eq!(wires.len(), 2);
    assert_eq!(wires[0].0, near);
    let roles = wires
        .iter()
        .map(|(index, _)| map_wire(&mut client, 1, *index).role);
    assert_eq!(roles.sum::<u8>(), 1);
}

#[test]
fn stacks_in_different_namespaces_are_not_joined() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let (here, there) = (TestStack::new(1), TestStack::in_netns(2, NETNS + 1));
    here.register(&mut client);
    there.register(&mut client);
    let refused = client.open_wire(1, 2).err();
    assert_eq!(refused, Some(ClientError::Refused(Fault::OtherNamespace)));
    assert_eq!(here.wires(), []);
}

#[test]
fn a_killed_program_leaves_neither_endpoint_nor_wire_nor_stack() {
    if let Some((_, place)) = part() {
        let _kept = be_server(place, 2);
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, directory) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let name = "a_killed_program_leaves_neither_endpoint_nor_wire_nor_stack";
    for _ in 0..3 {
        let mut server = Program::start(name, "server", &place);
        server.expect("serving");
        assert_eq!(served_by(&directory, "127.0.0.1:80"), [2]);
        client.open_wire(1, 2).unwrap();
        assert_eq!(stack.wires().len(), 1);
        server.kill();
        eventually("the wire is closed", || {
            stack.wires().is_empty().then_some(())
        });
        eventually("the stack is gone", || {
            (common::report(&mut client).stacks.len() == 1).then_some(())
        });
        assert!(served_by(&directory, "127.0.0.1:80").is_empty());
    }
}

#[test]
fn a_program_killed_inside_its_stack_takes_only_that_stack_along() {
    if let Some((_, place)) = part() {
        let (stack, _client) = be_server(place, 2);
        wait_for_go();
        let _held = stack.shared.lock(stack.owner).unwrap();
        say("inside");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, directory) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let name = "a_program_killed_inside_its_stack_takes_only_that_stack_along";
    let mut server = Program::start(name, "server", &place);
    server.expect("serving");
    client.open_wire(1, 2).unwrap();
    server.go();
    server.expect("inside");
    server.kill();
    eventually("the wire is closed", || {
        stack.wires().is_empty().then_some(())
    });
    assert!(served_by(&directory, "127.0.0.1:80").is_empty());
    let report = common::report(&mut client);
    assert_eq!(report.agent.counters["retired"], 1);
    assert_eq!(report.stacks.len(), 1);
    assert_eq!(report.stacks[0].status, "ok");
}

#[test]
fn an_endpoint_of_a_program_that_just_died_can_be_published_at_once() {
    if let Some((_, place)) = part() {
        let _kept = be_server(place, 2);
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let name = "an_endpoint_of_a_program_that_just_died_can_be_published_at_once";
    let mut server = Program::start(name, "server", &place);
    server.expect("serving");
    let taken = client.publish(1, tcp("0.0.0.0:80"), false, None).err();
    assert_eq!(taken, Some(ClientError::Refused(Fault::InUse)));
    server.kill();
    client.publish(1, tcp("0.0.0.0:80"), false, None).unwrap();
}

#[test]
fn a_killed_agent_is_replaced_and_learns_everything_again() {
    if let Some((part, place)) = part() {
        if part == "agent" {
            be_agent(place);
        }
        // A server that does not notice the agent's death until it is told to go on.
        let (stack, client) = be_server(place.clone(), 2);
        wait_for_go();
        assert!(!client.is_connected());
        let (mut client, _) = connect(&place.join("agent.sock"));
        stack.register(&mut client);
        client.publish(2, tcp("0.0.0.0:80"), false, None).unwrap();
        say("back");
        wait_for_go();
        return;
    }
    let name = "a_killed_agent_is_replaced_and_learns_everything_again";
    let place = Place::new();
    let mut agent = Program::start(name, "agent", &place);
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    let mut server = Program::start(name, "server", &place);
    server.expect("serving");
    let wire = client.open_wire(1, 2).unwrap();
    let region = map_wire(&mut client, 1, wire).region;
    agent.kill();
    assert_eq!(client.ps().err(), Some(ClientError::Lost));

    let mut agent = Program::start(name, "agent", &place);
    let (mut client, directory) = place.connect();
    stack.register(&mut client);
    client.restore_wire(1, wire, region.as_fd()).unwrap();
    // Longer than a wire waits for an end whose process is gone.
    std::thread::sleep(std::time::Duration::from_millis(3200));
    assert_eq!(stack.wires(), [(wire, 2)], "the other end's process lives");
    assert!(served_by(&directory, "127.0.0.1:80").is_empty());
    server.go();
    server.expect("back");
    assert_eq!(served_by(&directory, "127.0.0.1:80"), [2]);
    assert_eq!(client.open_wire(1, 2).unwrap(), wire, "it is the same wire");
    assert_eq!(map_wire(&mut client, 1, wire).peer, 2);

    // This time the other end dies while there is no agent.
    agent.kill();
    server.kill();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    stack.register(&mut client);
    eventually("the wire is closed", || {
        stack.wires().is_empty().then_some(())
    });
}
