//! ICMP errors about packets of accelerated sockets.

use crate::bench::{Bench, PORT, V4, V6};
use crate::groups::server;
use crate::internet::{self, checksum};
use crate::xdp_ends::{End, one_at_a_time};
use sidestep_nic::Port as _;
use sidestep_nic::xdp::Options;
use sidestep_steering::{Connection, Flow, Protocol, Station, Steering, Wanted};
use sidestep_tests::netns::Cable;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// An error in the making: what a router says to `V4` or `V6` of a packet that came from there.
#[derive(Clone)]
struct Error {
    kind: u8,
    /// Whom it is sent to; as a rule whom `quoted` is from.
    to: IpAddr,
    /// Words of options of its own IPv4 header.
    option_words: u8,
    quoted: Quoted,
}

/// The packet that it is about, to port 443 of 10.8.0.`host`, or fd08::`host`.
#[derive(Clone)]
struct Quoted {
    from: IpAddr,
    protocol: u8,
    port: u16,
    host: u8,
    option_words: u8,
    fragment: u16,
    /// Bytes of it after its IP header.
    bytes: usize,
}

impl Quoted {
    fn remote(&self) -> IpAddr {
        match self.from {
            IpAddr::V4(_) => [10, 8, 0, self.host].into(),
            IpAddr::V6(_) => [0xfd08, 0, 0, 0, 0, 0, 0, self.host.into()].into(),
        }
    }

    fn packet(&self) -> Vec<u8> {
        let mut payload = self.port.to_be_bytes().to_vec();
        payload.extend(443u16.to_be_bytes());
        payload.resize(self.bytes.max(4), 0x11);
        payload.truncate(self.bytes);
        packet(
            (self.from, self.remote()),
            self.protocol,
            (self.option_words, self.fragment),
            &payload,
        )
    }
}

impl Error {
    fn frame(&self, station: [u8; 6], tags: &[u8]) -> Vec<u8> {
        let (protocol, router, kind): (_, IpAddr, [u8; 2]) = match self.to {
            IpAddr::V4(_) => (1, [10, 9, 0, 9].into(), [0x08, 0]),
            IpAddr::V6(_) => (58, [0xfd09, 0, 0, 0, 0, 0, 0, 9].into(), [0x86, 0xdd]),
        };
        let mut icmp = vec![self.kind, 0, 0, 0, 0, 0, 0x05, 0];
        icmp.extend(self.quoted.packet());
        let mut frame = station.to_vec();
        frame.extend([2, 0, 0, 0, 0, 9]);
        frame.extend(tags);
        frame.extend(kind);
        let options = (self.option_words, 0);
        frame.extend(packet((router, self.to), protocol, options, &icmp));
        frame
    }
}

/// An IP packet, with options and a fragment's place where it is IPv4.
fn packet(
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    (option_words, fragment): (u8, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = 20 + 4 * u16::from(option_words);
            packet.extend([0x45 + option_words, 0]);
            packet.extend((header + length).to_be_bytes());
            packet.extend([0, 1]);
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            packet.extend(vec![1; 4 * usize::from(option_words)]);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => panic!("of two families"),
    }
    packet.extend(payload);
    packet
}

/// Each kind of error that a socket is told of.
const fn kinds(address: IpAddr) -> &'static [u8] {
    match address {
        IpAddr::V4(_) => &[3, 11, 12],
        IpAddr::V6(_) => &[1, 2, 3, 4],
    }
}

/// The first of them, about a packet from our flow.
fn ours(address: IpAddr, protocol: Protocol) -> Error {
    Error {
        kind: kinds(address)[0],
        to: address,
        option_words: 0,
        quoted: Quoted {
            from: address,
            protocol: protocol as u8,
            port: PORT,
            host: 1,
            option_words: 0,
            fragment: 0,
            bytes: 8,
        },
    }
}

