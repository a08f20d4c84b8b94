//! Two stacks on one network, with the test as the cable: it sees every frame, and may change, lose or redirect it.

use crate::harness::{Node, PORT, Tap, at_a, at_b, config};
use sidestep_shm::Nanos;
use sidestep_stack::{NextHop, SocketRef, Way};
use sidestep_wire::{Endpoint, Mac, Protocol, Seq, checksum, ethernet, ip, tcp, udp};

pub(crate) const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(crate) const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
/// Rounds after which a cable that is not quiet is stuck.
const ROUNDS_MAX: usize = 10_000;

/// A frame on its way, to the other end than it came from.
pub(crate) struct Passing {
    pub(crate) from_a: bool,
    /// Which queue it arrives at.
    pub(crate) queue: usize,
    pub(crate) frame: Vec<u8>,
}

pub(crate) struct Lan {
    pub(crate) a: Node,
    pub(crate) b: Node,
    /// The cable's ends of the queues of A and of B, and their wires.
    pub(crate) queues_a: Vec<(Tap, u32)>,
    pub(crate) queues_b: Vec<(Tap, u32)>,
}

impl Lan {
    /// With that many queues at each end.
    pub(crate) fn new(queues: u64) -> Self {
        Self::with(|node, mac| (0..queues).map(|q| Tap::queue(node, q, mac)).collect())
    }

    /// With the queues that `plug` makes.
    pub(crate) fn with(plug: impl Fn(&Node, Mac) -> Vec<(Tap, u32)>) -> Self {
        let (a, b) = (Node::new(&config()), Node::new(&config()));
        Self {
            queues_a: plug(&a, MAC_A),
            queues_b: plug(&b, MAC_B),
            a,
            b,
        }
    }

    /// B, as A's neighbour.
    pub(crate) fn to_b(&self) -> NextHop {
        NextHop {
            wire: self.queues_a[0].1,
            station: MAC_A,
            vlan: 0,
            neighbour: at_b(0).addr,
        }
    }

    /// The way to a neighbour of A that is known.
    pub(crate) fn way(&self, to: &NextHop) -> Way {
        self.a.with(|s| {
            let (hop, _) = s.hop(to).unwrap();
            s.set_hop(to, Some(MAC_B));
            Way {
                hop,
                ..Way::from(to.wire)
            }
        })
    }

    /// A connection from port `port` of A to `listener` of B over a cable that does nothing: both ends.
    pub(crate) fn pair(
        &mut self,
        listener: SocketRef,
        port: u16,
        way: Way,
    ) -> (SocketRef, SocketRef) {
        let client = self.a.stream();
        let ends = (at_a(port), at_b(PORT));
        self.a
            .with(|s| s.connect(self.a.now, client, ends, way))
            .unwrap();
        self.carry(Some);
        let server = self.b.accept(listener).unwrap();
        assert_eq!(server.remote, at_a(port));
        (client, server.socket)
    }

