//! Building frames and handing them to ports.
//!
//! A socket with something to send stands on its wire's pending list. The list is worked off while the port has
//! room; a wire whose other end does not read holds up nobody but itself.

use crate::express::acknowledge_over;
use crate::hops::Stations;
use crate::memory::{Core, Stack};
use crate::socket::{Socket, SocketFlags};
use crate::wires::UNHEARD_MAX;
use crate::{Address, Endpoint};
use sidestep_nic::{Cut, Port, Unfinished, on_port};
use sidestep_shm::{Foreign, ForeignMut, NONE, Steps};
use sidestep_tcp::{Env, Tcb, Transmit};
use sidestep_wire::{EtherType, Protocol, checksum, ethernet, ip, tcp, udp, vlan};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest headers that we build: Ethernet 14, a VLAN tag 4, IPv6 40, TCP 60.
pub(crate) const HEADERS_MAX: usize = 128;
/// Segments sent for one socket before the next on the list has its turn.
const BURST: usize = 64;
/// Bytes of payload from which on a checksum is left to a link that finishes it: over fewer it costs no more than the cache line
/// by which the link is told.
const UNFINISHED_MIN: usize = 256;
/// Many more than that: what is held back until the next one follows a burst.
const SEGMENTS_MAX: usize = 1 << 16;
/// The two bits of ECN in the type of service, and what says that marks are understood (RFC 3168 section 5).
const ECN_FIELD: u8 = 3;
const ECT_0: u8 = 2;
/// Rounds of one flush, each of which ends where too much was sent without a look at what came.
const ROUNDS_A_FLUSH: usize = 4;
/// Turns of sockets in one round; the rest follows with the next poll.
const SOCKETS_A_FLUSH: usize = 1024;

/// A packet that answers without any socket: a reset, or an ICMP message. Kept until its wire is flushed.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) len: usize,
    pub(crate) bytes: [u8; REPLY_BYTES],
}

/// Longest reply: headers and what an ICMP message quotes.
pub(crate) const REPLY_BYTES: usize = 1280 + HEADERS_MAX;
/// Replies kept in one round; more are dropped, as any router would.
const REPLIES_MAX: usize = 64;

/// An IP packet's addresses and what goes into its header.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) src: Address,
    pub(crate) dst: Address,
    pub(crate) hop_limit: u8,
    pub(crate) tos: u8,
    /// Identifies fragments of IPv4 where routers may cut the packet; 0 where they must not (RFC 6864).
    pub(crate) ident: u16,
}

/// Writes the Ethernet header, and a VLAN tag where there is one. Returns their length.
#[inline]
fn emit_link(out: &mut [u8; HEADERS_MAX], stations: Stations, ethertype: EtherType) -> usize {
    let link = ethernet::Repr {
        dst: stations.dst,
        src: stations.src,
        ethertype: if stations.vlan == 0 {
            ethertype
        } else {
            EtherType::VLAN
        },
    }
    .emit(&mut out[..]);
    if stations.vlan == 0 {
        return link;
    }
    let tag = vlan::Repr {
        outer: Some(vlan::Tag {
            id: stations.vlan,
            ..vlan::Tag::default()
        }),
        inner: None,
        ethertype,
    };
    link + tag.emit(&mut out[link..])
}

/// Writes Ethernet and IP headers for `payload_len` bytes of `protocol`. Returns their length.
#[inline]
pub(crate) fn emit_ip(
    out: &mut [u8; HEADERS_MAX],
    stations: Stations,
    path: &Path,
    protocol: Protocol,
    payload_len: usize,
) -> usize {
    let ethertype = if path.dst.is_v4() {
        EtherType::IPV4
    } else {
        EtherType::IPV6
    };
    let link = emit_link(out, stations, ethertype);
    let packet = ip::Repr {
        src: path.src,
        dst: path.dst,
        protocol,
        hop_limit: path.hop_limit,
        tos: path.tos,
        ident: u32::from(path.ident),
        dont_fragment: path.ident == 0,
        fragment: None,
        payload_len,
    };
    link + packet.emit(&mut out[link..])
}

/// Sockets of one wire with something to send, as index + 1, first and last; linked by `pending_next`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Pending {
    head: u32,
    tail: u32,
}

impl Pending {
    /// Puts a socket at the end that was on no list, and is marked now as being on one. It has no next one.
    #[inline]
    pub(crate) fn push(&mut self, sockets: &mut [Socket], socket: u32) {
        match core::mem::replace(&mut self.tail, socket + 1).checked_sub(1) {
            None => self.head = socket + 1,
            Some(tail) => sockets[tail as usize].pending_next = socket,
        }
    }

