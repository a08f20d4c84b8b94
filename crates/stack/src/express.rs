//! The short ways of a plain TCP segment through the stack: in, when it is the next one of a connection; out, when a
//! message can leave at once. Whatever is not so takes the long ways of `input` and `output`, which know all cases.

use crate::hops::Stations;
use crate::input::From;
use crate::memory::{Core, Stack};
use crate::output::is_left_to_link;
use crate::socket::{Kind, Socket, SocketFlags, SocketRef};
use crate::udp::Datagram;
use crate::wires::UNHEARD_MAX;
use crate::{Endpoint, Result};
use sidestep_nic::{Port, Unfinished, on_port};
use sidestep_shm::{Foreign, ForeignMut, NONE, Nanos};
use sidestep_tcp::{Env, Events, Sink};
use sidestep_wire::plain::{self, Arrived, BYTES_MAX, Plain, Template, V4_BYTES, V4Ends, V6_BYTES};
use sidestep_wire::vlan::TAG_BYTES;
use sidestep_wire::{checksum, ethernet, tcp};

mod datagram;

pub(crate) use datagram::{Aim, Recent};

/// The reader for whom the wires are looked at: what comes next for it is copied straight to where it wants it.
pub(crate) struct Reader<'s, 'm> {
    socket: u32,
    sink: Sink<'s, 'm>,
    /// The datagram that it got, of which one is enough.
    datagram: Option<Datagram>,
}

impl<'s, 'm> Reader<'s, 'm> {
    const fn new(r: SocketRef, into: &'s mut ForeignMut<'m>) -> Self {
        Self {
            socket: r.index,
            sink: Sink::new(into),
            datagram: None,
        }
    }
}

impl Stack<'_> {
    /// As [`recv`](Self::recv), after a look at the wires where nothing is there yet.
    #[inline]
    pub fn recv_new(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        peek: bool,
    ) -> Result<usize> {
        if self.core.socket(r)?.tcb.recv_len() > 0 {
            return self.recv(now, r, parts, peek);
        }
        let [into] = parts else {
            self.poll(now);
            return self.recv(now, r, parts, peek);
        };
        if peek {
            self.poll(now);
            return self.recv(now, r, parts, peek);
        }
        let mut reader = Reader::new(r, into);
        self.poll_for(now, Some(&mut reader));
        let got = reader.sink.filled();
        if got == 0 {
            return self.recv(now, r, parts, false);
        }
        if got < into.len() && self.core.socket(r).is_ok_and(|s| s.tcb.recv_len() > 0) {
            let more = self.recv(now, r, &mut [into.skip(got)], false);
            return Ok(got + more.unwrap_or(0));
        }
        Ok(got)
    }

    /// Sends a message as one segment, straight from the program's memory, if nothing stands in the way; the usual
    /// case of request and answer. None where [`send`](Self::send) is to see to it.
    #[inline]
    pub fn send_at_once(
        &mut self,
        now: Nanos,
        r: SocketRef,
        message: Foreign<'_>,
    ) -> Option<usize> {
        let now = self.core.advance(now);
        let core = &mut self.core;
        let s = core.socket(r).ok()?;
        let wire = s.wire;
        if s.template.is_empty()
            || s.error != 0
            || s.kind != Kind::Stream as u8
            || s.has(SocketFlags::SHUT_WRITE)
        {
            return None;
        }
        let entry = self.wires.get_mut(wire as usize)?;
        if !entry.is_open() || core.has_pending(wire) {
            return None;
        }
        let port = self.links.port(wire, entry, &mut self.faults, now)?;
        on_port!(port, port => core.send_over(&mut port, now, r.index, message))?;
        Some(message.len())
    }
}

