//! Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them, the receiver says so, and
//! the sender slows down as for a loss.

use crate::tcb::{Env, Marks, Tcb};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is done about ECN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// Nothing.
    Off,
    /// Used where the peer asks for it (the default of Linux).
    Accept,
    /// Asked for, too.
    Ask,
}

/// Our SYN asks.
const ASKED: u8 = 1;
/// In use.
const ON: u8 = 2;
/// The peer is to be told of congestion, until it says that it knows.
const ECHO: u8 = 4;
/// Our next new data says that we know.
const REDUCED: u8 = 8;
/// The packet at hand was marked.
const MARKED: u8 = 16;

/// How far it has got with a connection.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct EcnBits(u8);

impl EcnBits {
    #[inline]
    pub(crate) const fn is_on(self) -> bool {
        self.0 & ON != 0
    }

    /// Whether no segment is any different for it.
    #[inline]
    pub(crate) const fn is_off(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn ask(&mut self, asks: bool) {
        self.0 = if asks { ASKED } else { 0 };
    }

    /// A SYN asks, or does not (6.1.1).
    pub(crate) fn on_syn(&mut self, flags: Flags) {
        if flags.contains(Flags::ECE | Flags::CWR) {
            self.0 = ON;
        }
    }

    /// The answer to our SYN.
    pub(crate) fn on_syn_ack(&mut self, flags: Flags) {
        let agreed = self.0 == ASKED && flags & (Flags::ECE | Flags::CWR) == Flags::ECE;
        self.0 = if agreed { ON } else { 0 };
    }

    /// What our SYN or SYN-ACK says. One that is repeated asks no more: it may be what some box in between drops
    /// (6.1.1.1).
    pub(crate) fn syn_flags(&mut self, acks: bool, repeated: bool) -> Flags {
        if repeated && self.0 == ASKED {
            self.0 = 0;
        }
        match (self.0, acks) {
            (ASKED, false) => Flags::ECE | Flags::CWR,
            (ON, true) => Flags::ECE,
            _ => Flags::empty(),
        }
    }

    /// What any other segment says; CWR goes with new data.
    #[inline]
    pub(crate) fn data_flags(&mut self, fresh: bool) -> Flags {
        if self.0 & (ECHO | REDUCED) == 0 {
            return Flags::empty();
        }
        let mut flags = Flags::empty();
        flags.set(Flags::ECE, self.0 & ECHO != 0);
        if fresh && self.0 & REDUCED != 0 {
            self.0 &= !REDUCED;
            flags |= Flags::CWR;
        }
        flags
    }

    /// Takes what a segment and its packet say.
    #[inline]
    pub(crate) fn on_flags(&mut self, flags: Flags) {
        if flags.contains(Flags::CWR) {
            self.0 &= !ECHO;
        }
        if self.0 & MARKED != 0 {
            // Also where it says that it knows: of an earlier one.
            self.0 = (self.0 & !MARKED) | ECHO;
        }
    }
}

impl Tcb {
    /// The packet whose segment begins at `seq` and comes next was marked: congestion was experienced.
    pub fn on_congestion_experienced(&mut self, seq: Seq) {
        if self.ecn.is_on() && seq.ge(self.rcv_nxt) && seq.lt(self.rcv_adv) {
            self.ecn.0 |= MARKED;
            self.marks.insert(Marks::ACK_NOW);
        }
    }

    /// The peer says that a packet of ours was marked: once a round trip the window goes down (6.1.2).
    pub(crate) fn on_echo_of_congestion(&mut self, env: &mut Env<'_, '_>) {
        if self.ecn.is_on() && self.snd_una.ge(self.recovery.marked) {
            self.recovery.marked = self.snd_nxt;
            self.ecn.0 |= REDUCED;
            self.counters.congestion_echoes += 1;
            self.on_congestion_echo(env);
        }
    }
}
