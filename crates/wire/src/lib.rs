//! Packet formats, and nothing about what is done with packets.
//!
//! One file a protocol. Each has a `Repr`, a value that cannot be wrong, with `parse` from and `emit` to plain bytes.
//! A receiver copies the first bytes of a frame to memory of its own and parses there, so the functions take the
//! headers, and the length of the whole packet as a number where a header speaks of it.
//!
//! Integers in a `Repr` are in host order. Nothing here allocates, and no input makes a `parse` panic.
#![forbid(unsafe_code)]

pub mod address;
pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmp4;
pub mod icmp6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod plain;
pub mod seq;
pub mod tcp;
pub mod toeplitz;
pub mod udp;
pub mod vlan;

pub use address::{Address, Endpoint};
pub use ethernet::{EtherType, Mac};
pub use ip::Protocol;
pub use seq::Seq;

/// Why bytes are not a packet of the format they were parsed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the header has.
    #[error("truncated header")]
    Truncated,
    /// Not the version of the protocol that it was parsed as.
    #[error("wrong version")]
    Version,
    /// A length field contradicts the packet or the header.
    #[error("wrong length")]
    Length,
    /// The checksum does not match.
    #[error("wrong checksum")]
    Checksum,
    /// Of a kind that is not understood here.
    #[error("unsupported kind")]
    Unsupported,
    /// A field holds what it must not.
    #[error("forbidden value")]
    Value,
}

/// The `N` bytes at `at`. Only for constant positions in a header whose length was checked.
#[inline]
fn bytes_at<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

#[inline]
fn u16_at(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes_at(header, at))
}

#[inline]
fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes_at(header, at))
}

#[inline]
fn put<const N: usize>(header: &mut [u8], at: usize, bytes: [u8; N]) {
    header[at..at + N].copy_from_slice(&bytes);
}
