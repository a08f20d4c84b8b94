use super::*;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourState as State};

fn link(index: u32, name: &str, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(mtu),
    ];
    message
}

fn new_link(index: u32, name: &str, mtu: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(link(index, name, mtu))
}

fn address(link: u32, ip: [u8; 4]) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 24;
    message.header.index = link;
    message.attributes = vec![
        AddressAttribute::Local(ip.into()),
        AddressAttribute::Address(ip.into()),
    ];
    message
}

fn neighbour(link: u32, ip: [u8; 4], state: State, mac: Option<u8>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = link;
    message.header.state = state;
    let ip = IpAddr::from(ip);
    message
        .attributes
        .push(NeighbourAttribute::Destination(ip.into()));
    if let Some(last) = mac {
        let mac = vec![2, 0, 0, 0, 0, last];
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac));
    }
    message
}

fn station(bridge: u32, port: u32, last: u8) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.state = State::Reachable;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, last]),
        NeighbourAttribute::Controller(bridge),
    ];
    message
}

/// Applies messages one after another; returns what is told.
fn told(picture: &mut Picture, messages: &[RouteNetlinkMessage]) -> Vec<Change> {
    let mut changes = Changes::default();
    for message in messages {
        picture.apply(message, &mut changes);
    }
    changes.into_list()
}

fn small() -> Picture {
    let mut picture = Picture::default();
    told(
        &mut picture,
        &[
            new_link(2, "eth0", 1500),
            RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1])),
            RouteNetlinkMessage::NewNeighbour(neighbour(2, [10, 0, 0, 2], State::Stale, Some(2))),
            RouteNetlinkMessage::NewNeighbour(station(9, 2, 5)),
        ],
    );
    picture
}

#[test]
fn the_same_again_is_no_news() {
    let mut picture = small();
    let again = [
        new_link(2, "eth0", 1500),
        RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1])),
        RouteNetlinkMessage::NewNeighbour(station(9, 2, 5)),
    ];
    assert_eq!(told(&mut picture, &again), []);
}

#[test]
fn what_a_bridge_says_of_its_port_is_not_of_the_link() {
    let mut picture = small();
    let mut port = link(2, "eth0", 1500);
    port.header.interface_family = AddressFamily::Bridge;
    let port = RouteNetlinkMessage::DelLink(port);
    assert_eq!(told(&mut picture, &[port]), []);
    assert_eq!(picture, small());
}

#[test]
fn a_link_takes_all_with_it() {
    let mut picture = small();
    let known = *picture.neighbour(2, [10, 0, 0, 2].into()).unwrap();
    let ours = *picture.addresses().next().unwrap();
    let (bridge, mac) = (9, Mac([2, 0, 0, 0, 0, 5]));
    assert_eq!(picture.port_of(bridge, mac), Some(2));
    let gone = RouteNetlinkMessage::DelLink(link(2, "eth0", 1500));
    let name = "eth0".to_owned();
    assert_eq!(
        told(&mut picture, &[gone]),
        [
            Change::AddressRemoved(ours),
            Change::RoutesChanged,
            Change::NeighbourGone(known),
            Change::StationMoved { bridge, mac },
            Change::LinkGone { index: 2, name },
        ]
    );
    assert_eq!(picture, Picture::default());
}

#[test]
fn a_link_that_comes_again_is_told_again() {
    let mut picture = small();
    let changes = told(
        &mut picture,
        &[
            new_link(2, "eth0", 1400),
            new_link(2, "eth0", 1300),
            RouteNetlinkMessage::DelLink(link(2, "eth0", 1300)),
            new_link(2, "eth0", 1500),
        ],
    );
    let of_links: Vec<_> = changes
        .into_iter()
        .filter(|change| matches!(change, Change::LinkChanged(_) | Change::LinkGone { .. }))
        .collect();
    let name = "eth0".to_owned();
    assert_eq!(
        of_links,
        [
            Change::LinkChanged(2),
            Change::LinkGone { index: 2, name },
            Change::LinkChanged(2),
        ]
    );
}

