//! Segments for no connection: those to a listener (RFC 9293 3.10.7.2), and those to nobody (3.10.7.1).

use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr};

/// What a listener does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Drop it.
    Ignore,
    /// Drop it and answer with this RST.
    Reset(Repr),
    /// A connection request: make a connection by [`Tcb::accept`](crate::Tcb::accept).
    Syn,
}

/// A segment arrives at a listener (RFC 9293 3.10.7.2).
pub fn on_segment(seg: &Repr, payload_len: usize) -> Disposition {
    if seg.flags.contains(Flags::RST) {
        return Disposition::Ignore;
    }
    if seg.flags.contains(Flags::ACK) {
        return reset_for(seg, payload_len).map_or(Disposition::Ignore, Disposition::Reset);
    }
    // SYN with FIN is dropped as Linux does: no honest stack sends it.
    if seg.flags.contains(Flags::SYN) && !seg.flags.contains(Flags::FIN) {
        return Disposition::Syn;
    }
    Disposition::Ignore
}

/// The answer to a segment for which there is no connection (RFC 9293 3.10.7.1); none to a RST.
pub fn reset_for(seg: &Repr, payload_len: usize) -> Option<Repr> {
    if seg.flags.contains(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if seg.flags.contains(Flags::ACK) {
        (seg.ack, Seq(0), Flags::RST)
    } else {
        (
            Seq(0),
            seg.seq + seg.seq_len(payload_len),
            Flags::RST | Flags::ACK,
        )
    };
    Some(Repr {
        src_port: seg.dst_port,
        dst_port: seg.src_port,
        seq,
        ack,
        flags,
        window: 0,
        urgent: 0,
        options: Options::default(),
    })
}
