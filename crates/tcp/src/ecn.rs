//! Explicit congestion notification: routers mark packets instead of dropping them, the receiver says so, and the sender
//! slows down as for a loss. As RFC 3168 has it; what RFC 9768 says more accurately is in `accurate`.

mod accurate;

use crate::tcb::{Env, Marks, Tcb};
pub(crate) use accurate::Accurate;
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is done about ECN, by the values of Linux's `net.ipv4.tcp_ecn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Nothing.
    Off = 0,
    /// Used, and asked for.
    Ask = 1,
    /// Used where the peer asks for it (the default of Linux).
    Accept = 2,
    /// The accurate kind is used, and asked for; the older one where the peer knows no other.
    AskAccurate = 3,
    /// The accurate kind is used where the peer asks for it; the older one is asked for.
    AskAcceptAccurate = 4,
    /// The accurate kind is used where the peer asks for it.
    AcceptAccurate = 5,
}

impl Ecn {
    /// The setting of that value of `net.ipv4.tcp_ecn`; what is not known yet is the default.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Off,
            1 => Self::Ask,
            3 => Self::AskAccurate,
            4 => Self::AskAcceptAccurate,
            5 => Self::AcceptAccurate,
            _ => Self::Accept,
        }
    }

    const fn accepts_accurate(self) -> bool {
        self as u8 >= Self::AskAccurate as u8
    }
}

/// What the two bits of the IP header say (RFC 3168 section 5).
pub mod field {
    /// Not to be marked.
    pub const NOT_ECT: u8 = 0;
    /// May be marked.
    pub const ECT_1: u8 = 1;
    /// May be marked; what we send.
    pub const ECT_0: u8 = 2;
    /// Congestion was experienced.
    pub const CE: u8 = 3;
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
/// It is the accurate kind that was asked for, or is in use.
const ACCURATE: u8 = 32;
/// What we send is not to be marked: some box on the way does not leave marks as they are.
const MANGLED: u8 = 64;

/// How far it has got with a connection.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct EcnBits(u8);

impl EcnBits {
    /// Whether marks are told of.
    #[inline]
    pub(crate) const fn is_on(self) -> bool {
        self.0 & ON != 0
    }

    /// Whether our data may be marked.
    #[inline]
    pub(crate) const fn marks_welcome(self) -> bool {
        self.0 & (ON | MANGLED) == ON
    }

    /// Whether no segment is any different for it.
    #[inline]
    pub(crate) const fn is_off(self) -> bool {
        self.0 == 0
    }

    /// As a byte: 0 where it is [off](Self::is_off).
    #[inline]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    #[inline]
    const fn is_accurate(self) -> bool {
        self.0 & (ON | ACCURATE) == (ON | ACCURATE)
    }

    pub(crate) const fn ask(&mut self, setting: Ecn) {
        self.0 = match setting {
            Ecn::Ask | Ecn::AskAcceptAccurate => ASKED,
            Ecn::AskAccurate => ASKED | ACCURATE,
            Ecn::Off | Ecn::Accept | Ecn::AcceptAccurate => 0,
        };
    }

    /// A SYN asks, or does not (6.1.1).
    pub(crate) fn on_syn(&mut self, setting: Ecn, flags: Flags) {
        if setting == Ecn::Off || !flags.contains(Flags::ECE | Flags::CWR) {
            return;
        }
        self.0 = ON;
        if flags.contains(Flags::AE) && setting.accepts_accurate() {
            self.0 |= ACCURATE;
        }
    }

