//! What `ps` shows of interfaces.

use super::interface::Queue;
use crate::registry::Registry;
use crate::report;

impl Registry {
    /// All interfaces, with their queues.
    pub(crate) fn report_interfaces(&self) -> Vec<report::Interface> {
        let interfaces = self.networks.iter().flat_map(|n| &n.interfaces);
        interfaces
            .map(|interface| {
                let counters = interface.steering.counters().unwrap_or_default();
                report::Interface {
                    name: interface.name.clone(),
                    mode: interface.mode_name().to_owned(),
                    fallback: interface.fallback.clone(),
                    mtu: interface.mtu,
                    steered: counters.redirected,
                    passed: counters.passed,
                    queues: interface.queues.iter().map(queue).collect(),
                }
            })
            .collect()
    }

    /// The queues of all interfaces, by identity of the wire.
    pub(crate) fn queue_names(&self) -> impl Iterator<Item = (u64, String)> {
        let interfaces = self.networks.iter().flat_map(|n| &n.interfaces);
        interfaces.flat_map(|interface| {
            let name = |queue: &Queue| match queue.hop {
                Some(_) => format!("{}, by a cable", interface.name),
                None => format!("{}, queue {}", interface.name, queue.queue),
            };
            interface.queues.iter().map(move |q| (q.id, name(q)))
        })
    }
}

fn queue(queue: &Queue) -> report::Queue {
    let (rx_full, rx_dropped) = queue.lost();
    report::Queue {
        queue: queue.hop.is_none().then_some(queue.queue),
        stack: format!("{:016x}", queue.stack),
        zero_copy: queue.zero_copy,
        rx_full,
        rx_dropped,
    }
}
