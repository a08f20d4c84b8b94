//! Socket options: which of them the stack must know, and what it answers itself.
//!
//! Options are set on the kernel's socket first as long as it may still serve the socket: it judges what is valid, and a
//! socket that is handed over behaves as it was told to. For a connection of the stack's own the rules are here, as in
//! Linux.

use crate::process::Process;
use crate::tcp_info::{TCP_INFO_BYTES, tcp_info};
use crate::{Address, Errno, Nanos};
use sidestep_control::GroupChange;
use sidestep_shm::NONE;
use sidestep_stack::{Asked, Discover, Handover, SocketFlags, SocketRef, Stack, Stamping};
use sidestep_tcp::{Algorithm, KeepAlive, Tcb};

/// Longest name of a congestion control (`TCP_CA_NAME_MAX`).
pub const CONGESTION_NAME_BYTES: usize = 16;
/// `TCP_MIN_MSS` and `MAX_TCP_WINDOW`: what TCP_MAXSEG may be.
const MAXSEG: core::ops::RangeInclusive<i32> = 88..=32_767;
/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`, `MAX_TCP_KEEPCNT`, `MAX_TCP_SYNCNT`.
const KEEP_SECONDS_MAX: i32 = 32_767;
const COUNT_MAX: i32 = 127;
/// Half of `SOCK_MIN_RCVBUF`, the least that TCP_WINDOW_CLAMP makes of a window.
const WINDOW_CLAMP_MIN: u32 = 1152;
/// IP and TCP headers without options.
const HEADERS_V4: u16 = 40;
const HEADERS_V6: u16 = 60;
/// TCP_INQ of linux/tcp.h.
const TCP_INQ: i32 = 36;
/// The same options with times of 64 bits, of asm-generic/socket.h.
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_TIMESTAMPING_NEW: i32 = 65;
/// The bits of SO_TIMESTAMPING that there are (`SOF_TIMESTAMPING_MASK`).
const STAMPING: i32 = (1 << 19) - 1;
/// TCP_AO_ADD_KEY to TCP_AO_REPAIR of linux/tcp.h, which the C library's crate does not know.
const TCP_AO: core::ops::RangeInclusive<i32> = 38..=42;

/// A value of an option, decoded from what the program passed.
#[derive(Clone, Copy, Debug)]
pub enum OptionValue {
    /// A number.
    Int(i32),
    /// A number of 64 bits.
    Long(u64),
    /// The name of a congestion control, zeros behind it.
    Name([u8; CONGESTION_NAME_BYTES]),
    /// SO_LINGER: on, seconds.
    Linger(bool, i32),
    /// SO_RCVTIMEO, SO_SNDTIMEO; zero for none.
    Time(Nanos),
    /// A group (multicast) that is joined or left, with the interface.
    Group(GroupChange),
    /// IP_MULTICAST_IF: the index of the interface or 0, and an address of it or none.
    GroupDevice(u32, Address),
    /// Anything else, such as what is too short.
    Other,
}

/// What an option is, in the stack's own words.
#[derive(Clone, Debug)]
pub enum OptionAnswer {
    /// A number.
    Int(i32),
    /// A number of 64 bits; of 32 where there is no room for more.
    Long(u64),
    /// TCP_INFO.
    Info(Box<[u8; TCP_INFO_BYTES]>),
    /// The name of the congestion control.
    Name(&'static str),
    /// SO_LINGER: on, seconds.
    Linger(bool, i32),
    /// SO_RCVTIMEO, SO_SNDTIMEO; zero for none.
    Time(Nanos),
}

impl Process {
    /// The program sets an option. `Some`: done, the kernel is not to be asked. None: the kernel decides, and what it
    /// takes is to be [noted](Self::note_option).
    pub fn set_option(
        &self,
        fd: i32,
        level: i32,
        name: i32,
        value: OptionValue,
    ) -> Option<Result<(), Errno>> {
        let now = self.now();
        let signed = is_signature(level, name);
        let (connected, listens, is_stream) = self
            .on_socket(fd, |stack, r| {
                let listens = stack.served(r).is_some_and(|served| served.is_tcp);
                Ok((stack.is_connected_stream(r), listens, stack.is_stream(r)))
            })?
            .ok()?;
        if signed && is_stream {
            if connected || listens {
                return Some(Err(Errno::NOPROTOOPT));
            }
            // The kernel signs segments, and we do not: it shall have the socket.
            let (shared, r) = self.socket_of(fd)?;
            self.hand_over(shared, fd, r, "setsockopt", None, Handover::Option);
            return None;
        }
        if !connected || !known(level, name) {
            return None;
        }
        if let Err(errno) = judge(level, name, value) {
            return Some(Err(errno));
        }
        // An accelerated connection never comes back to the kernel.
        let applied = self.on_socket(fd, |stack, r| {
            apply(stack, now, r, (level, name), value)?;
            stack.flush(now, r);
            Ok(())
        })?;
        Some(applied)
    }

    /// The kernel has taken an option, or refused one that the stack takes all the same: false where it does not.
    pub fn note_option(
        &self,
        fd: i32,
        level: i32,
        name: i32,
        value: OptionValue,
        refused: bool,
    ) -> bool {
        // What congestion control there is, is each stack's own business.
        let ours = || {
            let is_stream = self.on_socket(fd, |stack, r| Ok(stack.is_stream(r)));
            matches!(value, OptionValue::Name(_))
                && judge(level, name, value).is_ok()
                && matches!(is_stream, Some(Ok(true)))
        };
        if refused && !ours() {
            return false;
        }
        let now = self.now();
        let applied = self.on_socket(fd, |stack, r| {
            apply(stack, now, r, (level, name), value)?;
            stack.flush(now, r);
            Ok(())
        });
        if level == libc::IPPROTO_TCP
            && matches!(name, libc::TCP_FASTOPEN | libc::TCP_FASTOPEN_KEY)
            && !refused
        {
            self.offer_fast_open(fd);
        }
        applied.is_some()
    }

    /// The program asks for an option. None: the kernel's socket knows.
    pub fn option(&self, fd: i32, level: i32, name: i32) -> Option<Result<OptionAnswer, Errno>> {
        let now = self.now();
        let answer = self.on_socket(fd, |stack, r| Ok(answer(stack, now, r, level, name)))?;
        answer.ok().flatten().map(Ok)
    }

    /// SO_ERROR: the pending error, which is cleared. None: ask the kernel (it may have one too).
    pub fn take_error(&self, fd: i32) -> Option<Option<Errno>> {
        let taken = self.on_socket(fd, |stack, r| {
            Ok((stack.take_error(r)?, stack.is_connected_stream(r)))
        })?;
        match taken {
            Ok((Some(error), _)) => Some(Some(crate::errno::from_stack(error))),
            Ok((None, true)) => Some(None),
            _ => None,
        }
    }
}

/// Options that have segments signed (RFC 2385, RFC 5925).
fn is_signature(level: i32, name: i32) -> bool {
    level == libc::IPPROTO_TCP
        && (matches!(name, libc::TCP_MD5SIG | libc::TCP_MD5SIG_EXT) || TCP_AO.contains(&name))
}

/// Options that an accelerated connection has of its own.
const fn known(level: i32, name: i32) -> bool {
    match level {
        libc::SOL_SOCKET => {
            is_about_times(name)
                || matches!(
                    name,
                    libc::SO_KEEPALIVE
                        | libc::SO_LINGER
                        | libc::SO_RCVTIMEO
                        | libc::SO_SNDTIMEO
                        | libc::SO_RCVLOWAT
                        | libc::SO_SNDBUF
                        | libc::SO_RCVBUF
                        | libc::SO_MAX_PACING_RATE
                        | libc::SO_OOBINLINE
                        | libc::SO_ZEROCOPY
                )
        }
        libc::IPPROTO_TCP => matches!(
            name,
            libc::TCP_NODELAY
                | libc::TCP_CORK
                | libc::TCP_KEEPIDLE
                | libc::TCP_KEEPINTVL
                | libc::TCP_KEEPCNT
                | libc::TCP_USER_TIMEOUT
                | libc::TCP_QUICKACK
                | libc::TCP_CONGESTION
                | libc::TCP_NOTSENT_LOWAT
                | libc::TCP_WINDOW_CLAMP
                | libc::TCP_LINGER2
                | libc::TCP_MAXSEG
                | libc::TCP_SYNCNT
                | libc::TCP_DEFER_ACCEPT
                | libc::TCP_FASTOPEN
                | libc::TCP_FASTOPEN_CONNECT
                | libc::TCP_FASTOPEN_NO_COOKIE
                | TCP_INQ
        ),
        libc::IPPROTO_IP => matches!(name, libc::IP_TOS | libc::IP_TTL | libc::IP_RECVERR),
        libc::IPPROTO_IPV6 => matches!(
            name,
            libc::IPV6_TCLASS | libc::IPV6_UNICAST_HOPS | libc::IPV6_RECVERR
        ),
        _ => false,
    }
}

/// What Linux says to a value for a connection.
fn judge(level: i32, name: i32, value: OptionValue) -> Result<(), Errno> {
    let valid = match value {
        OptionValue::Other => false,
        OptionValue::Name(name) => {
            let known = Algorithm::of_name(trimmed(&name)).is_some();
            return known.then_some(()).ok_or(Errno::NOENT);
        }
        OptionValue::Int(n) if level == libc::IPPROTO_TCP => match name {
            libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL => (1..=KEEP_SECONDS_MAX).contains(&n),
            libc::TCP_KEEPCNT | libc::TCP_SYNCNT => (1..=COUNT_MAX).contains(&n),
            libc::TCP_USER_TIMEOUT => n >= 0,
            libc::TCP_MAXSEG => n == 0 || MAXSEG.contains(&n),
            libc::TCP_WINDOW_CLAMP => n != 0,
            // Of a socket that listens, or was never connected.
            libc::TCP_FASTOPEN | libc::TCP_FASTOPEN_CONNECT | libc::TCP_FASTOPEN_NO_COOKIE => false,
            TCP_INQ => matches!(n, 0 | 1),
            _ => true,
        },
        OptionValue::Int(n) if level == libc::SOL_SOCKET => match name {
            libc::SO_ZEROCOPY => matches!(n, 0 | 1),
            libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => n & !STAMPING == 0,
            _ => true,
        },
        _ => true,
    };
    valid.then_some(()).ok_or(Errno::INVAL)
}

fn apply(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    option: (i32, i32),
    value: OptionValue,
) -> sidestep_stack::Result<()> {
    let (level, name) = option;
    match (level, name, value) {
        (libc::SOL_SOCKET, libc::SO_LINGER, OptionValue::Linger(on, seconds)) => {
            stack.set_linger(r, on.then_some(u32::try_from(seconds).unwrap_or(0)))
        }
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO, OptionValue::Time(span)) => {
            stack.set_timeouts(r, Some(span), None)
        }
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO, OptionValue::Time(span)) => {
            stack.set_timeouts(r, None, Some(span))
        }
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, OptionValue::Long(rate)) => {
            set_pacing(stack, r, rate, u64::MAX)
        }
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, OptionValue::Int(rate)) => {
            let rate = u64::from(rate.cast_unsigned());
            set_pacing(stack, r, rate, u64::from(u32::MAX))
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION, OptionValue::Name(name)) => {
            if let Some(algorithm) = Algorithm::of_name(trimmed(&name))
                && stack.is_stream(r)
            {
                stack.tcb(r)?.set_congestion(algorithm);
            }
            Ok(())
        }
        (_, _, OptionValue::GroupDevice(device, address)) => {
            let device = match device {
                0 if !address.is_unspecified() => sidestep_control::device::of_address(address),
                device => device,
            };
            stack.set_group_device(r, device, address)
        }
        (_, _, OptionValue::Int(n)) => apply_number(stack, now, r, (level, name), n),
        _ => Ok(()),
    }
}

/// SO_MAX_PACING_RATE; all ones stand for no limit, and zero for next to nothing, as on Linux.
fn set_pacing(
    stack: &mut Stack<'static>,
    r: SocketRef,
    rate: u64,
    none: u64,
) -> sidestep_stack::Result<()> {
    let limit = if rate == none { 0 } else { rate.max(1) };
    if stack.is_stream(r) {
        stack.tcb(r)?.set_pacing_max(limit);
    }
    Ok(())
}

fn apply_number(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    option: (i32, i32),
    n: i32,
) -> sidestep_stack::Result<()> {
    let (level, name) = option;
    let on = n != 0;
    let size = u32::try_from(n).unwrap_or(0);
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => stack.set_flags(r, SocketFlags::REUSEADDR, on),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => stack.set_flags(r, SocketFlags::REUSE, on),
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => stack.set_flags(r, SocketFlags::ZEROCOPY, on),
        (libc::SOL_SOCKET, _) if is_about_times(name) => apply_times(stack, r, name, n),
        (libc::IPPROTO_TCP, TCP_INQ) => stack.set_flags(r, SocketFlags::INQ, on),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => stack.set_rcv_low(r, size),
        // As Linux: twice of what was asked for, within bounds; never less than what serves a full wire.
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => {
            stack.set_buffers(r, Some(size.saturating_mul(2)), None)
        }
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
            stack.set_buffers(r, None, Some(size.saturating_mul(2)))
        }
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
            stack.tcb(r)?.set_keepalive(on, now);
            Ok(())
        }
        (libc::SOL_SOCKET, libc::SO_OOBINLINE) if stack.is_stream(r) => {
            stack.tcb(r)?.set_oob_inline(on);
            Ok(())
        }
        (libc::IPPROTO_UDP, libc::UDP_SEGMENT) => {
            stack.set_flags(r, SocketFlags::SEGMENT, on)?;
            // What was made for the short way says nothing of that.
            stack.set_ip(r, None, None)
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, _) => apply_ip(stack, r, option, n),
        (libc::IPPROTO_TCP, _) if stack.is_stream(r) => {
            apply_tcp(stack.tcb(r)?, now, name, n);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Options that have times told.
const fn is_about_times(name: i32) -> bool {
    matches!(
        name,
        libc::SO_TIMESTAMP
            | libc::SO_TIMESTAMPNS
            | libc::SO_TIMESTAMPING
            | SO_TIMESTAMP_NEW
            | SO_TIMESTAMPNS_NEW
            | SO_TIMESTAMPING_NEW
    )
}

fn apply_times(
    stack: &mut Stack<'static>,
    r: SocketRef,
    name: i32,
    n: i32,
) -> sidestep_stack::Result<()> {
    let on = n != 0;
    match name {
        libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
            stack.ask(r, Asked::TIME_NEW, name == SO_TIMESTAMPING_NEW)?;
            stack.set_stamping(r, Stamping::from_bits_retain(n.cast_unsigned()))
        }
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => {
            stack.ask(r, Asked::TIME_NEW, name == SO_TIMESTAMP_NEW)?;
            stack.ask(r, Asked::TIME_NS, false)?;
            stack.ask(r, Asked::TIME, on)
        }
        _ => {
            stack.ask(r, Asked::TIME_NEW, name == SO_TIMESTAMPNS_NEW)?;
            stack.ask(r, Asked::TIME, false)?;
            stack.ask(r, Asked::TIME_NS, on)
        }
    }
}

/// Options of IP, of either family.
fn apply_ip(
    stack: &mut Stack<'static>,
    r: SocketRef,
    option: (i32, i32),
    n: i32,
) -> sidestep_stack::Result<()> {
    let (level, name) = option;
    let on = n != 0;
    match (level, name) {
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => stack.set_flags(r, SocketFlags::V6ONLY, on),
        (libc::IPPROTO_IP, libc::IP_RECVERR) => stack.set_recverr(r, true, on),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => stack.set_recverr(r, false, on),
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => {
            Discover::of(n).map_or(Ok(()), |mode| stack.set_discover(r, true, mode))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) => {
            Discover::of(n).map_or(Ok(()), |mode| stack.set_discover(r, false, mode))
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) => {
            stack.set_flags(r, SocketFlags::NO_LOOP, !on)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
            stack.set_flags(r, SocketFlags::NO_LOOP6, !on)
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) => {
            stack.set_group_hops(r, true, if n == -1 { 1 } else { low_byte(n) })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => {
            stack.set_group_hops(r, false, if n == -1 { 1 } else { low_byte(n) })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
            stack.set_group_device(r, n.cast_unsigned(), Address::UNSPECIFIED_V6)
        }
        _ if asks(level, name).is_some() => {
            stack.ask(r, asks(level, name).unwrap_or(Asked::empty()), on)
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            stack.set_ip(r, Some(low_byte(n)), None)
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)
            if n > 0 || n == -1 =>
        {
            let default = 64;
            stack.set_ip(r, None, Some(if n > 0 { low_byte(n) } else { default }))
        }
        _ => Ok(()),
    }
}

fn apply_tcp(tcb: &mut Tcb, now: Nanos, name: i32, n: i32) {
    let on = n != 0;
    let size = u32::try_from(n).unwrap_or(0);
    match name {
        libc::TCP_NODELAY => tcb.set_nodelay(on),
        libc::TCP_CORK => tcb.set_cork(on),
        libc::TCP_QUICKACK => tcb.set_quickack(on),
        libc::TCP_USER_TIMEOUT => tcb.set_user_timeout(size),
        libc::TCP_NOTSENT_LOWAT => tcb.set_unsent_low(n.cast_unsigned()),
        libc::TCP_WINDOW_CLAMP if on => {
            tcb.set_window_clamp(n.cast_unsigned().max(WINDOW_CLAMP_MIN));
        }
        libc::TCP_WINDOW_CLAMP => tcb.set_window_clamp(0),
        libc::TCP_LINGER2 => tcb.set_linger2(n),
        libc::TCP_MAXSEG => tcb.set_max_segment(u16::try_from(n).unwrap_or(0)),
        libc::TCP_SYNCNT => tcb.set_syn_retries(low_byte(n)),
        libc::TCP_DEFER_ACCEPT => tcb.set_defer_accept(size),
        libc::TCP_FASTOPEN => tcb.set_fast_open(u16::try_from(size).unwrap_or(u16::MAX)),
        libc::TCP_FASTOPEN_CONNECT => tcb.set_fast_connect(on),
        libc::TCP_FASTOPEN_NO_COOKIE => tcb.set_no_cookie(on),
        libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT => {
            let mut keep: KeepAlive = tcb.keepalive_parameters();
            match name {
                libc::TCP_KEEPIDLE => keep.idle_s = seconds(size),
                libc::TCP_KEEPINTVL => keep.interval_s = seconds(size),
                _ => keep.count = low_byte(n),
            }
            tcb.set_keepalive_parameters(keep, now);
        }
        _ => {}
    }
}

fn answer(
    stack: &mut Stack<'static>,
    now: Nanos,
    r: SocketRef,
    level: i32,
    name: i32,
) -> Option<OptionAnswer> {
    let congestion = (level, name) == (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
    let ours = congestion && stack.is_stream(r);
    if !stack.is_stream(r) {
        return answer_datagram(stack, r, level, name);
    }
    if !stack.is_connected_stream(r) {
        // The kernel need not know what was chosen.
        let chosen = ours.then(|| stack.tcb(r).ok()?.chosen_congestion());
        return chosen.flatten().map(|a| OptionAnswer::Name(a.name()));
    }
    let number = |n: u32| Some(OptionAnswer::Int(i32::try_from(n).unwrap_or(i32::MAX)));
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => number(stack.buffers(r).ok()?.0),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => number(stack.buffers(r).ok()?.1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => number(u32::from(stack.tcb(r).ok()?.keepalive())),
        (libc::SOL_SOCKET, libc::SO_OOBINLINE) => {
            number(u32::from(stack.tcb(r).ok()?.oob_inline()))
        }
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => number(u32::from(
            stack.flags(r).ok()?.contains(SocketFlags::REUSEADDR),
        )),
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => number(u32::from(
            stack.flags(r).ok()?.contains(SocketFlags::ZEROCOPY),
        )),
        (libc::SOL_SOCKET, _) if is_about_times(name) => answer_times(stack, r, name),
        (libc::IPPROTO_TCP, TCP_INQ) => {
            number(u32::from(stack.flags(r).ok()?.contains(SocketFlags::INQ)))
        }
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let linger = stack.linger(r).ok()?;
            let seconds = i32::try_from(linger.saturating_sub(1)).unwrap_or(i32::MAX);
            Some(OptionAnswer::Linger(linger > 0, seconds))
        }
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => {
            Some(OptionAnswer::Time(stack.timeouts(r).ok()?.0))
        }
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => {
            Some(OptionAnswer::Time(stack.timeouts(r).ok()?.1))
        }
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => number(stack.rcv_low(r).ok()?),
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE) => {
            let most = stack.tcb(r).ok()?.pacing_max();
            Some(OptionAnswer::Long(if most == 0 { u64::MAX } else { most }))
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) => number(u32::from(stack.recverr(r, true).ok()?)),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            number(u32::from(stack.recverr(r, false).ok()?))
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            number(u32::from(stack.ip(r).ok()?.0))
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            number(u32::from(stack.ip(r).ok()?.1))
        }
        (libc::IPPROTO_IP, libc::IP_MTU) | (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
            number(stack.path_mtu(r).ok()?)
        }
        (libc::IPPROTO_TCP, libc::TCP_INFO) => {
            let v4 = stack.local(r).ok()?.is_some_and(|local| local.addr.is_v4());
            let headers = if v4 { HEADERS_V4 } else { HEADERS_V6 };
            let info = stack.tcb(r).ok()?.info_at(now);
            Some(OptionAnswer::Info(Box::new(tcp_info(&info, headers, now))))
        }
        (libc::IPPROTO_TCP, _) => answer_tcp(stack.tcb(r).ok()?, name),
        _ => None,
    }
}

/// What the kernel's socket behind one of datagrams does not know.
fn answer_datagram(
    stack: &mut Stack<'static>,
    r: SocketRef,
    level: i32,
    name: i32,
) -> Option<OptionAnswer> {
    let is_v6 = stack.flags(r).ok()?.contains(SocketFlags::INET6);
    let number = |n: u32| Some(OptionAnswer::Int(i32::try_from(n).unwrap_or(i32::MAX)));
    match (level, name) {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => number(stack.discover(r, true).ok()? as u32),
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) if is_v6 => {
            number(stack.discover(r, false).ok()? as u32)
        }
        (libc::IPPROTO_IP, libc::IP_MTU) | (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
            let (remote, way) = stack.datagram_peer(r).ok()??;
            let is_known = way.hop != NONE && remote.addr.is_v4() == (level == libc::IPPROTO_IP);
            number(stack.path_mtu(r).ok().filter(|_| is_known)?)
        }
        _ => None,
    }
}

/// Options that have times told: each of them says whether that is done in just its way.
fn answer_times(stack: &mut Stack<'static>, r: SocketRef, name: i32) -> Option<OptionAnswer> {
    let way = match name {
        libc::SO_TIMESTAMP => Asked::TIME,
        libc::SO_TIMESTAMPNS => Asked::TIME_NS,
        SO_TIMESTAMP_NEW => Asked::TIME | Asked::TIME_NEW,
        SO_TIMESTAMPNS_NEW => Asked::TIME_NS | Asked::TIME_NEW,
        _ => {
            let stamping = stack.stamping(r).ok()?;
            return Some(OptionAnswer::Int(stamping.bits().cast_signed()));
        }
    };
    let ways = Asked::TIME | Asked::TIME_NS | Asked::TIME_NEW;
    let asked = stack.asked(r).ok()? & ways;
    Some(OptionAnswer::Int(i32::from(asked == way)))
}

fn answer_tcp(tcb: &Tcb, name: i32) -> Option<OptionAnswer> {
    let keep = tcb.keepalive_parameters();
    let number = match name {
        libc::TCP_KEEPIDLE => u32::from(keep.idle_s),
        libc::TCP_KEEPINTVL => u32::from(keep.interval_s),
        libc::TCP_KEEPCNT => u32::from(keep.count),
        libc::TCP_USER_TIMEOUT => tcb.user_timeout(),
        libc::TCP_QUICKACK => u32::from(tcb.quickack()),
        libc::TCP_NODELAY => u32::from(tcb.nodelay()),
        libc::TCP_CORK => u32::from(tcb.cork()),
        libc::TCP_MAXSEG => u32::from(tcb.info().snd_mss),
        libc::TCP_WINDOW_CLAMP => tcb.window_clamp(),
        libc::TCP_SYNCNT => u32::from(tcb.syn_retries()),
        libc::TCP_DEFER_ACCEPT => tcb.defer_accept(),
        libc::TCP_NOTSENT_LOWAT => {
            return Some(OptionAnswer::Int(tcb.unsent_low().cast_signed()));
        }
        libc::TCP_LINGER2 => return Some(OptionAnswer::Int(tcb.linger2())),
        libc::TCP_CONGESTION => return Some(OptionAnswer::Name(tcb.info().algorithm.name())),
        _ => return None,
    };
    Some(OptionAnswer::Int(i32::try_from(number).unwrap_or(i32::MAX)))
}

/// The name before its zeros.
fn trimmed(name: &[u8]) -> &[u8] {
    let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    &name[..len]
}

/// Seconds as TCP keeps them.
fn seconds(n: u32) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

const fn low_byte(n: i32) -> u8 {
    n.to_le_bytes()[0]
}

/// What the option wants to be told with each datagram, if that is what it is for.
const fn asks(level: i32, name: i32) -> Option<Asked> {
    Some(match (level, name) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => Asked::INFO,
        (libc::IPPROTO_IP, libc::IP_RECVTTL) => Asked::TTL,
        (libc::IPPROTO_IP, libc::IP_RECVTOS) => Asked::TOS,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => Asked::INFO6,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) => Asked::HOP_LIMIT,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) => Asked::CLASS,
        (libc::IPPROTO_IPV6, libc::IPV6_2292HOPLIMIT) => Asked::OLD_HOP_LIMIT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_as_by_linux() {
        let tcp = |name, n| judge(libc::IPPROTO_TCP, name, OptionValue::Int(n));
        assert_eq!(tcp(libc::TCP_KEEPIDLE, 0), Err(Errno::INVAL));
        assert_eq!(tcp(libc::TCP_KEEPIDLE, 32_767), Ok(()));
        assert_eq!(tcp(libc::TCP_KEEPCNT, 128), Err(Errno::INVAL));
        assert_eq!(tcp(libc::TCP_SYNCNT, 127), Ok(()));
        assert_eq!(tcp(libc::TCP_MAXSEG, 87), Err(Errno::INVAL));
        assert_eq!(tcp(libc::TCP_MAXSEG, 0), Ok(()));
        assert_eq!(tcp(libc::TCP_USER_TIMEOUT, -1), Err(Errno::INVAL));
        assert_eq!(tcp(libc::TCP_WINDOW_CLAMP, 0), Err(Errno::INVAL));
        assert_eq!(tcp(libc::TCP_FASTOPEN_CONNECT, 1), Err(Errno::INVAL));
        let named = |name: &[u8]| {
            let mut bytes = [0; CONGESTION_NAME_BYTES];
            bytes[..name.len()].copy_from_slice(name);
            judge(
                libc::IPPROTO_TCP,
                libc::TCP_CONGESTION,
                OptionValue::Name(bytes),
            )
        };
        assert_eq!(named(b"reno"), Ok(()));
        assert_eq!(named(b"vegas"), Err(Errno::NOENT));
        let short = judge(libc::IPPROTO_TCP, libc::TCP_NODELAY, OptionValue::Other);
        assert_eq!(short, Err(Errno::INVAL));
    }
}
