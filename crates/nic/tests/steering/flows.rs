//! Flows of one stack.

use crate::bench::{Bench, Build, PORT, V4, V6};
use crate::xdp_ends::{End, one_at_a_time};
use sidestep_nic::Port as _;
use sidestep_nic::xdp::Options;
use sidestep_steering::{Flow, Protocol, Station, Steering, Wanted};
use sidestep_tests::netns::Cable;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn flows_come_and_all_else_passes() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let ours = bench.ours.clone();
    assert!(!bench.comes(&ours.bytes()), "nothing was asked for");
    for address in [V4, V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let flow = Flow::new(protocol, Some(address), PORT);
            bench.steering.add(&flow, 0).unwrap();
            let ours = Build {
                to: address,
                protocol: protocol as u8,
                ..ours.clone()
            };
            assert!(bench.comes(&ours.bytes()), "{flow:?}");
            let other = match address {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, 9, 0, 3)),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, 1)),
            };
            let others = [
                Build {
                    port: PORT + 1,
                    ..ours.clone()
                },
                Build {
                    to: other,
                    ..ours.clone()
                },
                Build {
                    protocol: 23 - ours.protocol,
                    ..ours.clone()
                },
                Build {
                    station: [2, 0, 0, 0, 0, 7],
                    ..ours.clone()
                },
                Build {
                    protocol: 1,
                    ..ours.clone()
                },
                Build {
                    protocol: 44,
                    ..ours.clone()
                },
            ];
            for other in others {
                assert!(!bench.comes(&other.bytes()));
            }
            assert!(bench.steering.remove(&flow, 0).unwrap());
            assert!(!bench.steering.remove(&flow, 0).unwrap(), "removed twice");
            assert!(!bench.comes(&ours.bytes()), "removed");
        }
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn fragments_and_broken_headers_pass() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let ours = bench.ours.clone();
    let flow = Flow::new(Protocol::Udp, Some(V4), PORT);
    bench.steering.add(&flow, 0).unwrap();
    let with_fragment = |fragment| Build {
        fragment,
        ..ours.clone()
    };
    // Do not fragment; the first of several; the last of several.
    assert!(bench.comes(&with_fragment(0x4000).bytes()));
    assert!(!bench.comes(&with_fragment(0x2000).bytes()));
    assert!(!bench.comes(&with_fragment(0x00b9).bytes()));
    let with_options = Build {
        option_words: 10,
        ..ours.clone()
    };
    assert!(bench.comes(&with_options.bytes()));
    let whole = ours.bytes();
    for bytes in 14..14 + 20 + 4 {
        assert!(!bench.comes(&whole[..bytes]), "cut to {bytes} bytes");
    }
    for first in [0x44, 0x40, 0x65, 0x05] {
        let mut broken = whole.clone();
        broken[14] = first;
        assert!(!bench.comes(&broken), "version and length {first:#x}");
    }
    // ARP, and a type of the old kind, a length.
    for kind in [[0x08, 0x06], [0x00, 0x2e]] {
        let mut other = whole.clone();
        other[12..14].copy_from_slice(&kind);
        assert!(!bench.comes(&other));
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_flow_is_of_one_vlan() {
    const Q: u16 = 0x8100;
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let ours = bench.ours.clone();
    let tagged = [7, 8].map(|vlan| in_vlan_of(&bench, vlan));
    bench.steering.set_stations(&tagged.into()).unwrap();
    for address in [V4, V6] {
        let in_vlan = |vlan, tags: &[(u16, u16)]| {
            let flow = Flow {
                vlan: Some(vlan),
                ..Flow::new(Protocol::Udp, Some(address), PORT)
            };
            let frame = Build {
                to: address,
                tags: tags.to_vec(),
                ..ours.clone()
            };
            (flow, frame.bytes())
        };
        let (flow, tagged) = in_vlan(7, &[(Q, 0x6007)]);
        assert!(!bench.comes(&tagged));
        bench.steering.add(&flow, 0).unwrap();
        // With a priority.
        assert!(bench.comes(&tagged));
        // A provider's VLAN of the same number is another one, as it is for the kernel; alone, and with ours inside.
        assert!(!bench.comes(&in_vlan(7, &[(0x88a8, 7)]).1));
        assert!(!bench.comes(&in_vlan(7, &[(0x88a8, 9), (Q, 7)]).1));
        assert!(!bench.comes(&in_vlan(7, &[(0x88a8, 0), (Q, 7)]).1));
        assert!(!bench.comes(&in_vlan(0, &[]).1));
        assert!(!bench.comes(&in_vlan(0, &[(Q, 8)]).1));
        assert!(!bench.comes(&in_vlan(0, &[(Q, 7), (Q, 7)]).1));
        let (untagged, plain) = in_vlan(0, &[]);
        bench.steering.add(&untagged, 0).unwrap();
        assert!(bench.comes(&plain));
        // A tag that names no VLAN, only a priority.
        assert!(bench.comes(&in_vlan(0, &[(Q, 0x6000)]).1));
        assert!(!bench.comes(&in_vlan(0, &[(0x88a8, 0x6000)]).1));
    }
}

/// The interface's own address in a VLAN.
fn in_vlan_of(bench: &Bench, vlan: u16) -> Station {
    let address = bench.ours.station;
    Station { address, vlan }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn stations_are_of_one_vlan_and_so_are_addresses() {
    const MACVLAN: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    for (to, flow_of) in [(V4, Some(V4)), (V4, None), (V6, Some(V6)), (V6, None)] {
        let flow = Flow::new(Protocol::Udp, flow_of, PORT);
        let ours = Build {
            to,
            ..bench.ours.clone()
        };
        let frame = |station, tags: &[u16]| {
            let tags = tags.iter().map(|id| (0x8100, *id)).collect();
            let ours = ours.clone();
            Build {
                station,
                tags,
                ..ours
            }
            .bytes()
        };
        let own = ours.station;
        let group = if to.is_ipv4() { [0xff; 6] } else { [0x33; 6] };
        bench.steering.add(&flow, 0).unwrap();
        bench.steering.add_address(to, 0).unwrap();
        assert!(bench.comes(&frame(own, &[])));
        assert!(bench.comes(&frame(group, &[])));
        assert!(
            !bench.comes(&frame(own, &[5])),
            "of a VLAN that is not here"
        );
        assert!(!bench.comes(&frame(group, &[5])));
        assert!(!bench.comes(&frame(MACVLAN, &[])));
        let beside = Station {
            address: MACVLAN,
            vlan: 0,
        };
        let others = [beside, in_vlan_of(&bench, 5), in_vlan_of(&bench, 6)];
        bench.steering.set_stations(&others.into()).unwrap();
        assert!(bench.comes(&frame(MACVLAN, &[])));
        assert!(!bench.comes(&frame(MACVLAN, &[5])));
        assert!(
            !bench.comes(&frame(own, &[5])),
            "its address is not in the VLAN"
        );
        bench.steering.add_address(to, 5).unwrap();
        assert!(bench.comes(&frame(own, &[5])));
        assert!(bench.comes(&frame(group, &[5])));
        assert!(!bench.comes(&frame(own, &[6])));
        assert!(!bench.comes(&frame(own, &[7])));
        assert!(bench.steering.remove_address(to, 0).unwrap());
        assert!(
            !bench.comes(&frame(own, &[])),
            "its address is only in the VLAN"
        );
        bench.steering.set_station([0xff; 6]).unwrap();
        bench.steering.add_address(to, 0).unwrap();
        assert!(!bench.comes(&frame(own, &[])), "no longer a station");
        assert!(bench.comes(&frame(MACVLAN, &[])));
        bench.steering.set_station(own).unwrap();
        bench.steering.set_stations(&BTreeSet::new()).unwrap();
        assert!(bench.comes(&frame(own, &[])));
        assert!(!bench.comes(&frame(own, &[5])));
        assert!(!bench.comes(&frame(MACVLAN, &[])));
        for vlan in [0, 5] {
            assert!(bench.steering.remove_address(to, vlan).unwrap());
        }
        assert!(bench.steering.remove(&flow, 0).unwrap());
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_flow_of_any_address_takes_those_of_this_host() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let ours = bench.ours.clone();
    let any = Flow::new(Protocol::Udp, None, PORT);
    bench.steering.add(&any, 0).unwrap();
    for address in [V4, V6] {
        let frame = Build {
            to: address,
            ..ours.clone()
        };
        assert!(!bench.comes(&frame.bytes()), "to be forwarded");
        bench.steering.add_address(address, 0).unwrap();
        assert!(bench.comes(&frame.bytes()));
        let other_port = Build {
            port: 53,
            ..frame.clone()
        };
        assert!(!bench.comes(&other_port.bytes()));
        assert!(bench.steering.remove_address(address, 0).unwrap());
        assert!(!bench.steering.remove_address(address, 0).unwrap());
        assert!(!bench.comes(&frame.bytes()));
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_flow_of_any_address_of_one_family_leaves_the_other_alone() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let ours = bench.ours.clone();
    for address in [V4, V6] {
        bench.steering.add_address(address, 0).unwrap();
    }
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for any in any {
        let flow = Flow::new(Protocol::Udp, Some(any), PORT);
        bench.steering.add(&flow, 0).unwrap();
        for to in [V4, V6] {
            let frame = Build { to, ..ours.clone() };
            assert_eq!(bench.comes(&frame.bytes()), to.is_ipv4() == any.is_ipv4());
        }
        assert!(bench.steering.remove(&flow, 0).unwrap());
        assert!(!bench.steering.remove(&flow, 0).unwrap());
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_no_socket_takes_passes() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let frame = bench.ours.bytes();
    let flow = Flow::new(Protocol::Udp, Some(V4), PORT);
    bench.steering.add(&flow, 3).unwrap();
    assert!(!bench.comes(&frame), "stack 3 has no socket");
    bench
        .steering
        .set_socket(3, 0, bench.end.at.socket_fd())
        .unwrap();
    assert!(bench.comes(&frame));
    bench.steering.add(&flow, 0).unwrap();
    assert!(bench.steering.remove(&flow, 3).unwrap());
    assert!(bench.comes(&frame), "handed over to stack 0");
    bench.steering.clear_socket(0, 0).unwrap();
    bench.steering.clear_socket(0, 0).unwrap();
    assert!(!bench.comes(&frame));
    bench.steering.steer_everything(Some(3)).unwrap();
    assert!(bench.comes(&[0xff; 60]), "everything");
    bench.steering.steer_everything(None).unwrap();
    assert!(!bench.comes(&[0xff; 60]));
    for wrong in [
        bench.steering.add(&flow, 64),
        bench.steering.steer_everything(Some(64)),
        bench.steering.set_socket(0, 64, bench.end.at.socket_fd()),
        bench.steering.set_socket(64, 0, bench.end.at.socket_fd()),
    ] {
        assert!(wrong.unwrap_err().to_string().contains("beyond"));
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn jumbo_frames_are_steered_whole() {
    let _one = one_at_a_time();
    let options = Options {
        frame_bytes_max: 9018,
        ..Options::default()
    };
    let mut bench = Bench::new(9000, &options);
    let ours = bench.ours.clone();
    let flow = Flow::new(Protocol::Udp, Some(V4), PORT);
    bench.steering.add(&flow, 0).unwrap();
    for payload in [100, 3800, 4000, 8000, 8972] {
        let long = Build {
            payload,
            ..ours.clone()
        };
        assert!(bench.comes(&long.bytes()), "{payload} bytes");
        let other = Build { port: 1, ..long };
        assert!(!bench.comes(&other.bytes()), "{payload} bytes");
    }
}

/// The kernel's sockets of both protocols and families go on, and so does ICMP, while a flow beside them is steered.
#[test]
#[ignore = "needs root, clang, ip, ethtool, sysctl and ping"]
fn the_kernel_goes_on_beside() {
    let _one = one_at_a_time();
    let cable = Cable::new(1, 1500);
    let (ifindex, station) = (cable.near.ifindex("near0"), cable.near.station("near0"));
    let steering = cable
        .near
        .inside(|| Steering::attach(ifindex, station, Wanted::Auto));
    let mut steering = steering.unwrap();
    let mut end = End::bound(&cable.near, "near0", 0, &Options::default());
    steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
    for address in [V4, V6] {
        let flow = Flow::new(Protocol::Udp, Some(address), PORT);
        steering.add(&flow, 0).unwrap();
        let (udp, tcp) = cable.near.inside(|| {
            let udp = UdpSocket::bind((address, PORT + 1)).unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (udp, TcpListener::bind((address, PORT)).unwrap())
        });
        cable.far.inside(|| {
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let from = UdpSocket::bind((any, 0)).unwrap();
            from.send_to(b"ours", (address, PORT)).unwrap();
            from.send_to(b"the kernel's", (address, PORT + 1)).unwrap();
            TcpStream::connect_timeout(&(address, PORT).into(), Duration::from_secs(5)).unwrap();
        });
        let mut bytes = [0; 64];
        assert_eq!(udp.recv(&mut bytes).unwrap(), b"the kernel's".len());
        tcp.accept().unwrap();
        let frame = end.receive();
        assert_eq!(&frame[frame.len() - 4..], b"ours");
        assert!(!end.port().rx_pending());
    }
    for (netns, address) in [
        (&cable.far, "10.9.0.1"),
        (&cable.far, "fd09::1"),
        (&cable.near, "10.9.0.2"),
        (&cable.near, "fd09::2"),
    ] {
        netns.run(&format!("ping -q -c 5 -i 0.01 -W 5 {address}"));
    }
    assert!(end.receive_all().is_empty());
}
