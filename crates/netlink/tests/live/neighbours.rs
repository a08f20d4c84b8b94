//! Neighbours: resolved, changed, confirmed, unreachable.

use crate::follow::{Follow, settled_cable};
use sidestep_netlink::{Change, Error, Neighbour, NeighbourState, Neighbours};
use sidestep_tests::netns::Cable;
use sidestep_wire::Mac;
use std::net::IpAddr;

const FAR: [&str; 2] = ["10.9.0.2", "fd09::2"];
const NOBODY: [&str; 2] = ["10.9.0.99", "fd09::99"];

struct Ends {
    cable: Cable,
    follow: Follow,
    neighbours: Neighbours,
    link: u32,
}

impl Ends {
    fn new() -> Self {
        let cable = settled_cable();
        // So that a neighbour that does not answer is given up within a second.
        for family in ["ipv4", "ipv6"] {
            let key = format!("net.{family}.neigh.near0");
            cable
                .near
                .run(&format!("sysctl -qw {key}.retrans_time_ms=100"));
            cable
                .near
                .run(&format!("sysctl -qw {key}.delay_first_probe_time=1"));
        }
        let follow = Follow::new(&cable.near);
        let neighbours = cable.near.inside(Neighbours::open).unwrap();
        let link = follow.link("near0").index;
        Self {
            cable,
            follow,
            neighbours,
            link,
        }
    }

    fn far_mac(&self) -> Mac {
        Mac(self.cable.far.station("far0"))
    }

    fn resolve(&mut self, ip: IpAddr) -> Option<Neighbour> {
        self.neighbours.resolve(self.link, ip).unwrap()
    }

    /// Waits for a change of that neighbour that is as wanted.
    fn told(&mut self, ip: IpAddr, wanted: impl Fn(&Neighbour) -> bool) -> Neighbour {
        let link = self.link;
        let told = self
            .follow
            .change(&format!("news of {ip}"), |change| match change {
                Change::NeighbourChanged(said)
                    if said.link == link && said.ip == ip && wanted(said) =>
                {
                    Some(*said)
                }
                _ => None,
            });
        assert_eq!(self.follow.picture().neighbour(link, ip), Some(&told));
        told
    }

    fn resolved(&mut self, ip: IpAddr) -> Neighbour {
        let known = self.resolve(ip);
        match known {
            Some(known) if known.mac.is_some() => known,
            _ => self.told(ip, |said| said.mac.is_some()),
        }
    }
}

fn both(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn a_neighbour_is_resolved() {
    let mut ends = Ends::new();
    for ip in both(FAR) {
        assert_eq!(ends.follow.picture().neighbour(ends.link, ip), None);
        let neighbour = ends.resolved(ip);
        assert_eq!(neighbour.mac, Some(ends.far_mac()));
        assert_eq!(neighbour.state, NeighbourState::Reachable);
        assert!(neighbour.is_settled());
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn nobody_answers_and_each_time_it_is_told() {
    let mut ends = Ends::new();
    for ip in both(NOBODY) {
        for _ in 0..2 {
            let known = ends.resolve(ip).unwrap();
            assert_eq!((known.mac, known.state), (None, NeighbourState::Incomplete));
            assert!(!known.is_settled());
            let told = ends.told(ip, |said| said.state == NeighbourState::Failed);
            assert_eq!(told.mac, None);
        }
        assert!(!ends.neighbours.confirm(ends.link, ip).unwrap());
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn another_hardware_address_is_told() {
    let mut ends = Ends::new();
    ends.cable
        .near
        .run("sysctl -qw net.ipv4.neigh.near0.locktime=0");
    for ip in both(FAR) {
        ends.resolved(ip);
    }
    ends.cable
        .far
        .run("sysctl -qw net.ipv4.conf.far0.arp_notify=1 net.ipv6.conf.far0.ndisc_notify=1");
    ends.cable
        .near
        .run("sysctl -qw net.ipv4.conf.near0.arp_accept=1");
    ends.cable
        .far
        .run("ip link set far0 address 02:00:00:00:00:77");
    let (link, new) = (ends.link, Some(Mac([2, 0, 0, 0, 0, 0x77])));
    for ip in both(FAR) {
        ends.follow.until("the new one", |picture| {
            picture
                .neighbour(link, ip)
                .is_some_and(|said| said.mac == new)
        });
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn who_answers_is_confirmed_without_being_asked() {
    let mut ends = Ends::new();
    let mac = ends.far_mac();
    for ip in both(FAR) {
        assert!(
            !ends.neighbours.confirm(ends.link, ip).unwrap(),
            "nothing known yet"
        );
        ends.resolved(ip);
        // Nobody at the other end can answer any more, and so only the confirmation can do this.
        ends.cable.near.run(&format!(
            "ip neigh change {ip} dev near0 lladdr {mac} nud stale"
        ));
        ends.told(ip, |said| {
            said.state == NeighbourState::Stale && said.mac == Some(mac)
        });
    }
    ends.cable.far.run("ip addr flush dev far0");
    for ip in both(FAR) {
        // In use, it is about to be asked for.
        let used = ends.resolve(ip).unwrap();
        assert_eq!(used.state, NeighbourState::Delay);
        assert!(ends.neighbours.confirm(ends.link, ip).unwrap());
        let told = ends.told(ip, |said| said.state == NeighbourState::Reachable);
        assert_eq!(told.mac, Some(mac));
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn what_the_administrator_set_stays() {
    let mut ends = Ends::new();
    for ip in both(NOBODY) {
        ends.cable.near.run(&format!(
            "ip neigh add {ip} dev near0 lladdr 02:00:00:00:00:09"
        ));
        let set = ends.told(ip, |said| said.state == NeighbourState::Permanent);
        assert_eq!(ends.resolve(ip), Some(set));
        assert!(!ends.neighbours.confirm(ends.link, ip).unwrap());
        assert_eq!(ends.neighbours.lookup(ends.link, ip).unwrap(), Some(set));
        ends.cable.near.run(&format!("ip neigh del {ip} dev near0"));
        let link = ends.link;
        ends.follow.until("its end", |picture| {
            picture
                .neighbour(link, ip)
                .is_none_or(|left| left.mac.is_none())
        });
    }
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn neighbours_go_with_the_link() {
    let mut ends = Ends::new();
    let [ip, _] = both(FAR);
    let known = ends.resolved(ip);
    ends.follow.settle();
    ends.cable.near.run("ip link set near0 down");
    let link = ends.link;
    ends.follow
        .until("forgotten", |picture| picture.neighbour(link, ip).is_none());
    assert!(ends.neighbours.lookup(link, ip).unwrap().is_none());
    assert!(known.mac.is_some());
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn no_such_link_is_an_error() {
    let mut ends = Ends::new();
    let [ip, _] = both(FAR);
    assert!(matches!(
        ends.neighbours.resolve(9999, ip),
        Err(Error::Refused(_))
    ));
}
