//! Congestion that routers mark: what IP headers say of it reaches TCP, and the other way round (RFC 3168).

use crate::harness::{Node, PORT, Tap, at_a, at_b, config};
use sidestep_wire::checksum::Check;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};
use sidestep_wire::{EtherType, Mac, Protocol, Seq, ethernet, ip};

/// The peer's end of one connection, in the hands of the test.
struct Peer {
    tap: Tap,
    seq: Seq,
    ack: Seq,
}

impl Peer {
    /// Gives a segment to the stack, with that field of ECN.
    fn send(&mut self, node: &Node, flags: Flags, ecn: u8, text: &[u8]) {
        let syn = flags.contains(Flags::SYN);
        let repr = Repr {
            src_port: 5000,
            dst_port: PORT,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: 60_000,
            urgent: 0,
            options: Options {
                mss: syn.then_some(1000),
                timestamps: Some(Timestamps { value: 1, echo: 0 }),
                ..Options::default()
            },
        };
        self.seq += repr.seq_len(text.len());
        let mut frame = [0; 200];
        let link = ethernet::Repr {
            dst: Mac([2, 0, 0, 0, 0, 1]),
            src: Mac([2, 0, 0, 0, 0, 2]),
            ethertype: EtherType::IPV4,
        };
        let packet = ip::Repr {
            src: at_a(0).addr,
            dst: at_b(0).addr,
            protocol: Protocol::TCP,
            hop_limit: 64,
            tos: ecn,
            ident: 0,
            dont_fragment: true,
            fragment: None,
            payload_len: repr.header_len() + text.len(),
        };
        let mut len = link.emit(&mut frame);
        len += packet.emit(&mut frame[len..]);
        len += repr.emit(&mut frame[len..]);
        frame[len..len + text.len()].copy_from_slice(text);
        self.tap.give(&frame[..len + text.len()]);
        node.poll();
    }

    /// The only frame that the stack has sent: its flags, and its field of ECN.
    fn take(&mut self) -> (Flags, u8) {
        let frames = self.tap.take();
        assert_eq!(frames.len(), 1, "{frames:02x?}");
        let at = ethernet::HEADER_BYTES;
        let frame = &frames[0][at..];
        let (packet, ip_len) = ip::Repr::parse(frame, frame.len(), Check::Vouched).unwrap();
        let (repr, header_len) = Repr::parse(&frame[ip_len..]).unwrap();
        let text_len = packet.payload_len - header_len;
        self.ack = repr.seq + repr.seq_len(text_len);
        (repr.flags, packet.tos & 3)
    }
}

const ACK: Flags = Flags::ACK;
const MARKED: u8 = 3;
const MARKABLE: u8 = 2;

#[test]
fn marks_are_echoed_and_text_can_be_marked() {
    let node = Node::new(&config());
    let (tap, _) = Tap::new(&node, 1);
    let mut peer = Peer {
        tap,
        seq: Seq(100),
        ack: Seq(0),
    };
    let listener = node.listener(at_b(PORT), 8);
    peer.send(&node, Flags::SYN | Flags::ECE | Flags::CWR, 0, &[]);
    assert_eq!(peer.take(), (Flags::SYN | ACK | Flags::ECE, 0), "agreed");
    peer.send(&node, ACK, 0, &[]);
    let r = node.accept(listener).unwrap().socket;

    peer.send(&node, ACK, MARKED, b"marked");
    assert_eq!(
        peer.take(),
        (ACK | Flags::ECE, 0),
        "no mark for what is no text"
    );
    peer.send(&node, ACK, MARKABLE, b"still");
    assert_eq!(peer.take(), (ACK | Flags::ECE, 0));
    peer.send(&node, ACK | Flags::CWR, MARKABLE, b"known");
    assert_eq!(peer.take(), (ACK, 0));

    node.send(r, b"text").unwrap();
    assert_eq!(peer.take(), (ACK | Flags::PSH, MARKABLE));
    peer.send(&node, ACK | Flags::ECE, 0, &[]);
    node.send(r, b"more").unwrap();
    assert_eq!(peer.take(), (ACK | Flags::PSH | Flags::CWR, MARKABLE));
    assert_eq!(node.recv(r, 100).unwrap(), b"markedstillknown");
}

#[test]
fn a_peer_that_does_not_ask_gets_none() {
    let node = Node::new(&config());
    let (tap, _) = Tap::new(&node, 1);
    let mut peer = Peer {
        tap,
        seq: Seq(100),
        ack: Seq(0),
    };
    let listener = node.listener(at_b(PORT), 8);
    peer.send(&node, Flags::SYN, 0, &[]);
    assert_eq!(peer.take(), (Flags::SYN | ACK, 0));
    peer.send(&node, ACK, 0, &[]);
    let r = node.accept(listener).unwrap().socket;
    peer.send(&node, ACK, MARKED, b"marked");
    assert_eq!(peer.take(), (ACK, 0));
    node.send(r, b"text").unwrap();
    assert_eq!(peer.take(), (ACK | Flags::PSH, 0));
}
