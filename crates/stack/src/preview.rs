//! A look at the frames that wait, where there are more sockets than the processor's caches hold: what each frame will need
//! is fetched while those before it are worked in.

use crate::memory::Core;
use crate::wires::RX_BATCH;
use sidestep_nic::Port;
use sidestep_shm::NONE;
use sidestep_wire::plain::{ENDS_BYTES, V4Ends};

/// For whom the next frames seem to be.
pub(crate) struct Preview {
    sockets: [u32; RX_BATCH],
    count: usize,
    next: usize,
}

impl Preview {
    /// For whom the next frame seems to be; `NONE` where that is not known. Nothing but time is lost by a wrong guess.
    #[inline]
    pub(crate) fn next(&mut self) -> u32 {
        let at = self.next;
        self.next += 1;
        match self.sockets.get(at) {
            Some(socket) if at < self.count => *socket,
            _ => NONE,
        }
    }
}

impl Core<'_> {
    /// Fetches what the frames that wait will need: first their places in the flow table, all at once, then their sockets.
    #[inline]
    pub(crate) fn preview(&self, port: &mut impl Port) -> Preview {
        let (mut hashes, mut count) = ([0; RX_BATCH], 0);
        port.rx_preview(RX_BATCH, |frame| {
            if let Some(head) = frame.to_array::<ENDS_BYTES>()
                && let Some(hash) = hashes.get_mut(count)
            {
                // Whatever it is: nothing but time is lost by a wrong guess.
                *hash = self.prefetch_flow(&V4Ends::of_frame(&head));
                count += 1;
            }
        });
        for hash in &mut hashes[..count] {
            *hash = self.prefetch_socket(*hash).unwrap_or(NONE);
        }
        Preview {
            sockets: hashes,
            count,
            next: 0,
        }
    }
}
