//! SYN cookies (RFC 4987 3.6): a listener whose queue is full answers without keeping anything. What it must know later
//! is in the sequence number of its SYN-ACK and in the low bits of its timestamp, as in Linux.
//!
//! ```text
//! sequence number   minute (5) | place of the peer's MSS (3) | MAC (24)
//! timestamp         … | ECN (1) | SACK (1) | window scale (4)
//! ```
//! The caller has the secret: its `mac` is over both ends, the peer's sequence number and the first 8 bits.

use crate::ecn::Ecn;
use crate::open::MSS_DEFAULT;
use crate::tcb::Marks;
use crate::tcb::{Env, Settings, Tcb};
use crate::timer::Timer;
use crate::window::window_scale;
use sidestep_shm::Nanos;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};

/// How long a cookie is good: this minute and the next.
pub const LIFETIME: Nanos = Nanos::from_secs(120);
const MINUTE: Nanos = Nanos::from_secs(60);
/// Segment sizes that fit into three bits; a peer's is taken for the next smaller one.
const SIZES: [u16; 8] = [MSS_DEFAULT, 1220, 1300, 1400, 1440, 1460, 4312, 8960];
/// Low bits of the timestamp: no window scale, SACK, ECN.
const NO_SCALE: u32 = 15;
const SACK: u32 = 16;
const ECN: u32 = 32;
const BITS: u32 = 63;

/// The minute that a cookie was made in, as far as it has room for it.
const fn minute(now: Nanos) -> u32 {
    (now.0 / MINUTE.0) as u32 & 31
}

#[expect(clippy::cast_possible_truncation, reason = "the clock wraps around")]
const fn clock(now: Nanos, ts_offset: u32) -> u32 {
    (now.as_millis() as u32).wrapping_add(ts_offset)
}

/// The SYN-ACK that answers a SYN, with what is worth knowing of it.
pub fn answer(
    settings: &Settings,
    syn: &Repr,
    now: Nanos,
    ts_offset: u32,
    mac: impl Fn(u32) -> u32,
) -> Repr {
    let peer = syn.options.mss.unwrap_or(MSS_DEFAULT);
    let place = SIZES.iter().rposition(|size| *size <= peer).unwrap_or(0);
    let head = minute(now) << 3 | u32::try_from(place).unwrap_or(0);
    let seq = Seq(head << 24 | mac(head) & 0x00ff_ffff);
    let timestamps = syn.options.timestamps.filter(|_| settings.timestamps);
    let asks_ecn = syn.flags.contains(Flags::ECE | Flags::CWR) && settings.ecn != Ecn::Off;
    // Options have no other place to be remembered in.
    let scale = syn.options.window_scale.filter(|_| settings.window_scale);
    let scale = scale.filter(|_| timestamps.is_some());
    let sack = syn.options.sack_permitted && settings.sack && timestamps.is_some();
    let ecn = asks_ecn && timestamps.is_some();
    let bits = scale.map_or(NO_SCALE, |shift| u32::from(shift.min(14)))
        | if sack { SACK } else { 0 }
        | if ecn { ECN } else { 0 };
    let value = clock(now, ts_offset);
    // Not later than it is.
    let stamp = (value & !BITS | bits).wrapping_sub(if value & BITS < bits { BITS + 1 } else { 0 });
    let window = settings.rcv_buf_bytes.min(u32::from(u16::MAX));
    let max = settings.rcv_buf_bytes_max.max(settings.rcv_buf_bytes);
    Repr {
        src_port: syn.dst_port,
        dst_port: syn.src_port,
        seq,
        ack: syn.seq + 1,
        flags: if ecn {
            Flags::SYN | Flags::ACK | Flags::ECE
        } else {
            Flags::SYN | Flags::ACK
        },
        window: u16::try_from(window).unwrap_or(u16::MAX),
        urgent: 0,
        options: Options {
            mss: Some(settings.mss),
            window_scale: scale.map(|_| window_scale(max)),
            sack_permitted: sack,
            timestamps: timestamps.map(|ts| Timestamps {
                value: stamp,
                echo: ts.value,
            }),
            ..Options::default()
        },
    }
}

/// The SYN that a segment's acknowledgement completes, if that acknowledges a cookie of ours.
pub fn redeem(seg: &Repr, now: Nanos, mac: impl Fn(u32) -> u32) -> Option<Repr> {
    let plain = seg.flags & (Flags::SYN | Flags::RST | Flags::ACK) == Flags::ACK;
    let cookie = (seg.ack - 1).0;
    let head = cookie >> 24;
    let age = minute(now).wrapping_sub(head >> 3) & 31;
    let genuine = cookie & 0x00ff_ffff == mac(head) & 0x00ff_ffff;
    if !plain || age > 1 || !genuine {
        return None;
    }
    let bits = seg.options.timestamps.map_or(NO_SCALE, |ts| ts.echo & BITS);
    let shift = bits & NO_SCALE;
    Some(Repr {
        seq: seg.seq - 1,
        flags: if bits & ECN == 0 {
            Flags::SYN
        } else {
            Flags::SYN | Flags::ECE | Flags::CWR
        },
        options: Options {
            mss: SIZES.get((head & 7) as usize).copied(),
            window_scale: (shift != NO_SCALE).then_some(u8::try_from(shift).unwrap_or(0)),
            sack_permitted: bits & SACK != 0,
            timestamps: seg.options.timestamps,
            ..Options::default()
        },
        ..*seg
    })
}

impl Tcb {
    /// As [`accept`](Self::accept) by the SYN that [`redeem`] found, which was answered already: the segment that
    /// acknowledges that is to follow.
    pub fn accept_by_cookie(
        &mut self,
        env: &mut Env<'_, '_>,
        settings: &Settings,
        (syn, iss): (&Repr, Seq),
        ts_offset: u32,
    ) {
        self.accept(env, settings, syn, iss, ts_offset);
        self.announce_syn_window();
        self.snd_nxt = iss + 1;
        self.marks.remove(Marks::SYN_DUE);
        self.deadlines.clear(Timer::Retransmit);
    }
}