    /// Takes the first socket off.
    #[inline]
    fn pop<'s>(&mut self, sockets: &'s mut [Socket]) -> Option<(u32, &'s mut Socket)> {
        let socket = self.head.checked_sub(1)?;
        let s = &mut sockets[socket as usize];
        s.set(SocketFlags::PENDING, false);
        self.head = core::mem::replace(&mut s.pending_next, NONE).wrapping_add(1);
        if self.head == 0 {
            self.tail = 0;
        }
        Some((socket, s))
    }
}

impl Stack<'_> {
    /// Sends what is due on a wire, as far as there is room; where much is, in rounds, between which what came is heard.
    pub(crate) fn flush_wire(&mut self, index: u32) {
        let now = self.core.now();
        for round in 1..=ROUNDS_A_FLUSH {
            let Some(wire) = self.wires.get_mut(index as usize).filter(|w| w.is_open()) else {
                return;
            };
            let Some(port) = self.links.port(index, wire, &mut self.faults, now) else {
                return;
            };
            let core = &mut self.core;
            let is_done = on_port!(port, port => {
                let flushes = port.tx_unheard() < UNHEARD_MAX || round == ROUNDS_A_FLUSH;
                if flushes {
                    core.flush_port(index, &mut port);
                }
                flushes && (port.tx_unheard() < UNHEARD_MAX || !core.has_pending(index))
            });
            if is_done {
                return;
            }
            self.listen_to(index);
        }
    }

    /// Sends what one socket has due, now if nobody stands before it.
    #[inline]
    pub(crate) fn flush_socket(&mut self, socket: u32) {
        let now = self.core.now();
        let wire = self.core.at(socket).wire;
        let Some(entry) = self.wires.get_mut(wire as usize).filter(|w| w.is_open()) else {
            return;
        };
        let Some(port) = self.links.port(wire, entry, &mut self.faults, now) else {
            return;
        };
        if self.core.has_pending(wire) || port.tx_unheard() >= UNHEARD_MAX {
            self.core.queue_output(socket);
            self.flush_wire(wire);
            return;
        }
        let core = &mut self.core;
        let more = on_port!(port, port => {
            let unneeded = core.checksums_unneeded(&port);
            let s = &mut core.sockets[socket as usize];
            if port.tx_room() > 0 && acknowledge_over(&mut port, s, now, unneeded) {
                core.count_acknowledgements(1);
                port.tx_flush();
                return;
            }
            let more = core.transmit(socket, &mut port);
            port.tx_flush();
            more
        });
        if more {
            core.queue_output(socket);
        }
        core.after_output(socket);
    }
}

