use super::*;
use crate::change::Changes;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BondMode as Mode, BondPortState, InfoBond, InfoBondPort, InfoBridge, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, link::LinkAttribute as Said};

/// A link that is up, with the last byte of its hardware address like its index.
fn link(index: u32, said: Vec<Said>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
    message.attributes = said;
    message
        .attributes
        .push(LinkAttribute::Address(mac(index).0.to_vec()));
    message
}

fn mac(index: u32) -> Mac {
    Mac([2, 0, 0, 0, 0, index.to_le_bytes()[0]])
}

fn is(kind: InfoKind, data: InfoData) -> Said {
    Said::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
}

fn vlan(index: u32, id: u16, lower: u32) -> LinkMessage {
    let data = InfoData::Vlan(vec![
        InfoVlan::Protocol(VlanProtocol::Ieee8021Q),
        InfoVlan::Id(id),
    ]);
    link(index, vec![Said::Link(lower), is(InfoKind::Vlan, data)])
}

fn bond(index: u32, mode: Mode, active: Option<u32>) -> LinkMessage {
    let mut said = vec![InfoBond::Mode(mode)];
    said.extend(active.map(InfoBond::ActivePort));
    link(index, vec![is(InfoKind::Bond, InfoData::Bond(said))])
}

fn bond_port(index: u32, bond: u32, state: BondPortState) -> LinkMessage {
    let port = vec![
        LinkInfo::PortKind(InfoPortKind::Bond),
        LinkInfo::PortData(InfoPortData::BondPort(vec![InfoBondPort::BondPortState(
            state,
        )])),
    ];
    link(index, vec![Said::Controller(bond), Said::LinkInfo(port)])
}

fn bridge(index: u32, vlan_filtering: bool) -> LinkMessage {
    let data = InfoData::Bridge(vec![InfoBridge::VlanFiltering(vlan_filtering)]);
    link(index, vec![is(InfoKind::Bridge, data)])
}

fn station(bridge: u32, port: u32, mac: Mac) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Controller(bridge),
    ];
    RouteNetlinkMessage::NewNeighbour(message)
}

fn take(picture: &mut Picture, message: RouteNetlinkMessage) {
    picture.apply(&message, &mut Changes::default());
}

fn picture(links: Vec<LinkMessage>) -> Picture {
    let mut picture = Picture::default();
    for link in links {
        take(&mut picture, RouteNetlinkMessage::NewLink(link));
    }
    picture
}

fn by(top: u32, links: &[u32], vlan: Option<u16>) -> Result<Carrier, NoCarrier> {
    Ok(Carrier {
        links: links.to_vec(),
        vlan,
        mac: mac(top),
    })
}

#[test]
fn one_tag_and_no_more() {
    let picture = picture(vec![link(1, vec![]), vlan(2, 7, 1), vlan(3, 8, 2)]);
    assert_eq!(picture.carrier(1, None), by(1, &[1], None));
    assert_eq!(picture.carrier(2, None), by(2, &[1], Some(7)));
    assert_eq!(picture.carrier(3, None), Err(NoCarrier::TwoTags(3)));
}

#[test]
fn a_service_tag_is_not_for_us() {
    let data = InfoData::Vlan(vec![
        InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
        InfoVlan::Id(7),
    ]);
    let service = link(2, vec![Said::Link(1), is(InfoKind::Vlan, data)]);
    let picture = picture(vec![link(1, vec![]), service]);
    assert_eq!(picture.carrier(2, None), Err(NoCarrier::TwoTags(2)));
}

#[test]
fn the_active_port_and_then_another() {
    let mut picture = picture(vec![
        link(1, vec![]),
        link(2, vec![]),
        bond(3, Mode::ActiveBackup, Some(1)),
        vlan(4, 7, 3),
    ]);
    assert_eq!(picture.carrier(3, None), by(3, &[1], None));
    assert_eq!(picture.carrier(4, None), by(4, &[1], Some(7)));
    let mut over_to = |active| {
        let bond = bond(3, Mode::ActiveBackup, active);
        take(&mut picture, RouteNetlinkMessage::NewLink(bond));
        picture.carrier(4, None)
    };
    assert_eq!(over_to(Some(2)), by(4, &[2], Some(7)));
    assert_eq!(over_to(None), Err(NoCarrier::NoPort(3)));
    assert_eq!(over_to(Some(0)), Err(NoCarrier::NoPort(3)));
    assert_eq!(over_to(Some(9)), Err(NoCarrier::NoSuchLink(9)));
}

#[test]
fn all_ports_that_send() {
    for mode in [Mode::Ieee8023Ad, Mode::BalanceRr, Mode::BalanceXor] {
        let mut down = bond_port(4, 9, BondPortState::Active);
        down.header.flags = LinkFlags::Up;
        let picture = picture(vec![
            bond_port(1, 9, BondPortState::Active),
            bond_port(2, 9, BondPortState::Backup),
            bond_port(3, 9, BondPortState::Active),
            down,
            bond_port(5, 8, BondPortState::Active),
            bond(9, mode, None),
            vlan(10, 7, 9),
        ]);
        assert_eq!(picture.carrier(10, None), by(10, &[1, 3], Some(7)));
    }
}

#[test]
fn bonds_that_cannot_be() {
    for mode in [Mode::BalanceTlb, Mode::BalanceAlb, Mode::Broadcast] {
        let picture = picture(vec![
            bond_port(1, 9, BondPortState::Active),
            bond(9, mode, None),
        ]);
        assert_eq!(picture.carrier(9, None), Err(NoCarrier::BondMode(9)));
    }
    let picture = picture(vec![
        bond_port(1, 9, BondPortState::Backup),
        bond(9, Mode::Ieee8023Ad, None),
    ]);
    assert_eq!(picture.carrier(9, None), Err(NoCarrier::NoPort(9)));
}

