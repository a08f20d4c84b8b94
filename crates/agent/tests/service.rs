//! The agent as a service: who may speak, what nonsense does to it, when it begins and ends, the directory it keeps.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{
    NETNS, Place, Program, TestStack, be_agent, endpoint, eventually, part, served_by, tcp,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sidestep_control::message::{decode, encode};
use sidestep_control::transport::{self, ReceiveError};
use sidestep_control::{Client, ClientError, Fault, Reply, Request, VERSION};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A connection without a client's manners.
fn raw(place: &Place) -> OwnedFd {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    let address = SocketAddrUnix::new(place.socket()).unwrap();
    eventually("an agent listens", || {
        rustix::net::connect(&socket, &address).ok()
    });
    socket
}

fn refusal(socket: &OwnedFd) -> Fault {
    let mut buffer = [0; 512];
    let received = transport::receive(socket.as_fd(), &mut buffer).unwrap();
    match decode(&buffer[..received.bytes]).unwrap() {
        Reply::Refused(fault) => fault,
        other => panic!("not refused: {other:?}"),
    }
}

fn say(socket: &OwnedFd, request: &Request<'_>) {
    let mut buffer = [0; 512];
    transport::send(socket.as_fd(), encode(request, &mut buffer).unwrap(), &[]).unwrap();
}

#[test]
fn what_one_program_publishes_another_finds() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut server, _) = place.connect();
    let (_client, directory) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut server);
    server.publish(1, tcp("0.0.0.0:80"), false, None).unwrap();
    assert_eq!(served_by(&directory, "127.0.0.1:80"), [1]);
    assert!(served_by(&directory, "192.0.2.1:80").is_empty());
    server
        .addresses(NETNS, &[endpoint("192.0.2.1:0").addr])
        .unwrap();
    assert_eq!(served_by(&directory, "192.0.2.1:80"), [1]);
    server.withdraw(1, tcp("0.0.0.0:80")).unwrap();
    assert!(served_by(&directory, "127.0.0.1:80").is_empty());
}

#[test]
fn what_is_published_but_not_served_gives_way() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, directory) = place.connect();
    let (serving, forgetful, late) = (TestStack::new(1), TestStack::new(2), TestStack::new(3));
    for stack in [&serving, &forgetful, &late] {
        stack.register(&mut client);
    }
    serving.listen("127.0.0.1:80");
    client.publish(1, tcp("127.0.0.1:80"), false, None).unwrap();
    client.publish(2, tcp("127.0.0.1:81"), false, None).unwrap();
    let taken = client.publish(3, tcp("127.0.0.1:80"), false, None).err();
    assert_eq!(taken, Some(ClientError::Refused(Fault::InUse)));
    client.publish(3, tcp("127.0.0.1:81"), false, None).unwrap();
    assert_eq!(served_by(&directory, "127.0.0.1:81"), [3]);
    // Said twice, as by a forked child, and taken back once by the last one who had the socket.
    client.publish(3, tcp("127.0.0.1:82"), false, None).unwrap();
    client.publish(3, tcp("127.0.0.1:82"), false, None).unwrap();
    client.withdraw(3, tcp("127.0.0.1:82")).unwrap();
    assert!(served_by(&directory, "127.0.0.1:82").is_empty());
    client.publish(1, tcp("127.0.0.1:80"), false, None).unwrap();
    client.withdraw(1, tcp("127.0.0.1:80")).unwrap();
    assert_eq!(served_by(&directory, "127.0.0.1:80"), [1]);
}

#[test]
fn many_addresses_come_in_several_messages() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, directory) = place.connect();
    let nth = |n: u16| endpoint(&format!("10.1.{}.{}:0", n / 256, n % 256)).addr;
    let list: Vec<_> = (0..700).map(nth).collect();
    client.addresses(NETNS, &list).unwrap();
    assert!(
        list.iter()
            .all(|address| directory.is_local(NETNS, *address).unwrap())
    );
    client.addresses(NETNS, &list[..1]).unwrap();
    assert!(directory.is_local(NETNS, list[0]).unwrap());
    assert!(!directory.is_local(NETNS, list[699]).unwrap());
}

