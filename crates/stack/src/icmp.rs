//! ICMP of both families: echo, port unreachable, and errors for our sockets.

use crate::complaints::{Discover, Report, judged};
use crate::input::Packet;
use crate::memory::Core;
use crate::networks::mss;
use crate::output::{Path, REPLY_BYTES, put_checksum};
use crate::paths::believable;
use crate::socket::{Kind, SocketFlags};
use crate::{Endpoint, Error, Ready};
use sidestep_shm::NONE;
use sidestep_tcp::{Env, IcmpError, State};
use sidestep_wire::icmp::{self, CHECKSUM_OFFSET, ErrorKind, Offending, Repr};
use sidestep_wire::{Malformed, Protocol, checksum, icmp4, icmp6, udp};

/// Longest message that is looked at; echo requests up to this length are answered.
const MESSAGE_BYTES: usize = 1280;
/// `IPTOS_TOS_MASK` and `IPTOS_PREC_INTERNETCONTROL`: Linux's type of service for errors over IPv4.
const KEPT_OF_TOS: u8 = 0x1e;
const CONTROL: u8 = 0xc0;

impl Core<'_> {
    pub(crate) fn on_icmp(&mut self, packet: &Packet<'_>) -> Result<(), Malformed> {
        let mut bytes = [0; MESSAGE_BYTES];
        let len = packet.body.copy_to(&mut bytes);
        let message = &bytes[..len];
        let is_v4 = packet.ip.protocol == Protocol::ICMP;
        if packet.verify {
            let length = u32::try_from(packet.body.len()).map_err(|_| Malformed::Length)?;
            let pseudo =
                checksum::pseudo_header(packet.ip.src, packet.ip.dst, packet.ip.protocol.0, length);
            let first = if is_v4 { 0 } else { pseudo };
            if checksum::finish(packet.body.fold(first, checksum::sum)) != 0 {
                return Err(Malformed::Checksum);
            }
        }
        match if is_v4 {
            icmp4::parse(message)?
        } else {
            icmp6::parse(message)?
        } {
            Repr::EchoRequest { ident, seq } if len == packet.body.len() => {
                self.answer_echo(packet, ident, seq, &message[icmp::HEADER_BYTES..]);
            }
            Repr::EchoRequest { .. } | Repr::EchoReply { .. } => {}
            Repr::Error {
                kind,
                packet: offending,
            } => {
                self.counters.icmp_rx_errors += 1;
                self.on_icmp_error(packet, kind, &Offending::parse(offending)?);
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
        self.send_icmp(packet, 0, &mut out[..len]);
    }

    /// Tells the sender of a datagram that nobody takes it (RFC 1122 section 4.1.3.1).
    pub(crate) fn reply_port_unreachable(&mut self, packet: &Packet<'_>) {
        if packet.ip.dst.is_multicast() || packet.ip.dst.is_broadcast() {
            return;
        }
        let mut quoted = [0; MESSAGE_BYTES];
        let head = packet.ip.emit(&mut quoted);
        let n = packet.body.copy_to(&mut quoted[head..]);
        let is_v4 = packet.ip.dst.is_v4();
        let (most, tos) = if is_v4 {
            (
                icmp4::PACKET_BYTES_MAX,
                packet.ip.tos & KEPT_OF_TOS | CONTROL,
            )
        } else {
            (icmp6::PACKET_BYTES_MAX, 0)
        };
        let code = if is_v4 {
            icmp4::unreachable::PORT
        } else {
            icmp6::unreachable::PORT
        };
        let error = Repr::Error {
            kind: ErrorKind::Unreachable { code },
            packet: &quoted[..(head + n).min(most)],
        };
        let mut out = [0; MESSAGE_BYTES];
        let len = if is_v4 {
            icmp4::emit(&error, &mut out)
        } else {
            icmp6::emit(&error, &mut out)
        };
        self.send_icmp(packet, tos, &mut out[..len]);
    }

    fn send_icmp(&mut self, cause: &Packet<'_>, tos: u8, message: &mut [u8]) {
        debug_assert!(message.len() < REPLY_BYTES, "bounded by MESSAGE_BYTES");
        let path = Path {
            src: cause.ip.dst,
            dst: cause.ip.src,
            hop_limit: 64,
            tos,
            ident: 0,
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
    fn on_icmp_error(&mut self, packet: &Packet<'_>, kind: ErrorKind, offending: &Offending) {
        let limit = match kind {
            ErrorKind::PacketTooBig { mtu } => {
                let packet_len = offending.packet_len.max(self.syn_bytes(offending));
                let believed = believable(&offending.dst.addr, mtu, packet_len);
                if believed.is_none() {
                    return;
                }
                believed
            }
            _ => None,
        };
        let quoted = packet.body.skip(icmp::HEADER_BYTES + offending.header_len);
        let report = Report {
            kind,
            about: offending.dst,
            offender: packet.ip.src,
            target: packet.ip.dst,
            device: self.device_of(packet.wire),
            tos: packet.ip.tos,
            hop_limit: packet.ip.hop_limit,
            payload: quoted,
        };
        match offending.protocol {
            Protocol::TCP => self.on_segment_error(packet.wire, &report, offending, limit),
            Protocol::UDP => {
                let report = Report {
                    payload: quoted.skip(udp::HEADER_BYTES),
                    ..report
                };
                self.on_datagram_error(packet.wire, &report, offending.src, limit);
            }
            _ => {}
        }
    }

    /// An error about a datagram from `local`.
    fn on_datagram_error(
        &mut self,
        wire: u32,
        report: &Report<'_>,
        local: Endpoint,
        limit: Option<u32>,
    ) {
        let remote = report.about;
        if limit.is_none() {
            self.forget_route(&remote);
        }
        let Some(index) = self.find_port(Kind::Datagram, wire, &local, &remote) else {
            return;
        };
        if let Some(mtu) = limit.filter(|_| self.group(wire) != 0) {
            self.limit_path(remote.addr, mtu);
        }
        let is_v4 = remote.addr.is_v4();
        let Some((error, is_fatal)) = judged(report.kind, is_v4) else {
            return;
        };
        let own = self.at(index).wire;
        let is_peer = self.is_same_side(own, wire);
        let socket = self.at(index);
        if limit.is_some() && socket.discover(is_v4) == Discover::Dont {
            return;
        }
        if socket.has(SocketFlags::CONNECTED) && !is_peer {
            return;
        }
        if self.hears_errors(index, is_v4) {
            self.complain(index, error, report);
        } else if !is_fatal || !self.at(index).has(SocketFlags::CONNECTED) {
            return;
        }
        // As in Linux, the last word counts.
        self.at(index).error = error as u32 + 1;
        self.notify(index, Ready::ERR | Ready::IN | Ready::OUT);
    }

    /// How long a packet was at least that seems to be a SYN of ours with text, whatever is quoted of its length; else 0.
    fn syn_bytes(&self, offending: &Offending) -> usize {
        let (Protocol::TCP, Some(seq)) = (offending.protocol, offending.seq) else {
            return 0;
        };
        let Some(index) = self.find_flow(&offending.src, &offending.dst) else {
            return 0;
        };
        match self.sockets[index as usize].tcb.syn_text_at(seq) {
            0 => 0,
            text if offending.dst.addr.is_v4() => text + 40,
            text => text + 60,
        }
    }

    /// An error about a segment, which a connection of ours must have in flight (RFC 5927 section 4.1); `limit` is what
    /// the path is said to carry where the segment was too long for it.
    fn on_segment_error(
        &mut self,
        wire: u32,
        report: &Report<'_>,
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
            None => self.tell_of_segment(index, report),
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

    /// Tells the program what became of a segment, if it wants to know, and says what TCP is to make of it.
    fn tell_of_segment(&mut self, index: u32, report: &Report<'_>) -> Option<IcmpError> {
        let is_v4 = report.about.addr.is_v4();
        let (error, _) = judged(report.kind, is_v4)?;
        let asked = self.hears_errors(index, is_v4);
        match self.at(index).tcb.state() {
            // In Linux everybody hears of it in IPv4.
            State::SynSent if asked || is_v4 => self.complain(index, error, report),
            State::SynSent | State::SynReceived => {}
            _ if asked => {
                self.at(index).error = error as u32 + 1;
                self.notify(index, Ready::ERR);
            }
            _ => {}
        }
        Some(match error {
            Error::Refused => IcmpError::PortUnreachable,
            Error::NoProtocol => IcmpError::ProtocolUnreachable,
            Error::NetUnreachable => IcmpError::NetUnreachable,
            _ => IcmpError::HostUnreachable,
        })
    }
}
