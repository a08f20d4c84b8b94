//! A port of whichever driver a link has, for tables that hold links of several.

use crate::fault::{Faulty, Lines};
use crate::{Caps, Cut, Port, PortStats, Unfinished, memif, packet, xdp};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

const MEMIF: u32 = 1;
const XDP: u32 = 2;
const PACKET: u32 = 3;

/// What all processes that share a stack must agree on about a link; zeroed memory is of no driver.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    driver: u32,
    _reserved: u32,
    memif: memif::State,
    xdp: xdp::State,
    packet: packet::State,
}

impl From<memif::State> for State {
    fn from(memif: memif::State) -> Self {
        Self {
            driver: MEMIF,
            memif,
            ..Self::new_zeroed()
        }
    }
}

impl From<xdp::State> for State {
    fn from(xdp: xdp::State) -> Self {
        Self {
            driver: XDP,
            xdp,
            ..Self::new_zeroed()
        }
    }
}

impl From<packet::State> for State {
    fn from(packet: packet::State) -> Self {
        Self {
            driver: PACKET,
            packet,
            ..Self::new_zeroed()
        }
    }
}

impl State {
    /// Has receiving drive the interface; nothing to any driver but that of AF_XDP.
    pub fn set_busy_poll(&mut self, on: bool) {
        if self.driver == XDP {
            self.xdp.set_busy_poll(on);
        }
    }

    /// Lets long segments be cut, where the driver can have that done. False where it cannot.
    pub fn cut_segments(&mut self) -> bool {
        self.driver == XDP && self.xdp.cut_segments()
    }

    /// Has the link finish checksums, where the driver can have that done. False where it cannot.
    pub const fn finish_checksums(&mut self) -> bool {
        self.driver == XDP && self.xdp.finish_checksums()
    }

    /// The counters.
    pub const fn stats(&self) -> PortStats {
        match self.driver {
            XDP => self.xdp.stats(),
            PACKET => self.packet.stats(),
            _ => self.memif.stats(),
        }
    }
}

/// What one process has mapped of a link.
pub enum Attachment {
    /// Of shared memory.
    Memif(memif::Attachment),
    /// Of a queue of an interface.
    Xdp(xdp::Attachment),
    /// Of an interface, by a packet socket.
    Packet(packet::Attachment),
}

impl From<memif::Attachment> for Attachment {
    fn from(memif: memif::Attachment) -> Self {
        Self::Memif(memif)
    }
}

impl From<xdp::Attachment> for Attachment {
    fn from(xdp: xdp::Attachment) -> Self {
        Self::Xdp(xdp)
    }
}

impl From<packet::Attachment> for Attachment {
    fn from(packet: packet::Attachment) -> Self {
        Self::Packet(packet)
    }
}

