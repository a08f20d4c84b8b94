//! The data path: frames out of the receiving ring, frames into the sending ring.
//!
//! The fast path is a frame in one buffer. What a frame costs is cache lines that move between cores: the index,
//! the descriptor and the data. So the peer's index is read again only when what we know is used up; consumed
//! slots go back by the quarter ring; and lines are asked for before they are needed.

use super::attach::{Attachment, CHAIN_BYTES_MAX};
use super::layout::{BUFFER_BYTES_MIN, DESC_NEXT, Desc, Role};
use super::state::State;
use super::sys;
use crate::{Caps, Port, PortStats};
use sidestep_shm::{Ahead, Foreign, ForeignMut};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// How many frames ahead data is fetched within a batch.
const PREFETCH_AHEAD: u16 = 4;

/// One end of a memif link, for one poll: what is shared, and what is this process's.
pub struct Memif<'a> {
    state: &'a mut State,
    at: &'a Attachment,
}

/// A buffer to send from.
struct Place {
    region: u16,
    offset: u32,
    capacity: usize,
}

impl<'a> Memif<'a> {
    /// Brings both halves together.
    #[inline]
    pub const fn new(state: &'a mut State, at: &'a Attachment) -> Self {
        Self { state, at }
    }

    /// Whether the peer's indices made no sense, so that nothing will move any more. The link should be closed.
    #[inline]
    pub const fn is_broken(&self) -> bool {
        self.state.broken != 0
    }

    /// As the slave of a stranger, when it has answered CONNECTED: posts the empty buffers. (The strangers' masters
    /// zero both indices of both rings when they connect.)
    pub(super) fn open(&mut self) {
        if self.state.role() == Role::Slave {
            self.at.tx.publish(self.state.tx.next);
            self.publish_consumed();
        }
    }

    /// Looks at the sender's index. Returns how many slots are ours to read.
    #[inline]
    fn refresh_rx(&mut self) -> u16 {
        let limit = self.at.rx.peer_index();
        let known = limit.wrapping_sub(self.state.rx.next);
        if known > self.at.rx.slots() || self.state.broken != 0 {
            self.state.broken = 1;
            return 0;
        }
        self.state.rx.limit = limit;
        known
    }

    /// Looks at the receiver's index. Returns how many slots are ours to fill.
    #[inline]
    fn refresh_tx(&mut self) -> u16 {
        let index = self.at.tx.peer_index();
        let slots = self.at.tx.slots();
        let limit = match self.state.role() {
            // The receiver's tail: what lies before it is free for the next lap.
            Role::Slave => index.wrapping_add(slots),
            // The receiver's head: what lies before it holds empty buffers.
            Role::Master => index,
        };
        let known = limit.wrapping_sub(self.state.tx.next);
        if known > slots || self.state.broken != 0 {
            self.state.broken = 1;
            return 0;
        }
        self.state.tx.limit = limit;
        known
    }

    /// Gives all slots that were read back to the sender.
    #[inline]
    fn publish_consumed(&mut self) {
        let rx = &mut self.state.rx;
        rx.published = rx.next;
        let lap = match self.state.role() {
            Role::Slave => self.at.rx.slots(),
            Role::Master => 0,
        };
        self.at.rx.publish(self.state.rx.next.wrapping_add(lap));
    }