impl Core<'_> {
    /// The part of [`Stack::send_at_once`] that speaks to the port.
    #[inline]
    fn send_over(
        &mut self,
        port: &mut impl Port,
        now: Nanos,
        index: u32,
        message: Foreign<'_>,
    ) -> Option<()> {
        if port.tx_room() == 0 {
            return None;
        }
        if port.tx_unheard() >= UNHEARD_MAX {
            return None;
        }
        let unneeded = self.checksums_unneeded(port);
        let socket = &mut self.sockets[index as usize];
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        let segment = socket.tcb.send_at_once(&mut env, message.len())?;
        let sent = put_plain(port, &socket.template, segment, message, unneeded);
        debug_assert!(sent, "room was checked");
        port.tx_flush();
        socket.tcb.queue_sent(&mut env, message);
        self.counters.tx_frames += 1;
        self.counters.tcp_tx_segments += 1;
        self.counters.tcp_tx_bytes += message.len() as u64;
        let due = socket.tcb.next_timeout();
        if due < socket.timer_at {
            self.schedule(index, due);
        }
        Some(())
    }

    /// Whether nobody at the other end of a port looks at checksums.
    #[inline]
    pub(crate) fn checksums_unneeded(&self, port: &impl Port) -> bool {
        port.caps().tx_checksum_unneeded && self.header.checksums == 0
    }

    /// Counts so many acknowledgements that [`acknowledge_over`] sent.
    #[inline]
    pub(crate) const fn count_acknowledgements(&mut self, sent: u64) {
        self.counters.tx_frames += sent;
        self.counters.tcp_tx_segments += sent;
    }

    /// Works a frame of IPv4 from a wire between stacks in whose segment is the next one of the connection that comes first to
    /// mind. False, and nothing has changed, for all others.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    pub(crate) fn on_plain_v4(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some(head) = frame.to_array::<V4_BYTES>() else {
            return false;
        };
        let Some(arrived) = plain::parse_v4(&head, frame.len()) else {
            return false;
        };
        let guess = match &reader {
            Some(reader) if self.has_v4(reader.socket, &arrived.ends) => Some(reader.socket),
            _ if self.guess != NONE => Some(self.guess),
            _ => self.guess_v4(&arrived.ends),
        };
        let Some(first) = guess else {
            return false;
        };
        let payload = frame.skip(V4_BYTES).first(arrived.payload_len);
        self.has_v4(first, &arrived.ends)
            && self.on_plain_segment(first, wire, &arrived.segment, payload, reader)
    }

    /// The same with any connection, or with IPv6.
    pub(crate) fn on_plain_frame(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some(head) = Head::parse(frame, false) else {
            return false;
        };
        let payload = frame.skip(head.bytes).first(head.payload_len);
        match self.find_ends(&head.ends) {
            Some(index) => self.on_other_segment(index, wire, &head.segment, payload, reader),
            None => false,
        }
    }

    fn find_ends(&mut self, ends: &Ends) -> Option<u32> {
        match ends {
            Ends::V4(ends) => self.find_v4(ends),
            Ends::V6(local, remote) => self.find_recent_flow(local, remote),
        }
    }

    /// As [`on_plain_frame`](Self::on_plain_frame) for frames that came over a network, or whose checksums are to be
    /// verified. One from another station than the last is not taken: the station may have moved.
    pub(crate) fn on_plain_network_frame(
        &mut self,
        from: From,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some(head) = Head::parse(frame, from.verify) else {
            return false;
        };
        let Some(index) = self.find_ends(&head.ends) else {
            return false;
        };
        let socket = &self.sockets[index as usize];
        let same_station = !from.network || socket.heard == head.station;
        let wire = socket.wire;
        if !same_station || !self.is_same_side(wire, from.wire) {
            return false;
        }
        let payload = frame.skip(head.bytes).first(head.payload_len);
        if from.verify {
            let whole = head.sum.map(|sum| payload.fold(sum, checksum::sum));
            if whole.map(checksum::finish) != Some(0) {
                return false;
            }
        }
        self.on_other_segment(index, wire, &head.segment, payload, reader)
    }

    /// As [`on_plain_segment`](Self::on_plain_segment), for those that are not so near to each other.
    #[inline(never)]
    fn on_other_segment(
        &mut self,
        index: u32,
        wire: u32,
        segment: &Plain,
        payload: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        self.on_plain_segment(index, wire, segment, payload, reader)
    }

    /// Gives a connection over `wire` a segment, if it is the next one. Else false, and nothing has changed.
    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    fn on_plain_segment(
        &mut self,
        index: u32,
        wire: u32,
        segment: &Plain,
        payload: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(index as usize) else {
            return false;
        };
        // A peer speaks for its own wire only.
        if socket.wire != wire || !socket.tcb.expects(segment, payload.len()) {
            return false;
        }
        let sink = reader
            .filter(|reader| reader.socket == index)
            .map(|reader| &mut reader.sink);
        let mut env = Env {
            now: self.header.now,
            pool: &mut self.pool,
        };
        let events = socket.tcb.on_expected(&mut env, segment, payload, sink);
        let counters = &mut *self.counters;
        counters.tcp_rx_segments += 1;
        counters.tcp_rx_bytes += payload.len() as u64;
        let more = events.difference(Events::OUTPUT);
        // As a rule there is something to read, nobody waits for it, and no deadline is nearer.
        let quiet = (more == Events::READABLE || more.is_empty())
            && socket.watches == NONE
            && !socket.has(SocketFlags::DEFERRED)
            && socket.timer_at <= socket.tcb.plain_timeout();
        if events.contains(Events::OUTPUT) && !socket.has(SocketFlags::PENDING) {
            socket.set(SocketFlags::PENDING, true);
            self.pending[wire as usize].push(self.sockets, index);
        }
        if !quiet {
            self.on_plain_news(index, more);
        }
        true
    }

    /// What the next segment of a connection has led to.
    #[inline(never)]
    fn on_plain_news(&mut self, index: u32, events: Events) {
        let socket = &self.sockets[index as usize];
        let due = socket.tcb.plain_timeout();
        if due < socket.timer_at {
            self.schedule(index, due);
        }
        self.on_events(index, events);
    }
}

