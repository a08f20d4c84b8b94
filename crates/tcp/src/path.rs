//! What the path to the peer carries (RFC 1191, RFC 8201), and whether somebody who speaks of it, or from another
//! station than before, can know the connection (RFC 5927 section 4.1).

use crate::state::State;
use crate::tcb::{Env, Tcb};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr};

/// The least segment size that a path may force upon us (`min_pmtu` of Linux: 552 bytes of packet).
const PATH_MSS_MIN: u16 = 512;

impl Tcb {
    /// Whether a byte with that sequence number, or SYN or FIN, was sent and is not acknowledged.
    pub fn is_in_flight(&self, seq: Seq) -> bool {
        let first = if self.is_half_open() {
            self.iss
        } else {
            self.snd_una
        };
        self.state() != State::Closed && seq.ge(first) && seq.lt(self.snd_nxt)
    }

    /// Whether a segment that ends before `end` can come from the peer: it acknowledges what may be acknowledged, its
    /// timestamp is not an old one, and it is in the window or was. Whoever knows all that could write into the stream.
    pub fn may_be_peers(&self, seg: &Repr, end: Seq, now: Nanos) -> bool {
        let acks = seg.flags.contains(Flags::ACK)
            && !seg.flags.contains(Flags::RST)
            && seg.ack.le(self.snd_nxt)
            && seg.ack.ge(self.snd_una - self.snd_wnd_max);
        match self.state() {
            State::Closed | State::Listen => false,
            State::SynSent => acks && seg.ack.gt(self.snd_una),
            _ => {
                let behind = self.rcv_nxt - self.rcv_buf_bytes;
                acks && self.passes_paws(seg, now) && end.ge(behind) && seg.seq.le(self.rcv_adv)
            }
        }
    }

    /// Bytes of text in our SYN, if that begins at `seq` and is not answered.
    pub fn syn_text_at(&self, seq: Seq) -> usize {
        if self.state() == State::SynSent && seq == self.iss {
            usize::from(self.opening.text_bytes())
        } else {
            0
        }
    }

    /// Most payload in a segment, without options, that the path is known to carry; 0 where nothing is known.
    pub const fn path_mss(&self) -> u16 {
        self.path_mss
    }

    /// The longest segment, without options, that was offered to the peer: what the link carried as the connection began.
    pub const fn offered_mss(&self) -> u16 {
        self.adv_mss
    }

    /// What was known of the path is out of date: segments as long as both ends allow, or as `mss` says if that is not 0.
    pub fn set_path_mss(&mut self, mss: u16) {
        self.path_mss = mss;
        if self.state().is_synchronized() {
            self.set_segment_size();
        }
    }

    /// The path carries less than we send: smaller segments, and the first one again at once.
    pub(crate) fn on_path_limit(&mut self, env: &mut Env<'_, '_>, mss: u16) {
        let mss = mss.max(PATH_MSS_MIN);
        if self.path_mss != 0 && self.path_mss <= mss {
            return;
        }
        let before = self.mss;
        self.path_mss = mss;
        if !self.state().is_synchronized() {
            self.on_syn_too_long(mss);
            return;
        }
        self.set_segment_size();
        if self.mss < before && self.is_outstanding() {
            self.on_flight_too_long(env);
        }
    }
}
