//! TCP headers and their options (RFC 9293 section 3.1, RFC 7323, RFC 2018).

use crate::{Malformed, Seq, put, u16_at, u32_at};
use bitflags::bitflags;

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = 60;
/// Where in the header the checksum lies.
pub const CHECKSUM_OFFSET: usize = 16;

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const SEQ: usize = 4;
    pub(super) const ACK: usize = 8;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = super::CHECKSUM_OFFSET;
    pub(super) const URGENT: usize = 18;
}

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const FAST_OPEN: u8 = 34;
    /// For experiments (RFC 6994), which begin with a number of their own.
    pub(super) const EXPERIMENT: u8 = 254;
}

/// The experiment that Fast Open was before it had an option of its own.
const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// The option bytes of nearly every segment begin so: NOP, NOP, timestamps of length 10 (RFC 7323 appendix A).
const ALIGNED_TIMESTAMPS: [u8; 4] = [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10];

bitflags! {
    /// Control bits of a segment.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u16 {
        /// No more data from the sender.
        const FIN = 1;
        /// Synchronise sequence numbers.
        const SYN = 2;
        /// Reset the connection.
        const RST = 4;
        /// Push function.
        const PSH = 8;
        /// The acknowledgement field counts.
        const ACK = 16;
        /// The urgent field counts.
        const URG = 32;
        /// ECN echo (RFC 3168).
        const ECE = 64;
        /// Congestion window reduced (RFC 3168).
        const CWR = 128;
        /// The highest bit of the counter of accurate ECN (RFC 9768); once that of ECN nonces.
        const AE = 256;
        /// All bits of the counter of accurate ECN.
        const ACE = 64 | 128 | 256;
    }
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// `TSval`: the sender's clock.
    pub value: u32,
    /// `TSecr`: what it last had from the other end.
    pub echo: u32,
}

/// Blocks of a SACK option (RFC 2018), in the order of the option; up to four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SackBlocks {
    blocks: [(Seq, Seq); Self::MAX],
    count: u8,
}

impl SackBlocks {
    /// Most blocks that fit into a header.
    pub const MAX: usize = 4;
    /// No blocks.
    pub const EMPTY: Self = Self {
        blocks: [(Seq(0), Seq(0)); Self::MAX],
        count: 0,
    };

    /// Adds the block from `start` up to, not including, `end`. False when there are four already.
    #[inline]
    pub const fn push(&mut self, start: Seq, end: Seq) -> bool {
        if self.count as usize == Self::MAX {
            return false;
        }
        self.blocks[self.count as usize] = (start, end);
        self.count += 1;
        true
    }

    /// The blocks: first sequence number of each, and the one behind its last.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.blocks.iter().take(self.len()).copied()
    }

    /// How many blocks.
    #[inline]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The cookie of TCP Fast Open (RFC 7413 section 4.1.1); an empty one asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpen {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
    /// In the option for experiments, which some hosts knew first and know only.
    pub experimental: bool,
}

impl FastOpen {
    /// Bytes of the longest cookie.
    pub const BYTES_MAX: usize = 16;
    /// Asks for a cookie.
    pub const REQUEST: Self = Self {
        bytes: [0; Self::BYTES_MAX],
        len: 0,
        experimental: false,
    };

    /// The cookie of these bytes. None where none has as many: 4 to 16, an even number.
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let len = cookie.len();
        let valid = (4..=Self::BYTES_MAX).contains(&len) && len.is_multiple_of(2);
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..len)?.copy_from_slice(cookie);
        valid.then_some(Self {
            bytes,
            len: u8::try_from(len).ok()?,
            experimental: false,
        })
    }

    /// The same in this option or that.
    #[must_use]
    pub const fn in_experiment(self, experimental: bool) -> Self {
        Self {
            experimental,
            ..self
        }
    }

    /// What an option's value says: a request where it is empty.
    fn parse(value: &[u8], experimental: bool) -> Option<Self> {
        let cookie = if value.is_empty() {
            Some(Self::REQUEST)
        } else {
            Self::new(value)
        };
        cookie.map(|cookie| cookie.in_experiment(experimental))
    }

    /// Its bytes; none for a request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(Self::BYTES_MAX)]
    }

    /// Bytes of the option before the cookie.
    const fn head_len(&self) -> usize {
        if self.experimental { 4 } else { 2 }
    }

    /// Bytes of the option on the wire with what fills it up to a multiple of 4.
    const fn wire_len(&self) -> usize {
        (self.head_len() + self.len as usize).next_multiple_of(4)
    }

    /// Writes the option, and what fills it up behind.
    fn emit(&self, out: &mut [u8]) {
        let head = self.head_len();
        let (option, fill) = out[..self.wire_len()].split_at_mut(head + usize::from(self.len));
        #[expect(clippy::cast_possible_truncation, reason = "at most 20")]
        let len = option.len() as u8;
        if self.experimental {
            put(option, 0, [kind::EXPERIMENT, len]);
            put(option, 2, FAST_OPEN_EXPERIMENT);
        } else {
            put(option, 0, [kind::FAST_OPEN, len]);
        }
        option[head..].copy_from_slice(self.bytes());
        fill.fill(kind::NOP);
    }
}

