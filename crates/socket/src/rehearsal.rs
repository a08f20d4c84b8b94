//! A process in virtual time: no agent, one network, and somebody who plays both that network and the clock. Calls are
//! served as ever; one that blocks sleeps until time or a packet ends it.
//!
//! Time passes only while all other threads sleep, so that whoever was woken at some moment acts at that moment.

use crate::networks::Reached;
use crate::process::{Process, Shared};
use crate::wait::{Waiting, Woken};
use crate::{Endpoint, Nanos};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sidestep_nic::Port as _;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{CHUNK_BYTES, EventFd, Foreign};
use sidestep_stack::{self as stack, Handover, NetworkSetup, NextHop, Stack, Way};
use sidestep_wire::{EtherType, Mac, ethernet};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Stations of the two ends.
const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Names the one network, and its queue.
const NETWORK: u64 = 1;
/// How long the other threads are waited for, in tries and the pause between two.
const TRIES: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(50);

/// What a rehearsal starts with.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// The time.
    pub begin: Nanos,
    /// Longest IP packet in bytes that the network carries.
    pub mtu: u32,
}

/// The other end of the network, and those who wait.
pub(crate) struct Rehearsal {
    wire: u32,
    far_end: Mutex<FarEnd>,
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

struct FarEnd {
    port: State,
    at: Attachment,
    /// What the stack has sent, and when.
    departed: VecDeque<(Nanos, Vec<u8>)>,
}

#[derive(Default)]
struct Waiters {
    /// How often something may have changed.
    changes: u64,
    deadlines: Vec<Nanos>,
}

impl Process {
    /// Begins a rehearsal. To be called before the first socket is made.
    ///
    /// # Errors
    /// Where memory cannot be had, or the process has a stack already.
    pub fn rehearse(&self, stage: Stage) -> io::Result<()> {
        self.clock.stop_at(stage.begin);
        let config = self.config();
        let made = stack::create_private(&stack::Config {
            name: config.name.clone(),
            id: NETWORK,
            netns: NETWORK,
            sockets_max: config.sockets_max,
            chunks_max: config.buffer_bytes / CHUNK_BYTES,
            secret: NETWORK,
            snd_buf_bytes: config.snd_buf_bytes,
            rcv_buf_bytes: config.rcv_buf_bytes,
            checksums: true,
            fast_open: crate::fast_open::rules().bits,
            syn_cookies: crate::sysctl::number("net/ipv4/tcp_syncookies") != Some(0),
            faults: None,
        })?;
        let shared = self.share(made, NETWORK, NETWORK)?;
        let geometry = Geometry::default();
        let region = Arc::new(wire::create(&geometry)?);
        let end = |role| Attachment::for_wire(region.clone(), &geometry, role, EventFd::new()?);
        let (near, at) = (end(Role::Slave)?, end(Role::Master)?);
        let plugged = self.lock_only(&shared, |stack| {
            let wire = stack.add_network(NetworkSetup {
                id: NETWORK,
                network: NETWORK,
                device: 1,
                station: OURS,
                mtu: stage.mtu,
                unfinished_checksums: false,
                port: State::new(Role::Slave, &geometry).into(),
            })?;
            if let Some(open) = stack.unattached_wire() {
                stack.attach_wire(wire, open.generation, near);
            }
            sidestep_stack::Result::Ok(wire)
        });
        let wire = plugged
            .map_err(io::Error::other)?
            .map_err(|_| io::Error::other("no network"))?;
        let rehearsal = Rehearsal {
            wire,
            far_end: Mutex::new(FarEnd {
                port: State::new(Role::Master, &geometry),
                at,
                departed: VecDeque::new(),
            }),
            waiters: Mutex::new(Waiters::default()),
            changed: Condvar::new(),
        };
        let taken = || io::Error::other("there is a stack already");
        self.rehearsal.set(rehearsal).map_err(|_| taken())?;
        self.attach(shared).then_some(()).ok_or_else(taken)
    }

    /// A bare IP packet arrives.
    pub fn arrive(&self, packet: &[u8]) {
        let Some((rehearsal, shared)) = self.stage() else {
            return;
        };
        let is_v4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
        let mut frame = vec![0; ethernet::HEADER_BYTES + packet.len()];
        let header = ethernet::Repr {
            dst: OURS,
            src: THEIRS,
            ethertype: if is_v4 {
                EtherType::IPV4
            } else {
                EtherType::IPV6
            },
        };
        header.emit(&mut frame);
        frame[ethernet::HEADER_BYTES..].copy_from_slice(packet);
        {
            let mut far_end = lock(&rehearsal.far_end);
            let FarEnd { port, at, .. } = &mut *far_end;
            let mut port = Memif::new(port, at);
            port.tx(frame.len(), |mut room| {
                room.copy_from(&frame);
            });
            port.tx_flush();
        }
        rehearsal.settle(self, shared);
    }

    /// The next packet that the stack sends, and when it did: time goes on until there is one, for `patience` at most.
    pub fn await_departure(&self, patience: Nanos) -> Option<(Nanos, Vec<u8>)> {
        let (rehearsal, shared) = self.stage()?;
        let until = self.now() + patience;
        rehearsal.settle(self, shared);
        loop {
            if let Some(departed) = lock(&rehearsal.far_end).departed.pop_front() {
                return Some(departed);
            }
            if !rehearsal.step(self, shared, until) {
                return None;
            }
        }
    }

