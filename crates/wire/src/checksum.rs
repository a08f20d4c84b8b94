//! The Internet checksum (RFC 1071).
//!
//! A sum in progress is a `u64` of which only the value modulo 2¹⁶ − 1 matters, kept in the byte order of memory:
//! the sum does not depend on byte order (RFC 1071 section 2 B), so bytes are swapped once, at the end.

use crate::Address;

/// Whether a parser looks at a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A wrong checksum is an error.
    Verify,
    /// The link vouches for what it delivers.
    Vouched,
}

/// Bytes that the inner loop takes at a time.
const STEP_BYTES: usize = 64;
const LANES: usize = STEP_BYTES / 8;

/// Adds with end-around carry.
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Adds `bytes` to a sum. Every block but the last of a packet must be of even length.
#[inline]
pub fn sum(acc: u64, bytes: &[u8]) -> u64 {
    let (mut acc, rest) = if bytes.len() >= STEP_BYTES {
        sum_steps(acc, bytes)
    } else {
        (acc, bytes)
    };
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        acc = add(acc, u64::from_ne_bytes(*word));
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        acc = add(acc, u64::from_ne_bytes(word));
    }
    acc
}

/// Adds all whole steps; returns the sum and the bytes that are left.
///
/// For each lane it keeps the wrapping sum of its words and the sum of their upper halves, which makes three vector
/// instructions a word and no carries. The sum of the lower halves follows from both.
fn sum_steps(acc: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let (steps, rest) = bytes.as_chunks::<STEP_BYTES>();
    let (mut wrapped, mut upper) = ([0_u64; LANES], [0_u64; LANES]);
    for step in steps {
        let (words, _) = step.as_chunks::<8>();
        for ((word, wrapped), upper) in words.iter().zip(&mut wrapped).zip(&mut upper) {
            let word = u64::from_ne_bytes(*word);
            *wrapped = wrapped.wrapping_add(word);
            *upper = upper.wrapping_add(word >> 32);
        }
    }
    let mut acc = acc;
    for (wrapped, upper) in wrapped.into_iter().zip(upper) {
        // 2³² is 1 modulo 2¹⁶ − 1, so the halves may be added as they are.
        acc = add(acc, wrapped.wrapping_sub(upper << 32));
        acc = add(acc, upper);
    }
    (acc, rest)
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

/// The sum over the pseudo header of TCP, UDP and `ICMPv6` (RFC 9293 section 3.1, RFC 8200 section 8.1); `len` is that of
/// the transport's header and payload.
#[inline]
pub fn pseudo_header(src: Address, dst: Address, protocol: u8, len: u32) -> u64 {
    // The 0xffff in a mapped IPv4 address is zero in one's complement, so one way serves both families.
    let acc = sum(sum(0, &src.0), &dst.0);
    let words = u64::from(u32::from(protocol).to_be()) + u64::from(len.to_be());
    add(acc, words)
}

#[cfg(test)]
mod tests;