#[test]
fn garbage_closes_the_connection_is_counted_and_harms_nobody_else() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut bystander, _) = place.connect();
    let mut noise = 1u64;
    for length in [1, 7, 100, 4608, 20_000] {
        let socket = raw(&place);
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Never a first byte that a request begins with.
                0x80 | noise.to_be_bytes()[0]
            })
            .collect();
        transport::send(socket.as_fd(), &bytes, &[]).unwrap();
        assert_eq!(refusal(&socket), Fault::Malformed, "{length} bytes");
        let closed = transport::receive(socket.as_fd(), &mut [0; 64]).err();
        assert_eq!(closed, Some(ReceiveError::Closed));
    }
    let counters = common::report(&mut bystander).agent.counters;
    assert_eq!(counters["malformed"], 5);
}

#[test]
fn requests_without_introduction_or_of_another_version_are_refused() {
    let place = Place::new();
    let _agent = place.agent();
    let socket = raw(&place);
    say(&socket, &Request::Ps);
    assert_eq!(refusal(&socket), Fault::NoHello);
    say(
        &socket,
        &Request::Hello {
            version: VERSION + 1,
            layout: 0,
            name: "future",
        },
    );
    assert_eq!(refusal(&socket), Fault::Version);
    // Stacks of other builds lie in memory otherwise.
    let layout = sidestep_stack::layout();
    let introduced = |layout| Client::introduce(&place.socket(), "other", layout).err();
    assert_eq!(introduced(layout), None);
    assert_eq!(
        introduced(layout ^ 2),
        Some(ClientError::Refused(Fault::Version))
    );
}

#[test]
fn what_is_no_stack_or_not_ones_own_is_refused() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    let other = sidestep_shm::Region::create("test", 4096).unwrap();
    let refused = |result: Result<(), ClientError>| match result {
        Err(ClientError::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let good = [stack.memory(), stack.doorbell.as_fd()];
    let bad = [other.fd().unwrap(), stack.doorbell.as_fd()];
    let slot = stack.owner.slot;
    assert_eq!(
        refused(client.register_stack(1, NETNS, slot, &bad)),
        Fault::NotAStack
    );
    assert_eq!(
        refused(client.register_stack(2, NETNS, slot, &good)),
        Fault::NotAStack
    );
    assert_eq!(
        refused(client.register_stack(1, NETNS, slot + 1, &good)),
        Fault::NotYours
    );
    assert_eq!(
        refused(client.publish(1, tcp("0.0.0.0:80"), false, None)),
        Fault::UnknownStack
    );
    // All of that left nothing behind.
    assert!(common::report(&mut client).stacks.is_empty());
    stack.register(&mut client);
    let stacks = common::report(&mut client).stacks;
    assert_eq!(stacks.len(), 1);
    assert_eq!(stacks[0].processes[0].pid, std::process::id());
    // Descriptors are part of the message.
    let without = client.register_stack(3, NETNS, slot, &[]);
    assert_eq!(refused(without), Fault::Malformed);
}

#[test]
fn a_storm_of_half_sensible_requests_is_survived() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut bystander, directory) = place.connect();
    // One stack that the storm may name, and one that it cannot.
    let (stack, other) = (TestStack::new(1), TestStack::new(1000));
    stack.register(&mut bystander);
    other.register(&mut bystander);
    bystander
        .publish(1000, tcp("0.0.0.0:80"), false, None)
        .unwrap();
    let mut seed = 42u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut socket = raw(&place);
    say(
        &socket,
        &Request::Hello {
            version: VERSION,
            layout: 0,
            name: "storm",
        },
    );
    let mut answers = 0;
    for _ in 0..4000 {
        // A request's number, then small numbers that are often ids, slots, lengths and flags that exist.
        let mut bytes = vec![u8::try_from(1 + random(11)).unwrap()];
        bytes.extend((0..random(24)).map(|_| u8::try_from(random(6)).unwrap()));
        let fds = [
            stack.memory(),
            stack.doorbell.as_fd(),
            stack.doorbell.as_fd(),
        ];
        let fds = &fds[..usize::try_from(random(4)).unwrap()];
        let sent = transport::send(socket.as_fd(), &bytes, fds);
        let answered = sent.is_ok() && transport::receive(socket.as_fd(), &mut [0; 512]).is_ok();
        answers += u32::from(answered);
        if !answered {
            socket = raw(&place);
            say(
                &socket,
                &Request::Hello {
                    version: VERSION,
                    layout: 0,
                    name: "storm",
                },
            );
        }
    }
    assert!(answers > 1000, "{answers} answers");
    let report = common::report(&mut bystander);
    let own = report
        .stacks
        .iter()
        .find(|s| s.id == format!("{:016x}", 1000))
        .unwrap();
    assert_eq!(own.status, "ok");
    assert_eq!(served_by(&directory, "127.0.0.1:80"), [1000]);
}

