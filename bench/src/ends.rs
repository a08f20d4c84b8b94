//! The two ends of a measurement: where each runs and under what, and the proof that what was to be accelerated was.

use crate::clock::Deadline;
use crate::lab::{Lab, Listening, Sidestep};
use crate::model::{Contender, Problem};
use crate::network::Wiring;
use crate::process::{Finished, Program};
use crate::traffic::{KernelPackets, Traffic};
use sidestep_tests::netns::Netns;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a server has until it listens.
const SOON: Duration = Duration::from_secs(5);
/// How long after the start of a client the counters are looked at while it runs; within its warm-up.
const SETTLED: Duration = Duration::from_millis(150);
/// Of so many packets that the work takes, the kernel may have one: neighbours and closed ports are its.
const KERNEL_SHARE: u64 = 50;
/// What a segment carries at least, where a stream is one of full segments.
const SEGMENT_BYTES: u64 = 1448;

/// Where a case takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Both ends on this host, by 127.0.0.1.
    Host,
    /// Each end in a network namespace of its own, with a cable between them.
    Network,
}

/// One end.
#[derive(Debug)]
pub(crate) struct End<'a> {
    lab: &'a Lab,
    cpu: usize,
    netns: Option<&'a Netns>,
    sidestep: Option<&'a Sidestep>,
}

/// Both.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    /// That of the server.
    pub(crate) server: End<'a>,
    /// That of the client.
    pub(crate) client: End<'a>,
    /// The server's address.
    pub(crate) address: Ipv4Addr,
}

/// What moved while a client ran, at each accelerated end.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    ends: Vec<(Traffic, Option<u64>)>,
}

impl<'a> Ends<'a> {
    /// The ends of a contender.
    pub(crate) fn new(lab: &'a Lab, place: Place, who: Contender) -> Result<Self, Problem> {
        let end = |cpu, netns, sidestep| End {
            lab,
            cpu,
            netns,
            sidestep,
        };
        let cpus = lab.cpus;
        if place == Place::Host {
            let sidestep = match who {
                Contender::Sidestep => Some(lab.sidestep()?),
                _ => None,
            };
            return Ok(Self {
                server: end(cpus.server, None, sidestep),
                client: end(cpus.client, None, sidestep),
                address: Ipv4Addr::LOCALHOST,
            });
        }
        let network = lab.network(Wiring::of(who))?;
        let [server, client] = [&network.server, &network.client].map(Option::as_ref);
        Ok(Self {
            server: end(cpus.server, Some(&network.cable.near), server),
            client: end(cpus.client, Some(&network.cable.far), client),
            address: network.address,
        })
    }

    /// A port that is free at the server's end for TCP and UDP at the moment.
    pub(crate) fn free_port(&self) -> io::Result<u16> {
        let address = self.address;
        self.server.inside(|| free_port(address))
    }

    /// Starts a server on its processor and waits until it listens.
    pub(crate) fn serve(
        &self,
        name: &str,
        command: Command,
        on: Listening,
    ) -> Result<Program, Problem> {
        let program = self.server.start(name, command)?;
        let deadline = Deadline::after(SOON);
        while !self.server.inside(|| on.taken()) {
            if program.ends_within(Duration::from_millis(5))? {
                return Err(Problem::Failed(format!(
                    "{name} ended: {}",
                    program.words()
                )));
            }
            if deadline.passed() {
                return Err(Problem::Failed(format!(
                    "{name} does not listen: {}",
                    program.words()
                )));
            }
        }
        Ok(program)
    }

