//! Where sockets went and why, one JSON object a line, for `sidestep run --explain`.

use crate::Endpoint;
use crate::process::Process;
use sidestep_stack::Handover;
use std::fmt::Write;

/// A decision about a socket.
pub(crate) struct Decision {
    pub(crate) fd: i32,
    pub(crate) is_tcp: bool,
    /// What the program asked for: listen, bind, connect, accept, send.
    pub(crate) event: &'static str,
    pub(crate) local: Option<Endpoint>,
    pub(crate) remote: Option<Endpoint>,
    /// Why the kernel got it; none where it is accelerated.
    pub(crate) handover: Option<Handover>,
}

impl Process {
    /// Writes a decision, if anybody listens.
    pub(crate) fn explain(&self, decision: &Decision) {
        let Some(fd) = self.config().explain_fd else {
            return;
        };
        let mut line = String::with_capacity(256);
        let verdict = if decision.handover.is_some() {
            "kernel"
        } else {
            "accelerated"
        };
        let reason = decision.handover.map_or("", Handover::reason);
        let end = |e: Option<Endpoint>| e.map(|e| e.to_string()).unwrap_or_default();
        let _ = writeln!(
            line,
            "{{\"pid\":{},\"fd\":{},\"kind\":\"{}\",\"event\":\"{}\",\"local\":\"{}\",\"remote\":\"{}\",\"verdict\":\"{verdict}\",\"reason\":\"{reason}\"}}",
            rustix::process::getpid().as_raw_nonzero(),
            decision.fd,
            if decision.is_tcp { "tcp" } else { "udp" },
            decision.event,
            end(decision.local),
            end(decision.remote),
        );
        crate::process::write_raw(fd, line.as_bytes());
    }
}
