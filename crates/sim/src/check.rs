//! What must hold after every step, whatever the links do.

use crate::end::{End, Segment, stream};
use sidestep_shm::Nanos;
use sidestep_tcp::{Algorithm, State};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;

/// How far the peer allows an end to send: the furthest edge that any of its segments offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edge(Option<Seq>);

impl Edge {
    /// Notes the window of a segment that the peer sends.
    pub(crate) fn offer(&mut self, peer: &End, segment: &Segment) {
        if !segment.repr.flags.contains(Flags::ACK) {
            return;
        }
        let shift = match peer.tcb.info().window_scale {
            Some((_, shift)) if !segment.repr.flags.contains(Flags::SYN) => shift,
            _ => 0,
        };
        let edge = segment.repr.ack + (u32::from(segment.repr.window) << shift);
        self.0 = Some(self.0.map_or(edge, |known| known.max(edge)));
    }

    fn allows(self, end: Seq) -> bool {
        self.0.is_none_or(|edge| end.le(edge))
    }
}

/// A segment that an end sends: its text is what the program wrote there, and the peer has room for it.
pub(crate) fn segment(end: &End, edge: Edge, segment: &Segment) -> Result<(), String> {
    let text = &segment.payload;
    if text.is_empty() {
        return Ok(());
    }
    let offset = segment.repr.seq - (end.iss + 1);
    let at = usize::try_from(offset).map_err(|_| "text before the first byte".to_owned())?;
    if text[..] != *stream(at, text.len()) {
        return Err(format!("sends other bytes than were written at {at}"));
    }
    if at + text.len() > end.written {
        return Err(format!(
            "sends {} bytes of {} written",
            at + text.len(),
            end.written
        ));
    }
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if !edge.allows(segment.repr.seq + len) {
        return Err("sends beyond what the peer ever offered".to_owned());
    }
    Ok(())
}

/// States that may follow a state at once (RFC 9293 figure 5; any may end by a reset or a timeout).
fn successors(state: State) -> &'static [State] {
    use State as S;
    match state {
        // What is closed stays so: whoever opens it anew is no segment and no timer.
        S::Closed | S::Listen => &[],
        S::SynSent => &[S::SynReceived, S::Established, S::Closed],
        S::SynReceived => &[S::Established, S::FinWait1, S::Closed],
        S::Established => &[S::FinWait1, S::CloseWait, S::Closed],
        S::FinWait1 => &[S::FinWait2, S::Closing, S::Closed],
        S::FinWait2 => &[S::TimeWait, S::Closed],
        S::CloseWait => &[S::LastAck, S::Closed],
        S::Closing => &[S::TimeWait, S::Closed],
        S::LastAck | S::TimeWait => &[S::Closed],
    }
}

/// Whether one call may lead from a state to another: a segment may do up to three things at once.
fn may_follow(from: State, to: State, steps: usize) -> bool {
    from == to
        || (steps > 0
            && successors(from)
                .iter()
                .any(|next| may_follow(*next, to, steps - 1)))
}

/// All else that holds of an end between calls, when its output is drained.
pub(crate) fn end(end: &mut End, before: State) -> Result<(), String> {
    let info = end.tcb.info();
    let state = info.state;
    if !may_follow(before, state, 3) {
        return Err(format!("from {before:?} to {state:?}"));
    }
    let waits = info.unacked_bytes > 0
        || info.unsent_bytes > 0
        || matches!(state, State::SynSent | State::SynReceived | State::TimeWait);
    if state != State::Closed && waits && end.tcb.next_timeout() == Nanos::NEVER {
        return Err(format!("waits without a timer: {info:?}"));
    }
    if info.sacked_bytes + info.lost_bytes > info.unacked_bytes {
        return Err(format!(
            "more is known of what is in flight than there is: {info:?}"
        ));
    }
    let held = info.unread_bytes + info.ahead_bytes > 0 || end.tcb.send_len() > 0;
    let used = end.used();
    // BBR keeps its model of the path.
    let model = u32::from(info.algorithm == Algorithm::Bbr);
    if !held && used > model {
        return Err(format!("{used} buffers are in use for nothing: {info:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_each_other_as_in_the_figure() {
        use State as S;
        assert!(may_follow(S::SynReceived, S::CloseWait, 3));
        assert!(may_follow(S::FinWait1, S::TimeWait, 3));
        assert!(!may_follow(S::CloseWait, S::Established, 3));
        assert!(!may_follow(S::FinWait2, S::CloseWait, 2));
        assert!(!may_follow(S::LastAck, S::TimeWait, 1));
    }

    #[test]
    fn an_edge_never_moves_back() {
        let mut edge = Edge(Some(Seq(100)));
        edge.0 = edge.0.map(|known| known.max(Seq(90)));
        assert!(edge.allows(Seq(100)) && !edge.allows(Seq(101)));
    }
}
