//! Control messages of recvmsg(2) and sendmsg(2), as the kernel writes and reads them.
#![expect(
    unsafe_code,
    reason = "reads and writes what the program's pointers point at"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it leads to are looked at together"
)]

use crate::c;
use core::ffi::c_int;
use libc::{cmsghdr, in_pktinfo, in6_pktinfo, msghdr, sockaddr_in, sockaddr_in6, timespec};
use sidestep_socket::{
    Address, Arrival, Asked, Beside, Complaint, Departure, Errno, Leaving, Nanos, Notice, process,
};

/// Bytes of a message's header; messages begin at multiples of 8.
const HEAD: usize = size_of::<cmsghdr>();

/// Where messages are written, one after another.
struct Room {
    at: *mut u8,
    left: usize,
    used: usize,
    is_cut: bool,
}

impl Room {
    /// Writes a message, cut to the room that is left (`put_cmsg` of Linux).
    fn put(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        if self.left < HEAD {
            self.is_cut = true;
            return;
        }
        let full = HEAD + data.len();
        let len = full.min(self.left);
        self.is_cut |= len < full;
        let head = cmsghdr {
            cmsg_len: len,
            cmsg_level: level,
            cmsg_type: kind,
        };
        // SAFETY: `left` bytes of the program's are at `at`, of which no more than that many are written.
        unsafe {
            self.at.cast::<cmsghdr>().write_unaligned(head);
            core::ptr::copy_nonoverlapping(data.as_ptr(), self.at.add(HEAD), len - HEAD);
        }
        let step = full.next_multiple_of(8).min(self.left);
        // SAFETY: no further than the end of the program's room.
        self.at = unsafe { self.at.add(step) };
        (self.left, self.used) = (self.left - step, self.used + step);
    }
}

/// Tells what the program wants to be told of a datagram. `is_v6` is the socket's family.
pub(crate) unsafe fn put(header: &mut msghdr, arrival: Option<&Arrival>, is_v6: bool) {
    let mut room = room_of(header);
    if let Some(arrival) = arrival {
        put_all(&mut room, arrival, is_v6);
    }
    finish(header, &room);
}

/// Room for messages where the program gave it, from its start.
fn room_of(header: &msghdr) -> Room {
    let is_bad = c::is_bad(header.msg_control);
    Room {
        at: header.msg_control.cast(),
        left: if is_bad { 0 } else { header.msg_controllen },
        used: 0,
        is_cut: false,
    }
}

/// Says how much was written.
fn finish(header: &mut msghdr, room: &Room) {
    header.msg_controllen = room.used;
    if room.is_cut {
        header.msg_flags |= libc::MSG_CTRUNC;
    }
}

/// Tells a notice, with its time first, as Linux does.
pub(crate) unsafe fn put_notice(header: &mut msghdr, notice: &Notice, is_v6: bool) {
    let mut room = room_of(header);
    if notice.tells_time() {
        // `struct scm_timestamping`: the software's time, and two that are not known.
        let at = process().time_of_day(notice.at);
        let mut times = [0; 3 * size_of::<timespec>()];
        times[..8].copy_from_slice(&at.as_secs().to_ne_bytes());
        times[8..16].copy_from_slice(&u64::from(at.subsec_nanos()).to_ne_bytes());
        room.put(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &times);
    }
    let errno = if notice.is_timestamp() {
        libc::ENOMSG
    } else {
        0
    };
    let what = [notice.origin, 0, notice.code, 0];
    put_error(
        &mut room,
        errno,
        what,
        (notice.info, notice.data),
        None,
        is_v6,
    );
    finish(header, &room);
}

/// Tells what became of a packet, behind what was `asked` for of datagrams: that is told of the message about it.
pub(crate) unsafe fn put_complaint(
    header: &mut msghdr,
    told: &Complaint,
    errno: Errno,
    (asked, is_v6): (Asked, bool),
) {
    let mut room = room_of(header);
    if told.offender.is_some() {
        let arrival = Arrival {
            asked,
            target: told.target,
            device: told.device,
            tos: told.tos,
            hop_limit: told.hop_limit,
            at: told.at,
        };
        put_all(&mut room, &arrival, is_v6);
    }
    let what = [told.origin, told.kind, told.code, 0];
    let errno = errno.raw_os_error();
    put_error(&mut room, errno, what, (told.info, 0), told.offender, is_v6);
    finish(header, &room);
}

