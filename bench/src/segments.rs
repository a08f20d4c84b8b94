//! What callgrind counts the work on one segment in: the next bytes of a connection come, and their acknowledgement leaves.
//!
//! A frame is put on the wire, the stack is polled, the acknowledgement is looked at, the bytes are read. Only the poll is
//! counted, by the name of [`work_in`].

use crate::far::{Far, ends, failed, frame, segment};
use crate::model::Problem;
use clap::Args;
use sidestep_shm::{Nanos, Owner};
use sidestep_stack::{Config, SharedStack, SocketFlags, SocketRef, Stack};
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};

/// Bytes that a segment carries.
pub(crate) const TEXT_BYTES: usize = 32;
/// The function to count in.
pub(crate) const COUNTED: &str = "*segments*work_in*";
const TEXT: [u8; TEXT_BYTES] = [7; TEXT_BYTES];
const TEXT_LEN: u32 = 32;
/// From one segment to the next.
const STEP: Nanos = Nanos(10_000);

/// How many segments, of how many connections.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Segments {
    /// Connections, of which each segment is for a random one.
    #[arg(long)]
    pub(crate) connections: usize,
    /// Segments.
    #[arg(long)]
    pub(crate) count: u64,
    /// Segments that wait when the stack looks, each for another connection.
    #[arg(long, default_value_t = 1)]
    pub(crate) burst: usize,
    /// Over a network, whose checksums are verified and computed.
    #[arg(long)]
    pub(crate) network: bool,
}

/// A connection as its peer sees it.
#[derive(Clone, Copy)]
struct Peer {
    socket: SocketRef,
    seq: Seq,
    ack: Seq,
    /// The stack's newest timestamp.
    echo: u32,
}

/// A stack with connections, and the far end of its wire.
struct Bench {
    stack: SharedStack,
    owner: Owner,
    far: Far,
    now: Nanos,
    peers: Vec<Peer>,
}

/// Runs to the end; every segment was taken and acknowledged then.
pub(crate) fn run(args: &Segments) -> Result<(), Problem> {
    let mut bench = Bench::new(args)?;
    bench.open(args.connections)?;
    // Not counted: from the second acknowledgement on a connection knows its headers.
    for first in 0..args.connections {
        bench.exchange(first, 1, Stack::poll)?;
    }
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..args.count / args.burst as u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let first = usize::try_from(random % args.connections as u64).unwrap_or(0);
        bench.exchange(first, args.burst, work_in)?;
    }
    Ok(())
}

/// What is counted.
#[inline(never)]
fn work_in(stack: &mut Stack<'static>, now: Nanos) -> usize {
    stack.poll(now)
}

impl Bench {
    fn new(args: &Segments) -> Result<Self, Problem> {
        let config = Config {
            sockets_max: args.connections + 16,
            chunks_max: 64,
            secret: 0x5eed,
            checksums: args.network,
            ..Config::default()
        };
        let stack = sidestep_stack::create_private(&config)?;
        let owner = Owner {
            slot: 0,
            pid: std::process::id(),
        };
        let (far, _) = Far::join(&stack, owner, 1, args.network)?;
        Ok(Self {
            stack,
            owner,
            far,
            now: Nanos::from_secs(1),
            peers: Vec::with_capacity(args.connections),
        })
    }

    /// Makes connections, as their peers do.
    fn open(&mut self, connections: usize) -> Result<(), Problem> {
        let (local, _) = ends(0);
        let mut guard = self.stack.lock(self.owner).map_err(|e| failed(&e))?;
        let slot = guard.take_slot(self.owner.pid).map_err(|e| failed(&e))?;
        let listener = guard
            .new_stream(SocketFlags::NONBLOCK, slot)
            .map_err(|e| failed(&e))?;
        guard.bind(listener, local).map_err(|e| failed(&e))?;
        guard.listen(listener, 16).map_err(|e| failed(&e))?;
        for flow in 0..connections {
            self.now = self.now + STEP;
            let syn = Repr {
                seq: Seq(1000),
                flags: Flags::SYN,
                window: 0xffff,
                options: Options {
                    mss: Some(1460),
                    window_scale: Some(7),
                    sack_permitted: true,
                    timestamps: Some(self.timestamps(0)),
                    ..Options::default()
                },
                ..Repr::default()
            };
            self.far.put(&frame(ends(flow), syn, &[]))?;
            self.far.flush();
            guard.poll(self.now);
            let answer = take_one(&mut self.far)?;
            let mut peer = Peer {
                socket: listener,
                seq: Seq(1001),
                ack: answer.seq + 1,
                echo: answer.options.timestamps.unwrap_or_default().value,
            };
            let ack = peer.header(self.now, Flags::ACK);
            self.far.put(&frame(ends(flow), ack, &[]))?;
            self.far.flush();
            guard.poll(self.now);
            let accepted = guard.accept(listener, slot).map_err(|e| failed(&e))?;
            // Each segment by itself is what is to be counted.
            let tcb = guard.tcb(accepted.socket).map_err(|e| failed(&e))?;
            tcb.set_quickack(true);
            peer.socket = accepted.socket;
            self.peers.push(peer);
        }
        Ok(())
    }

