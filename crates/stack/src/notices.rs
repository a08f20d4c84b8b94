//! What a socket has to tell its program beside data: the queue that recv(2) with MSG_ERRQUEUE reads. When bytes
//! left and were acknowledged (SO_TIMESTAMPING), and that those lent with MSG_ZEROCOPY may be used again.
//!
//! Few sockets have any: all of it lies in a chunk that is taken when a program asks, and its queues in others.

use crate::memory::{Core, Stack};
use crate::socket::{Asked, Kind, SocketFlags, SocketRef};
use crate::{Error, Ready, Result};
use bitflags::bitflags;
use sidestep_shm::{CHUNK_BYTES, ChunkPool, ChunkQueue, ForeignMut, Nanos, Steps, Use};
use sidestep_wire::Seq;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `SO_EE_ORIGIN_TIMESTAMPING` and `SO_EE_ORIGIN_ZEROCOPY` of linux/errqueue.h.
const OF_TIMESTAMPING: u8 = 4;
const OF_ZEROCOPY: u8 = 5;
/// `SO_EE_CODE_ZEROCOPY_COPIED`.
const COPIED: u8 = 1;
/// `SCM_TSTAMP_SND`, `SCM_TSTAMP_SCHED`, `SCM_TSTAMP_ACK`.
const SENT: u32 = 0;
const SCHEDULED: u32 = 1;
const ACKNOWLEDGED: u32 = 2;
/// Bytes that a socket's notices may take, and writes that are watched; what comes beyond is not told.
const NOTICES_BYTES_MAX: usize = 32 * CHUNK_BYTES;
const STAMPS_BYTES_MAX: usize = CHUNK_BYTES;

bitflags! {
    /// SO_TIMESTAMPING (linux/net_tstamp.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Stamping: u32 {
        /// `SOF_TIMESTAMPING_TX_SOFTWARE`: when the last byte of a write left.
        const SENT = 1 << 1;
        /// `SOF_TIMESTAMPING_RX_SOFTWARE`: when what is read came.
        const RECEIVED = 1 << 3;
        /// `SOF_TIMESTAMPING_SOFTWARE`: the times are told.
        const TOLD = 1 << 4;
        /// `SOF_TIMESTAMPING_OPT_ID`: and which byte it was.
        const ID = 1 << 7;
        /// `SOF_TIMESTAMPING_TX_SCHED`: when it was handed down to leave.
        const SCHEDULED = 1 << 8;
        /// `SOF_TIMESTAMPING_TX_ACK`: when it was acknowledged.
        const ACKNOWLEDGED = 1 << 9;
        /// `SOF_TIMESTAMPING_OPT_TSONLY`: without what was sent.
        const ONLY = 1 << 11;
        /// `SOF_TIMESTAMPING_OPT_ID_TCP`: bytes are counted from what was written, not from what was acknowledged.
        const ID_FROM_WRITTEN = 1 << 16;
        /// All others are kept, and mean nothing here.
        const _ = !0;
    }
}

impl Stamping {
    /// What has bytes watched.
    const WATCHING: Self = Self::SENT.union(Self::SCHEDULED).union(Self::ACKNOWLEDGED);
}

/// What is told at once; `struct sock_extended_err` and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notice {
    /// When it happened.
    pub at: Nanos,
    /// `ee_info`.
    pub info: u32,
    /// `ee_data`.
    pub data: u32,
    /// `ee_origin`.
    pub origin: u8,
    /// `ee_code`.
    pub code: u8,
    /// Whether the time is told, and whether what was sent would come with it (bit 0 and 1).
    told: u8,
    _reserved: [u8; 13],
}

/// Notices lie whole in chunks.
const _: () = assert!(CHUNK_BYTES.is_multiple_of(size_of::<Notice>()));

impl Notice {
    /// Whether it says when something happened.
    pub const fn is_timestamp(&self) -> bool {
        self.origin == OF_TIMESTAMPING
    }

    /// Whether the time is to be told.
    pub const fn tells_time(&self) -> bool {
        self.told & 1 != 0
    }

    /// Whether a reader misses what was sent, which Linux gives back with the time.
    pub const fn is_cut(&self) -> bool {
        self.told & 2 != 0
    }
}

/// A write whose last byte is watched.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Stamp {
    end: Seq,
    /// Whether it has left.
    sent: u32,
}

/// What a socket has that has notices.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Extra {
    notices: ChunkQueue,
    stamps: ChunkQueue,
    /// See [`complaints`](crate::complaints).
    pub(crate) complaints: ChunkQueue,
    /// How many writes with MSG_ZEROCOPY there were.
    zerocopy: u32,
    stamping: u32,
    /// Where bytes are counted from.
    base: Seq,
    _reserved: u32,
}

impl Extra {
    fn of(pool: &ChunkPool<'_>, place: u32) -> Option<Self> {
        let chunk = place.checked_sub(1)?;
        Self::read_from_prefix(pool.bytes(chunk)).ok().map(|r| r.0)
    }

