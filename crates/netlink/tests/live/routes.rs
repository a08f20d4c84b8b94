//! Routes: that changes are told, and what the kernel answers.

use crate::follow::Follow;
use sidestep_netlink::{Error, Flow, Query, Route, RouteKind, Routes};
use sidestep_tests::netns::{Cable, Netns};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Ends {
    cable: Cable,
    follow: Follow,
    routes: Routes,
    link: u32,
}

impl Ends {
    fn new() -> Self {
        let cable = Cable::new(1, 1500);
        let follow = Follow::new(&cable.near);
        let routes = cable.near.inside(Routes::open).unwrap();
        let link = follow.link("near0").index;
        Self {
            cable,
            follow,
            routes,
            link,
        }
    }

    fn to(&mut self, destination: &str) -> Route {
        self.routes.lookup(&Query::to(ip(destination))).unwrap()
    }

    /// Runs `ip` with these words, and waits until routes are said to have changed.
    fn ip(&mut self, words: &str) {
        self.follow.settle();
        self.cable.near.run(&format!("ip {words}"));
        self.follow.routes_change(words);
    }

    fn unicast(&self, source: &str, gateway: Option<&str>, mtu: Option<u32>) -> Route {
        Route {
            link: self.link,
            source: Some(ip(source)),
            gateway: gateway.map(ip),
            mtu,
            kind: RouteKind::Unicast,
        }
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn routes_are_added_replaced_and_removed() {
    let mut ends = Ends::new();
    assert_eq!(ends.to("10.9.0.2"), ends.unicast("10.9.0.1", None, None));
    assert_eq!(ends.to("fd09::2"), ends.unicast("fd09::1", None, None));
    for (far, gateways, source) in [
        ("192.0.2.7", ["10.9.0.2", "10.9.0.3"], "10.9.0.1"),
        ("2001:db8::7", ["fd09::2", "fd09::3"], "fd09::1"),
    ] {
        let none = RouteKind::Unreachable(libc::ENETUNREACH);
        assert_eq!(ends.to(far).kind, none);
        ends.ip(&format!("route add {far} via {}", gateways[0]));
        assert_eq!(ends.to(far), ends.unicast(source, Some(gateways[0]), None));
        ends.ip(&format!("route replace {far} via {} mtu 1300", gateways[1]));
        assert_eq!(
            ends.to(far),
            ends.unicast(source, Some(gateways[1]), Some(1300))
        );
        let route = ends.to(far);
        assert_eq!(ends.follow.picture().mtu_of(&route), Some(1300));
        ends.ip(&format!("route del {far}"));
        assert_eq!(ends.to(far).kind, none);
    }
    let route = ends.to("10.9.0.2");
    assert_eq!(ends.follow.picture().mtu_of(&route), Some(1500));
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn the_source_address_is_the_routes_or_the_askers() {
    let mut ends = Ends::new();
    ends.ip("addr add 10.9.0.77/32 dev near0");
    ends.ip("route add 192.0.2.7 via 10.9.0.2 src 10.9.0.77");
    assert_eq!(ends.to("192.0.2.7").source, Some(ip("10.9.0.77")));
    let mut query = Query::to(ip("192.0.2.7"));
    query.source = Some(ip("10.9.0.1"));
    assert_eq!(
        ends.routes.lookup(&query).unwrap(),
        ends.unicast("10.9.0.1", Some("10.9.0.2"), None)
    );
    // An address that is not of this host.
    query.source = Some(ip("10.9.0.99"));
    let kind = ends.routes.lookup(&query).unwrap().kind;
    assert!(matches!(kind, RouteKind::Unreachable(_)), "{kind:?}");
    ends.ip("addr del 10.9.0.77/32 dev near0");
    assert_eq!(
        ends.to("192.0.2.7").kind,
        RouteKind::Unreachable(libc::ENETUNREACH)
    );
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn all_kinds_of_routes() {
    let mut ends = Ends::new();
    for (words, errno) in [
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
    ] {
        for far in ["192.0.2.7", "2001:db8::7"] {
            ends.ip(&format!("route add {words} {far}"));
            assert_eq!(
                ends.to(far).kind,
                RouteKind::Unreachable(errno),
                "{words} {far}"
            );
            ends.ip(&format!("route del {words} {far}"));
        }
    }
    for far in ["192.0.2.7", "2001:db8::7"] {
        ends.ip(&format!("route add blackhole {far}"));
        assert_eq!(ends.to(far).kind, RouteKind::Blackhole, "{far}");
        let mut query = Query::to(ip(far));
        query.source = Some(ip(if query.destination.is_ipv4() {
            "10.9.0.1"
        } else {
            "fd09::1"
        }));
        assert_eq!(
            ends.routes.lookup(&query).unwrap().kind,
            RouteKind::Blackhole,
            "{far}"
        );
    }
    for here in ["127.0.0.1", "10.9.0.1", "::1", "fd09::1"] {
        assert_eq!(ends.to(here).kind, RouteKind::Local, "{here}");
    }
    assert_eq!(ends.to("10.9.0.255").kind, RouteKind::Broadcast);
    ends.ip("route add 224.0.0.0/4 dev near0");
    assert_eq!(ends.to("224.1.2.3").kind, RouteKind::Multicast);
    assert_eq!(ends.to("ff02::1").kind, RouteKind::Multicast);
    let mut query = Query::to(ip("10.9.0.2"));
    query.oif = Some(9999);
    assert!(matches!(ends.routes.lookup(&query), Err(Error::Refused(_))));
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn an_ipv4_route_by_an_ipv6_gateway() {
    let mut ends = Ends::new();
    ends.ip("route add 192.0.2.0/24 via inet6 fd09::2 dev near0");
    assert_eq!(
        ends.to("192.0.2.7"),
        ends.unicast("10.9.0.1", Some("fd09::2"), None)
    );
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn rules_by_mark_user_interface_and_port() {
    let mut ends = Ends::new();
    ends.ip("route add default via 10.9.0.2");
    ends.ip("route add default via 10.9.0.3 table 100");
    let far = Query::to(ip("192.0.2.7"));
    let with_mark = Query { mark: 7, ..far };
    let with_uid = Query {
        uid: Some(4242),
        ..far
    };
    let with_oif = Query {
        oif: Some(ends.link),
        ..far
    };
    let flow = |destination_port| Flow {
        protocol: 6,
        source_port: 0,
        destination_port,
    };
    let with_port = Query {
        flow: Some(flow(443)),
        ..far
    };
    let other_port = Query {
        flow: Some(flow(80)),
        ..far
    };
    for (words, query) in [
        ("fwmark 7", with_mark),
        ("uidrange 4242-4242", with_uid),
        ("oif near0", with_oif),
        ("ipproto tcp dport 443", with_port),
    ] {
        assert_eq!(
            ends.routes.lookup(&query).unwrap().gateway,
            Some(ip("10.9.0.2")),
            "{words}"
        );
        ends.ip(&format!("rule add {words} table 100"));
        assert_eq!(
            ends.routes.lookup(&query).unwrap().gateway,
            Some(ip("10.9.0.3")),
            "{words}"
        );
        for other in [far, other_port] {
            assert_eq!(
                ends.routes.lookup(&other).unwrap().gateway,
                Some(ip("10.9.0.2")),
                "{words}"
            );
        }
        ends.ip(&format!("rule del {words} table 100"));
    }
    ends.ip("-6 rule add fwmark 9 table 100");
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn routes_go_with_their_link_and_come_with_addresses() {
    let mut ends = Ends::new();
    ends.ip("route add 192.0.2.0/24 via 10.9.0.2");
    ends.ip("link set near0 down");
    assert_eq!(
        ends.to("192.0.2.7").kind,
        RouteKind::Unreachable(libc::ENETUNREACH)
    );
    ends.ip("link set near0 up");
    assert_eq!(ends.to("10.9.0.2").kind, RouteKind::Unicast);
    ends.ip("addr add 10.66.0.1/24 dev near0");
    assert_eq!(ends.to("10.66.0.5").source, Some(ip("10.66.0.1")));
    // A next hop that several routes share.
    ends.ip("nexthop add id 5 via 10.9.0.2 dev near0");
    ends.ip("route add 192.0.2.0/24 nhid 5");
    ends.ip("nexthop replace id 5 via 10.9.0.4 dev near0");
    assert_eq!(ends.to("192.0.2.7").gateway, Some(ip("10.9.0.4")));
}

#[test]
#[ignore = "needs root, ip, ethtool, sysctl and ping"]
fn what_the_kernel_learned_of_a_path_is_in_the_answer() {
    let mut ends = Ends::new();
    let beyond = Netns::new();
    let router = &ends.cable.far;
    router.run(&format!(
        "ip link add out0 type veth peer name in0 netns {}",
        beyond.path()
    ));
    for (netns, name, n) in [(router, "out0", 1), (&beyond, "in0", 2)] {
        netns.run(&format!("ip link set {name} mtu 1280"));
        netns.run(&format!("ip addr add 10.10.0.{n}/24 dev {name}"));
        netns.run(&format!("ip link set {name} up"));
    }
    beyond.run("ip route add default via 10.10.0.1");
    router.run("sysctl -qw net.ipv4.ip_forward=1");
    ends.ip("route add default via 10.9.0.2");
    assert_eq!(ends.to("10.10.0.2").mtu, None);
    ends.cable
        .near
        .try_run("ping -c 1 -W 1 -M do -s 1400 10.10.0.2");
    let route = ends.to("10.10.0.2");
    assert_eq!(route.mtu, Some(1280));
    assert_eq!(route.gateway, Some(ip("10.9.0.2")));
    assert_eq!(ends.follow.picture().mtu_of(&route), Some(1280));
}
