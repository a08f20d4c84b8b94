//! The attachments of one process to the wires of a stack.

use crate::memory::WIRES_MAX;
use crate::wires::Wire;
use sidestep_nic::any::{AnyPort, Attachment};
use sidestep_nic::fault::Lines;
use sidestep_shm::{Ahead, Nanos};
use std::sync::Arc;

/// What this process has mapped: for each wire of the stack, its memory and doorbell, if attached yet.
#[derive(Default)]
pub(crate) struct Links {
    attached: Vec<Option<(u32, Attachment)>>,
    /// The stack's count of changes to its wires that this process has caught up with.
    pub(crate) seen_changes: u32,
    /// What the next poll will read first, as far as the last one knew.
    pub(crate) ahead: Arc<Ahead>,
}

impl Links {
    /// Attached to nothing.
    pub(crate) fn new() -> Self {
        Self {
            attached: (0..WIRES_MAX).map(|_| None).collect(),
            seen_changes: 0,
            ahead: Arc::default(),
        }
    }

    /// Keeps the attachment of wire `index`, as it is in its `generation`.
    pub(crate) fn attach(&mut self, index: u32, generation: u32, attachment: Attachment) {
        if let Some(place) = self.attached.get_mut(index as usize) {
            *place = Some((generation, attachment));
        }
    }

    /// Lets go of what belongs to wire `index`.
    pub(crate) fn detach(&mut self, index: u32) {
        if let Some(place) = self.attached.get_mut(index as usize) {
            *place = None;
        }
    }

    /// Whether wire `index` is attached as it is in `generation`.
    #[inline]
    pub(crate) fn has(&self, index: u32, generation: u32) -> bool {
        matches!(self.attached.get(index as usize), Some(Some((g, _))) if *g == generation)
    }

    /// The port at our end of `wire`, if this process is attached to it, at that time.
    #[inline]
    pub(crate) fn port<'a>(
        &'a self,
        index: u32,
        wire: &'a mut Wire,
        lines: &'a mut Lines<'_>,
        now: Nanos,
    ) -> Option<AnyPort<'a>> {
        let port = self.driver(index, wire)?;
        Some(if lines.is_on() {
            port.behind(lines.borrow(), index, now)
        } else {
            port
        })
    }

    #[inline]
    fn driver<'a>(&'a self, index: u32, wire: &'a mut Wire) -> Option<AnyPort<'a>> {
        match self.attached.get(index as usize) {
            Some(Some((generation, attachment))) if *generation == wire.generation => {
                AnyPort::new(&mut wire.port, attachment)
            }
            _ => None,
        }
    }
}
