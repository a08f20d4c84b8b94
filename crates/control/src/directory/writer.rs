//! Changes, in the agent only.

use super::sys::Words;
use super::table::{ENTRIES_MAX, Entry, KIND_ADDRESS, Key, MAGIC, SLOTS, WORDS, header, probe};
use crate::message::{Publication, StackId};
use sidestep_shm::atomic::{AtomicU64, Ordering, fence};
use sidestep_wire::Address;
use std::io;
use std::os::fd::OwnedFd;

/// Why an endpoint was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No room.
    #[error("the directory of endpoints is full")]
    Full,
    /// Another stack serves it, and not both said that they share the port.
    #[error("another stack serves this endpoint")]
    InUse(StackId),
    /// Not a transport protocol.
    #[error("not a transport protocol")]
    Protocol,
}

/// The directory, as the agent holds it. There is one writer.
pub struct DirectoryWriter {
    words: Words,
    count: usize,
}

impl DirectoryWriter {
    /// A new, empty directory.
    ///
    /// # Errors
    /// Where there is no memory or descriptor.
    pub fn create(generation: u64, pid: u32) -> io::Result<Self> {
        let words = Words::create("sidestep-directory", WORDS)?;
        let this = Self { words, count: 0 };
        this.set(header::GENERATION, generation);
        this.set(header::PID, u64::from(pid));
        this.set(header::MAGIC, MAGIC);
        Ok(this)
    }

