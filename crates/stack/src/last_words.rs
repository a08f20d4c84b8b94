//! What can be read of a stack that was given up: its lock is nobody's any more, and its tables are in whatever state
//! their last holder left them. Nothing that is read here is believed but to be some bytes.

use crate::memory::{SharedStack, places};
use crate::ready::Watch;
use crate::socket::{Kind, Socket};
use crate::{Endpoint, Ready, SocketFlags, SocketRef};
use sidestep_shm::NONE;
use sidestep_tcp::State;
use zerocopy::FromBytes;

/// Most connections that are told of.
const CONNECTIONS_MAX: usize = 1 << 16;

/// Our end and the peer's of what look like connections over `wires`, of which each is a queue of a network. Both may be
/// any endpoints at all.
pub fn last_connections(stack: &SharedStack, wires: &[u32]) -> Vec<(Endpoint, Endpoint)> {
    let Some(places) = places(stack.region()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for index in 0..places.sockets.count {
        let Some(socket) = entry::<Socket>(stack, places.sockets.offset, index) else {
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

/// What is left of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Remains {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: SocketFlags,
    /// It is a TCP socket that is connected, was, or is about to be.
    pub connects: bool,
}

/// What is left of a socket; none where its entry is another one's by now.
pub fn remains(stack: &SharedStack, r: SocketRef) -> Option<Remains> {
    let places = places(stack.region())?;
    let index = r.index as usize;
    if index >= places.sockets.count {
        return None;
    }
    let socket = entry::<Socket>(stack, places.sockets.offset, index)?;
    let flags = SocketFlags::from_bits_truncate(socket.flags);
    (socket.generation == r.generation).then(|| Remains {
        kind: socket.kind(),
        flags,
        connects: flags.contains(SocketFlags::WAS_CONNECTED) || socket.tcb.state() != State::Closed,
    })
}

/// What looks like a socket in an epoll set.
#[derive(Clone, Copy, Debug)]
pub struct LastMember {
    /// The socket's index.
    pub socket: u32,
    /// The set's.
    pub set: u32,
    /// The descriptor that was added.
    pub fd: i32,
    /// What it was watched for.
    pub events: Ready,
    /// The program's word for it.
    pub data: u64,
}

/// Members of epoll sets.
pub fn last_members(stack: &SharedStack) -> Vec<LastMember> {
    let Some(places) = places(stack.region()) else {
        return Vec::new();
    };
    let watches = (0..places.watches.count)
        .map_while(|index| entry::<Watch>(stack, places.watches.offset, index));
    watches.filter_map(|watch| watch.member()).collect()
}

/// A copy of an entry of a table.
fn entry<T: FromBytes>(stack: &SharedStack, offset: usize, index: usize) -> Option<T> {
    let mut bytes = vec![0; size_of::<T>()];
    let place = offset + index * bytes.len();
    stack
        .region()
        .foreign(place, bytes.len())?
        .copy_to(&mut bytes);
    T::read_from_bytes(&bytes).ok()
}