/// Sends the acknowledgement that a connection owes, where that is all it has to send; there is room, and `unneeded` says
/// of [checksums](Core::checksums_unneeded). Else false, and nothing has changed: [`Core::transmit`] is the way. No deadline
/// is nearer for it, and nothing else has come of it. The caller [counts](Core::count_acknowledgements).
#[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
#[inline(always)]
pub(crate) fn acknowledge_over(
    port: &mut impl Port,
    socket: &mut Socket,
    now: Nanos,
    unneeded: bool,
) -> bool {
    // Both conditions in one: no headers are so long.
    let plain_bytes = if unneeded { V4_BYTES } else { usize::MAX };
    if socket.template.len() != plain_bytes {
        return acknowledge_otherwise(port, socket, now, unneeded);
    }
    if !socket.tcb.owes_acknowledgement() {
        return false;
    }
    let sent = port.tx(V4_BYTES, move |mut frame| {
        let segment = socket.tcb.acknowledge_at_once(now);
        frame.copy_array(&socket.template.v4_bare(&segment));
    });
    debug_assert!(sent, "room was checked");
    true
}

/// The same with a checksum, or not over IPv4.
#[inline(never)]
fn acknowledge_otherwise(
    port: &mut impl Port,
    socket: &mut Socket,
    now: Nanos,
    unneeded: bool,
) -> bool {
    if socket.template.is_empty() || !socket.tcb.owes_acknowledgement() {
        return false;
    }
    let segment = socket.tcb.acknowledge_at_once(now);
    let sent = put_plain(port, &socket.template, segment, Foreign::EMPTY, unneeded);
    debug_assert!(sent, "room was checked");
    true
}

/// Whom a segment is for and from.
enum Ends {
    V4(V4Ends),
    /// Our end first.
    V6(Endpoint, Endpoint),
}

/// What the headers of a frame say.
struct Head {
    ends: Ends,
    segment: Plain,
    /// Bytes of headers, and of the payload behind them.
    bytes: usize,
    payload_len: usize,
    /// Where it is to be verified: the sum over all that the TCP checksum covers but the payload; none where the IP header's
    /// own is wrong.
    sum: Option<u64>,
    /// Who sent the frame, as [`Stations::other`] has it.
    station: u64,
}

impl Head {
    /// None also for frames that were sent to a group.
    #[inline]
    fn parse(frame: Foreign<'_>, verify: bool) -> Option<Self> {
        let v4 = frame.to_array::<V4_BYTES>()?;
        match plain::parse_v4(&v4, frame.len()) {
            Some(arrived) => Self::of_v4(&v4, &arrived, (0, 0), verify),
            None => Self::parse_others(frame, verify),
        }
    }

    /// IPv6, and what has a VLAN tag.
    fn parse_others(frame: Foreign<'_>, verify: bool) -> Option<Self> {
        let mut tagged = [0; BYTES_MAX];
        frame.copy_to(&mut tagged);
        let (vlan, head, tag) = match plain::untag(&tagged) {
            Some((vlan, head)) => (vlan, head, TAG_BYTES),
            None => (0, *tagged.first_chunk()?, 0),
        };
        let frame_len = frame.len().checked_sub(tag)?;
        let v4: &[u8; V4_BYTES] = head.first_chunk()?;
        if let Some(arrived) = plain::parse_v4(v4, frame_len) {
            return Self::of_v4(v4, &arrived, (vlan, tag), verify);
        }
        let arrived = plain::parse_v6(&head, frame_len)?;
        let (local, remote) = arrived.ends;
        Some(Self {
            ends: Ends::V6(local, remote),
            segment: arrived.segment,
            bytes: V6_BYTES + tag,
            payload_len: arrived.payload_len,
            sum: verify.then(|| plain::sum_v6(&head)),
            station: station(v4, vlan)?,
        })
    }

