//! What ICMP for IPv4 and for IPv6 have in common: one value for the messages of either.
//!
//! The formats are the same but for the numbers of types, which [`icmp4`](crate::icmp4) and [`icmp6`](crate::icmp6) know.

use crate::checksum::Check;
use crate::{Address, Endpoint, Malformed, Protocol, Seq, bytes_at, ip, put, u16_at, u32_at};

/// Bytes in front of an echo's data or of the packet that an error is about.
pub const HEADER_BYTES: usize = 8;
/// Where in the header the checksum lies. In IPv6 it covers a pseudo header too.
pub const CHECKSUM_OFFSET: usize = 2;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr<'p> {
    /// Asks for its data back, which follow the header.
    EchoRequest {
        /// Whose request.
        ident: u16,
        /// Which one of them.
        seq: u16,
    },
    /// The data of a request, back, behind the header.
    EchoReply {
        /// As in the request.
        ident: u16,
        /// As in the request.
        seq: u16,
    },
    /// Something went wrong with a packet.
    Error {
        /// What.
        kind: ErrorKind,
        /// The packet's beginning, IP header first; look at it with [`Offending::parse`].
        packet: &'p [u8],
    },
}

/// What an error says. Codes are as on the wire and differ between IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The packet cannot be delivered.
    Unreachable {
        /// Why.
        code: u8,
    },
    /// The packet is too long for a link and may not be fragmented.
    PacketTooBig {
        /// The longest packet for that link; 0 from IPv4 routers older than RFC 1191.
        mtu: u32,
    },
    /// It went over too many hops (code 0), or reassembly took too long (1).
    TimeExceeded {
        /// Which of both.
        code: u8,
    },
    /// A header was not understood.
    ParameterProblem {
        /// In what way.
        code: u8,
        /// Where: bytes from the packet's start.
        pointer: u32,
    },
}

/// The packet that an error is about, as far as errors tell: it was ours if `src` is, so `src` is the local end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offending {
    /// What it carried.
    pub protocol: Protocol,
    /// Where it came from; port 0 if the protocol has no ports.
    pub src: Endpoint,
    /// Where it went; port 0 if the protocol has no ports.
    pub dst: Endpoint,
    /// Sequence number of a TCP segment. An error about one that is not in flight is forged (RFC 5927 section 4.1).
    pub seq: Option<Seq>,
    /// Bytes of its IP header.
    pub header_len: usize,
    /// Bytes of the whole packet, by its own header.
    pub packet_len: usize,
    /// Identifier and sequence number of an ICMP echo request.
    pub echo: Option<(u16, u16)>,
}

impl Offending {
    /// Looks at the start of a packet, of which an error carries at least 8 bytes behind the IP header.
    ///
    /// # Errors
    /// As of [`ip::Repr::parse`], whatever the packet's length; `Unsupported` for all but the first fragment, which
    /// say nothing about whose they are.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        // Only the start of the packet came back, and its checksum may be from before the last hop.
        let (ip, header_len) = ip::Repr::parse(packet, ip::PACKET_BYTES_MAX * 2, Check::Vouched)?;
        if ip.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return Err(Malformed::Unsupported);
        }
        let start = packet[header_len..]
            .first_chunk::<8>()
            .ok_or(Malformed::Truncated)?;
        let (mut src_port, mut dst_port, mut seq, mut echo) = (0, 0, None, None);
        match ip.protocol {
            Protocol::TCP | Protocol::UDP => {
                (src_port, dst_port) = (u16_at(start, 0), u16_at(start, 2));
                seq = (ip.protocol == Protocol::TCP).then(|| Seq(u32_at(start, 4)));
            }
            Protocol::ICMP if start[0] == 8 => echo = Some((u16_at(start, 4), u16_at(start, 6))),
            Protocol::ICMPV6 if start[0] == 128 => {
                echo = Some((u16_at(start, 4), u16_at(start, 6)))
            }
            _ => {}
        }
        let (src, dst) = (
            Endpoint::new(ip.src, src_port),
            Endpoint::new(ip.dst, dst_port),
        );
        Ok(Self {
            protocol: ip.protocol,
            src,
            dst,
            seq,
            header_len,
            packet_len: header_len + ip.payload_len,
            echo,
        })
    }

    /// Whether an error may be sent about a packet from `src` to `dst` (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e):
    /// not if either is not one host. The caller knows about fragments, and about packets that are errors themselves.
    pub fn may_be_reported(src: Address, dst: Address) -> bool {
        let one_host = !src.is_unspecified() && !src.is_multicast() && !src.is_broadcast();
        one_host && !dst.is_multicast() && !dst.is_broadcast()
    }
}

/// Type and code, and the four bytes that follow the checksum.
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) rest: [u8; 4],
}

impl Head {
    pub(crate) fn parse(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (head, body) = message
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(Malformed::Truncated)?;
        Ok((
            Self {
                kind: head[0],
                code: head[1],
                rest: bytes_at(head, 4),
            },
            body,
        ))
    }

    /// Identifier and sequence number of an echo.
    pub(crate) fn echo(&self) -> (u16, u16) {
        (u16_at(&self.rest, 0), u16_at(&self.rest, 2))
    }

    /// Writes the header, and the packet of an error; returns how many bytes.
    pub(crate) fn emit(&self, packet: &[u8], out: &mut [u8]) -> usize {
        let len = HEADER_BYTES + packet.len();
        let (head, body) = out[..len].split_at_mut(HEADER_BYTES);
        put(head, 0, [self.kind, self.code, 0, 0]);
        put(head, 4, self.rest);
        body.copy_from_slice(packet);
        len
    }
}

pub(crate) fn echo_rest(ident: u16, seq: u16) -> [u8; 4] {
    (u32::from(ident) << 16 | u32::from(seq)).to_be_bytes()
}

#[cfg(test)]
mod tests;
