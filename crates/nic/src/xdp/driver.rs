//! The data path: frames out of the rx ring, frames into the tx ring, buffers back and forth.
//!
//! What a frame costs beside the kernel's own work is cache lines that move between cores and system calls. So positions
//! are published by the quarter ring, sending buffers are taken anew as soon as the kernel gives them back, while they
//! are in the cache, and the kernel is told once for all frames of a flush, and only where it waits for that.

use super::attach::Attachment;
use super::layout::{
    CUT_BYTES_MAX, Desc, PKT_CONTD, RX_HEADROOM_BYTES, TX_HEADROOM_BYTES, TX_METADATA, metadata,
};
use super::state::State;
use super::sys;
use crate::packet::cutter::{self, HEADER_BYTES, Outcome};
use crate::{Caps, Cut, Port, PortStats, Unfinished};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sidestep_shm::{Foreign, ForeignMut, Steps};

/// How many frames ahead data is fetched within a batch.
const PREFETCH_AHEAD: u32 = 4;
/// Polls that find nothing between two attempts to get rid of frames that the kernel did not take.
const OWED_POLLS: u32 = 1024;
/// Attempts in a row that get nothing away, after which it is no matter of moments any more, and nobody stays awake for it.
const OWED_TRIES_MAX: u16 = 10_000;

/// What is known of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Frames can go.
    Up,
    /// Taken down; frames wait until it is up again.
    Down,
    /// Deleted, or moved to another namespace: nothing will ever come of this port.
    Gone,
}

/// An AF_XDP socket, for one poll: what is shared, and what is this process's.
pub struct Xdp<'a> {
    state: &'a mut State,
    at: &'a Attachment,
}

impl<'a> Xdp<'a> {
    /// Brings both halves together.
    #[inline]
    pub const fn new(state: &'a mut State, at: &'a Attachment) -> Self {
        Self { state, at }
    }

    /// Whether nothing will move any more, as far as was noticed: the interface is gone, or a ring's indices made no
    /// sense. The port should be closed.
    #[inline]
    pub const fn is_broken(&self) -> bool {
        self.state.broken != 0
    }

    /// Asks the kernel for the state of the interface; a system call. One that only receives learns of its end here.
    pub fn link(&mut self) -> Link {
        if self.state.broken != 0 {
            return Link::Gone;
        }
        match rustix::net::send(&self.at.socket, &[], SendFlags::DONTWAIT) {
            Err(Errno::NXIO | Errno::NODEV) => {
                self.state.broken = 1;
                Link::Gone
            }
            Err(Errno::NETDOWN) => Link::Down,
            _ => Link::Up,
        }
    }

    /// Looks how far the kernel has filled the rx ring. Returns how many slots are ours to read.
    #[inline]
    fn refresh_rx(&mut self) -> u32 {
        let limit = self.at.rx.produced();
        let known = limit.wrapping_sub(self.state.rx.next);
        if known > self.at.rx.slots() || self.state.broken != 0 {
            self.state.broken = 1;
            return 0;
        }
        self.state.rx.limit = limit;
        known
    }

    /// Looks how far the kernel has filled the completion ring. Returns how many buffers are ours to send from.
    #[inline]
    fn refresh_done(&mut self) -> u32 {
        let limit = self.at.done.produced();
        let known = limit.wrapping_sub(self.state.done.next);
        if known > self.at.done.slots() || self.state.broken != 0 {
            self.state.broken = 1;
            return 0;
        }
        self.state.done.limit = limit;
        known
    }

    /// Gives all slots that were read, and their buffers, back to the kernel.
    #[inline]
    fn publish_rx(&mut self) {
        let State { rx, fill, .. } = &mut *self.state;
        rx.published = rx.next;
        self.at.rx.consume(rx.next);
        fill.published = fill.next;
        self.at.fill.produce(fill.next);
    }

    /// Posts the buffer that this address lies in. One that is none of the receiving ones is counted, and lost.
    #[inline]
    fn give_back(&mut self, address: u64) {
        let geometry = self.state.geometry();
        let start = address & !u64::from(geometry.buffer_bytes - 1);
        if start < u64::from(geometry.rx_buffers()) * u64::from(geometry.buffer_bytes) {
            self.at.fill.write(self.state.fill.next, [start]);
            self.state.fill.next = self.state.fill.next.wrapping_add(1);
        } else {
            self.state.stats.rx_malformed += 1;
        }
    }

