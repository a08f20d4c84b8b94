//! What the kernel's tables of sockets say of ports: who is bound to them.
//!
//! An agent may serve several users. What the kernel gave one of them is not given to another here either.

use crate::registry::Registry;
use sidestep_control::{Fault, Publication, StackId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";
/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A socket that is bound to a port.
pub(crate) struct Bound {
    pub(crate) inode: u64,
    /// Whose it is.
    pub(crate) user: u32,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// Whether it takes what comes from anybody: it listens, or is for datagrams.
    pub(crate) serves: bool,
}

impl Bound {
    /// Whether it hears what comes to an address or a group, if it or anybody is a member. An IPv6 socket of all addresses
    /// may hear IPv4.
    pub(crate) fn hears(&self, address: IpAddr) -> bool {
        self.address == address
            || self.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (self.address == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && address.is_ipv4())
    }

    /// Whether another user's program that has this endpoint would get what is this socket's.
    fn is_robbed_by(&self, user: u32, address: IpAddr, port: u16) -> bool {
        let robs = address.is_unspecified() || self.hears(address);
        self.serves && self.user != user && self.port == port && robs
    }
}

/// The sockets that are bound, of a protocol, in the namespace of a process: a folder of `/proc`. None where the kernel does
/// not say.
pub(crate) fn sockets(process: &str, protocol: u8) -> Option<Vec<Bound>> {
    let mut found = Vec::new();
    let name = if protocol == UDP { "udp" } else { "tcp" };
    for version in ["", "6"] {
        let text = match std::fs::read_to_string(format!("{process}/net/{name}{version}")) {
            Ok(text) => text,
            // A kernel without IPv6.
            Err(_) if version == "6" => continue,
            Err(_) => return None,
        };
        let lines = text.lines().skip(1);
        found.extend(lines.filter_map(|line| parse(line, protocol)));
    }
    Some(found)
}

/// A line of such a table: words of 32 bits in hexadecimal, as they lie in memory.
fn parse(line: &str, protocol: u8) -> Option<Bound> {
    let mut words = line.split_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    let state = words.nth(1)?;
    let user = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        _ => {
            let mut bytes = [0; 16];
            for (at, bytes) in bytes.chunks_mut(4).enumerate() {
                bytes.copy_from_slice(&word(at * 8)?);
            }
            IpAddr::from(bytes)
        }
    };
    Some(Bound {
        inode,
        user,
        address,
        port: u16::from_str_radix(port, 16).ok()?,
        serves: protocol == UDP || state == LISTEN,
    })
}

impl Registry {
    /// Whether a user may have any port: root, and whom the agent belongs to.
    pub(crate) fn is_trusted(user: u32) -> bool {
        user == 0 || user == rustix::process::geteuid().as_raw()
    }

    /// Refuses to serve for a process what another user's socket serves in its namespace.
    pub(crate) fn check_port(
        &mut self,
        pid: u32,
        id: StackId,
        what: &Publication,
    ) -> Result<(), Fault> {
        let user = self.stack(id)?.user;
        if Self::is_trusted(user) {
            return Ok(());
        }
        let tables = Tables::of(&format!("/proc/{pid}"));
        if tables.say_taken(user, what) {
            Err(Fault::InUse)
        } else {
            Ok(())
        }
    }

    /// Root's program is about to serve what another user's says to serve: the kernel gave the port to both, and neither
    /// listened until now.
    pub(crate) fn withdraw_for_root(&mut self, id: StackId, other: StackId, what: &Publication) {
        let user = |id: StackId| self.stacks.get(&id).map(|entry| (entry.user, entry.netns));
        let (Some((root, netns)), Some((user, _))) = (user(id), user(other)) else {
            return;
        };
        if !Self::is_trusted(root) || Self::is_trusted(user) {
            return;
        }
        let mut gone = self.directory.publications(other);
        gone.retain(|p| p.protocol == what.protocol && p.port == what.port);
        for gone in gone {
            self.directory.withdraw_all(netns, other, &gone);
        }
    }

