//! What moved where: the counters of stacks, and those of the kernel.

use crate::model::Problem;
use serde_json::Value;
use std::collections::BTreeMap;
use std::{fs, io};

/// What each stack has moved so far, by its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    stacks: BTreeMap<String, Moved>,
    /// Why sockets were left to the kernel, and how many.
    left_to_kernel: BTreeMap<String, u64>,
}

/// What moved through one stack, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    frames: u64,
    tcp_bytes: u64,
}

impl Traffic {
    /// From what `sidestep ps` reports; none while a stack cannot be looked into.
    pub(crate) fn of(ps: &Value) -> Option<Self> {
        let mut traffic = Self::default();
        for stack in ps["stacks"].as_array()? {
            if stack["status"] == "busy" {
                return None;
            }
            let count = |name: &str| stack["counters"][name].as_u64().unwrap_or(0);
            let moved = Moved {
                frames: count("rx_frames") + count("tx_frames"),
                tcp_bytes: count("tcp_rx_bytes") + count("tcp_tx_bytes"),
            };
            traffic
                .stacks
                .insert(stack["id"].as_str()?.to_owned(), moved);
            for left in stack["kernel"].as_array().into_iter().flatten() {
                let reason = left["reason"].as_str().unwrap_or("unknown").to_owned();
                *traffic.left_to_kernel.entry(reason).or_default() +=
                    left["count"].as_u64().unwrap_or(0);
            }
        }
        Some(traffic)
    }

    /// The later of two looks at each stack: one that is gone is as it was last seen.
    pub(crate) fn or_later(mut self, later: Self) -> Self {
        self.stacks.extend(later.stacks);
        self.left_to_kernel.extend(later.left_to_kernel);
        self
    }

    /// What moved since an earlier look.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (id, moved) in &mut self.stacks {
            let earlier = before.stacks.get(id).copied().unwrap_or_default();
            moved.frames = moved.frames.saturating_sub(earlier.frames);
            moved.tcp_bytes = moved.tcp_bytes.saturating_sub(earlier.tcp_bytes);
        }
        self
    }

    /// That some one stack moved at least so many frames and bytes of TCP, or the problem that none did: work that
    /// was to be accelerated but went through the kernel is no figure.
    pub(crate) fn at_least(&self, frames: u64, tcp_bytes: u64) -> Result<(), Problem> {
        let enough = |m: &Moved| m.frames >= frames.max(1) && m.tcp_bytes >= tcp_bytes;
        if self.stacks.values().any(enough) {
            return Ok(());
        }
        let most = self
            .stacks
            .values()
            .max_by_key(|m| m.frames)
            .copied()
            .unwrap_or_default();
        let mut why = format!(
            "the accelerated path moved {} frames and {} bytes, but the work takes {} and {tcp_bytes}",
            most.frames,
            most.tcp_bytes,
            frames.max(1)
        );
        for (reason, count) in &self.left_to_kernel {
            why += &format!("; left to the kernel {count} times: {reason}");
        }
        Err(Problem::Invalid(why))
    }
}

/// TCP segments and UDP datagrams that the kernel moved, both ways, in one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelPackets(u64);

impl KernelPackets {
    /// Those of the calling thread's namespace, so far.
    pub(crate) fn now() -> io::Result<Self> {
        let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
        Self::of(&table)
            .ok_or_else(|| io::Error::other("no counters in /proc/thread-self/net/snmp"))
    }

    /// From the table: for each protocol a line of names and one of figures.
    fn of(table: &str) -> Option<Self> {
        let counter = |protocol: &str, name: &str| -> Option<u64> {
            let mut lines = table.lines().filter_map(|line| line.strip_prefix(protocol));
            let (names, figures) = (lines.next()?, lines.next()?);
            let at = names.split_whitespace().position(|n| n == name)?;
            figures.split_whitespace().nth(at)?.parse().ok()
        };
        let wanted = [
            ("Tcp:", "InSegs"),
            ("Tcp:", "OutSegs"),
            ("Udp:", "InDatagrams"),
            ("Udp:", "OutDatagrams"),
        ];
        let counters = wanted
            .into_iter()
            .map(|(protocol, name)| counter(protocol, name));
        counters.sum::<Option<u64>>().map(Self)
    }

    /// How many since an earlier look.
    pub(crate) const fn since(self, before: Self) -> u64 {
        self.0.saturating_sub(before.0)
    }
}

#[cfg(test)]
mod tests;