    /// Takes the next slot for good. The slave of a stranger posts its buffer anew, whatever the master wrote.
    #[inline]
    fn consume(&mut self) {
        let index = self.state.rx.next;
        if self.at.buffers.rx_reposts {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "our own layout lies within 4 GiB"
            )]
            let (length, offset) = (
                self.at.buffers.bytes as u32,
                self.at.buffers.rx_offset(index & (self.at.rx.slots() - 1)) as u32,
            );
            self.at.rx.set_desc(
                index,
                Desc {
                    flags: 0,
                    region: 0,
                    length,
                    offset,
                    metadata: 0,
                },
            );
        }
        self.state.rx.next = index.wrapping_add(1);
    }

    /// Asks for the data of a slot that will be read soon, where the layout says where that is; else for something else.
    #[inline]
    fn prefetch_rx(&self, index: u16) {
        let slot = index & (self.at.rx.slots() - 1);
        let at = self.at.buffers.rx_offset(slot);
        sys::prefetch(&self.at.home, at);
        // Headers fill the first line; what a short message says is in the second.
        sys::prefetch(&self.at.home, at + LINE_BYTES);
    }

    /// Asks for the lines of the frame that comes next, before we know whether it has come. The sender writes data,
    /// descriptor and index; each write takes the line from us, and asking at every poll brings data and descriptor
    /// back at the same time as the index, instead of one after the other. To the sender this costs nothing: it has to take
    /// the index from us all the same, and takes all of them at once.
    #[inline]
    fn prefetch_next(&self) {
        let index = self.state.rx.next;
        self.at.rx.prefetch_desc(index);
        self.prefetch_rx(index);
    }

    /// Hands the lines of the last frame sent, its start and its slot, on to the receiver's core, for which a line in the
    /// other core's own cache is farther away than one in the cache of both. What is last in a burst is what the
    /// receiver waits for; the lines before it are on their way while it works.
    #[inline]
    fn demote_last(&self) {
        let last = self.state.tx.next.wrapping_sub(1);
        self.at.tx.demote(last);
        if self.at.buffers.tx_fixed {
            let start = self.at.buffers.tx_offset(last & (self.at.tx.slots() - 1));
            sys::demote(&self.at.home, start);
            sys::demote(&self.at.home, start + LINE_BYTES);
        }
    }

    /// Puts a frame that spans several slots together in the scratch buffer; consumes them all. None, counted,
    /// where the chain does not end within what was published, or a part is out of bounds or the sum too long.
    #[cold]
    fn rx_chain(&mut self) -> Option<Foreign<'a>> {
        let at = self.at;
        let (mut bytes, mut sound) = (0, true);
        // A peer that goes on publishing while we read could chain for ever; a frame has a ring at most.
        for left in (0..at.rx.slots()).rev() {
            if self.state.rx.known() == 0 && self.refresh_rx() == 0 {
                sound = false;
                break;
            }
            let desc = at.rx.desc(self.state.rx.next);
            let part = at
                .region(desc.region)
                .and_then(|r| r.foreign(desc.offset as usize, desc.length as usize));
            let room = part.and_then(|part| at.scratch.foreign_mut(bytes, part.len()));
            if let (Some(part), Some(mut room)) = (part, room) {
                bytes += room.copy_from_foreign(part);
            } else {
                sound = false;
            }
            // The slot is still ours. DPDK's slave, up to and with 22.11, leaves a flag standing when it uses the slot
            // for the end of a frame one lap later.
            at.rx
                .set_desc(self.state.rx.next, Desc { flags: 0, ..desc });
            self.consume();
            if desc.flags & DESC_NEXT == 0 {
                break;
            }
            sound &= left != 0;
        }
        let frame = at
            .scratch
            .foreign(0, bytes)
            .filter(|_| sound && bytes <= CHAIN_BYTES_MAX);
        if frame.is_none() {
            self.state.stats.rx_malformed += 1;
        }
        frame
    }

    /// Where the slot's frame is to be written. Nonsense in a posted descriptor counts, and is a buffer of no bytes.
    #[inline]
    fn tx_place(&mut self, index: u16) -> Place {
        let buffers = &self.at.buffers;
        if buffers.tx_fixed {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "our own layout lies within 4 GiB"
            )]
            let offset = buffers.tx_offset(index & (self.at.tx.slots() - 1)) as u32;
            return Place {
                region: 0,
                offset,
                capacity: buffers.bytes,
            };
        }
        let Desc {
            region,
            length,
            offset,
            ..
        } = self.at.tx.desc(index);
        let capacity = length as usize;
        if self
            .at
            .region(region)
            .and_then(|r| r.at(offset as usize, capacity))
            .is_some()
        {
            Place {
                region,
                offset,
                capacity,
            }
        } else {
            self.state.stats.rx_malformed += 1;
            Place {
                region: 0,
                offset: 0,
                capacity: 0,
            }
        }
    }

    /// Writes a frame that no single buffer holds, by way of the scratch buffer.
    #[cold]
    fn tx_chain(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        let at = self.at;
        let Some(room) = at.scratch.foreign_mut(0, bytes) else {
            return false;
        };
        let known = self.refresh_tx();
        let first = self.state.tx.next;
        let (mut slots, mut capacity) = (0, 0);
        while slots < known && (capacity < bytes || slots == 0) {
            capacity += self.tx_place(first.wrapping_add(slots)).capacity;
            slots += 1;
        }
        if capacity < bytes || slots == 0 {
            self.state.stats.tx_full += 1;
            return false;
        }
        fill(room);
        let mut done = 0;
        for i in 0..slots {
            let index = first.wrapping_add(i);
            // Read once more: a peer that changed its posted buffer in between gets less than it should, or nothing.
            let place = self.tx_place(index);
            let part = at
                .scratch
                .foreign(done, place.capacity.min(bytes - done))
                .unwrap_or(Foreign::EMPTY);
            let into = at
                .region(place.region)
                .and_then(|r| r.foreign_mut(place.offset as usize, part.len()));
            let length = into.map_or(0, |mut into| into.copy_from_foreign(part));
            done += length;
            let flags = if i + 1 < slots { DESC_NEXT } else { 0 };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most the scratch buffer's length"
            )]
            let length = length as u32;
            let Place { region, offset, .. } = place;
            at.tx.set_desc(
                index,
                Desc {
                    flags,
                    region,
                    length,
                    offset,
                    metadata: 0,
                },
            );
        }
        self.sent(slots, bytes);
        true
    }

    /// Writes a frame where the receiver has posted a buffer, or into several of ours.
    #[inline(never)]
    fn tx_posted(&mut self, index: u16, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        let at = self.at;
        if bytes > at.frame_bytes_max {
            return false;
        }
        let Place {
            region,
            offset,
            capacity,
        } = self.tx_place(index);
        if bytes > capacity {
            return self.tx_chain(bytes, fill);
        }
        let Some(room) = at
            .region(region)
            .and_then(|r| r.foreign_mut(offset as usize, bytes))
        else {
            return false;
        };
        fill(room);
        #[expect(clippy::cast_possible_truncation, reason = "at most frame_bytes_max")]
        let length = bytes as u32;
        at.tx.set_desc(
            index,
            Desc {
                flags: 0,
                region,
                length,
                offset,
                metadata: 0,
            },
        );
        self.sent(1, bytes);
        true
    }

    /// Moves on over the slots of a frame that was written.
    #[inline]
    const fn sent(&mut self, slots: u16, bytes: usize) {
        self.state.tx.next = self.state.tx.next.wrapping_add(slots);
        self.state.stats.tx_frames += 1;
        self.state.stats.tx_bytes += bytes as u64;
    }
}

