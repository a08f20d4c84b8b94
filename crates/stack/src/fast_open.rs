//! TCP Fast Open (RFC 7413): what servers have given us and answered, and what listening sockets take.

use crate::hops::Way;
use crate::memory::{Core, Stack};
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::{Address, Endpoint, Error, Result};
use sidestep_shm::{Foreign, NONE, Nanos};
use sidestep_tcp::{Env, FastAnswer, Greeting};
use sidestep_wire::tcp::{FastOpen, Flags, Repr};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Servers whose cookies are remembered. One that has the place of another is remembered in its stead.
pub(crate) const COOKIES: usize = 256;
/// How long a reset connection that came with data counts against the limit of its listener (RFC 7413 5.1).
const RESET_COUNTS: Nanos = Nanos::from_secs(60);
/// How long SYNs to a server that did not answer any with data go without, doubled with each (RFC 7413 4.1.3.1).
const LOST_PAUSE: Nanos = Nanos::from_secs(60);
/// Most doublings of such times.
const DOUBLINGS_MAX: u32 = 6;

/// What is allowed, as `net.ipv4.tcp_fastopen` has it, and for how long none is opened where the path may swallow what is
/// (`tcp_fastopen_blackhole_timeout_sec`; zero for never).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastRules {
    /// The bits below.
    pub bits: u32,
    /// The time.
    pub pause: Nanos,
}

impl FastRules {
    /// Connections may be opened fast.
    pub const CLIENT: u32 = 1;
    /// Listening sockets take part.
    pub const SERVER: u32 = 2;
    /// Data goes with SYNs without a cookie.
    pub const CLIENT_NO_COOKIE: u32 = 4;
    /// Data is taken from SYNs without a cookie.
    pub const SERVER_NO_COOKIE: u32 = 0x200;
    /// All listening sockets take part, not only those that were told to.
    pub const SERVER_ALL: u32 = 0x400;
}

/// How a connection is to be opened fast.
#[derive(Clone, Copy)]
pub enum Fast<'p, 'm> {
    /// With these bytes, as many as the SYN takes. The others are queued, too, where the caller waits for the handshake.
    Send {
        /// The bytes.
        parts: &'p [Foreign<'m>],
        /// Whether all are queued.
        whole: bool,
    },
    /// By what is sent first, where it may go with the SYN (TCP_FASTOPEN_CONNECT).
    Defer,
}

/// A server; zeroed memory is none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct KnownServer {
    address: Address,
    cookie: [u8; FastOpen::BYTES_MAX],
    lost_at: Nanos,
    /// What its last SYN-ACK announced.
    mss: u16,
    len: u8,
    experimental: u8,
    /// It answered without a cookie: 1 when asked by the option of RFC 7413, 2 by that for experiments.
    unknown: u8,
    /// SYNs with data that were lost in a row.
    losses: u8,
    _reserved: [u8; 2],
}

impl KnownServer {
    fn cookie(&self) -> Option<FastOpen> {
        let cookie = FastOpen::new(self.cookie.get(..usize::from(self.len))?)?;
        Some(cookie.in_experiment(self.experimental != 0))
    }

    fn note(&mut self, answer: &FastAnswer, now: Nanos) {
        self.mss = answer.mss;
        if let Some(cookie) = answer.cookie {
            let bytes = cookie.bytes();
            self.cookie[..bytes.len()].copy_from_slice(bytes);
            self.len = u8::try_from(bytes.len()).unwrap_or(0);
            self.experimental = u8::from(cookie.experimental);
        } else if let Some(experimental) = answer.unknown.filter(|_| self.len == 0) {
            // By the other option the next time, and never again by that if it does not help.
            self.unknown = self.unknown.max(1 + u8::from(experimental));
        }
        if answer.lost {
            (self.losses, self.lost_at) = (self.losses.saturating_add(1), now);
        } else {
            self.losses = 0;
        }
    }

    /// One loss may be chance; more of them are a path that swallows such SYNs.
    fn is_avoided(&self, now: Nanos) -> bool {
        let losses = u32::from(self.losses);
        losses > 1 && now < self.lost_at + doubled(LOST_PAUSE, losses)
    }
}

fn doubled(span: Nanos, times: u32) -> Nanos {
    Nanos(span.0 << times.min(DOUBLINGS_MAX))
}

