//! A port whose link is faulty.

use super::lines::{Direction, FRAME_BYTES, Lines};
use crate::memif::Memif;
use crate::packet::Packet;
use crate::xdp::Xdp;
use crate::{Caps, Port, PortStats};
use sidestep_shm::{Foreign, ForeignMut, Nanos};

/// A port, with a faulty link before it, for one poll.
#[derive(Debug)]
pub struct Faulty<'a, P> {
    inner: P,
    lines: Lines<'a>,
    /// Which of the stack's wires it is, and the time.
    here: (u32, Nanos),
}

impl<'a, P: Port> Faulty<'a, P> {
    /// Puts the link before a port.
    pub const fn new(inner: P, lines: Lines<'a>, wire: u32, now: Nanos) -> Self {
        Self {
            inner,
            lines,
            here: (wire, now),
        }
    }

    /// Hands on what has arrived at the far end.
    fn send_due(&mut self) {
        while let Some(slot) = self.lines.due(Direction::Out, self.here) {
            let frame = self.lines.frame(slot);
            let sent = self.inner.tx(frame.len(), |mut room| {
                room.copy_from(frame);
            });
            if !sent {
                return;
            }
            self.lines.finish(Direction::Out, slot);
        }
    }
}

/// What drivers have beside [`Port`].
macro_rules! broken_as {
    ($($driver:ty),*) => {$(
        impl Faulty<'_, $driver> {
            /// Whether nothing will move any more; the link should be closed.
            pub const fn is_broken(&self) -> bool {
                self.inner.is_broken()
            }
        }
    )*};
}

broken_as!(Memif<'_>, Xdp<'_>, Packet<'_>);

impl<P: Port> Port for Faulty<'_, P> {
    fn caps(&self) -> Caps {
        let caps = self.inner.caps();
        Caps {
            frame_bytes_max: caps.frame_bytes_max.min(FRAME_BYTES),
            // Faults are those of frames.
            cut_bytes_max: 0,
            finishes_checksums: false,
            ..caps
        }
    }

    fn rx_batch(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) -> usize {
        if self.lines.due(Direction::Out, self.here).is_some() {
            self.tx_flush();
        }
        let (lines, here) = (&mut self.lines, self.here);
        let room = frames_max.min(lines.room());
        self.inner.rx_batch(room, |frame| {
            // What is damaged on the way in is not shown: some checksums were never finished, and would not tell.
            lines.launch(Direction::In, here, (frame.len(), false), |mut place| {
                place.copy_from_foreign(frame);
            });
        });
        let mut count = 0;
        while count < frames_max
            && let Some(slot) = lines.due(Direction::In, here)
        {
            on_frame(Foreign::from(lines.frame(slot)));
            lines.finish(Direction::In, slot);
            count += 1;
        }
        count
    }

    fn rx_pending(&self) -> bool {
        self.inner.rx_pending() || self.lines.due(Direction::In, self.here).is_some()
    }

    fn tx_room(&mut self) -> usize {
        self.lines.room()
    }

    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        if self.lines.room() == 0 {
            return false;
        }
        let flips = !self.inner.caps().tx_checksum_unneeded;
        self.lines
            .launch(Direction::Out, self.here, (bytes, flips), fill);
        true
    }

    fn tx_flush(&mut self) {
        self.send_due();
        self.inner.tx_flush();
    }

    fn tx_unheard(&self) -> u64 {
        self.inner.tx_unheard()
    }

    fn rx_wakeups(&mut self, wanted: bool) {
        self.inner.rx_wakeups(wanted);
    }

    fn stats(&self) -> PortStats {
        self.inner.stats()
    }
}

#[cfg(test)]
mod tests;
