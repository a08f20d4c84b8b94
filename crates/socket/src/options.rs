//! Socket options: which of them the stack must know, and what it answers itself.
//!
//! Options are set on the kernel's socket too as long as it may still serve the socket, so that a socket that is handed
//! over behaves as it was told to, and the kernel judges what is valid.

use crate::process::Process;
use crate::{Errno, Nanos};
use sidestep_stack::{SocketFlags, SocketRef, Stack};
use sidestep_tcp::{Info, KeepAlive};

/// A value of an option, decoded from what the program passed.
#[derive(Clone, Copy, Debug)]
pub enum OptionValue {
    /// A number.
    Int(i32),
    /// SO_LINGER: on, seconds.
    Linger(bool, i32),
    /// SO_RCVTIMEO, SO_SNDTIMEO; zero for none.
    Time(Nanos),
    /// Anything else.
    Other,
}

/// What an option is, in the stack's own words.
#[derive(Clone, Debug)]
pub enum OptionAnswer {
    /// A number.
    Int(i32),
    /// TCP_INFO.
    Info(Box<Info>),
    /// The name of the congestion control.
    Name(&'static str),
    /// SO_LINGER: on, seconds.
    Linger(bool, i32),
    /// SO_RCVTIMEO, SO_SNDTIMEO; zero for none.
    Time(Nanos),
}

impl Process {
    /// The program sets an option. `Some`: done, the kernel need not be asked. None: set it on the kernel's socket too.
    pub fn set_option(
        &self,
        fd: i32,
        level: i32,
        name: i32,
        value: OptionValue,
    ) -> Option<Result<(), Errno>> {
        let connected = self.on_socket(fd, |stack, r| {
            let connected = stack.is_connected_stream(r);
            let now = self.now();
            apply(stack, now, r, (level, name), value)?;
            stack.flush(now, r);
            Ok(connected)
        })?;
        match connected {
            // An accelerated connection never comes back to the kernel.
            Ok(true) if known(level, name) => Some(Ok(())),
            _ => None,
        }
    }

    /// The program asks for an option. None: the kernel's socket knows.
    pub fn option(&self, fd: i32, level: i32, name: i32) -> Option<Result<OptionAnswer, Errno>> {
        let answer = self.on_socket(fd, |stack, r| Ok(answer(stack, r, level, name)))?;
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

/// Options that an accelerated connection has of its own.
const fn known(level: i32, name: i32) -> bool {
    match level {
        libc::SOL_SOCKET => matches!(
            name,
            libc::SO_KEEPALIVE
                | libc::SO_LINGER
                | libc::SO_RCVTIMEO
                | libc::SO_SNDTIMEO
                | libc::SO_RCVLOWAT
                | libc::SO_SNDBUF
                | libc::SO_RCVBUF
        ),
        libc::IPPROTO_TCP => matches!(
            name,
            libc::TCP_NODELAY
                | libc::TCP_CORK
                | libc::TCP_KEEPIDLE
                | libc::TCP_KEEPINTVL
                | libc::TCP_KEEPCNT
                | libc::TCP_USER_TIMEOUT
                | libc::TCP_QUICKACK
        ),
        libc::IPPROTO_IP => matches!(name, libc::IP_TOS | libc::IP_TTL),
        _ => false,
    }
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
        (_, _, OptionValue::Int(n)) => apply_number(stack, now, r, (level, name), n),
        _ => Ok(()),
    }
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
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => stack.set_flags(r, SocketFlags::V6ONLY, on),
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            stack.set_ip(r, Some(low_byte(n)), None)
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)
            if n > 0 =>
        {
            stack.set_ip(r, None, Some(low_byte(n)))
        }
        (libc::IPPROTO_TCP, _) if stack.is_stream(r) => {
            let tcb = stack.tcb(r)?;
            match name {
                libc::TCP_NODELAY => tcb.set_nodelay(on),
                libc::TCP_CORK => tcb.set_cork(on),
                libc::TCP_QUICKACK => tcb.set_quickack(on),
                libc::TCP_USER_TIMEOUT => tcb.set_user_timeout(size),
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
            Ok(())
        }
        _ => Ok(()),
    }
}

fn answer(stack: &mut Stack<'static>, r: SocketRef, level: i32, name: i32) -> Option<OptionAnswer> {
    if !stack.is_connected_stream(r) {
        return None;
    }
    let number = |n: u32| Some(OptionAnswer::Int(i32::try_from(n).unwrap_or(i32::MAX)));
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => number(stack.buffers(r).ok()?.0),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => number(stack.buffers(r).ok()?.1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => number(u32::from(stack.tcb(r).ok()?.keepalive())),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => number(u32::from(
            stack.flags(r).ok()?.contains(SocketFlags::REUSEADDR),
        )),
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
        (libc::IPPROTO_IP, libc::IP_TOS) => number(u32::from(stack.ip(r).ok()?.0)),
        (libc::IPPROTO_IP, libc::IP_TTL) => number(u32::from(stack.ip(r).ok()?.1)),
        (libc::IPPROTO_TCP, _) => {
            let tcb = stack.tcb(r).ok()?;
            let keep = tcb.keepalive_parameters();
            let or = |value: u16, default: u16| {
                number(u32::from(if value == 0 { default } else { value }))
            };
            match name {
                libc::TCP_KEEPIDLE => or(keep.idle_s, 7200),
                libc::TCP_KEEPINTVL => or(keep.interval_s, 75),
                libc::TCP_KEEPCNT => or(u16::from(keep.count), 9),
                libc::TCP_USER_TIMEOUT => number(tcb.user_timeout()),
                libc::TCP_QUICKACK => number(u32::from(tcb.quickack())),
                libc::TCP_NODELAY => number(u32::from(tcb.nodelay())),
                libc::TCP_CORK => number(u32::from(tcb.cork())),
                libc::TCP_MAXSEG => number(u32::from(tcb.info().snd_mss)),
                libc::TCP_INFO => Some(OptionAnswer::Info(Box::new(tcb.info()))),
                libc::TCP_CONGESTION => Some(OptionAnswer::Name(tcb.info().algorithm.name())),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Seconds as TCP keeps them.
fn seconds(n: u32) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

const fn low_byte(n: i32) -> u8 {
    n.to_le_bytes()[0]
}
