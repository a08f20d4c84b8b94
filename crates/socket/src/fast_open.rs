//! TCP Fast Open (RFC 7413) as programs use it: MSG_FASTOPEN, which connects and sends in one call; TCP_FASTOPEN_CONNECT,
//! with which connect(2) leaves it to the first bytes to open the connection; and listening sockets that take part.

use crate::process::{Process, Shared};
use crate::room::skip_parts;
use crate::stream::Begin;
use crate::verdict::SendFlags;
use crate::{Endpoint, Errno, Foreign, Nanos, Verdict, sys, sysctl};
use sidestep_stack::{ConnectState, Fast, FastKeys, FastRules, SocketRef};

/// What the parameters of this network namespace allow.
pub(crate) fn rules() -> FastRules {
    let number = |name| sysctl::number(name).unwrap_or(0);
    let pause = number("net/ipv4/tcp_fastopen_blackhole_timeout_sec");
    FastRules {
        bits: number("net/ipv4/tcp_fastopen"),
        pause: Nanos::from_secs(u64::from(pause)),
    }
}

impl Process {
    /// Has the stack go by the parameters as they are now. Returns them.
    fn take_fast_rules(&self, shared: &Shared) -> FastRules {
        let rules = rules();
        let _ = self.with_stack(shared, |stack| stack.set_fast_rules(rules));
        rules
    }

