//! Error numbers, and which of them a stack's error is.

pub use rustix::io::Errno;
use sidestep_stack::Error;

/// What a socket keeps so that its next call fails with this number; none where no socket would.
pub(crate) const fn to_stack(errno: Errno) -> Option<Error> {
    Some(match errno {
        Errno::CONNRESET => Error::Reset,
        Errno::CONNREFUSED => Error::Refused,
        Errno::TIMEDOUT => Error::TimedOut,
        Errno::MSGSIZE => Error::MessageSize,
        Errno::HOSTUNREACH => Error::Unreachable,
        Errno::NETUNREACH => Error::NetUnreachable,
        Errno::NOPROTOOPT => Error::NoProtocol,
        Errno::HOSTDOWN => Error::HostDown,
        Errno::NONET => Error::HostIsolated,
        Errno::PROTO => Error::Protocol,
        Errno::ACCESS => Error::Prohibited,
        Errno::OPNOTSUPP => Error::NoSourceRoute,
        _ => return None,
    })
}

/// The error number that the kernel would set.
pub(crate) const fn from_stack(error: Error) -> Errno {
    match error {
        Error::Stale => Errno::BADF,
        Error::TableFull | Error::NoBuffers => Errno::NOBUFS,
        Error::AddressInUse => Errno::ADDRINUSE,
        Error::NotConnected => Errno::NOTCONN,
        Error::IsConnected => Errno::ISCONN,
        Error::WouldBlock | Error::Unopened => Errno::AGAIN,
        Error::Pipe => Errno::PIPE,
        Error::Reset => Errno::CONNRESET,
        Error::Refused => Errno::CONNREFUSED,
        Error::TimedOut => Errno::TIMEDOUT,
        Error::MessageSize | Error::TooLong => Errno::MSGSIZE,
        Error::Unreachable | Error::NoWay => Errno::HOSTUNREACH,
        Error::Aborted => Errno::CONNABORTED,
        Error::WrongKind => Errno::INVAL,
        Error::NetUnreachable => Errno::NETUNREACH,
        Error::NoProtocol => Errno::NOPROTOOPT,
        Error::HostDown => Errno::HOSTDOWN,
        Error::HostIsolated => Errno::NONET,
        Error::Protocol => Errno::PROTO,
        Error::Prohibited => Errno::ACCESS,
        Error::NoSourceRoute => Errno::OPNOTSUPP,
    }
}