/// A link, for one poll.
pub enum AnyPort<'a> {
    /// Over shared memory.
    Memif(memif::Memif<'a>),
    /// Over a queue of an interface.
    Xdp(xdp::Xdp<'a>),
    /// Over a packet socket.
    Packet(packet::Packet<'a>),
    /// Over shared memory, with a faulty link before it.
    FaultyMemif(Faulty<'a, memif::Memif<'a>>),
    /// Over a queue of an interface, with a faulty link before it.
    FaultyXdp(Faulty<'a, xdp::Xdp<'a>>),
    /// Over a packet socket, with a faulty link before it.
    FaultyPacket(Faulty<'a, packet::Packet<'a>>),
}

/// Runs `$work` with `$port` bound to the driver's own port: the driver is looked up once for all that is done with it.
#[macro_export]
macro_rules! on_port {
    ($any:expr, $port:ident => $work:expr) => {
        match $any {
            $crate::any::AnyPort::Memif(mut $port) => $work,
            $crate::any::AnyPort::Xdp(mut $port) => $work,
            $crate::any::AnyPort::Packet(mut $port) => $work,
            $crate::any::AnyPort::FaultyMemif(mut $port) => $work,
            $crate::any::AnyPort::FaultyXdp(mut $port) => $work,
            $crate::any::AnyPort::FaultyPacket(mut $port) => $work,
        }
    };
}

/// As [`on_port`], for a port that is only lent.
macro_rules! on_driver {
    ($any:expr, $port:ident => $work:expr) => {
        match $any {
            Self::Memif($port) => $work,
            Self::Xdp($port) => $work,
            Self::Packet($port) => $work,
            Self::FaultyMemif($port) => $work,
            Self::FaultyXdp($port) => $work,
            Self::FaultyPacket($port) => $work,
        }
    };
}

impl<'a> AnyPort<'a> {
    /// Brings both halves together. None where they are of different drivers.
    #[inline]
    pub const fn new(state: &'a mut State, at: &'a Attachment) -> Option<Self> {
        match (state.driver, at) {
            (MEMIF, Attachment::Memif(at)) => {
                Some(Self::Memif(memif::Memif::new(&mut state.memif, at)))
            }
            (XDP, Attachment::Xdp(at)) => Some(Self::Xdp(xdp::Xdp::new(&mut state.xdp, at))),
            (PACKET, Attachment::Packet(at)) => {
                Some(Self::Packet(packet::Packet::new(&mut state.packet, at)))
            }
            _ => None,
        }
    }

    /// With a faulty link before it, of wire `wire` of the stack.
    #[cold]
    #[must_use]
    pub fn behind(self, lines: Lines<'a>, wire: u32, now: Nanos) -> Self {
        match self {
            Self::Memif(port) => Self::FaultyMemif(Faulty::new(port, lines, wire, now)),
            Self::Xdp(port) => Self::FaultyXdp(Faulty::new(port, lines, wire, now)),
            Self::Packet(port) => Self::FaultyPacket(Faulty::new(port, lines, wire, now)),
            faulty => faulty,
        }
    }

    /// Whether nothing will move any more; the link should be closed.
    #[inline]
    pub const fn is_broken(&self) -> bool {
        on_driver!(self, port => port.is_broken())
    }
}

impl Port for AnyPort<'_> {
    #[inline]
    fn caps(&self) -> Caps {
        on_driver!(self, port => port.caps())
    }

    #[inline]
    fn rx_batch(&mut self, frames_max: usize, on_frame: impl FnMut(Foreign<'_>)) -> usize {
        on_driver!(self, port => port.rx_batch(frames_max, on_frame))
    }

    #[inline]
    fn rx_preview(&mut self, frames_max: usize, on_frame: impl FnMut(Foreign<'_>)) {
        on_driver!(self, port => port.rx_preview(frames_max, on_frame))
    }

    #[inline]
    fn rx_pending(&self) -> bool {
        on_driver!(self, port => port.rx_pending())
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        on_driver!(self, port => port.tx_room())
    }

    #[inline]
    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        on_driver!(self, port => port.tx(bytes, fill))
    }

    #[inline]
    fn tx_cut(&mut self, bytes: usize, cut: Cut, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        on_driver!(self, port => port.tx_cut(bytes, cut, fill))
    }

    #[inline]
    fn tx_unfinished(
        &mut self,
        bytes: usize,
        checksum: Unfinished,
        fill: impl FnOnce(ForeignMut<'_>),
    ) -> bool {
        on_driver!(self, port => port.tx_unfinished(bytes, checksum, fill))
    }

    #[inline]
    fn tx_flush(&mut self) {
        on_driver!(self, port => port.tx_flush())
    }

    #[inline]
    fn tx_unheard(&self) -> u64 {
        on_driver!(self, port => port.tx_unheard())
    }

    fn rx_wakeups(&mut self, wanted: bool) {
        on_driver!(self, port => port.rx_wakeups(wanted))
    }

    #[inline]
    fn stats(&self) -> PortStats {
        on_driver!(self, port => port.stats())
    }
}