/// Options of a segment, those that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Maximum segment size; on SYN only.
    pub mss: Option<u16>,
    /// Window scale shift count as on the wire, so possibly more than 14; on SYN only.
    pub window_scale: Option<u8>,
    /// SACK permitted; on SYN only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Selective acknowledgement.
    pub sack: SackBlocks,
    /// Fast Open; on SYN only.
    pub fast_open: Option<FastOpen>,
}

impl Options {
    /// Reads a list of options. As in other stacks unknown ones are skipped, and the list ends at the first one whose
    /// length cannot be: a segment is not dropped for its options.
    fn parse(mut list: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = list {
            match *kind {
                kind::END => break,
                kind::NOP => list = rest,
                kind => {
                    let Some(len) = rest.first().map(|len| usize::from(*len)) else {
                        break;
                    };
                    let Some(body) = list.get(2..len) else { break };
                    options.parse_one(kind, body);
                    list = &list[len..];
                }
            }
        }
        options
    }

    /// Takes one option's value; one of the wrong length is as good as unknown.
    fn parse_one(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (kind::MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (kind::WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (kind::SACK_PERMITTED, []) => self.sack_permitted = true,
            (kind::TIMESTAMPS, body) if body.len() == 8 => {
                self.timestamps = Some(Timestamps {
                    value: u32_at(body, 0),
                    echo: u32_at(body, 4),
                });
            }
            (kind::FAST_OPEN, cookie) => self.fast_open = FastOpen::parse(cookie, false),
            (kind::EXPERIMENT, [a, b, cookie @ ..]) if [*a, *b] == FAST_OPEN_EXPERIMENT => {
                self.fast_open = FastOpen::parse(cookie, true);
            }
            (kind::SACK, body) if body.len().is_multiple_of(8) => {
                self.sack = SackBlocks::EMPTY;
                for block in body.chunks_exact(8) {
                    self.sack.push(Seq(u32_at(block, 0)), Seq(u32_at(block, 4)));
                }
            }
            _ => {}
        }
    }

    /// Bytes of the options without SACK blocks, a multiple of 4.
    #[inline]
    const fn fixed_len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        let timestamps = match (self.timestamps.is_some(), self.sack_permitted) {
            (true, _) => 12,
            (false, true) => 4,
            (false, false) => 0,
        };
        let fast_open = match &self.fast_open {
            Some(cookie) => cookie.wire_len(),
            None => 0,
        };
        mss + scale + timestamps + fast_open
    }

    /// How many SACK blocks fit beside the other options.
    #[inline]
    const fn sack_fitting(&self) -> usize {
        let room = (HEADER_BYTES_MAX - HEADER_BYTES - self.fixed_len() - 4) / 8;
        if self.sack.len() < room {
            self.sack.len()
        } else {
            room
        }
    }

    /// Bytes of the options on the wire, a multiple of 4.
    #[inline]
    pub const fn wire_len(&self) -> usize {
        if self.sack.is_empty() {
            return self.fixed_len();
        }
        self.fixed_len() + 4 + 8 * self.sack_fitting()
    }

