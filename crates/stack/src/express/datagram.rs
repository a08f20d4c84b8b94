//! The short ways of a datagram over a wire between stacks: in, when it is for the socket that the last one was for and
//! from the same peer; out, when the socket's last two went the same way.

use super::{Reader, START_BYTES, put};
use crate::Endpoint;
use crate::hops::Stations;
use crate::memory::{Core, Stack};
use crate::output::{HEADERS_MAX, Path, emit_ip};
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::udp::{Datagram, PAYLOAD_BYTES_MAX};
use crate::{Error, Result};
use sidestep_nic::{Port, on_port};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_wire::plain::datagram::{self, V4_BYTES, V6_BYTES};
use sidestep_wire::{Protocol, udp};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a socket's last datagram went. Its headers are the socket's template, once a second one went there.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Aim {
    target: Endpoint,
    /// Longest payload that goes that way.
    payload_max: u16,
    wire: u32,
    /// What the count of changed routes was.
    routes: u32,
}

/// Whom the last datagram was for that came over a wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Recent {
    local: Endpoint,
    remote: Endpoint,
    wire: u32,
    /// The socket's index + 1; 0 for none.
    found: u32,
}

impl Stack<'_> {
    /// As [`recv_from`](Self::recv_from), after a look at the wires where nothing is there yet.
    #[inline]
    pub fn recv_from_new(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        peek: bool,
    ) -> Result<Datagram> {
        let first = self.recv_from(r, parts, peek);
        if !matches!(first, Err(Error::WouldBlock)) {
            return first;
        }
        if let [into] = parts
            && !peek
        {
            let mut reader = Reader::new(r, into);
            self.poll_for(now, Some(&mut reader));
            if let Some(datagram) = reader.datagram {
                return Ok(datagram);
            }
            // As a rule nothing has come, and there is nothing more to ask.
            let s = self.core.socket(r)?;
            if s.udp.is_empty() && s.error == 0 {
                return Err(Error::WouldBlock);
            }
        } else {
            self.poll(now);
        }
        self.recv_from(r, parts, peek)
    }

    /// Sends a datagram where the socket's last ones went: to `target`, or to the connected peer. None where
    /// [`send_to`](Self::send_to) is to see to it.
    #[inline]
    pub fn send_to_at_once(
        &mut self,
        now: Nanos,
        r: SocketRef,
        target: Option<Endpoint>,
        message: Foreign<'_>,
    ) -> Option<usize> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        let routes = core.header.route_changes;
        let s = core.socket(r).ok()?;
        let aimed = match target {
            Some(target) => s.aim.target == target,
            None => s.has(SocketFlags::CONNECTED) && s.aim.target == s.remote,
        };
        if s.template.is_empty()
            || !aimed
            || s.aim.routes != routes
            || s.error != 0
            || s.kind != Kind::Datagram as u8
            || s.has(SocketFlags::SHUT_WRITE)
            || message.len() > usize::from(s.aim.payload_max)
        {
            return None;
        }
        let wire = s.aim.wire;
        let entry = self.wires.get_mut(wire as usize)?;
        if !entry.is_open() {
            return None;
        }
        let port = self.links.port(wire, entry, &mut self.faults, now)?;
        on_port!(port, port => core.send_aimed(&mut port, r.index, message))
    }
}

