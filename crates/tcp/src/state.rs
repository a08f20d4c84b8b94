//! States of a connection, what happened to it, and how it failed.

use bitflags::bitflags;

/// The states of RFC 9293 section 3.3.2. Stored as a byte; a byte that is none of them reads as [`State::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "named as in RFC 9293 section 3.3.2")]
pub enum State {
    Closed = 0,
    /// Never the state of a `Tcb`; here so that listeners can be shown beside connections.
    Listen = 1,
    SynSent = 2,
    SynReceived = 3,
    Established = 4,
    FinWait1 = 5,
    FinWait2 = 6,
    CloseWait = 7,
    Closing = 8,
    LastAck = 9,
    TimeWait = 10,
}

impl State {
    #[inline]
    pub(crate) const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Listen,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::Established,
            5 => Self::FinWait1,
            6 => Self::FinWait2,
            7 => Self::CloseWait,
            8 => Self::Closing,
            9 => Self::LastAck,
            10 => Self::TimeWait,
            _ => Self::Closed,
        }
    }

    /// Whether both ends know each other's sequence numbers.
    #[inline]
    pub const fn is_synchronized(self) -> bool {
        self as u8 >= Self::Established as u8
    }

    /// Whether the program may queue data to send.
    #[inline]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }

    /// Whether the peer may still send data.
    #[inline]
    pub const fn can_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// The name as `ss` and `/proc/net/tcp` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECV",
            Self::Established => "ESTAB",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
}

/// Why a connection failed; what `SO_ERROR` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Error {
    /// The peer reset it (`ECONNRESET`).
    Reset = 1,
    /// The peer refused it (`ECONNREFUSED`).
    Refused = 2,
    /// The peer did not answer for too long (`ETIMEDOUT`).
    TimedOut = 3,
    /// No route to the host (`EHOSTUNREACH`).
    HostUnreachable = 4,
    /// No route to the network (`ENETUNREACH`).
    NetUnreachable = 5,
    /// The peer does not speak TCP (`ENOPROTOOPT`, as Linux).
    ProtocolUnreachable = 6,
    /// Reset after the peer had already ended its direction (`EPIPE`, as Linux).
    BrokenPipe = 7,
}

impl Error {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Reset,
            2 => Self::Refused,
            3 => Self::TimedOut,
            4 => Self::HostUnreachable,
            5 => Self::NetUnreachable,
            6 => Self::ProtocolUnreachable,
            7 => Self::BrokenPipe,
            _ => return None,
        })
    }
}

bitflags! {
    /// What a call has changed, for whoever waits on the connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// The handshake is complete.
        const CONNECTED = 1;
        /// There is more to read than before.
        const READABLE = 1 << 1;
        /// There is room to write again after there was none.
        const WRITABLE = 1 << 2;
        /// The peer's FIN is in the stream: end-of-file follows what is queued.
        const PEER_CLOSED = 1 << 3;
        /// The peer reset the connection.
        const RESET = 1 << 4;
        /// The peer did not answer for too long.
        const TIMED_OUT = 1 << 5;
        /// The peer, or an ICMP error, refused the connection.
        const REFUSED = 1 << 6;
        /// The state is CLOSED now. What was received can still be read; drain output, then release when let go of.
        const CLOSED = 1 << 7;
        /// There is something for [`poll_transmit`](crate::Tcb::poll_transmit).
        const OUTPUT = 1 << 8;
        /// TIME-WAIT has been entered.
        const TIME_WAIT = 1 << 9;
        /// All that was sent, and the FIN, is acknowledged: a lingering close may return.
        const DRAINED = 1 << 10;
        /// The peer says that there is urgent data.
        const URGENT = 1 << 11;
        /// The urgent byte is here.
        const URGENT_READABLE = 1 << 12;
        /// The peer has acknowledged our SYN-ACK on a connection that was CONNECTED by its SYN (RFC 7413).
        const CONFIRMED = 1 << 13;
        /// Text was acknowledged, where that is [watched](crate::Tcb::watch_acknowledgements).
        const ACKNOWLEDGED = 1 << 14;
    }
}
