//! One connection on a bench: segments go in by hand, what comes out is looked at.

use super::{Memory, ms, settings, with_env};
use crate::{Events, Settings, State, Tcb, Transmit};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};

pub(super) const OUR_ISS: Seq = Seq(1000);
pub(super) const PEER_ISS: Seq = Seq(5000);
/// First byte of text, ours and the peer's.
pub(super) const OURS: Seq = Seq(1001);
pub(super) const PEERS: Seq = Seq(5001);

/// What came out.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) repr: Repr,
    pub(super) payload: Vec<u8>,
}

impl Sent {
    pub(super) fn is(&self, flags: Flags) -> bool {
        self.repr.flags == flags
    }

    pub(super) fn is_pure_ack(&self) -> bool {
        self.repr.flags == Flags::ACK && self.payload.is_empty()
    }
}

pub(super) struct Bench {
    pub(super) tcb: Tcb,
    pub(super) memory: Memory,
    pub(super) now: Nanos,
    /// What the peer puts into its segments.
    pub(super) peer_window: u16,
    pub(super) peer_ts: Option<Timestamps>,
    pub(super) events: Events,
}

impl Bench {
    /// CLOSED.
    pub(super) fn new() -> Self {
        Self {
            tcb: Tcb::new(),
            memory: Memory::new(2048),
            now: ms(10_000),
            peer_window: 65_000,
            peer_ts: None,
            events: Events::empty(),
        }
    }

    /// SYN-SENT, the SYN taken.
    pub(super) fn syn_sent(settings: &Settings) -> Self {
        let mut bench = Self::new();
        bench.connect(settings, OUR_ISS);
        let syn = bench.out();
        assert_eq!(syn.len(), 1);
        assert!(syn[0].is(Flags::SYN));
        bench
    }

    pub(super) fn connect(&mut self, settings: &Settings, iss: Seq) {
        with_env!(self.memory, self.now, |env| self
            .tcb
            .connect(env, settings, 10, 20, iss, 0));
    }

    /// ESTABLISHED by active open without options but MSS, so that windows are not scaled; the ACK taken.
    pub(super) fn established() -> Self {
        Self::established_with(&Settings {
            timestamps: false,
            window_scale: false,
            ..settings()
        })
    }

    pub(super) fn established_with(settings: &Settings) -> Self {
        Self::established_by(settings, false)
    }

    /// ESTABLISHED, with a peer that permits SACK, after a round trip of 20 ms.
    pub(super) fn established_sacking(settings: &Settings) -> Self {
        Self::established_by(settings, true)
    }

    fn established_by(settings: &Settings, sack: bool) -> Self {
        let mut bench = Self::syn_sent(settings);
        bench.now = bench.now + ms(if sack { 20 } else { 1 });
        let mut syn_ack = bench.repr(PEER_ISS, OURS, Flags::SYN | Flags::ACK);
        syn_ack.options = Options {
            mss: Some(settings.mss),
            sack_permitted: sack,
            ..Options::default()
        };
        if settings.timestamps {
            bench.peer_ts = Some(Timestamps {
                value: 7000,
                echo: 0,
            });
            syn_ack.options.timestamps = bench.peer_ts;
        }
        if settings.window_scale {
            syn_ack.options.window_scale = Some(0);
        }
        assert!(bench.feed(&syn_ack, &[]).contains(Events::CONNECTED));
        let acks = bench.out();
        assert_eq!(acks.len(), 1);
        assert!(acks[0].is_pure_ack());
        bench
    }

    /// ESTABLISHED, with acknowledgements that are delayed from the start.
    pub(super) fn established_delaying() -> Self {
        let mut bench = Self::established();
        bench.tcb.set_quickack(false);
        bench
    }

    pub(super) fn repr(&self, seq: Seq, ack: Seq, flags: Flags) -> Repr {
        Repr {
            src_port: 20,
            dst_port: 10,
            seq,
            ack,
            flags,
            window: self.peer_window,
            urgent: 0,
            options: Options {
                timestamps: self.peer_ts,
                ..Options::default()
            },
        }
    }

    /// A segment with ACK arrives.
    pub(super) fn ack(&mut self, seq: Seq, ack: Seq, payload: &[u8]) -> Events {
        let repr = self.repr(seq, ack, Flags::ACK);
        self.feed(&repr, payload)
    }

