//! Programs that ask and answer: one call on many connections, many on one, or both directions filled at once.

use crate::host::{Conn, Host};
use crate::lab::Program;
use anyhow::{Context as _, ensure};
use sidestep_shm::Nanos;
use std::io::ErrorKind;
use std::sync::OnceLock;

/// Bytes that go in or out by one call.
pub(crate) const TURN_BYTES: usize = 64 << 10;
/// A stream repeats itself after so many bytes; a prime, so that no buffer or segment size divides it.
const PERIOD: usize = 65_521;

/// What is sent from byte `at` of a stream on, at most [`TURN_BYTES`] of it.
pub(crate) fn pattern(at: usize, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| rng.u8(..)).collect();
        for _ in 0..2 {
            bytes.extend_from_within(..PERIOD);
        }
        bytes
    });
    &bytes[at % PERIOD..][..len.min(TURN_BYTES)]
}

/// What clients ask of a server.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Connections in all, and how many of them at a time.
    pub connections: usize,
    /// See `connections`.
    pub at_a_time: usize,
    /// Time from the opening of one to that of the next at least.
    pub every: Nanos,
    /// Calls on each connection.
    pub rounds: usize,
    /// Bytes of a question.
    pub ask_bytes: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Nobody waits for the other: both directions are filled at once.
    pub at_once: bool,
}

/// One end of a connection.
struct End {
    conn: Conn,
    /// Which of its side it is.
    number: usize,
    began: Nanos,
    sent: usize,
    got: usize,
    finished: bool,
    eof: bool,
}

impl End {
    fn new(conn: Conn, number: usize, began: Nanos) -> Self {
        Self {
            conn,
            number,
            began,
            sent: 0,
            got: 0,
            finished: false,
            eof: false,
        }
    }

    /// Sends up to byte `due`, and ends the stream if that is at `end`.
    fn send(
        &mut self,
        host: &mut dyn Host,
        now: Nanos,
        (due, end): (usize, usize),
    ) -> anyhow::Result<()> {
        while self.sent < due {
            match host.send(now, self.conn, pattern(self.sent, due - self.sent)) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("sending"),
            }
        }
        if self.sent == end && !self.finished {
            host.finish(now, self.conn).context("ending")?;
            self.finished = true;
        }
        Ok(())
    }

    fn read(&mut self, host: &mut dyn Host, now: Nanos, buffer: &mut [u8]) -> anyhow::Result<()> {
        while !self.eof {
            match host.recv(now, self.conn, buffer) {
                Ok(0) => self.eof = true,
                Ok(got) => {
                    ensure!(
                        buffer[..got] == *pattern(self.got, got),
                        "not what was sent, from byte {} on",
                        self.got
                    );
                    self.got += got;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("receiving"),
            }
        }
        Ok(())
    }
}

/// Clients on one host, and their server on another.
pub(crate) struct Service {
    calls: Calls,
    client: usize,
    server: usize,
    opened: usize,
    open_at: Nanos,
    asking: Vec<End>,
    serving: Vec<End>,
    served: usize,
    /// How long each connection took from the first SYN to the last byte, in the order in which they were opened;
    /// [`Nanos::NEVER`] until it has.
    pub(crate) took: Vec<Nanos>,
    done: usize,
    buffer: Vec<u8>,
}

impl Service {
    /// Between two hosts, by their indices; the server's listens already.
    pub(crate) fn new(calls: Calls, client: usize, server: usize) -> Self {
        Self {
            calls,
            client,
            server,
            opened: 0,
            open_at: Nanos::ZERO,
            asking: Vec::new(),
            serving: Vec::new(),
            served: 0,
            took: vec![Nanos::NEVER; calls.connections],
            done: 0,
            buffer: vec![0; TURN_BYTES],
        }
    }

    fn ask(&mut self, host: &mut dyn Host, now: Nanos) -> anyhow::Result<()> {
        let calls = self.calls;
        while self.opened < calls.connections
            && self.asking.len() < calls.at_a_time
            && now >= self.open_at
        {
            let conn = host.connect(now, u8::try_from(self.server + 1)?)?;
            self.asking.push(End::new(conn, self.opened, now));
            self.opened += 1;
            self.open_at = now + calls.every;
        }
        let (questions, answers) = (
            calls.ask_bytes * calls.rounds,
            calls.answer_bytes * calls.rounds,
        );
        let (buffer, took, done) = (&mut self.buffer, &mut self.took, &mut self.done);
        let mut failed = None;
        self.asking.retain_mut(|end| {
            let mut work = || -> anyhow::Result<bool> {
                let had = end.got;
                end.read(host, now, buffer)?;
                let asked = calls.ask_bytes * (end.got / calls.answer_bytes + 1);
                let due = if calls.at_once {
                    questions
                } else {
                    asked.min(questions)
                };
                end.send(host, now, (due, questions))?;
                if end.got == answers && had < answers {
                    took[end.number] = now - end.began;
                    *done += 1;
                }
                ensure!(!end.eof || end.got == answers, "an answer is cut off");
                let over = end.eof && end.finished;
                if over {
                    host.close(now, end.conn);
                }
                Ok(!over)
            };
            work().unwrap_or_else(|error| {
                failed = Some(error.context("a client"));
                false
            })
        });
        failed.map_or(Ok(()), Err)
    }

    fn serve(&mut self, host: &mut dyn Host, now: Nanos) -> anyhow::Result<()> {
        let calls = self.calls;
        while let Some(conn) = host.accept() {
            self.serving.push(End::new(conn, 0, now));
        }
        let answers = calls.answer_bytes * calls.rounds;
        let (buffer, served) = (&mut self.buffer, &mut self.served);
        let mut failed = None;
        self.serving.retain_mut(|end| {
            let mut work = || -> anyhow::Result<bool> {
                end.read(host, now, buffer)?;
                let asked = calls.answer_bytes * (end.got / calls.ask_bytes);
                let due = if calls.at_once { answers } else { asked };
                end.send(host, now, (due, answers))?;
                let over = end.eof && end.finished;
                if over {
                    host.close(now, end.conn);
                    *served += 1;
                }
                Ok(!over)
            };
            work().unwrap_or_else(|error| {
                failed = Some(error.context("the server"));
                false
            })
        });
        failed.map_or(Ok(()), Err)
    }
}

impl Program for Service {
    fn act(&mut self, hosts: &mut [Box<dyn Host>], now: Nanos) -> anyhow::Result<()> {
        self.ask(&mut *hosts[self.client], now)?;
        self.serve(&mut *hosts[self.server], now)
    }

    fn is_over(&self) -> bool {
        self.served == self.calls.connections && self.done == self.calls.connections
    }
}
