//! More notifications than the socket holds.

use crate::follow::Follow;
use sidestep_netlink::{Change, Options};
use sidestep_tests::netns::Netns;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

const TINY: Options = Options {
    receive_bytes: 2304,
};

#[test]
#[ignore = "needs root, ip and sysctl"]
fn five_thousand_changes_too_many_end_in_a_right_picture() {
    let netns = Netns::new();
    netns.run("ip link add one type veth peer name two");
    netns.run("ip addr add 10.5.0.1/16 dev one");
    netns.run("ip link set one up");
    let mut follow = Follow::with(&netns, &TINY);
    let one = follow.link("one").index;
    let mut batch = String::new();
    for n in 0..2500 {
        let (a, b) = (n / 250, n % 250);
        writeln!(batch, "address add 10.8.{a}.{b}/32 dev two").unwrap();
    }
    for n in 0..2500 {
        let (a, b) = (n / 250, n % 250);
        if n % 10 != 0 {
            writeln!(batch, "address del 10.8.{a}.{b}/32 dev two").unwrap();
        }
    }
    for _ in 0..250 {
        batch.push_str("link set one mtu 1400\n");
    }
    batch.push_str("address del 10.5.0.1/16 dev one\nlink set two name three\n");
    let file = std::env::temp_dir().join(format!("sidestep-netlink-{}", std::process::id()));
    std::fs::write(&file, batch).unwrap();
    netns.run(&format!("ip -batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();

    let seen = follow.until("the end of it", |picture| {
        picture.link_named("three").is_some()
    });
    assert!(follow.config.overruns() > 0, "nothing was lost");
    assert!(!follow.config.is_stale());
    // The same as one sees who looks for the first time.
    let fresh = Follow::new(&netns);
    let settled = |follow: &Follow| -> (Vec<_>, Vec<_>) {
        let picture = follow.picture();
        (
            picture.links().cloned().collect(),
            picture.addresses().copied().collect(),
        )
    };
    assert_eq!(settled(&follow), settled(&fresh));
    assert_eq!(follow.link("one").mtu, 1400);
    // And what was told leads from the one to the other.
    let gone: IpAddr = [10, 5, 0, 1].into();
    assert!(
        seen.iter()
            .any(|change| matches!(change, Change::AddressRemoved(address) if address.ip == gone))
    );
    assert!(seen.contains(&Change::LinkChanged(one)) && seen.contains(&Change::RoutesChanged));
    let mut told = BTreeSet::new();
    for change in &seen {
        match change {
            Change::AddressAdded(address) => assert!(told.insert(address.ip)),
            Change::AddressRemoved(address) => {
                assert!(told.remove(&address.ip) || address.ip == gone)
            }
            _ => {}
        }
    }
    let ours: BTreeSet<_> = (0..2500u16)
        .filter(|n| n % 10 == 0)
        .map(|n| {
            IpAddr::from([
                10,
                8,
                (n / 250).to_le_bytes()[0],
                (n % 250).to_le_bytes()[0],
            ])
        })
        .collect();
    assert_eq!(told, ours);
}

#[test]
#[ignore = "needs root, ip and sysctl"]
fn a_link_that_went_unseen_is_told_gone() {
    let netns = Netns::new();
    netns.run("ip link add one type veth peer name two");
    netns.run("ip addr add 10.5.0.1/16 dev one");
    let mut follow = Follow::with(&netns, &TINY);
    let index = follow.link("one").index;
    netns.run("ip link del one");
    netns.run("ip link add three type veth peer name four");
    for mtu in 1300..1320 {
        netns.run(&format!("ip link set three mtu {mtu}"));
    }
    let seen = follow.until("the last", |picture| {
        picture
            .link_named("three")
            .is_some_and(|link| link.mtu == 1319)
    });
    assert!(follow.config.overruns() > 0, "nothing was lost");
    let name = "one".to_owned();
    assert!(seen.contains(&Change::LinkGone { index, name }), "{seen:?}");
    assert!(!follow.picture().is_local([10, 5, 0, 1].into()));
}