    /// A descriptor of it for a program, good for reading only.
    ///
    /// # Errors
    /// Where there is no descriptor.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.words.descriptor()
    }

    /// The agent has networks, whose configuration has this number: ways that programs know by another one may be wrong.
    pub fn set_networks(&self, number: u64) {
        self.set(header::NETWORKS, number);
    }

    /// How many entries there are.
    pub const fn entries(&self) -> usize {
        self.count
    }

    /// `stack` serves `what` from now on. Said again, it is counted.
    ///
    /// # Errors
    /// [`PublishError`]
    pub fn publish(
        &mut self,
        netns: u64,
        stack: StackId,
        what: &Publication,
    ) -> Result<(), PublishError> {
        if !matches!(what.protocol, 6 | 17) {
            return Err(PublishError::Protocol);
        }
        let key = key(netns, what);
        let mut own = None;
        for (slot, entry) in probe(self.words.all(), key) {
            if entry.stack == stack && entry.v6_only == what.v6_only {
                own = Some((slot, entry));
            } else if entry.stack != stack && !(entry.reuse_port && what.reuse_port) {
                return Err(PublishError::InUse(entry.stack));
            }
        }
        if let Some((slot, entry)) = own {
            let entry = Entry {
                count: entry.count + 1,
                ..entry
            };
            self.change(|words| Entry::store(Some(&entry), words, slot));
            return Ok(());
        }
        let (v6_only, reuse_port) = (what.v6_only, what.reuse_port);
        self.insert(&Entry {
            key,
            v6_only,
            reuse_port,
            stack,
            count: 1,
        })
    }

    /// Takes one publication back; the endpoint is served until all are. False where there was none.
    pub fn withdraw(&mut self, netns: u64, stack: StackId, what: &Publication) -> bool {
        let of_stack = |(_, e): &(usize, Entry)| e.stack == stack && e.v6_only == what.v6_only;
        let found = probe(self.words.all(), key(netns, what)).find(of_stack);
        let Some((slot, entry)) = found else {
            return false;
        };
        if entry.count > 1 {
            let entry = Entry {
                count: entry.count - 1,
                ..entry
            };
            self.change(|words| Entry::store(Some(&entry), words, slot));
        } else {
            self.remove(slot);
        }
        true
    }

    /// What `stack` serves.
    pub fn publications(&self, stack: StackId) -> Vec<Publication> {
        let entries = (0..SLOTS).filter_map(|slot| Entry::load(self.words.all(), slot));
        entries
            .filter(|e| e.stack == stack && e.key.kind != KIND_ADDRESS)
            .map(|e| Publication {
                protocol: e.key.kind,
                address: e.key.address.0,
                port: e.key.port,
                v6_only: e.v6_only,
                reuse_port: e.reuse_port,
            })
            .collect()
    }

    /// Takes back everything said of one publication, however often.
    pub fn withdraw_all(&mut self, netns: u64, stack: StackId, what: &Publication) {
        while self.withdraw(netns, stack, what) {}
    }

    /// Takes everything back that `stack` served; how many entries.
    pub fn withdraw_stack(&mut self, stack: StackId) -> usize {
        self.remove_all(|e| e.stack == stack && e.key.kind != KIND_ADDRESS)
    }

    /// `address` is this host's in that namespace.
    ///
    /// # Errors
    /// [`PublishError::Full`]
    pub fn add_address(&mut self, netns: u64, address: Address) -> Result<(), PublishError> {
        let key = Key {
            kind: KIND_ADDRESS,
            netns,
            address,
            port: 0,
        };
        if probe(self.words.all(), key).next().is_some() {
            return Ok(());
        }
        self.insert(&Entry {
            key,
            v6_only: false,
            reuse_port: false,
            stack: 0,
            count: 1,
        })
    }

    /// Forgets the addresses of a namespace.
    pub fn clear_addresses(&mut self, netns: u64) {
        self.remove_all(|e| e.key.kind == KIND_ADDRESS && e.key.netns == netns);
    }

    /// Keeps of a namespace's addresses only those in `list`, and adds what is missing of it. An address that stays
    /// is found at any moment meanwhile.
    ///
    /// # Errors
    /// [`PublishError::Full`]
    pub fn set_addresses(&mut self, netns: u64, list: &[Address]) -> Result<(), PublishError> {
        self.remove_all(|e| {
            let kept = list.contains(&e.key.address);
            e.key.kind == KIND_ADDRESS && e.key.netns == netns && !kept
        });
        list.iter()
            .try_for_each(|address| self.add_address(netns, *address))
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), PublishError> {
        if self.count >= ENTRIES_MAX {
            return Err(PublishError::Full);
        }
        let first = entry.key.slot();
        let words = self.words.all();
        let empty = (0..SLOTS)
            .map(|step| (first + step) % SLOTS)
            .find(|slot| Entry::load(words, *slot).is_none())
            .ok_or(PublishError::Full)?;
        self.count += 1;
        self.change(|words| Entry::store(Some(entry), words, empty));
        Ok(())
    }

    fn remove_all(&mut self, unwanted: impl Fn(&Entry) -> bool) -> usize {
        let mut removed = 0;
        let mut slot = 0;
        while slot < SLOTS && self.count > 0 {
            match Entry::load(self.words.all(), slot) {
                // Another entry may have moved here: look at the same slot again.
                Some(entry) if unwanted(&entry) => {
                    self.remove(slot);
                    removed += 1;
                }
                _ => slot += 1,
            }
        }
        removed
    }

    /// Empties a slot and closes the gap, so that no probe ends early.
    fn remove(&mut self, slot: usize) {
        self.count -= 1;
        self.change(|words| {
            let mut gap = slot;
            for step in 1..SLOTS {
                let next = (slot + step) % SLOTS;
                let Some(entry) = Entry::load(words, next) else {
                    break;
                };
                let home = entry.key.slot();
                // It may move back unless its home lies behind the gap (cyclically).
                if (next + SLOTS - home) % SLOTS >= (next + SLOTS - gap) % SLOTS {
                    Entry::store(Some(&entry), words, gap);
                    gap = next;
                }
            }
            Entry::store(None, words, gap);
        });
    }

    /// Runs `write` between an odd and the next even sequence number.
    fn change(&self, write: impl FnOnce(&[AtomicU64])) {
        let words = self.words.all();
        let Some(sequence) = words.get(header::SEQUENCE) else {
            return;
        };
        let before = sequence.load(Ordering::Relaxed);
        sequence.store(before + 1, Ordering::Relaxed);
        // SYNC POINT: the odd number becomes visible before anything that `write` stores.
        fence(Ordering::Release);
        write(words);
        self.set(header::COUNT, self.count as u64);
        // SYNC POINT: everything that `write` stored becomes visible before the even number.
        sequence.store(before + 2, Ordering::Release);
    }

    fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.words.all().get(index) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

fn key(netns: u64, what: &Publication) -> Key {
    Key {
        kind: what.protocol,
        netns,
        address: Address(what.address),
        port: what.port,
    }
}