impl Core<'_> {
    /// Sends what is due on the wire of a port, as far as there is room.
    fn flush_port(&mut self, wire: u32, port: &mut impl Port) {
        if !self.replies.is_empty() {
            self.send_replies(port);
        }
        let now = self.now();
        let unneeded = self.checksums_unneeded(port);
        let (mut turns, mut others) = (0, 0);
        while turns < SOCKETS_A_FLUSH && port.tx_room() > 0 {
            let Some((socket, s)) = self.pending[wire as usize].pop(self.sockets) else {
                break;
            };
            turns += 1;
            if acknowledge_over(port, s, now, unneeded) {
                continue;
            }
            others += 1;
            if self.transmit(socket, port) {
                self.queue_output(socket);
            }
            self.after_output(socket);
            // A burst that the link cuts is many frames, and is gone at once.
            if port.tx_unheard() >= UNHEARD_MAX {
                break;
            }
        }
        self.count_acknowledgements((turns - others) as u64);
        port.tx_flush();
    }

    /// Puts a socket on its wire's pending list.
    pub(crate) fn queue_output(&mut self, socket: u32) {
        let s = &mut self.sockets[socket as usize];
        if let Some(list) = self.pending.get_mut(s.wire as usize)
            && !s.has(SocketFlags::PENDING)
        {
            s.set(SocketFlags::PENDING, true);
            list.push(self.sockets, socket);
        }
    }

    /// Whether any socket waits for room on a wire.
    #[inline]
    pub(crate) fn has_pending(&self, wire: u32) -> bool {
        self.pending[wire as usize].head != 0
    }

    /// Takes `socket`, which follows `before` (NONE if it is the first), off its wire's pending list.
    fn unlink_pending(&mut self, wire: u32, before: u32, socket: u32) {
        let s = self.at(socket);
        s.set(SocketFlags::PENDING, false);
        let next = core::mem::replace(&mut s.pending_next, NONE);
        if before == NONE {
            self.pending[wire as usize].head = next.wrapping_add(1);
        } else {
            self.at(before).pending_next = next;
        }
        if next == NONE {
            self.pending[wire as usize].tail = before.wrapping_add(1);
        }
    }

    /// Takes a socket that ends off the pending list, wherever it stands: rare, as output is drained first.
    pub(crate) fn cancel_output(&mut self, socket: u32) {
        let (wire, pending) = (
            self.at(socket).wire,
            self.at(socket).has(SocketFlags::PENDING),
        );
        if !pending || wire as usize >= self.pending.len() {
            return;
        }
        let (mut before, mut at) = (NONE, self.pending[wire as usize].head.wrapping_sub(1));
        let mut steps = self.socket_steps();
        while at != NONE && at != socket {
            steps.step();
            (before, at) = (at, self.at(at).pending_next);
        }
        if at == socket {
            self.unlink_pending(wire, before, socket);
        }
    }

    /// Sends segments of a connection. True when there is more, for which there was no room or no time.
    fn transmit(&mut self, index: u32, port: &mut impl Port) -> bool {
        let caps = port.caps();
        let now = self.now();
        // Held back until the next station is known; whoever finds it sends what waits.
        let Some(stations) = self.stations(self.sockets[index as usize].hop) else {
            self.sockets[index as usize].tcb.on_held_back(now);
            return false;
        };
        let cuts = caps.cut_bytes_max != 0 && stations.vlan == 0;
        let (mut held, mut sent) = (None, 0);
        let mut steps = Steps::new(SEGMENTS_MAX);
        while sent < BURST || held.is_some() {
            steps.step();
            let s = &mut self.sockets[index as usize];
            let mut env = Env {
                now,
                pool: &mut self.pool,
            };
            let polled = match held.take() {
                None if !s.tcb.wants_output() => return false,
                None if port.tx_room() == 0 => return true,
                None => s.tcb.poll_transmit(&mut env),
                // It was taken when there was room for one more.
                held => held,
            };
            let Some(mut segment) = polled else {
                return false;
            };
            let cut = segment.payload_len;
            if cuts && s.tcb.has_whole_unsent(cut) {
                let most = (caps.cut_bytes_max - HEADERS_MAX) / cut;
                let segments = gather(&mut s.tcb, &mut env, &mut segment, (most, &mut held));
                if segments > 1 {
                    self.send_cut(index, port, stations, &segment, (segments, cut));
                    sent += segments;
                    continue;
                }
            }
            self.send_segment(index, port, stations, &segment);
            sent += 1;
        }
        self.sockets[index as usize].tcb.wants_output()
    }

    /// Writes the headers of a segment, but for its checksum. Returns where they go to, where that of TCP begins, and where
    /// they end.
    #[inline]
    fn emit_headers(
        &self,
        index: u32,
        stations: Stations,
        segment: &Transmit,
        headers: &mut [u8; HEADERS_MAX],
    ) -> (Path, usize, usize) {
        let s = &self.sockets[index as usize];
        let path = Path {
            src: s.local.addr,
            dst: s.remote.addr,
            hop_limit: s.hop_limit,
            tos: if segment.ect {
                s.tos & !ECN_FIELD | ECT_0
            } else {
                s.tos
            },
            ident: 0,
        };
        let header_len = segment.repr.header_len();
        let ip = emit_ip(
            headers,
            stations,
            &path,
            Protocol::TCP,
            header_len + segment.payload_len,
        );
        segment.repr.emit(&mut headers[ip..]);
        (path, ip, ip + header_len)
    }

    /// Sends one segment. There is room.
    #[inline]
    fn send_segment(
        &mut self,
        index: u32,
        port: &mut impl Port,
        stations: Stations,
        segment: &Transmit,
    ) {
        let mut headers = [0; HEADERS_MAX];
        let (path, ip, at) = self.emit_headers(index, stations, segment, &mut headers);
        let s = &mut self.sockets[index as usize];
        if s.template.is_empty() {
            s.template.keep(&headers[..at]);
        }
        let unfinished = self.checksums_unneeded(port);
        if !unfinished && is_left_to_link(port, segment.payload_len) {
            let checksum = begin_checksum(
                &mut headers[..at],
                (ip, tcp::CHECKSUM_OFFSET),
                &path,
                Protocol::TCP,
                segment.payload_len,
            );
            self.send_unfinished(port, &headers[..at], segment, checksum);
            return;
        }
        let pool = &self.pool;
        let sent = port.tx(at + segment.payload_len, |mut frame| {
            segment.copy_payload(pool, &mut frame.skip(at));
            if !unfinished {
                let sum = payload_sum(&mut frame.skip(at), segment.payload_len);
                put_checksum(
                    &mut headers[ip..at],
                    tcp::CHECKSUM_OFFSET,
                    &path,
                    Protocol::TCP,
                    segment.payload_len,
                    sum,
                );
            }
            frame.copy_from(&headers[..at]);
        });
        debug_assert!(sent, "room was checked");
        self.count_sent(1, segment);
    }

    /// Sends a segment whose checksum the link finishes.
    #[inline(never)]
    fn send_unfinished(
        &mut self,
        port: &mut impl Port,
        headers: &[u8],
        segment: &Transmit,
        checksum: Unfinished,
    ) {
        let pool = &self.pool;
        let bytes = headers.len() + segment.payload_len;
        let sent = port.tx_unfinished(bytes, checksum, |mut frame| {
            frame.copy_from(headers);
            segment.copy_payload(pool, &mut frame.skip(headers.len()));
        });
        debug_assert!(sent, "room was checked");
        self.count_sent(1, segment);
    }

    /// Sends a long segment, which the link is to cut into so many of so many bytes.
    #[inline(never)]
    fn send_cut(
        &mut self,
        index: u32,
        port: &mut impl Port,
        stations: Stations,
        segment: &Transmit,
        (segments, segment_bytes): (usize, usize),
    ) {
        let mut headers = [0; HEADERS_MAX];
        let (path, ip, at) = self.emit_headers(index, stations, segment, &mut headers);
        begin_checksum(
            &mut headers[..at],
            (ip, tcp::CHECKSUM_OFFSET),
            &path,
            Protocol::TCP,
            segment.payload_len,
        );
        let cut = Cut {
            tcp_offset: ip,
            payload_offset: at,
            segment_bytes,
            segments,
            is_v6: !path.dst.is_v4(),
        };
        let pool = &self.pool;
        let taken = port.tx_cut(at + segment.payload_len, cut, |mut frame| {
            frame.copy_from(&headers[..at]);
            segment.copy_payload(pool, &mut frame.skip(at));
        });
        debug_assert!(taken, "room was checked");
        self.count_sent(segments as u64, segment);
    }

    /// Counts the segments that a polled one made.
    #[inline]
    const fn count_sent(&mut self, segments: u64, segment: &Transmit) {
        self.counters.tx_frames += segments;
        self.counters.tcp_tx_segments += segments;
        self.counters.tcp_tx_bytes += segment.payload_len as u64;
    }

    /// Sends one datagram; false when the port has no room.
    pub(crate) fn transmit_datagram(
        &mut self,
        port: &mut impl Port,
        stations: Stations,
        path: &Path,
        ports: (u16, u16),
        payload: &[Foreign<'_>],
    ) -> bool {
        let payload_len: usize = payload.iter().map(Foreign::len).sum();
        let mut headers = [0; HEADERS_MAX];
        let ip = emit_ip(
            &mut headers,
            stations,
            path,
            Protocol::UDP,
            udp::HEADER_BYTES + payload_len,
        );
        udp::Repr {
            src_port: ports.0,
            dst_port: ports.1,
            payload_len,
            has_checksum: true,
        }
        .emit(&mut headers[ip..]);
        let at = ip + udp::HEADER_BYTES;
        let unfinished = self.checksums_unneeded(port);
        let left = !unfinished && is_left_to_link(port, payload_len);
        let sent = if left {
            let checksum = begin_checksum(
                &mut headers[..at],
                (ip, udp::CHECKSUM_OFFSET),
                path,
                Protocol::UDP,
                payload_len,
            );
            port.tx_unfinished(at + payload_len, checksum, |mut frame| {
                put_datagram(&mut frame, &headers[..at], payload);
            })
        } else {
            port.tx(at + payload_len, |mut frame| {
                put_datagram(&mut frame, &headers[..at], payload);
                if !unfinished {
                    let sum = payload_sum(&mut frame.skip(at), payload_len);
                    put_checksum(
                        &mut headers[ip..at],
                        udp::CHECKSUM_OFFSET,
                        path,
                        Protocol::UDP,
                        payload_len,
                        sum,
                    );
                    frame.copy_from(&headers[..at]);
                }
            })
        };
        if sent {
            self.counters.tx_frames += 1;
            self.counters.udp_tx_datagrams += 1;
        }
        sent
    }

    /// Keeps a packet that answers without a socket until the wire it came from is flushed.
    pub(crate) fn reply(&mut self, path: &Path, protocol: Protocol, transport: &[u8]) {
        if self.replies.len() >= REPLIES_MAX || transport.len() + HEADERS_MAX > REPLY_BYTES {
            return;
        }
        let mut headers = [0; HEADERS_MAX];
        let ip = emit_ip(&mut headers, self.back, path, protocol, transport.len());
        let mut reply = Reply {
            len: ip + transport.len(),
            bytes: [0; REPLY_BYTES],
        };
        reply.bytes[..ip].copy_from_slice(&headers[..ip]);
        reply.bytes[ip..reply.len].copy_from_slice(transport);
        self.replies.push(reply);
    }

    fn send_replies(&mut self, port: &mut impl Port) {
        for reply in self.replies.drain(..) {
            if port.tx(reply.len, |mut frame| {
                frame.copy_from(&reply.bytes[..reply.len]);
            }) {
                self.counters.tx_frames += 1;
            }
        }
    }
}

