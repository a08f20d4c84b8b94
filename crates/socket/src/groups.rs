//! Groups (multicast) that datagram sockets join: the kernel judges who may, and speaks IGMP and MLD; what comes to a group by
//! a served interface is accelerated where the agent finds that nobody else gets copies.

use crate::explain::Decision;
use crate::options::OptionValue;
use crate::process::{Process, with_fd};
use crate::{Address, Endpoint};
use sidestep_control::{ClientError, Fault};
use sidestep_stack::Handover;

impl Process {
    /// This host's address of IPv4 on the interface by which a datagram to a group came.
    pub fn home(&self, device: u32) -> Option<Address> {
        self.lock_session().home(device)
    }

    /// The kernel has taken an option: some are about groups.
    pub fn note_group(&self, fd: i32, value: OptionValue) {
        let OptionValue::Group(change) = value else {
            return;
        };
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        let known = self.with_stack(shared, |stack| (stack.is_stream(r), stack.local(r)));
        let Ok((false, Ok(local))) = known else {
            return;
        };
        let changed = {
            let mut session = self.lock_session();
            session.check(self, shared);
            if session.networks_number().is_none() {
                return;
            }
            let changed = with_fd(fd, |fd| {
                session.ask(self, shared, |client| {
                    client.change_group(shared.id, change, fd)
                })
            });
            session.attach_wires(self, shared);
            changed
        };
        if !change.joins {
            return;
        }
        let handover = changed.err().map(|error| match error {
            ClientError::Refused(Fault::Shared) => Handover::GroupShared,
            ClientError::Refused(Fault::NoNetwork | Fault::OtherNamespace) => Handover::NoNetwork,
            ClientError::Refused(Fault::Carrier) => Handover::NoCarrier,
            ClientError::Refused(_) => Handover::NoQueue,
            _ => Handover::NoAgent,
        });
        let port = local.map_or(0, |local| local.port);
        self.explain(&Decision {
            fd,
            is_tcp: false,
            event: "join",
            local: Some(Endpoint::new(Address(change.group), port)),
            remote: None,
            handover,
        });
        if let Some(why) = handover {
            self.count_handover(shared, why);
        }
    }
}
