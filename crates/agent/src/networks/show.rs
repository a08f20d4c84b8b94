//! What `ps` shows of interfaces.

use super::interface::{Interface, Queue};
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
                    mtu: interface.packet_bytes,
                    bond: interface.bond.clone(),
                    upon: self.names_upon(interface),
                    left: self.left_of(interface),
                    steered: counters.redirected,
                    passed: counters.passed,
                    queues: interface.queues.iter().map(queue).collect(),
                }
            })
            .collect()
    }

    fn names_upon(&self, interface: &Interface) -> Vec<String> {
        let others = interface.upon.iter().filter(|u| u.link != interface.index);
        others.map(|upon| self.link_name(upon.link)).collect()
    }

    fn left_of(&self, interface: &Interface) -> Vec<String> {
        let networks = self.networks.iter();
        let left = networks.flat_map(|n| n.left_by(interface));
        left.map(str::to_owned).collect()
    }

    fn link_name(&self, link: u32) -> String {
        let picture = self.networks.as_ref().map(|n| n.config.picture());
        let link = picture.and_then(|picture| picture.link(link));
        link.map(|link| link.name.clone()).unwrap_or_default()
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
        huge_pages: queue.huge_pages,
        busy_poll: queue.busy_poll,
        cuts: queue.cuts(),
        leaves_checksums: queue.leaves_checksums,
        rx_full,
        rx_dropped,
    }
}