const CASES: [(IpAddr, Protocol); 4] = [
    (V4, Protocol::Tcp),
    (V4, Protocol::Udp),
    (V6, Protocol::Tcp),
    (V6, Protocol::Udp),
];

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn errors_about_a_flow_come_and_all_others_pass() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let station = bench.ours.station;
    for (address, protocol) in CASES {
        let error = ours(address, protocol);
        let flow = Flow::new(protocol, Some(address), PORT);
        assert!(
            !bench.comes(&error.frame(station, &[])),
            "nothing asked for"
        );
        bench.steering.add(&flow, 0).unwrap();
        // Echoes, redirects, timestamps, router and neighbour discovery among them.
        for kind in 0..=255 {
            let of_kind = Error {
                kind,
                ..error.clone()
            };
            let comes = bench.comes(&of_kind.frame(station, &[]));
            assert_eq!(comes, kinds(address).contains(&kind), "{flow:?}, {kind}");
        }
        let quoting = |quoted| Error {
            quoted,
            ..error.clone()
        };
        let quoted = error.quoted.clone();
        let elsewhere = match address {
            IpAddr::V4(_) => IpAddr::from([10, 9, 0, 3]),
            IpAddr::V6(_) => IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 1, 1]),
        };
        let others = [
            quoting(Quoted {
                port: PORT + 1,
                ..quoted.clone()
            }),
            quoting(Quoted {
                from: elsewhere,
                ..quoted.clone()
            }),
            quoting(Quoted {
                protocol: 23 - quoted.protocol,
                ..quoted.clone()
            }),
            quoting(Quoted {
                protocol: 44,
                ..quoted.clone()
            }),
            // To another host than who sent it.
            Error {
                to: elsewhere,
                ..error.clone()
            },
        ];
        for other in others {
            assert!(!bench.comes(&other.frame(station, &[])));
        }
        assert!(!bench.comes(&error.frame([2, 0, 0, 0, 0, 7], &[])));
        assert!(!bench.comes(&error.frame(station, &[0x81, 0, 0, 5])));
        let address = station;
        let tagged = Station { address, vlan: 5 };
        bench.steering.set_stations(&[tagged].into()).unwrap();
        let in_vlan = Flow {
            vlan: Some(5),
            ..flow
        };
        bench.steering.add(&in_vlan, 0).unwrap();
        assert!(bench.comes(&error.frame(station, &[0x81, 0, 0, 5])));
        assert!(!bench.comes(&error.frame(station, &[0x88, 0xa8, 0, 5])));
        bench.steering.set_stations(&BTreeSet::new()).unwrap();
        assert!(bench.steering.remove(&flow, 0).unwrap());
        assert!(!bench.comes(&error.frame(station, &[])));
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn errors_that_quote_too_little_pass() {
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let station = bench.ours.station;
    for (address, protocol) in CASES {
        let flow = Flow::new(protocol, Some(address), PORT);
        bench.steering.add(&flow, 0).unwrap();
        let mut error = ours(address, protocol);
        error.quoted.bytes = 4;
        let whole = error.frame(station, &[]);
        assert!(bench.comes(&whole));
        for bytes in 14..whole.len() {
            assert!(!bench.comes(&whole[..bytes]), "cut to {bytes} bytes");
        }
        let quoted_at = whole.len() - error.quoted.packet().len();
        let mut other_version = whole.clone();
        other_version[quoted_at] ^= 0x20;
        assert!(!bench.comes(&other_version));
    }
    let error = ours(V4, Protocol::Udp);
    for (option_words, quoted_options) in [(10, 0), (0, 10), (10, 10), (1, 2)] {
        let mut error = error.clone();
        error.option_words = option_words;
        error.quoted.option_words = quoted_options;
        assert!(bench.comes(&error.frame(station, &[])));
    }
    // The first fragment of several has the ports, others do not.
    for (fragment, comes) in [(0x4000, true), (0x2000, true), (0x2001, false), (1, false)] {
        let mut error = error.clone();
        error.quoted.fragment = fragment;
        assert_eq!(bench.comes(&error.frame(station, &[])), comes);
    }
}

