//! IPv6 headers and extension headers (RFC 8200).

use crate::ip::{Fragment, Protocol, length_field};
use crate::{Address, Malformed, bytes_at, put, u16_at, u32_at};

pub use crate::ip::Repr;

/// Bytes of a header without extension headers.
pub const HEADER_BYTES: usize = 40;
/// Bytes of the fragment header.
pub const FRAGMENT_HEADER_BYTES: usize = 8;
/// Most extension headers in a packet; more is nobody's honest traffic.
pub const EXTENSIONS_MAX: usize = 8;

mod field {
    pub(super) const VERSION_CLASS_LABEL: usize = 0;
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SRC: usize = 8;
    pub(super) const DST: usize = 24;
}

mod next {
    use crate::Protocol;
    pub(super) const HOP_BY_HOP: Protocol = Protocol(0);
    pub(super) const ROUTING: Protocol = Protocol(43);
    pub(super) const FRAGMENT: Protocol = Protocol(44);
    pub(super) const DESTINATION: Protocol = Protocol(60);
}

/// What extension headers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// What follows them.
    pub protocol: Protocol,
    /// Bytes that they take.
    pub bytes: usize,
    /// The fragment and its identification, where one of them was a fragment header. It is the last one looked at:
    /// others may follow in the packet that reassembly yields.
    pub fragment: Option<(Fragment, u32)>,
}

/// Reads the header and the extension headers at the start of `header`, which need not hold the payload, of a packet of
/// which `available` bytes arrived (link-layer padding included). Returns it and the length of all headers in bytes.
///
/// # Errors
/// `Truncated` if the headers do not fit into the bytes; `Version`; `Length` if the packet says it is longer than what
/// arrived, or an extension header reaches beyond it; `Value` if an address must not be in a packet; `Unsupported`
/// for extensions that ask to be understood.
#[inline]
pub fn parse(header: &[u8], available: usize) -> Result<(Repr, usize), Malformed> {
    let fixed = header
        .first_chunk::<HEADER_BYTES>()
        .ok_or(Malformed::Truncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(Malformed::Version);
    }
    let packet_payload_len = usize::from(u16_at(fixed, field::PAYLOAD_LENGTH));
    if HEADER_BYTES + packet_payload_len > available {
        return Err(Malformed::Length);
    }
    let src = Address(bytes_at(fixed, field::SRC));
    let dst = Address(bytes_at(fixed, field::DST));
    // A mapped address in a packet would pass for one of IPv4 from here on (RFC 4942 section 2.2).
    if src.is_v4() || dst.is_v4() || src.is_multicast() || dst == Address::UNSPECIFIED_V6 {
        return Err(Malformed::Value);
    }
    let mut repr = Repr {
        src,
        dst,
        protocol: Protocol(fixed[field::NEXT_HEADER]),
        hop_limit: fixed[field::HOP_LIMIT],
        tos: traffic_class(u16_at(fixed, field::VERSION_CLASS_LABEL)),
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: packet_payload_len,
    };
    if !is_extension(repr.protocol) {
        return Ok((repr, HEADER_BYTES));
    }
    let rest = &header[HEADER_BYTES..];
    let extensions = parse_extensions(repr.protocol, rest, packet_payload_len, true)?;
    repr.protocol = extensions.protocol;
    repr.payload_len -= extensions.bytes;
    if let Some((fragment, ident)) = extensions.fragment {
        repr.ident = ident;
        repr.fragment = Some(fragment);
    }
    Ok((repr, HEADER_BYTES + extensions.bytes))
}

const fn traffic_class(version_class_label: u16) -> u8 {
    let [_, class] = (version_class_label >> 4).to_be_bytes();
    class
}

/// Whether it is the number of an extension header that is skipped or reported, not of a protocol.
#[inline]
fn is_extension(next: Protocol) -> bool {
    matches!(
        next,
        next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION
    )
}

