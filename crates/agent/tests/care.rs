//! Stacks that nobody polls: those of programs that compute, and those of programs that died with data to send.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, Program, TestStack, connect, eventually, part, say, tcp, wait_for_go};
use sidestep_control::Client;
use sidestep_shm::Nanos;
use sidestep_stack::{ConnectState, Error};
use std::path::PathBuf;
use std::time::Duration;

const SERVER: &str = "127.0.0.1:80";
const CLIENT: &str = "127.0.0.1:40000";

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| u8::try_from(i * 7 % 251).unwrap())
        .collect()
}

/// A program's stack 2, serving; attached to the wire that another program opens, once told to go on.
fn be_server(place: PathBuf) -> (TestStack, Client, sidestep_stack::SocketRef) {
    let (mut client, _) = connect(&place.join("agent.sock"));
    let stack = TestStack::new(2);
    stack.register(&mut client);
    let listener = stack.listen(SERVER);
    client.publish(2, tcp(SERVER), false, None).unwrap();
    say("serving");
    wait_for_go();
    stack.attach(&mut client, stack.wires()[0].0);
    let connection = stack.accept(listener);
    (stack, client, connection)
}

/// Our stack 1, with a connection to the server.
fn join(place: &Place, server: &mut Program) -> (TestStack, Client, sidestep_stack::SocketRef) {
    let (mut client, _) = place.connect();
    let stack = TestStack::new(1);
    stack.register(&mut client);
    server.expect("serving");
    let wire = client.open_wire(1, 2).unwrap();
    stack.attach(&mut client, wire);
    server.go();
    let socket = stack.connect(wire, CLIENT, SERVER);
    stack.established(socket);
    (stack, client, socket)
}

#[test]
fn a_program_that_computes_still_answers() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let (here, there) = (TestStack::new(1), TestStack::new(2));
    here.register(&mut client);
    there.register(&mut client);
    let listener = there.listen(SERVER);
    let wire = client.open_wire(1, 2).unwrap();
    here.attach(&mut client, wire);
    // The other stack's program never polls; the agent does.
    let socket = here.connect(wire, CLIENT, SERVER);
    here.established(socket);
    here.send(socket, &pattern(100_000));
    let report = || common::report(&mut place.connect().0);
    eventually("everything is acknowledged", || {
        here.polled(|_, _| ());
        let stack = report().stacks.into_iter().find(|s| s.id.ends_with('1'))?;
        let sent = stack.sockets.iter().find(|s| s.state == "ESTAB")?;
        (sent.snd_queue == 0).then_some(())
    });
    assert!(report().agent.counters["cared"] > 0);
    let connection = there.accept(listener);
    here.polled(|stack, now| stack.shutdown(now, socket, false, true).unwrap());
    assert_eq!(there.read_to_end(connection).unwrap(), pattern(100_000));
}

#[test]
fn a_program_that_computes_answers_at_once() {
    let place = Place::new();
    let _agent = place.agent();
    let (mut client, _) = place.connect();
    let (here, there) = (TestStack::new(1), TestStack::new(2));
    here.register(&mut client);
    there.register(&mut client);
    there.listen(SERVER);
    let wire = client.open_wire(1, 2).unwrap();
    here.attach(&mut client, wire);
    let mut spans: Vec<_> = (0..7)
        .map(|i| {
            // The agent is not at work by chance: this is longer than it looks by itself.
            std::thread::sleep(Duration::from_millis(17));
            let begun = here.polled(|_, now| now);
            let socket = here.connect(wire, &format!("127.0.0.1:{}", 41000 + i), SERVER);
            loop {
                let (state, now) = here.polled(|stack, now| (stack.connect_state(socket), now));
                if state.unwrap() == ConnectState::Connected {
                    return now - begun;
                }
                assert!(now - begun < Nanos::from_secs(5), "no answer");
                std::thread::yield_now();
            }
        })
        .collect();
    spans.sort_unstable();
    // Looks from time to time would take half their interval in the middle, 2.5 ms at best.
    assert!(spans[3] < Nanos::from_millis(1), "{spans:?}");
}

#[test]
fn what_a_killed_program_had_sent_still_arrives() {
    if let Some((_, place)) = part() {
        let (stack, _client, connection) = be_server(place);
        stack.send(connection, &pattern(500_000));
        say("sent");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let name = "what_a_killed_program_had_sent_still_arrives";
    let mut server = Program::start(name, "server", &place);
    let (stack, mut client, socket) = join(&place, &mut server);
    server.expect("sent");
    server.kill();
    assert_eq!(stack.read_to_end(socket).unwrap(), pattern(500_000));
    stack.polled(|inner, now| inner.close(now, socket, stack.owner.slot));
    eventually("the dead program's stack is gone", || {
        stack.polled(|_, _| ());
        (common::report(&mut client).stacks.len() == 1).then_some(())
    });
    eventually("the wire is closed", || {
        stack.wires().is_empty().then_some(())
    });
}

#[test]
fn unread_data_of_a_killed_program_resets_the_connection() {
    if let Some((_, place)) = part() {
        let (stack, _client, _connection) = be_server(place);
        say("accepted");
        wait_for_go();
        stack.polled(|_, _| ());
        say("received");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let name = "unread_data_of_a_killed_program_resets_the_connection";
    let mut server = Program::start(name, "server", &place);
    let (stack, _client, socket) = join(&place, &mut server);
    server.expect("accepted");
    stack.send(socket, b"never read");
    server.go();
    server.expect("received");
    server.kill();
    assert_eq!(stack.read_to_end(socket), Err(Error::Reset));
}

#[test]
fn a_program_killed_inside_its_stack_resets_its_connections() {
    if let Some((_, place)) = part() {
        let (stack, _client, _connection) = be_server(place);
        let _held = stack.shared.lock(stack.owner).unwrap();
        say("inside");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let name = "a_program_killed_inside_its_stack_resets_its_connections";
    let mut server = Program::start(name, "server", &place);
    let (stack, _client, socket) = join(&place, &mut server);
    server.expect("inside");
    server.kill();
    assert_eq!(stack.read_to_end(socket), Err(Error::Reset));
}

#[test]
fn a_reply_is_kept_for_a_reader_who_comes_after_the_servers_end() {
    if let Some((_, place)) = part() {
        let (stack, _client, connection) = be_server(place);
        assert_eq!(stack.read_to_end(connection).unwrap(), b"request");
        stack.send(connection, &pattern(10_000));
        stack.polled(|inner, now| inner.close(now, connection, stack.owner.slot));
        say("closed");
        wait_for_go();
        return;
    }
    let place = Place::new();
    let _agent = place.agent();
    let name = "a_reply_is_kept_for_a_reader_who_comes_after_the_servers_end";
    let mut server = Program::start(name, "server", &place);
    let (stack, mut client, socket) = join(&place, &mut server);
    stack.send(socket, b"request");
    stack.polled(|inner, now| inner.shutdown(now, socket, false, true).unwrap());
    server.expect("closed");
    server.kill();
    let stacks = |client: &mut Client| common::report(client).stacks;
    eventually("both sides have said all they have to say", || {
        stack.polled(|_, _| ());
        let left = stacks(&mut client)
            .into_iter()
            .find(|s| s.id.ends_with('2'))?;
        left.sockets
            .iter()
            .all(|s| s.state == "TIME-WAIT")
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stack.read_to_end(socket).unwrap(), pattern(10_000));
    stack.polled(|inner, now| inner.close(now, socket, stack.owner.slot));
    eventually("the dead program's stack is gone", || {
        (stacks(&mut client).len() == 1).then_some(())
    });
}
