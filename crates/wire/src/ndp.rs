//! Neighbour discovery (RFC 4861): who has an address of IPv6. Routers are not listened to here.

use crate::{Address, Mac, Malformed, bytes_at, put};

/// Bytes of a message without its link-layer address option.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a message with its option.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + OPTION_BYTES;
/// The hop limit that every message must have arrived with: it proves that no router passed it on.
pub const HOP_LIMIT: u8 = 255;

const OPTION_BYTES: usize = 8;

mod kind {
    pub(super) const SOLICITATION: u8 = 135;
    pub(super) const ADVERTISEMENT: u8 = 136;
}

mod option {
    pub(super) const SOURCE_MAC: u8 = 1;
    pub(super) const TARGET_MAC: u8 = 2;
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// Asks who has the target address.
    Solicitation {
        /// The address in question.
        target: Address,
        /// Link-layer address of who asks.
        source_mac: Option<Mac>,
    },
    /// Says who has the target address.
    Advertisement {
        /// The address in question.
        target: Address,
        /// Its link-layer address.
        target_mac: Option<Mac>,
        /// It is a router's.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what was known.
        overriding: bool,
    },
}

impl Repr {
    /// Whether a message of ICMP for IPv6 is one of neighbour discovery's.
    pub fn is_in(message: &[u8]) -> bool {
        matches!(
            message.first(),
            Some(&(kind::SOLICITATION | kind::ADVERTISEMENT))
        )
    }

    /// Reads a message, which must be there completely. The checksum and the hop limit are the caller's.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for messages of another kind; `Value` for a target that is not one host's; `Length`
    /// for options whose length cannot be.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let (header, options) = message
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(Malformed::Truncated)?;
        if !Self::is_in(header) {
            return Err(Malformed::Unsupported);
        }
        let target = Address(bytes_at(header, 8));
        if header[1] != 0 || target.is_v4() || target.is_multicast() || target.is_unspecified() {
            return Err(Malformed::Value);
        }
        if header[0] == kind::SOLICITATION {
            let source_mac = mac_option(options, option::SOURCE_MAC)?;
            return Ok(Self::Solicitation { target, source_mac });
        }
        Ok(Self::Advertisement {
            target,
            target_mac: mac_option(options, option::TARGET_MAC)?,
            router: header[4] & 0x80 != 0,
            solicited: header[4] & 0x40 != 0,
            overriding: header[4] & 0x20 != 0,
        })
    }

    /// Writes the message with a checksum of zero and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than the message.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let (kind, flags, target, option) = match *self {
            Self::Solicitation { target, source_mac } => (
                kind::SOLICITATION,
                0,
                target,
                source_mac.map(|mac| (option::SOURCE_MAC, mac)),
            ),
            Self::Advertisement {
                target,
                target_mac,
                router,
                solicited,
                overriding,
            } => {
                let flags =
                    u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(overriding) << 5;
                (
                    kind::ADVERTISEMENT,
                    flags,
                    target,
                    target_mac.map(|mac| (option::TARGET_MAC, mac)),
                )
            }
        };
        put(out, 0, [kind, 0, 0, 0]);
        put(out, 4, [flags, 0, 0, 0]);
        put(out, 8, target.0);
        let Some((option, mac)) = option else {
            return HEADER_BYTES;
        };
        put(out, HEADER_BYTES, [option, 1]);
        put(out, HEADER_BYTES + 2, mac.0);
        MESSAGE_BYTES_MAX
    }
}

/// The link-layer address in the first option of that kind. Options of other kinds are skipped.
fn mac_option(mut options: &[u8], kind: u8) -> Result<Option<Mac>, Malformed> {
    while let [this, units, ..] = *options {
        let len = usize::from(units) * OPTION_BYTES;
        let option = options
            .get(..len)
            .filter(|option| !option.is_empty())
            .ok_or(Malformed::Length)?;
        if this == kind && len == OPTION_BYTES {
            let mac = Mac(bytes_at(option, 2));
            return if mac.is_multicast() {
                Err(Malformed::Value)
            } else {
                Ok(Some(mac))
            };
        }
        options = &options[len..];
    }
    Ok(None)
}

/// The group that a solicitation for `target` goes to (RFC 4291 section 2.7.1).
pub const fn solicited_node(target: Address) -> Address {
    let [.., a, b, c] = target.0;
    Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The link-layer address of a group of IPv6 (RFC 2464 section 7).
pub const fn multicast_mac(group: Address) -> Mac {
    let [.., a, b, c, d] = group.0;
    Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests;
