//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{Address, Mac, Malformed, bytes_at, put, u16_at};

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 28;

/// Ethernet, IPv4, and their address lengths: what every packet understood here begins with.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

mod field {
    pub(super) const OPERATION: usize = 6;
    pub(super) const SENDER_MAC: usize = 8;
    pub(super) const SENDER: usize = 14;
    pub(super) const TARGET_MAC: usize = 18;
    pub(super) const TARGET: usize = 24;
}

/// What a packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks who has the target address.
    Request,
    /// Says who has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Question or answer.
    pub operation: Operation,
    /// Link-layer address of the sender.
    pub sender_mac: Mac,
    /// Address of the sender; unspecified where it only probes (RFC 5227).
    pub sender: Address,
    /// Link-layer address of the target; of no meaning in a request.
    pub target_mac: Mac,
    /// Address of the target.
    pub target: Address,
}

impl Repr {
    /// Reads a packet.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` if it is not about IPv4 over Ethernet or neither request nor reply; `Value` if the
    /// sender claims a group's address.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let packet = packet
            .first_chunk::<PACKET_BYTES>()
            .ok_or(Malformed::Truncated)?;
        if !packet.starts_with(&ETHERNET_IPV4) {
            return Err(Malformed::Unsupported);
        }
        let operation = match u16_at(packet, field::OPERATION) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Malformed::Unsupported),
        };
        let repr = Self {
            operation,
            sender_mac: Mac(bytes_at(packet, field::SENDER_MAC)),
            sender: Address::from_v4(bytes_at(packet, field::SENDER)),
            target_mac: Mac(bytes_at(packet, field::TARGET_MAC)),
            target: Address::from_v4(bytes_at(packet, field::TARGET)),
        };
        let group = repr.sender_mac.is_multicast() || repr.sender.is_multicast();
        if group || repr.sender.is_broadcast() {
            Err(Malformed::Value)
        } else {
            Ok(repr)
        }
    }

    /// Writes the packet and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than [`PACKET_BYTES`].
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let packet = &mut out[..PACKET_BYTES];
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        put(packet, 0, ETHERNET_IPV4);
        put(packet, field::OPERATION, operation.to_be_bytes());
        put(packet, field::SENDER_MAC, self.sender_mac.0);
        put(packet, field::SENDER, self.sender.v4_octets());
        put(packet, field::TARGET_MAC, self.target_mac.0);
        put(packet, field::TARGET, self.target.v4_octets());
        PACKET_BYTES
    }
}

#[cfg(test)]
mod tests;
