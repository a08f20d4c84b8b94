//! Lookups, in every program.

use super::sys::Words;
use super::table::{KIND_ADDRESS, Key, MAGIC, WORDS, header, probe};
use crate::message::StackId;
use sidestep_shm::atomic::{AtomicU64, Ordering, fence};
use sidestep_wire::{Address, Endpoint};
use std::io;
use std::os::fd::OwnedFd;

/// Most stacks that one lookup finds.
pub const MATCHES_MAX: usize = 16;
/// Attempts to read between two changes; each change takes the agent less than a microsecond.
const ATTEMPTS: usize = 10_000;

/// The agent died while it changed the directory. Connect to the next agent for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent died while it changed the directory")]
pub struct DirectoryLost;

/// The stacks that serve an endpoint; several where they share its port (`SO_REUSEPORT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matches {
    stacks: [StackId; MATCHES_MAX],
    count: usize,
}

impl Matches {
    /// All of them.
    pub fn stacks(&self) -> &[StackId] {
        self.stacks.get(..self.count).unwrap_or(&[])
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The one for a flow with this hash.
    pub fn pick(&self, flow_hash: u32) -> Option<StackId> {
        let index = (flow_hash as usize).checked_rem(self.count)?;
        self.stacks().get(index).copied()
    }

    fn push(&mut self, stack: StackId) {
        if let Some(place) = self.stacks.get_mut(self.count) {
            *place = stack;
            self.count += 1;
        }
    }
}

/// A program's view of the directory, read-only.
pub struct Directory {
    words: Words,
}

impl Directory {
    /// Maps the directory whose descriptor came with [`Welcome`](crate::Welcome).
    ///
    /// # Errors
    /// Where it cannot be mapped or is no directory of this version.
    pub fn attach(fd: OwnedFd) -> io::Result<Self> {
        let words = Words::attach(fd)?;
        let all = words.all();
        let magic = all
            .get(header::MAGIC)
            .map(|word| word.load(Ordering::Relaxed));
        if all.len() < WORDS || magic != Some(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a directory of endpoints",
            ));
        }
        Ok(Self { words })
    }

    /// Which agent wrote it.
    pub fn generation(&self) -> u64 {
        self.word(header::GENERATION)
    }

    /// The process of the agent that writes it.
    pub fn agent_pid(&self) -> u32 {
        u32::try_from(self.word(header::PID)).unwrap_or(0)
    }

    /// The stacks that take what is sent to `remote` in that namespace: those bound to the very address, else to the
    /// wildcard of its family, else to `::` by sockets that take IPv4 too. None for addresses of other hosts, for
    /// groups, and where nothing accelerated serves the endpoint.
    ///
    /// # Errors
    /// [`DirectoryLost`]
    pub fn lookup(
        &self,
        protocol: u8,
        netns: u64,
        remote: Endpoint,
    ) -> Result<Matches, DirectoryLost> {
        if remote.addr.is_multicast() || remote.addr.is_broadcast() || protocol == KIND_ADDRESS {
            return Ok(Matches::default());
        }
        self.consistently(|words| {
            let bound_to = |address, v4_through_v6: bool| {
                let mut found = Matches::default();
                let key = Key {
                    kind: protocol,
                    netns,
                    address,
                    port: remote.port,
                };
                for (_, entry) in probe(words, key) {
                    if !(v4_through_v6 && entry.v6_only) {
                        found.push(entry.stack);
                    }
                }
                found
            };
            let exact = bound_to(remote.addr, false);
            if !exact.is_empty() || !address_is_local(words, netns, remote.addr) {
                return exact;
            }
            if !remote.addr.is_v4() {
                return bound_to(Address::UNSPECIFIED_V6, false);
            }
            let wildcard = bound_to(Address::UNSPECIFIED_V4, false);
            if wildcard.is_empty() {
                bound_to(Address::UNSPECIFIED_V6, true)
            } else {
                wildcard
            }
        })
    }

    /// Whether `address` is this host's, as seen in that namespace: loopback, or told of by a program there.
    ///
    /// # Errors
    /// [`DirectoryLost`]
    pub fn is_local(&self, netns: u64, address: Address) -> Result<bool, DirectoryLost> {
        self.consistently(|words| address_is_local(words, netns, address))
    }

    /// The number of the networks' configuration; none where the agent has no network.
    pub fn networks(&self) -> Option<u64> {
        Some(self.word(header::NETWORKS)).filter(|number| *number != 0)
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.word(header::COUNT)
    }

    fn word(&self, index: usize) -> u64 {
        self.words
            .all()
            .get(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// What `read` returns when nothing changed while it ran.
    fn consistently<T>(&self, read: impl Fn(&[AtomicU64]) -> T) -> Result<T, DirectoryLost> {
        let words = self.words.all();
        let sequence = words.get(header::SEQUENCE).ok_or(DirectoryLost)?;
        for _ in 0..ATTEMPTS {
            // SYNC POINT: with the writer's Release store of an even number; what it wrote before is seen.
            let before = sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let value = read(words);
                // SYNC POINT: with the writer's fence after its odd number; had `read` seen any later store, the
                // load below sees that number or one after it.
                fence(Ordering::Acquire);
                if sequence.load(Ordering::Relaxed) == before {
                    return Ok(value);
                }
            }
            core::hint::spin_loop();
        }
        Err(DirectoryLost)
    }
}

fn address_is_local(words: &[AtomicU64], netns: u64, address: Address) -> bool {
    let key = Key {
        kind: KIND_ADDRESS,
        netns,
        address,
        port: 0,
    };
    address.is_loopback() || probe(words, key).next().is_some()
}
