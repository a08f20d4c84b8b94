//! The data path: frames out of the rx ring, frames into the tx ring.

use super::attach::Attachment;
use super::layout::{
    Header, LONG_FRAME_BYTES, RX_KERNELS, RX_LONG, RX_OURS, RX_TAG, RX_TAG_PROTOCOL, TX_FRAME,
    TX_FREE, TX_SEND,
};
use super::state::State;
use super::sys;
use crate::{Caps, Port, PortStats};
use rustix::io::Errno;
use rustix::net::SendFlags;
use sidestep_shm::atomic::Ordering;
use sidestep_shm::{Foreign, ForeignMut, Region};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Slots that are looked at to say how many frames there is room for.
const ROOM_MAX: u32 = 64;
/// Polls that find nothing between two attempts to get rid of frames that the kernel did not take.
const OWED_POLLS: u32 = 1024;
/// Attempts in a row after which it is no matter of moments any more, and nobody stays awake for it.
const OWED_TRIES_MAX: u16 = 10_000;
/// How often a call is made that a signal interrupts, or that tells of an interface that was down and may be up again.
const CALLS_MAX: u32 = 3;
/// Both hardware addresses of a frame, which a VLAN tag comes behind.
const STATIONS_BYTES: usize = 12;
const TAG_BYTES: usize = 4;
/// IEEE 802.1Q.
const TAG_PROTOCOL: u16 = 0x8100;

/// A packet socket, for one poll: what is shared, and what is this process's.
pub struct Packet<'a> {
    state: &'a mut State,
    at: &'a Attachment,
}

impl<'a> Packet<'a> {
    /// Brings both halves together.
    #[inline]
    pub const fn new(state: &'a mut State, at: &'a Attachment) -> Self {
        Self { state, at }
    }

    /// Whether nothing will move any more, as far as was noticed: the interface is gone. The port should be closed.
    #[inline]
    pub const fn is_broken(&self) -> bool {
        self.state.broken != 0
    }

    /// The first word of a slot; that of one that is not there never is.
    #[inline]
    fn status(&self, slot: usize) -> u32 {
        // SYNC POINT: pairs with the kernel's write of the status, behind that of the frame.
        sys::status(&self.at.rings, slot).map_or(u32::MAX, |word| word.load(Ordering::Acquire))
    }

    #[inline]
    fn set_status(&self, slot: usize, status: u32) {
        if let Some(word) = sys::status(&self.at.rings, slot) {
            // SYNC POINT: the kernel reads the status before it reads or writes the frame.
            word.store(status, Ordering::Release);
        }
    }

    /// Whether a frame is in the next slot.
    #[inline]
    fn has_frame(&self) -> Option<u32> {
        let status = self.status(self.at.geometry.rx_slot(self.state.rx_next));
        (status != u32::MAX && status & RX_OURS != 0).then_some(status)
    }

    /// The frame in a slot. None, counted, where what is said of it makes no sense or it did not come whole.
    #[inline]
    fn frame(&mut self, slot: usize, status: u32) -> Option<Foreign<'a>> {
        let at = self.at;
        let header = at.rings.foreign(slot, size_of::<Header>());
        let header = header.and_then(|bytes| bytes.to_array::<{ size_of::<Header>() }>());
        let header = Header::read_from_bytes(&header?).ok()?;
        let (region, start, bytes) = if status & RX_LONG == 0 {
            // A frame that is longer, and was not queued for want of memory, is not here as a whole.
            if header.here != header.bytes {
                return None;
            }
            (
                &at.rings,
                slot + usize::from(header.frame),
                header.bytes as usize,
            )
        } else {
            let bytes = sys::receive(&at.socket, &at.scratch, TAG_BYTES).ok()?;
            (&at.scratch, TAG_BYTES, bytes)
        };
        let (start, bytes) = if status & RX_TAG == 0 {
            (start, bytes)
        } else {
            put_tag_back(region, start, status, &header)?;
            (start - TAG_BYTES, bytes + TAG_BYTES)
        };
        let end = if status & RX_LONG == 0 {
            slot + at.geometry.slot_bytes as usize
        } else {
            LONG_FRAME_BYTES
        };
        // A slot speaks for itself, not for others.
        region
            .foreign(start, bytes)
            .filter(|_| start + bytes <= end)
    }

    /// Does what cannot wait for a frame, when there is none.
    #[inline]
    fn idle(&mut self) {
        if self.state.tx_owed != 0 {
            self.state.idle_polls += 1;
            if self.state.idle_polls >= OWED_POLLS {
                self.tx_flush();
            }
        }
    }

    /// Looks at slots until that many are known to be free, or one is not.
    #[inline]
    fn look_for_room(&mut self, wanted: u32) {
        let slots = self.at.geometry.tx_slots();
        while self.state.tx_free < wanted.min(slots) && self.state.broken == 0 {
            let next = self.state.tx_next.wrapping_add(self.state.tx_free);
            if self.status(self.at.geometry.tx_slot(next)) != TX_FREE {
                break;
            }
            self.state.tx_free += 1;
        }
    }

    /// Has the kernel send what is in the tx ring.
    fn kick(&mut self) {
        self.state.idle_polls = 0;
        let mut refused = None;
        for _ in 0..CALLS_MAX {
            self.state.stats.tx_doorbells += 1;
            refused = rustix::net::send(&self.at.socket, &[], SendFlags::DONTWAIT).err();
            if !matches!(refused, Some(Errno::INTR | Errno::NETDOWN)) {
                break;
            }
        }
        self.state.tx_flushed = self.state.tx_next;
        match refused {
            Some(Errno::NXIO | Errno::NODEV | Errno::BADF | Errno::NOTSOCK) => {
                self.state.broken = 1;
            }
            Some(Errno::NETDOWN) => {
                self.state.tx_owed = 1;
                self.state.owed_tries = OWED_TRIES_MAX;
            }
            _ => {
                // It takes slots in their order, so the last one tells of all.
                let last = self.state.tx_next.wrapping_sub(1);
                let is_left = self.status(self.at.geometry.tx_slot(last)) == TX_SEND;
                self.state.tx_owed = u8::from(is_left);
                self.state.owed_tries = match is_left {
                    true => self.state.owed_tries.saturating_add(1),
                    false => 0,
                };
            }
        }
    }

    /// Whether there are frames that the kernel will take in a moment.
    #[inline]
    const fn owes_soon(&self) -> bool {
        self.state.tx_owed != 0 && self.state.owed_tries < OWED_TRIES_MAX
    }
}

