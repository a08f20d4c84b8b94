//! Steering without XDP: in traffic control, to a packet socket at the far end of a veth in another namespace.

use crate::bench::{Build, PORT, V4, V6};
use crate::xdp_ends::{Packet as Kernel, copy, one_at_a_time, wait};
use sidestep_nic::Port as _;
use sidestep_nic::packet::{Attachment, Options, Packet, State, open};
use sidestep_steering::{
    Flow, Mode, Protocol, Relay, Station, Steering, SteeringError, Swallow, Wanted,
};
use sidestep_tests::netns::{Cable, Netns};

const BEHIND: Wanted = Wanted::Only(Mode::TrafficControl);

/// Steering on `near0`, and a stack behind `hop0`, with its packet socket on `stack0` in a namespace of its own.
struct Bench {
    steering: Steering,
    state: State,
    at: Attachment,
    far: Kernel,
    ours: Build,
    _attached: (Relay, Swallow),
    _hidden: Netns,
    cable: Cable,
}

impl Bench {
    fn new() -> Self {
        let (cable, hidden) = (Cable::silent(1, 1500), Netns::new());
        for netns in [&cable.near, &hidden] {
            netns.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        }
        let (near, station) = (&cable.near, cable.near.station("near0"));
        near.run(&format!(
            "ip link add hop0 type veth peer name stack0 netns {}",
            hidden.path()
        ));
        near.run("ip link set hop0 up");
        hidden.run("ip link set stack0 up");
        let (shared, hop) = (near.ifindex("near0"), near.ifindex("hop0"));
        let far_end = hidden.ifindex("stack0");
        let (steering, relay) = near.inside(|| {
            let mut steering = Steering::attach(shared, station, BEHIND).unwrap();
            steering.set_hop_device(0, hop).unwrap();
            (steering, Relay::attach(hop, shared, BEHIND).unwrap())
        });
        assert_eq!(steering.mode(), Mode::TrafficControl);
        let swallow = hidden.inside(|| Swallow::attach(far_end).unwrap());
        let (state, at) = hidden.inside(|| open(far_end, &Options::default()).unwrap());
        let ours = Build {
            station,
            tags: Vec::new(),
            to: V4,
            protocol: 17,
            port: PORT,
            from: (2, 5000),
            option_words: 0,
            fragment: 0,
            payload: 30,
        };
        Self {
            steering,
            state,
            at,
            far: Kernel::new(&cable.far, "far0"),
            ours,
            _attached: (relay, swallow),
            _hidden: hidden,
            cable,
        }
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let mut port = Packet::new(&mut self.state, &self.at);
        port.rx_batch(64, |frame| got.push(copy(frame)));
        got
    }

    /// Sends a frame from the other end. Whether it came to our socket, as it was sent, or went to the kernel.
    fn comes(&mut self, frame: &[u8]) -> bool {
        let before = self.steering.counters().unwrap();
        self.far.send(frame);
        let after = wait("counted frame", || {
            let now = self.steering.counters().unwrap();
            (now.redirected + now.passed == before.redirected + before.passed + 1).then_some(now)
        });
        if after.redirected == before.redirected {
            assert!(self.received().is_empty(), "a frame that was passed");
            return false;
        }
        let got = wait("steered frame", || {
            Some(self.received()).filter(|got| !got.is_empty())
        });
        assert_eq!(got, [frame]);
        true
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn flows_come_and_all_else_passes() {
    let _one = one_at_a_time();
    let mut bench = Bench::new();
    let ours = bench.ours.clone();
    assert!(!bench.comes(&ours.bytes()), "nothing was asked for");
    for address in [V4, V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let flow = Flow::new(protocol, Some(address), PORT);
            bench.steering.add(&flow, 0).unwrap();
            let ours = Build {
                to: address,
                protocol: protocol as u8,
                payload: 1000,
                ..ours.clone()
            };
            assert!(bench.comes(&ours.bytes()), "{flow:?}");
            let others = [
                Build {
                    port: PORT + 1,
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
                // A provider's tag, which the kernel takes out as any other.
                Build {
                    tags: vec![(0x88a8, 5)],
                    ..ours.clone()
                },
            ];
            for other in others {
                assert!(!bench.comes(&other.bytes()));
            }
            assert!(bench.steering.remove(&flow, 0).unwrap());
            assert!(!bench.comes(&ours.bytes()), "removed");
        }
    }
}

/// The kernel has taken the tag out by then; it counts all the same, and comes back in.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_flow_is_of_one_vlan() {
    const Q: u16 = 0x8100;
    let _one = one_at_a_time();
    let mut bench = Bench::new();
    let ours = bench.ours.clone();
    let station = Station {
        address: ours.station,
        vlan: 7,
    };
    bench.steering.set_stations(&[station].into()).unwrap();
    for address in [V4, V6] {
        let flow = Flow {
            vlan: Some(7),
            ..Flow::new(Protocol::Udp, Some(address), PORT)
        };
        let with = |tags: &[(u16, u16)]| Build {
            to: address,
            tags: tags.to_vec(),
            ..ours.clone()
        };
        // With a priority.
        let tagged = with(&[(Q, 0x6007)]).bytes();
        assert!(!bench.comes(&tagged));
        bench.steering.add(&flow, 0).unwrap();
        assert!(bench.comes(&tagged));
        let others: [&[(u16, u16)]; 5] = [
            &[],
            &[(Q, 8)],
            &[(0x88a8, 7)],
            &[(0x88a8, 0), (Q, 7)],
            &[(Q, 7), (Q, 7)],
        ];
        for other in others {
            assert!(!bench.comes(&with(other).bytes()), "{other:?}");
        }
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_a_stack_sends_leaves_as_it_is() {
    let _one = one_at_a_time();
    let mut bench = Bench::new();
    let plain = Build {
        station: [2, 0, 0, 0, 0, 9],
        ..bench.ours.clone()
    };
    let long = Build {
        payload: 1472,
        ..plain.clone()
    };
    for frame in [plain.bytes(), long.bytes()] {
        let mut port = Packet::new(&mut bench.state, &bench.at);
        assert!(port.tx(frame.len(), |mut room| {
            room.copy_from(&frame);
        }));
        port.tx_flush();
        assert_eq!(bench.far.receive(), frame);
    }
    assert!(bench.received().is_empty(), "it came back");
}

/// Detached, the interface is the kernel's; and a stack whose veth is gone loses its frames to nobody but the kernel.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn it_ends_with_whoever_attached_it() {
    let _one = one_at_a_time();
    let mut bench = Bench::new();
    let flow = Flow::new(Protocol::Udp, Some(V4), PORT);
    bench.steering.add(&flow, 0).unwrap();
    let ours = bench.ours.bytes();
    assert!(bench.comes(&ours));
    bench.steering.clear_hop_device(0).unwrap();
    assert!(!bench.comes(&ours));
    let (index, station) = (bench.cable.near.ifindex("near0"), bench.ours.station);
    let refused = |index| {
        bench
            .cable
            .near
            .inside(|| Steering::attach(index, station, BEHIND))
    };
    assert!(matches!(
        refused(4711).err(),
        Some(SteeringError::NoInterface(4711))
    ));
    // Two may be on one interface; the first has its choice.
    let mut other = refused(index).unwrap();
    other.steer_everything(Some(0)).unwrap();
    let socket = bench.steering.set_socket(0, 0, bench.at.socket_fd());
    assert!(matches!(socket, Err(SteeringError::NoTable("sockets"))));
}