    fn store(&self, pool: &mut ChunkPool<'_>, place: u32) {
        if let Some(chunk) = place.checked_sub(1) {
            let _ = self.write_to_prefix(pool.data_mut(chunk));
        }
    }

    fn stamping(&self) -> Stamping {
        Stamping::from_bits_retain(self.stamping)
    }

    /// Queues a notice. One on bytes lent goes into the last, where that is one, too.
    fn tell(&mut self, pool: &mut ChunkPool<'_>, notice: &Notice) {
        if notice.origin == OF_ZEROCOPY && !self.notices.is_empty() {
            let tail = self.notices.tail();
            let (start, len) = (pool.meta(tail).start, pool.meta(tail).len);
            let end = usize::from(start) + usize::from(len);
            let place = &mut pool.data_mut(tail)[end - size_of::<Notice>()..end];
            if let Ok(last) = Notice::mut_from_bytes(place)
                && last.origin == OF_ZEROCOPY
            {
                last.data = notice.data;
                return;
            }
        }
        if self.notices.len() < NOTICES_BYTES_MAX {
            let bytes = notice.as_bytes();
            self.notices.append(pool, bytes.into(), Use::Receive);
        }
    }
}

impl Stack<'_> {
    /// SO_TIMESTAMPING.
    ///
    /// # Errors
    /// Where the socket is gone, or there is no memory.
    pub fn set_stamping(&mut self, r: SocketRef, stamping: Stamping) -> Result<()> {
        let s = self.core.socket(r)?;
        let is_told = stamping.contains(Stamping::RECEIVED.union(Stamping::TOLD));
        let mut asked = Asked::from_bits_retain(s.asked);
        asked.set(Asked::TIMES, is_told);
        s.asked = asked.bits();
        let watches = stamping.intersects(Stamping::WATCHING);
        s.set(SocketFlags::STAMPED, watches);
        if s.kind() == Kind::Datagram {
            // What was made for the short ways says nothing of times.
            s.template.forget();
            self.core.forget_recent();
            return Ok(());
        }
        let (written, (_, acknowledged)) = (s.tcb.written_to(), s.tcb.sent_to());
        self.core.change_extra(r.index, |extra, _| {
            let begins =
                stamping.contains(Stamping::ID) && !extra.stamping().contains(Stamping::ID);
            if begins && stamping.contains(Stamping::ID_FROM_WRITTEN) {
                extra.base = written;
            } else if begins {
                extra.base = acknowledged;
            }
            extra.stamping = stamping.bits();
        })?;
        let s = self.core.at(r.index);
        s.tcb.watch_acknowledgements(watches);
        Ok(())
    }

    /// SO_TIMESTAMPING as set.
    pub fn stamping(&mut self, r: SocketRef) -> Result<Stamping> {
        let place = self.core.socket(r)?.extra;
        let extra = Extra::of(&self.core.pool, place);
        Ok(extra.map_or(Stamping::empty(), |extra| extra.stamping()))
    }

    /// Bytes were written with MSG_ZEROCOPY: they were copied, and the program is told so.
    ///
    /// # Errors
    /// As for [`set_stamping`](Self::set_stamping).
    pub fn note_lent(&mut self, r: SocketRef) -> Result<()> {
        if !self.core.socket(r)?.has(SocketFlags::ZEROCOPY) {
            return Ok(());
        }
        self.core.change_extra(r.index, |extra, pool| {
            let id = extra.zerocopy;
            extra.zerocopy = id.wrapping_add(1);
            let notice = Notice {
                info: id,
                data: id,
                origin: OF_ZEROCOPY,
                code: COPIED,
                ..Notice::new_zeroed()
            };
            extra.tell(pool, &notice);
        })?;
        self.core.notify(r.index, Ready::ERR);
        Ok(())
    }

    /// The next notice.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    pub fn take_notice(&mut self, r: SocketRef) -> Result<Notice> {
        let place = self.core.socket(r)?.extra;
        let core = &mut self.core;
        let mut extra = Extra::of(&core.pool, place).ok_or(Error::WouldBlock)?;
        let mut bytes = [0; size_of::<Notice>()];
        let mut into = ForeignMut::from(&mut bytes[..]);
        if extra.notices.copy_out(&core.pool, 0, &mut into) < size_of::<Notice>() {
            return Err(Error::WouldBlock);
        }
        extra.notices.consume(&mut core.pool, bytes.len());
        extra.store(&mut core.pool, place);
        let any = !extra.notices.is_empty() || !extra.complaints.is_empty();
        core.at(r.index).set(SocketFlags::NOTICES, any);
        Notice::read_from_bytes(&bytes).map_err(|_| Error::WouldBlock)
    }
}

