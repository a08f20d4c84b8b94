use super::*;
use crate::change::{Change, Changes};
use crate::picture::Picture;
use crate::requests::read;
use crate::socket::Messages;
use crate::{Carrier, NoCarrier};
use netlink_packet_core::NetlinkPayload;

/// What Linux 6.1 said, recorded where bonds and VLANs are.
static CAPTURED: &str = include_str!("captured.hex");

/// Applies what was said after `step`; returns what is told of it.
fn take(picture: &mut Picture, step: &str) -> Vec<Change> {
    let mut changes = Changes::default();
    let lines = CAPTURED.lines();
    let after = lines.skip_while(|line| *line != format!("## {step}"));
    for line in after.skip(1).take_while(|line| !line.starts_with('#')) {
        let bytes: Vec<u8> = (0..line.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
            .collect();
        let mut messages = Messages::of(&bytes);
        let message = messages.next().unwrap();
        let Some(NetlinkPayload::InnerMessage(said)) = read(&message) else {
            panic!("not understood: {line}");
        };
        picture.apply(&said, &mut changes);
    }
    changes.into_list()
}

fn index(picture: &Picture, name: &str) -> u32 {
    let found = picture.link_named(name);
    found.unwrap_or_else(|| panic!("no {name}")).index
}

fn carrier(picture: &Picture, name: &str) -> Result<Carrier, NoCarrier> {
    picture.carrier(index(picture, name), None)
}

fn by(
    picture: &Picture,
    top: &str,
    names: &[&str],
    vlan: Option<u16>,
) -> Result<Carrier, NoCarrier> {
    Ok(Carrier {
        links: names.iter().map(|name| index(picture, name)).collect(),
        vlan,
        mac: picture.link_named(top).unwrap().mac.unwrap(),
    })
}

#[test]
fn a_bond_with_vlans_over_it() {
    let mut picture = Picture::default();
    take(&mut picture, "active-backup");
    let (a0, bond0) = (index(&picture, "a0"), index(&picture, "bond0"));
    let kind = |name: &str| picture.link_named(name).unwrap().kind.clone();
    let (mode, active) = (BondMode::ActiveBackup, Some(a0));
    assert_eq!(kind("bond0"), LinkKind::Bond { mode, active });
    let (lower, service_tag) = (Some(bond0), false);
    assert_eq!(
        kind("tag7"),
        LinkKind::Vlan {
            id: 7,
            service_tag,
            lower
        }
    );
    assert_eq!(
        kind("stag9"),
        LinkKind::Vlan {
            id: 9,
            service_tag: true,
            lower
        }
    );
    let lower = Some(index(&picture, "tag7"));
    let bridge = true;
    assert_eq!(kind("mac0"), LinkKind::Macvlan { lower, bridge });
    let vlan_filtering = true;
    assert_eq!(kind("br0"), LinkKind::Bridge { vlan_filtering });
    let ports: Vec<_> = picture
        .ports(bond0)
        .map(|port| (port.name.as_str(), port.active_port))
        .collect();
    assert_eq!(ports, [("a0", true), ("b0", false)]);
    assert_eq!(
        carrier(&picture, "bond0"),
        by(&picture, "bond0", &["a0"], None)
    );
    assert_eq!(
        carrier(&picture, "tag7"),
        by(&picture, "tag7", &["a0"], Some(7))
    );
    assert_eq!(
        carrier(&picture, "mac0"),
        by(&picture, "mac0", &["a0"], Some(7))
    );
}

#[test]
fn a_bond_fails_over_and_then_fails() {
    let mut picture = Picture::default();
    take(&mut picture, "active-backup");
    let bond0 = index(&picture, "bond0");
    let told = take(&mut picture, "failover");
    assert!(told.contains(&Change::LinkChanged(bond0)), "{told:?}");
    assert_eq!(
        carrier(&picture, "tag7"),
        by(&picture, "tag7", &["b0"], Some(7))
    );
    assert!(picture.link_named("b0").unwrap().active_port);
    let told = take(&mut picture, "no port");
    assert!(told.contains(&Change::LinkChanged(bond0)), "{told:?}");
    assert_eq!(carrier(&picture, "tag7"), Err(NoCarrier::NoPort(bond0)));
}

#[test]
fn link_aggregation() {
    let mut picture = Picture::default();
    take(&mut picture, "lacp");
    let kind = &picture.link_named("bond0").unwrap().kind;
    let (mode, active) = (BondMode::Lacp, None);
    assert_eq!(*kind, LinkKind::Bond { mode, active });
    assert_eq!(
        carrier(&picture, "bond0"),
        by(&picture, "bond0", &["c0", "c1"], None)
    );
}
