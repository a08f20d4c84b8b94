//! What happens to addresses.

use crate::follow::{Follow, settled_cable};
use sidestep_netlink::{Address, Change, Scope};
use sidestep_tests::netns::{Cable, Netns};
use std::net::IpAddr;

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn addresses_are_added_and_removed() {
    let cable = Cable::new(1, 1500);
    let mut follow = Follow::new(&cable.near);
    let link = follow.link("near0").index;
    assert!(follow.picture().is_local([10, 9, 0, 1].into()));
    for (text, ip, prefix) in [
        ("10.77.0.1/16", "10.77.0.1", 16),
        ("fd77::1/64", "fd77::1", 64),
    ] {
        let address = Address {
            link,
            ip: ip.parse().unwrap(),
            prefix,
            peer: None,
            scope: Scope::Global,
            deprecated: false,
            tentative: false,
        };
        cable
            .near
            .run(&format!("ip addr add {text} dev near0 nodad"));
        let added = Change::AddressAdded(address);
        follow.change("the address", |change| (*change == added).then_some(()));
        assert!(follow.picture().is_local(address.ip));
        cable.near.run(&format!("ip addr del {text} dev near0"));
        let removed = Change::AddressRemoved(address);
        follow.change("its end", |change| (*change == removed).then_some(()));
        assert!(!follow.picture().is_local(address.ip));
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn the_same_address_twice_is_two_addresses() {
    let netns = Netns::new();
    let mut follow = Follow::new(&netns);
    netns.run("ip link add one type veth peer name two");
    netns.run("ip addr add 10.5.0.1 peer 10.5.0.2 dev one");
    netns.run("ip addr add 10.5.0.1 peer 10.5.0.3 dev one");
    netns.run("ip addr add 10.5.0.1/24 dev two");
    let ours: IpAddr = [10, 5, 0, 1].into();
    let count = move |picture: &sidestep_netlink::Picture| {
        picture
            .addresses()
            .filter(|address| address.ip == ours)
            .count()
    };
    follow.until("three", |picture| count(picture) == 3);
    let peers: Vec<_> = follow
        .picture()
        .addresses()
        .filter_map(|address| address.peer)
        .collect();
    assert_eq!(peers, [IpAddr::from([10, 5, 0, 2]), [10, 5, 0, 3].into()]);
    netns.run("ip addr del 10.5.0.1 peer 10.5.0.2 dev one");
    follow.until("two", |picture| count(picture) == 2);
    assert!(follow.picture().is_local(ours));
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn tentative_and_deprecated_are_told() {
    let cable = Cable::new(1, 1500);
    // A test's cable does without: no address there can be another's.
    cable
        .near
        .run("sysctl -qw net.ipv6.conf.near0.accept_dad=1");
    let mut follow = Follow::new(&cable.near);
    let ip: IpAddr = "fd77::5".parse().unwrap();
    cable.near.run("ip addr add fd77::5/64 dev near0");
    follow.change("a tentative address", |change| {
        matches!(change, Change::AddressAdded(address) if address.ip == ip && address.tentative)
            .then_some(())
    });
    assert!(!follow.picture().is_local(ip));
    // Asking whether it is unique takes the kernel a second or two.
    follow.until_slowly("a usable address", |picture| picture.is_local(ip));
    cable
        .near
        .run("ip addr change fd77::5/64 dev near0 preferred_lft 0");
    follow.change("a deprecated address", |change| {
        matches!(change, Change::AddressChanged(address) if address.ip == ip && address.deprecated)
            .then_some(())
    });
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn addresses_have_a_scope() {
    let cable = settled_cable();
    let follow = Follow::new(&cable.near);
    let scope = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        let mut found = follow
            .picture()
            .addresses()
            .filter(|address| address.ip == ip);
        found.next().unwrap().scope
    };
    assert_eq!(scope("127.0.0.1"), Scope::Host);
    assert_eq!(scope("10.9.0.1"), Scope::Global);
    assert_eq!(scope("fd09::1"), Scope::Global);
    let mut addresses = follow.picture().addresses();
    assert!(
        addresses.any(|address| address.scope == Scope::Link),
        "fe80::"
    );
}
