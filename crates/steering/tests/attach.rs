//! Attaching and detaching, and what is in the way of it.
//!
//! Needs root, iproute2 and ethtool. Run by `cargo test -p sidestep-steering --test attach -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::thread::{CapabilitySet, CapabilitySets};
use sidestep_steering::{Mode, Steering, SteeringError, Wanted};
use sidestep_tests::netns::Cable;
use sidestep_tests::wait_until;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

fn attach(cable: &Cable, wanted: Wanted) -> Result<Steering, SteeringError> {
    let (ifindex, station) = (cable.near.ifindex("near0"), cable.near.station("near0"));
    cable
        .near
        .inside(|| Steering::attach(ifindex, station, wanted))
}

/// Whether the kernel says that a program is attached.
fn is_attached(cable: &Cable) -> bool {
    let said = cable.near.run("ip -details link show dev near0");
    said.contains("prog/xdp")
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn one_program_an_interface_and_detached_when_dropped() {
    let cable = Cable::silent(1, 1500);
    assert!(!is_attached(&cable));
    let first = attach(&cable, Wanted::Auto).unwrap();
    assert_eq!(first.mode(), Mode::Native);
    assert!(is_attached(&cable));
    for wanted in [
        Wanted::Auto,
        Wanted::Only(Mode::Native),
        Wanted::Only(Mode::Generic),
    ] {
        let second = attach(&cable, wanted);
        let error = second.map(|_| ()).unwrap_err();
        assert!(matches!(error, SteeringError::Occupied(_)), "{error}");
        assert!(error.to_string().contains("xdp off"), "says what to do");
    }
    drop(first);
    wait_until("a bare interface", Duration::from_secs(5), || {
        (!is_attached(&cable)).then_some(())
    });
    let generic = attach(&cable, Wanted::Only(Mode::Generic)).unwrap();
    assert_eq!(generic.mode(), Mode::Generic);
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_has_no_native_mode_gets_the_generic_one() {
    let cable = Cable::silent(1, 1500);
    let ifindex = cable.near.ifindex("lo");
    let on_loopback = |wanted| {
        cable
            .near
            .inside(|| Steering::attach(ifindex, [0; 6], wanted))
    };
    let error = on_loopback(Wanted::Only(Mode::Native))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SteeringError::NoSuchMode { .. }), "{error}");
    assert_eq!(on_loopback(Wanted::Auto).unwrap().mode(), Mode::Generic);
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn drivers_that_take_tags_out_are_known() {
    let cable = Cable::silent(1, 1500);
    let ifindex = cable.near.ifindex("near0");
    for (said, hidden) in [("off", false), ("on", true)] {
        cable.near.run(&format!("ethtool -K near0 rxvlan {said}"));
        let found = cable.near.inside(|| sidestep_steering::hides_tags(ifindex));
        assert_eq!(found, Some(hidden));
    }
    let none = cable.near.inside(|| sidestep_steering::hides_tags(9999));
    assert_eq!(none, None);
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn no_interface_and_no_privilege_are_named() {
    let cable = Cable::silent(1, 1500);
    let nowhere = cable
        .near
        .inside(|| Steering::attach(9999, [0; 6], Wanted::Auto).map(|_| ()));
    let error = nowhere.unwrap_err();
    assert!(matches!(error, SteeringError::NoInterface(9999)), "{error}");
    let ifindex = cable.near.ifindex("near0");
    let unprivileged = cable.near.inside(|| {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        Steering::attach(ifindex, [0; 6], Wanted::Auto).map(|_| ())
    });
    let error = unprivileged.unwrap_err();
    assert!(matches!(error, SteeringError::NotAllowed), "{error}");
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn tables_go_with_counters_of_their_own() {
    let cable = Cable::silent(1, 1500);
    let steering = attach(&cable, Wanted::Auto).unwrap();
    assert_eq!(steering.counters().unwrap().redirected, 0);
    let before = steering.counters().unwrap().passed;
    cable.far.run("ip addr add 10.9.0.2/24 dev far0");
    // Who has that address? Nobody; the question counts all the same.
    cable.far.inside(|| {
        let from = UdpSocket::bind("10.9.0.2:0").unwrap();
        from.send_to(b"anybody there?", "10.9.0.77:9").unwrap();
    });
    wait_until("a passed frame", Duration::from_secs(5), || {
        (steering.counters().unwrap().passed > before).then_some(())
    });
}

/// This same test is the process that is killed, when its environment names a namespace.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_process_that_is_killed_leaves_nothing_attached() {
    const NETNS: &str = "SIDESTEP_TEST_NETNS";
    const IFINDEX: &str = "SIDESTEP_TEST_IFINDEX";
    if let Ok(path) = std::env::var(NETNS) {
        let ifindex = std::env::var(IFINDEX).unwrap().parse().unwrap();
        let netns = std::fs::File::open(path).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), kind).unwrap();
        let _steering = Steering::attach(ifindex, [0; 6], Wanted::Auto).unwrap();
        println!("\nattached");
        std::thread::sleep(Duration::from_secs(60));
        panic!("was not killed");
    }
    let cable = Cable::silent(1, 1500);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("a_process_that_is_killed_leaves_nothing_attached")
        .env(NETNS, cable.near.path())
        .env(IFINDEX, cable.near.ifindex("near0").to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let attached = said
        .lines()
        .map_while(Result::ok)
        .any(|line| line == "attached");
    let seen = is_attached(&cable);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(attached && seen, "the child did not attach");
    wait_until("a bare interface", Duration::from_secs(5), || {
        (!is_attached(&cable)).then_some(())
    });
}
