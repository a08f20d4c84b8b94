//! What became of packets on their way, as IP_RECVERR has programs told: what hosts and routers say of them by ICMP, and
//! what was too long to leave. MSG_ERRQUEUE reads it, with the beginning of the packet.
//!
//! A complaint lies in the socket's [`Extra`](crate::notices) queue as a [`Record`] and the payload that came back.

use crate::hops::Way;
use crate::memory::{Core, Stack};
use crate::socket::{SocketFlags, SocketRef, decode_error};
use crate::{Address, Endpoint, Error, Ready, Result};
use sidestep_shm::{Foreign, ForeignMut, NONE, Nanos, Use};
use sidestep_wire::icmp::ErrorKind;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` of linux/errqueue.h.
const LOCAL: u8 = 1;
const BY_ICMP: u8 = 2;
const BY_ICMP6: u8 = 3;
/// Most bytes of a payload that are kept: what fits into an error by ICMPv6 (RFC 4443 section 2.4 c).
const PAYLOAD_BYTES_MAX: usize = 1280;
/// Bytes that a socket's complaints may take; what comes beyond is not told.
const COMPLAINTS_BYTES_MAX: usize = 64 << 10;

/// IP_MTU_DISCOVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Discover {
    /// `IP_PMTUDISC_DONT`: routers may cut packets.
    Dont = 0,
    /// `IP_PMTUDISC_WANT`: the sender cuts what is too long for the path.
    Want = 1,
    /// `IP_PMTUDISC_DO`: nobody cuts anything.
    Do = 2,
    /// `IP_PMTUDISC_PROBE`: the same, whatever is known of the path.
    Probe = 3,
    /// `IP_PMTUDISC_INTERFACE`: as `Probe`, but routers may cut packets.
    Interface = 4,
    /// `IP_PMTUDISC_OMIT`: as that, and so may the sender.
    Omit = 5,
}

impl Discover {
    const ALL: [Self; 6] = [
        Self::Dont,
        Self::Want,
        Self::Do,
        Self::Probe,
        Self::Interface,
        Self::Omit,
    ];

    /// By its number.
    pub fn of(number: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|d| i32::from(*d as u8) == number)
    }

    /// Whether packets leave that routers must not cut.
    pub(crate) const fn is_whole(self) -> bool {
        matches!(self, Self::Want | Self::Do | Self::Probe)
    }

    /// Whether the sender refuses what is too long, instead of cutting it.
    const fn refuses(self) -> bool {
        matches!(self, Self::Do | Self::Probe | Self::Interface)
    }

    /// Whether what is known of paths counts, and not that of the interface alone.
    pub(crate) fn minds_path(self) -> bool {
        self < Self::Probe
    }
}

/// A complaint as it lies in the queue.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    about: Endpoint,
    offender: Address,
    target: Address,
    /// As sockets have theirs.
    error: u16,
    info: u32,
    device: u32,
    payload_len: u16,
    origin: u8,
    kind: u8,
    at: Nanos,
    code: u8,
    tos: u8,
    hop_limit: u8,
    _reserved: [u8; 5],
}

/// A complaint as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Complaint {
    /// What is wrong: `ee_errno`.
    pub error: Error,
    /// `ee_origin`.
    pub origin: u8,
    /// `ee_type`: of the ICMP message.
    pub kind: u8,
    /// `ee_code`.
    pub code: u8,
    /// `ee_info`: what the path carries where the packet was too long.
    pub info: u32,
    /// Where the packet went.
    pub about: Endpoint,
    /// Who says so; none for this host itself.
    pub offender: Option<Address>,
    /// Whom the message was for.
    pub target: Address,
    /// The index of the interface that it came by, 0 where that is not known.
    pub device: u32,
    /// Its type of service, or traffic class.
    pub tos: u8,
    /// Routers that it could still have passed.
    pub hop_limit: u8,
    /// When it came.
    pub at: Nanos,
    /// Bytes of the packet's payload that came back, and those copied out.
    pub len: usize,
    /// See `len`.
    pub copied: usize,
}

/// An error by ICMP, with what is told of it.
#[derive(Clone, Copy)]
pub(crate) struct Report<'f> {
    pub(crate) kind: ErrorKind,
    /// Where the packet went.
    pub(crate) about: Endpoint,
    /// The message's own way.
    pub(crate) offender: Address,
    pub(crate) target: Address,
    pub(crate) device: u32,
    pub(crate) tos: u8,
    pub(crate) hop_limit: u8,
    /// What came back of what the packet carried.
    pub(crate) payload: Foreign<'f>,
}

/// What Linux makes of an error by ICMP (`icmp_err_convert` and `icmpv6_err_convert`), and whether it is fatal, of which
/// connected sockets hear without asking. None for what no socket hears of.
pub(crate) fn judged(kind: ErrorKind, is_v4: bool) -> Option<(Error, bool)> {
    use Error::{
        HostDown, HostIsolated, MessageSize, NetUnreachable, NoProtocol, NoSourceRoute, Prohibited,
        Protocol, Refused, Unreachable,
    };
    Some(match (kind, is_v4) {
        (ErrorKind::Unreachable { code }, true) => match code {
            0 | 11 => (NetUnreachable, false),
            1 | 12 => (Unreachable, false),
            2 => (NoProtocol, true),
            3 => (Refused, true),
            5 => (NoSourceRoute, false),
            6 | 9 => (NetUnreachable, true),
            7 => (HostDown, true),
            8 => (HostIsolated, true),
            10 | 13..=15 => (Unreachable, true),
            _ => return None,
        },
        (ErrorKind::Unreachable { code }, false) => match code {
            0 => (NetUnreachable, false),
            1 | 5 | 6 => (Prohibited, true),
            2 | 3 => (Unreachable, false),
            4 => (Refused, true),
            _ => (Protocol, true),
        },
        (ErrorKind::PacketTooBig { .. }, _) => (MessageSize, true),
        // A packet that was not put together again is no router's word.
        (ErrorKind::TimeExceeded { code: 1 }, true) => return None,
        (ErrorKind::TimeExceeded { .. }, _) => (Unreachable, false),
        (ErrorKind::ParameterProblem { .. }, _) => (Protocol, true),
    })
}

/// Type, code and the word that is told of them.
fn numbers(kind: ErrorKind, is_v4: bool) -> (u8, u8, u32) {
    match (kind, is_v4) {
        (ErrorKind::Unreachable { code }, true) => (3, code, 0),
        (ErrorKind::Unreachable { code }, false) => (1, code, 0),
        (ErrorKind::PacketTooBig { mtu }, true) => (3, 4, mtu),
        (ErrorKind::PacketTooBig { mtu }, false) => (2, 0, mtu),
        (ErrorKind::TimeExceeded { code }, true) => (11, code, 0),
        (ErrorKind::TimeExceeded { code }, false) => (3, code, 0),
        (ErrorKind::ParameterProblem { code, pointer }, true) => (12, code, pointer),
        (ErrorKind::ParameterProblem { code, pointer }, false) => (4, code, pointer),
    }
}

impl Stack<'_> {
    /// IP_RECVERR and IPV6_RECVERR: whether the program is told what becomes of packets of that family. What it has not
    /// read is gone when it no longer is.
    pub fn set_recverr(&mut self, r: SocketRef, is_v4: bool, on: bool) -> Result<()> {
        self.core.socket(r)?.set(recverr(is_v4), on);
        if !on && self.core.at(r.index).extra != 0 {
            self.core.change_extra(r.index, |extra, pool| {
                extra.complaints.clear(pool);
            })?;
        }
        Ok(())
    }

    /// Whether the program is told.
    pub fn recverr(&mut self, r: SocketRef, is_v4: bool) -> Result<bool> {
        Ok(self.core.socket(r)?.has(recverr(is_v4)))
    }

    /// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.
    pub fn set_discover(&mut self, r: SocketRef, is_v4: bool, mode: Discover) -> Result<()> {
        self.core.socket(r)?.discover[usize::from(is_v4)] = mode as u8;
        Ok(())
    }

    /// As set.
    pub fn discover(&mut self, r: SocketRef, is_v4: bool) -> Result<Discover> {
        Ok(self.core.socket(r)?.discover(is_v4))
    }

    /// The next complaint, with as much of the packet's payload as fits into `parts`.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    pub fn take_complaint(
        &mut self,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
    ) -> Result<Complaint> {
        if !self.core.socket(r)?.has(SocketFlags::NOTICES) {
            return Err(Error::WouldBlock);
        }
        let mut taken = None;
        let mut next = None;
        self.core.change_extra(r.index, |extra, pool| {
            let queue = &mut extra.complaints;
            let mut record = Record::new_zeroed();
            let head = size_of::<Record>();
            if queue.read(pool, &mut ForeignMut::from(record.as_mut_bytes())) < head {
                return;
            }
            let len = usize::from(record.payload_len);
            let mut copied = 0;
            for part in parts {
                let room = part.len().min(len - copied);
                copied += queue.copy_out(pool, copied, &mut part.first(room));
            }
            queue.consume(pool, len);
            taken = Some((record, copied));
            let mut other = Record::new_zeroed();
            if queue.copy_out(pool, 0, &mut ForeignMut::from(other.as_mut_bytes())) == head {
                next = Some(other);
            }
        })?;
        let (record, copied) = taken.ok_or(Error::WouldBlock)?;
        // What is pending is the next one's from now on.
        let pending = next.filter(|next| next.origin != LOCAL);
        if record.origin != LOCAL || pending.is_some() {
            self.core.at(r.index).error = pending.map_or(0, |next| u32::from(next.error));
        }
        Ok(Complaint {
            error: decode_error(u32::from(record.error)).unwrap_or(Error::Unreachable),
            origin: record.origin,
            kind: record.kind,
            code: record.code,
            info: record.info,
            about: record.about,
            offender: (record.origin != LOCAL).then_some(record.offender),
            target: record.target,
            device: record.device,
            tos: record.tos,
            hop_limit: record.hop_limit,
            at: record.at,
            len: usize::from(record.payload_len),
            copied,
        })
    }
}

const fn recverr(is_v4: bool) -> SocketFlags {
    if is_v4 {
        SocketFlags::RECVERR
    } else {
        SocketFlags::RECVERR6
    }
}

impl Core<'_> {
    /// Whether a socket is told what becomes of packets of that family.
    pub(crate) fn hears_errors(&self, index: u32, is_v4: bool) -> bool {
        self.sockets[index as usize].has(recverr(is_v4))
    }

    /// Queues an error by ICMP.
    pub(crate) fn complain(&mut self, index: u32, error: Error, report: &Report<'_>) {
        let is_v4 = report.about.addr.is_v4();
        let (kind, code, info) = numbers(report.kind, is_v4);
        let record = Record {
            about: report.about,
            offender: report.offender,
            target: report.target,
            error: error as u16 + 1,
            info,
            device: report.device,
            at: self.now(),
            payload_len: 0,
            origin: if is_v4 { BY_ICMP } else { BY_ICMP6 },
            kind,
            code,
            tos: report.tos,
            hop_limit: report.hop_limit,
            _reserved: [0; 5],
        };
        self.queue_complaint(index, record, report.payload);
    }

    /// Whether a packet of `bytes` goes that way, which carries those of `limit` bytes, and what identifies its fragments
    /// if routers may cut it.
    #[cold]
    pub(crate) fn fit(
        &mut self,
        index: u32,
        target: &Endpoint,
        (discover, way, limit): (Discover, Way, usize),
        bytes: usize,
    ) -> Result<u16> {
        if way.hop == NONE {
            return if bytes > limit {
                Err(Error::TooLong)
            } else {
                Ok(0)
            };
        }
        let limit = if discover.minds_path() {
            limit
        } else {
            self.packet_bytes_max(way.wire, self.vlan(way.hop))
        };
        if bytes > limit {
            return Err(self.too_long(index, target, limit));
        }
        if discover.is_whole() {
            return Ok(0);
        }
        let [.., high, low] = (self
            .header
            .secret
            .wrapping_add(self.counters.udp_tx_datagrams))
        .to_be_bytes();
        Ok(u16::from_be_bytes([high, low]).max(1))
    }

    /// A datagram was too long for its way, which carries packets of `mtu` bytes: who may cut it, or what its sender is told.
    fn too_long(&mut self, index: u32, target: &Endpoint, mtu: usize) -> Error {
        let is_v4 = target.addr.is_v4();
        let s = self.at(index);
        if !s.discover(is_v4).refuses() {
            return Error::TooLong;
        }
        // Linux names the port that IPv4 sockets are connected to, and knows none else.
        let has_port = !is_v4 || s.has(SocketFlags::CONNECTED);
        if self.hears_errors(index, is_v4) {
            let port = if has_port { target.port } else { 0 };
            let record = Record {
                about: Endpoint::new(target.addr, port),
                error: Error::MessageSize as u16 + 1,
                info: u32::try_from(mtu).unwrap_or(u32::MAX),
                origin: LOCAL,
                ..Record::new_zeroed()
            };
            self.queue_complaint(index, record, Foreign::EMPTY);
            self.notify(index, Ready::ERR);
        }
        Error::MessageSize
    }

    fn queue_complaint(&mut self, index: u32, mut record: Record, payload: Foreign<'_>) {
        let payload = payload.first(PAYLOAD_BYTES_MAX);
        record.payload_len = u16::try_from(payload.len()).unwrap_or(0);
        let _ = self.change_extra(index, |extra, pool| {
            let queue = &mut extra.complaints;
            // No more than one further chunk is needed, so both go in or neither.
            if queue.len() < COMPLAINTS_BYTES_MAX && pool.has_free(Use::Receive) {
                queue.append(pool, record.as_bytes().into(), Use::Receive);
                queue.append(pool, payload, Use::Receive);
            }
        });
    }
}