/// An error goes to whoever has the packets of that remote end.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn errors_follow_groups_and_connections() {
    const STACKS: [u32; 3] = [4, 5, 6];
    let _one = one_at_a_time();
    let mut bench = Bench::new(1500, &Options::default());
    let station = bench.ours.station;
    for (address, protocol) in CASES {
        bench.steering.add_address(address, 0).unwrap();
        let flow = Flow::new(protocol, None, PORT);
        for stack in STACKS {
            bench.steering.add(&flow, stack).unwrap();
        }
        let mut seen = Vec::new();
        for host in 1..30 {
            let mut error = ours(address, protocol);
            error.quoted.host = host;
            let remote = error.quoted.remote();
            let mut frame = station.to_vec();
            frame.extend([2, 0, 0, 0, 0, 9]);
            frame.extend(if remote.is_ipv4() {
                [0x08, 0]
            } else {
                [0x86, 0xdd]
            });
            let mut payload = 443u16.to_be_bytes().to_vec();
            payload.extend(PORT.to_be_bytes());
            payload.extend([0; 16]);
            frame.extend(packet((remote, address), protocol as u8, (0, 0), &payload));
            let of_packets = server(&mut bench, &STACKS, &frame).unwrap();
            let error = error.frame(station, &[]);
            assert_eq!(server(&mut bench, &STACKS, &error), Some(of_packets));
            seen.push(of_packets);
            let local = SocketAddr::new(address, PORT);
            let connection = Connection::new(protocol, local, SocketAddr::new(remote, 443));
            let other = if of_packets == 4 { 5 } else { 4 };
            bench.steering.add_connection(&connection, other).unwrap();
            assert_eq!(server(&mut bench, &STACKS, &error), Some(other));
            assert!(bench.steering.remove_connection(&connection).unwrap());
        }
        assert!(STACKS.iter().all(|stack| seen.contains(stack)), "{seen:?}");
        for stack in STACKS {
            bench.steering.remove(&flow, stack).unwrap();
        }
    }
}

/// What Linux says of a port where nobody listens comes to the socket that sent there; ping goes on.
#[test]
#[ignore = "needs root, clang, ip, ethtool, sysctl and ping"]
fn a_kernel_tells_of_a_closed_port() {
    let _one = one_at_a_time();
    let cable = Cable::new(1, 1500);
    let (ifindex, station) = (cable.near.ifindex("near0"), cable.near.station("near0"));
    let near = &cable.near;
    let steering = near.inside(|| Steering::attach(ifindex, station, Wanted::Auto));
    let mut steering = steering.unwrap();
    let mut end = End::bound(near, "near0", 0, &Options::default());
    steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
    for (address, far, ping) in [
        (V4, IpAddr::from([10, 9, 0, 2]), "10.9.0.1"),
        (V6, [0xfd09, 0, 0, 0, 0, 0, 0, 2].into(), "fd09::1"),
    ] {
        cable.far.run(&format!("ping -q -c 1 -W 5 {ping}"));
        let flow = Flow::new(Protocol::Udp, Some(address), PORT);
        steering.add(&flow, 0).unwrap();
        let mut frame = cable.far.station("far0").to_vec();
        frame.extend(station);
        frame.extend(if far.is_ipv4() {
            [0x08, 0]
        } else {
            [0x86, 0xdd]
        });
        let mut datagram = PORT.to_be_bytes().to_vec();
        datagram.extend([0, 9, 0, 12, 0, 0]);
        datagram.extend(b"here");
        frame.extend(packet((address, far), 17, (0, 0), &datagram));
        internet::finish(&mut frame);
        assert_eq!(checksum(&frame), 0xffff);
        end.send(&frame);
        let error = end.receive();
        let (kind, at) = if far.is_ipv4() {
            ([3, 3], 34)
        } else {
            ([1, 4], 54)
        };
        assert_eq!(error[at..at + 2], kind, "port unreachable");
        assert_eq!(error[at + 8..], frame[14..], "which it quotes");
        cable.far.run(&format!("ping -q -c 3 -i 0.01 -W 5 {ping}"));
        assert!(!end.port().rx_pending());
    }
}