    /// The answer to our SYN.
    pub(crate) fn on_syn_ack(&mut self, flags: Flags) {
        if self.0 & (ASKED | ACCURATE) == (ASKED | ACCURATE) {
            return self.on_accurate_syn_ack(flags);
        }
        let agreed = self.0 & ASKED != 0 && flags & (Flags::ECE | Flags::CWR) == Flags::ECE;
        self.0 = if agreed { ON } else { 0 };
    }
}

impl Tcb {
    /// What our SYN or SYN-ACK says. One that is repeated asks no more: it may be what some box in between drops
    /// (6.1.1.1). For the accurate kind it is worth a second try (RFC 9768 3.1.4).
    pub(crate) fn ecn_syn_flags(&mut self, acks: bool) -> Flags {
        let bits = &mut self.ecn.0;
        let tries = if *bits & ACCURATE == 0 { 1 } else { 2 };
        if *bits & ASKED != 0 && self.retries >= tries {
            *bits = 0;
        }
        match (*bits & (ASKED | ON), acks) {
            (ASKED, false) if *bits & ACCURATE != 0 => Flags::ACE,
            (ASKED, false) => Flags::ECE | Flags::CWR,
            (ON, true) if self.ecn.is_accurate() => self.accurate.handshake_flags(),
            (ON, true) => Flags::ECE,
            _ => Flags::empty(),
        }
    }

    /// What any other segment of `len` bytes of text says; CWR goes with new data.
    #[inline]
    pub(crate) fn ecn_flags(&mut self, fresh: bool, len: u32) -> Flags {
        if self.ecn.0 & (ECHO | REDUCED | ACCURATE) == 0 {
            return Flags::empty();
        }
        self.ecn_telling_flags(fresh, len)
    }

    #[cold]
    fn ecn_telling_flags(&mut self, fresh: bool, len: u32) -> Flags {
        if self.ecn.is_accurate() {
            return self.accurate.count_flags(len);
        }
        let mut flags = Flags::empty();
        flags.set(Flags::ECE, self.ecn.0 & ECHO != 0);
        if fresh && self.ecn.0 & REDUCED != 0 {
            self.ecn.0 &= !REDUCED;
            flags |= Flags::CWR;
        }
        flags
    }

    /// Takes what a segment and its packet say of the peer's path to us.
    #[inline]
    pub(crate) fn note_marks(&mut self, flags: Flags) {
        if self.ecn.is_off() {
            return;
        }
        let marked = self.ecn.0 & MARKED != 0;
        self.ecn.0 &= !MARKED;
        if self.ecn.is_accurate() {
            self.accurate.count(marked);
            return;
        }
        if flags.contains(Flags::CWR) {
            self.ecn.0 &= !ECHO;
        }
        if marked {
            // Also where it says that it knows: of an earlier one.
            self.ecn.0 |= ECHO;
        }
    }

    /// The packet whose segment begins at `seq` and comes next was marked: congestion was experienced.
    pub fn on_congestion_experienced(&mut self, seq: Seq) {
        if self.ecn.is_on() && seq.ge(self.rcv_nxt) && seq.lt(self.rcv_adv) {
            self.ecn.0 |= MARKED;
            self.marks.insert(Marks::ACK_NOW);
        }
    }

    /// A segment says that packets of ours were marked: once a round trip the window goes down (6.1.2). `news` where it
    /// acknowledges something that no other did before.
    #[inline]
    pub(crate) fn on_echo(&mut self, env: &mut Env<'_, '_>, flags: Flags, news: bool) {
        if self.ecn.is_off() || flags.contains(Flags::SYN) {
            return;
        }
        let told = if self.ecn.is_accurate() {
            self.on_count_of_marks(flags, news)
        } else {
            flags.contains(Flags::ECE)
        };
        if told {
            self.on_echo_of_congestion(env);
        }
    }

    #[cold]
    fn on_echo_of_congestion(&mut self, env: &mut Env<'_, '_>) {
        if self.snd_una.ge(self.recovery.marked) {
            self.recovery.marked = self.snd_nxt;
            if !self.ecn.is_accurate() {
                self.ecn.0 |= REDUCED;
            }
            self.counters.congestion_echoes += 1;
            self.on_congestion_echo(env);
        }
    }
}
