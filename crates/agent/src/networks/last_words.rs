//! Connections over networks of a stack that was given up. Nobody can go on with them, nor say so in their words: what
//! was sent and what was acknowledged stands in tables that broke. But the peer knows. So it is sent a segment
//! that cannot be right, which it answers with what it expects (RFC 9293 section 3.10.7.4); the kernel, whose the
//! connection's frames are by then, knows no such connection, and resets it with the very number from the answer.

use crate::registry::Registry;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};
use sidestep_control::StackId;
use sidestep_stack::last_connections;
use sidestep_wire::tcp::Flags;
use sidestep_wire::{Endpoint, Protocol, Seq, checksum, ip, tcp};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The longest IP header, and a segment with timestamps and one byte.
const PACKET_BYTES: usize = 40 + SEGMENT_BYTES;
const SEGMENT_BYTES: usize = tcp::HEADER_BYTES + 12 + 1;

/// A socket that sends packets as they are, by the kernel's routes.
fn raw(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))
}

/// A segment of no use, from `local` to `remote`.
fn question(local: Endpoint, remote: Endpoint, out: &mut [u8; PACKET_BYTES]) -> usize {
    let packet = ip::Repr {
        src: local.addr,
        dst: remote.addr,
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: SEGMENT_BYTES,
    };
    let at = packet.emit(out);
    let segment = tcp::Repr {
        src_port: local.port,
        dst_port: remote.port,
        seq: Seq(0),
        ack: Seq(0),
        flags: Flags::ACK,
        window: 0,
        urgent: 0,
        // Without them it would be dropped where they are in use (RFC 7323 section 3.2); too old they are as good.
        options: tcp::Options {
            timestamps: Some(tcp::Timestamps { value: 0, echo: 0 }),
            ..tcp::Options::default()
        },
    };
    // The byte, a zero, has old segments answered too, as it does in probes of a window: Linux drops those without.
    let end = at + segment.emit(&mut out[at..]) + 1;
    let len = u32::try_from(end - at).unwrap_or(0);
    let pseudo = checksum::pseudo_header(local.addr, remote.addr, Protocol::TCP.0, len);
    let sum = checksum::finish(checksum::sum(pseudo, &out[at..end]));
    let place = at + tcp::CHECKSUM_OFFSET;
    out[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    end
}

impl Registry {
    /// The connections over networks that the tables of a stack show, if it is given up; to be asked before it leaves
    /// the networks.
    pub(crate) fn connections_over_networks(&self, id: StackId) -> Vec<(Endpoint, Endpoint)> {
        let (Some(networks), Some(entry)) = (&self.networks, self.stacks.get(&id)) else {
            return Vec::new();
        };
        let interfaces = networks.interfaces.iter();
        let wires: Vec<u32> = interfaces
            .flat_map(|interface| interface.queues_of(id).map(|queue| queue.wire))
            .collect();
        let mut found = last_connections(&entry.shared, &wires);
        let picture = networks.config.picture();
        // The tables may say anything.
        found.retain(|(local, remote)| {
            picture.is_local(local.addr.ip())
                && !picture.is_local(remote.addr.ip())
                && !remote.addr.is_loopback()
                && !remote.addr.is_multicast()
                && !remote.addr.is_broadcast()
                && !remote.addr.is_unspecified()
                && local.addr.is_v4() == remote.addr.is_v4()
        });
        found
    }

    /// Has the peers of these connections hear that they are no more, now that their frames are the kernel's.
    pub(crate) fn reset_by_kernel(&self, connections: &[(Endpoint, Endpoint)]) {
        if connections.is_empty() {
            return;
        }
        let (v4, v6) = (raw(AddressFamily::INET), raw(AddressFamily::INET6));
        let mut asked = 0;
        for (local, remote) in connections {
            let socket = if remote.addr.is_v4() { &v4 } else { &v6 };
            let Ok(socket) = socket else { continue };
            let mut packet = [0; PACKET_BYTES];
            let len = question(*local, *remote, &mut packet);
            let to = SocketAddr::new(remote.addr.ip(), 0);
            let sent = rustix::net::sendto(socket, &packet[..len], SendFlags::empty(), &to);
            asked += u32::from(sent.is_ok());
        }
        self.log.line(format_args!(
            "asked {asked} peers of the stack, for the kernel to reset them"
        ));
    }
}