    fn timestamps(&self, echo: u32) -> Timestamps {
        timestamps(self.now, echo)
    }

    /// Segments for so many connections in, their acknowledgements out in one `poll`, their bytes read.
    fn exchange(
        &mut self,
        first: usize,
        burst: usize,
        poll: fn(&mut Stack<'static>, Nanos) -> usize,
    ) -> Result<(), Problem> {
        self.now = self.now + STEP;
        let connections = self.peers.len();
        let flows = (first..first + burst).map(|flow| flow % connections);
        for flow in flows.clone() {
            let arrives = self.peers[flow].header(self.now, Flags::ACK | Flags::PSH);
            self.far.put(&frame(ends(flow), arrives, &TEXT))?;
        }
        self.far.flush();
        let mut guard = self.stack.lock(self.owner).map_err(|e| failed(&e))?;
        poll(&mut guard, self.now);
        let mut answers = Vec::with_capacity(burst);
        self.far.take(|frame| answers.push(segment(frame)));
        for flow in flows.clone() {
            let peer = &mut self.peers[flow];
            peer.seq += TEXT_LEN;
            let port = ends(flow).1.port;
            let acknowledges = |(ack, text): &(Repr, usize)| {
                ack.dst_port == port && ack.ack == peer.seq && ack.flags == Flags::ACK && *text == 0
            };
            let found = answers.iter().flatten().find(|answer| acknowledges(answer));
            let Some((ack, _)) = found else {
                return Err(Problem::Invalid(format!("no acknowledgement: {answers:?}")));
            };
            peer.echo = ack.options.timestamps.unwrap_or_default().value;
            let mut bytes = [0; TEXT_BYTES];
            let into = &mut [(&mut bytes[..]).into()];
            let read = guard.recv(self.now, peer.socket, into, false);
            if read != Ok(TEXT_BYTES) || bytes != TEXT {
                return Err(Problem::Invalid(format!("read {read:?}")));
            }
        }
        if answers.len() != burst || self.far.take(|_| {}) != 0 {
            return Err(Problem::Invalid("there was more to say".into()));
        }
        Ok(())
    }
}

impl Peer {
    fn header(&self, now: Nanos, flags: Flags) -> Repr {
        Repr {
            seq: self.seq,
            ack: self.ack,
            flags,
            window: 0xffff,
            options: Options {
                timestamps: Some(timestamps(now, self.echo)),
                ..Options::default()
            },
            ..Repr::default()
        }
    }
}

fn timestamps(now: Nanos, echo: u32) -> Timestamps {
    Timestamps {
        value: u32::try_from(now.as_millis()).unwrap_or(0),
        echo,
    }
}

/// The only segment that the stack has sent.
fn take_one(far: &mut Far) -> Result<Repr, Problem> {
    let mut got = None;
    let frames = far.take(|frame| got = segment(frame).ok());
    match got {
        Some((repr, 0)) if frames == 1 => Ok(repr),
        _ => Err(Problem::Invalid(format!("{frames} frames came: {got:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_is_taken_and_acknowledged() {
        for (connections, network, burst) in [(1, false, 1), (20, false, 8), (20, true, 8)] {
            run(&Segments {
                connections,
                count: 200,
                burst,
                network,
            })
            .unwrap();
        }
    }

    #[test]
    fn a_poll_without_a_frame_is_not_an_answer() {
        let args = Segments {
            connections: 1,
            count: 1,
            burst: 1,
            network: false,
        };
        let mut bench = Bench::new(&args).unwrap();
        bench.open(1).unwrap();
        assert_eq!(
            work_in(&mut bench.stack.lock(bench.owner).unwrap(), bench.now),
            0
        );
        assert!(take_one(&mut bench.far).is_err());
    }
}