    /// Ends what programs serve at ports that another user's sockets have by now.
    pub(crate) fn check_ports(&mut self) {
        let served = self.stacks.iter().filter_map(|(id, entry)| {
            let pid = entry.slots.values().next()?;
            (!Self::is_trusted(entry.user)).then_some((*id, *pid, entry.user))
        });
        let served: Vec<(StackId, u32, u32)> = served.collect();
        for (id, pid, user) in served {
            let published = self.directory.publications(id);
            if published.is_empty() {
                continue;
            }
            let tables = Tables::of(&format!("/proc/{pid}"));
            for what in published {
                if tables.say_taken(user, &what) {
                    let netns = self.stacks.get(&id).map_or(0, |entry| entry.netns);
                    self.directory.withdraw_all(netns, id, &what);
                    let endpoint = what.endpoint();
                    self.log.line(format_args!(
                        "stack {id:016x}: port {} is another user's",
                        endpoint.port
                    ));
                }
            }
        }
    }
}

/// What the kernel says of both protocols.
pub(crate) struct Tables {
    tcp: Option<Vec<Bound>>,
    udp: Option<Vec<Bound>>,
}

impl Tables {
    /// In the namespace of a process: a folder of `/proc`.
    pub(crate) fn of(process: &str) -> Self {
        let [tcp, udp] = [TCP, UDP].map(|protocol| sockets(process, protocol));
        Self { tcp, udp }
    }

    /// Whether another user has a socket that would get what comes to an endpoint.
    pub(crate) fn say_taken(&self, user: u32, what: &Publication) -> bool {
        let endpoint = what.endpoint();
        let (ip, port) = (endpoint.addr.ip(), endpoint.port);
        let bound = if what.protocol == UDP {
            &self.udp
        } else {
            &self.tcp
        };
        // Where the kernel cannot be asked, nobody is believed.
        let robs = |all: &Vec<Bound>| all.iter().any(|s| s.is_robbed_by(user, ip, port));
        bound.as_ref().is_none_or(robs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernels_table() {
        let four = " 312: 0909EFEF:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000    33        0 4711 2 0000000000000000 0";
        let found = parse(four, UDP).unwrap();
        let address = IpAddr::from([239, 239, 9, 9]);
        assert_eq!(
            (found.inode, found.user, found.address, found.port),
            (4711, 33, address, 8080)
        );
        assert!(found.serves);
        assert!(!parse(four, 6).unwrap().serves);
        let six = " 1: 000005FF000000000000000009000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9 2 0 0";
        let found = parse(six, 6).unwrap();
        assert_eq!(
            (found.inode, found.user, found.address, found.port),
            (9, 1000, "ff05::9".parse().unwrap(), 53)
        );
        assert!(found.serves);
        assert!(parse("  sl  local_address rem_address", 6).is_none());
    }

    #[test]
    fn what_another_users_socket_would_get() {
        let robbed = |has: &str, serves, (user, wants, port): (u32, &str, u16)| {
            let bound = Bound {
                inode: 1,
                user: 5,
                address: has.parse().unwrap(),
                port: 7000,
                serves,
            };
            bound.is_robbed_by(user, wants.parse().unwrap(), port)
        };
        assert!(robbed("0.0.0.0", true, (6, "0.0.0.0", 7000)));
        assert!(robbed("10.0.0.1", true, (6, "0.0.0.0", 7000)));
        assert!(robbed("::", true, (6, "10.0.0.1", 7000)));
        assert!(!robbed("::", true, (5, "10.0.0.1", 7000)), "its own");
        assert!(!robbed("::", true, (6, "10.0.0.1", 7001)));
        assert!(!robbed("::", false, (6, "10.0.0.1", 7000)), "a connection");
        assert!(!robbed("10.0.0.2", true, (6, "10.0.0.1", 7000)));
    }
}
