//! What a program may set, and what ICMP tells.

use crate::choices::Fixed;
use crate::state::{Error, Events, State};
use crate::tcb::{Env, Marks, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;

/// SO_KEEPALIVE's parameters; 0 stands for the default (7200 s, 75 s, 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// Seconds of silence before the first probe (TCP_KEEPIDLE).
    pub idle_s: u16,
    /// Seconds between probes (TCP_KEEPINTVL).
    pub interval_s: u16,
    /// Probes without an answer before the connection is given up (TCP_KEEPCNT).
    pub count: u8,
}

/// What an ICMP error says about a segment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Nobody listens at the port.
    PortUnreachable,
    /// The host does not speak TCP.
    ProtocolUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// No way to the network.
    NetUnreachable,
    /// The path carries segments with at most this much payload, without options (RFC 1191, RFC 8201).
    TooBig {
        /// The new limit in bytes.
        mss: u16,
    },
}

impl Marks {
    /// What stays when a connection is opened.
    pub(crate) const SET_BY_PROGRAM: Self = Self::NODELAY
        .union(Self::CORK)
        .union(Self::KEEPALIVE)
        .union(Self::QUICKACK);
}

impl Tcb {
    /// TCP_NODELAY. Setting it sends what is held, also under a cork (as Linux).
    pub fn set_nodelay(&mut self, on: bool) {
        self.marks.set(Marks::NODELAY, on);
        if on && self.unsent_bytes() > 0 {
            self.marks.insert(Marks::UNCORKED);
        }
        self.send_what_waits();
    }

    /// TCP_CORK. Clearing it sends what was held.
    pub fn set_cork(&mut self, on: bool) {
        self.marks.set(Marks::CORK, on);
        if !on {
            self.marks.remove(Marks::MORE | Marks::HELD);
            if self.unsent_bytes() > 0 {
                self.marks.insert(Marks::UNCORKED);
            }
            self.send_what_waits();
        }
    }

    fn send_what_waits(&mut self) {
        if self.state().is_synchronized() && self.has_unsent() {
            self.marks.insert(Marks::SEND_DUE);
        }
    }

    /// TCP_QUICKACK: off delays acknowledgements from now on; on sends one that is pending and delays none.
    pub fn set_quickack(&mut self, on: bool) {
        self.marks.set(Marks::QUICKACK, on);
        self.marks.set(Marks::PINGPONG, !on);
        if on && self.is(Marks::ACK_PENDING) {
            self.marks.insert(Marks::ACK_NOW);
        }
    }

    /// SO_KEEPALIVE.
    pub fn set_keepalive(&mut self, on: bool, now: Nanos) {
        self.marks.set(Marks::KEEPALIVE, on);
        self.keep_probes = 0;
        self.start_keepalive(now);
    }

    /// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT.
    pub fn set_keepalive_parameters(&mut self, parameters: KeepAlive, now: Nanos) {
        self.keep_idle_s = parameters.idle_s;
        self.keep_interval_s = parameters.interval_s;
        self.keep_count = parameters.count;
        self.start_keepalive(now);
    }

    /// TCP_USER_TIMEOUT in milliseconds, 0 for none.
    pub fn set_user_timeout(&mut self, ms: u32) {
        self.user_timeout_ms = ms;
    }

    /// SO_RCVBUF: from now on the buffer is as large as the program says. What was announced already stays accepted.
    pub fn set_rcv_buf(&mut self, bytes: u32) {
        self.rcv_buf_bytes = bytes;
        self.choices.fixed.insert(Fixed::RCV_BUF);
        self.clamp_window();
    }

    /// SO_SNDBUF: likewise.
    pub fn set_snd_buf(&mut self, bytes: u32) {
        self.snd_buf_bytes = bytes;
        self.choices.fixed.insert(Fixed::SND_BUF);
    }

    /// TCP_NODELAY as set.
    pub const fn nodelay(&self) -> bool {
        self.marks.contains(Marks::NODELAY)
    }

    /// TCP_CORK as set.
    pub const fn cork(&self) -> bool {
        self.marks.contains(Marks::CORK)
    }

    /// TCP_QUICKACK: whether acknowledgements are sent at once now.
    pub const fn quickack(&self) -> bool {
        self.marks.contains(Marks::QUICKACK) || !self.marks.contains(Marks::PINGPONG)
    }

    /// SO_KEEPALIVE as set.
    pub const fn keepalive(&self) -> bool {
        self.marks.contains(Marks::KEEPALIVE)
    }

    /// The keepalive parameters in force.
    pub fn keepalive_parameters(&self) -> KeepAlive {
        KeepAlive {
            idle_s: self.keepalive_idle_s(),
            interval_s: self.keepalive_interval_s(),
            count: self.keepalive_count(),
        }
    }

    /// TCP_USER_TIMEOUT as set.
    pub const fn user_timeout(&self) -> u32 {
        self.user_timeout_ms
    }

    /// SO_RCVBUF in bytes.
    pub const fn rcv_buf(&self) -> u32 {
        self.rcv_buf_bytes
    }

    /// SO_SNDBUF in bytes.
    pub const fn snd_buf(&self) -> u32 {
        self.snd_buf_bytes
    }

    /// An ICMP error came for a segment of ours that began at `seq`. One that is not about anything in flight is
    /// ignored (RFC 5927 4.1). It ends a connection that is not established; else it is only remembered
    /// (RFC 1122 4.2.3.9, RFC 5461).
    pub fn on_icmp(&mut self, env: &mut Env<'_, '_>, error: IcmpError, seq: Seq) -> Events {
        if self.state() == State::Closed || !self.is_in_flight(seq) {
            return self.events(Events::empty());
        }
        let kind = match error {
            IcmpError::TooBig { mss } => {
                self.on_path_limit(env, mss);
                return self.events(Events::empty());
            }
            IcmpError::PortUnreachable => Error::Refused,
            IcmpError::ProtocolUnreachable => Error::ProtocolUnreachable,
            IcmpError::HostUnreachable => Error::HostUnreachable,
            IcmpError::NetUnreachable => Error::NetUnreachable,
        };
        self.on_unreachable(env, kind)
    }

    /// The peer cannot be reached: ends a connection that is not established, else it is only remembered
    /// (RFC 1122 4.2.3.9, RFC 5461).
    pub fn on_unreachable(&mut self, env: &mut Env<'_, '_>, why: Error) -> Events {
        let opening = matches!(self.state(), State::SynSent | State::SynReceived);
        if opening || self.is_unclaimed() {
            self.fail(env, why);
            return self.events(Events::REFUSED | Events::CLOSED);
        }
        self.soft_error = why as u8;
        self.events(Events::empty())
    }

    /// The way to the peer is known again: what was said of it counts no more.
    pub const fn on_reachable(&mut self) {
        self.soft_error = 0;
    }

    /// Whether the peer has not answered what was sent in time, nor since.
    pub const fn is_unanswered(&self) -> bool {
        self.retries != 0
    }

    /// Whether something waits to be sent or acknowledged.
    pub fn is_waiting(&self) -> bool {
        self.is_outstanding() || self.has_unsent()
    }
}
