//! What each descriptor of this process is to us.

use sidestep_shm::atomic::{AtomicU64, Ordering};
use sidestep_stack::SocketRef;

/// Descriptors beyond this number are the kernel's.
const FDS_MAX: usize = 1 << 16;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// None of ours.
    Kernel,
    /// A socket of the stack, and whether it is a TCP one.
    Socket(SocketRef, bool),
    /// An epoll descriptor that may have accelerated members: index of this process's record of it.
    Epoll(u32),
    /// A listening socket that is the kernel's alone by now, and whether calls on it block: the kernel's own never do.
    Listener(bool),
}

const KIND_STREAM: u64 = 1;
const KIND_DATAGRAM: u64 = 2;
const KIND_EPOLL: u64 = 3;
const KIND_LISTENER: u64 = 4;
const KIND_SHIFT: u32 = 56;
const INDEX_SHIFT: u32 = 32;
const INDEX_MASK: u64 = 0xff_ffff;

/// The table: one word for each number, so that a look-up is one load.
pub(crate) struct FdTable {
    words: [AtomicU64; FDS_MAX],
}

impl FdTable {
    pub(crate) const fn new() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; FDS_MAX],
        }
    }

    #[inline]
    pub(crate) fn entry(&self, fd: i32) -> Entry {
        match usize::try_from(fd).ok().and_then(|fd| self.words.get(fd)) {
            Some(word) => decode(word.load(Ordering::Acquire)),
            None => Entry::Kernel,
        }
    }

    /// Sets what a descriptor is; returns what it was. False where the number is beyond the table.
    pub(crate) fn replace(&self, fd: i32, entry: Entry) -> Option<Entry> {
        let word = usize::try_from(fd).ok().and_then(|fd| self.words.get(fd))?;
        Some(decode(word.swap(encode(entry), Ordering::AcqRel)))
    }

    /// All descriptors that are ours.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Entry)> + '_ {
        (0..)
            .zip(&self.words)
            .map(|(fd, word)| (fd, decode(word.load(Ordering::Acquire))))
            .filter(|(_, e)| *e != Entry::Kernel)
    }
}

const fn encode(entry: Entry) -> u64 {
    match entry {
        Entry::Kernel => 0,
        Entry::Socket(r, is_tcp) => {
            let kind = if is_tcp { KIND_STREAM } else { KIND_DATAGRAM };
            kind << KIND_SHIFT | (r.index as u64 & INDEX_MASK) << INDEX_SHIFT | r.generation as u64
        }
        Entry::Epoll(index) => KIND_EPOLL << KIND_SHIFT | index as u64,
        Entry::Listener(blocks) => KIND_LISTENER << KIND_SHIFT | blocks as u64,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the parts were packed from 32-bit numbers"
)]
const fn decode(word: u64) -> Entry {
    let (index, generation) = ((word >> INDEX_SHIFT & INDEX_MASK) as u32, word as u32);
    match word >> KIND_SHIFT {
        KIND_STREAM => Entry::Socket(SocketRef { index, generation }, true),
        KIND_DATAGRAM => Entry::Socket(SocketRef { index, generation }, false),
        KIND_EPOLL => Entry::Epoll(word as u32),
        KIND_LISTENER => Entry::Listener(word & 1 != 0),
        _ => Entry::Kernel,
    }
}
