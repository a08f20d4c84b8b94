//! Programs of another user than the agent's, who is served but not believed.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, TestStack, eventually, tcp};
use rustix::fs::Mode;
use rustix::process::Uid;
use sidestep_agent::Options;
use sidestep_control::{Client, ClientError, Fault, namespace};
use sidestep_wire::Address;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

const STRANGER: u32 = 4711;
/// Of another host.
const ELSEWHERE: &str = "203.0.113.9:8443";

/// Runs `f` on a thread of another user, who is connected to an agent that serves him.
fn as_stranger(f: impl FnOnce(&Place, &mut Client) + Send + 'static) {
    let place = Place::new();
    let options = Options {
        runtime_dir: Some(place.0.clone()),
        linger: Duration::from_secs(60),
        foreground: true,
        log_to_stderr: false,
        users: BTreeSet::from([STRANGER]),
        ..Options::default()
    };
    let agent = std::thread::spawn(move || sidestep_agent::run(&options).unwrap());
    let mut own = place.connect().0;
    rustix::fs::chmod(&place.0, Mode::from_raw_mode(0o711)).unwrap();
    rustix::fs::chmod(place.socket(), Mode::from_raw_mode(0o666)).unwrap();
    let thread = std::thread::spawn(move || {
        let user = Uid::from_raw(STRANGER);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let mut client = Client::connect(&place.socket(), "stranger").unwrap().0;
        f(&place, &mut client);
        place
    });
    let ended = thread.join();
    own.stop().unwrap();
    agent.join().unwrap();
    drop(ended.expect("the stranger"));
}

#[track_caller]
fn refused(result: Result<(), ClientError>) -> Fault {
    match result {
        Err(ClientError::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn shown(socket: &TcpListener) -> Option<BorrowedFd<'_>> {
    Some(socket.as_fd())
}

fn named(socket: &TcpListener) -> String {
    socket.local_addr().unwrap().to_string()
}

#[test]
#[ignore = "needs root"]
fn who_is_not_believed_serves_what_the_kernel_gave_him() {
    as_stranger(|_, client| {
        let stack = TestStack::in_netns(1, namespace::network().unwrap());
        stack.register(client);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, others) = (tcp(&named(&socket)), tcp(&named(&other)));
        for (what, proof) in [
            (own, None),
            (others, None),
            (others, shown(&socket)),
            (tcp(ELSEWHERE), None),
            (tcp(ELSEWHERE), shown(&socket)),
        ] {
            assert_eq!(
                refused(client.publish(1, what, false, proof)),
                Fault::NotBound
            );
        }
        // The kernel lets anybody bind to what is not here.
        let far = free_bound(ELSEWHERE);
        let proof = Some(far.as_fd());
        assert_eq!(
            refused(client.publish(1, tcp(ELSEWHERE), false, proof)),
            Fault::NotBound
        );
        client.publish(1, own, false, shown(&socket)).unwrap();
    });
}

/// A socket that is bound to an address of another host.
fn free_bound(endpoint: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_ip_freebind(&fd, true).unwrap();
    bind(&fd, &endpoint.parse::<std::net::SocketAddr>().unwrap()).unwrap();
    fd
}

#[test]
#[ignore = "needs root"]
fn who_is_not_believed_speaks_for_his_own_namespace_and_not_of_addresses() {
    as_stranger(|place, client| {
        let here = namespace::network().unwrap();
        let elsewhere: Address = Address::from_v4([203, 0, 113, 9]);
        client.addresses(here, &[elsewhere]).unwrap();
        let (_, directory) = place.connect();
        assert_eq!(directory.is_local(here, elsewhere).ok(), Some(false));
        assert_eq!(
            refused(client.addresses(here + 1, &[elsewhere])),
            Fault::OtherNamespace
        );
        let stack = TestStack::in_netns(2, here + 1);
        let fds = [stack.memory(), stack.doorbell.as_fd()];
        let registered = client.register_stack(2, here + 1, stack.owner.slot, &fds);
        assert_eq!(refused(registered), Fault::OtherNamespace);
    });
}

/// Neither a pipe that has no room, nor an eventfd that would block, keeps the agent from its work.
#[test]
#[ignore = "needs root"]
fn the_agent_is_not_kept_by_a_doorbell() {
    as_stranger(|place, client| {
        let here = namespace::network().unwrap();
        let stack = TestStack::in_netns(3, here);
        let (_reader, pipe) = rustix::pipe::pipe().unwrap();
        for fds in [
            vec![stack.memory(), pipe.as_fd()],
            vec![stack.memory(), stack.doorbell.as_fd(), pipe.as_fd()],
        ] {
            let registered = client.register_stack(3, here, stack.owner.slot, &fds);
            assert_eq!(refused(registered), Fault::NotAStack);
        }
        let flags = rustix::fs::fcntl_getfl(&stack.doorbell).unwrap();
        rustix::fs::fcntl_setfl(&stack.doorbell, flags - rustix::fs::OFlags::NONBLOCK).unwrap();
        let fds = [
            stack.memory(),
            stack.doorbell.as_fd(),
            stack.doorbell.as_fd(),
        ];
        client
            .register_stack(3, here, stack.owner.slot, &fds)
            .unwrap();
        let full = (u64::MAX - 1).to_ne_bytes();
        rustix::io::write(&stack.doorbell, &full).unwrap();
        // Another stack connects and goes: whoever sleeps in this one is told of the wire, and of its end.
        let other = TestStack::in_netns(4, here);
        other.register(client);
        client.open_wire(4, 3).unwrap();
        let slot = other.owner.slot;
        client.detach_slot(4, slot).unwrap();
        let stacks = || place.report().stacks.len();
        eventually("the other stack is gone", || (stacks() == 1).then_some(()));
    });
}
