//! The short ways of a plain TCP segment through the stack: in, when it is the next one of a connection; out, when a
//! message can leave at once. Whatever is not so takes the long ways of `input` and `output`, which know all cases.

use crate::Result;
use crate::hops::Stations;
use crate::input::From;
use crate::memory::{Core, Stack};
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::udp::Datagram;
use crate::wires::UNHEARD_MAX;
use sidestep_nic::{Port, on_port};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_tcp::{Env, Sink};
use sidestep_wire::plain::{self, BYTES_MAX, Plain, Template, V4_BYTES, V6_BYTES};
use sidestep_wire::vlan::TAG_BYTES;
use sidestep_wire::{checksum, ethernet};

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
        let unneeded = port.caps().tx_checksum_unneeded && self.header.checksums == 0;
        let socket = &mut self.sockets[index as usize];
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        let segment = socket.tcb.send_at_once(&mut env, message.len())?;
        let sent = put_plain(port, &socket.template, &segment, message, unneeded);
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

    /// Sends the acknowledgement that a connection owes, where that is all it has to send. Else false, and nothing has
    /// changed: [`transmit`](Self::transmit) is the way. No deadline is nearer for it, and nothing else has come of it.
    #[inline]
    pub(crate) fn acknowledge_over(&mut self, port: &mut impl Port, index: u32) -> bool {
        let now = self.now();
        let unneeded = port.caps().tx_checksum_unneeded && self.header.checksums == 0;
        let socket = &mut self.sockets[index as usize];
        if socket.template.is_empty() || port.tx_room() == 0 {
            return false;
        }
        let Some(segment) = socket.tcb.acknowledge_at_once(now) else {
            return false;
        };
        let nothing = Foreign::from(&[][..]);
        let sent = put_plain(port, &socket.template, &segment, nothing, unneeded);
        debug_assert!(sent, "room was checked");
        self.counters.tx_frames += 1;
        self.counters.tcp_tx_segments += 1;
        true
    }

    /// Works a frame from a wire between stacks in, if a short way is for it. Else false, and nothing has changed.
    #[inline]
    pub(crate) fn on_plain_wire_frame(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        mut reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        self.on_plain_frame(wire, frame, reader.as_deref_mut())
            || self.on_plain_datagram(wire, frame, reader)
    }

    /// Works a frame in whose segment is the next one of a connection. False, and nothing has changed, for all others.
    #[inline]
    fn on_plain_frame(
        &mut self,
        wire: u32,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some((arrived, payload_at)) = parse(frame) else {
            return false;
        };
        let Some(index) = self.find_recent_flow(&arrived.local, &arrived.remote) else {
            return false;
        };
        // A peer speaks for its own wire only.
        if self.sockets[index as usize].wire != wire {
            return false;
        }
        self.on_plain_segment(index, &arrived, frame.skip(payload_at), reader)
    }

    /// As [`on_plain_frame`](Self::on_plain_frame) for frames that came over a network, or whose checksums are to be
    /// verified. One from another station than the last is not taken: the station may have moved.
    pub(crate) fn on_plain_network_frame(
        &mut self,
        from: From,
        frame: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let Some(head) = Head::parse(frame) else {
            return false;
        };
        let arrived = &head.arrived;
        let Some(index) = self.find_recent_flow(&arrived.local, &arrived.remote) else {
            return false;
        };
        let socket = &self.sockets[index as usize];
        let same_station = !from.network || socket.heard == head.station;
        if !same_station || !self.is_same_side(socket.wire, from.wire) {
            return false;
        }
        let payload = frame.skip(head.bytes);
        if from.verify {
            let payload = payload.first(arrived.payload_len);
            let whole = head.sum.map(|sum| payload.fold(sum, checksum::sum));
            if whole.map(checksum::finish) != Some(0) {
                return false;
            }
        }
        self.on_plain_segment(index, arrived, payload, reader)
    }

    #[inline]
    fn on_plain_segment(
        &mut self,
        index: u32,
        arrived: &plain::Arrived,
        payload: Foreign<'_>,
        reader: Option<&mut Reader<'_, '_>>,
    ) -> bool {
        let now = self.now();
        let socket = &mut self.sockets[index as usize];
        let sink = reader
            .filter(|reader| reader.socket == index)
            .map(|reader| &mut reader.sink);
        let payload = payload.first(arrived.payload_len);
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        let Some(events) = socket
            .tcb
            .on_plain(&mut env, &arrived.segment, payload, sink)
        else {
            return false;
        };
        self.counters.tcp_rx_segments += 1;
        self.counters.tcp_rx_bytes += arrived.payload_len as u64;
        let due = socket.tcb.plain_timeout();
        if due < socket.timer_at {
            self.schedule(index, due);
        }
        if !events.is_empty() {
            self.on_events(index, events);
        }
        true
    }
}

