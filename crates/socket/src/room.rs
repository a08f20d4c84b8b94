//! Sending what a connection has room for.

use crate::Foreign;
use crate::verdict::SendFlags;
use sidestep_shm::Nanos;
use sidestep_stack::{Error, Ready, SocketRef, Stack};
use smallvec::SmallVec;

/// Sends what there is room for, in the way that the flags say.
pub(crate) fn send_some(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    parts: &[Foreign<'_>],
    flags: SendFlags,
) -> sidestep_stack::Result<usize> {
    if flags.contains(SendFlags::URGENT) {
        stack.send_urgent(now, r, parts)
    } else if flags.contains(SendFlags::RECORD) {
        stack.send_record(now, r, parts)
    } else {
        stack.send(now, r, parts, flags.contains(SendFlags::MORE))
    }
}

/// The same for a thread that has found no room: as on Linux, not for every bit of it.
pub(crate) fn send_if_worth_while(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    parts: &[Foreign<'_>],
    flags: SendFlags,
) -> Option<sidestep_stack::Result<usize>> {
    let worth_while = Ready::OUT | Ready::ERR | Ready::HUP;
    if stack
        .ready(r)
        .is_ok_and(|ready| !ready.intersects(worth_while))
    {
        return None;
    }
    match send_some(stack, now, r, parts, flags) {
        Err(Error::WouldBlock) => None,
        other => Some(other),
    }
}

/// What lies behind the first `skip` bytes.
pub(crate) fn skip_parts<'a>(
    parts: &[Foreign<'a>],
    mut skip: usize,
) -> SmallVec<[Foreign<'a>; 16]> {
    let mut rest = SmallVec::with_capacity(parts.len());
    for part in parts {
        let left = part.skip(skip);
        skip = skip.saturating_sub(part.len());
        if !left.is_empty() {
            rest.push(left);
        }
    }
    rest
}