/// Reads the extension headers at the start of `bytes`, the first one being of kind `first`. `len` is the length of the
/// packet from there on, `in_header` whether they follow the IPv6 header itself and not a reassembled fragment.
///
/// # Errors
/// As [`parse`].
pub fn parse_extensions(
    first: Protocol,
    bytes: &[u8],
    len: usize,
    in_header: bool,
) -> Result<Extensions, Malformed> {
    let mut found = Extensions {
        protocol: first,
        bytes: 0,
        fragment: None,
    };
    for index in 0..EXTENSIONS_MAX {
        let kind = found.protocol;
        if !is_extension(kind) {
            return Ok(found);
        }
        let rest = &bytes[found.bytes..];
        let start = rest.first_chunk::<8>().ok_or(Malformed::Truncated)?;
        let units = if kind == next::FRAGMENT {
            0
        } else {
            usize::from(start[1])
        };
        let extension_len = (units + 1) * 8;
        if found.bytes + extension_len > len {
            return Err(Malformed::Length);
        }
        let extension = rest.get(..extension_len).ok_or(Malformed::Truncated)?;
        found.protocol = Protocol(start[0]);
        found.bytes += extension_len;
        match kind {
            next::FRAGMENT => {
                found.fragment = parse_fragment(start, len - found.bytes)?;
                if found.fragment.is_some() {
                    return Ok(found);
                }
            }
            // We are the last hop or the packet is not ours (RFC 8200 section 4.4, RFC 5095).
            next::ROUTING if start[3] != 0 => return Err(Malformed::Unsupported),
            next::ROUTING => {}
            // Allowed in the first place only (RFC 8200 section 4.1).
            next::HOP_BY_HOP if index != 0 || !in_header => return Err(Malformed::Value),
            _ => check_options(&extension[2..])?,
        }
    }
    if is_extension(found.protocol) {
        Err(Malformed::Unsupported)
    } else {
        Ok(found)
    }
}

/// The fragment that a fragment header describes; none if it is all of its packet (RFC 6946).
fn parse_fragment(header: &[u8; 8], len: usize) -> Result<Option<(Fragment, u32)>, Malformed> {
    let bits = u16_at(header, 2);
    if bits & 0xfff9 == 0 {
        return Ok(None);
    }
    let fragment = Fragment::checked(bits >> 3, bits & 1 != 0, len)?;
    Ok(Some((fragment, u32_at(header, 4))))
}

/// Walks the options of a hop-by-hop or destination options header. The two high bits of an option's kind say what to
/// do if it is not known: 0 skips it, all else drops the packet (RFC 8200 section 4.2).
fn check_options(mut list: &[u8]) -> Result<(), Malformed> {
    while let [kind, rest @ ..] = list {
        if *kind == 0 {
            list = rest;
            continue;
        }
        if kind >> 6 != 0 {
            return Err(Malformed::Unsupported);
        }
        let (len, body) = rest.split_first().ok_or(Malformed::Length)?;
        list = body.get(usize::from(*len)..).ok_or(Malformed::Length)?;
    }
    Ok(())
}

/// Bytes that [`emit`] writes: the header, and a fragment header if it is a fragment.
#[inline]
pub const fn header_len(repr: &Repr) -> usize {
    HEADER_BYTES
        + if repr.fragment.is_some() {
            FRAGMENT_HEADER_BYTES
        } else {
            0
        }
}

/// Writes the header, and a fragment header if it is a fragment; returns their length in bytes. The flow label is 0.
///
/// # Panics
/// Where `out` is shorter than [`header_len`].
#[inline]
pub fn emit(repr: &Repr, out: &mut [u8]) -> usize {
    let len = header_len(repr);
    let (header, extension) = out[..len].split_at_mut(HEADER_BYTES);
    let version_class_label = 6 << 28 | u32::from(repr.tos) << 20;
    put(
        header,
        field::VERSION_CLASS_LABEL,
        version_class_label.to_be_bytes(),
    );
    put(
        header,
        field::PAYLOAD_LENGTH,
        length_field(len - HEADER_BYTES + repr.payload_len),
    );
    header[field::NEXT_HEADER] = repr.protocol.0;
    header[field::HOP_LIMIT] = repr.hop_limit;
    put(header, field::SRC, repr.src.0);
    put(header, field::DST, repr.dst.0);
    if let Some(fragment) = repr.fragment {
        header[field::NEXT_HEADER] = next::FRAGMENT.0;
        let bits = fragment.offset & !7 | u16::from(fragment.more);
        put(extension, 0, [repr.protocol.0, 0]);
        put(extension, 2, bits.to_be_bytes());
        put(extension, 4, repr.ident.to_be_bytes());
    }
    len
}

#[cfg(test)]
mod tests;
