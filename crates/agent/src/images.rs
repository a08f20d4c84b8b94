//! What `exec` leaves behind. The process goes on, and so tells nobody that it is gone; but its memory is another's, and the
//! stack is not in it. Its connection to us ends by then, whatever else it kept open.

use crate::registry::{Registry, StackEntry};
use sidestep_control::StackId;
use std::fs::File;
use std::io::{BufRead, BufReader};

impl Registry {
    /// A connection of process `pid` has ended, as its end, an `exec` or a mishap would have it.
    pub(crate) fn on_connection_end(&mut self, pid: u32) {
        if self.has_ended(pid) {
            return;
        }
        let left: Vec<(StackId, u32)> = self
            .stacks
            .iter()
            .flat_map(|(id, entry)| {
                let of_pid = entry.slots.iter().filter(|(_, holder)| **holder == pid);
                of_pid.map(|(slot, _)| (*id, *slot))
            })
            .filter(|(id, _)| self.stacks.get(id).is_some_and(|e| has_left(pid, e)))
            .collect();
        for (stack, slot) in &left {
            self.slot_lost(*stack, *slot, pid);
        }
        if !left.is_empty() {
            self.log
                .line(format_args!("process {pid} became another program"));
            self.run_jobs();
        }
    }
}

/// Whether a process surely does not have the stack in its memory any more.
fn has_left(pid: u32, entry: &StackEntry) -> bool {
    let memory = entry.shared.region().fd().map(rustix::fs::fstat);
    let (Some(Ok(memory)), Ok(maps)) = (memory, File::open(format!("/proc/{pid}/maps"))) else {
        return false;
    };
    let inode = memory.st_ino.to_string();
    // One that is ending has no memory at all, and is heard of by its end.
    let mut is_alive = false;
    for line in BufReader::new(maps).lines() {
        let Ok(line) = line else { return false };
        is_alive = true;
        // Addresses, rights, offset, device, inode, name.
        let mut words = line.split_ascii_whitespace().skip(4);
        let is_memory = words.next() == Some(&inode);
        if is_memory && words.next().is_some_and(|name| name.starts_with("/memfd:")) {
            return false;
        }
    }
    is_alive
}
