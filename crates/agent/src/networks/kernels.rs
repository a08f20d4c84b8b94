//! Connections that the kernel accepted at a port before it was a stack's: while no agent steered, or by a server that
//! was not accelerated. They stay the kernel's, which alone knows them.

use super::Networks;
use super::interface::Interface;
use sidestep_steering::{Connection, Protocol};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's number for a socket that listens.
const LISTEN: &str = "0A";

/// Both ends of a connection.
type Ends = (SocketAddr, SocketAddr);

impl Networks {
    /// Leaves to the kernel what it has of connections at that port.
    pub(super) fn leave_to_kernel(&mut self, port: u16) {
        for ends in connections().filter(|(local, _)| local.port() == port) {
            if !self.kernels.insert(ends) {
                continue;
            }
            for interface in &mut self.interfaces {
                for connection in in_all_vlans(interface, ends) {
                    // Where there is no room, it ends as it would have without.
                    let _ = interface.steering.add_kernels(&connection);
                }
            }
        }
    }

    /// Leaves to the kernel what it is known to have, at an interface that was not there before.
    pub(super) fn leave_to_kernel_at(&mut self, at: usize) {
        let Some(interface) = self.interfaces.get_mut(at) else {
            return;
        };
        for ends in &self.kernels {
            for connection in in_all_vlans(interface, *ends) {
                let _ = interface.steering.add_kernels(&connection);
            }
        }
    }

    /// Forgets those that have ended.
    pub(super) fn check_kernels(&mut self) {
        if self.kernels.is_empty() {
            return;
        }
        let there: BTreeSet<Ends> = connections().collect();
        let over: Vec<Ends> = self.kernels.difference(&there).copied().collect();
        for ends in over {
            self.kernels.remove(&ends);
            for interface in &mut self.interfaces {
                for connection in in_all_vlans(interface, ends) {
                    let _ = interface.steering.remove_connection(&connection);
                }
            }
        }
    }
}

/// A connection in whichever VLAN of the interface it may be.
fn in_all_vlans(interface: &Interface, (local, remote): Ends) -> Vec<Connection> {
    let tags = interface.upon.iter().map(|upon| upon.vlan);
    let tags: BTreeSet<u16> = tags.chain([0]).collect();
    let plain = Connection::new(Protocol::Tcp, local, remote);
    let tagged = |vlan| Connection { vlan, ..plain };
    tags.into_iter().map(tagged).collect()
}

/// All TCP connections of the kernel in this network namespace.
fn connections() -> impl Iterator<Item = Ends> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let texts = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let found: Vec<Ends> = texts
        .iter()
        .flat_map(|t| t.lines())
        .filter_map(parse)
        .collect();
    found.into_iter()
}

/// A line of such a table: number, both ends, state.
fn parse(line: &str) -> Option<Ends> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(words.next()?)?, end(words.next()?)?);
    (words.next()? != LISTEN && remote.port() != 0).then_some((local, remote))
}

/// An address in words of the machine's order, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let mut bytes = [0; 16];
        bytes.copy_from_slice(words.as_flattened());
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// The kernel's tables have the connection, seen from both ends, and not who listens.
    #[test]
    fn the_kernels_connections_are_found() {
        for here in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let listener = TcpListener::bind(here).unwrap();
            let server = listener.local_addr().unwrap();
            let stream = TcpStream::connect(server).unwrap();
            let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
            let (client, server) = (canonical(stream.local_addr().unwrap()), canonical(server));
            let found: Vec<Ends> = connections().collect();
            assert!(found.contains(&(server, client)), "{found:?}");
            assert!(found.contains(&(client, server)), "{found:?}");
            let listening = found.iter().filter(|(local, _)| *local == server);
            assert_eq!(listening.count(), 1);
        }
    }
}
