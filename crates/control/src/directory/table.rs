//! What an entry says and where it lies; shared by the reader and the writer.

use sidestep_shm::atomic::{AtomicU64, Ordering};
use sidestep_wire::Address;

/// "Sidestep", and the version of this layout.
pub(super) const MAGIC: u64 = 0x5369_6465_7374_0001;
/// Words before the first entry.
pub(super) const HEADER_WORDS: usize = 16;
/// Words of an entry: one cache line.
pub(super) const ENTRY_WORDS: usize = 8;
/// Places for entries; a power of two.
pub(super) const SLOTS: usize = 32 * 1024;
/// Most entries, so that probes stay short and always end.
pub(super) const ENTRIES_MAX: usize = 16 * 1024;
/// Words in all.
pub(super) const WORDS: usize = HEADER_WORDS + SLOTS * ENTRY_WORDS;

/// Header words.
pub(super) mod header {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const GENERATION: usize = 1;
    pub(in super::super) const PID: usize = 2;
    pub(in super::super) const SEQUENCE: usize = 3;
    pub(in super::super) const COUNT: usize = 4;
    pub(in super::super) const NETWORKS: usize = 5;
}

/// The kind of an entry that says that an address is this host's; other kinds are IP protocol numbers.
pub(super) const KIND_ADDRESS: u8 = 0xff;

const USED: u64 = 1 << 63;
const V6_ONLY: u64 = 1 << 62;
const REUSE_PORT: u64 = 1 << 61;

/// What is looked for: several entries may have the same key, one for each stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) kind: u8,
    pub(super) netns: u64,
    pub(super) address: Address,
    pub(super) port: u16,
}

impl Key {
    /// Where probing for it begins.
    pub(super) fn slot(&self) -> usize {
        let mut hash = (u64::from(self.port) << 8) | u64::from(self.kind);
        for word in [self.netns, self.high(), self.low()] {
            // Both halves of the product, so that every bit of the input reaches the low bits.
            let product = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
            #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
            {
                hash = (product as u64) ^ ((product >> 64) as u64);
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "reduced to the number of slots"
        )]
        {
            hash as usize % SLOTS
        }
    }

    fn high(&self) -> u64 {
        u64::from_ne_bytes(*self.address.0.first_chunk().unwrap_or(&[0; 8]))
    }

    fn low(&self) -> u64 {
        u64::from_ne_bytes(*self.address.0.last_chunk().unwrap_or(&[0; 8]))
    }
}

/// A private copy of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) v6_only: bool,
    pub(super) reuse_port: bool,
    pub(super) stack: u64,
    pub(super) count: u64,
}

impl Entry {
    /// Reads the entry in `slot`, none where it is empty (or where there is no such slot).
    pub(super) fn load(words: &[AtomicU64], slot: usize) -> Option<Self> {
        let base = HEADER_WORDS + slot * ENTRY_WORDS;
        let raw: &[AtomicU64; ENTRY_WORDS] = words.get(base..)?.first_chunk()?;
        let word = |i: usize| raw.get(i).map_or(0, |word| word.load(Ordering::Relaxed));
        let what = word(0);
        if what & USED == 0 {
            return None;
        }
        let mut address = [0; 16];
        let (high, low) = address.split_at_mut(8);
        high.copy_from_slice(&word(2).to_ne_bytes());
        low.copy_from_slice(&word(3).to_ne_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "fields of the word")]
        let (kind, port) = (what as u8, (what >> 8) as u16);
        Some(Self {
            key: Key {
                kind,
                netns: word(1),
                address: Address(address),
                port,
            },
            v6_only: what & V6_ONLY != 0,
            reuse_port: what & REUSE_PORT != 0,
            stack: word(4),
            count: word(5),
        })
    }

    /// Writes `entry` into `slot`; none empties it. Only between odd and even sequence.
    pub(super) fn store(entry: Option<&Self>, words: &[AtomicU64], slot: usize) {
        let base = HEADER_WORDS + slot * ENTRY_WORDS;
        let values = entry.map_or([0; ENTRY_WORDS], |e| {
            let flags =
                if e.v6_only { V6_ONLY } else { 0 } | if e.reuse_port { REUSE_PORT } else { 0 };
            let what = USED | flags | (u64::from(e.key.port) << 8) | u64::from(e.key.kind);
            [
                what,
                e.key.netns,
                e.key.high(),
                e.key.low(),
                e.stack,
                e.count,
                0,
                0,
            ]
        });
        for (word, value) in words.iter().skip(base).zip(values) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// The entries with this key, in the order of probing; ends at the first empty slot.
pub(super) fn probe(words: &[AtomicU64], key: Key) -> impl Iterator<Item = (usize, Entry)> + '_ {
    let first = key.slot();
    (0..SLOTS)
        .map(move |step| (first + step) % SLOTS)
        .map_while(move |slot| Entry::load(words, slot).map(|entry| (slot, entry)))
        .filter(move |(_, entry)| entry.key == key)
}