    /// Writes the options, which take `wire_len` bytes.
    fn emit(&self, out: &mut [u8]) {
        let mut at = 0;
        let mut word = |bytes: [u8; 4]| {
            put(out, at, bytes);
            at += 4;
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            word([kind::MSS, 4, high, low]);
        }
        match (self.timestamps.is_some(), self.sack_permitted) {
            (true, true) => word([kind::SACK_PERMITTED, 2, kind::TIMESTAMPS, 10]),
            (true, false) => word(ALIGNED_TIMESTAMPS),
            (false, true) => word([kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]),
            (false, false) => {}
        }
        if let Some(timestamps) = self.timestamps {
            word(timestamps.value.to_be_bytes());
            word(timestamps.echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            word([kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        if let Some(cookie) = &self.fast_open {
            cookie.emit(&mut out[at..]);
            return;
        }
        if !self.sack.is_empty() {
            let fitting = self.sack_fitting();
            #[expect(clippy::cast_possible_truncation, reason = "at most four blocks")]
            let len = (2 + 8 * fitting) as u8;
            word([kind::NOP, kind::NOP, kind::SACK, len]);
            for (start, end) in self.sack.iter().take(fitting) {
                word(start.0.to_be_bytes());
                word(end.0.to_be_bytes());
            }
        }
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte (or of SYN).
    pub seq: Seq,
    /// Next sequence number that the sender expects; counts with [`Flags::ACK`].
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// The window as on the wire: not scaled.
    pub window: u16,
    /// Urgent pointer; counts with [`Flags::URG`].
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Repr {
    /// Reads the header at the start of `header`, which need not hold the payload. Returns it and its length in
    /// bytes. The checksum is the caller's: it covers the payload.
    ///
    /// # Errors
    /// `Truncated` if the header does not fit into the bytes, `Length` if it says it is shorter than any header is.
    #[inline]
    pub fn parse(header: &[u8]) -> Result<(Self, usize), Malformed> {
        let Some(fixed) = header.first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed::Truncated);
        };
        let len = usize::from(fixed[field::DATA_OFFSET] >> 4) * 4;
        if len < HEADER_BYTES {
            return Err(Malformed::Length);
        }
        let list = header.get(HEADER_BYTES..len).ok_or(Malformed::Truncated)?;
        let options = match list.first_chunk::<12>() {
            Some(timestamps) if list.len() == 12 && timestamps.starts_with(&ALIGNED_TIMESTAMPS) => {
                Options {
                    timestamps: Some(Timestamps {
                        value: u32_at(timestamps, 4),
                        echo: u32_at(timestamps, 8),
                    }),
                    ..Options::default()
                }
            }
            _ if list.is_empty() => Options::default(),
            _ => Options::parse(list),
        };
        let repr = Self {
            src_port: u16_at(fixed, field::SRC_PORT),
            dst_port: u16_at(fixed, field::DST_PORT),
            seq: Seq(u32_at(fixed, field::SEQ)),
            ack: Seq(u32_at(fixed, field::ACK)),
            flags: Flags::from_bits_retain(u16_at(fixed, field::DATA_OFFSET) & Flags::all().bits()),
            window: u16_at(fixed, field::WINDOW),
            urgent: u16_at(fixed, field::URGENT),
            options,
        };
        Ok((repr, len))
    }

    /// Bytes of the header on the wire, options included; at most [`HEADER_BYTES_MAX`], for which SACK blocks that
    /// do not fit beside the other options are left out.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_BYTES + self.options.wire_len()
    }

    /// Writes the header, with a checksum of zero, and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than [`header_len`](Self::header_len).
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.header_len();
        let (fixed, options) = out[..len].split_at_mut(HEADER_BYTES);
        put(fixed, field::SRC_PORT, self.src_port.to_be_bytes());
        put(fixed, field::DST_PORT, self.dst_port.to_be_bytes());
        put(fixed, field::SEQ, self.seq.0.to_be_bytes());
        put(fixed, field::ACK, self.ack.0.to_be_bytes());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 60 bytes, 15 words"
        )]
        let data_offset = (len / 4) as u8;
        let offset_flags = u16::from(data_offset) << 12 | self.flags.bits() & Flags::all().bits();
        put(fixed, field::DATA_OFFSET, offset_flags.to_be_bytes());
        put(fixed, field::WINDOW, self.window.to_be_bytes());
        put(fixed, field::CHECKSUM, [0, 0]);
        put(fixed, field::URGENT, self.urgent.to_be_bytes());
        self.options.emit(options);
        len
    }

    /// Sequence space that the segment takes with that much payload: SYN and FIN count for one each (`SEG.LEN` of
    /// RFC 9293 section 3.4).
    #[inline]
    pub fn seq_len(&self, payload_len: usize) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a packet is shorter than 4 GiB"
        )]
        let payload_len = payload_len as u32;
        let syn = u32::from(self.flags.contains(Flags::SYN));
        let fin = u32::from(self.flags.contains(Flags::FIN));
        payload_len.wrapping_add(syn + fin)
    }
}

#[cfg(test)]
mod tests;
