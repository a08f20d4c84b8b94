//! The short ways out: a message that makes one segment and that nothing stands in the way of, which leaves from the
//! program's own memory and is queued for retransmission when it is on its way; and an acknowledgement by itself.

use crate::tcb::{Env, Marks, Tcb};
use sidestep_shm::{CHUNK_BYTES, Foreign, Nanos, Use};
use sidestep_wire::plain::Plain;

impl Tcb {
    /// The segment that a message of `len` bytes makes, if it can leave now; it counts as sent, and
    /// [`queue_sent`](Self::queue_sent) must follow with its bytes before anything else is done with the connection.
    /// None where [`send`](Self::send) is the way.
    #[inline]
    pub fn send_at_once(&mut self, env: &mut Env<'_, '_>, len: usize) -> Option<Plain> {
        let bytes = u32::try_from(len).ok()?;
        let flight = self.flight_bytes();
        let undisturbed = self.is_calm() && flight == self.snd.len();
        let busy = Marks::OUTPUT.difference(Marks::ACK_NOW)
            | Marks::CORK
            | Marks::MORE
            | Marks::SPECIAL
            | Marks::UNCORKED
            | Marks::NO_SPACE
            | Marks::FIN_QUEUED
            | Marks::PACED
            | Marks::URGENT;
        if !undisturbed || self.is(busy) || len == 0 || len > CHUNK_BYTES {
            return None;
        }
        self.revalidate_window(env.now);
        let window = self.snd_wnd.min(self.congestion.cwnd);
        let whole = bytes >= u32::from(self.mss);
        let nagle = !whole && !self.is(Marks::NODELAY) && self.snd_sml.gt(self.snd_una);
        let room = bytes <= self.buffer_room()
            && flight + bytes <= window
            && bytes <= u32::from(self.mss)
            && env.pool.has_free(Use::Send);
        if nagle || !room {
            return None;
        }
        let seq = self.snd_nxt;
        let end = seq + bytes;
        self.note_data_sent(env, end);
        if !whole {
            self.snd_sml = end;
        }
        self.marks.remove(Marks::CWND_LIMITED);
        self.counters.segments_out += 1;
        Some(Plain {
            seq,
            push: true,
            ..self.plain_header(env.now)
        })
    }

    /// Whether an acknowledgement is due, and nothing else, that says nothing but what every segment says: then
    /// [`acknowledge_at_once`](Self::acknowledge_at_once) gives it, else [`poll_transmit`](Self::poll_transmit) is the way.
    #[inline]
    pub fn owes_acknowledgement(&self) -> bool {
        // With timestamps, as those have whose headers are known.
        let all = Marks::OUTPUT | Marks::URGENT | Marks::TIMESTAMPS;
        self.marks.intersection(all) == Marks::ACK_NOW | Marks::TIMESTAMPS
            && self.is_calm()
            && !self.blocks.any()
    }

    /// The acknowledgement that [is due](Self::owes_acknowledgement); it counts as sent.
    #[inline]
    pub fn acknowledge_at_once(&mut self, now: Nanos) -> Plain {
        debug_assert!(self.owes_acknowledgement());
        self.counters.segments_out += 1;
        Plain {
            timestamps: Some(self.timestamps(now)),
            ..self.plain_header(now)
        }
    }

    /// Keeps the bytes of the segment that [`send_at_once`](Self::send_at_once) gave.
    #[inline]
    pub fn queue_sent(&mut self, env: &mut Env<'_, '_>, payload: Foreign<'_>) {
        let queued = self.snd.append(env.pool, payload);
        debug_assert_eq!(queued, payload.len(), "a free chunk was seen");
    }
}