#[test]
fn every_answer_of_a_neighbour_is_told() {
    let mut picture = small();
    let failed = neighbour(2, [10, 0, 0, 3], State::Failed, None);
    let failed = RouteNetlinkMessage::NewNeighbour(failed);
    for _ in 0..2 {
        let [Change::NeighbourChanged(said)] =
            told(&mut picture, std::slice::from_ref(&failed))[..]
        else {
            panic!("one change");
        };
        assert_eq!((said.state, said.mac), (NeighbourState::Failed, None));
        assert!(said.is_settled());
    }
}

#[test]
fn an_unsure_hardware_address_is_none() {
    // The kernel leaves the last one in its message.
    let mut picture = small();
    let failed = neighbour(2, [10, 0, 0, 2], State::Failed, Some(2));
    told(&mut picture, &[RouteNetlinkMessage::NewNeighbour(failed)]);
    let known = picture.neighbour(2, [10, 0, 0, 2].into());
    assert_eq!(known.map(|known| known.mac), Some(None));
}

#[test]
fn a_station_that_moved_is_not_lost_by_its_old_entry() {
    let mut picture = small();
    let (bridge, mac) = (9, Mac([2, 0, 0, 0, 0, 5]));
    let moved = [RouteNetlinkMessage::NewNeighbour(station(9, 3, 5))];
    assert_eq!(
        told(&mut picture, &moved),
        [Change::StationMoved { bridge, mac }]
    );
    let old = [RouteNetlinkMessage::DelNeighbour(station(9, 2, 5))];
    assert_eq!(told(&mut picture, &old), []);
    assert_eq!(picture.port_of(9, mac), Some(3));
    let new = [RouteNetlinkMessage::DelNeighbour(station(9, 3, 5))];
    assert_eq!(
        told(&mut picture, &new),
        [Change::StationMoved { bridge, mac }]
    );
    assert_eq!(picture.port_of(9, mac), None);
}

#[test]
fn own_addresses_of_a_bridge_are_no_stations() {
    let mut own = station(9, 2, 6);
    own.header.state = State::Permanent;
    let mut picture = small();
    let own = [RouteNetlinkMessage::NewNeighbour(own)];
    assert_eq!(told(&mut picture, &own), []);
    assert_eq!(picture, small());
}

#[test]
fn what_is_read_anew_is_told_as_differences() {
    let mut picture = small();
    let old_neighbour = *picture.neighbour(2, [10, 0, 0, 2].into()).unwrap();
    let old_address = *picture.addresses().next().unwrap();
    let mut new = Picture::default();
    told(
        &mut new,
        &[
            new_link(2, "eth0", 9000),
            new_link(3, "eth1", 1500),
            RouteNetlinkMessage::NewAddress(address(3, [10, 1, 0, 1])),
            RouteNetlinkMessage::NewNeighbour(neighbour(3, [10, 1, 0, 2], State::Failed, None)),
            RouteNetlinkMessage::NewNeighbour(station(9, 3, 5)),
        ],
    );
    let new_address = *new.addresses().next().unwrap();
    let new_neighbour = *new.neighbours().next().unwrap();
    let mut changes = Changes::default();
    picture.replace(new.clone(), &mut changes);
    let (bridge, mac) = (9, Mac([2, 0, 0, 0, 0, 5]));
    assert_eq!(
        changes.into_list(),
        [
            Change::AddressRemoved(old_address),
            Change::RoutesChanged,
            Change::LinkChanged(2),
            Change::LinkChanged(3),
            Change::AddressAdded(new_address),
            Change::NeighbourGone(old_neighbour),
            Change::NeighbourChanged(new_neighbour),
            Change::StationMoved { bridge, mac },
        ]
    );
    assert_eq!(picture, new);
    // A neighbour that fails may have failed once more.
    let mut changes = Changes::default();
    picture.replace(new.clone(), &mut changes);
    assert_eq!(
        changes.into_list(),
        [
            Change::NeighbourChanged(new_neighbour),
            Change::RoutesChanged
        ]
    );
}
