//! Urgent data as programs see it: MSG_OOB, SIOCATMARK, and whom SIGURG is for.

use crate::process::Process;
use crate::{Errno, Verdict};
use sidestep_stack::Error;

impl Process {
    /// recv(2) with MSG_OOB on a stream: the byte; none at the end. It never waits.
    pub fn recv_urgent(&self, fd: i32, peek: bool) -> Verdict<Option<u8>> {
        let now = self.now();
        let got = self.on_socket(fd, |stack, r| {
            stack.poll(now);
            Ok((stack.is_connected_stream(r), stack.recv_urgent(r, peek)))
        });
        match got {
            Some(Ok((true, Ok(byte)))) => Verdict::Done(Ok(byte)),
            Some(Ok((true, Err(Error::WouldBlock)))) => Verdict::fail(Errno::AGAIN),
            Some(Ok((true, Err(_)))) => Verdict::fail(Errno::INVAL),
            // Unconnected, or of another kind: the kernel knows the error.
            _ => Verdict::Kernel,
        }
    }

    /// SIOCATMARK. None where the kernel must say.
    pub fn at_mark(&self, fd: i32) -> Option<bool> {
        let now = self.now();
        let found = self.on_socket(fd, |stack, r| {
            stack.poll(now);
            Ok((stack.is_connected_stream(r), stack.at_mark(r)?))
        })?;
        match found {
            Ok((true, at_mark)) => Some(at_mark),
            _ => None,
        }
    }

    /// F_SETOWN, FIOSETOWN and SIOCSPGRP, which the kernel has taken: a process, or a group, if negative.
    pub fn set_owner(&self, fd: i32, owner: i32) {
        let _ = self.on_socket(fd, |stack, r| stack.set_owner(r, owner));
    }
}
