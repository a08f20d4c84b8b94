//! A frame's way from a port to its socket.

use crate::Endpoint;
use crate::express::Reader;
use crate::hops::Stations;
use crate::memory::Core;
use crate::output::back;
use crate::socket::Kind;
use sidestep_shm::{Foreign, NONE};
use sidestep_tcp::{ecn_field, listen, reset_for};
use sidestep_wire::checksum::{self, Check};
use sidestep_wire::{EtherType, Malformed, Protocol, ethernet, ip, tcp, udp, vlan};

/// What is copied of every frame before anything is believed: longest Ethernet, IP and TCP headers together.
const HEAD_BYTES: usize = 160;

/// Where a frame came from.
#[derive(Clone, Copy)]
pub(crate) struct From {
    pub(crate) wire: u32,
    /// Whether checksums are to be verified.
    pub(crate) verify: bool,
    /// Whether the wire is a queue of a network.
    pub(crate) network: bool,
}

impl From {
    /// Whether it is a wire between stacks that vouches for what it carries.
    #[inline]
    pub(crate) const fn is_wire(self) -> bool {
        !self.verify && !self.network
    }
}

/// A received packet, as far as the IP header tells.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'f> {
    pub(crate) wire: u32,
    pub(crate) ip: ip::Repr,
    /// All that follows the IP header, in the frame.
    pub(crate) body: Foreign<'f>,
    /// Whether checksums are to be verified.
    pub(crate) verify: bool,
    /// Whether transport checksums may be unfinished.
    pub(crate) unfinished: bool,
}