    /// The bytes that a descriptor speaks of, if there are such.
    #[inline]
    fn bytes_of(&self, desc: Desc) -> Option<Foreign<'a>> {
        let address = usize::try_from(desc.address).ok()?;
        self.at.umem.foreign(address, desc.bytes as usize)
    }

    /// Asks for the data of a frame that will be read soon.
    #[inline]
    fn prefetch_rx(&self, index: u32) {
        let desc = Desc::from_words(self.at.rx.read(index));
        if let Ok(address) = usize::try_from(desc.address) {
            sys::prefetch(&self.at.umem, address);
        }
    }

    /// Asks for the lines of the frame that will come next, while there is none. The kernel writes data, descriptor and
    /// index, each of which takes the line from us; asking again at every poll brings all three at the same time instead
    /// of one after the other. Buffers come back in the order in which they were posted, so the next one is known.
    #[inline]
    fn prefetch_next(&self) {
        let next = self.state.rx.next;
        self.at.rx.prefetch_slot(next);
        let [posted] = self.at.fill.read(next);
        if let Ok(start) = usize::try_from(posted) {
            // Headers fill the first line; what a short message says is in the second.
            sys::prefetch(&self.at.umem, start + RX_HEADROOM_BYTES);
            sys::prefetch(&self.at.umem, start + RX_HEADROOM_BYTES + 64);
        }
    }

    /// Takes the next slot for good. Its buffer goes back with the next [`publish_rx`](Self::publish_rx).
    #[inline]
    fn take_slot(&mut self, desc: Desc) {
        self.give_back(desc.address);
        self.state.rx.next = self.state.rx.next.wrapping_add(1);
    }

    /// Puts a frame that spans several slots together in the scratch buffer; takes them all. None, counted, where the
    /// chain does not end within what was published, or a part is out of bounds, or the sum too long. The kernel
    /// publishes whole frames only.
    #[cold]
    fn rx_chain(&mut self) -> Option<Foreign<'a>> {
        let at = self.at;
        let (mut bytes, mut sound, mut ended) = (0, true, false);
        let mut steps = Steps::new(at.rx.slots() as usize);
        while !ended && self.state.rx.known() != 0 {
            steps.step();
            let desc = Desc::from_words(at.rx.read(self.state.rx.next));
            let part = self.bytes_of(desc);
            let room = part.and_then(|part| at.scratch.foreign_mut(bytes, part.len()));
            if let (Some(part), Some(mut room)) = (part, room) {
                bytes += room.copy_from_foreign(part);
            } else {
                sound = false;
            }
            self.take_slot(desc);
            ended = desc.options & PKT_CONTD == 0;
        }
        let frame = at.scratch.foreign(0, bytes).filter(|_| sound && ended);
        if frame.is_none() {
            self.state.stats.rx_malformed += 1;
        }
        frame
    }

    /// Does what cannot wait for a frame, when there is none.
    #[inline]
    fn idle(&mut self) {
        self.prefetch_next();
        if self.state.busy_poll != 0 || self.at.fill.needs_wakeup() {
            self.drive_rx();
        }
        if self.state.tx_owed != 0 || self.state.staged != 0 {
            self.state.idle_polls += 1;
            if self.state.idle_polls >= OWED_POLLS {
                self.tx_flush();
            }
        }
    }

    /// Has the kernel look at the fill ring, and at the interface where we poll it.
    #[cold]
    fn drive_rx(&mut self) {
        if self.state.fill.unpublished() != 0 {
            self.publish_rx();
        }
        let nothing: &mut [u8] = &mut [];
        match rustix::net::recv(&self.at.socket, nothing, RecvFlags::DONTWAIT) {
            Err(Errno::NXIO | Errno::NODEV) => self.state.broken = 1,
            _ => self.state.stats.tx_doorbells += 1,
        }
    }

    /// Writes in front of a frame what the link is to do; the option that says so.
    #[inline]
    fn tell(&mut self, address: u64, checksum: Unfinished) -> u32 {
        let place = usize::try_from(address)
            .ok()
            .and_then(|start| start.checked_sub(self.state.tx_headroom()));
        let room = place.and_then(|place| self.at.umem.foreign_mut(place, TX_HEADROOM_BYTES));
        let Some(mut room) = room.filter(|_| self.state.finishes != 0) else {
            return 0;
        };
        room.copy_from(&metadata(checksum));
        self.state.stats.tx_unfinished += 1;
        TX_METADATA
    }

    /// Writes a frame, with what the link is to do if there is such.
    #[inline]
    fn put(
        &mut self,
        bytes: usize,
        checksum: Option<Unfinished>,
        fill: impl FnOnce(ForeignMut<'_>),
    ) -> bool {
        let at = self.at;
        if bytes > self.state.frame_bytes_max as usize {
            return false;
        }
        if bytes > self.state.tx_part_bytes() {
            return self.tx_chain(bytes, checksum, fill);
        }
        let Some(address) = self.take_buffer() else {
            self.state.stats.tx_full += 1;
            return false;
        };
        let start = usize::try_from(address).ok();
        let Some(room) = start.and_then(|start| at.umem.foreign_mut(start, bytes)) else {
            return false;
        };
        fill(room);
        let options = checksum.map_or(0, |checksum| self.tell(address, checksum));
        self.post(address, bytes, options);
        self.state.stats.tx_frames += 1;
        self.state.stats.tx_bytes += bytes as u64;
        true
    }

    /// Takes a free sending buffer; the offset at which a frame begins in it.
    #[inline]
    fn take_buffer(&mut self) -> Option<u64> {
        let geometry = *self.state.geometry();
        let bytes = u64::from(geometry.buffer_bytes);
        let first = u64::from(geometry.rx_buffers());
        let headroom = self.state.tx_headroom() as u64;
        // Those that come back from the kernel are in the cache; those never used are not.
        let mut wrong = Steps::new(2 * self.at.done.slots() as usize);
        while self.state.done.known() != 0 || self.refresh_done() != 0 {
            let [address] = self.at.done.read(self.state.done.next);
            self.state.done.next = self.state.done.next.wrapping_add(1);
            let start = address & !(bytes - 1);
            if start >= first * bytes && start < geometry.bytes() as u64 {
                return Some(start + headroom);
            }
            wrong.step();
            self.state.stats.rx_malformed += 1;
        }
        if self.state.tx_used < self.state.frame_buffers() && self.state.broken == 0 {
            let buffer = first + u64::from(self.state.tx_used);
            self.state.tx_used += 1;
            return Some(buffer * bytes + headroom);
        }
        None
    }

    /// Sending buffers that are free.
    #[inline]
    fn free_buffers(&mut self) -> u32 {
        let done = self.refresh_done();
        let unused = self.state.frame_buffers() - self.state.tx_used;
        if self.state.broken != 0 {
            0
        } else {
            done + unused
        }
    }

    /// Enters a descriptor. There is room: the ring has a slot for every sending buffer.
    #[inline]
    fn post(&mut self, address: u64, bytes: usize, options: u32) {
        #[expect(clippy::cast_possible_truncation, reason = "at most a buffer's length")]
        let desc = Desc {
            address,
            bytes: bytes as u32,
            options,
        };
        self.at.tx.write(self.state.tx.next, desc.words());
        self.state.tx.next = self.state.tx.next.wrapping_add(1);
    }

    /// Writes a frame that no single buffer holds, by way of the scratch buffer.
    #[cold]
    fn tx_chain(
        &mut self,
        bytes: usize,
        checksum: Option<Unfinished>,
        fill: impl FnOnce(ForeignMut<'_>),
    ) -> bool {
        let at = self.at;
        let part_bytes = self.state.tx_part_bytes();
        let parts = bytes.div_ceil(part_bytes);
        let Some(room) = at.scratch.foreign_mut(0, bytes) else {
            return false;
        };
        if (self.free_buffers() as usize) < parts {
            self.state.stats.tx_full += 1;
            return false;
        }
        fill(room);
        let mut done = 0;
        while done < bytes {
            let part = at.scratch.foreign(done, part_bytes.min(bytes - done));
            let (Some(part), Some(address)) = (part, self.take_buffer()) else {
                // Somebody wrote nonsense into the completion ring in between.
                self.state.broken = 1;
                return false;
            };
            let mut options = 0;
            if let Some(checksum) = checksum.filter(|_| done == 0) {
                options |= self.tell(address, checksum);
            }
            if let Ok(start) = usize::try_from(address)
                && let Some(mut into) = at.umem.foreign_mut(start, part.len())
            {
                into.copy_from_foreign(part);
            }
            done += part.len();
            options |= if done < bytes { PKT_CONTD } else { 0 };
            self.post(address, part.len(), options);
        }
        self.state.stats.tx_frames += 1;
        self.state.stats.tx_bytes += bytes as u64;
        true
    }

    /// Has the kernel send what is in the tx ring.
    fn kick(&mut self) {
        self.state.idle_polls = 0;
        let before = self.at.tx.consumed();
        let Some(refused) = self.push(before) else {
            // What may still be in the ring is taken from there by the interface's driver.
            self.state.tx_owed = 0;
            self.state.owed_tries = 0;
            return;
        };
        let taken = self.at.tx.consumed();
        self.state.tx_owed = u8::from(taken != self.state.tx.published);
        self.state.owed_tries = match refused {
            Errno::NETDOWN => OWED_TRIES_MAX,
            _ if taken == before => self.state.owed_tries.saturating_add(1),
            _ => 0,
        };
    }

    /// Calls the kernel until it has taken all that it takes of the tx ring, of which it had taken `taken`. Returns why
    /// it takes no more.
    #[inline]
    fn push(&mut self, mut taken: u32) -> Option<Errno> {
        // A call sends a limited number of frames; each turn but the last gets some of the ring's away.
        for _ in 0..=self.at.tx.slots() {
            self.state.stats.tx_doorbells += 1;
            let sent = rustix::net::send(&self.at.socket, &[], SendFlags::DONTWAIT);
            let errno = sent.err()?;
            match errno {
                Errno::NXIO | Errno::NODEV | Errno::BADF | Errno::NOTSOCK => {
                    self.state.broken = 1;
                    return Some(errno);
                }
                Errno::NETDOWN => return Some(errno),
                _ => {
                    let before = core::mem::replace(&mut taken, self.at.tx.consumed());
                    if taken == before && errno != Errno::INTR {
                        return Some(errno);
                    }
                }
            }
        }
        None
    }

    /// Whether there are frames that the kernel will take in a moment.
    #[inline]
    const fn owes_soon(&self) -> bool {
        self.state.staged != 0 || self.state.tx_owed != 0 && self.state.owed_tries < OWED_TRIES_MAX
    }

    /// Hands over the long segment that was put together. It stays where the kernel has no room for it now.
    #[inline(never)]
    fn send_staged(&mut self) {
        self.state.idle_polls = 0;
        let at = self.at;
        let bytes = self.state.staged as usize;
        let outcome = match &at.cutter {
            Some(cutter) => {
                self.state.stats.tx_doorbells += 1;
                cutter::send(cutter, &at.umem, self.state.geometry().stage_start(), bytes)
            }
            None => Outcome::NotPossible,
        };
        match outcome {
            Outcome::Full if self.state.staged_tries < u32::from(OWED_TRIES_MAX) => {
                self.state.staged_tries += 1;
                return;
            }
            Outcome::Sent => self.state.stats.tx_cut += 1,
            Outcome::Full | Outcome::Lost => self.state.stats.tx_full += 1,
            Outcome::NotPossible => {
                self.state.stats.tx_full += 1;
                self.state.cuts = 0;
            }
        }
        self.state.staged = 0;
        self.state.staged_tries = 0;
    }
}

impl Port for Xdp<'_> {
    #[inline]
    fn caps(&self) -> Caps {
        Caps {
            frame_bytes_max: self.state.frame_bytes_max as usize,
            rx_checksum_vouched: self.state.rx_checksum_vouched != 0,
            tx_checksum_unneeded: self.state.tx_checksum_unneeded != 0,
            cut_bytes_max: if self.state.cuts != 0 && self.at.cutter.is_some() {
                CUT_BYTES_MAX
            } else {
                0
            },
            finishes_checksums: self.state.finishes != 0,
        }
    }

    #[inline]
    fn rx_batch(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) -> usize {
        if self.state.rx.known() == 0 {
            let found = self.refresh_rx();
            if found == 0 {
                self.state.heard_at = self.state.stats.tx_frames;
                self.idle();
                return 0;
            }
            for ahead in 0..found.min(PREFETCH_AHEAD) {
                self.prefetch_rx(self.state.rx.next.wrapping_add(ahead));
            }
        }
        let (mut frames, mut bytes) = (0, 0);
        let mut wrong = Steps::new(self.at.rx.slots() as usize);
        while frames < frames_max && self.state.rx.known() != 0 {
            let index = self.state.rx.next;
            if self.state.rx.known() > PREFETCH_AHEAD {
                self.prefetch_rx(index.wrapping_add(PREFETCH_AHEAD));
            }
            let desc = Desc::from_words(self.at.rx.read(index));
            let frame = if desc.options & PKT_CONTD != 0 {
                self.rx_chain()
            } else {
                let frame = self.bytes_of(desc);
                self.state.stats.rx_malformed += u64::from(frame.is_none());
                self.take_slot(desc);
                frame
            };
            if let Some(frame) = frame {
                on_frame(frame);
                bytes += frame.len() as u64;
                frames += 1;
            } else {
                wrong.step();
            }
        }
        self.state.stats.rx_frames += frames as u64;
        self.state.stats.rx_bytes += bytes;
        if self.state.rx.unpublished() >= self.at.rx.slots() / 4 {
            self.publish_rx();
        }
        frames
    }

    #[inline]
    fn rx_pending(&self) -> bool {
        let rx = &self.state.rx;
        // Who sleeps sends nothing, so frames that the kernel had no room for keep us awake as those that came do.
        self.state.broken == 0
            && (rx.known() != 0 || self.at.rx.produced() != rx.next || self.owes_soon())
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        if self.state.staged != 0 {
            self.send_staged();
            if self.state.staged != 0 {
                return 0;
            }
        }
        let parts = (self.state.frame_bytes_max as usize).div_ceil(self.state.tx_part_bytes());
        self.free_buffers() as usize / parts.max(1)
    }

    fn tx_cut(&mut self, bytes: usize, cut: Cut, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        if bytes > CUT_BYTES_MAX || self.state.cuts == 0 || self.state.staged != 0 {
            return false;
        }
        self.tx_flush();
        let start = self.state.geometry().stage_start();
        let Some(mut room) = self.at.umem.foreign_mut(start, HEADER_BYTES + bytes) else {
            return false;
        };
        room.copy_from(&cutter::header(&cut));
        fill(room.skip(HEADER_BYTES));
        self.state.staged = u32::try_from(HEADER_BYTES + bytes).unwrap_or(0);
        self.state.stats.tx_frames += cut.segments as u64;
        self.state.stats.tx_bytes += (bytes + (cut.segments - 1) * cut.payload_offset) as u64;
        self.send_staged();
        true
    }

    #[inline]
    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        self.put(bytes, None, fill)
    }

    #[inline]
    fn tx_unfinished(
        &mut self,
        bytes: usize,
        checksum: Unfinished,
        fill: impl FnOnce(ForeignMut<'_>),
    ) -> bool {
        self.state.finishes != 0 && self.put(bytes, Some(checksum), fill)
    }

    #[inline]
    fn tx_flush(&mut self) {
        let State {
            tx, done, tx_owed, ..
        } = &mut *self.state;
        if tx.unpublished() == 0 && *tx_owed == 0 {
            if self.state.staged != 0 {
                self.send_staged();
            }
            return;
        }
        // First the places in the completion ring: the kernel needs one for each frame that it takes.
        if done.unpublished() != 0 {
            done.published = done.next;
            self.at.done.consume(done.next);
        }
        tx.published = tx.next;
        self.at.tx.produce(tx.next);
        if self.at.tx.needs_wakeup_after_produce() {
            self.kick();
        }
    }

    #[inline]
    fn tx_unheard(&self) -> u64 {
        self.state.stats.tx_frames - self.state.heard_at
    }

    fn rx_wakeups(&mut self, wanted: bool) {
        // The socket is readable whenever a frame waits; what is left to do is to have no buffer idle while we sleep.
        if wanted && self.state.rx.unpublished() != 0 {
            self.publish_rx();
        }
        if wanted && self.owes_soon() {
            self.tx_flush();
        }
    }

    #[inline]
    fn stats(&self) -> PortStats {
        self.state.stats
    }
}

#[cfg(test)]
mod tests;