/// What a listener does with a SYN that may have data.
pub(crate) enum Opening {
    /// As without.
    Usual,
    /// Gives the peer this cookie.
    Give(FastOpen),
    /// Takes the data; and gives a cookie that will last longer than the one shown.
    Take(Option<FastOpen>),
}

impl Stack<'_> {
    /// From now on connections are opened, and taken, by these rules.
    pub fn set_fast_rules(&mut self, rules: FastRules) {
        self.core.header.fast_open = rules.bits;
        self.core.header.fast_pause = rules.pause;
    }

    /// A listening socket takes part that was not told to: for as many connections as its queue has room for.
    pub fn take_fast_opens(&mut self, r: SocketRef) {
        if let Ok(s) = self.core.socket(r)
            && s.kind() == Kind::Listener
            && s.tcb.fast_open() == 0
        {
            let room = u16::try_from(s.backlog).unwrap_or(u16::MAX);
            s.tcb.set_fast_open(room);
        }
    }

    /// As [`connect`](Self::connect), opened fast if the server has given a cookie; else one is asked for. Returns how many
    /// bytes were queued.
    pub fn connect_fast(
        &mut self,
        now: Nanos,
        r: SocketRef,
        ends: (Endpoint, Endpoint),
        way: impl Into<Way>,
        fast: Fast<'_, '_>,
    ) -> Result<usize> {
        self.connect_with(now, r, ends, way.into(), Some(fast))
    }

    /// Whether a connection is to be opened by what is sent first.
    pub fn is_held(&mut self, r: SocketRef) -> bool {
        self.core.socket(r).is_ok_and(|s| s.tcb.is_held())
    }

    /// Opens a connection that was deferred, by its first bytes. Returns how many were queued.
    pub fn open_held(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &[Foreign<'_>],
        whole: bool,
    ) -> Result<usize> {
        self.core.advance(now);
        if !self.core.socket(r)?.tcb.is_held() {
            return Err(Error::WouldBlock);
        }
        let queued = self.core.open_fast(r.index, Fast::Send { parts, whole });
        self.flush_socket(r.index);
        Ok(queued)
    }
}

