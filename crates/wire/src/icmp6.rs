//! ICMP for IPv6 (RFC 4443): echo and errors. Neighbour discovery has a [file of its own](crate::ndp).

use crate::Malformed;
use crate::icmp::{ErrorKind, Head, echo_rest};

pub use crate::icmp::{CHECKSUM_OFFSET, HEADER_BYTES, Repr};

/// Most bytes of a packet that an error carries: the whole message must not exceed the least MTU (RFC 4443 section 2.4 c).
pub const PACKET_BYTES_MAX: usize = 1280 - 40 - HEADER_BYTES;

/// Codes of [`ErrorKind::Unreachable`].
pub mod unreachable {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const SCOPE: u8 = 2;
    /// The host does not answer.
    pub const ADDRESS: u8 = 3;
    /// Nobody has the port.
    pub const PORT: u8 = 4;
}

/// Code of [`ErrorKind::ParameterProblem`] for a protocol that the host does not speak.
pub const UNKNOWN_NEXT_HEADER: u8 = 1;

mod kind {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const PACKET_TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
}

/// Reads a message, or as much of it as there is from the start. The checksum is the caller's: it covers everything.
///
/// # Errors
/// `Truncated`, and `Unsupported` for messages of another kind.
pub fn parse(message: &[u8]) -> Result<Repr<'_>, Malformed> {
    let (head, packet) = Head::parse(message)?;
    let (code, word) = (head.code, u32::from_be_bytes(head.rest));
    let kind = match head.kind {
        kind::ECHO_REQUEST | kind::ECHO_REPLY => {
            let (ident, seq) = head.echo();
            return Ok(match head.kind {
                kind::ECHO_REQUEST => Repr::EchoRequest { ident, seq },
                _ => Repr::EchoReply { ident, seq },
            });
        }
        kind::UNREACHABLE => ErrorKind::Unreachable { code },
        kind::PACKET_TOO_BIG => ErrorKind::PacketTooBig { mtu: word },
        kind::TIME_EXCEEDED => ErrorKind::TimeExceeded { code },
        kind::PARAMETER_PROBLEM => ErrorKind::ParameterProblem {
            code,
            pointer: word,
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
            let (kind, code, word) = match kind {
                ErrorKind::Unreachable { code } => (kind::UNREACHABLE, code, 0),
                ErrorKind::PacketTooBig { mtu } => (kind::PACKET_TOO_BIG, 0, mtu),
                ErrorKind::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, 0),
                ErrorKind::ParameterProblem { code, pointer } => {
                    (kind::PARAMETER_PROBLEM, code, pointer)
                }
            };
            (kind, code, word.to_be_bytes(), packet)
        }
    };
    Head { kind, code, rest }.emit(packet, out)
}

#[cfg(test)]
mod tests;
