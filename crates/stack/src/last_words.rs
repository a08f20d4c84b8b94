//! What can be read of a stack that was given up: its lock is nobody's any more, and its tables are in whatever state
//! their last holder left them. Nothing that is read here is believed but to be some bytes.

use crate::Endpoint;
use crate::memory::{SharedStack, places};
use crate::socket::{Kind, Socket};
use sidestep_shm::NONE;
use sidestep_tcp::State;
use zerocopy::FromBytes;

/// Most connections that are told of.
const CONNECTIONS_MAX: usize = 1 << 16;

/// Our end and the peer's of what look like connections over `wires`, of which each is a queue of a network. Both may be
/// any endpoints at all.
pub fn last_connections(stack: &SharedStack, wires: &[u32]) -> Vec<(Endpoint, Endpoint)> {
    let Some((offset, count)) = places(stack.region()) else {
        return Vec::new();
    };
    let mut bytes = vec![0; size_of::<Socket>()];
    let mut found = Vec::new();
    for index in 0..count {
        let place = offset + index * bytes.len();
        let Some(entry) = stack.region().foreign(place, bytes.len()) else {
            break;
        };
        entry.copy_to(&mut bytes);
        let Ok(socket) = Socket::read_from_bytes(&bytes) else {
            break;
        };
        let is_stream = socket.kind() == Kind::Stream && socket.hop != NONE;
        let is_over = matches!(
            socket.tcb.state(),
            State::Closed | State::Listen | State::SynSent
        );
        if is_stream && !is_over && wires.contains(&socket.wire) {
            found.push((socket.local, socket.remote));
        }
        if found.len() == CONNECTIONS_MAX {
            break;
        }
    }
    found
}
