//! TCP Fast Open (RFC 7413): the cookies that servers have given us, and those that we give.

use crate::hops::Way;
use crate::memory::{Core, Stack};
use crate::socket::SocketRef;
use crate::{Address, Endpoint, Result};
use sidestep_shm::{Foreign, Nanos};
use sidestep_wire::tcp::{FastOpen, Repr};
use std::hash::{DefaultHasher, Hasher};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Servers whose cookies are remembered. One that has the place of another is remembered in its stead.
pub(crate) const COOKIES: usize = 256;
/// The bit of `net.ipv4.tcp_fastopen` that lets listening sockets take part.
const SERVER: u32 = 2;

/// A cookie; zeroed memory is none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct KnownCookie {
    server: Address,
    cookie: [u8; FastOpen::BYTES_MAX],
    len: u32,
}

/// What a listener does with a SYN that may have data.
pub(crate) enum Opening {
    /// As without.
    Usual,
    /// Gives the peer this cookie.
    Give(FastOpen),
    /// Takes the data.
    Take,
}

impl Stack<'_> {
    /// As [`connect`](Self::connect), with data for the SYN if the server has given a cookie; else asks for one. Returns
    /// how many bytes were queued, none where there was no cookie.
    pub fn connect_fast(
        &mut self,
        now: Nanos,
        r: SocketRef,
        ends: (Endpoint, Endpoint),
        way: impl Into<Way>,
        parts: &[Foreign<'_>],
    ) -> Result<usize> {
        self.connect_with(now, r, ends, way.into(), Some(parts))
    }
}

impl Core<'_> {
    fn cookie_place(&self, server: &Address) -> usize {
        let nobody = Endpoint::new(Address::UNSPECIFIED_V6, 0);
        self.flow_hash(&nobody, &Endpoint::new(*server, 0)) as usize % COOKIES
    }

    /// The cookie that a server has given.
    pub(crate) fn known_cookie(&self, server: &Address) -> Option<FastOpen> {
        let known = &self.fast_opens[self.cookie_place(server)];
        let cookie = known.cookie.get(..known.len as usize)?;
        FastOpen::new(cookie).filter(|_| known.server == *server)
    }

    /// A connection is established that was to be opened fast: remembers the cookie that it brought, and forgets one that
    /// did not help.
    pub(crate) fn learn_cookie(&mut self, index: u32) {
        let s = &self.sockets[index as usize];
        let (server, learned) = (s.remote.addr, s.tcb.learned_cookie());
        let failed = s.tcb.fast_open_failed();
        let place = self.cookie_place(&server);
        let entry = &mut self.fast_opens[place];
        if let Some(cookie) = learned {
            let bytes = cookie.bytes();
            entry.server = server;
            entry.cookie[..bytes.len()].copy_from_slice(bytes);
            entry.len = u32::try_from(bytes.len()).unwrap_or(0);
        } else if failed && entry.server == server {
            entry.len = 0;
        }
    }

    /// What a listener does with a SYN of a peer.
    pub(crate) fn fast_opening(&self, listener: u32, remote: &Endpoint, syn: &Repr) -> Opening {
        let s = &self.sockets[listener as usize];
        let count = u32::from(s.tcb.fast_open());
        let Some(shown) = syn.options.fast_open else {
            return Opening::Usual;
        };
        if count == 0 || self.header.fast_open & SERVER == 0 {
            return Opening::Usual;
        }
        let Some(cookie) = self.cookie_for(&remote.addr) else {
            return Opening::Usual;
        };
        if shown != cookie {
            return Opening::Give(cookie);
        }
        if s.ready_children < count {
            Opening::Take
        } else {
            Opening::Usual
        }
    }

    /// The cookie of a client: a code over its address that only this stack can make.
    fn cookie_for(&self, client: &Address) -> Option<FastOpen> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.header.secret);
        hasher.write(b"fast open");
        hasher.write(&client.0);
        FastOpen::new(&hasher.finish().to_be_bytes())
    }
}