impl Core<'_> {
    /// Works on what a socket has for notices, which it has from now on.
    pub(crate) fn change_extra(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut Extra, &mut ChunkPool<'_>),
    ) -> Result<()> {
        if self.at(index).extra == 0 {
            let chunk = self.pool.alloc(Use::Receive).ok_or(Error::NoBuffers)?;
            self.pool.meta_mut(chunk).len = u16::try_from(size_of::<Extra>()).unwrap_or(0);
            let place = chunk + 1;
            let extra = Extra {
                notices: ChunkQueue::EMPTY,
                stamps: ChunkQueue::EMPTY,
                complaints: ChunkQueue::EMPTY,
                ..Extra::new_zeroed()
            };
            extra.store(&mut self.pool, place);
            self.at(index).extra = place;
        }
        let place = self.at(index).extra;
        if let Some(mut extra) = Extra::of(&self.pool, place) {
            change(&mut extra, &mut self.pool);
            extra.store(&mut self.pool, place);
            let any = !extra.notices.is_empty() || !extra.complaints.is_empty();
            self.at(index).set(SocketFlags::NOTICES, any);
        }
        Ok(())
    }

    /// A connection has SO_TIMESTAMPING from its listening socket; its bytes are counted from its beginning.
    #[cold]
    pub(crate) fn inherit_stamping(&mut self, listener: u32, child: u32) {
        let place = self.at(listener).extra;
        let stamping = Extra::of(&self.pool, place).map(|from| from.stamping);
        let Some(stamping) = stamping.filter(|bits| *bits != 0) else {
            return;
        };
        let watches = Stamping::from_bits_retain(stamping).intersects(Stamping::WATCHING);
        let _ = self.change_extra(child, |extra, _| extra.stamping = stamping);
        let s = self.at(child);
        s.set(SocketFlags::STAMPED, watches);
        s.tcb.watch_acknowledgements(watches);
    }

    /// What was written last ends with a byte that is watched.
    #[cold]
    pub(crate) fn stamp_written(&mut self, index: u32) {
        let end = self.at(index).tcb.written_to();
        let _ = self.change_extra(index, |extra, pool| {
            if extra.stamps.len() < STAMPS_BYTES_MAX {
                let stamp = Stamp { end, sent: 0 };
                extra
                    .stamps
                    .append(pool, stamp.as_bytes().into(), Use::Receive);
            }
        });
    }

    /// Bytes have left, or were acknowledged: tells of those that are watched.
    #[cold]
    pub(crate) fn tell_progress(&mut self, index: u32) {
        let (now, (sent, acknowledged)) = (self.now(), self.at(index).tcb.sent_to());
        let before = self.at(index).has(SocketFlags::NOTICES);
        let mut told = false;
        let _ = self.change_extra(index, |extra, pool| {
            let mut left = ChunkQueue::EMPTY;
            let mut steps = Steps::new(STAMPS_BYTES_MAX);
            while let Some(mut stamp) = next_stamp(extra, pool) {
                steps.step();
                let fresh = stamp.sent == 0 && stamp.end.le(sent);
                if fresh {
                    stamp.sent = 1;
                    told |= tell_stamp(
                        extra,
                        pool,
                        (SCHEDULED, Stamping::SCHEDULED),
                        stamp.end,
                        now,
                    );
                    told |= tell_stamp(extra, pool, (SENT, Stamping::SENT), stamp.end, now);
                }
                if stamp.end.le(acknowledged) {
                    let what = (ACKNOWLEDGED, Stamping::ACKNOWLEDGED);
                    told |= tell_stamp(extra, pool, what, stamp.end, now);
                } else {
                    left.append(pool, stamp.as_bytes().into(), Use::Receive);
                }
            }
            extra.stamps = left;
        });
        if told || self.at(index).has(SocketFlags::NOTICES) != before {
            self.notify(index, Ready::ERR);
        }
    }

    /// A socket ends.
    pub(crate) fn drop_notices(&mut self, index: u32) {
        let place = core::mem::take(&mut self.at(index).extra);
        if let Some(mut extra) = Extra::of(&self.pool, place) {
            extra.notices.clear(&mut self.pool);
            extra.stamps.clear(&mut self.pool);
            extra.complaints.clear(&mut self.pool);
            self.pool.free(place - 1);
        }
    }
}

fn next_stamp(extra: &mut Extra, pool: &mut ChunkPool<'_>) -> Option<Stamp> {
    let mut bytes = [0; size_of::<Stamp>()];
    let n = extra
        .stamps
        .read(pool, &mut ForeignMut::from(&mut bytes[..]));
    (n == bytes.len()).then(|| Stamp::read_from_bytes(&bytes).ok())?
}

/// Tells when something happened to a byte, if the program asked for that.
fn tell_stamp(
    extra: &mut Extra,
    pool: &mut ChunkPool<'_>,
    (what, asked): (u32, Stamping),
    end: Seq,
    at: Nanos,
) -> bool {
    let stamping = extra.stamping();
    if !stamping.contains(asked) {
        return false;
    }
    let cut = u8::from(!stamping.contains(Stamping::ONLY)) << 1;
    let notice = Notice {
        at,
        info: what,
        data: if stamping.contains(Stamping::ID) {
            (end - 1).0.wrapping_sub(extra.base.0)
        } else {
            0
        },
        origin: OF_TIMESTAMPING,
        told: u8::from(stamping.contains(Stamping::TOLD)) | cut,
        ..Notice::new_zeroed()
    };
    extra.tell(pool, &notice);
    true
}
