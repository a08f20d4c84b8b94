//! ICMP for IPv4 (RFC 792, RFC 1191).

use crate::icmp::{ErrorKind, Head, echo_rest};
use crate::{Malformed, u16_at};

pub use crate::icmp::{CHECKSUM_OFFSET, HEADER_BYTES, Repr};

/// Most bytes of a packet that an error carries: the whole message must not exceed 576 bytes (RFC 1812 section 4.3.2.3).
pub const PACKET_BYTES_MAX: usize = 576 - 20 - HEADER_BYTES;

/// Codes of [`ErrorKind::Unreachable`].
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// The host does not speak the protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody has the port.
    pub const PORT: u8 = 3;
    /// Administratively prohibited.
    pub const PROHIBITED: u8 = 13;
}

mod kind {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
}

/// The code of `UNREACHABLE` that stands for [`ErrorKind::PacketTooBig`].
const FRAGMENTATION_NEEDED: u8 = 4;

/// Reads a message, or as much of it as there is from the start. The checksum is the caller's: it covers everything.
///
/// # Errors
/// `Truncated`, and `Unsupported` for messages of another kind.
pub fn parse(message: &[u8]) -> Result<Repr<'_>, Malformed> {
    let (head, packet) = Head::parse(message)?;
    let code = head.code;
    let kind = match head.kind {
        kind::ECHO_REQUEST | kind::ECHO_REPLY => {
            let (ident, seq) = head.echo();
            return Ok(match head.kind {
                kind::ECHO_REQUEST => Repr::EchoRequest { ident, seq },
                _ => Repr::EchoReply { ident, seq },
            });
        }
        kind::UNREACHABLE if code == FRAGMENTATION_NEEDED => ErrorKind::PacketTooBig {
            mtu: u32::from(u16_at(&head.rest, 2)),
        },
        kind::UNREACHABLE => ErrorKind::Unreachable { code },
        kind::TIME_EXCEEDED => ErrorKind::TimeExceeded { code },
        kind::PARAMETER_PROBLEM => ErrorKind::ParameterProblem {
            code,
            pointer: u32::from(head.rest[0]),
        },
        _ => return Err(Malformed::Unsupported),
    };
    Ok(Repr::Error { kind, packet })
}

/// Writes a message with a checksum of zero, without an echo's data; returns how many bytes. An error's packet should be
/// cut to [`PACKET_BYTES_MAX`].
///
/// # Panics
/// Where `out` is shorter than the message.
pub fn emit(repr: &Repr<'_>, out: &mut [u8]) -> usize {
    let (kind, code, rest, packet): (_, _, _, &[u8]) = match *repr {
        Repr::EchoRequest { ident, seq } => (kind::ECHO_REQUEST, 0, echo_rest(ident, seq), &[]),
        Repr::EchoReply { ident, seq } => (kind::ECHO_REPLY, 0, echo_rest(ident, seq), &[]),
        Repr::Error { kind, packet } => {
            let (kind, code, rest) = match kind {
                ErrorKind::Unreachable { code } => (kind::UNREACHABLE, code, [0; 4]),
                ErrorKind::PacketTooBig { mtu } => {
                    let [high, low] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
                    (kind::UNREACHABLE, FRAGMENTATION_NEEDED, [0, 0, high, low])
                }
                ErrorKind::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, [0; 4]),
                ErrorKind::ParameterProblem { code, pointer } => {
                    let pointer = u8::try_from(pointer).unwrap_or(u8::MAX);
                    (kind::PARAMETER_PROBLEM, code, [pointer, 0, 0, 0])
                }
            };
            (kind, code, rest, packet)
        }
    };
    Head { kind, code, rest }.emit(packet, out)
}

#[cfg(test)]
mod tests;
