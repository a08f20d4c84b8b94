//! Accurate ECN (RFC 9768): the receiver tells how many packets were marked, by three bits of the header that count them.
//!
//! The option that counts bytes besides is not sent, and not needed by any congestion control here; what a peer says by
//! it, its three bits say, too.

use super::{ACCURATE, EcnBits, MANGLED, ON, field};
use crate::tcb::Tcb;
use sidestep_wire::tcp::Flags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Both counters begin there (3.2.1), so that a box that clears the bits is found out.
const BEGIN: u8 = 5;
const BITS: u8 = 7;
/// What says in the handshake that a SYN or SYN-ACK came unmarked, or marked (table 2 and 3).
const CAME_NOT_ECT: u8 = 0b010;
const CAME_ECT_1: u8 = 0b011;
const CAME_ECT_0: u8 = 0b100;
const CAME_CE: u8 = 0b110;
/// Nobody has told the other end yet what its SYN-ACK looked like.
const UNTOLD: u8 = 0x80;

/// The counters of a connection, and what the handshake has to tell.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Accurate {
    /// r.cep: marked packets that we had, modulo 8.
    heard: u8,
    /// s.cep: what the peer last said, modulo 8.
    told: u8,
    /// What the peer's SYN or SYN-ACK looked like, by the codes of the handshake; with [`UNTOLD`] where the next segment
    /// is to say so.
    first: u8,
}

impl Accurate {
    /// Of a connection that begins; `asks` where it is to tell of the SYN-ACK.
    pub(crate) const fn new(asks: bool) -> Self {
        Self {
            heard: BEGIN,
            told: BEGIN,
            first: if asks {
                CAME_NOT_ECT | UNTOLD
            } else {
                CAME_NOT_ECT
            },
        }
    }

    /// What our SYN-ACK says of the SYN.
    pub(super) const fn handshake_flags(self) -> Flags {
        ace_flags(self.first & BITS)
    }

    /// What any segment after the handshake says. The first, where it has no text, tells of the SYN-ACK.
    pub(super) const fn count_flags(&mut self, len: u32) -> Flags {
        if self.first & UNTOLD != 0 {
            self.first &= !UNTOLD;
            if len == 0 {
                return self.handshake_flags();
            }
        }
        ace_flags(self.heard)
    }

    /// A packet came, perhaps a marked one.
    pub(super) fn count(&mut self, marked: bool) {
        self.heard = (self.heard + u8::from(marked)) & BITS;
    }
}

/// The three bits in the header.
const fn ace_flags(ace: u8) -> Flags {
    Flags::from_bits_retain((ace as u16) << 6)
}

const fn ace(flags: Flags) -> u8 {
    let [_, low] = (flags.bits() >> 6).to_be_bytes();
    low & BITS
}

impl EcnBits {
    /// The answer to a SYN of ours that asked for the accurate kind (table 2). A peer that has it says what our SYN
    /// looked like, which was not to be marked.
    pub(super) fn on_accurate_syn_ack(&mut self, flags: Flags) {
        self.0 = match ace(flags) {
            CAME_NOT_ECT => ON | ACCURATE,
            CAME_ECT_0 | CAME_ECT_1 | CAME_CE => ON | ACCURATE | MANGLED,
            // A peer of RFC 3168, or of its nonces.
            0b001 | 0b101 => ON,
            // No ECN; or a peer that sends back whatever it gets.
            _ => 0,
        };
    }
}

impl Tcb {
    /// The packet of the peer's SYN or SYN-ACK, which was taken just now, had these two bits in its IP header: the peer is
    /// told so.
    pub fn on_first_field(&mut self, bits: u8) {
        if !self.ecn.is_accurate() {
            return;
        }
        let code = match bits {
            field::ECT_1 => CAME_ECT_1,
            field::ECT_0 => CAME_ECT_0,
            field::CE => CAME_CE,
            _ => CAME_NOT_ECT,
        };
        let untold = self.accurate.first & UNTOLD;
        self.accurate.first = untold | code;
        self.accurate.count(untold != 0 && bits == field::CE);
    }

    /// The acknowledgement that completes a connection we accepted (table 4): it tells what our SYN-ACK looked like,
    /// which was not to be marked, unless it has text.
    pub(crate) fn on_third_segment(&mut self, flags: Flags, payload_len: usize) {
        if !self.ecn.is_accurate() || payload_len > 0 {
            return;
        }
        match ace(flags) {
            // Cleared on the way, as marks may be.
            0 | CAME_ECT_0 | CAME_ECT_1 => self.ecn.0 |= MANGLED,
            CAME_CE => {
                self.ecn.0 |= MANGLED;
                self.accurate.told = BEGIN + 1;
            }
            _ => {}
        }
    }

    /// A segment counts our marked packets. True if there are more than it was known of. One without `news` may have been
    /// overtaken by another that counted more.
    #[cold]
    pub(super) fn on_count_of_marks(&mut self, flags: Flags, news: bool) -> bool {
        let told = ace(flags);
        if !news || self.accurate.told == told {
            return false;
        }
        self.accurate.told = told;
        true
    }
}