#[test]
fn a_vlan_over_a_bridge_goes_by_the_stations_port() {
    let mut picture = picture(vec![
        link(1, vec![Said::Controller(5)]),
        bond(2, Mode::ActiveBackup, Some(3)),
        link(3, vec![]),
        bridge(5, false),
        vlan(6, 7, 5),
    ]);
    take(&mut picture, station(5, 1, mac(100)));
    take(&mut picture, station(5, 2, mac(101)));
    assert_eq!(picture.carrier(6, Some(mac(100))), by(6, &[1], Some(7)));
    assert_eq!(picture.carrier(6, Some(mac(101))), by(6, &[3], Some(7)));
    for unknown in [None, Some(mac(102))] {
        assert_eq!(
            picture.carrier(6, unknown),
            Err(NoCarrier::NoSuchStation(5))
        );
    }
    let filters = RouteNetlinkMessage::NewLink(bridge(5, true));
    take(&mut picture, filters);
    assert_eq!(
        picture.carrier(6, Some(mac(100))),
        Err(NoCarrier::VlanFiltering(5))
    );
}

#[test]
fn interfaces_whose_lower_one_is_elsewhere() {
    let mut outside = vlan(2, 7, 1);
    outside.attributes.push(Said::LinkNetNsId(0));
    // Index 1 of this namespace is another interface than the one that is meant.
    let picture = picture(vec![link(1, vec![]), outside]);
    assert_eq!(picture.carrier(2, None), Err(NoCarrier::Elsewhere(2)));
}

#[test]
fn no_ethernet_no_frames() {
    let mut tunnel = link(1, vec![]);
    tunnel.header.link_layer_type = LinkLayerType::Tunnel;
    let picture = picture(vec![tunnel]);
    assert_eq!(picture.carrier(1, None), Err(NoCarrier::NotEthernet(1)));
}

#[test]
fn a_circle_ends() {
    let picture = picture(vec![macvlan(1, 2), macvlan(2, 1)]);
    assert_eq!(picture.carrier(1, None), Err(NoCarrier::TooDeep(1)));
}

fn receivers(picture: &Picture, bottom: u32, ends: &[u32]) -> Vec<(u32, Option<u16>, Option<u32>)> {
    let found = picture.receivers(bottom, |link| ends.contains(&link));
    found.iter().map(|r| (r.link, r.vlan, r.bond)).collect()
}

fn macvlan(index: u32, lower: u32) -> LinkMessage {
    let kind = Said::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]);
    link(index, vec![Said::Link(lower), kind])
}

#[test]
fn what_lies_upon_an_interface_receives_its_frames() {
    let mut down = vlan(6, 9, 1);
    down.header.flags = LinkFlags::empty();
    let picture = picture(vec![
        link(1, vec![]),
        vlan(2, 7, 1),
        vlan(3, 8, 2),
        macvlan(4, 2),
        macvlan(5, 1),
        down,
        link(8, vec![]),
        vlan(9, 7, 8),
    ]);
    let all = [
        (1, None, None),
        (2, Some(7), None),
        (4, Some(7), None),
        (5, None, None),
    ];
    assert_eq!(receivers(&picture, 1, &[]), all);
    assert_eq!(receivers(&picture, 1, &[1, 2]), [all[0], all[3]]);
    assert_eq!(receivers(&picture, 7, &[]), []);
}

#[test]
fn a_bond_receives_by_all_its_ports_as_it_may_use_another_next() {
    for (mode, receives) in [
        (Mode::ActiveBackup, true),
        (Mode::Ieee8023Ad, true),
        (Mode::BalanceXor, true),
        (Mode::BalanceTlb, false),
    ] {
        let picture = picture(vec![
            bond_port(1, 9, BondPortState::Active),
            bond_port(2, 9, BondPortState::Active),
            bond_port(3, 9, BondPortState::Backup),
            bond(9, mode, Some(1)),
            vlan(10, 7, 9),
        ]);
        let by = [(9, None, Some(9)), (10, Some(7), Some(9))];
        for port in [1, 2, 3] {
            let expected = if receives { &by[..] } else { &[] };
            assert_eq!(receivers(&picture, port, &[]), expected, "{mode:?}");
        }
    }
}

#[test]
fn a_bridge_receives_by_its_ports_unless_it_filters() {
    for filters in [false, true] {
        let picture = picture(vec![
            link(1, vec![Said::Controller(5)]),
            bridge(5, filters),
            vlan(6, 7, 5),
        ]);
        let all = [(5, None, None), (6, Some(7), None)];
        let expected = if filters { &[] } else { &all[..] };
        assert_eq!(receivers(&picture, 1, &[]), expected);
    }
}

#[test]
fn the_way_down_ends_where_it_is_told() {
    let picture = picture(vec![
        link(1, vec![]),
        bond(2, Mode::ActiveBackup, Some(1)),
        vlan(3, 7, 2),
        macvlan(4, 3),
    ]);
    let to = |end: u32| {
        let descent = picture.descend(4, None, |link| link == end).unwrap();
        let carrier = descent.carrier;
        (carrier.links, carrier.vlan, carrier.mac, descent.by)
    };
    assert_eq!(to(9), (vec![1], Some(7), mac(4), vec![4, 3, 2]));
    assert_eq!(to(2), (vec![2], Some(7), mac(4), vec![4, 3]));
    assert_eq!(to(3), (vec![3], None, mac(4), vec![4]));
    assert_eq!(to(4), (vec![4], None, mac(4), vec![]));
}
