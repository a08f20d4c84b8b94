//! What the peer says it has: its SACK blocks (RFC 2018), of which the first may report what came twice (RFC 2883).

use super::Acked;
use crate::tcb::{Env, Marks, Tcb};
use sidestep_wire::Seq;
use sidestep_wire::tcp::SackBlocks;

impl Tcb {
    /// Takes the blocks of an acknowledgement, SND.UNA being up to date.
    pub(crate) fn on_sack_blocks(
        &mut self,
        env: &mut Env<'_, '_>,
        ack: Seq,
        blocks: &SackBlocks,
        acked: &mut Acked,
    ) {
        if blocks.is_empty() || !self.is(Marks::SACK_PERMITTED) {
            return;
        }
        acked.repeated = self.repeated_block(ack, blocks);
        let skip = usize::from(acked.repeated.is_some());
        for (start, end) in blocks.iter().skip(skip) {
            // Old or false ones are no use: it may be a block that this very acknowledgement has overtaken.
            let start = start.max(self.snd_una);
            if start.lt(end) && end.le(self.snd_nxt) && !self.is_part((start, end)) {
                let delivered = self
                    .scoreboard
                    .mark_sacked(env.pool, self.snd_una, (start, end));
                acked.delivered.merge(delivered);
            }
        }
        if acked.repeated.is_some() {
            self.counters.repeats_reported += 1;
        }
    }

    /// Whether a block is shorter than any segment in flight, which are all whole ones. As in Linux nothing has arrived
    /// then: a peer that reports single bytes would have us keep a note of each.
    fn is_part(&self, (start, end): (Seq, Seq)) -> bool {
        let fin = self.is(Marks::FIN_SENT) && end == self.snd_nxt;
        let short = end.0.wrapping_sub(start.0) < u32::from(self.mss);
        short && !fin && self.snd_sml.le(self.snd_una)
    }

    /// Whether the first block reports a repetition (RFC 2883 section 4): it lies below the acknowledgement, or within
    /// the second block. How long it is, and its end.
    fn repeated_block(&self, ack: Seq, blocks: &SackBlocks) -> Option<(u32, Seq)> {
        let mut blocks = blocks.iter();
        let (start, end) = blocks.next()?;
        // Older than any window: not about us.
        let oldest = self.snd_una - self.snd_wnd_max.max(1 << 20);
        if !start.lt(end) || end.gt(self.snd_nxt) || start.lt(oldest) {
            return None;
        }
        let below = end.le(ack);
        let mut within = || {
            blocks
                .next()
                .is_some_and(|(from, to)| start.ge(from) && end.le(to))
        };
        (below || within()).then(|| (end.0.wrapping_sub(start.0), end))
    }
}
