//! The picture of a namespace, kept right by the kernel's notifications.

use crate::change::{Change, Changes};
use crate::error::Error;
use crate::picture::Picture;
use crate::requests::{Requests, read};
use crate::socket::{Received, Socket};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::fd::{AsFd, BorrowedFd};

/// What the kernel is asked to notify us of.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];
/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` of `linux/rtnetlink.h`, which the library of packets does not know.
const NEXTHOP: std::ops::RangeInclusive<u16> = 104..=105;
/// Notifications taken at one call, so that a busy kernel does not keep its caller from other work.
const DATAGRAMS_MAX: u32 = 4096;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for notifications that wait; a notification of a link takes about 2 KiB of it.
    pub receive_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_bytes: 1 << 20,
        }
    }
}

/// A picture of a network namespace that follows what happens there.
///
/// Of what changes about a link that is down, other than that it goes, the kernel tells only in part before it is up.
///
/// Wait until [`Config::fd`] is readable, level-triggered, then call [`Config::process`].
pub struct Config {
    notifications: Socket,
    requests: Requests,
    picture: Picture,
    stale: bool,
    unreadable: u64,
    overruns: u64,
}

impl Config {
    /// Reads what is there in the network namespace of the calling thread, and listens. The object stays with that
    /// namespace, whoever uses it.
    ///
    /// # Errors
    ///
    /// Without netlink, as under some sandboxes, and where descriptors ran out.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let notifications = Socket::open(&GROUPS)?;
        notifications.widen(options.receive_bytes)?;
        let mut config = Self {
            notifications,
            requests: Requests::open()?,
            picture: Picture::default(),
            stale: true,
            unreadable: 0,
            overruns: 0,
        };
        config.refresh(&mut Changes::default())?;
        Ok(config)
    }

    /// Readable when there is something to process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }

    /// What is there, as of the last call of [`Config::process`].
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// The picture may be wrong, because notifications were lost and reading anew did not succeed yet. Call
    /// [`Config::process`] again soon, also if nothing is readable.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Messages that could not be understood; what they said is missing in the picture.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How often notifications were lost and everything was read anew.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Takes in what the kernel has told meanwhile; returns what changed, oldest first. Does not wait for anything to
    /// happen. After a loss of notifications the changes are the differences between what was known and what is there.
    ///
    /// # Errors
    ///
    /// When the kernel could not be read. Then [`Config::is_stale`] says whether the next call reads everything anew.
    pub fn process(&mut self) -> Result<Vec<Change>, Error> {
        let mut changes = Changes::default();
        let mut drained = false;
        for _ in 0..DATAGRAMS_MAX {
            match self.notifications.receive()? {
                Received::Datagram => self.take(&mut changes),
                Received::Nothing => {
                    drained = true;
                    break;
                }
                Received::Overrun => {
                    self.stale = true;
                    self.overruns += 1;
                }
            }
        }
        // What waits is older than what is read anew, so it goes first; else it would be told as news.
        if self.stale && drained {
            self.refresh(&mut changes)?;
        }
        Ok(changes.into_list())
    }

    /// Takes in the notifications of one datagram; none while the picture has gaps anyway.
    fn take(&mut self, changes: &mut Changes) {
        if self.stale {
            return;
        }
        for message in self.notifications.messages() {
            let kind = message.message_type();
            // Which routes, does not matter: they are the kernel's to look up.
            let is_route = [libc::RTM_NEWROUTE, libc::RTM_DELROUTE].contains(&kind);
            let is_rule = [libc::RTM_NEWRULE, libc::RTM_DELRULE].contains(&kind);
            if is_route || is_rule || NEXTHOP.contains(&kind) {
                changes.push(Change::RoutesChanged);
                continue;
            }
            match read(&message) {
                Some(NetlinkPayload::InnerMessage(said)) => {
                    self.picture.apply(&said, changes);
                }
                _ => self.unreadable += 1,
            }
        }
    }

    /// Reads everything anew.
    fn refresh(&mut self, changes: &mut Changes) -> Result<(), Error> {
        let mut bridges = NeighbourMessage::default();
        bridges.header.family = AddressFamily::Bridge;
        // Links first, so that whatever belongs to one finds it.
        let questions = [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
            RouteNetlinkMessage::GetNeighbour(bridges),
        ];
        let mut new = Picture::default();
        let mut interrupted = false;
        for question in &questions {
            let dump = self.requests.dump(question)?;
            interrupted |= dump.interrupted;
            self.unreadable += dump.unreadable;
            for entry in &dump.entries {
                new.apply(entry, &mut Changes::default());
            }
        }
        self.picture.replace(new, changes);
        self.stale = interrupted;
        Ok(())
    }
}

impl AsFd for Config {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
