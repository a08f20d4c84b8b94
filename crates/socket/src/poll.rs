//! poll(2) over descriptors of both kinds; select(2) is made of it.

use crate::process::{Process, Shared};
use crate::wait::{KernelSide, SleepMask, Target, Waiting, Woken, poll_now};
use crate::{Errno, Nanos};
use sidestep_stack::{Ready, SocketRef, Stack};

/// An entry as poll(2) has it.
pub type PollEntry = libc::pollfd;

/// What is to be watched, taken apart.
struct Watched {
    /// Accelerated sockets: place in the caller's list, socket, events asked for.
    ours: Vec<(usize, SocketRef, Ready)>,
    /// The kernel's side, in the caller's order; negative where it has none.
    kernel: Vec<libc::pollfd>,
    has_kernel: bool,
}

impl Process {
    /// Whether any of these descriptors is ours.
    pub fn any_ours(&self, fds: &[PollEntry]) -> bool {
        self.is_active() && fds.iter().any(|p| self.is_socket(p.fd))
    }

    /// poll(2), ppoll(2): waits until `deadline` for any entry, fills in `revents`. None: all of it is the kernel's.
    pub fn poll(
        &self,
        fds: &mut [PollEntry],
        timeout: Option<Nanos>,
        mask: SleepMask<'_>,
    ) -> Option<Result<usize, Errno>> {
        let shared = self.attached()?;
        let watched = self.take_apart(shared, fds);
        if watched.ours.is_empty() {
            return None;
        }
        let started = self.now();
        let sources: Vec<(SocketRef, Ready)> = watched
            .ours
            .iter()
            .map(|(_, r, events)| (*r, *events))
            .collect();
        let mut found = vec![Ready::empty(); sources.len()];
        let first = self.with_stack(shared, |stack| {
            stack.poll(started);
            look(stack, &sources, &mut found)
        });
        let Ok(count) = first else {
            return Some(Ok(fail_all(fds, &watched)));
        };
        self.keep_agent(shared, started);
        let mut kernel = watched.kernel.clone();
        let zero = timeout == Some(Nanos::ZERO);
        if watched.has_kernel && (zero || count > 0) && self.glance_due(watched.key(), started) {
            let _ = poll_now(&mut kernel, Nanos::ZERO);
        }
        if count == 0 && !zero && kernel.iter().all(|p| p.revents == 0) {
            let waiting = Waiting {
                target: Target::Many(&sources),
                kernel: if watched.has_kernel {
                    KernelSide::Polled(&watched.kernel)
                } else {
                    KernelSide::None
                },
                deadline: timeout.map_or(Nanos::NEVER, |t| started + t),
                mask,
                restarts: false,
            };
            let woken = self.wait(shared, &waiting, |stack, _| {
                let n = look(stack, &sources, &mut found);
                (n > 0).then_some(n)
            });
            match woken {
                Woken::Got(_) | Woken::Kernel | Woken::TimedOut => {}
                Woken::Interrupted => return Some(Err(Errno::INTR)),
                Woken::Retired => return Some(Ok(fail_all(fds, &watched))),
            }
            if watched.has_kernel {
                let _ = poll_now(&mut kernel, Nanos::ZERO);
            }
        }
        Some(Ok(self.put_together(fds, &watched, &kernel, &found)))
    }

    fn take_apart(&self, shared: &Shared, fds: &[PollEntry]) -> Watched {
        let mut watched = Watched {
            ours: Vec::new(),
            kernel: Vec::with_capacity(fds.len()),
            has_kernel: false,
        };
        for (place, p) in fds.iter().enumerate() {
            let mut kernel = libc::pollfd {
                fd: p.fd,
                events: p.events,
                revents: 0,
            };
            if let Some((_, r)) = self.socket_of(p.fd) {
                let wanted = Ready::from_bits_retain(u32::from(p.events.cast_unsigned()));
                watched
                    .ours
                    .push((place, r, wanted | Ready::ERR | Ready::HUP));
                // A socket with a kernel's side: what it may receive there.
                let two_sided = self
                    .with_stack(shared, |stack| stack.served(r).is_some())
                    .unwrap_or(false);
                kernel.events &= libc::POLLIN | libc::POLLRDNORM;
                if !two_sided || kernel.events == 0 {
                    kernel.fd = -1;
                }
            }
            watched.has_kernel |= kernel.fd >= 0;
            watched.kernel.push(kernel);
        }
        watched
    }

    fn put_together(
        &self,
        fds: &mut [PollEntry],
        watched: &Watched,
        kernel: &[libc::pollfd],
        found: &[Ready],
    ) -> usize {
        let mut of_kernel = false;
        for (p, k) in fds.iter_mut().zip(kernel) {
            p.revents = k.revents;
            of_kernel |= k.revents != 0;
        }
        for ((place, _, _), ready) in watched.ours.iter().zip(found) {
            fds[*place].revents |= poll_bits(*ready);
        }
        if of_kernel {
            self.kernel_side_ready();
        }
        fds.iter().filter(|p| p.revents != 0).count()
    }
}

impl Watched {
    /// What the memory of the last look at the kernel's side goes by.
    fn key(&self) -> i32 {
        self.kernel.iter().find(|p| p.fd >= 0).map_or(0, |p| p.fd)
    }
}

/// What each socket is ready for; how many are for anything.
fn look(stack: &mut Stack<'static>, sources: &[(SocketRef, Ready)], found: &mut [Ready]) -> usize {
    let mut count = 0;
    for ((r, events), ready) in sources.iter().zip(found) {
        *ready = stack.ready(*r).unwrap_or(Ready::ERR | Ready::HUP) & *events;
        count += usize::from(!ready.is_empty());
    }
    count
}

fn fail_all(fds: &mut [PollEntry], watched: &Watched) -> usize {
    for (place, _, _) in &watched.ours {
        fds[*place].revents = libc::POLLERR | libc::POLLHUP;
    }
    fds.iter().filter(|p| p.revents != 0).count()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "poll's bits are the low sixteen"
)]
const fn poll_bits(ready: Ready) -> i16 {
    ready.bits() as u16 as i16
}