/// `struct sock_extended_err`, and whose word it is.
fn put_error(
    room: &mut Room,
    errno: c_int,
    what: [u8; 4],
    (info, data): (u32, u32),
    offender: Option<Address>,
    is_v6: bool,
) {
    let mut error = [0; 16 + size_of::<sockaddr_in6>()];
    error[..4].copy_from_slice(&errno.to_ne_bytes());
    error[4..8].copy_from_slice(&what);
    error[8..12].copy_from_slice(&info.to_ne_bytes());
    error[12..16].copy_from_slice(&data.to_ne_bytes());
    let name = &mut error[16..];
    match offender {
        Some(offender) if is_v6 => {
            name[..2].copy_from_slice(&c::INET6.to_ne_bytes());
            name[8..24].copy_from_slice(&offender.0);
        }
        Some(offender) => {
            name[..2].copy_from_slice(&c::INET.to_ne_bytes());
            name[4..8].copy_from_slice(&offender.v4_octets());
        }
        None => {}
    }
    let (level, kind, len) = if is_v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, error.len())
    } else {
        let len = 16 + size_of::<sockaddr_in>();
        (libc::IPPROTO_IP, libc::IP_RECVERR, len)
    };
    room.put(level, kind, &error[..len]);
}

/// What is told with bytes of a stream; times only where there are any.
pub(crate) unsafe fn put_beside(header: &mut msghdr, beside: &Beside, any: bool) {
    // TCP_CM_INQ of linux/tcp.h.
    const TCP_CM_INQ: c_int = 36;
    let mut room = room_of(header);
    if let Some((asked, at)) = beside.at.filter(|_| any) {
        put_times(&mut room, asked, at);
    }
    if let Some(left) = beside.left {
        room.put(libc::IPPROTO_TCP, TCP_CM_INQ, &left.to_ne_bytes());
    }
    finish(header, &room);
}

/// When something came, in the ways that were asked for.
#[cold]
fn put_times(room: &mut Room, asked: Asked, at: Nanos) {
    // `SO_TIMESTAMP_NEW` and so on, by which messages of times of 64 bits are called.
    const NEW: [c_int; 3] = [63, 64, 65];
    const OLD: [c_int; 3] = [
        libc::SO_TIMESTAMP,
        libc::SO_TIMESTAMPNS,
        libc::SO_TIMESTAMPING,
    ];
    let names = if asked.contains(Asked::TIME_NEW) {
        NEW
    } else {
        OLD
    };
    let at = process().time_of_day(at);
    let time = |fraction: u32| {
        let mut time = [0; size_of::<timespec>()];
        time[..8].copy_from_slice(&at.as_secs().to_ne_bytes());
        time[8..].copy_from_slice(&u64::from(fraction).to_ne_bytes());
        time
    };
    if asked.contains(Asked::TIME) {
        room.put(libc::SOL_SOCKET, names[0], &time(at.subsec_micros()));
    }
    let time = time(at.subsec_nanos());
    if asked.contains(Asked::TIME_NS) {
        room.put(libc::SOL_SOCKET, names[1], &time);
    }
    if asked.contains(Asked::TIMES) {
        // `struct scm_timestamping`: the software's time, and two that are not known.
        let mut times = [0; 3 * size_of::<timespec>()];
        times[..time.len()].copy_from_slice(&time);
        room.put(libc::SOL_SOCKET, names[2], &times);
    }
}

