//! The control messages, 128 bytes each, packed, little-endian as the machines that share the memory are.

use thiserror::Error;

/// Bytes in every message.
pub const MESSAGE_BYTES: usize = 128;
/// Version 2.0, the only one that there is.
pub const VERSION: u16 = 0x0200;
/// In ADD_RING's flags: the ring goes from slave to master.
const RING_S2M: u16 = 1;

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not of the length that all messages have.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// Of no known type.
    #[error("a message of unknown type {0}")]
    Type(u16),
    /// A flag in ADD_RING that means nothing.
    #[error("unknown ring flags {0:#x}")]
    RingFlags(u16),
}

/// A control message. Strings end at the first NUL or with their field; see [`text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The last message is fine.
    Ack,
    /// The master's limits; each `_max` of an index is the largest one allowed.
    Hello {
        /// The master's program.
        name: [u8; 32],
        /// Lowest version spoken.
        version_min: u16,
        /// Highest version spoken.
        version_max: u16,
        /// Largest region index.
        region_max: u16,
        /// Largest index of a ring from master to slave.
        m2s_max: u16,
        /// Largest index of a ring from slave to master.
        s2m_max: u16,
        /// Largest ring, as a power of two.
        log2_slots_max: u8,
    },
    /// Which interface the slave wants.
    Init {
        /// The version to be spoken.
        version: u16,
        /// Which of the interfaces behind this socket.
        id: u32,
        /// 0 for Ethernet, 1 for IP, 2 for punt/inject.
        mode: u8,
        /// Shared secret; zeroes for none.
        secret: [u8; 24],
        /// The slave's program.
        name: [u8; 32],
    },
    /// Memory, with its descriptor.
    AddRegion {
        /// Its index.
        index: u16,
        /// Its length.
        bytes: u64,
    },
    /// A ring, with the eventfd that wakes its receiver.
    AddRing {
        /// From slave to master, or the reverse.
        s2m: bool,
        /// Its index among the rings of that direction.
        index: u16,
        /// The region that it is in.
        region: u16,
        /// Bytes from the region's start.
        offset: u32,
        /// Number of slots, as a power of two.
        log2_slots: u8,
        /// Bytes of the program's own before every frame.
        private_header_bytes: u16,
    },
    /// All is said.
    Connect {
        /// The slave's interface.
        name: [u8; 32],
    },
    /// The link is up.
    Connected {
        /// The master's interface.
        name: [u8; 32],
    },
    /// The link is down.
    Disconnect {
        /// An error code, of no agreed meaning.
        code: u32,
        /// Why, for people.
        reason: [u8; 96],
    },
}

impl Message {
    /// Reads a message. Bytes behind its last field are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; MESSAGE_BYTES] = bytes
            .try_into()
            .map_err(|_| Malformed::Length(bytes.len()))?;
        let mut r = Reader { bytes, at: 0 };
        Ok(match r.u16() {
            1 => Self::Ack,
            2 => Self::Hello {
                name: r.take(),
                version_min: r.u16(),
                version_max: r.u16(),
                region_max: r.u16(),
                m2s_max: r.u16(),
                s2m_max: r.u16(),
                log2_slots_max: r.u8(),
            },
            3 => Self::Init {
                version: r.u16(),
                id: r.u32(),
                mode: r.u8(),
                secret: r.take(),
                name: r.take(),
            },
            4 => Self::AddRegion {
                index: r.u16(),
                bytes: r.u64(),
            },
            5 => {
                let flags = r.u16();
                if flags & !RING_S2M != 0 {
                    return Err(Malformed::RingFlags(flags));
                }
                Self::AddRing {
                    s2m: flags & RING_S2M != 0,
                    index: r.u16(),
                    region: r.u16(),
                    offset: r.u32(),
                    log2_slots: r.u8(),
                    private_header_bytes: r.u16(),
                }
            }
            6 => Self::Connect { name: r.take() },
            7 => Self::Connected { name: r.take() },
            8 => Self::Disconnect {
                code: r.u32(),
                reason: r.take(),
            },
            other => return Err(Malformed::Type(other)),
        })
    }

    /// Writes a message; what it does not use is zero.
    pub fn emit(&self) -> [u8; MESSAGE_BYTES] {
        let mut w = Writer {
            bytes: [0; MESSAGE_BYTES],
            at: 0,
        };
        match self {
            Self::Ack => w.u16(1),
            Self::Hello {
                name,
                version_min,
                version_max,
                region_max,
                m2s_max,
                s2m_max,
                log2_slots_max,
            } => {
                w.u16(2);
                w.put(name);
                for field in [version_min, version_max, region_max, m2s_max, s2m_max] {
                    w.u16(*field);
                }
                w.put(&[*log2_slots_max]);
            }
            Self::Init {
                version,
                id,
                mode,
                secret,
                name,
            } => {
                w.u16(3);
                w.u16(*version);
                w.put(&id.to_le_bytes());
                w.put(&[*mode]);
                w.put(secret);
                w.put(name);
            }
            Self::AddRegion { index, bytes } => {
                w.u16(4);
                w.u16(*index);
                w.put(&bytes.to_le_bytes());
            }
            Self::AddRing {
                s2m,
                index,
                region,
                offset,
                log2_slots,
                private_header_bytes,
            } => {
                w.u16(5);
                w.u16(if *s2m { RING_S2M } else { 0 });
                w.u16(*index);
                w.u16(*region);
                w.put(&offset.to_le_bytes());
                w.put(&[*log2_slots]);
                w.u16(*private_header_bytes);
            }
            Self::Connect { name } => w.named(6, name),
            Self::Connected { name } => w.named(7, name),
            Self::Disconnect { code, reason } => {
                w.u16(8);
                w.put(&code.to_le_bytes());
                w.put(reason);
            }
        }
        w.bytes
    }

    /// A farewell.
    pub fn disconnect(reason: &str) -> Self {
        Self::Disconnect {
            code: 1,
            reason: field(reason),
        }
    }
}

/// A string field as text: up to the first NUL, with what is not UTF-8 replaced.
pub fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// Text as a string field: cut so that a NUL remains at the end.
pub(super) fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let bytes = text.as_bytes();
    let n = bytes.len().min(N - 1);
    field[..n].copy_from_slice(&bytes[..n]);
    field
}

/// Takes fields off a message; all of them together are shorter than it is.
struct Reader<'a> {
    bytes: &'a [u8; MESSAGE_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

struct Writer {
    bytes: [u8; MESSAGE_BYTES],
    at: usize,
}

impl Writer {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn named(&mut self, kind: u16, name: &[u8; 32]) {
        self.u16(kind);
        self.put(name);
    }
}

#[cfg(test)]
mod tests;
