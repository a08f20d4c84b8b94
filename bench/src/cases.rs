//! Every case, in the order of the report.

mod at_once;
mod call_cost;
mod flow_lookup;
mod goodput;
mod idle_memory;
mod many;
mod nginx;
mod raw_memif;
mod raw_xdp;
mod redis;
mod requests;
mod rtt;
mod segment_instructions;
mod sharing;
mod smoltcp_rtt;
mod stream;

use crate::case::Case;
use crate::ends::Place;
use crate::model::Contender;
use std::time::Duration;

/// The two sides of most cases.
const BESIDE_KERNEL: &[Contender] = &[Contender::Kernel, Contender::Sidestep];

/// The sides of most cases of networks.
const OVER_NETWORK: &[Contender] = &[
    Contender::Kernel,
    Contender::Sidestep,
    Contender::SidestepServer,
];

/// Longest that any client may take.
const CLIENT_SPAN: Duration = Duration::from_secs(20);

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Case>> {
    vec![
        Box::new(rtt::Rtt::tcp_spin()),
        Box::new(rtt::Rtt::tcp_blocking()),
        Box::new(rtt::Rtt::udp_spin()),
        Box::new(raw_memif::RawMemif::default()),
        Box::new(raw_memif::RawMemifRate::default()),
        Box::new(raw_xdp::RawXdp::default()),
        Box::new(raw_xdp::RawXdpRate::default()),
        Box::new(call_cost::CallCost),
        Box::new(call_cost::CallInstructions),
        Box::new(segment_instructions::SegmentInstructions::default()),
        Box::new(redis::Redis::new(Place::Host, 1)),
        Box::new(redis::Redis::new(Place::Host, 50)),
        Box::new(nginx::Nginx::keepalive(Place::Host)),
        Box::new(nginx::Nginx::connections(Place::Host)),
        Box::new(stream::Stream(Place::Host)),
        Box::new(idle_memory::IdleMemory),
        Box::new(flow_lookup::FlowLookup),
        Box::new(many::Many),
        Box::new(rtt::Rtt::net_tcp_spin()),
        Box::new(rtt::Rtt::net_tcp_blocking()),
        Box::new(rtt::Rtt::net_udp_spin()),
        Box::new(redis::Redis::new(Place::Network, 1)),
        Box::new(redis::Redis::new(Place::Network, 50)),
        Box::new(nginx::Nginx::keepalive(Place::Network)),
        Box::new(nginx::Nginx::connections(Place::Network)),
        Box::new(stream::Stream(Place::Network)),
        Box::new(goodput::Goodput::default()),
        Box::new(requests::Requests::default()),
        Box::new(sharing::Sharing::default()),
    ]
}

/// Who takes part in cases that exist at both places.
const fn contenders_at(place: Place) -> &'static [Contender] {
    match place {
        Place::Host => BESIDE_KERNEL,
        Place::Network => OVER_NETWORK,
    }
}

#[cfg(test)]
mod tests;
