//! The short ways of a plain TCP segment through the stack: in, when it is the next one of a connection; out, when a
//! message can leave at once. Whatever is not so takes the long ways of `input` and `output`, which know all cases.

use crate::Result;
use crate::memory::{Core, Stack};
use crate::socket::{Kind, SocketFlags, SocketRef};
use sidestep_nic::{Port, on_port};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_tcp::{Env, Sink};
use sidestep_wire::plain::{self, V4_BYTES, V6_BYTES};

/// The reader for whom the wires are looked at: what comes next for it is copied straight to where it wants it.
pub(crate) struct Reader<'s, 'm> {
    socket: u32,
    sink: Sink<'s, 'm>,
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
        let mut reader = Reader {
            socket: r.index,
            sink: Sink::new(into),
        };
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
            || core.header.checksums != 0
        {
            return None;
        }
        let entry = self.wires.get_mut(wire as usize)?;
        if !entry.is_open() || core.has_pending(wire) {
            return None;
        }
        let port = self.links.port(wire, entry)?;
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
        if !port.caps().tx_checksum_unneeded || port.tx_room() == 0 {
            return None;
        }
        let socket = &mut self.sockets[index as usize];
        let mut env = Env {
            now,
            pool: &mut self.pool,
        };
        let segment = socket.tcb.send_at_once(&mut env, message.len())?;
        let template = &socket.template;
        let sent = port.tx(template.len() + message.len(), |mut frame| {
            let mut headers = [0; V6_BYTES];
            template.write(&mut headers, &segment, message.len());
            if template.len() == V4_BYTES {
                frame.copy_array(headers.first_chunk::<V4_BYTES>());
            } else {
                frame.copy_array(Some(&headers));
            }
            frame.skip(template.len()).copy_from_foreign(message);
        });
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

    /// Works a frame in whose segment is the next one of a connection. False, and nothing has changed, for all others.
    #[inline]
    pub(crate) fn on_plain_frame(
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
        let now = self.now();
        let socket = &mut self.sockets[index as usize];
        // A peer speaks for its own wire only.
        if socket.wire != wire {
            return false;
        }
        let sink = reader
            .filter(|reader| reader.socket == index)
            .map(|reader| &mut reader.sink);
        let payload = frame.skip(payload_at).first(arrived.payload_len);
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
        let due = socket.tcb.next_timeout();
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
