//! A host whose TCP is Linux's: a network namespace, with a TUN device through which its packets go.

use crate::host::{Conn, Host, MTU, PORT};
use crate::sys;
use anyhow::Context as _;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt,
};
use sidestep_shm::Nanos;
use sidestep_tests::netns::Netns;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A network namespace of its own.
pub(crate) struct Kernel {
    netns: Netns,
    tun: OwnedFd,
    listener: Option<OwnedFd>,
    conns: Vec<Option<OwnedFd>>,
}

impl Kernel {
    /// The host with that number.
    pub(crate) fn new(number: u8) -> anyhow::Result<Self> {
        let netns = Netns::new();
        let tun = netns.inside(|| -> io::Result<OwnedFd> {
            use rustix::fs::{Mode, OFlags, open};
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let tun = open("/dev/net/tun", flags, Mode::empty())?;
            sys::attach_tun(&tun, "tun0")?;
            Ok(tun)
        });
        let tun = tun.context("a TUN device: needs root and the kernel's module `tun`")?;
        netns.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        netns.run(&format!("ip addr add 10.77.0.{number}/24 dev tun0"));
        netns.run(&format!("ip link set tun0 mtu {MTU} txqueuelen 20000 up"));
        // Each connection is as the first: nothing is remembered of the path.
        netns.run("sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_ecn=0");
        // Where that is refused, the namespace has what the machine has by default.
        set_cubic(&netns);
        Ok(Self {
            netns,
            tun,
            listener: None,
            conns: Vec::new(),
        })
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        // The thread needs no namespace but for the sockets that it makes.
        self.netns.enter();
        Ok(rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?)
    }

    fn add(&mut self, socket: OwnedFd) -> Conn {
        self.conns.push(Some(socket));
        self.conns.len() - 1
    }

    fn conn(&self, conn: Conn) -> io::Result<&OwnedFd> {
        let socket = self.conns.get(conn).and_then(Option::as_ref);
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Host for Kernel {
    fn listen(&mut self) -> io::Result<()> {
        let socket = self.socket()?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))?;
        rustix::net::listen(&socket, BACKLOG)?;
        self.listener = Some(socket);
        Ok(())
    }

    fn connect(&mut self, _now: Nanos, to: u8) -> io::Result<Conn> {
        let socket = self.socket()?;
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, to), PORT);
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(self.add(socket)),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) -> Option<Conn> {
        let listener = self.listener.as_ref()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::accept_with(listener, flags).ok()?;
        Some(self.add(socket))
    }

    fn send(&mut self, _now: Nanos, conn: Conn, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.conn(conn)?;
        Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
    }

    fn recv(&mut self, _now: Nanos, conn: Conn, bytes: &mut [u8]) -> io::Result<usize> {
        let (got, _) = rustix::net::recv(self.conn(conn)?, bytes, RecvFlags::empty())?;
        Ok(got)
    }

    fn finish(&mut self, _now: Nanos, conn: Conn) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.conn(conn)?, Shutdown::Write)?)
    }

    fn close(&mut self, _now: Nanos, conn: Conn) {
        if let Some(place) = self.conns.get_mut(conn) {
            *place = None;
        }
    }

    fn take(&mut self, _now: Nanos, packet: &mut [u8; MTU]) -> io::Result<usize> {
        match rustix::io::read(&self.tun, packet) {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            read => Ok(read?),
        }
    }

    fn give(&mut self, packet: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.tun, packet)?;
        Ok(())
    }

    fn poll(&mut self, _now: Nanos) {}

    fn next_timer(&self) -> Nanos {
        Nanos::NEVER
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.tun.as_fd())
    }

    fn counters(&self) -> (u64, u64) {
        let said = self.netns.run("cat /proc/net/snmp /proc/net/netstat");
        let of = |name| counter(&said, name).unwrap_or(0);
        (of("RetransSegs"), of("TCPTimeouts"))
    }
}

/// Whether namespaces may use CUBIC, which is what we compare ourselves with.
pub(crate) fn ensure_cubic() -> anyhow::Result<()> {
    anyhow::ensure!(
        set_cubic(&Netns::new()),
        "no CUBIC inside a namespace; outside of it, run: \
         sysctl -w net.ipv4.tcp_allowed_congestion_control=\"reno cubic\""
    );
    Ok(())
}

fn set_cubic(netns: &Netns) -> bool {
    let chosen = netns.try_run("sysctl -qw net.ipv4.tcp_congestion_control=cubic");
    chosen.status.success()
}

/// A counter of the kernel's: names stand in one line, values in the next.
fn counter(said: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = said.lines().collect();
    lines.windows(2).find_map(|pair| {
        let place = pair[0].split(' ').position(|word| word == name)?;
        pair[1].split(' ').nth(place)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let said = "Tcp: A RetransSegs B\nTcp: 1 22 3\nTcpExt: TCPTimeouts\nTcpExt: 4\n";
        assert_eq!(counter(said, "RetransSegs"), Some(22));
        assert_eq!(counter(said, "TCPTimeouts"), Some(4));
        assert_eq!(counter(said, "Other"), None);
    }
}