impl Core<'_> {
    fn server_place(&self, server: &Address) -> usize {
        let nobody = Endpoint::new(Address::UNSPECIFIED_V6, 0);
        self.flow_hash(&nobody, &Endpoint::new(*server, 0)) as usize % COOKIES
    }

    /// What the SYN of a connection says, and the server's MSS as far as it is known.
    fn greeting(&self, index: u32) -> (Greeting, u16) {
        let s = &self.sockets[index as usize];
        let server = &self.servers[self.server_place(&s.remote.addr)];
        let known = Some(server).filter(|known| known.address == s.remote.addr);
        let mss = known.map_or(0, |known| known.mss);
        let now = self.now();
        let bare = self.header.fast_open & FastRules::CLIENT_NO_COOKIE != 0 || s.tcb.no_cookie();
        let cookie = known.and_then(KnownServer::cookie);
        let greeting = if self.is_fast_open_paused() || known.is_some_and(|k| k.is_avoided(now)) {
            Greeting::Plain
        } else if bare {
            Greeting::Data(None)
        } else if cookie.is_some() {
            Greeting::Data(cookie)
        } else {
            let experimental = known.is_some_and(|known| known.unknown == 1);
            Greeting::Ask { experimental }
        };
        (greeting, mss)
    }

    /// Begins to open a connection fast whose SYN was not sent. Returns how many bytes were queued.
    pub(crate) fn open_fast(&mut self, index: u32, fast: Fast<'_, '_>) -> usize {
        let (greeting, mss) = self.greeting(index);
        let now = self.now();
        let s = &mut self.sockets[index as usize];
        let env = &mut Env {
            now,
            pool: &mut self.pool,
        };
        match (fast, greeting) {
            (Fast::Defer, Greeting::Data(_)) => {
                s.tcb.hold_open();
                0
            }
            (Fast::Defer, _) => s.tcb.open_fast(env, greeting, mss, &[], false),
            (Fast::Send { parts, whole }, _) => s.tcb.open_fast(env, greeting, mss, parts, whole),
        }
    }

    /// A connection is established that was to be opened fast: remembers what the server said to it.
    pub(crate) fn learn_of_server(&mut self, index: u32) {
        let s = &self.sockets[index as usize];
        let Some(answer) = s.tcb.fast_answer() else {
            return;
        };
        let (address, taken) = (s.remote.addr, s.tcb.info().syn_data);
        if taken {
            self.header.fast_pauses = 0;
        }
        let (place, now) = (self.server_place(&address), self.now());
        let server = &mut self.servers[place];
        if server.address != address {
            *server = KnownServer {
                address,
                ..KnownServer::new_zeroed()
            };
        }
        server.note(&answer, now);
    }

    /// What was opened fast does not get through: perhaps none does.
    pub(crate) fn pause_fast_open(&mut self) {
        self.header.fast_pauses = self.header.fast_pauses.saturating_add(1);
        self.header.fast_paused_at = self.now();
    }

    fn is_fast_open_paused(&self) -> bool {
        let (h, now) = (&self.header, self.now());
        let times = h.fast_pauses.saturating_sub(1);
        h.fast_pauses > 0 && now < h.fast_paused_at + doubled(h.fast_pause, times)
    }

    /// What a listener does with a SYN of a peer, which may have text or end at once.
    pub(crate) fn fast_opening(
        &mut self,
        listener: u32,
        ends: &(Endpoint, Endpoint),
        syn: &Repr,
        payload: Foreign<'_>,
    ) -> Opening {
        let rules = self.header.fast_open;
        let shown = syn.options.fast_open;
        let has_data = !payload.is_empty() || syn.flags.contains(Flags::FIN);
        let plain = shown.is_none() && !has_data;
        if plain || rules & FastRules::SERVER == 0 || !self.takes_fast_open(listener) {
            return Opening::Usual;
        }
        let s = &self.sockets[listener as usize];
        if rules & FastRules::SERVER_NO_COOKIE != 0 || s.tcb.no_cookie() {
            return Opening::Take(None);
        }
        let Some(shown) = shown else {
            return Opening::Usual;
        };
        let (server, client) = (&ends.0.addr, &ends.1.addr);
        match self.fast_keys(listener).judge(&shown, client, server) {
            (Some(0), _) => Opening::Take(None),
            (Some(_), own) => Opening::Take(own),
            (None, Some(own)) => Opening::Give(own),
            (None, None) => Opening::Usual,
        }
    }

    /// Whether a listener has room for one more connection whose handshake is not complete.
    fn takes_fast_open(&mut self, listener: u32) -> bool {
        let now = self.now();
        let s = self.at(listener);
        let most = u32::from(s.tcb.fast_open());
        if s.fast_pending + s.fast_resets >= most && s.fast_reset_at + RESET_COUNTS < now {
            s.fast_resets = 0;
        }
        s.fast_pending + s.fast_resets < most
    }

    /// A connection was taken with the data of its SYN.
    pub(crate) fn begin_fast_pending(&mut self, listener: u32, child: u32) {
        let parent = self.at(listener);
        parent.fast_pending += 1;
        let generation = parent.generation;
        let s = self.at(child);
        s.set(SocketFlags::FAST_PENDING, true);
        s.backlog = generation;
    }

    /// The handshake of such a connection is complete, or it has ended; `reset` where its peer wants nothing of it, which
    /// may mean that its SYN was forged: counted for a while (RFC 7413 5.1).
    #[cold]
    pub(crate) fn end_fast_pending(&mut self, child: u32, reset: bool) {
        let now = self.now();
        let s = self.at(child);
        if !s.has(SocketFlags::FAST_PENDING) {
            return;
        }
        s.set(SocketFlags::FAST_PENDING, false);
        let (listener, generation) = (s.parent, s.backlog);
        let accepted = !s.has(SocketFlags::CHILD);
        if accepted {
            s.parent = NONE;
        }
        let Some(parent) = self.sockets.get_mut(listener as usize) else {
            return;
        };
        if parent.generation != generation || parent.kind() != Kind::Listener {
            return;
        }
        parent.fast_pending = parent.fast_pending.saturating_sub(1);
        if reset && accepted {
            parent.fast_resets += 1;
            parent.fast_reset_at = now;
        }
    }
}