    /// Runs a client on its processor to its end, and tells what moved through the accelerated paths meanwhile.
    pub(crate) fn run(
        &self,
        name: &str,
        command: Command,
        span: Duration,
    ) -> Result<(Finished, Proof), Problem> {
        let accelerated = self.accelerated();
        let looks = |ends: &[&End<'_>]| -> Result<Vec<_>, Problem> {
            ends.iter().map(|end| end.look()).collect()
        };
        let before = looks(&accelerated)?;
        let program = self.client.start(name, command)?;
        let during = if accelerated.is_empty() {
            Vec::new()
        } else {
            program.ends_within(SETTLED)?;
            looks(&accelerated)?
        };
        let finished = program.finish(span)?.success(name)?;
        // The server still lives, and with it the counters of its end; the client's are as they were last seen.
        let after = looks(&accelerated)?;
        let ends = before.into_iter().zip(during).zip(after);
        let ends = ends.map(|(((before, kernel), (during, _)), (after, kernel_after))| {
            let moved = during.or_later(after).since(&before);
            let kernel = kernel_after.zip(kernel).map(|(now, then)| now.since(then));
            (moved, kernel)
        });
        let ends = ends.collect();
        Ok((finished, Proof { ends }))
    }

    /// The accelerated ends that have an agent of their own.
    fn accelerated(&self) -> Vec<&End<'_>> {
        let mut ends: Vec<_> = [&self.server, &self.client]
            .into_iter()
            .filter(|end| end.sidestep.is_some())
            .collect();
        if self.server.netns.is_none() {
            ends.truncate(1);
        }
        ends
    }
}

impl End<'_> {
    /// A command that runs `program` as this end does.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(sidestep) = self.sidestep else {
            return Command::new(program);
        };
        let mut command = sidestep.command("run");
        command.arg("--").arg(program);
        command
    }

    /// One of this program's own loads, as this end runs it.
    pub(crate) fn load(&self, name: &str, args: &[&str]) -> Command {
        let mut command = self.command(&self.lab.exe);
        command.args(["load", name]).args(args);
        command
    }

    /// Starts a program here, on this end's processor.
    pub(crate) fn start(&self, name: &str, command: Command) -> Result<Program, Problem> {
        let cpu = self.cpu;
        self.inside(|| Program::start(name, command, Some(cpu)))
    }

    /// What all stacks of this end's agent have moved so far; nothing where there is none.
    pub(crate) fn traffic(&self) -> Result<Traffic, Problem> {
        self.sidestep
            .map_or_else(|| Ok(Traffic::default()), Sidestep::traffic)
    }

    /// Both sides' counters: what the stacks moved, and in a namespace of our own what the kernel did.
    fn look(&self) -> Result<(Traffic, Option<KernelPackets>), Problem> {
        let kernel = match self.netns {
            Some(netns) => Some(netns.inside(KernelPackets::now)?),
            None => None,
        };
        Ok((self.traffic()?, kernel))
    }

    fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        match self.netns {
            Some(netns) => netns.inside(f),
            None => f(),
        }
    }
}

impl Proof {
    /// That some one stack of the server's end moved at least so many frames and bytes of TCP, and the kernel of each
    /// accelerated end next to nothing, or the problem that it was not so: work that was to be accelerated but went through the kernel is no
    /// figure. Where nothing was to be accelerated, there is nothing to prove.
    pub(crate) fn at_least(&self, frames: u64, tcp_bytes: u64) -> Result<(), Problem> {
        for (at, (moved, by_kernel)) in self.ends.iter().enumerate() {
            // The first end outlives the client. A client's own stack may never have been seen; that its packets went
            // no other way shows in the kernel's counters.
            if at == 0 || by_kernel.is_none() {
                moved.at_least(frames, tcp_bytes)?;
            }
            let work = frames.max(tcp_bytes / SEGMENT_BYTES);
            if let Some(packets) = *by_kernel
                && packets > work / KERNEL_SHARE
            {
                return Err(Problem::Invalid(format!(
                    "the kernel of an accelerated end moved {packets} packets, of {work} that the work takes"
                )));
            }
        }
        Ok(())
    }
}

/// A port that is free for TCP and UDP at the moment.
fn free_port(address: Ipv4Addr) -> io::Result<u16> {
    loop {
        let listener = TcpListener::bind((address, 0))?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests;