/// In the order of Linux.
fn put_all(room: &mut Room, arrival: &Arrival, is_v6: bool) {
    let asked = |what: Asked| arrival.asked.contains(what);
    if arrival.asked.intersects(Asked::ANY_TIME) {
        put_times(room, arrival.asked, arrival.at);
    }
    let by_v4 = arrival.target.v4();
    if is_v6 && asked(Asked::INFO6) {
        let mut info = [0; size_of::<in6_pktinfo>()];
        info[..16].copy_from_slice(&arrival.target.0);
        info[16..].copy_from_slice(&arrival.device.to_ne_bytes());
        room.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
    let (hop_limit, tos) = (c_int::from(arrival.hop_limit), arrival.tos);
    if let Some(target) = by_v4 {
        if asked(Asked::INFO) {
            let mut info = [0; size_of::<in_pktinfo>()];
            let home = if target.is_multicast() {
                process().home(arrival.device).and_then(Address::v4)
            } else {
                None
            };
            info[..4].copy_from_slice(&arrival.device.to_ne_bytes());
            info[4..8].copy_from_slice(&home.unwrap_or(target).octets());
            info[8..].copy_from_slice(&target.octets());
            room.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        if asked(Asked::TTL) {
            room.put(libc::IPPROTO_IP, libc::IP_TTL, &hop_limit.to_ne_bytes());
        }
        if asked(Asked::TOS) {
            room.put(libc::IPPROTO_IP, libc::IP_TOS, &[tos]);
        }
        return;
    }
    if asked(Asked::HOP_LIMIT) {
        let bytes = hop_limit.to_ne_bytes();
        room.put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &bytes);
    }
    if asked(Asked::CLASS) {
        let bytes = c_int::from(tos).to_ne_bytes();
        room.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &bytes);
    }
    if asked(Asked::OLD_HOP_LIMIT) {
        let bytes = hop_limit.to_ne_bytes();
        room.put(libc::IPPROTO_IPV6, libc::IPV6_2292HOPLIMIT, &bytes);
    }
}

/// What the program says of a datagram beside its bytes. Whatever is not understood, or wrong, is the kernel's to judge.
pub(crate) unsafe fn read(header: &msghdr) -> Departure {
    let mut departure = Departure::default();
    let mut at = header.msg_control.cast::<u8>();
    let mut left = header.msg_controllen;
    if c::is_bad(header.msg_control) {
        departure.other = left != 0;
        return departure;
    }
    while left >= HEAD {
        // SAFETY: `left` bytes of the program's are at `at`.
        let head = unsafe { at.cast::<cmsghdr>().read_unaligned() };
        let Some(len) = head
            .cmsg_len
            .checked_sub(HEAD)
            .filter(|len| *len <= left - HEAD)
        else {
            departure.other = true;
            return departure;
        };
        let mut data = [0; 20];
        let n = len.min(data.len());
        // SAFETY: as above; n bytes fit on both sides.
        unsafe { core::ptr::copy_nonoverlapping(at.add(HEAD), data.as_mut_ptr(), n) };
        departure.other |= len > n || !take(&mut departure, &head, &data[..n]);
        let step = (HEAD + len).next_multiple_of(8).min(left);
        // SAFETY: no further than the end of the messages.
        at = unsafe { at.add(step) };
        left -= step;
    }
    departure
}

/// Whether a message was understood.
fn take(departure: &mut Departure, head: &cmsghdr, data: &[u8]) -> bool {
    let number = || match data {
        [byte] => Some(c_int::from(*byte)),
        _ => data.try_into().ok().map(c_int::from_ne_bytes),
    };
    let word = |at: usize| {
        let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_ne_bytes)
    };
    let Leaving { tos, hop_limit } = &mut departure.leaving;
    match (head.cmsg_level, head.cmsg_type, data.len()) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, 12) => {
            let source = [data[4], data[5], data[6], data[7]];
            departure.device = word(0).unwrap_or(0);
            departure.source = (source != [0; 4]).then(|| Address::from_v4(source));
            true
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20) => {
            let mut source = Address([0; 16]);
            source.0.copy_from_slice(&data[..16]);
            departure.device = word(16).unwrap_or(0);
            departure.source = (!source.is_unspecified()).then_some(source);
            true
        }
        (libc::IPPROTO_IP, libc::IP_TTL, 4) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, 4) => {
            *hop_limit = number()
                .and_then(|n| u8::try_from(n).ok())
                .filter(|n| *n > 0);
            hop_limit.is_some()
        }
        (libc::IPPROTO_IP, libc::IP_TOS, 1 | 4) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4) => {
            *tos = number().and_then(|n| u8::try_from(n).ok());
            tos.is_some()
        }
        _ => false,
    }
}
