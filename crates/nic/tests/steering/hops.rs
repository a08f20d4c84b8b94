//! Stacks that have no socket on a queue, and get their frames over a veth of their own.

use crate::bench::PORT;
use crate::internet::checksum;
use crate::xdp_ends::{End, one_at_a_time, steer_everything, wait};
use sidestep_nic::Port as _;
use sidestep_nic::xdp::Options;
use sidestep_steering::{Flow, Mode, Protocol, Relay, Steering, Wanted};
use sidestep_tests::netns::Cable;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

const NEAR: [IpAddr; 2] = [crate::bench::V4, crate::bench::V6];
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2)),
];

/// A stack behind a veth: `hopN` with a relay at the near end, `stackN` with the socket at the other.
struct Hop {
    end: End,
    steering: Steering,
    relay: Relay,
    ifindex: u32,
}

impl Hop {
    fn new(cable: &Cable, stack: u32, options: &Options, mode: Mode) -> Self {
        let near = &cable.near;
        let (hop, far_end) = (format!("hop{stack}"), format!("stack{stack}"));
        let mtu = options.frame_bytes_max - 14;
        near.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        near.run(&format!(
            "ip link add {hop} mtu {mtu} numrxqueues 1 numtxqueues 1 type veth \
             peer name {far_end} mtu {mtu} numrxqueues 1 numtxqueues 1"
        ));
        for name in [&hop, &far_end] {
            near.run(&format!("ip link set {name} up"));
        }
        let mut steering = steer_everything(near, &far_end, mode);
        let end = End::bound(near, &far_end, 0, options);
        steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
        let (ifindex, to) = (near.ifindex(&hop), near.ifindex("near0"));
        let relay = near.inside(|| Relay::attach(ifindex, to, Wanted::Only(mode)));
        let relay = relay.unwrap();
        assert_eq!(relay.mode(), mode);
        Self {
            end,
            steering,
            relay,
            ifindex,
        }
    }
}

/// Steering on `near0`, whose peer is a kernel with addresses.
fn shared(cable: &Cable, mode: Mode) -> Steering {
    // Without, a veth takes no frames from the driver of its peer.
    cable.far.run("ethtool -K far0 gro on");
    let (ifindex, station) = (cable.near.ifindex("near0"), cable.near.station("near0"));
    let near = &cable.near;
    let steering = near.inside(|| Steering::attach(ifindex, station, Wanted::Only(mode)));
    steering.unwrap()
}

/// The table, whose namespace is that of the calling thread.
fn set_hop(cable: &Cable, steering: &mut Steering, stack: u32, hop: &Hop) {
    let done = cable
        .near
        .inside(|| steering.set_hop_device(stack, hop.ifindex));
    done.unwrap();
}

