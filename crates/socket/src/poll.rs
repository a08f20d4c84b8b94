//! poll(2) over descriptors of both kinds; select(2) is made of it.

use crate::process::{Process, Shared};
use crate::wait::{FEW, KernelSide, SleepMask, Target, Waiting, Woken, poll_now};
use crate::{Errno, Nanos};
use sidestep_stack::{Ready, SetRef, SocketRef, Stack};
use smallvec::SmallVec;

/// An entry as poll(2) has it.
pub type PollEntry = libc::pollfd;

/// What is to be watched, taken apart. Places are those in the caller's list.
#[derive(Default)]
struct Watched {
    /// Accelerated sockets, and the events asked for.
    sockets: SmallVec<[(SocketRef, Ready); FEW]>,
    socket_places: SmallVec<[usize; FEW]>,
    /// Epoll descriptors that can have accelerated members, by their record.
    epolls: SmallVec<[(usize, u32); 4]>,
    /// The kernel's side, in the caller's order; negative where it has none.
    kernel: SmallVec<[PollEntry; FEW]>,
    has_kernel: bool,
}

impl Process {
    /// Whether any of these descriptors is ours.
    pub fn any_ours(&self, fds: &[PollEntry]) -> bool {
        self.is_active()
            && fds
                .iter()
                .any(|p| self.is_socket(p.fd) || self.accelerated_epoll(p.fd).is_some())
    }

    /// poll(2), ppoll(2): waits until `deadline` for any entry, fills in `revents`. None: all of it is the kernel's.
    pub fn poll(
        &self,
        fds: &mut [PollEntry],
        timeout: Option<Nanos>,
        mask: SleepMask<'_>,
    ) -> Option<Result<usize, Errno>> {
        let shared = self.attached()?;
        let mut watched = self.take_apart(fds);
        if watched.sockets.is_empty() && watched.epolls.is_empty() {
            return None;
        }
        let started = self.now();
        let first = self.with_stack(shared, |stack| {
            stack.poll(started);
            watched.find_kernel_sides(stack);
            self.look(stack, &watched, fds)
        });
        let Ok(count) = first else {
            return self.poll_lost(fds, &watched);
        };
        self.keep_agent(shared, started);
        let zero = timeout == Some(Nanos::ZERO);
        if zero || count > 0 {
            self.stayed_awake();
        }
        let glance = (zero || count > 0) && self.glance_due(watched.key(), started);
        let mut of_kernel = 0;
        if watched.has_kernel && glance {
            of_kernel = self.add_kernel_side(fds, &mut watched);
        }
        if count == 0 && of_kernel == 0 && !zero {
            let deadline = timeout.map_or(Nanos::NEVER, |t| started + t);
            match self.await_any(shared, fds, &watched, deadline, mask) {
                Woken::Got(()) | Woken::Kernel | Woken::TimedOut => {}
                Woken::Interrupted => return Some(Err(Errno::INTR)),
                Woken::Retired => return self.poll_lost(fds, &watched),
            }
            if watched.has_kernel {
                self.add_kernel_side(fds, &mut watched);
            }
        }
        Some(Ok(fds.iter().filter(|p| p.revents != 0).count()))
    }

    /// The stack was given up: by now all descriptors are the kernel's, as a rule.
    #[cold]
    fn poll_lost(&self, fds: &mut [PollEntry], watched: &Watched) -> Option<Result<usize, Errno>> {
        self.attached()?;
        Some(Ok(fail_all(fds, watched)))
    }

    fn await_any(
        &self,
        shared: &Shared,
        fds: &mut [PollEntry],
        watched: &Watched,
        deadline: Nanos,
        mask: SleepMask<'_>,
    ) -> Woken<()> {
        let sets = |f: &mut dyn FnMut(SetRef)| {
            for (_, index) in &watched.epolls {
                self.each_set(*index, f);
            }
        };
        let waiting = Waiting {
            target: Target::Many(&watched.sockets, &sets),
            kernel: if watched.has_kernel {
                KernelSide::Polled(&watched.kernel)
            } else {
                KernelSide::None
            },
            deadline,
            mask,
            restarts: false,
        };
        self.wait(shared, &waiting, |stack, _| {
            (self.look(stack, watched, fds) > 0).then_some(())
        })
    }

    /// Takes the caller's list apart. The kernel's sides of accelerated sockets are to be found under the lock.
    fn take_apart(&self, fds: &[PollEntry]) -> Watched {
        let mut watched = Watched::default();
        for (place, p) in fds.iter().enumerate() {
            let mut kernel = PollEntry { revents: 0, ..*p };
            if let Some((_, r)) = self.socket_of(p.fd) {
                let wanted = Ready::from_bits_retain(u32::from(p.events.cast_unsigned()));
                watched.sockets.push((r, wanted | Ready::ALWAYS));
                watched.socket_places.push(place);
                // Negative, so not looked at there, unless it turns out that it has a kernel's side.
                kernel.fd = !p.fd;
            } else if let Some(index) = self.accelerated_epoll(p.fd) {
                watched.epolls.push((place, index));
            }
            watched.has_kernel |= kernel.fd >= 0;
            watched.kernel.push(kernel);
        }
        watched
    }

    /// Fills in what each accelerated entry is ready for; how many are for anything.
    fn look(&self, stack: &mut Stack<'static>, watched: &Watched, fds: &mut [PollEntry]) -> usize {
        let mut count = 0;
        for p in &mut *fds {
            p.revents = 0;
        }
        for ((r, events), place) in watched.sockets.iter().zip(&watched.socket_places) {
            let ready = stack.ready(*r).unwrap_or(Ready::ALWAYS) & *events;
            fds[*place].revents = poll_bits(ready);
            count += usize::from(!ready.is_empty());
        }
        for (place, index) in &watched.epolls {
            let readable = libc::POLLIN | libc::POLLRDNORM;
            if self.looks_readable(stack, *index).0 && fds[*place].events & readable != 0 {
                fds[*place].revents = fds[*place].events & readable;
                count += 1;
            }
        }
        count
    }

    /// Adds what the kernel's side has; how many entries it has something for.
    fn add_kernel_side(&self, fds: &mut [PollEntry], watched: &mut Watched) -> usize {
        let count = poll_now(&mut watched.kernel).unwrap_or(0);
        if count > 0 {
            for (p, kernel) in fds.iter_mut().zip(&watched.kernel) {
                p.revents |= kernel.revents;
            }
            self.kernel_side_ready();
        }
        count
    }
}

impl Watched {
    /// Sockets that the kernel serves too are looked at there as well: for what they may receive.
    fn find_kernel_sides(&mut self, stack: &mut Stack<'static>) {
        for ((r, _), place) in self.sockets.iter().zip(&self.socket_places) {
            let kernel = &mut self.kernel[*place];
            kernel.events &= libc::POLLIN | libc::POLLRDNORM;
            if kernel.events != 0 && stack.served(*r).is_some() {
                kernel.fd = !kernel.fd;
                self.has_kernel = true;
            }
        }
    }

    /// What the memory of the last look at the kernel's side goes by.
    fn key(&self) -> i32 {
        self.kernel.iter().find(|p| p.fd >= 0).map_or(0, |p| p.fd)
    }
}

fn fail_all(fds: &mut [PollEntry], watched: &Watched) -> usize {
    for place in &watched.socket_places {
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