    /// Time goes on for so long.
    pub fn pass_time(&self, span: Nanos) {
        let Some((rehearsal, shared)) = self.stage() else {
            return;
        };
        let until = self.now() + span;
        rehearsal.settle(self, shared);
        while rehearsal.step(self, shared, until) {}
        self.clock.stop_at(until.max(self.now()));
        rehearsal.settle(self, shared);
    }

    /// The time, which moves a little by being looked at.
    pub fn look_at_clock(&self) -> Nanos {
        let now = self.now() + Nanos::from_micros(1);
        self.clock.stop_at(now);
        now
    }

    fn stage(&self) -> Option<(&Rehearsal, &Shared)> {
        Some((self.rehearsal.get()?, self.attached()?))
    }
}

impl Rehearsal {
    /// Goes on to the next moment at which something is due; false, and no further than `until`, if nothing is before.
    fn step(&self, process: &Process, shared: &Shared, until: Nanos) -> bool {
        let due = process
            .lock_only(shared, |stack| stack.next_timer())
            .unwrap_or(Nanos::NEVER);
        let waiters = lock(&self.waiters);
        let due = waiters.deadlines.iter().copied().fold(due, Nanos::min);
        drop(waiters);
        if due > until {
            return false;
        }
        // A place in the wheel may come before the deadline that it is for.
        process.clock.stop_at(due.max(process.now() + Nanos(1)));
        self.settle(process, shared);
        true
    }

    /// All that is due now happens: in the stack, and in the calls that wait.
    fn settle(&self, process: &Process, shared: &Shared) {
        let now = process.now();
        let _ = process.with_stack(shared, |stack| stack.poll(now));
        self.collect(now);
        lock(&self.waiters).changes += 1;
        self.changed.notify_all();
        for _ in 0..TRIES {
            if others_sleep() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.collect(now);
    }

    /// Takes what the stack has sent.
    fn collect(&self, now: Nanos) {
        let mut far_end = lock(&self.far_end);
        let FarEnd { port, at, departed } = &mut *far_end;
        Memif::new(port, at).rx_batch(usize::MAX, |frame: Foreign<'_>| {
            let mut bytes = vec![0; frame.len()];
            frame.copy_to(&mut bytes);
            departed.push_back((now, bytes.split_off(ethernet::HEADER_BYTES)));
        });
    }

    /// A blocked call waits.
    pub(crate) fn wait<R>(
        &self,
        process: &Process,
        shared: &Shared,
        waiting: &Waiting<'_>,
        attempt: &mut impl FnMut(&mut Stack<'static>, Nanos) -> Option<R>,
    ) -> Woken<R> {
        loop {
            let changes = lock(&self.waiters).changes;
            let now = process.now();
            let got = process.with_stack(shared, |stack| {
                stack.poll(now);
                attempt(stack, now)
            });
            match got {
                Err(_) => return Woken::Retired,
                Ok(Some(r)) => return Woken::Got(r),
                Ok(None) if now >= waiting.deadline => return Woken::TimedOut,
                Ok(None) if process.kernel_has(waiting, now, true) => return Woken::Kernel,
                Ok(None) => {}
            }
            let mut waiters = lock(&self.waiters);
            waiters.deadlines.push(waiting.deadline);
            let mut waiters = self
                .changed
                .wait_while(waiters, |waiters| waiters.changes == changes)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = waiters
                .deadlines
                .iter()
                .position(|at| *at == waiting.deadline)
            {
                waiters.deadlines.swap_remove(at);
            }
        }
    }

    /// The way to a host: all hosts are on the network, and the kernel says which address of ours they know.
    pub(crate) fn route(
        &self,
        process: &Process,
        shared: &Shared,
        remote: Endpoint,
    ) -> Result<Reached, Handover> {
        let to = NextHop {
            wire: self.wire,
            station: OURS,
            vlan: 0,
            neighbour: remote.addr,
        };
        let hop = process.lock_only(shared, |stack| {
            let (hop, _) = stack.hop(&to)?;
            stack.set_hop(&to, Some(THEIRS));
            sidestep_stack::Result::Ok(hop)
        });
        let hop = hop
            .map_err(|_| Handover::Retired)?
            .map_err(|_| Handover::NoNetwork)?;
        Ok(Reached {
            way: Way {
                hop,
                ..Way::from(self.wire)
            },
            source: source(remote).map_err(|_| Handover::NoNetwork)?,
            by_network: true,
        })
    }
}

/// The address from which the kernel would send to a host.
fn source(remote: Endpoint) -> rustix::io::Result<crate::Address> {
    let family = if remote.addr.is_v4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let to = std::net::SocketAddr::new(remote.addr.ip(), remote.port.max(1));
    rustix::net::connect(&socket, &to)?;
    let own = std::net::SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok(own.ip().into())
}

/// Whether all threads of this process but the calling one sleep.
fn others_sleep() -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().get().to_string();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return true;
    };
    tasks.flatten().all(|task| {
        if task.file_name() == *own {
            return true;
        }
        // The state follows the name, which is in brackets.
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('S'))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
