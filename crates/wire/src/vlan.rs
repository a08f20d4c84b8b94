//! VLAN tags (IEEE 802.1Q), one or two of them.
//!
//! A tag lies between the Ethernet header and what the frame carries; the header's type announces it.

use crate::{EtherType, Malformed, put, u16_at};

/// Bytes of a tag: its control information, and the type of what follows.
pub const TAG_BYTES: usize = 4;
/// Most tags that are understood.
pub const TAGS_MAX: usize = 2;

/// Control information of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tag {
    /// VLAN identifier, 12 bits; 0 for none, a tag that only gives a priority.
    pub id: u16,
    /// Priority, 3 bits.
    pub priority: u8,
    /// Whether the frame may be dropped first.
    pub drop_eligible: bool,
}

impl Tag {
    const fn from_bits(bits: u16) -> Self {
        let [high, _] = bits.to_be_bytes();
        Self {
            id: bits & 0x0fff,
            priority: high >> 5,
            drop_eligible: high & 0x10 != 0,
        }
    }

    const fn bits(self) -> u16 {
        let priority = (self.priority as u16 & 7) << 13;
        let drop_eligible = (self.drop_eligible as u16) << 12;
        priority | drop_eligible | self.id & 0x0fff
    }
}

/// The tags of a frame, and what it carries behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The outer tag, or the only one.
    pub outer: Option<Tag>,
    /// The inner one of two tags.
    pub inner: Option<Tag>,
    /// What follows the tags. Still a VLAN type where there are more of them than are understood.
    pub ethertype: EtherType,
}

impl Repr {
    /// Whether a frame of that type carries a tag.
    #[inline]
    pub fn is_announced_by(ethertype: EtherType) -> bool {
        ethertype == EtherType::VLAN || ethertype == EtherType::SERVICE_VLAN
    }

    /// Reads the tags from the bytes behind an Ethernet header with that type. Returns them and how many bytes they
    /// take: none, without looking at the bytes, if the type announces no tag.
    ///
    /// # Errors
    /// `Truncated` if an announced tag does not fit into the bytes.
    #[inline]
    pub fn parse(ethertype: EtherType, bytes: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut repr = Self {
            outer: None,
            inner: None,
            ethertype,
        };
        let mut at = 0;
        while Self::is_announced_by(repr.ethertype) && at < TAGS_MAX * TAG_BYTES {
            let tag = bytes.get(at..at + TAG_BYTES).ok_or(Malformed::Truncated)?;
            let slot = if at == 0 {
                &mut repr.outer
            } else {
                &mut repr.inner
            };
            *slot = Some(Tag::from_bits(u16_at(tag, 0)));
            repr.ethertype = EtherType(u16_at(tag, 2));
            at += TAG_BYTES;
        }
        Ok((repr, at))
    }

    /// The type for the Ethernet header.
    pub const fn outer_ethertype(&self) -> EtherType {
        match (self.outer, self.inner) {
            (None, _) => self.ethertype,
            (Some(_), None) => EtherType::VLAN,
            (Some(_), Some(_)) => EtherType::SERVICE_VLAN,
        }
    }

    /// Writes the tags and returns how many bytes they take.
    ///
    /// # Panics
    /// Where `out` is shorter than the tags.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let tags = [self.outer, self.outer.and(self.inner)];
        let mut at = 0;
        for (index, tag) in tags.iter().enumerate() {
            let Some(tag) = tag else { break };
            let last = tags.get(index + 1).is_none_or(Option::is_none);
            let next = if last {
                self.ethertype
            } else {
                EtherType::VLAN
            };
            put(out, at, tag.bits().to_be_bytes());
            put(out, at + 2, next.0.to_be_bytes());
            at += TAG_BYTES;
        }
        at
    }
}

#[cfg(test)]
mod tests;
