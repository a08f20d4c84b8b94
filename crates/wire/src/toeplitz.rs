//! The hash by which cards spread what arrives over their queues (receive side scaling, RSS), as Microsoft has published it.

use crate::{Address, Endpoint};

/// Bits of the hash, and of each word of the key that goes into it.
const WORD_BITS: usize = 32;
/// Bytes of two addresses and two ports of IPv6.
const INPUT_BYTES: usize = 36;

/// Hashes of the TCP packets that come from one endpoint to an address, by the port there: all but that is hashed once.
#[derive(Clone, Copy, Debug)]
pub struct ByPort {
    /// The hash with port 0.
    base: u32,
    /// What each bit of the port adds, the highest first.
    bits: [u32; 16],
}

impl ByPort {
    /// For packets of `from` to that address, hashed with a card's key; one that is too short goes on with zeros.
    pub fn new(key: &[u8], from: Endpoint, to: Address) -> Self {
        let mut input = [0; INPUT_BYTES];
        let first = if to.is_v4() { 12 } else { 0 };
        let address_bytes = 16 - first;
        let ports = 2 * address_bytes;
        input[..address_bytes].copy_from_slice(&from.addr.0[first..]);
        input[address_bytes..ports].copy_from_slice(&to.0[first..]);
        input[ports..ports + 2].copy_from_slice(&from.port.to_be_bytes());
        let port_at = (ports + 2) * 8;
        Self {
            base: (0..port_at)
                .filter(|bit| has_bit(&input, *bit))
                .fold(0, |hash, bit| hash ^ word(key, bit)),
            bits: core::array::from_fn(|bit| word(key, port_at + bit)),
        }
    }

    /// The hash of packets to that port.
    pub fn hash(&self, port: u16) -> u32 {
        let added = self.bits.iter().enumerate();
        added
            .filter(|(bit, _)| has_bit(&port.to_be_bytes(), *bit))
            .fold(self.base, |hash, (_, word)| hash ^ word)
    }
}

/// Whether a bit is set, counted from the highest one of the first byte; none is beyond the end.
fn has_bit(bytes: &[u8], bit: usize) -> bool {
    bytes
        .get(bit / 8)
        .is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
}

/// The 32 bits of the key that begin with that one.
fn word(key: &[u8], bit: usize) -> u32 {
    (bit..bit + WORD_BITS).fold(0, |word, bit| word << 1 | u32::from(has_bit(key, bit)))
}

#[cfg(test)]
mod tests;
