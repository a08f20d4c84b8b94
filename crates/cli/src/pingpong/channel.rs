//! The socket that pings travel on, and the ways to wait for one.

use super::Mode;
use super::session::Session;
use super::sockets::{self, Epoll};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

/// How long a wait lasts before its caller is asked whether to go on.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How many empty tries of a spinning end come between two such questions.
const EMPTY_TRIES: u32 = 1 << 16;

/// What came of waiting for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// It is in the buffer.
    Message,
    /// The other end closed.
    End,
    /// The caller lost patience.
    Nothing,
}

#[derive(Debug)]
enum Link {
    Tcp(TcpStream),
    Udp(UdpSocket),
    /// Not connected; answers go to where the last datagram came from.
    UdpTo(UdpSocket, SocketAddr),
}

#[derive(Debug)]
enum Wait {
    Recv,
    Poll,
    Select,
    Epoll(Epoll),
}

/// One end of the ping-pong.
#[derive(Debug)]
pub(super) struct Channel {
    link: Link,
    wait: Wait,
    spin: bool,
    blocking: bool,
}

impl Channel {
    /// Pings on a TCP connection.
    pub(super) fn tcp(stream: TcpStream, session: &Session) -> io::Result<Self> {
        stream.set_nodelay(session.nodelay)?;
        stream.set_nonblocking(session.mode != Mode::Blocking)?;
        Self::new(Link::Tcp(stream), session)
    }

    /// Pings on a UDP socket, to and from `peer`.
    pub(super) fn udp(socket: UdpSocket, peer: SocketAddr, session: &Session) -> io::Result<Self> {
        socket.set_nonblocking(session.mode != Mode::Blocking)?;
        // A lost datagram must not hang a blocking end.
        socket.set_read_timeout(Some(PATIENCE))?;
        if session.connected {
            socket.connect(peer)?;
            return Self::new(Link::Udp(socket), session);
        }
        Self::new(Link::UdpTo(socket, peer), session)
    }

    fn new(link: Link, session: &Session) -> io::Result<Self> {
        let fd = match &link {
            Link::Tcp(stream) => stream.as_fd(),
            Link::Udp(socket) | Link::UdpTo(socket, _) => socket.as_fd(),
        };
        let wait = match session.mode {
            Mode::Blocking | Mode::Spin => Wait::Recv,
            Mode::Poll => Wait::Poll,
            Mode::Select => Wait::Select,
            Mode::Epoll => Wait::Epoll(Epoll::watch(fd)?),
        };
        let blocking = session.mode == Mode::Blocking;
        Ok(Self {
            link,
            wait,
            spin: session.spin,
            blocking,
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.link {
            Link::Tcp(stream) => stream.as_fd(),
            Link::Udp(socket) | Link::UdpTo(socket, _) => socket.as_fd(),
        }
    }

    /// Sends one message.
    #[inline]
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < message.len() {
            let rest = &message[sent..];
            let result = match &mut self.link {
                Link::Tcp(stream) => stream.write(rest),
                Link::Udp(socket) => socket.send(rest),
                Link::UdpTo(socket, peer) => socket.send_to(rest, *peer),
            };
            match result {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.await_room()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cold]
    fn await_room(&self) -> io::Result<()> {
        if !self.spin {
            sockets::poll_writable(self.fd(), PATIENCE)?;
        }
        Ok(())
    }

    /// Receives one message of exactly `message.len()` bytes. About once in [`PATIENCE`] of waiting it asks
    /// `give_up`.
    #[inline]
    pub(super) fn receive(
        &mut self,
        message: &mut [u8],
        mut give_up: impl FnMut() -> bool,
    ) -> io::Result<Received> {
        let mut received = 0;
        let mut empty_tries = 0;
        while received < message.len() {
            if !self.await_bytes()? {
                empty_tries += 1;
                if (!self.spin || empty_tries % EMPTY_TRIES == 0) && give_up() {
                    return Ok(Received::Nothing);
                }
                continue;
            }
            match self.receive_some(&mut message[received..]) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => received += count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    empty_tries += 1;
                    if (self.blocking || empty_tries % EMPTY_TRIES == 0) && give_up() {
                        return Ok(Received::Nothing);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Received::Message)
    }

    /// Whether a receive is worth trying.
    #[inline]
    fn await_bytes(&self) -> io::Result<bool> {
        let timeout = if self.spin { Duration::ZERO } else { PATIENCE };
        match &self.wait {
            Wait::Recv => Ok(true),
            Wait::Poll => sockets::poll_readable(self.fd(), timeout),
            Wait::Select => sockets::select_readable(self.fd(), timeout),
            Wait::Epoll(epoll) => epoll.readable(timeout),
        }
    }

    #[inline]
    fn receive_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let expected = into.len();
        let count = match &mut self.link {
            Link::Tcp(stream) => return stream.read(into),
            Link::Udp(socket) => socket.recv(into)?,
            Link::UdpTo(socket, peer) => {
                let (count, from) = socket.recv_from(into)?;
                *peer = from;
                count
            }
        };
        // A datagram of another size is a straggler of an earlier phase.
        if count == expected {
            Ok(count)
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }
}