/// A socket of the kernel at the other end.
fn client(cable: &Cable, family: usize) -> UdpSocket {
    let socket = cable.far.inside(|| {
        let socket = UdpSocket::bind((FAR[family], 0)).unwrap();
        socket.connect((NEAR[family], PORT)).unwrap();
        socket
    });
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn options(mtu: u32) -> Options {
    Options {
        frame_bytes_max: mtu as usize + 14,
        ..Options::default()
    }
}

/// The same datagram from the other end: what changes places changes no checksum.
fn answer(frame: &[u8]) -> Vec<u8> {
    let mut back = frame.to_vec();
    let (from, to, bytes, ports) = if frame[12..14] == [0x08, 0] {
        (26, 30, 4, 34)
    } else {
        (22, 38, 16, 54)
    };
    for (a, b, bytes) in [(0, 6, 6), (from, to, bytes), (ports, ports + 2, 2)] {
        back[a..a + bytes].copy_from_slice(&frame[b..b + bytes]);
        back[b..b + bytes].copy_from_slice(&frame[a..a + bytes]);
    }
    back
}

/// Sends datagrams of many lengths to the stack's socket and back.
fn there_and_back(end: &mut End, client: &UdpSocket, mtu: usize, headers: usize) {
    let most = mtu - headers;
    let lengths = [18, 19, 64, 500, 1000, most - 1, most];
    let jumbo = [2000, 3700, 4000, 5000, 8192].into_iter();
    for payload in lengths.into_iter().chain(jumbo.filter(|&some| some < most)) {
        let sent: Vec<u8> = (0..payload)
            .map(|i| (i * 7 + payload).to_le_bytes()[0])
            .collect();
        client.send(&sent).unwrap();
        let frame = end.receive();
        assert_eq!(frame[14 + headers..], sent, "{payload} bytes came");
        assert_eq!(checksum(&frame), 0xffff, "{payload} bytes");
        end.send(&answer(&frame));
        let mut got = vec![0; mtu];
        let bytes = client.recv(&mut got).unwrap();
        assert_eq!(got[..bytes], sent, "{payload} bytes went back");
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_stack_behind_a_hop_talks_to_a_kernel() {
    let _one = one_at_a_time();
    for mode in [Mode::Native, Mode::Generic] {
        for (queues, mtu) in [(1, 1500), (2, 1500), (1, 9000), (2, 9000)] {
            let cable = Cable::new(queues, mtu);
            let mut steering = shared(&cable, mode);
            let mut hop = Hop::new(&cable, 7, &options(mtu), mode);
            set_hop(&cable, &mut steering, 7, &hop);
            for (family, address) in NEAR.into_iter().enumerate() {
                let flow = Flow::new(Protocol::Udp, Some(address), PORT);
                steering.add(&flow, 7).unwrap();
                let headers = [28, 48][family];
                // Each has a port of its own, so that they come by both queues where there are two.
                for _ in 0..8 {
                    let client = client(&cable, family);
                    there_and_back(&mut hop.end, &client, mtu as usize, headers);
                }
                steering.remove(&flow, 7).unwrap();
            }
            assert_eq!(hop.end.port().stats().rx_malformed, 0);
        }
    }
}

/// An interface that would lose what native programs redirect to it: a veth whose other end has no program and does not
/// collect frames (GRO). The way back is by the generic mode then, and the way there is refused.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn where_native_frames_would_be_lost_others_are_sent() {
    let _one = one_at_a_time();
    for (gro, mode) in [("on", Mode::Native), ("off", Mode::Generic)] {
        let cable = Cable::new(1, 1500);
        let mut steering = shared(&cable, Mode::Native);
        let mut hop = Hop::new(&cable, 1, &options(1500), Mode::Native);
        set_hop(&cable, &mut steering, 1, &hop);
        cable.far.run(&format!("ethtool -K far0 gro {gro}"));
        drop(hop.relay);
        let to = cable.near.ifindex("near0");
        let attach = || Relay::attach(hop.ifindex, to, Wanted::Auto);
        hop.relay = wait("relay, once the old one is gone", || {
            cable.near.inside(attach).ok()
        });
        assert_eq!(hop.relay.mode(), mode, "gro {gro}");
        let flow = Flow::new(Protocol::Udp, Some(NEAR[0]), PORT);
        steering.add(&flow, 1).unwrap();
        let client = client(&cable, 0);
        there_and_back(&mut hop.end, &client, 1500, 28);
        drop(hop.steering);
        let said = wait("bare end", || {
            let near = &cable.near;
            near.inside(|| steering.set_hop_device(2, hop.ifindex).err())
        });
        let said = said.to_string();
        assert!(said.contains("does not send"), "{said}");
    }
}

/// The kernel at the other end takes nothing whose checksum is wrong, so that the test above says something.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_a_hop_breaks_would_be_seen() {
    let _one = one_at_a_time();
    let cable = Cable::new(1, 1500);
    let mut steering = shared(&cable, Mode::Native);
    let mut hop = Hop::new(&cable, 1, &options(1500), Mode::Native);
    set_hop(&cable, &mut steering, 1, &hop);
    let flow = Flow::new(Protocol::Udp, Some(NEAR[0]), PORT);
    steering.add(&flow, 1).unwrap();
    let client = client(&cable, 0);
    client.send(b"as it was sent").unwrap();
    let mut back = answer(&hop.end.receive());
    let last = back.len() - 1;
    back[last] ^= 1;
    assert_ne!(checksum(&back), 0xffff);
    hop.end.send(&back);
    let limit = Some(Duration::from_millis(200));
    client.set_read_timeout(limit).unwrap();
    let error = client.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    back[last] ^= 1;
    hop.end.send(&back);
    assert_eq!(client.recv(&mut [0; 64]).unwrap(), 14);
}

/// The socket at (stack, queue) first, then the hop, then the kernel.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_socket_comes_before_a_hop_and_a_hop_before_the_kernel() {
    let _one = one_at_a_time();
    let cable = Cable::new(2, 1500);
    let mut steering = shared(&cable, Mode::Native);
    let mut hop = Hop::new(&cable, 0, &options(1500), Mode::Native);
    let mut direct = End::bound(&cable.near, "near0", 0, &options(1500));
    let flow = Flow::new(Protocol::Udp, Some(NEAR[0]), PORT);
    let kernel = cable
        .near
        .inside(|| UdpSocket::bind((NEAR[0], PORT)).unwrap());
    kernel.set_nonblocking(true).unwrap();
    let clients: Vec<_> = (0..32).map(|_| client(&cable, 0)).collect();
    // How many of the clients' datagrams came to the socket, over the hop, and to the kernel.
    let shares = |direct: &mut End, hop: &mut Hop| {
        for client in &clients {
            client.send(b"to whom?").unwrap();
        }
        let mut shares = [0; 3];
        wait("end of the datagrams", || {
            shares[0] += direct.receive_all().len();
            shares[1] += hop.end.receive_all().len();
            while kernel.recv(&mut [0; 64]).is_ok() {
                shares[2] += 1;
            }
            (shares.iter().sum::<usize>() == clients.len()).then_some(())
        });
        shares
    };
    assert_eq!(shares(&mut direct, &mut hop), [0, 0, 32]);
    steering.add(&flow, 5).unwrap();
    assert_eq!(shares(&mut direct, &mut hop), [0, 0, 32], "neither");
    let socket = direct.at.socket_fd().try_clone_to_owned().unwrap();
    steering.set_socket(5, 0, &socket).unwrap();
    let [by_socket, 0, by_kernel] = shares(&mut direct, &mut hop) else {
        panic!("over a hop that nobody named");
    };
    assert!(by_socket > 0 && by_kernel > 0, "{by_socket}, {by_kernel}");
    set_hop(&cable, &mut steering, 5, &hop);
    assert_eq!(shares(&mut direct, &mut hop), [by_socket, by_kernel, 0]);
    steering.clear_socket(5, 0).unwrap();
    assert_eq!(shares(&mut direct, &mut hop), [0, 32, 0]);
    steering.clear_hop_device(5).unwrap();
    steering.clear_hop_device(5).unwrap();
    assert_eq!(shares(&mut direct, &mut hop), [0, 0, 32], "cleared");
    // A veth that is removed is out of the table: the kernel has its frames, not nobody.
    set_hop(&cable, &mut steering, 5, &hop);
    assert_eq!(shares(&mut direct, &mut hop), [0, 32, 0]);
    cable.near.run("ip link del hop0");
    assert_eq!(shares(&mut direct, &mut hop), [0, 0, 32], "removed");
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_is_wrong_with_a_hop_is_named() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let mut steering = shared(&cable, Mode::Native);
    let hop = Hop::new(&cable, 0, &options(1500), Mode::Native);
    let near = &cable.near;
    let complaint = |said: Result<(), sidestep_steering::SteeringError>| {
        said.expect_err("nothing was wrong with it").to_string()
    };
    let to = near.ifindex("near0");
    let said = complaint(near.inside(|| steering.set_hop_device(64, hop.ifindex)));
    assert!(said.contains("beyond"), "{said}");
    let said = complaint(near.inside(|| steering.set_hop_device(1, 9999)));
    assert!(said.contains("no interface 9999"), "{said}");
    let attach = |from, to| near.inside(|| Relay::attach(from, to, Wanted::Auto).map(|_| ()));
    let said = complaint(attach(hop.ifindex, 9999));
    assert!(said.contains("no interface 9999"), "{said}");
    let said = complaint(attach(9999, to));
    assert!(said.contains("no interface 9999"), "{said}");
    let said = complaint(attach(hop.ifindex, to));
    assert!(said.contains("another XDP program"), "{said}");
    // Gone with its value.
    drop(hop.relay);
    wait("a bare interface", || {
        let said = near.run("ip -details link show dev hop0");
        (!said.contains("prog/xdp")).then_some(())
    });
    attach(hop.ifindex, to).unwrap();
    drop(hop.steering);
}