impl Port for Memif<'_> {
    #[inline]
    fn caps(&self) -> Caps {
        Caps {
            frame_bytes_max: self.at.frame_bytes_max,
            rx_checksum_vouched: self.state.rx_checksum_vouched != 0,
            tx_checksum_unneeded: self.state.tx_checksum_unneeded != 0,
            cut_bytes_max: 0,
            finishes_checksums: false,
        }
    }

    #[inline]
    fn rx_batch(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) -> usize {
        let at = self.at;
        if self.state.rx.known() == 0 {
            self.prefetch_next();
            let found = self.refresh_rx();
            if found == 0 {
                return 0;
            }
            for ahead in 1..found.min(PREFETCH_AHEAD) {
                self.prefetch_rx(self.state.rx.next.wrapping_add(ahead));
            }
        }
        let (mut frames, mut bytes) = (0, 0);
        while frames < frames_max && self.state.rx.known() != 0 {
            let index = self.state.rx.next;
            if self.state.rx.known() > PREFETCH_AHEAD {
                self.prefetch_rx(index.wrapping_add(PREFETCH_AHEAD));
            }
            let desc = at.rx.desc(index);
            if desc.flags & DESC_NEXT != 0 {
                if let Some(frame) = self.rx_chain() {
                    on_frame(frame);
                    bytes += frame.len() as u64;
                    frames += 1;
                }
            } else {
                // The copy of the descriptor is checked here, and nothing else of it is used.
                let frame = at
                    .region(desc.region)
                    .and_then(|r| r.foreign(desc.offset as usize, desc.length as usize));
                if let Some(frame) = frame {
                    on_frame(frame);
                    bytes += frame.len() as u64;
                    frames += 1;
                } else {
                    self.state.stats.rx_malformed += 1;
                }
                self.consume();
            }
        }
        self.state.stats.rx_frames += frames as u64;
        self.state.stats.rx_bytes += bytes;
        // Given back by the quarter: the sender needs no more, and looks at our line only when it has run out.
        if self.state.rx.next.wrapping_sub(self.state.rx.published) >= at.rx.slots() / 4 {
            self.publish_consumed();
        }
        frames
    }

    fn rx_preview(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) {
        let at = self.at;
        if self.state.rx.known() == 0 {
            self.refresh_rx();
        }
        let known = self.state.rx.known();
        if known < 2 {
            return;
        }
        let first = self.state.rx.next;
        let end = first.wrapping_add(known.min(u16::try_from(frames_max).unwrap_or(u16::MAX)));
        let mut next = first;
        while next != end {
            self.prefetch_rx(next);
            next = next.wrapping_add(1);
        }
        next = first;
        while next != end {
            let desc = at.rx.desc(next);
            if let Some(frame) = at
                .region(desc.region)
                .and_then(|r| r.foreign(desc.offset as usize, desc.length as usize))
            {
                on_frame(frame);
            }
            next = next.wrapping_add(1);
        }
    }

    #[inline]
    fn rx_lines(&self) -> [*const u8; Ahead::LINES] {
        let index = self.state.rx.next;
        let [at_index, at_desc] = self.at.rx.lines(index);
        let slot = index & (self.at.rx.slots() - 1);
        let data = self.at.buffers.rx_offset(slot);
        let home = &self.at.home;
        [
            at_index,
            at_desc,
            sys::line(home, data),
            sys::line(home, data + LINE_BYTES),
        ]
    }

    #[inline]
    fn rx_pending(&self) -> bool {
        let rx = &self.state.rx;
        let pending =
            self.state.broken == 0 && (rx.known() != 0 || self.at.rx.peer_index() != rx.next);
        if !pending {
            self.prefetch_next();
        }
        pending
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        let known = self.state.tx.known();
        usize::from(if known == 0 { self.refresh_tx() } else { known })
    }

    #[expect(clippy::inline_always, reason = "a call would cost a tenth of it")]
    #[inline(always)]
    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        let at = self.at;
        if self.state.tx.known() == 0 && self.refresh_tx() == 0 {
            self.state.stats.tx_full += 1;
            return false;
        }
        let index = self.state.tx.next;
        if let Some((room, offset)) = at.tx_frame(index, bytes) {
            fill(room);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "our own layout lies within 4 GiB"
            )]
            at.tx.set_desc(
                index,
                Desc {
                    flags: 0,
                    region: 0,
                    length: bytes as u32,
                    offset: offset as u32,
                    metadata: 0,
                },
            );
            self.sent(1, bytes);
            return true;
        }
        self.tx_posted(index, bytes, fill)
    }

    #[inline]
    fn tx_flush(&mut self) {
        let tx = &mut self.state.tx;
        if tx.next == tx.published {
            return;
        }
        tx.published = tx.next;
        self.at.tx.publish(tx.next);
        if self.at.demotes {
            self.demote_last();
        }
        if let Some(doorbell) = &self.at.tx_doorbell
            && self.at.tx.peer_wants_wakeup(self.at.peer_raises)
        {
            doorbell.ring();
            self.state.stats.tx_doorbells += 1;
        }
    }

    fn rx_wakeups(&mut self, wanted: bool) {
        let masked = u8::from(!wanted);
        if wanted && self.state.rx.next != self.state.rx.published {
            self.publish_consumed();
        }
        if self.state.rx_masked != masked {
            self.state.rx_masked = masked;
            self.at.rx.set_wakeups(wanted);
        }
    }

    #[inline]
    fn stats(&self) -> PortStats {
        self.state.stats
    }
}

/// The longest frame that always fits when the ring is empty: three quarters of it may be needed, since the last
/// quarter's slots may be still to be given back.
pub(super) fn frame_bytes_max(uniform: bool, buffer_bytes: usize, slots: u16) -> usize {
    let in_one = buffer_bytes.max(BUFFER_BYTES_MIN as usize);
    if uniform {
        in_one
    } else {
        (in_one * usize::from(slots / 4 * 3)).min(CHAIN_BYTES_MAX)
    }
}
