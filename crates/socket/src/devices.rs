//! Sockets that go by one interface (`SO_BINDTODEVICE`): the kernel judges what may be bound, the stack follows.

use crate::options::OptionValue;
use crate::process::{Process, with_fd};
use sidestep_control::device;

/// IPV6_UNICAST_IF of `linux/in6.h`.
const IPV6_UNICAST_IF: i32 = 76;

impl Process {
    /// The kernel has taken an option: some are about interfaces.
    pub fn note_device(&self, fd: i32, level: i32, name: i32, value: OptionValue) {
        match (level, name, value) {
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE | libc::SO_BINDTOIFINDEX, _) => {
                self.device_changed(fd);
            }
            (libc::IPPROTO_IP, libc::IP_UNICAST_IF, OptionValue::Int(index))
            | (libc::IPPROTO_IPV6, IPV6_UNICAST_IF, OptionValue::Int(index)) => {
                // In the order of the network.
                let device = u32::from_be(index.cast_unsigned());
                let _ = self.on_socket(fd, |stack, r| stack.set_leaves_by(r, device));
            }
            _ => {}
        }
    }

    /// The kernel has bound the socket to an interface, or to none.
    fn device_changed(&self, fd: i32) {
        let (Some((shared, r)), Ok(device)) = (self.socket_of(fd), with_fd(fd, device::of_socket))
        else {
            return;
        };
        let changed = self.with_stack(shared, |stack| {
            if stack.device(r) == Ok(device) {
                return None;
            }
            let before = stack.served(r).filter(|before| before.local.port != 0);
            stack.set_device(r, device).ok()?;
            let peer = stack.datagram_peer(r).ok().flatten();
            Some((before, stack.served(r), peer))
        });
        let Ok(Some((before, now, peer))) = changed else {
            return;
        };
        if let (Some(before), Some(now)) = (before, now) {
            self.lock_session().withdraw(self, shared, &before);
            let event = if now.is_tcp { "listen" } else { "bind" };
            self.publish(shared, fd, event, &now);
        }
        if let Some((peer, _)) = peer {
            // Another way leads there now, or none but the kernel's.
            self.route_datagrams(shared, fd, r, peer);
        }
    }
}