#[test]
fn a_disconnected_client_says_so() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    assert!(client.is_connected());
    client.disconnect();
    assert!(!client.is_connected());
    assert_eq!(client.ps().err(), Some(ClientError::Lost));
}

#[test]
fn of_several_agents_one_serves() {
    let place = Place::new();
    let agents: Vec<_> = (0..6)
        .map(|_| place.start(Duration::from_secs(60)))
        .collect();
    let (mut client, _) = place.connect();
    eventually("the others gave way", || {
        (agents.iter().filter(|agent| agent.is_finished()).count() == 5).then_some(())
    });
    client.stop().unwrap();
    agents.into_iter().for_each(|agent| agent.join().unwrap());
    assert!(!place.socket().exists());
}

#[test]
fn it_ends_when_unused_and_not_before() {
    let place = Place::new();
    let agent = place.start(Duration::from_millis(50));
    let (client, _) = place.connect();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!agent.is_finished());
    drop(client);
    eventually("the agent ended", || agent.is_finished().then_some(()));
    agent.join().unwrap();
    assert_eq!(
        Client::connect(&place.socket(), "late").err(),
        Some(ClientError::NoAgent)
    );
}

#[test]
fn descriptors_of_the_agent_do_not_leak() {
    if let Some((_, place)) = part() {
        be_agent(place);
    }
    let place = Place::new();
    let agent = Program::start("descriptors_of_the_agent_do_not_leak", "agent", &place);
    let fds = format!("/proc/{}/fd", agent.child.id());
    let open = || std::fs::read_dir(&fds).unwrap().count();
    drop(place.connect());
    let before = eventually("the connection is closed", || {
        let (mut client, _) = place.connect();
        let count = open();
        (common::report(&mut client).agent.counters["connections"] > 1).then_some(count)
    });
    let stack = TestStack::new(9);
    for n in 0..50 {
        let (mut client, _) = place.connect();
        let fds = [stack.memory(), stack.doorbell.as_fd()];
        // Refused with its descriptors, and accepted.
        assert!(
            client
                .register_stack(n + 100, NETNS, stack.owner.slot, &fds)
                .is_err()
        );
        stack.register(&mut client);
        client.open_wire(stack.id, stack.id).unwrap();
        // Garbage with descriptors.
        let socket = raw(&place);
        transport::send(socket.as_fd(), &[0xff; 9], &fds).unwrap();
        refusal(&socket);
    }
    let (mut client, _) = place.connect();
    client.detach_slot(stack.id, stack.owner.slot).unwrap();
    eventually("all descriptors are closed", || {
        (common::report(&mut client).stacks.is_empty() && open() <= before).then_some(())
    });
}
