//! A program that sends for as long as it lasts, and one that reads.

use crate::calls::{TURN_BYTES, pattern};
use crate::host::{Conn, Host};
use crate::lab::Program;
use anyhow::ensure;
use sidestep_shm::Nanos;
use std::io::ErrorKind;

/// Bytes from one host to another.
pub(crate) struct Stream {
    from: usize,
    to: usize,
    until: Nanos,
    sender: Option<Conn>,
    reader: Option<Conn>,
    sent: usize,
    /// Bytes that the reader has.
    pub(crate) got: usize,
    over: bool,
    buffer: Vec<u8>,
}

impl Stream {
    /// From one host to another, by their indices; the other listens already.
    pub(crate) fn new(from: usize, to: usize, until: Nanos) -> Self {
        Self {
            from,
            to,
            until,
            sender: None,
            reader: None,
            sent: 0,
            got: 0,
            over: false,
            buffer: vec![0; TURN_BYTES],
        }
    }

    /// Sends one piece at a time: with a large buffer to fill, packets would wait for that.
    fn send(&mut self, host: &mut dyn Host, now: Nanos, conn: Conn) -> anyhow::Result<()> {
        match host.send(now, conn, pattern(self.sent, TURN_BYTES)) {
            Ok(sent) => self.sent += sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read(&mut self, host: &mut dyn Host, now: Nanos, conn: Conn) -> anyhow::Result<()> {
        loop {
            match host.recv(now, conn, &mut self.buffer) {
                Ok(got) => {
                    ensure!(got > 0, "the stream ended by itself");
                    ensure!(
                        self.buffer[..got] == *pattern(self.got, got),
                        "not what was sent, from byte {} on",
                        self.got
                    );
                    self.got += got;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Program for Stream {
    fn act(&mut self, hosts: &mut [Box<dyn Host>], now: Nanos) -> anyhow::Result<()> {
        if self.over {
            return Ok(());
        }
        let sender = match self.sender {
            Some(conn) => conn,
            None => hosts[self.from].connect(now, u8::try_from(self.to + 1)?)?,
        };
        self.sender = Some(sender);
        if self.reader.is_none() {
            self.reader = hosts[self.to].accept();
        }
        self.send(&mut *hosts[self.from], now, sender)?;
        if let Some(reader) = self.reader {
            self.read(&mut *hosts[self.to], now, reader)?;
        }
        if now >= self.until {
            hosts[self.from].close(now, sender);
            if let Some(reader) = self.reader {
                hosts[self.to].close(now, reader);
            }
            self.over = true;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
