//! What a new agent must know of the one before it: which processes held which stacks, so that it waits for them to
//! call, as long as they live, before it takes their wires for lost.
//!
//! The file has a line for each: the stack in hexadecimal, the process, and when that started (for its number may
//! be another's by now).

use sidestep_control::{RuntimeDir, StackId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

/// A process and when it started, in the kernel's ticks.
type Holder = (StackId, u32);

/// The file, and who is still awaited.
pub(crate) struct Takeover {
    path: PathBuf,
    awaited: BTreeSet<Holder>,
    started: BTreeMap<u32, u64>,
    saved: BTreeSet<Holder>,
}

impl Takeover {
    /// Reads what the last agent wrote.
    pub(crate) fn load(dir: &RuntimeDir) -> Self {
        let path = dir.path().join("agent.stacks");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut this = Self {
            path,
            awaited: BTreeSet::new(),
            started: BTreeMap::new(),
            saved: BTreeSet::new(),
        };
        for (holder, start) in text.lines().filter_map(parse) {
            if started(holder.1) == Some(start) {
                this.awaited.insert(holder);
                this.started.insert(holder.1, start);
            }
        }
        this
    }

    /// The processes that are awaited.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        self.awaited.iter().map(|(_, pid)| *pid).collect()
    }

    /// Whether this process may yet call.
    pub(crate) fn awaits_process(&self, pid: u32) -> bool {
        self.awaited.iter().any(|(_, p)| *p == pid)
    }

    /// Whether this stack may yet be made known.
    pub(crate) fn awaits_stack(&self, stack: StackId) -> bool {
        self.awaited
            .range((stack, 0)..=(stack, u32::MAX))
            .next()
            .is_some()
    }

    /// The stack is known again.
    pub(crate) fn on_stack(&mut self, stack: StackId) {
        self.awaited.retain(|(s, _)| *s != stack);
    }

    /// The process has ended.
    pub(crate) fn on_process_end(&mut self, pid: u32) {
        self.awaited.retain(|(_, p)| *p != pid);
        self.started.remove(&pid);
    }

    /// Writes down who holds what, and who is still awaited. Without the file nothing but a takeover suffers.
    pub(crate) fn save(&mut self, mut holders: BTreeSet<Holder>) {
        holders.extend(&self.awaited);
        if holders == self.saved {
            return;
        }
        let mut text = String::new();
        for (stack, pid) in &holders {
            let start = match self.started.get(pid) {
                Some(start) => *start,
                None => started(*pid).unwrap_or(0),
            };
            self.started.insert(*pid, start);
            let _ = writeln!(text, "{stack:016x} {pid} {start}");
        }
        self.started
            .retain(|pid, _| holders.iter().any(|(_, p)| p == pid));
        let new = self.path.with_extension("new");
        if std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &self.path))
            .is_ok()
        {
            self.saved = holders;
        }
    }
}

fn parse(line: &str) -> Option<(Holder, u64)> {
    let mut words = line.split(' ');
    let stack = u64::from_str_radix(words.next()?, 16).ok()?;
    let pid = words.next()?.parse().ok()?;
    Some(((stack, pid), words.next()?.parse().ok()?))
}

/// When a process started: field 22 of its `stat`, the twentieth after the name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}