impl Core<'_> {
    /// Works a received frame in. A `reader` takes what comes for it. One function, with all of the short way in it.
    #[inline(never)]
    pub(crate) fn on_frame(
        &mut self,
        from: From,
        frame: Foreign<'_>,
        mut reader: Option<&mut Reader<'_, '_>>,
    ) {
        if !from.is_wire() || !self.on_plain_v4(from.wire, frame, reader.as_deref_mut()) {
            self.on_other_frame(from, frame, reader);
        }
    }

    #[inline(never)]
    fn on_other_frame(
        &mut self,
        from: From,
        frame: Foreign<'_>,
        mut reader: Option<&mut Reader<'_, '_>>,
    ) {
        let taken = if from.is_wire() {
            self.on_plain_datagram(from.wire, frame, reader.as_deref_mut())
                || self.on_plain_frame(from.wire, frame, reader)
        } else {
            self.on_plain_network_frame(from, frame, reader)
        };
        if !taken {
            self.on_any_frame(from.wire, frame, from.verify);
        }
    }

    fn on_any_frame(&mut self, wire: u32, frame: Foreign<'_>, verify: bool) {
        if let Err(malformed) = self.parse_frame(wire, frame, verify) {
            match malformed {
                Malformed::Checksum => self.counters.rx_checksum_bad += 1,
                Malformed::Unsupported => self.counters.rx_other_protocol += 1,
                _ => self.counters.rx_malformed += 1,
            }
        }
    }

    fn parse_frame(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        verify: bool,
    ) -> Result<(), Malformed> {
        let mut head = [0; HEAD_BYTES];
        let copied = frame.copy_to(&mut head);
        let head = &head[..copied];
        let link = ethernet::Repr::parse(head)?;
        let at = ethernet::HEADER_BYTES;
        let (tags, tag_len) = vlan::Repr::parse(link.ethertype, &head[at..])?;
        let ours = [EtherType::IPV4, EtherType::IPV6].contains(&tags.ethertype);
        if !ours
            || tags.inner.is_some()
            || tags.outer.is_some() != (link.ethertype == EtherType::VLAN)
        {
            return Err(Malformed::Unsupported);
        }
        if !link.src.is_unicast() {
            return Err(Malformed::Value);
        }
        // Answers go where the frame came from, and come from one station, whatever group the frame was for.
        let to_us = link.dst.is_unicast();
        self.back = Stations {
            dst: link.src,
            src: if to_us {
                link.dst
            } else {
                self.own_stations[wire as usize]
            },
            vlan: tags.outer.map_or(0, |tag| tag.id),
        };
        let at = at + tag_len;
        let check = if verify {
            Check::Verify
        } else {
            Check::Vouched
        };
        let (ip, ip_len) = ip::Repr::parse(&head[at..], frame.len() - at, check)?;
        if ip.fragment.is_some() {
            self.counters.rx_fragments += 1;
            return Ok(());
        }
        let at = at + ip_len;
        let body = frame.skip(at).first(ip.payload_len);
        let packet = Packet {
            wire,
            ip,
            body,
            verify,
            unfinished: self.unfinished.get(wire as usize) == Some(&1),
        };
        let head = &head[at..];
        let head = &head[..head.len().min(ip.payload_len)];
        match ip.protocol {
            // A connection has two ends (RFC 1122 section 4.2.3.10).
            Protocol::TCP if to_us => self.on_tcp(&packet, head),
            Protocol::UDP => self.on_udp(&packet, head),
            Protocol::ICMP | Protocol::ICMPV6 => self.on_icmp(&packet),
            _ => Err(Malformed::Unsupported),
        }
    }

    fn on_tcp(&mut self, packet: &Packet<'_>, head: &[u8]) -> Result<(), Malformed> {
        let (segment, header_len) = tcp::Repr::parse(head)?;
        let payload = packet.body.skip(header_len);
        packet.verify_checksum(&head[..header_len], tcp::CHECKSUM_OFFSET, payload)?;
        self.counters.tcp_rx_segments += 1;
        self.counters.tcp_rx_bytes += payload.len() as u64;
        let local = Endpoint::new(packet.ip.dst, segment.dst_port);
        let remote = Endpoint::new(packet.ip.src, segment.src_port);
        let mut iss_min = None;
        if let Some(index) = self.find_recent_flow(&local, &remote) {
            let own = self.at(index).wire;
            if self.is_same_side(own, packet.wire) {
                iss_min = self.recycle_time_wait(index, &segment);
                if iss_min.is_none() {
                    if self.at(index).hop != NONE && self.at(index).heard != self.back.other() {
                        self.on_other_station(index, &segment, payload.len());
                    }
                    self.on_segment(index, &segment, payload, packet.ip.tos & ecn_field::CE);
                    return Ok(());
                }
            }
        }
        let listener = self.find_port(Kind::Listener, packet.wire, &local, &remote);
        let answer = match listener {
            None => reset_for(&segment, payload.len()),
            Some(listener)
                if segment.flags.contains(tcp::Flags::ACK)
                    && self.on_cookie(
                        listener,
                        packet.wire,
                        (local, remote),
                        &segment,
                        payload,
                    ) =>
            {
                None
            }
            Some(listener) => match listen::on_segment(&segment, payload.len()) {
                listen::Disposition::Ignore => None,
                listen::Disposition::Reset(reset) => Some(reset),
                listen::Disposition::Syn => {
                    let child = self.on_syn(
                        listener,
                        packet.wire,
                        (local, remote),
                        (&segment, payload),
                        iss_min,
                    );
                    if let Some(child) = child {
                        let field = packet.ip.tos & ecn_field::CE;
                        self.at(child).tcb.on_first_field(field);
                    }
                    None
                }
            },
        };
        if let Some(reset) = answer {
            self.counters.tcp_rx_no_socket += 1;
            self.reply_tcp(&local, &remote, &reset);
        }
        Ok(())
    }

    /// Answers with a segment that belongs to no connection.
    pub(crate) fn reply_tcp(&mut self, local: &Endpoint, remote: &Endpoint, segment: &tcp::Repr) {
        let mut bytes = [0; 64];
        let len = segment.emit(&mut bytes);
        let path = back(local, remote);
        crate::output::put_checksum(
            &mut bytes[..len],
            tcp::CHECKSUM_OFFSET,
            &path,
            Protocol::TCP,
            0,
            0,
        );
        self.reply(&path, Protocol::TCP, &bytes[..len]);
    }

    fn on_udp(&mut self, packet: &Packet<'_>, head: &[u8]) -> Result<(), Malformed> {
        let header = udp::Repr::parse(head, packet.ip.payload_len)?;
        let payload = packet
            .body
            .skip(udp::HEADER_BYTES)
            .first(header.payload_len);
        if header.has_checksum {
            packet.verify_checksum(&head[..udp::HEADER_BYTES], udp::CHECKSUM_OFFSET, payload)?;
        } else if packet.verify && !packet.ip.dst.is_v4() {
            return Err(Malformed::Checksum);
        }
        let local = Endpoint::new(packet.ip.dst, header.dst_port);
        let remote = Endpoint::new(packet.ip.src, header.src_port);
        match self.find_port(Kind::Datagram, packet.wire, &local, &remote) {
            Some(index) => self.on_datagram(index, packet, local, remote, payload),
            None => {
                self.counters.udp_rx_no_socket += 1;
                self.reply_port_unreachable(packet);
            }
        }
        Ok(())
    }
}

impl Packet<'_> {
    /// Verifies a transport checksum, which is at `offset`, over the private copy of its header and the payload in the
    /// frame.
    fn verify_checksum(
        &self,
        header: &[u8],
        offset: usize,
        payload: Foreign<'_>,
    ) -> Result<(), Malformed> {
        if !self.verify {
            return Ok(());
        }
        let len = u32::try_from(header.len() + payload.len()).map_err(|_| Malformed::Length)?;
        let pseudo = checksum::pseudo_header(self.ip.src, self.ip.dst, self.ip.protocol.0, len);
        let sum = checksum::sum(pseudo, header);
        let sum = payload.fold(sum, checksum::sum);
        // An unfinished one is the sum over the pseudo-header, for the card to go on with.
        let begun = checksum::fold(pseudo).to_be_bytes();
        let unfinished = || self.unfinished && header.get(offset..offset + 2) == Some(&begun);
        if checksum::finish(sum) == 0 || unfinished() {
            Ok(())
        } else {
            Err(Malformed::Checksum)
        }
    }
}
