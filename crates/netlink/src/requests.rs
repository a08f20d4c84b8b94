//! Questions to the kernel, and its answers, on a socket of their own.

use crate::error::Error;
use crate::socket::{Received, Socket};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;

/// The kernel answers before the request's system call returns; this is for a kernel that does not.
const ANSWER_WITHIN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How often a dump is asked for again because the kernel's tables changed under it.
const DUMPS_MAX: u32 = 8;

/// All entries of one kind.
pub(crate) struct Dump {
    pub(crate) entries: Vec<RouteNetlinkMessage>,
    /// Entries that could not be understood.
    pub(crate) unreadable: u64,
    /// The tables changed during every attempt: entries may be missing.
    pub(crate) interrupted: bool,
}

/// A socket for questions.
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::open(&[])?,
            sequence: 0,
        })
    }

    /// Makes one request; returns what the kernel says to it, if it says more than that it is done.
    pub(crate) fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        self.send(question, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut answer = None;
        loop {
            self.wait()?;
            for message in self.socket.messages() {
                if message.sequence_number() != self.sequence {
                    continue;
                }
                match read(&message).ok_or(Error::NotUnderstood)? {
                    NetlinkPayload::InnerMessage(said) => answer = Some(said),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(Error::Refused(error.to_io()));
                    }
                    NetlinkPayload::Error(_) => return Ok(answer),
                    _ => return Err(Error::NotUnderstood),
                }
            }
        }
    }

    /// Asks for all entries of a kind, again if they change meanwhile.
    pub(crate) fn dump(&mut self, question: &RouteNetlinkMessage) -> Result<Dump, Error> {
        let mut dump = self.dump_once(question.clone())?;
        for _ in 1..DUMPS_MAX {
            if !dump.interrupted {
                break;
            }
            dump = self.dump_once(question.clone())?;
        }
        Ok(dump)
    }

    fn dump_once(&mut self, question: RouteNetlinkMessage) -> Result<Dump, Error> {
        self.send(question, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut dump = Dump {
            entries: Vec::new(),
            unreadable: 0,
            interrupted: false,
        };
        loop {
            self.wait()?;
            for message in self.socket.messages() {
                if message.sequence_number() != self.sequence {
                    continue;
                }
                dump.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match read(&message) {
                    None => dump.unreadable += 1,
                    Some(NetlinkPayload::InnerMessage(entry)) => dump.entries.push(entry),
                    Some(NetlinkPayload::Done(done)) if done.code < 0 => {
                        return Err(Error::Refused(io::Error::from_raw_os_error(-done.code)));
                    }
                    Some(NetlinkPayload::Done(_)) => return Ok(dump),
                    Some(NetlinkPayload::Error(error)) => {
                        return Err(Error::Refused(error.to_io()));
                    }
                    Some(_) => return Err(Error::NotUnderstood),
                }
            }
        }
    }

    fn send(&mut self, question: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        Ok(self.socket.send(&bytes)?)
    }

    /// Waits for the next datagram.
    fn wait(&mut self) -> Result<(), Error> {
        loop {
            match self.socket.receive()? {
                Received::Datagram => return Ok(()),
                // Part of an answer is lost, so no end of it can be waited for.
                Received::Overrun => return Err(Error::NoAnswer),
                Received::Nothing => {}
            }
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&ANSWER_WITHIN)) {
                Ok(0) => return Err(Error::NoAnswer),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Socket(error.into())),
            }
        }
    }
}

/// What a message says, or nothing if it cannot be understood.
pub(crate) fn read(message: &NetlinkBuffer<&[u8]>) -> Option<NetlinkPayload<RouteNetlinkMessage>> {
    let message = NetlinkMessage::deserialize(message.buffer).ok()?;
    Some(message.payload)
}