    /// sendto(2) with MSG_FASTOPEN on a stream. Without a cookie of the server the connection is opened as usual, and one
    /// that does not block gets EINPROGRESS, as on Linux.
    pub(crate) fn send_fast(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &[Foreign<'_>],
        (flags, target): (SendFlags, Option<Endpoint>),
    ) -> Verdict<usize> {
        let found = self.with_stack(shared, |stack| {
            let listens = stack.served(r).is_some_and(|served| served.is_tcp);
            (!listens).then(|| (stack.is_held(r), stack.connect_state(r)))
        });
        let Ok(Some((held, state))) = found else {
            return Verdict::Kernel;
        };
        if self.take_fast_rules(shared).bits & FastRules::CLIENT == 0 {
            return Verdict::fail(Errno::OPNOTSUPP);
        }
        match (state, target) {
            (Ok(ConnectState::Idle), None) => Verdict::Kernel,
            (Ok(ConnectState::Idle), Some(remote)) => {
                let whole = self.blocks(fd, flags);
                let fast = Fast::Send { parts, whole };
                match self.begin_connection(shared, fd, r, remote, Some(fast)) {
                    Ok(queued) => self.after_first(shared, fd, r, parts, (flags, queued)),
                    Err(Begin::Handover(why)) => {
                        self.hand_over(shared, fd, r, "connect", Some(remote), why);
                        Verdict::Kernel
                    }
                    Err(Begin::Failed(errno)) => Verdict::fail(errno),
                }
            }
            (Ok(ConnectState::Connecting), _) if held => {
                self.send_first(shared, fd, r, parts, flags)
            }
            (Ok(ConnectState::Connecting), _) if self.blocks(fd, flags) => {
                self.after_first(shared, fd, r, parts, (flags, 0))
            }
            (Ok(ConnectState::Connecting), _) => Verdict::fail(Errno::ALREADY),
            // The first call learns that the connection is there, and goes on; as on Linux.
            (Ok(ConnectState::Connected), _) if self.learns_of_connection(fd) => {
                self.send_stream(shared, fd, r, parts, flags)
            }
            (Ok(ConnectState::Connected), _) => Verdict::fail(Errno::ISCONN),
            (Err(error), _) => Verdict::fail(crate::errno::from_stack(error)),
        }
    }

    /// The first bytes of a connection that waits for them.
    #[cold]
    pub(crate) fn send_first(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &[Foreign<'_>],
        flags: SendFlags,
    ) -> Verdict<usize> {
        if self.take_fast_rules(shared).bits & FastRules::CLIENT == 0 {
            return Verdict::fail(Errno::OPNOTSUPP);
        }
        let (now, whole) = (self.now(), self.blocks(fd, flags));
        match self.with_stack(shared, |stack| stack.open_held(now, r, parts, whole)) {
            Ok(Ok(queued)) => self.after_first(shared, fd, r, parts, (flags, queued)),
            Ok(Err(error)) => Verdict::fail(crate::errno::from_stack(error)),
            Err(_) => Verdict::fail(Errno::CONNRESET),
        }
    }

    /// The SYN has left, and so many bytes are queued: what does not block says so, what does waits for the handshake and
    /// sends the rest.
    fn after_first(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &[Foreign<'_>],
        (flags, queued): (SendFlags, usize),
    ) -> Verdict<usize> {
        let some = |errno| Verdict::Done(if queued > 0 { Ok(queued) } else { Err(errno) });
        if !self.blocks(fd, flags) {
            return some(Errno::INPROGRESS);
        }
        match self.await_connection(shared, fd, r, false) {
            Verdict::Done(Ok(())) => {}
            // What is queued will be sent, so it must not be sent again.
            Verdict::Done(Err(errno @ (Errno::INPROGRESS | Errno::INTR))) => return some(errno),
            Verdict::Done(Err(errno)) => return Verdict::fail(errno),
            Verdict::Kernel | Verdict::KernelNow => return Verdict::Kernel,
        }
        let rest = skip_parts(parts, queued);
        if rest.is_empty() {
            return Verdict::Done(Ok(queued));
        }
        match self.send_stream(shared, fd, r, &rest, flags) {
            Verdict::Done(Ok(sent)) => Verdict::Done(Ok(queued + sent)),
            Verdict::Done(Err(errno)) => some(errno),
            other => other,
        }
    }

    fn blocks(&self, fd: i32, flags: SendFlags) -> bool {
        !flags.contains(SendFlags::DONTWAIT) && !self.nonblocking(fd).unwrap_or(true)
    }

    /// How connect(2) opens a connection fast: by its first bytes.
    pub(crate) fn defer(&self, shared: &Shared) -> Fast<'static, 'static> {
        self.take_fast_rules(shared);
        Fast::Defer
    }

    /// The kernel listens on `fd`, or has taken an option about this: connections that come with data are taken as it
    /// takes them, with its keys.
    pub fn offer_fast_open(&self, fd: i32) {
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        let rules = self.take_fast_rules(shared);
        let all = FastRules::SERVER | FastRules::SERVER_ALL;
        let _ = self.with_stack(shared, |stack| {
            if rules.bits & all == all {
                stack.take_fast_opens(r);
            }
        });
        self.take_fast_keys(shared, fd, r);
    }

    /// Has the stack make cookies as the kernel does now.
    pub(crate) fn take_fast_keys(&self, shared: &Shared, fd: i32, r: SocketRef) {
        let mut bytes = [0; FastKeys::BYTES_MAX];
        let len = sys::fast_open_keys(fd, &mut bytes);
        let (own, keys) = (FastKeys::new(&bytes[..len]), keys());
        let _ = self.with_stack(shared, |stack| {
            stack.set_fast_keys(keys);
            if !own.is_empty() {
                stack.set_own_fast_keys(r, own);
            }
        });
    }
}

/// The keys of this network namespace; none where only root may know them, and we are not.
fn keys() -> FastKeys {
    let mut room = [0; 128];
    let keys = sysctl::text("net/ipv4/tcp_fastopen_key", &mut room).and_then(parse_keys);
    FastKeys::new(&keys.unwrap_or_default())
}

/// The bytes of keys as the kernel writes them: each as four numbers of 32 bits.
fn parse_keys(text: &str) -> Option<Vec<u8>> {
    let numbers = text.trim().split([',', '-']);
    let mut bytes = Vec::new();
    for number in numbers {
        bytes.extend(u32::from_str_radix(number, 16).ok()?.to_le_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_the_kernel_writes_them() {
        let one = "a0bf63f7-00000001-cd641d30-cebc4a90";
        let bytes = [
            0xf7, 0x63, 0xbf, 0xa0, 1, 0, 0, 0, 0x30, 0x1d, 0x64, 0xcd, 0x90, 0x4a, 0xbc, 0xce,
        ];
        assert_eq!(parse_keys(&format!("{one}\n")), Some(bytes.to_vec()));
        let two = parse_keys(&format!("{one},{one}\n")).unwrap();
        assert_eq!(two, [bytes, bytes].as_flattened());
        assert_eq!(parse_keys(""), None);
    }
}