    /// Carries frames until nothing moves; `pass` says what becomes of each.
    pub(crate) fn carry(&mut self, mut pass: impl FnMut(Passing) -> Option<Passing>) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.a.poll() + self.b.poll();
            for from_a in [true, false] {
                let from = if from_a {
                    &mut self.queues_a
                } else {
                    &mut self.queues_b
                };
                let mut frames = Vec::new();
                for (queue, (end, _)) in from.iter_mut().enumerate() {
                    frames.extend(end.take().into_iter().map(|frame| (queue, frame)));
                }
                for (queue, frame) in frames {
                    moved += 1;
                    let passing = Passing {
                        from_a,
                        queue,
                        frame,
                    };
                    let Some(passed) = pass(passing) else {
                        continue;
                    };
                    let to = if passed.from_a {
                        &mut self.queues_b
                    } else {
                        &mut self.queues_a
                    };
                    to[passed.queue].0.give(&passed.frame);
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("the cable does not come to rest");
    }

    /// Lets time go on, stopping wherever a stack says that it has something to do.
    pub(crate) fn advance(
        &mut self,
        span: Nanos,
        mut pass: impl FnMut(Passing) -> Option<Passing>,
    ) {
        let until = self.a.now + span;
        while self.a.now < until {
            let due = [&self.a, &self.b].map(|n| n.with(|s| s.next_timer()));
            let next = due[0].min(due[1]).max(self.a.now + Nanos(1)).min(until);
            (self.a.now, self.b.now) = (next, next);
            self.carry(&mut pass);
        }
    }

    /// Sends `bytes` one way and reads them at the other end.
    pub(crate) fn transfer(
        &mut self,
        (a, b): (SocketRef, SocketRef),
        to_b: bool,
        bytes: &[u8],
        mut pass: impl FnMut(Passing) -> Option<Passing>,
    ) {
        let mut got = Vec::new();
        let mut rest = bytes;
        while got.len() < bytes.len() {
            let (from, out, to, into) = if to_b {
                (&self.a, a, &self.b, b)
            } else {
                (&self.b, b, &self.a, a)
            };
            if let Ok(sent) = from.send(out, rest) {
                rest = &rest[sent..];
            }
            let before = got.len();
            if let Ok(more) = to.recv(into, 1 << 20) {
                got.extend(more);
            }
            self.carry(&mut pass);
            if got.len() == before && rest.is_empty() {
                self.advance(Nanos::from_millis(50), &mut pass);
            }
        }
        assert!(got == bytes, "what arrived is what was sent");
    }

    /// Ends both sides and outlives TIME-WAIT; then nothing may be left.
    pub(crate) fn end(mut self, a: &[SocketRef], b: &[SocketRef]) {
        for r in a {
            self.a.close(*r);
        }
        for r in b {
            self.b.close(*r);
        }
        self.advance(Nanos::from_secs(61), Some);
        self.a.assert_as_at_first();
        self.b.assert_as_at_first();
    }
}

/// A frame with an IP packet of that protocol, its transport checksum finished.
pub(crate) fn frame(
    (dst, src): (Mac, Mac),
    (from, to): (Endpoint, Endpoint),
    protocol: Protocol,
    transport: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 40 + transport.len()];
    let ethertype = if from.addr.is_v4() { 0x0800 } else { 0x86dd };
    let link = ethernet::Repr {
        dst,
        src,
        ethertype: sidestep_wire::EtherType(ethertype),
    };
    let at = link.emit(&mut bytes);
    let packet = ip::Repr {
        src: from.addr,
        dst: to.addr,
        protocol,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: transport.len(),
    };
    let at = at + packet.emit(&mut bytes[at..]);
    bytes.truncate(at + transport.len());
    bytes[at..].copy_from_slice(transport);
    finish(&mut bytes);
    bytes
}

/// Where the transport header of an untagged frame of IPv4 or IPv6 begins.
pub(crate) fn transport_at(frame: &[u8]) -> usize {
    let (_, len) = ip::Repr::parse(&frame[14..], frame.len() - 14, checksum::Check::Vouched)
        .expect("an IP packet");
    14 + len
}

/// Computes the transport checksum of an untagged frame anew.
pub(crate) fn finish(frame: &mut [u8]) {
    let at = transport_at(frame);
    let (packet, _) =
        ip::Repr::parse(&frame[14..], frame.len() - 14, checksum::Check::Vouched).unwrap();
    let place = match packet.protocol {
        Protocol::TCP => tcp::CHECKSUM_OFFSET,
        Protocol::UDP => udp::CHECKSUM_OFFSET,
        _ => sidestep_wire::icmp::CHECKSUM_OFFSET,
    };
    let (src, dst) = (packet.src, packet.dst);
    let transport = &mut frame[at..];
    transport[place..place + 2].fill(0);
    let len = u32::try_from(transport.len()).unwrap();
    let pseudo = match packet.protocol {
        Protocol::ICMP => 0,
        protocol => checksum::pseudo_header(src, dst, protocol.0, len),
    };
    let value = checksum::finish(checksum::sum(pseudo, transport));
    transport[place..place + 2].copy_from_slice(&value.to_be_bytes());
}

/// A UDP datagram.
pub(crate) fn datagram(macs: (Mac, Mac), ends: (Endpoint, Endpoint), payload: &[u8]) -> Vec<u8> {
    let mut transport = vec![0; udp::HEADER_BYTES + payload.len()];
    udp::Repr {
        src_port: ends.0.port,
        dst_port: ends.1.port,
        payload_len: payload.len(),
        has_checksum: true,
    }
    .emit(&mut transport);
    transport[udp::HEADER_BYTES..].copy_from_slice(payload);
    frame(macs, ends, Protocol::UDP, &transport)
}

/// A SYN.
pub(crate) fn syn(macs: (Mac, Mac), ends: (Endpoint, Endpoint), seq: u32) -> Vec<u8> {
    let repr = tcp::Repr {
        src_port: ends.0.port,
        dst_port: ends.1.port,
        seq: Seq(seq),
        ack: Seq(0),
        flags: tcp::Flags::SYN,
        window: 1000,
        urgent: 0,
        options: tcp::Options::default(),
    };
    let mut transport = [0; 60];
    let len = repr.emit(&mut transport);
    frame(macs, ends, Protocol::TCP, &transport[..len])
}