/// Polls segments that go on where the last one ended, until there are `most`. The first one that does not go on is `held`.
/// Returns how many there are.
#[inline(never)]
fn gather(
    tcb: &mut Tcb,
    env: &mut Env<'_, '_>,
    segment: &mut Transmit,
    (most, held): (usize, &mut Option<Transmit>),
) -> usize {
    let cut = segment.payload_len;
    let mut segments = 1;
    while segments < most
        && let Some(next) = tcb.poll_transmit(env)
    {
        if !segment.absorb(&next, cut) {
            *held = Some(next);
            break;
        }
        segments += 1;
    }
    segments
}

/// Whether the checksum over so much payload is left to the link.
#[inline]
pub(crate) fn is_left_to_link(port: &impl Port, payload_len: usize) -> bool {
    payload_len >= UNFINISHED_MIN && port.caps().finishes_checksums
}

/// Writes the sum over the pseudo-header in place of a checksum, for the link to finish, into headers of which that of the
/// transport begins at `start`.
fn begin_checksum(
    headers: &mut [u8],
    (start, offset): (usize, usize),
    path: &Path,
    protocol: Protocol,
    payload_len: usize,
) -> Unfinished {
    let len = u32::try_from(headers.len() - start + payload_len).unwrap_or(0);
    let pseudo = checksum::pseudo_header(path.src, path.dst, protocol.0, len);
    let begun = checksum::fold(pseudo).to_be_bytes();
    headers[start + offset..start + offset + 2].copy_from_slice(&begun);
    Unfinished { start, offset }
}

