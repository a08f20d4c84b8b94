//! What the tests of steering share: a cable with steering and an AF_XDP socket at one end, and the frames sent to it.

use crate::xdp_ends::{End, Packet, wait};
use sidestep_nic::xdp::Options;
use sidestep_steering::{Mode, Steering, Wanted};
use sidestep_tests::netns::Cable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1));
pub(crate) const PORT: u16 = 4433;

/// A frame in the making, from 10.9.0.2 or fd09::2.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) station: [u8; 6],
    /// EtherType and control of each tag, outermost first.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// Where it comes from: the last byte of the address, and the port.
    pub(crate) from: (u8, u16),
    /// Words of IPv4 options.
    pub(crate) option_words: u8,
    /// Flags and offset of an IPv4 packet.
    pub(crate) fragment: u16,
    pub(crate) payload: usize,
}

impl Build {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = self.station.to_vec();
        frame.extend([2, 0, 0, 0, 0, 9]);
        for (kind, control) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        let rest = u16::try_from(8 + self.payload).unwrap();
        match self.to {
            IpAddr::V4(to) => {
                frame.extend([0x08, 0x00, 0x45 + self.option_words, 0]);
                let header = 20 + 4 * u16::from(self.option_words);
                frame.extend((header + rest).to_be_bytes());
                frame.extend([0, 1]);
                frame.extend(self.fragment.to_be_bytes());
                frame.extend([64, self.protocol, 0, 0, 10, 9, 0, self.from.0]);
                frame.extend(to.octets());
                frame.extend(vec![1; 4 * usize::from(self.option_words)]);
            }
            IpAddr::V6(to) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(rest.to_be_bytes());
                frame.extend([self.protocol, 64]);
                frame.extend(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, self.from.0.into()).octets());
                frame.extend(to.octets());
            }
        }
        frame.extend(self.from.1.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(rest.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend((0..self.payload).map(|i| i.to_le_bytes()[0]));
        frame
    }
}

/// Steering and a socket at one end, a packet socket at the other.
pub(crate) struct Bench {
    pub(crate) steering: Steering,
    pub(crate) end: End,
    pub(crate) far: Packet,
    pub(crate) ours: Build,
    _cable: Cable,
}

impl Bench {
    pub(crate) fn new(mtu: u32, options: &Options) -> Self {
        let cable = Cable::silent(1, mtu);
        let (ifindex, station) = (cable.near.ifindex("near0"), cable.near.station("near0"));
        let steering = cable
            .near
            .inside(|| Steering::attach(ifindex, station, Wanted::Auto));
        let mut steering = steering.unwrap();
        assert_eq!(steering.mode(), Mode::Native);
        let end = End::bound(&cable.near, "near0", 0, options);
        steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
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
            end,
            far: Packet::new(&cable.far, "far0"),
            ours,
            _cable: cable,
        }
    }

    /// Sends a frame from the other end. Whether it came to our socket, as it was sent, or went to the kernel.
    pub(crate) fn comes(&mut self, frame: &[u8]) -> bool {
        let before = self.steering.counters().unwrap();
        self.far.send(frame);
        let after = wait("counted frame", || {
            let now = self.steering.counters().unwrap();
            (now.redirected + now.passed == before.redirected + before.passed + 1).then_some(now)
        });
        let got = self.end.receive_all();
        if after.redirected > before.redirected {
            assert_eq!(got, [frame]);
            true
        } else {
            assert!(got.is_empty(), "a frame that was passed came to us");
            false
        }
    }
}
