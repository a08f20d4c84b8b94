//! A stack in this process, and the far end of its wire, which speaks frames and knows no protocol.

use crate::model::Problem;
use sidestep_nic::Port as _;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Foreign, Owner};
use sidestep_stack::{Address, Endpoint, NetworkSetup, SharedStack, WireSetup};
use sidestep_wire::checksum::{self, Check};
use sidestep_wire::{EtherType, Mac, Malformed, Protocol, ethernet, ip, tcp};
use std::io;
use std::sync::Arc;

/// Buffers are not touched beyond a short frame.
const BUFFER_BYTES: u32 = 2048;
const LOG2_SLOTS: u8 = 9;
/// Connections that differ in the peer's port before its address changes.
const PORTS: usize = 50_000;
/// Where the stack is, and where its peers are.
const STATIONS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
const IP_BYTES: usize = 20;
/// Frames looked at in one go.
const FRAMES_MAX: usize = 256;

/// The far end of a wire.
pub(crate) struct Far {
    state: State,
    attachment: Attachment,
}

impl Far {
    /// Gives a stack a wire; returns its far end and its index. Over a `network` peers have hardware addresses.
    pub(crate) fn join(
        stack: &SharedStack,
        owner: Owner,
        id: u64,
        network: bool,
    ) -> Result<(Self, u32), Problem> {
        let geometry = geometry()?;
        let region = Arc::new(wire::create(&geometry)?);
        let attach =
            |role| Attachment::for_wire(Arc::clone(&region), &geometry, role, EventFd::new()?);
        let far = Self {
            state: State::new(Role::Slave, &geometry),
            attachment: attach(Role::Slave)?,
        };
        let own: io::Result<_> = attach(Role::Master);
        let mut guard = stack.lock(owner).map_err(|e| failed(&e))?;
        let index = if network {
            guard.add_network(NetworkSetup {
                id,
                network: id,
                device: 1,
                station: STATIONS[0],
                mtu: 1500,
                unfinished_checksums: false,
                port: State::new(Role::Master, &geometry).into(),
            })
        } else {
            guard.add_wire(&WireSetup {
                id,
                peer_stack: id,
                geometry,
                role: Role::Master,
            })
        };
        let index = index.map_err(|e| failed(&e))?;
        let missing = guard
            .unattached_wire()
            .ok_or_else(|| Problem::Failed("the wire is not open".into()))?;
        guard.attach_wire(index, missing.generation, own?);
        Ok((far, index))
    }

    fn port(&mut self) -> Memif<'_> {
        Memif::new(&mut self.state, &self.attachment)
    }

    /// Puts a frame on the wire; [`flush`](Self::flush) shows it to the stack.
    pub(crate) fn put(&mut self, frame: &[u8]) -> Result<(), Problem> {
        let put = self.port().tx(frame.len(), |mut room| {
            room.copy_from(frame);
        });
        put.then_some(())
            .ok_or_else(|| Problem::Failed("the wire is full".into()))
    }

    pub(crate) fn flush(&mut self) {
        self.port().tx_flush();
    }

    /// Takes what the stack has sent; returns how many frames.
    pub(crate) fn take(&mut self, look: impl FnMut(Foreign<'_>)) -> usize {
        self.port().rx_batch(FRAMES_MAX, look)
    }
}

/// The geometry of every wire here.
pub(crate) fn geometry() -> Result<Geometry, Problem> {
    Geometry::wire(LOG2_SLOTS, BUFFER_BYTES)
        .ok_or_else(|| Problem::Failed("no wire of such a size".into()))
}

pub(crate) fn failed(why: &impl std::fmt::Debug) -> Problem {
    Problem::Failed(format!("the stack says {why:?}"))
}

/// Our end and the peer's of a connection, by its number.
pub(crate) fn ends(flow: usize) -> (Endpoint, Endpoint) {
    let narrow = |n: usize| u16::try_from(n).unwrap_or(0);
    let [high, low] = narrow(flow / PORTS).to_be_bytes();
    let local = Endpoint::new(Address::from_v4([10, 0, 0, 1]), 6379);
    let remote = Endpoint::new(
        Address::from_v4([10, 1, high, low]),
        1024 + narrow(flow % PORTS),
    );
    (local, remote)
}

/// A frame with a segment from the peer of a connection to its end at the stack, all checksums in place.
pub(crate) fn frame(
    (local, remote): (Endpoint, Endpoint),
    segment: tcp::Repr,
    text: &[u8],
) -> Vec<u8> {
    let segment = tcp::Repr {
        src_port: remote.port,
        dst_port: local.port,
        ..segment
    };
    let len = segment.header_len() + text.len();
    let packet = ip::Repr {
        src: remote.addr,
        dst: local.addr,
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: len,
    };
    let [dst, src] = STATIONS;
    let link = ethernet::Repr {
        dst,
        src,
        ethertype: EtherType::IPV4,
    };
    let mut frame = vec![0; ethernet::HEADER_BYTES + IP_BYTES + len];
    let at = link.emit(&mut frame);
    let at = at + packet.emit(&mut frame[at..]);
    let header = segment.emit(&mut frame[at..]);
    frame[at + header..].copy_from_slice(text);
    let pseudo = checksum::pseudo_header(
        packet.src,
        packet.dst,
        Protocol::TCP.0,
        u32::try_from(len).unwrap_or(0),
    );
    let value = checksum::finish(checksum::sum(pseudo, &frame[at..]));
    frame[at + tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&value.to_be_bytes());
    frame
}

/// The segment in a frame without a VLAN tag, and how many bytes of text it has.
pub(crate) fn segment(frame: Foreign<'_>) -> Result<(tcp::Repr, usize), Malformed> {
    let mut bytes = [0; 256];
    let copied = frame.copy_to(&mut bytes);
    let at = ethernet::HEADER_BYTES;
    let (packet, ip_len) = ip::Repr::parse(&bytes[at..copied], frame.len() - at, Check::Vouched)?;
    let (segment, header) = tcp::Repr::parse(&bytes[at + ip_len..copied])?;
    Ok((segment, packet.payload_len - header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_all_unlike() {
        let mut all: Vec<_> = (0..100_000).map(|flow| ends(flow).1).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100_000);
    }

    #[test]
    fn a_frame_says_what_was_put_into_it() {
        let sent = tcp::Repr {
            seq: sidestep_wire::Seq(7),
            flags: tcp::Flags::ACK,
            window: 9,
            ..tcp::Repr::default()
        };
        let bytes = frame(ends(3), sent, b"text");
        let (got, text) = segment((&bytes[..]).into()).unwrap();
        assert_eq!(
            (got.seq, got.flags, got.window, text),
            (sent.seq, sent.flags, 9, 4)
        );
        assert_eq!((got.src_port, got.dst_port), (1027, 6379));
    }
}
