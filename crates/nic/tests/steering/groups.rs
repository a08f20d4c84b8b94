//! Flows that several stacks share, and connections that are exempt.

use crate::bench::{Bench, Build, PORT, V4, V6};
use crate::xdp_ends::one_at_a_time;
use sidestep_nic::xdp::Options;
use sidestep_steering::{Connection, Flow, Protocol, Station};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Which of the stacks has a frame: the one whose socket, where no other has one, it comes to.
pub(crate) fn server(bench: &mut Bench, stacks: &[u32], frame: &[u8]) -> Option<u32> {
    bench.steering.clear_socket(0, 0).unwrap();
    let serving: Vec<_> = stacks
        .iter()
        .copied()
        .filter(|&stack| {
            let socket = bench.end.at.socket_fd();
            bench.steering.set_socket(stack, 0, socket).unwrap();
            let comes = bench.comes(frame);
            bench.steering.clear_socket(stack, 0).unwrap();
            comes
        })
        .collect();
    assert!(serving.len() <= 1, "{serving:?} all have it");
    serving.first().copied()
}

/// Who serves each of these remote ports.
fn servers(
    bench: &mut Bench,
    stacks: &[u32],
    frame: &Build,
    ports: impl Iterator<Item = u16>,
) -> BTreeMap<u16, Option<u32>> {
    ports
        .map(|port| {
            let frame = Build {
                from: (frame.from.0, port),
                ..frame.clone()
            };
            (port, server(bench, stacks, &frame.bytes()))
        })
        .collect()
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_flow_is_shared_by_remote_end() {
    const STACKS: [u32; 4] = [9, 2, 63, 0];
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    for (address, any) in [(V4, false), (V4, true), (V6, false), (V6, true)] {
        bench.steering.add_address(address, 0).unwrap();
        let flow = Flow::new(Protocol::Udp, (!any).then_some(address), PORT);
        for stack in STACKS {
            bench.steering.add(&flow, stack).unwrap();
            bench.steering.add(&flow, stack).unwrap();
        }
        let ours = Build {
            to: address,
            ..bench.ours.clone()
        };
        let before = servers(&mut bench, &STACKS, &ours, 1000..1100);
        for stack in STACKS {
            let share = before.values().filter(|of| **of == Some(stack)).count();
            assert!(share >= 5, "stack {stack} has {share} of 100 connections");
        }
        assert_eq!(servers(&mut bench, &STACKS, &ours, 1000..1100), before);
        // Another address of the other end counts too.
        let other = Build {
            from: (3, 0),
            ..ours.clone()
        };
        assert_ne!(servers(&mut bench, &STACKS, &other, 1000..1100), before);
        // Whose stack goes is served by one that stays, and the kernel has what no stack serves.
        assert!(bench.steering.remove(&flow, 2).unwrap());
        assert!(!bench.steering.remove(&flow, 2).unwrap());
        let after = servers(&mut bench, &STACKS, &ours, 1000..1030);
        assert!(after.values().all(|of| of.is_some() && *of != Some(2)));
        for stack in [9, 63] {
            assert!(bench.steering.remove(&flow, stack).unwrap());
        }
        let one = servers(&mut bench, &STACKS, &ours, 1000..1005);
        assert!(one.values().all(|of| *of == Some(0)));
        assert!(bench.steering.remove(&flow, 0).unwrap());
        let nobody = servers(&mut bench, &STACKS, &ours, 1000..1005);
        assert!(nobody.values().all(Option::is_none));
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn sixteen_stacks_share_a_flow_and_no_more() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let flow = Flow::new(Protocol::Udp, Some(V4), PORT);
    for stack in 20..36 {
        bench.steering.add(&flow, stack).unwrap();
    }
    let refused = bench.steering.add(&flow, 36).unwrap_err().to_string();
    assert!(refused.contains("16 stacks"), "{refused}");
    let stacks: Vec<_> = (20..36).collect();
    let ours = bench.ours.clone();
    let served = servers(&mut bench, &stacks, &ours, 1..200);
    let mut serving: Vec<_> = served.into_values().flatten().collect();
    assert_eq!(serving.len(), 199);
    serving.sort_unstable();
    serving.dedup();
    assert_eq!(serving, stacks);
}

/// Packets of other connections, each of which differs in one part of its name.
fn others_go_by_their_flow(bench: &mut Bench, stacks: &[u32], ours: &Build) {
    for from in [(2, 5001), (3, 5000)] {
        let other = Build {
            from,
            ..ours.clone()
        };
        let of = server(bench, stacks, &other.bytes());
        assert!(matches!(of, Some(2 | 3)), "{of:?} has another's packet");
    }
    let others = [
        Build {
            port: PORT + 1,
            ..ours.clone()
        },
        Build {
            tags: vec![(0x8100, 5)],
            ..ours.clone()
        },
        Build {
            protocol: 23 - ours.protocol,
            ..ours.clone()
        },
    ];
    for other in &others {
        assert_eq!(server(bench, stacks, &other.bytes()), None);
    }
}

/// A connection keeps its stack while those that share its flow come and go; without its entry it would not.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn connections_come_before_flows() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    for address in [V4, V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let flow = Flow::new(protocol, Some(address), PORT);
            let ours = Build {
                to: address,
                protocol: protocol as u8,
                ..bench.ours.clone()
            };
            let frame = ours.bytes();
            let remote: IpAddr = match address {
                IpAddr::V4(_) => [10, 9, 0, 2].into(),
                IpAddr::V6(_) => "fd09::2".parse().unwrap(),
            };
            let connection = Connection::new(
                protocol,
                SocketAddr::new(address, PORT),
                SocketAddr::new(remote, 5000),
            );
            let stacks = [1, 2, 3];
            bench.steering.add_connection(&connection, 1).unwrap();
            assert_eq!(server(&mut bench, &stacks, &frame), Some(1), "without flow");
            for stack in [2, 3] {
                bench.steering.add(&flow, stack).unwrap();
                assert_eq!(server(&mut bench, &stacks, &frame), Some(1));
            }
            others_go_by_their_flow(&mut bench, &stacks, &ours);
            let tagged = Build {
                tags: vec![(0x8100, 5)],
                ..ours.clone()
            };
            let in_vlan = Connection {
                vlan: 5,
                ..connection
            };
            bench.steering.add_connection(&in_vlan, 2).unwrap();
            let station = Station {
                address: ours.station,
                vlan: 5,
            };
            bench.steering.set_stations(&[station].into()).unwrap();
            assert_eq!(server(&mut bench, &stacks, &tagged.bytes()), Some(2));
            assert!(bench.steering.remove_connection(&in_vlan).unwrap());
            bench.steering.set_stations(&BTreeSet::new()).unwrap();
            // It may change hands, and is the flow's when it is gone.
            bench.steering.add_connection(&connection, 3).unwrap();
            assert_eq!(server(&mut bench, &stacks, &frame), Some(3));
            assert!(bench.steering.remove(&flow, 3).unwrap());
            assert_eq!(server(&mut bench, &stacks, &frame), Some(3));
            assert!(bench.steering.remove_connection(&connection).unwrap());
            assert!(!bench.steering.remove_connection(&connection).unwrap());
            assert_eq!(server(&mut bench, &stacks, &frame), Some(2));
            assert!(bench.steering.remove(&flow, 2).unwrap());
            let wrong = bench.steering.add_connection(&connection, 64);
            assert!(wrong.unwrap_err().to_string().contains("beyond"));
        }
    }
}
