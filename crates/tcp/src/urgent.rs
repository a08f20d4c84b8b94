//! Urgent data (RFC 9293 3.8.5, RFC 6093), as Linux has it: the last byte of what is sent as urgent is one out of band,
//! which is read by itself; the rest of the stream stops for it, so that the reader can tell where it was.
//!
//! The urgent pointer is taken to name that byte's successor, as all stacks send it.

use crate::choices::Fixed;
use crate::state::Events;
use crate::tcb::{Env, Marks, Tcb};
use sidestep_shm::{Foreign, ForeignMut};
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the peer's urgent byte is. Stored in `Tcb::urgent_in`; anything but `None` takes segments the long way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Out {
    /// There is none before the reader.
    None = 0,
    /// It was announced, and has not come.
    Announced = 1,
    /// It can be read.
    Here = 2,
    /// It was read, and its place in the stream is still before the reader.
    Read = 3,
}

/// Urgent data of both directions.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Urgent {
    /// Where ours ends (SND.UP), while `Marks::URGENT` is set.
    snd_up: Seq,
    /// The peer's urgent byte.
    at: Seq,
    byte: u8,
    _reserved: [u8; 3],
}

/// What there is out of band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfBand {
    /// Nothing, it was read, or it is to be read in line.
    Nothing,
    /// Something is announced that has not come.
    Coming,
    /// This byte.
    Byte(u8),
}

impl Tcb {
    /// As [`send`](Self::send) with MSG_OOB: the last byte is urgent.
    pub fn send_urgent(&mut self, env: &mut Env<'_, '_>, src: Foreign<'_>) -> usize {
        let queued = self.send(env, src, true);
        if queued > 0 {
            self.marks.insert(Marks::URGENT);
            self.urgent.snd_up = self.snd_una + self.snd.len();
        }
        queued
    }

    /// What the header of a segment that begins at `seq` says of urgent data that is not acknowledged.
    #[cold]
    pub(crate) fn put_urgent(&mut self, repr: &mut Repr) {
        if self.snd_una.ge(self.urgent.snd_up) {
            self.marks.remove(Marks::URGENT);
            return;
        }
        let ahead = self.urgent.snd_up - repr.seq;
        if ahead > 0 {
            repr.flags |= Flags::URG;
            // What is further away is announced as far as the field reaches.
            repr.urgent = u16::try_from(ahead).unwrap_or(u16::MAX);
        }
    }

    /// The first byte that the program has not read.
    fn unread(&self) -> Seq {
        let end = if self.peer_closed() {
            self.rcv_fin
        } else {
            self.rcv_nxt
        };
        end - self.rcv.len()
    }

    const fn urgent_is(&self, out: Out) -> bool {
        self.urgent_in == out as u8
    }

    /// A segment with URG, or any while the urgent byte is announced; its text begins at `seq`.
    #[cold]
    pub(crate) fn on_urgent(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        seq: Seq,
        payload: Foreign<'_>,
    ) -> Events {
        let mut events = Events::empty();
        if seg.flags.contains(Flags::URG) && self.state().can_receive() {
            let at = seq + u32::from(seg.urgent.saturating_sub(1));
            let known = !self.urgent_is(Out::None) && at.le(self.urgent.at);
            if at.ge(self.rcv_nxt) && !known {
                self.drop_old_mark(env);
                self.urgent_in = Out::Announced as u8;
                self.urgent.at = at;
                events |= Events::URGENT;
            }
        }
        let offset = usize::try_from(self.urgent.at - seq);
        if let Ok(offset) = offset
            && self.urgent_is(Out::Announced)
            && offset < payload.len()
        {
            let mut byte = [0];
            payload.skip(offset).first(1).copy_to(&mut byte);
            self.urgent.byte = byte[0];
            self.urgent_in = Out::Here as u8;
            events |= Events::URGENT_READABLE;
        }
        events
    }