/// Writes headers and parts of a datagram one behind the other.
fn put_datagram(frame: &mut ForeignMut<'_>, headers: &[u8], payload: &[Foreign<'_>]) {
    let mut done = frame.copy_from(headers);
    for part in payload {
        done += frame.skip(done).copy_from_foreign(*part);
    }
}

/// The sum over a payload as it lies in the frame.
fn payload_sum(payload: &mut ForeignMut<'_>, len: usize) -> u64 {
    payload.first(len).as_foreign().fold(0, checksum::sum)
}

/// Finishes the checksum of a transport header, given the sum over its payload.
pub(crate) fn put_checksum(
    header: &mut [u8],
    offset: usize,
    path: &Path,
    protocol: Protocol,
    payload_len: usize,
    payload_sum: u64,
) {
    let len = u32::try_from(header.len() + payload_len).unwrap_or(0);
    let pseudo = checksum::pseudo_header(path.src, path.dst, protocol.0, len);
    let header_sum = checksum::sum(pseudo, header);
    // Sums are kept in the byte order of memory, and so must the payload's be that is added to the header's.
    let payload_sum = checksum::fold(payload_sum).to_be_bytes();
    let value = checksum::finish(checksum::sum(header_sum, &payload_sum));
    let field = if protocol == Protocol::UDP {
        udp::checksum_field(value)
    } else {
        value.to_be_bytes()
    };
    header[offset..offset + 2].copy_from_slice(&field);
}

/// The addresses of an answer to what came from `remote` to `local`.
pub(crate) const fn back(local: &Endpoint, remote: &Endpoint) -> Path {
    Path {
        src: local.addr,
        dst: remote.addr,
        hop_limit: 64,
        tos: 0,
        ident: 0,
    }
}