impl Core<'_> {
    /// The part of [`Stack::send_to_at_once`] that speaks to the port.
    #[inline]
    fn send_aimed(
        &mut self,
        port: &mut impl Port,
        index: u32,
        message: Foreign<'_>,
    ) -> Option<usize> {
        if !self.checksums_unneeded(port) || port.tx_room() == 0 {
            return None;
        }
        let template = &self.sockets[index as usize].template;
        let sent = port.tx(template.len() + message.len(), |mut frame| {
            let mut start = [0; START_BYTES];
            if let Some(headers) = start.first_chunk_mut() {
                template.write_datagram(headers, message.len());
            }
            put(&mut frame, start, template.len(), message);
        });
        debug_assert!(sent, "room was checked");
        port.tx_flush();
        self.counters.tx_frames += 1;
        self.counters.udp_tx_datagrams += 1;
        Some(message.len())
    }

    /// A datagram left for `target` by a `wire` that carries `packet_max` bytes of IP. The second one makes the template
    /// for all others.
    pub(crate) fn aim(
        &mut self,
        index: u32,
        (path, ports): (&Path, (u16, u16)),
        wire: u32,
        packet_max: usize,
    ) {
        let target = Endpoint::new(path.dst, ports.1);
        let routes = self.header.route_changes;
        let s = self.at(index);
        if s.aim.target != target || s.aim.wire != wire || s.aim.routes != routes {
            s.template.forget();
            s.aim = Aim {
                target,
                payload_max: 0,
                wire,
                routes,
            };
            return;
        }
        if !s.template.is_empty() {
            return;
        }
        let mut headers = [0; HEADERS_MAX];
        let ip = emit_ip(
            &mut headers,
            Stations::WIRE,
            path,
            Protocol::UDP,
            udp::HEADER_BYTES,
        );
        let header = udp::Repr {
            src_port: ports.0,
            dst_port: ports.1,
            payload_len: 0,
            has_checksum: true,
        };
        let len = ip + header.emit(&mut headers[ip..]);
        let overhead = len - sidestep_wire::ethernet::HEADER_BYTES;
        let most = packet_max.saturating_sub(overhead).min(PAYLOAD_BYTES_MAX);
        let s = self.at(index);
        s.template.keep_datagram(&headers[..len]);
        s.aim.payload_max = u16::try_from(most).unwrap_or(0);
    }

    /// Works a frame in whose datagram is for whom the last one was. False, and nothing has changed, for all others.
    #[inline]
    pub(crate) fn on_plain_datagram(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some((arrived, payload_at)) = parse(frame) else {
            return false;
        };
        let recent = &self.header.recent;
        if recent.local != arrived.local || recent.remote != arrived.remote || recent.wire != wire {
            return false;
        }
        let Some(index) = recent.found.checked_sub(1) else {
            return false;
        };
        let payload = frame.skip(payload_at).first(arrived.payload_len);
        let socket = &self.sockets[index as usize];
        if let Some(reader) = reader
            && reader.socket == index
            && reader.datagram.is_none()
            && socket.udp.is_empty()
            && socket.error == 0
        {
            reader.datagram = Some(Datagram {
                source: arrived.remote,
                target: arrived.local.addr,
                copied: reader.sink.fill(payload),
                len: payload.len(),
                tos: arrived.tos,
                hop_limit: arrived.hop_limit,
                device: 0,
                at: self.header.now,
            });
            self.counters.udp_rx_datagrams += 1;
        } else {
            let ends = (arrived.local, arrived.remote);
            let marks = (arrived.tos, arrived.hop_limit);
            self.queue_datagram(index, (0, marks), ends, payload);
        }
        true
    }

    /// A socket was found for a datagram that came over a wire between stacks.
    pub(crate) fn remember_recent(
        &mut self,
        index: u32,
        wire: u32,
        local: Endpoint,
        remote: Endpoint,
    ) {
        self.header.recent = Recent {
            local,
            remote,
            wire,
            found: index + 1,
        };
    }

    /// A peer may be elsewhere from now on: who sends to it asks where.
    pub(crate) const fn routes_changed(&mut self) {
        self.forget_recent();
        self.header.route_changes = self.header.route_changes.wrapping_add(1);
    }

    /// Another socket may be the one to find from now on.
    pub(crate) const fn forget_recent(&mut self) {
        self.header.recent.found = 0;
    }
}

/// The headers, copied once, and where the payload begins.
#[inline]
fn parse(frame: Foreign<'_>) -> Option<(datagram::Arrived, usize)> {
    let head = frame.to_array::<V4_BYTES>()?;
    if let Some(arrived) = datagram::parse_v4(&head, frame.len()) {
        return Some((arrived, V4_BYTES));
    }
    let head = frame.to_array::<V6_BYTES>()?;
    datagram::parse_v6(&head, frame.len()).map(|arrived| (arrived, V6_BYTES))
}