    /// Newer urgent data takes the place of a byte that the reader stands at: as on Linux, that one is gone then.
    fn drop_old_mark(&mut self, env: &mut Env<'_, '_>) {
        if self.steps_over() {
            self.rcv.skip(env.pool, 1);
        }
    }

    fn is_inline(&self) -> bool {
        self.choices.fixed.contains(Fixed::OOB_INLINE)
    }

    /// SO_OOBINLINE: urgent bytes stay in the stream.
    pub fn set_oob_inline(&mut self, on: bool) {
        self.choices.fixed.set(Fixed::OOB_INLINE, on);
    }

    /// SO_OOBINLINE as set.
    pub const fn oob_inline(&self) -> bool {
        self.choices.fixed.contains(Fixed::OOB_INLINE)
    }

    /// SIOCATMARK: whether the reader stands at the urgent byte.
    pub fn at_mark(&self) -> bool {
        !self.urgent_is(Out::None) && self.urgent.at == self.unread()
    }

    /// Whether the urgent byte is here and was not read (POLLPRI).
    #[inline]
    pub const fn has_urgent(&self) -> bool {
        self.urgent_in == Out::Here as u8
    }

    /// recv(2) with MSG_OOB.
    pub fn recv_urgent(&mut self, peek: bool) -> OutOfBand {
        if self.is_inline() {
            return OutOfBand::Nothing;
        }
        if self.urgent_is(Out::Announced) {
            return OutOfBand::Coming;
        }
        if !self.urgent_is(Out::Here) {
            return OutOfBand::Nothing;
        }
        if !peek {
            self.urgent_in = Out::Read as u8;
        }
        OutOfBand::Byte(self.urgent.byte)
    }

    /// Bytes that a reader gets before the mark, behind a byte that it skips; all there are where there is no mark.
    pub(crate) fn readable_to_mark(&self) -> u32 {
        let len = self.rcv.len();
        if self.urgent_is(Out::None) {
            return len;
        }
        match u32::try_from(self.urgent.at - self.unread()) {
            Ok(0) if self.is_inline() => len,
            Ok(0) => len.saturating_sub(1),
            Ok(ahead) => len.min(ahead),
            Err(_) => len,
        }
    }

    /// Before a read: a byte out of band that the reader stands at is not in its way. Returns how many bytes follow that
    /// may be read at once.
    #[cold]
    pub(crate) fn before_read(&mut self, env: &mut Env<'_, '_>) -> usize {
        let most = self.readable_to_mark() as usize;
        if self.steps_over() {
            self.rcv.skip(env.pool, 1);
            self.forget_passed();
        }
        most
    }

    /// Whether a reader that goes on leaves the urgent byte out.
    fn steps_over(&self) -> bool {
        self.at_mark() && !self.is_inline() && self.rcv.len() > 0
    }

    /// As [`recv`](Self::recv), while there is a mark.
    #[cold]
    pub(crate) fn recv_to_mark(
        &mut self,
        env: &mut Env<'_, '_>,
        dst: &mut ForeignMut<'_>,
        peek: bool,
    ) -> usize {
        if peek {
            return self.peek_to_mark(env, 0, dst);
        }
        let most = self.before_read(env);
        let bytes = self.rcv.read(env.pool, &mut dst.first(most), false);
        self.forget_passed();
        if bytes > 0 {
            self.note_read(env);
        }
        bytes
    }

    /// As [`peek_at`](Self::peek_at), while there is a mark.
    #[cold]
    pub(crate) fn peek_to_mark(
        &self,
        env: &Env<'_, '_>,
        offset: usize,
        dst: &mut ForeignMut<'_>,
    ) -> usize {
        let most = (self.readable_to_mark() as usize).saturating_sub(offset);
        let offset = offset + usize::from(self.steps_over());
        self.rcv.copy_out(env.pool, offset, &mut dst.first(most))
    }

    /// After a read: a mark that the reader has passed is one no more.
    pub(crate) fn forget_passed(&mut self) {
        if self.unread().gt(self.urgent.at) {
            self.urgent_in = Out::None as u8;
        }
    }
}
