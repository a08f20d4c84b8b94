//! What we tell the peer that we have, out of order (RFC 2018 section 4), and what came twice (RFC 2883).

use sidestep_wire::Seq;
use sidestep_wire::tcp::SackBlocks;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Blocks that are remembered: as many as ever fit into a header.
const BLOCKS: usize = SackBlocks::MAX;

/// From `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Block {
    start: Seq,
    end: Seq,
}

/// The blocks that were added to last, newest first: the option repeats them in this order, so that each is told
/// several times (RFC 2018). Zeroed memory is none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Blocks {
    blocks: [Block; BLOCKS],
    /// What came twice and was not told yet; empty if nothing did.
    repeated: Block,
    count: u32,
    _reserved: u32,
}

impl Blocks {
    /// Whether there is anything to tell.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count > 0 || self.repeated.start != self.repeated.end
    }

    /// Bytes came ahead of a hole. Where they lie in a block already, they came twice.
    pub(crate) fn add(&mut self, start: Seq, end: Seq) {
        let (mut start, mut end) = (start, end);
        let mut old = self.blocks;
        let mut kept = 0;
        for i in 0..(self.count as usize).min(BLOCKS) {
            let block = old[i];
            if start.ge(block.start) && end.le(block.end) {
                self.note_repeated(start, end);
            }
            if start.le(block.end) && end.ge(block.start) {
                (start, end) = (start.min(block.start), end.max(block.end));
            } else {
                old[kept] = block;
                kept += 1;
            }
        }
        let behind = kept.min(BLOCKS - 1);
        self.blocks[0] = Block { start, end };
        self.blocks[1..=behind].copy_from_slice(&old[..behind]);
        self.count = u32::try_from(behind + 1).unwrap_or(0);
    }

    /// Bytes came that were here already, perhaps behind others that were.
    pub(crate) fn note_repeated(&mut self, start: Seq, end: Seq) {
        let known = self.repeated;
        let follows = known.start != known.end && known.end == start;
        self.repeated = Block {
            start: if follows { known.start } else { start },
            end,
        };
    }

    /// RCV.NXT has moved on.
    pub(crate) fn advance(&mut self, rcv_nxt: Seq) {
        let mut kept = 0;
        for i in 0..(self.count as usize).min(BLOCKS) {
            if self.blocks[i].end.gt(rcv_nxt) {
                self.blocks[kept] = self.blocks[i];
                kept += 1;
            }
        }
        self.count = u32::try_from(kept).unwrap_or(0);
    }

    /// Nothing waits behind a hole any more.
    pub(crate) const fn clear(&mut self) {
        self.count = 0;
    }

    /// The option: first what came twice, which is told once (RFC 2883 section 4).
    pub(crate) fn take(&mut self) -> SackBlocks {
        let mut option = SackBlocks::EMPTY;
        if self.repeated.start != self.repeated.end {
            option.push(self.repeated.start, self.repeated.end);
            self.repeated = Block {
                start: Seq(0),
                end: Seq(0),
            };
        }
        for block in self.blocks.iter().take(self.count as usize) {
            option.push(block.start, block.end);
        }
        option
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn told(blocks: &mut Blocks) -> Vec<(u32, u32)> {
        blocks.take().iter().map(|(a, b)| (a.0, b.0)).collect()
    }

    #[test]
    fn the_newest_block_comes_first_and_neighbours_become_one() {
        let mut blocks = Blocks::new_zeroed();
        assert!(!blocks.any());
        for start in [100, 300, 500, 700, 900] {
            blocks.add(Seq(start), Seq(start + 100));
        }
        let expected = [(900, 1000), (700, 800), (500, 600), (300, 400)];
        assert_eq!(told(&mut blocks), expected);
        blocks.add(Seq(600), Seq(700));
        assert_eq!(told(&mut blocks), [(500, 800), (900, 1000), (300, 400)]);
        blocks.advance(Seq(800));
        assert_eq!(told(&mut blocks), [(900, 1000)]);
    }

    #[test]
    fn what_came_twice_is_told_first_and_once() {
        let mut blocks = Blocks::new_zeroed();
        blocks.add(Seq(300), Seq(400));
        blocks.add(Seq(320), Seq(350));
        assert_eq!(told(&mut blocks), [(320, 350), (300, 400)]);
        assert_eq!(told(&mut blocks), [(300, 400)]);
        blocks.clear();
        assert!(!blocks.any());
    }
}
