//! The Internet checksum (RFC 1071).
//!
//! A sum in progress is a `u64` of which only the value modulo 2¹⁶ − 1 matters, kept in the byte order of memory:
//! the sum does not depend on byte order (RFC 1071 section 2 B), so bytes are swapped once, at the end.

use crate::{Address, bytes_at};

/// Whether a parser looks at a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A wrong checksum is an error.
    Verify,
    /// The link vouches for what it delivers.
    Vouched,
}

/// Bytes that the inner loop takes at a time.
const STEP_BYTES: usize = 32;

/// Adds with end-around carry.
#[inline]
pub(crate) const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Adds `bytes` to a sum. Every block but the last of a packet must be of even length.
#[inline]
pub fn sum(acc: u64, bytes: &[u8]) -> u64 {
    // Two accumulators so that the processor adds to one while the other's carry is under way; wide ones, so that
    // carries need no care until the end.
    let (mut even, mut odd) = (u128::from(acc), 0);
    let (steps, rest) = bytes.as_chunks::<STEP_BYTES>();
    for step in steps {
        even += word(step, 0);
        odd += word(step, 8);
        even += word(step, 16);
        odd += word(step, 24);
    }
    let (words, tail) = rest.as_chunks::<8>();
    for bytes in words {
        even += u128::from(u64::from_ne_bytes(*bytes));
    }
    let total = even + odd;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the lower half and adds the upper"
    )]
    let acc = add(total as u64, (total >> 64) as u64);
    if tail.is_empty() {
        acc
    } else {
        sum_tail(acc, tail)
    }
}

#[inline]
fn word(step: &[u8; STEP_BYTES], at: usize) -> u128 {
    u128::from(u64::from_ne_bytes(bytes_at(step, at)))
}

/// Adds the last few bytes, fewer than eight. An odd one is followed by a zero (RFC 1071 section 1).
#[inline]
fn sum_tail(mut acc: u64, mut tail: &[u8]) -> u64 {
    if let Some((word, rest)) = tail.split_first_chunk::<4>() {
        acc = add(acc, u64::from(u32::from_ne_bytes(*word)));
        tail = rest;
    }
    if let Some((word, rest)) = tail.split_first_chunk::<2>() {
        acc = add(acc, u64::from(u16::from_ne_bytes(*word)));
        tail = rest;
    }
    if let [byte] = tail {
        add(acc, u64::from(u16::from_ne_bytes([*byte, 0])))
    } else {
        acc
    }
}

/// The one's complement sum, in host order.
#[inline]
pub const fn fold(acc: u64) -> u16 {
    let acc = (acc >> 32) + (acc & 0xffff_ffff);
    let acc = (acc >> 32) + (acc & 0xffff_ffff);
    let acc = (acc >> 16) + (acc & 0xffff);
    let acc = (acc >> 16) + (acc & 0xffff);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "folded to 16 bits, but for one last carry"
    )]
    let folded = ((acc >> 16) + (acc & 0xffff)) as u16;
    u16::from_be(folded)
}

/// The checksum to put into a header, in host order: the complement of the sum.
///
/// Over a packet that contains its checksum this is 0 when the packet is intact.
#[inline]
pub const fn finish(acc: u64) -> u16 {
    !fold(acc)
}

/// As [`finish`], for a sum of few words.
#[inline]
pub(crate) const fn finish_short(acc: u32) -> u16 {
    let acc = (acc >> 16) + (acc & 0xffff);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "folded to 16 bits, but for one last carry"
    )]
    let folded = ((acc >> 16) + (acc & 0xffff)) as u16;
    !u16::from_be(folded)
}

/// The sum over the pseudo header of TCP, UDP and `ICMPv6` (RFC 9293 section 3.1, RFC 8200 section 8.1); `len` is that of
/// the transport's header and payload.
#[inline]
pub fn pseudo_header(src: Address, dst: Address, protocol: u8, len: u32) -> u64 {
    // The 0xffff in a mapped IPv4 address is zero in one's complement, so one way serves both families.
    let acc = sum(sum(0, &src.0), &dst.0);
    add(acc, pseudo_words(protocol, len))
}

/// What a pseudo header has beside the addresses.
#[inline]
pub(crate) fn pseudo_words(protocol: u8, len: u32) -> u64 {
    u64::from(u32::from(protocol).to_be()) + u64::from(len.to_be())
}

#[cfg(test)]
mod tests;
