//! How a card spreads what arrives over its queues, as far as it concerns one stack.

use serde::{Deserialize, Serialize};

/// Most places of a card's table.
const SPREAD_PLACES_MAX: usize = 4096;
/// Longest key of its hash, in bytes.
const SPREAD_KEY_BYTES_MAX: usize = 64;

/// A card's key, and for each place of its table whether that names a queue of the stack. Empty where nothing is known, or
/// where it makes no difference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    key: Vec<u8>,
    places: u16,
    own: Vec<u8>,
}

impl Spread {
    /// Of a card with that key, whose table names these queues. Empty where a key or table is longer than any card's, or the
    /// table no power of two, by which a hash would lead to one of its places.
    pub fn new(key: Vec<u8>, queues: &[u32], is_own: impl Fn(u32) -> bool) -> Self {
        let is_possible = key.len() <= SPREAD_KEY_BYTES_MAX
            && queues.len() <= SPREAD_PLACES_MAX
            && queues.len().is_power_of_two();
        let Some(places) = u16::try_from(queues.len()).ok().filter(|_| is_possible) else {
            return Self::default();
        };
        let mut own = vec![0; queues.len().div_ceil(8)];
        for (place, queue) in queues.iter().enumerate() {
            own[place / 8] |= u8::from(is_own(*queue)) << (place % 8);
        }
        Self { key, places, own }
    }

    /// As it travels.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// What came; none where that is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let spread: Self = postcard::from_bytes(bytes).ok()?;
        let fits = usize::from(spread.places).div_ceil(8) == spread.own.len()
            && (spread.places == 0 || spread.places.is_power_of_two());
        fits.then_some(spread)
    }

    /// Whether nothing is known, or nothing is to be gained.
    pub const fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// The key of the hash.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether packets with that hash come by a queue of the stack.
    pub fn is_own(&self, hash: u32) -> bool {
        let Some(mask) = u32::from(self.places).checked_sub(1) else {
            return false;
        };
        let place = (hash & mask) as usize;
        let byte = self.own.get(place / 8).copied().unwrap_or(0);
        byte & 1 << (place % 8) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_lead_to_places_by_their_last_bits() {
        let spread = Spread::new(vec![1], &[0, 1, 2, 1], |queue| queue == 1);
        assert!(!spread.is_empty());
        let own: Vec<bool> = (0..8).map(|hash| spread.is_own(0x5a00 + hash)).collect();
        assert_eq!(own, [false, true, false, true, false, true, false, true]);
        let bytes = spread.encode().expect("memory");
        assert_eq!(Spread::decode(&bytes), Some(spread));
        assert_eq!(Spread::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn what_no_card_has_is_nothing() {
        for (key, places) in [(40, 3), (40, 8192), (65, 4), (40, 0)] {
            let spread = Spread::new(vec![0; key], &vec![0; places], |_| true);
            assert_eq!(spread, Spread::default(), "{key} {places}");
            assert!(spread.is_empty() && !spread.is_own(0));
        }
    }
}