    #[inline]
    fn of_v4(
        head: &[u8; V4_BYTES],
        arrived: &Arrived<V4Ends>,
        (vlan, tag): (u16, usize),
        verify: bool,
    ) -> Option<Self> {
        Some(Self {
            ends: Ends::V4(arrived.ends),
            segment: arrived.segment,
            bytes: V4_BYTES + tag,
            payload_len: arrived.payload_len,
            sum: if verify { plain::sum_v4(head) } else { None },
            station: station(head, vlan)?,
        })
    }
}

/// Who sent a frame with this head; none where it was sent to a group.
#[inline]
fn station(head: &[u8; V4_BYTES], vlan: u16) -> Option<u64> {
    let link = ethernet::Repr::parse(head).ok()?;
    let back = Stations {
        dst: link.src,
        src: link.dst,
        vlan,
    };
    link.dst.is_unicast().then(|| back.other())
}

/// Bytes at the start of a frame that are put together before they are written: two cache lines.
const START_BYTES: usize = 128;
const _: () = assert!(START_BYTES > BYTES_MAX);

/// Writes a frame: the headers that `start` begins with, and the message.
#[inline]
fn put(
    frame: &mut ForeignMut<'_>,
    mut start: [u8; START_BYTES],
    headers: usize,
    message: Foreign<'_>,
) {
    let n = message.copy_to(&mut start[headers..]);
    frame.copy_lines(&start, headers + n);
    if n < message.len() {
        frame.skip(START_BYTES).copy_from_foreign(message.skip(n));
    }
}

/// Sends a plain segment: headers from the connection's last ones, and the message. False where there is no room.
#[inline]
fn put_plain(
    port: &mut impl Port,
    template: &Template,
    segment: Plain,
    message: Foreign<'_>,
    unneeded: bool,
) -> bool {
    if !unneeded || !template.is_v4() {
        return put_other(port, template, segment, message, unneeded);
    }
    port.tx(V4_BYTES + message.len(), move |mut frame| {
        frame.copy_array(&template.v4(&segment, message.len()));
        frame.skip(V4_BYTES).copy_from_foreign(message);
    })
}

/// The same where a checksum is to be finished, or that is not of IPv4 without a VLAN tag. Apart from the other, which is so
/// kept short.
#[inline(never)]
fn put_other(
    port: &mut impl Port,
    template: &Template,
    segment: Plain,
    message: Foreign<'_>,
    unneeded: bool,
) -> bool {
    if !unneeded && is_left_to_link(port, message.len()) {
        return put_unfinished(port, template, segment, message);
    }
    port.tx(template.len() + message.len(), |mut frame| {
        let mut headers = [0; BYTES_MAX];
        template.write(&mut headers, &segment, message.len());
        let mut done = template.len();
        if unneeded && !template.is_tagged() {
            frame.skip(done).copy_from_foreign(message);
        } else {
            let sum = message.fold(0, |sum, block| {
                done += frame.skip(done).copy_from(block);
                checksum::sum(sum, block)
            });
            template.put_checksum(&mut headers, message.len(), sum);
        }
        frame.copy_from(&headers[..template.len()]);
    })
}

/// The same where the checksum is left to the link.
fn put_unfinished(
    port: &mut impl Port,
    template: &Template,
    segment: Plain,
    message: Foreign<'_>,
) -> bool {
    let checksum = Unfinished {
        start: template.tcp_start(),
        offset: tcp::CHECKSUM_OFFSET,
    };
    let bytes = template.len() + message.len();
    port.tx_unfinished(bytes, checksum, |mut frame| {
        let mut headers = [0; BYTES_MAX];
        template.write(&mut headers, &segment, message.len());
        template.begin_checksum(&mut headers, message.len());
        frame.copy_from(&headers[..template.len()]);
        frame.skip(template.len()).copy_from_foreign(message);
    })
}
