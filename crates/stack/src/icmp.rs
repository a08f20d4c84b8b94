//! ICMP of both families: echo, port unreachable, and errors for our sockets.

use crate::input::Packet;
use crate::memory::Core;
use crate::networks::mss;
use crate::output::{Path, REPLY_BYTES, put_checksum};
use crate::paths::believable;
use crate::socket::{Kind, SocketFlags};
use crate::{Error, Ready};
use sidestep_shm::NONE;
use sidestep_tcp::{Env, IcmpError};
use sidestep_wire::icmp::{CHECKSUM_OFFSET, ErrorKind, Offending, Repr};
use sidestep_wire::{Malformed, Protocol, checksum, icmp4, icmp6};

/// Longest message that is looked at; echo requests up to this length are answered.
const MESSAGE_BYTES: usize = 512;
/// How much of an offending packet an error quotes.
const QUOTED_BYTES: usize = 128;

impl Core<'_> {
    pub(crate) fn on_icmp(&mut self, packet: &Packet<'_>) -> Result<(), Malformed> {
        let mut bytes = [0; MESSAGE_BYTES];
        let len = packet.body.copy_to(&mut bytes);
        let message = &bytes[..len];
        let is_v4 = packet.ip.protocol == Protocol::ICMP;
        if packet.verify && len == packet.body.len() {
            let length = u32::try_from(len).map_err(|_| Malformed::Length)?;
            let pseudo =
                checksum::pseudo_header(packet.ip.src, packet.ip.dst, packet.ip.protocol.0, length);
            let first = if is_v4 { 0 } else { pseudo };
            if checksum::finish(checksum::sum(first, message)) != 0 {
                return Err(Malformed::Checksum);
            }
        }
        match if is_v4 {
            icmp4::parse(message)?
        } else {
            icmp6::parse(message)?
        } {
            Repr::EchoRequest { ident, seq } if len == packet.body.len() => {
                self.answer_echo(
                    packet,
                    ident,
                    seq,
                    &message[sidestep_wire::icmp::HEADER_BYTES..],
                );
            }
            Repr::EchoRequest { .. } | Repr::EchoReply { .. } => {}
            Repr::Error {
                kind,
                packet: offending,
            } => {
                self.counters.icmp_rx_errors += 1;
                self.on_icmp_error(packet.wire, kind, &Offending::parse(offending)?, is_v4);
            }
        }
        Ok(())
    }

    fn answer_echo(&mut self, packet: &Packet<'_>, ident: u16, seq: u16, data: &[u8]) {
        let mut out = [0; MESSAGE_BYTES];
        let reply = Repr::EchoReply { ident, seq };
        let is_v4 = packet.ip.dst.is_v4();
        let head = if is_v4 {
            icmp4::emit(&reply, &mut out)
        } else {
            icmp6::emit(&reply, &mut out)
        };
        let len = head + data.len();
        out[head..len].copy_from_slice(data);
        self.counters.icmp_echo_replies += 1;
        self.send_icmp(packet, &mut out[..len]);
    }

    /// Tells the sender of a datagram that nobody takes it (RFC 1122 section 4.1.3.1).
    pub(crate) fn reply_port_unreachable(&mut self, packet: &Packet<'_>) {
        if packet.ip.dst.is_multicast() || packet.ip.dst.is_broadcast() {
            return;
        }
        let mut quoted = [0; QUOTED_BYTES];
        let head = packet.ip.emit(&mut quoted);
        let n = packet.body.copy_to(&mut quoted[head..]);
        let is_v4 = packet.ip.dst.is_v4();
        let code = if is_v4 {
            icmp4::unreachable::PORT
        } else {
            icmp6::unreachable::PORT
        };
        let error = Repr::Error {
            kind: ErrorKind::Unreachable { code },
            packet: &quoted[..head + n],
        };
        let mut out = [0; MESSAGE_BYTES];
        let len = if is_v4 {
            icmp4::emit(&error, &mut out)
        } else {
            icmp6::emit(&error, &mut out)
        };
        self.send_icmp(packet, &mut out[..len]);
    }

    fn send_icmp(&mut self, cause: &Packet<'_>, message: &mut [u8]) {
        debug_assert!(message.len() < REPLY_BYTES, "bounded by MESSAGE_BYTES");
        let path = Path {
            src: cause.ip.dst,
            dst: cause.ip.src,
            hop_limit: 64,
            tos: 0,
        };
        if cause.ip.dst.is_v4() {
            let sum = checksum::finish(checksum::sum(0, message));
            message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
            self.reply(&path, Protocol::ICMP, message);
        } else {
            put_checksum(message, CHECKSUM_OFFSET, &path, Protocol::ICMPV6, 0, 0);
            self.reply(&path, Protocol::ICMPV6, message);
        }
    }

    /// An error about a packet that we are said to have sent: it must belong to a socket of ours on the same wire.
    fn on_icmp_error(&mut self, wire: u32, kind: ErrorKind, offending: &Offending, is_v4: bool) {
        let limit = match kind {
            ErrorKind::PacketTooBig { mtu } => {
                let believed = believable(&offending.dst.addr, mtu, offending.packet_len);
                if believed.is_none() {
                    return;
                }
                believed
            }
            _ => None,
        };
        match offending.protocol {
            Protocol::TCP => self.on_segment_error(wire, kind, offending, limit),
            Protocol::UDP => {
                if limit.is_none() {
                    self.forget_route(&offending.dst);
                }
                let (kind_of, local, remote) = (Kind::Datagram, offending.src, offending.dst);
                let Some(index) = self.find_port(kind_of, wire, &local, &remote) else {
                    return;
                };
                let own = self.at(index).wire;
                let is_peer = self.is_same_side(own, wire);
                if let Some(mtu) = limit.filter(|_| self.group(wire) != 0) {
                    self.limit_path(offending.dst.addr, mtu);
                }
                let socket = self.at(index);
                // As in Linux, only a connected socket hears of it.
                if socket.has(SocketFlags::CONNECTED) && is_peer {
                    socket.fail(udp_error(kind, is_v4));
                    self.notify(index, Ready::ERR | Ready::IN | Ready::OUT);
                }
            }
            _ => {}
        }
    }

    /// An error about a segment, which a connection of ours must have in flight (RFC 5927 section 4.1); `limit` is what
    /// the path is said to carry where the segment was too long for it.
    fn on_segment_error(
        &mut self,
        wire: u32,
        kind: ErrorKind,
        offending: &Offending,
        limit: Option<u32>,
    ) {
        let Some(index) = self.find_flow(&offending.src, &offending.dst) else {
            return;
        };
        let Some(seq) = offending.seq else { return };
        let socket = &self.sockets[index as usize];
        if !self.is_same_side(socket.wire, wire) || !socket.tcb.is_in_flight(seq) {
            return;
        }
        let remote = offending.dst.addr;
        let error = match limit {
            Some(mtu) => {
                if socket.hop != NONE {
                    self.limit_path(remote, mtu);
                }
                Some(IcmpError::TooBig {
                    mss: mss(&remote, mtu as usize),
                })
            }
            None => tcp_error(kind, remote.is_v4()),
        };
        let Some(error) = error else { return };
        let now = self.now();
        let socket = &mut self.sockets[index as usize];
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        let events = socket.tcb.on_icmp(&mut env, error, seq);
        self.on_events(index, events);
    }
}

fn tcp_error(kind: ErrorKind, is_v4: bool) -> Option<IcmpError> {
    match kind {
        ErrorKind::Unreachable { code } if is_port(code, is_v4) => Some(IcmpError::PortUnreachable),
        ErrorKind::Unreachable { .. } => Some(IcmpError::HostUnreachable),
        _ => None,
    }
}

fn udp_error(kind: ErrorKind, is_v4: bool) -> Error {
    match kind {
        ErrorKind::Unreachable { code } if is_port(code, is_v4) => Error::Refused,
        ErrorKind::PacketTooBig { .. } => Error::MessageSize,
        _ => Error::Unreachable,
    }
}

const fn is_port(code: u8, is_v4: bool) -> bool {
    if is_v4 {
        code == icmp4::unreachable::PORT
    } else {
        code == icmp6::unreachable::PORT
    }
}