/// The headers, copied once, and where the payload begins.
#[inline]
fn parse(frame: Foreign<'_>) -> Option<(plain::Arrived, usize)> {
    let head = frame.to_array::<V4_BYTES>()?;
    if let Some(arrived) = plain::parse_v4(&head, frame.len()) {
        return Some((arrived, V4_BYTES));
    }
    let head = frame.to_array::<V6_BYTES>()?;
    plain::parse_v6(&head, frame.len()).map(|arrived| (arrived, V6_BYTES))
}

/// What the headers of a frame from a network say.
struct Head {
    arrived: plain::Arrived,
    /// Where the payload begins.
    bytes: usize,
    /// The sum over all that the TCP checksum covers but the payload; none where the IP header's own is wrong.
    sum: Option<u64>,
    /// Who sent the frame, as [`Stations::other`] has it.
    station: u64,
}

impl Head {
    /// None also for frames that were sent to a group.
    #[inline]
    fn parse(frame: Foreign<'_>) -> Option<Self> {
        let v4 = frame.to_array::<V4_BYTES>()?;
        if let Some(arrived) = plain::parse_v4(&v4, frame.len()) {
            let sum = plain::sum_v4(&v4);
            return Self::of(&v4, (arrived, sum), V4_BYTES, 0);
        }
        Self::parse_others(frame)
    }

    /// IPv6, and what has a VLAN tag.
    fn parse_others(frame: Foreign<'_>) -> Option<Self> {
        let mut tagged = [0; BYTES_MAX];
        frame.copy_to(&mut tagged);
        let (vlan, head, tag) = match plain::untag(&tagged) {
            Some((vlan, head)) => (vlan, head, TAG_BYTES),
            None => (0, *tagged.first_chunk()?, 0),
        };
        let frame_len = frame.len().checked_sub(tag)?;
        let v4: &[u8; V4_BYTES] = head.first_chunk()?;
        if let Some(arrived) = plain::parse_v4(v4, frame_len) {
            let sum = plain::sum_v4(v4);
            return Self::of(v4, (arrived, sum), V4_BYTES + tag, vlan);
        }
        let arrived = plain::parse_v6(&head, frame_len)?;
        let sum = Some(plain::sum_v6(&head));
        Self::of(v4, (arrived, sum), V6_BYTES + tag, vlan)
    }

    #[inline]
    fn of(
        head: &[u8; V4_BYTES],
        (arrived, sum): (plain::Arrived, Option<u64>),
        bytes: usize,
        vlan: u16,
    ) -> Option<Self> {
        let link = ethernet::Repr::parse(head).ok()?;
        let back = Stations {
            dst: link.src,
            src: link.dst,
            vlan,
        };
        link.dst.is_unicast().then_some(Self {
            arrived,
            bytes,
            sum,
            station: back.other(),
        })
    }
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
    segment: &Plain,
    message: Foreign<'_>,
    unneeded: bool,
) -> bool {
    let bytes = template.len() + message.len();
    if !unneeded || template.is_tagged() {
        return port.tx(bytes, |mut frame| {
            put_finished(template, segment, &mut frame, message);
        });
    }
    port.tx(bytes, |mut frame| {
        let mut headers = [0; BYTES_MAX];
        template.write(&mut headers, segment, message.len());
        if template.len() == V4_BYTES {
            frame.copy_array(headers.first_chunk::<V4_BYTES>());
        } else {
            frame.copy_array(headers.first_chunk::<V6_BYTES>());
        }
        frame.skip(template.len()).copy_from_foreign(message);
    })
}

/// Writes a frame whose checksum is finished, or that has a VLAN tag. Apart from the other, which is so kept short.
#[inline(never)]
fn put_finished(
    template: &Template,
    segment: &Plain,
    frame: &mut ForeignMut<'_>,
    message: Foreign<'_>,
) {
    let mut headers = [0; BYTES_MAX];
    template.write(&mut headers, segment, message.len());
    let mut done = template.len();
    let sum = message.fold(0, |sum, block| {
        done += frame.skip(done).copy_from(block);
        checksum::sum(sum, block)
    });
    template.put_checksum(&mut headers, message.len(), sum);
    frame.copy_from(&headers[..template.len()]);
}
