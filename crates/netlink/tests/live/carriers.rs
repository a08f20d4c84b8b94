//! Over which interface the frames of links really go.

use crate::follow::{Follow, made};
use sidestep_netlink::{BondMode, Carrier, LinkKind, Neighbours, NoCarrier};
use sidestep_tests::netns::{Cable, Netns};
use sidestep_wire::Mac;

impl Follow {
    fn carrier(&self, name: &str, neighbour: Option<Mac>) -> Result<Carrier, NoCarrier> {
        self.picture().carrier(self.link(name).index, neighbour)
    }

    /// The carrier of `top`, if its frames go by those of these names.
    fn by(&self, top: &str, names: &[&str], vlan: Option<u16>) -> Carrier {
        Carrier {
            links: names.iter().map(|name| self.link(name).index).collect(),
            vlan,
            mac: self.link(top).mac.unwrap(),
        }
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_cable_carries_its_own_frames() {
    let cable = Cable::new(1, 1500);
    let follow = Follow::new(&cable.near);
    assert_eq!(
        follow.carrier("near0", None),
        Ok(follow.by("near0", &["near0"], None))
    );
    assert_eq!(follow.carrier("lo", None), Err(NoCarrier::Loopback));
    assert_eq!(
        follow.picture().carrier(9999, None),
        Err(NoCarrier::NoSuchLink(9999))
    );
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn macvlan() {
    let cable = Cable::new(1, 1500);
    let mut follow = Follow::new(&cable.near);
    if !made(
        &cable.near,
        "ip link add link near0 name mac0 type macvlan mode bridge",
    ) {
        return;
    }
    follow.until("macvlan", |picture| picture.link_named("mac0").is_some());
    let lower = Some(follow.link("near0").index);
    let bridge = true;
    assert_eq!(
        follow.link("mac0").kind,
        LinkKind::Macvlan { lower, bridge }
    );
    let carrier = follow.by("mac0", &["near0"], None);
    assert_eq!(follow.carrier("mac0", None), Ok(carrier.clone()));
    assert_ne!(Some(carrier.mac), follow.link("near0").mac);
    cable.near.run("ip link set mac0 up");
    let receivers = |follow: &Follow| -> Vec<_> {
        let lower = follow.link("near0").index;
        let all = follow.picture().receivers(lower, |_| false);
        all.into_iter().map(|receiver| receiver.link).collect()
    };
    follow.until("up", |picture| {
        picture.link_named("mac0").is_some_and(|link| link.up)
    });
    let both = ["near0", "mac0"].map(|name| follow.link(name).index);
    assert_eq!(receivers(&follow), both);
    let mut neighbours = cable.near.inside(Neighbours::open).unwrap();
    let mut is_own = |mac| neighbours.is_own(both[0], mac).unwrap();
    assert!(is_own(carrier.mac));
    assert!(!is_own(Mac(cable.far.station("far0"))));
    // As in a container: the interface that carries it is out of sight.
    let elsewhere = Netns::new();
    cable
        .near
        .run(&format!("ip link set mac0 netns {}", elsewhere.path()));
    elsewhere.run("ip link set mac0 up");
    assert!(is_own(carrier.mac), "one of a container is of this host");
    follow.until("gone", |picture| picture.link_named("mac0").is_none());
    assert_eq!(receivers(&follow), both[..1]);
    let there = Follow::new(&elsewhere);
    let index = there.link("mac0").index;
    assert_eq!(
        there.carrier("mac0", None),
        Err(NoCarrier::Elsewhere(index))
    );
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_bridge_learns_where_stations_are() {
    let cable = Cable::new(1, 1500);
    let near = &cable.near;
    if !made(near, "ip link add br0 type bridge") {
        return;
    }
    near.run("ip link add one type veth peer name two");
    near.run("ip addr flush dev near0");
    near.run("ip link set near0 master br0");
    near.run("ip link set one master br0");
    near.run("ip addr add 10.9.0.1/24 dev br0");
    for name in ["br0", "one", "two"] {
        near.run(&format!("ip link set {name} up"));
    }
    let mut follow = Follow::new(near);
    let bridge = follow.link("br0").index;
    let station = Mac(cable.far.station("far0"));
    let unknown = Err(NoCarrier::NoSuchStation(bridge));
    assert_eq!(follow.carrier("br0", None), unknown);
    assert_eq!(
        follow.carrier("br0", Some(Mac([2, 0, 0, 0, 0, 9]))),
        unknown
    );
    // Whoever answers is learned.
    let mut neighbours = near.inside(Neighbours::open).unwrap();
    neighbours.resolve(bridge, [10, 9, 0, 2].into()).unwrap();
    follow.until("the station", |picture| {
        picture.carrier(bridge, Some(station)).is_ok()
    });
    assert_eq!(
        follow.carrier("br0", Some(station)),
        Ok(follow.by("br0", &["near0"], None))
    );
    // A frame from where it was would move it back.
    cable.far.run("ip link set far0 down");
    near.run(&format!(
        "bridge fdb replace {station} dev one master static"
    ));
    let elsewhere = Ok(follow.by("br0", &["one"], None));
    follow.until("the station elsewhere", |picture| {
        picture.carrier(bridge, Some(station)) == elsewhere
    });
    near.run(&format!("bridge fdb del {station} dev one master"));
    follow.until("no station", |picture| {
        picture.carrier(bridge, Some(station)).is_err()
    });
    if !made(near, "ip link set br0 type bridge vlan_filtering 1") {
        return;
    }
    follow.until("a bridge that filters", |picture| {
        picture.carrier(bridge, Some(station)) == Err(NoCarrier::VlanFiltering(bridge))
    });
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn vlan() {
    let cable = Cable::new(1, 1500);
    let near = &cable.near;
    let mut follow = Follow::new(near);
    if !made(near, "ip link add link near0 name tag7 type vlan id 7") {
        return;
    }
    near.run("ip link add link tag7 name tag8 type vlan id 8");
    near.run("ip link add link near0 name service type vlan protocol 802.1ad id 9");
    near.run("ip link add link tag7 name mac0 type macvlan mode bridge");
    follow.until("all", |picture| picture.link_named("mac0").is_some());
    let lower = Some(follow.link("near0").index);
    let (id, service_tag) = (7, false);
    assert_eq!(
        follow.link("tag7").kind,
        LinkKind::Vlan {
            id,
            service_tag,
            lower
        }
    );
    assert_eq!(
        follow.carrier("tag7", None),
        Ok(follow.by("tag7", &["near0"], Some(7)))
    );
    assert_eq!(
        follow.carrier("mac0", None),
        Ok(follow.by("mac0", &["near0"], Some(7)))
    );
    for name in ["tag8", "service"] {
        let index = follow.link(name).index;
        assert_eq!(follow.carrier(name, None), Err(NoCarrier::TwoTags(index)));
    }
    near.run("ip link set tag7 down");
    near.run("ip link del mac0");
    follow.until("deleted", |picture| picture.link_named("mac0").is_none());
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_bond_fails_over() {
    let netns = Netns::new();
    let mut follow = Follow::new(&netns);
    if !made(
        &netns,
        "ip link add bond0 type bond mode active-backup miimon 50",
    ) {
        return;
    }
    for (port, other) in [("a0", "a1"), ("b0", "b1")] {
        netns.run(&format!("ip link add {port} type veth peer name {other}"));
        netns.run(&format!("ip link set {other} up"));
        netns.run(&format!("ip link set {port} master bond0"));
    }
    netns.run("ip link set bond0 type bond primary a0");
    netns.run("ip link set bond0 up");
    let bond = follow.link_index("bond0");
    let by = |follow: &Follow, name: &str| Ok(follow.by("bond0", &[name], None));
    follow.until("ports", |picture| picture.ports(bond).count() == 2);
    let (by_a, by_b) = (by(&follow, "a0"), by(&follow, "b0"));
    follow.until_slowly("by the first port", |picture| {
        picture.carrier(bond, None) == by_a
    });
    netns.run("ip link set a1 down");
    follow.until_slowly("by the second port", |picture| {
        picture.carrier(bond, None) == by_b
    });
    netns.run("ip link set b1 down");
    follow.until_slowly("by no port", |picture| {
        picture.carrier(bond, None) == Err(NoCarrier::NoPort(bond))
    });
    netns.run("ip link set a1 up");
    follow.until_slowly("by the first port again", |picture| {
        picture.carrier(bond, None) == by_a
    });
    if made(&netns, "ip link add link bond0 name tag7 type vlan id 7") {
        follow.until("vlan", |picture| picture.link_named("tag7").is_some());
        assert_eq!(
            follow.carrier("tag7", None),
            Ok(follow.by("tag7", &["a0"], Some(7)))
        );
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_bond_by_all_its_ports() {
    let netns = Netns::new();
    let mut follow = Follow::new(&netns);
    if !made(&netns, "ip link add bond0 type bond mode 802.3ad miimon 50") {
        return;
    }
    netns.run("ip link add bond1 type bond mode 802.3ad miimon 50");
    for n in 0..2 {
        netns.run(&format!("ip link add a{n} type veth peer name b{n}"));
        netns.run(&format!("ip link set a{n} master bond0"));
        netns.run(&format!("ip link set b{n} master bond1"));
    }
    netns.run("ip link set bond0 up");
    netns.run("ip link set bond1 up");
    let bond = follow.link_index("bond0");
    follow.until("ports", |picture| picture.ports(bond).count() == 2);
    let mode = BondMode::Lacp;
    assert_eq!(
        follow.link("bond0").kind,
        LinkKind::Bond { mode, active: None }
    );
    // Agreeing takes the two ends as long as their protocol says: a second or two.
    let all = Ok(follow.by("bond0", &["a0", "a1"], None));
    follow.until_slowly("both ports", |picture| picture.carrier(bond, None) == all);
    netns.run("ip link set b1 down");
    let one = Ok(follow.by("bond0", &["a0"], None));
    follow.until_slowly("one port", |picture| picture.carrier(bond, None) == one);
}
