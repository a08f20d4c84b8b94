//! What happens to links.

use crate::follow::{Follow, made, settled_cable};
use sidestep_netlink::{Change, LinkKind};
use sidestep_tests::netns::{Cable, Netns};
use sidestep_wire::Mac;

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn what_is_there_at_first_is_in_the_picture() {
    let cable = Cable::new(2, 1400);
    Follow::new(&cable.near).until_slowly("running", |picture| {
        picture.link_named("near0").is_some_and(|link| link.running)
    });
    let follow = Follow::new(&cable.near);
    let lo = follow.link("lo");
    assert_eq!(
        (lo.index, &lo.kind, lo.mtu),
        (1, &LinkKind::Loopback, 65536)
    );
    assert!(lo.up && !lo.ethernet);
    let near = follow.link("near0");
    assert_eq!(near.index, cable.near.ifindex("near0"));
    assert_eq!(near.mac, Some(Mac(cable.near.station("near0"))));
    assert_eq!((near.mtu, near.master), (1400, None));
    assert_eq!((near.rx_queues, near.tx_queues), (2, 2));
    assert_eq!(near.kind, LinkKind::Veth { peer: None });
    assert!(near.up && near.running && near.ethernet);
    assert_eq!(follow.config.unreadable(), 0);
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn up_and_down_and_the_other_end() {
    let cable = settled_cable();
    let mut follow = Follow::new(&cable.near);
    let index = follow.link("near0").index;
    // The kernel waits up to a second before it says what the other end did.
    cable.far.run("ip link set far0 down");
    let seen = follow.until_slowly("no carrier", |picture| {
        picture
            .link(index)
            .is_some_and(|link| link.up && !link.running)
    });
    assert!(seen.contains(&Change::LinkChanged(index)), "{seen:?}");
    assert!(seen.contains(&Change::RoutesChanged), "{seen:?}");
    cable.far.run("ip link set far0 up");
    follow.until_slowly("carrier again", |picture| {
        picture.link(index).is_some_and(|link| link.running)
    });
    cable.near.run("ip link set near0 down");
    let seen = follow.until("down", |picture| {
        picture.link(index).is_some_and(|link| !link.up)
    });
    assert!(seen.contains(&Change::RoutesChanged), "{seen:?}");
    cable.near.run("ip link set near0 up");
    follow.until_slowly("up", |picture| {
        picture
            .link(index)
            .is_some_and(|link| link.up && link.running)
    });
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn name_mtu_and_hardware_address_change() {
    let cable = Cable::new(1, 1500);
    let mut follow = Follow::new(&cable.near);
    let index = follow.link("near0").index;
    let changed = |change: &Change| (*change == Change::LinkChanged(index)).then_some(());
    cable.near.run("ip link set near0 mtu 9000");
    follow.change("a longer MTU", changed);
    assert_eq!(follow.link("near0").mtu, 9000);
    cable
        .near
        .run("ip link set near0 address 02:00:00:00:12:34");
    follow.change("another hardware address", changed);
    assert_eq!(
        follow.link("near0").mac,
        Some(Mac([2, 0, 0, 0, 0x12, 0x34]))
    );
    cable.near.run("ip link set near0 down");
    cable.near.run("ip link set near0 name other7");
    follow.until("another name", |picture| {
        picture
            .link_named("other7")
            .is_some_and(|link| link.index == index)
    });
    assert!(follow.picture().link_named("near0").is_none());
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn links_come_and_are_deleted() {
    let netns = Netns::new();
    let mut follow = Follow::new(&netns);
    netns.run("ip link add one type veth peer name two");
    follow.until("both ends", |picture| {
        picture.link_named("one").is_some() && picture.link_named("two").is_some()
    });
    let (one, two) = (follow.link("one").clone(), follow.link("two").clone());
    assert_eq!(
        one.kind,
        LinkKind::Veth {
            peer: Some(two.index)
        }
    );
    assert_eq!(
        two.kind,
        LinkKind::Veth {
            peer: Some(one.index)
        }
    );
    netns.run("ip addr add 10.1.0.1/24 dev one");
    netns.run("ip link set one up");
    netns.run("ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev one");
    follow.until("its address and neighbour", |picture| {
        picture.is_local([10, 1, 0, 1].into())
            && picture.neighbour(one.index, [10, 1, 0, 9].into()).is_some()
    });
    netns.run("ip link del one");
    let gone = Change::LinkGone {
        index: one.index,
        name: "one".to_owned(),
    };
    follow.change("its end", |change| (*change == gone).then_some(()));
    follow.until("the end of both", |picture| picture.links().count() == 1);
    assert!(!follow.picture().is_local([10, 1, 0, 1].into()));
    let left = follow.picture().neighbours();
    assert_eq!(
        left.filter(|neighbour| neighbour.link == one.index).count(),
        0
    );
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_link_moves_to_another_namespace_and_back() {
    let cable = Cable::new(1, 1500);
    let elsewhere = Netns::new();
    let mut follow = Follow::new(&cable.near);
    let mut there = Follow::new(&elsewhere);
    let index = follow.link("near0").index;
    cable
        .near
        .run(&format!("ip link set near0 netns {}", elsewhere.path()));
    let seen = follow.until("gone", |picture| picture.link_named("near0").is_none());
    let gone = Change::LinkGone {
        index,
        name: "near0".to_owned(),
    };
    assert!(seen.contains(&gone), "{seen:?}");
    assert!(!follow.picture().is_local([10, 9, 0, 1].into()));
    there.until("arrived", |picture| picture.link_named("near0").is_some());
    elsewhere.run(&format!("ip link set near0 netns {}", cable.near.path()));
    follow.until("back", |picture| picture.link_named("near0").is_some());
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn ports_of_a_bridge_come_and_go() {
    let netns = Netns::new();
    let mut follow = Follow::new(&netns);
    netns.run("ip link add one type veth peer name two");
    netns.run("ip link add br0 type bridge");
    netns.run("ip link set one master br0");
    follow.until("a port", |picture| {
        let bridge = picture.link_named("br0").map(|link| link.index);
        bridge.is_some_and(|bridge| picture.ports(bridge).any(|port| port.name == "one"))
    });
    let bridge = follow.link("br0").clone();
    let vlan_filtering = false;
    assert_eq!(bridge.kind, LinkKind::Bridge { vlan_filtering });
    netns.run("ip link set one nomaster");
    // The kernel says of this that the bridge's port is deleted, by the index of the interface that goes on.
    follow.until("no port", |picture| {
        picture.ports(bridge.index).count() == 0
    });
    follow.settle();
    assert_eq!(follow.link("one").master, None);
    // Of what changes about an interface that is down, the kernel tells when it is up.
    netns.run("ip link set br0 up");
    if !made(&netns, "ip link set br0 type bridge vlan_filtering 1") {
        return;
    }
    follow.until("a bridge that filters", |picture| {
        let kind = picture.link_named("br0").map(|link| &link.kind);
        kind == Some(&LinkKind::Bridge {
            vlan_filtering: true,
        })
    });
}
