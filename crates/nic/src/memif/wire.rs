//! The memory of a wire between two stacks of this project.

use super::layout::{Desc, Direction, Geometry, Role};
use super::sys::Ring;
use sidestep_shm::Region;
use std::io;
use std::sync::Arc;

/// New memory of that geometry, sealed, with empty rings and every buffer in its slot. Pages are taken as they are
/// first used. Hand its descriptor and the geometry to both ends.
///
/// Fails with `InvalidInput` where the geometry is of no wire.
pub fn create(geometry: &Geometry) -> io::Result<Region> {
    if !geometry.is_ours() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a geometry that is not a wire's",
        ));
    }
    let region = Arc::new(Region::create("sidestep-wire", geometry.bytes())?);
    for direction in [Direction::SlaveToMaster, Direction::MasterToSlave] {
        let ring = Ring::at(&region, geometry.ring(direction), Role::Slave)?;
        for slot in 0..ring.slots() {
            ring.set_desc(slot, empty(geometry, direction, slot));
        }
        ring.lay_out(direction);
    }
    Arc::into_inner(region).ok_or_else(|| io::Error::other("a ring outlived its layout"))
}

/// The descriptor of a slot with nothing but its buffer.
pub(super) const fn empty(geometry: &Geometry, direction: Direction, slot: u16) -> Desc {
    Desc {
        flags: 0,
        region: 0,
        length: geometry.buffer_bytes,
        offset: geometry.buffers_of(direction) + geometry.buffer_stride * slot as u32,
        metadata: 0,
    }
}
