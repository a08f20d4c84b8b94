//! What a stack counts. Every way in which a frame or a socket can be lost has a counter of its own.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Counters of a stack, from its creation on.
        #[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Sockets left to the kernel, by reason: see [`Handover`].
            pub handed_over: [u64; Handover::COUNT],
        }

        impl Counters {
            /// All plain counters with their names, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Frames taken from ports.
    rx_frames,
    /// Frames given to ports.
    tx_frames,
    /// Frames that no parser could make sense of.
    rx_malformed,
    /// Packets whose checksum was wrong.
    rx_checksum_bad,
    /// Frames of protocols that are not ours.
    rx_other_protocol,
    /// IP fragments, which the stack does not reassemble.
    rx_fragments,
    /// TCP segments received.
    tcp_rx_segments,
    /// TCP segments sent, retransmissions included.
    tcp_tx_segments,
    /// TCP payload bytes received in segments.
    tcp_rx_bytes,
    /// TCP payload bytes sent in segments.
    tcp_tx_bytes,
    /// Connections that this side opened.
    tcp_connects,
    /// Connections accepted by the program.
    tcp_accepts,
    /// Connection requests dropped because the queue of the listening socket was full.
    tcp_backlog_full,
    /// Connection requests answered with a cookie because that queue was full.
    tcp_cookies_sent,
    /// Connections that began by such a cookie.
    tcp_cookies_redeemed,
    /// Connections accepted with data in their SYN.
    tcp_fast_opens,
    /// Resets sent.
    tcp_rx_no_socket,
    /// Connections ended by a reset from the peer.
    tcp_resets_received,
    /// Connections given up because nothing was heard.
    tcp_timeouts,
    /// Sockets in TIME-WAIT that were recycled early because the table was full.
    tcp_time_wait_recycled,
    /// Datagrams received into a socket.
    udp_rx_datagrams,
    /// Datagrams sent.
    udp_tx_datagrams,
    /// Datagrams to a port without socket.
    udp_rx_no_socket,
    /// Datagrams dropped because the socket's queue or the pool was full.
    udp_rx_full,
    /// Datagrams dropped because the link had no room.
    udp_tx_full,
    /// ICMP errors received.
    icmp_rx_errors,
    /// Times that a path was said to carry less than was sent.
    path_limits,
    /// Echo requests answered.
    icmp_echo_replies,
    /// Times the table of sockets was full.
    sockets_exhausted,
}

/// Why a socket was left to the kernel, or one of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Handover {
    /// The destination is not this host.
    OtherHost,
    /// No accelerated program serves the destination.
    NotServed,
    /// The agent could not be reached or started.
    NoAgent,
    /// The wire to the other stack could not be made.
    NoWire,
    /// A table of the stack was full.
    Full,
    /// An option of the socket, or what came with the datagram, asked for the kernel.
    Option,
    /// The stack was given up because a process died inside it.
    Retired,
    /// Switched off by configuration.
    Configured,
    /// Another stack serves the endpoint, and not both allow that.
    Taken,
    /// A connection came by the kernel: its program is not accelerated.
    KernelPeer,
    /// No accelerated interface leads to the destination.
    NoNetwork,
    /// Every queue of the interface is another program's, or could not be opened.
    NoQueue,
    /// The interface that leads to the destination lies upon others in a way that is not accelerated.
    NoCarrier,
    /// The socket goes by one interface only, which is not accelerated or does not lead there.
    Device,
    /// The destination is all hosts of a network, or a group of one link.
    Group,
    /// Other sockets of this host would get copies of what comes to the group.
    GroupShared,
    /// Members on this host are to get copies of what is sent to the group.
    GroupLoop,
    /// A forked child found no place in the stack, so many processes share it.
    NoPlace,
}

impl Handover {
    /// Number of reasons.
    pub const COUNT: usize = 18;
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::OtherHost,
        Self::NotServed,
        Self::NoAgent,
        Self::NoWire,
        Self::Full,
        Self::Option,
        Self::Retired,
        Self::Configured,
        Self::Taken,
        Self::KernelPeer,
        Self::NoNetwork,
        Self::NoQueue,
        Self::NoCarrier,
        Self::Device,
        Self::Group,
        Self::GroupShared,
        Self::GroupLoop,
        Self::NoPlace,
    ];

    /// The reason as a sentence for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OtherHost => "the destination is not on this host",
            Self::NotServed => "no accelerated program serves the destination",
            Self::NoAgent => "the agent could not be reached",
            Self::NoWire => "no wire to the other program could be made",
            Self::Full => "a table of the stack is full",
            Self::Option => "a socket option asks for the kernel",
            Self::Retired => "the stack was given up after a process died inside it",
            Self::Configured => "acceleration is switched off",
            Self::KernelPeer => "the peer came by the kernel",
            Self::NoNetwork => "no accelerated interface leads to the destination",
            Self::NoQueue => "the program has no queue of the interface (the agent's log says why)",
            Self::NoCarrier => {
                "the VLAN, bond, bridge or macvlan that leads to the destination is not accelerated (the agent's log says why)"
            }
            Self::Device => {
                "the socket is bound to an interface that is not accelerated, or does not lead there"
            }
            Self::Group => "broadcast, and what is sent to groups of one link, goes by the kernel",
            Self::GroupShared => {
                "other sockets of this host would get copies of what comes to the group"
            }
            Self::GroupLoop => {
                "members of the group on this host are to get copies (IP_MULTICAST_LOOP)"
            }
            Self::NoPlace => "more processes share the stack by fork than it has places for (1023)",
            Self::Taken => "another accelerated program serves the same endpoint",
        }
    }
}
