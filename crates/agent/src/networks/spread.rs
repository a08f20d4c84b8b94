//! How a card spreads what arrives over its queues (RSS). A stack that has some of them only chooses ports for its connections
//! whose answers come by those; what comes by others takes the cable, which is slower. A matter of speed alone: nobody is
//! told when the card is made to do otherwise, until the configuration changes in other ways, too.

use super::interface::{Interface, Queue};
use crate::registry::Registry;
use sidestep_control::{Fault, Spread, StackId};

impl Registry {
    /// How what arrives at the interface of a stack's queue is spread, as it travels; empty where it makes no difference to
    /// the stack.
    pub(crate) fn spread(&mut self, pid: u32, id: StackId, wire: u32) -> Result<Vec<u8>, Fault> {
        self.stack_of(id, pid)?;
        let networks = self.networks.as_ref().ok_or(Fault::NoNetwork)?;
        let has_it = |queue: &Queue| queue.stack == id && queue.wire == wire;
        let mut interfaces = networks.interfaces.iter();
        let interface = interfaces.find(|interface| interface.queues.iter().any(has_it));
        let spread = spread_over(interface.ok_or(Fault::NoQueue)?, id);
        let spread = spread.unwrap_or_default();
        spread.encode().map_err(|_| Fault::Exhausted)
    }
}

/// None where a stack has no queue of an interface, where it has all, and where nothing is known.
fn spread_over(interface: &Interface, id: StackId) -> Option<Spread> {
    let own = interface.queues_of(id).filter(|queue| queue.hop.is_none());
    let own: Vec<u32> = own.map(|queue| queue.queue).collect();
    let is_own = |queue: u32| own.contains(&queue);
    let found = sidestep_steering::spreading(interface.index).filter(|_| !own.is_empty())?;
    let makes_a_difference = !found.queues.iter().all(|queue| is_own(*queue));
    makes_a_difference.then(|| Spread::new(found.key, &found.queues, is_own))
}