/// Moves the hardware addresses of a frame and writes the tag behind them, into the room in front of it.
#[cold]
fn put_tag_back(region: &Region, start: usize, status: u32, header: &Header) -> Option<()> {
    let stations = region.foreign(start, STATIONS_BYTES)?;
    let stations = stations.to_array::<STATIONS_BYTES>()?;
    let protocol = match status & RX_TAG_PROTOCOL {
        0 => TAG_PROTOCOL,
        _ => header.tag_protocol,
    };
    let tag = [protocol.to_be(), header.tag.to_be()];
    let mut room = region.foreign_mut(start.checked_sub(TAG_BYTES)?, STATIONS_BYTES + TAG_BYTES)?;
    room.copy_from(&stations);
    room.skip(STATIONS_BYTES).copy_from(tag.as_bytes());
    Some(())
}

impl Port for Packet<'_> {
    #[inline]
    fn caps(&self) -> Caps {
        Caps {
            frame_bytes_max: self.state.frame_bytes_max as usize,
            rx_checksum_vouched: false,
            tx_checksum_unneeded: false,
            cut_bytes_max: 0,
            finishes_checksums: false,
        }
    }

    #[inline]
    fn rx_batch(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) -> usize {
        let (mut frames, mut bytes) = (0, 0);
        while frames < frames_max
            && let Some(status) = self.has_frame()
        {
            let slot = self.at.geometry.rx_slot(self.state.rx_next);
            if let Some(frame) = self.frame(slot, status) {
                on_frame(frame);
                bytes += frame.len() as u64;
                frames += 1;
            } else {
                self.state.stats.rx_malformed += 1;
            }
            self.set_status(slot, RX_KERNELS);
            self.state.rx_next = self.state.rx_next.wrapping_add(1);
        }
        if frames < frames_max {
            self.state.heard_at = self.state.stats.tx_frames;
        }
        if frames == 0 {
            self.idle();
        }
        self.state.stats.rx_frames += frames as u64;
        self.state.stats.rx_bytes += bytes;
        frames
    }

    #[inline]
    fn rx_pending(&self) -> bool {
        // Who sleeps sends nothing, so frames that the kernel had no room for keep us awake as those that came do.
        self.state.broken == 0 && (self.has_frame().is_some() || self.owes_soon())
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        self.look_for_room(ROOM_MAX);
        self.state.tx_free as usize
    }

    #[inline]
    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        let at = self.at;
        if bytes > self.state.frame_bytes_max as usize {
            return false;
        }
        self.look_for_room(1);
        if self.state.tx_free == 0 {
            self.state.stats.tx_full += 1;
            return false;
        }
        let slot = at.geometry.tx_slot(self.state.tx_next);
        let length = at
            .rings
            .foreign_mut(slot + size_of::<u32>(), size_of::<u32>());
        let room = at.rings.foreign_mut(slot + TX_FRAME, bytes);
        let (Some(mut length), Some(room)) = (length, room) else {
            return false;
        };
        fill(room);
        #[expect(clippy::cast_possible_truncation, reason = "at most a slot's length")]
        length.copy_from(&(bytes as u32).to_ne_bytes());
        self.set_status(slot, TX_SEND);
        self.state.tx_next = self.state.tx_next.wrapping_add(1);
        self.state.tx_free -= 1;
        self.state.stats.tx_frames += 1;
        self.state.stats.tx_bytes += bytes as u64;
        true
    }

    #[inline]
    fn tx_flush(&mut self) {
        if self.state.tx_next != self.state.tx_flushed || self.state.tx_owed != 0 {
            self.kick();
        }
    }

    #[inline]
    fn tx_unheard(&self) -> u64 {
        self.state.stats.tx_frames - self.state.heard_at
    }

    fn rx_wakeups(&mut self, wanted: bool) {
        // The socket is readable whenever a frame waits.
        if wanted && self.owes_soon() {
            self.tx_flush();
        }
    }

    #[inline]
    fn stats(&self) -> PortStats {
        self.state.stats
    }
}