    /// An acknowledgement with SACK blocks arrives; all by offset from our first byte.
    pub(super) fn sack(&mut self, ack: u32, blocks: &[(u32, u32)]) -> Events {
        let mut repr = self.repr(PEERS, OURS + ack, Flags::ACK);
        for (start, end) in blocks {
            repr.options.sack.push(OURS + *start, OURS + *end);
        }
        self.feed(&repr, &[])
    }

    pub(super) fn segment(&mut self, seq: Seq, ack: Seq, flags: Flags, payload: &[u8]) -> Events {
        let repr = self.repr(seq, ack, flags);
        self.feed(&repr, payload)
    }

    pub(super) fn feed(&mut self, repr: &Repr, payload: &[u8]) -> Events {
        let events = with_env!(self.memory, self.now, |env| self.tcb.on_segment(
            env,
            repr,
            Foreign::from(payload)
        ));
        assert_eq!(events.contains(Events::OUTPUT), self.tcb.wants_output());
        self.events |= events;
        events
    }

    /// Takes all there is to send.
    pub(super) fn out(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(one) = self.out_one() {
            sent.push(one);
            assert!(sent.len() < 10_000, "output without end");
        }
        assert!(!self.tcb.wants_output());
        sent
    }

    pub(super) fn out_one(&mut self) -> Option<Sent> {
        let transmit = self.poll()?;
        Some(self.sent(&transmit))
    }

    pub(super) fn poll(&mut self) -> Option<Transmit> {
        with_env!(self.memory, self.now, |env| self.tcb.poll_transmit(env))
    }

    /// What leaves by it.
    pub(super) fn sent(&mut self, transmit: &Transmit) -> Sent {
        let mut payload = vec![0; transmit.payload_len];
        let pool = self.memory.pool();
        let n = transmit.copy_payload(&pool, &mut ForeignMut::from(&mut payload[..]));
        assert_eq!(n, payload.len());
        Sent {
            repr: transmit.repr,
            payload,
        }
    }

    /// Expects exactly one segment.
    pub(super) fn one(&mut self) -> Sent {
        let mut sent = self.out();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    pub(super) fn silent(&mut self) {
        let sent = self.out();
        assert!(sent.is_empty(), "{sent:?}");
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        self.send_more(bytes, true)
    }

    pub(super) fn send_more(&mut self, bytes: &[u8], push: bool) -> usize {
        with_env!(self.memory, self.now, |env| self.tcb.send(
            env,
            Foreign::from(bytes),
            push
        ))
    }

    pub(super) fn recv(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; bytes_max];
        let n = with_env!(self.memory, self.now, |env| self.tcb.recv(
            env,
            &mut ForeignMut::from(&mut bytes[..]),
            false
        ));
        bytes.truncate(n);
        bytes
    }

    pub(super) fn close(&mut self) -> Events {
        with_env!(self.memory, self.now, |env| self.tcb.close(env))
    }

    pub(super) fn shutdown(&mut self) {
        with_env!(self.memory, self.now, |env| self.tcb.shutdown_write(env));
    }

    pub(super) fn abort(&mut self) -> Events {
        with_env!(self.memory, self.now, |env| self.tcb.abort(env))
    }

    /// Lets time pass, with each timer called when it is due.
    pub(super) fn wait(&mut self, span: Nanos) -> Vec<Sent> {
        let end = self.now + span;
        let mut sent = self.out();
        loop {
            let next = self.tcb.next_timeout();
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.fire();
            sent.extend(self.out());
        }
        self.now = end;
        sent
    }

    pub(super) fn fire(&mut self) -> Events {
        let events = with_env!(self.memory, self.now, |env| self.tcb.on_timer(env));
        self.events |= events;
        events
    }

    pub(super) fn state(&self) -> State {
        self.tcb.state()
    }

    /// Releases the connection: no buffer may be left in use.
    pub(super) fn finish(mut self) {
        self.tcb.release(&mut self.memory.pool());
        assert_eq!(self.memory.used(), 0, "chunks leaked");
        assert_eq!(self.tcb.state(), State::Closed);
        assert_eq!(self.tcb.next_timeout(), Nanos::NEVER);
    }
}
