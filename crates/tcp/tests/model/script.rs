//! What happens to an endpoint, read from bytes: segments, calls and time. After each the connection is compared with
//! the [`Reference`], and at the end a peer that keeps the rules must get everything across.

use crate::reference::{Answer, Reference};
use sidestep_shm::{CHUNK_BYTES, ChunkMeta, ChunkPool, Foreign, ForeignMut, Nanos, PoolHead};
use sidestep_tcp::{Algorithm, Env, Events, Settings, State, Tcb};
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr, Timestamps};
use zerocopy::FromZeros;

/// Segments that one happening may cause.
const OUTPUT_MAX: usize = 4_000;
/// An acknowledgement is never later than this (RFC 1122 4.2.3.2).
const ACK_DELAY_MAX: Nanos = Nanos::from_millis(500);
/// More than are ever in use.
const CHUNKS: usize = 300;
/// Rounds that a peer who keeps the rules needs at most.
const ROUNDS_MAX: usize = 500;

/// Numbers read from the input; zero at its end.
struct Input<'d>(&'d [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u32 {
        u32::from(self.byte()) << 8 | u32::from(self.byte())
    }
}

/// Bytes of a stream: what is at an offset follows from the offset.
fn stream(at: u32, len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| {
            let i = at.wrapping_add(i);
            (i ^ i >> 8).to_le_bytes()[0]
        })
        .collect()
}

/// The connection, what it needs, and the reference beside it.
struct World {
    tcb: Tcb,
    head: PoolHead,
    meta: Vec<ChunkMeta>,
    data: Vec<[u8; CHUNK_BYTES]>,
    now: Nanos,
    model: Reference,
    /// Bytes that the program has written and read.
    written: u32,
    read: u32,
    rcv_shift: u8,
    /// The peer's clock for timestamps.
    peer_clock: u32,
    /// What it echoes.
    echo: u32,
    time_wait: Nanos,
    script: Vec<u8>,
    /// What happened, where a script is told that failed.
    log: Option<Vec<String>>,
}

/// Plays a script to its end; panics where the connection does not do as it must.
pub(crate) fn play(bytes: &[u8]) {
    run(bytes, None);
}

fn run(bytes: &[u8], log: Option<Vec<String>>) {
    let input = &mut Input(bytes);
    let mut world = World::new(input, log);
    world.script = bytes.to_vec();
    while !input.0.is_empty() {
        world.step(input);
    }
    world.finish();
}

/// Notes a line, where somebody wants to know.
macro_rules! say {
    ($world:expr, $($what:tt)*) => {
        if let Some(log) = &mut $world.log {
            log.push(format!($($what)*));
        }
    };
}

impl World {
    fn new(input: &mut Input<'_>, log: Option<Vec<String>>) -> Self {
        let choice = input.byte();
        let passive = choice & 1 != 0;
        let offers = input.byte();
        let peer = input.byte();
        let near_wrap = |byte: u8| Seq(0u32.wrapping_sub(u32::from(byte) * 40));
        let (iss, irs) = (near_wrap(input.byte()), near_wrap(input.byte()));
        let settings = Settings {
            mss: [1460, 536, 100, 4000][usize::from(choice >> 1 & 3)],
            rcv_buf_bytes: [60_000, 16_000, 200_000][usize::from(choice >> 3) % 3],
            rcv_buf_bytes_max: 200_000,
            snd_buf_bytes: 30_000,
            timestamps: offers & 1 != 0,
            window_scale: offers & 2 != 0,
            sack: offers & 4 != 0,
            congestion: [Algorithm::Reno, Algorithm::Cubic, Algorithm::Bbr]
                [usize::from(offers >> 3) % 3],
            time_wait: Nanos::from_secs(if offers & 64 != 0 { 1 } else { 60 }),
            ..Settings::default()
        };
        let mut world = Self {
            tcb: Tcb::new(),
            head: PoolHead::new_zeroed(),
            meta: vec![ChunkMeta::new_zeroed(); CHUNKS],
            data: vec![[0; CHUNK_BYTES]; CHUNKS],
            now: Nanos::from_secs(10),
            model: Reference::new(iss, passive, settings.timestamps),
            written: 0,
            read: 0,
            rcv_shift: 0,
            peer_clock: 1_000,
            echo: 0,
            time_wait: settings.time_wait,
            script: Vec::new(),
            log,
        };
        world.tcb.set_nodelay(offers & 128 != 0);
        let scaled = settings.window_scale && peer & 2 != 0;
        world.model.snd_shift = if scaled { peer >> 4 & 3 } else { 0 };
        if passive {
            let syn = world.peer_syn(irs, peer);
            say!(world, "{settings:?}");
            world.model.synchronize(&syn);
            world.model.state = State::SynReceived;
            world.with(|tcb, env| tcb.accept(env, &settings, &syn, iss, 77));
        } else {
            world.model.irs = irs;
            world.with(|tcb, env| tcb.connect(env, &settings, 10, 20, iss, 77));
        }
        world.drain(Some(Answer::Any));
        world
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Tcb, &mut Env<'_, '_>) -> T) -> T {
        let mut pool = ChunkPool::new(&mut self.head, &mut self.meta, &mut self.data);
        let env = &mut Env {
            now: self.now,
            pool: &mut pool,
        };
        f(&mut self.tcb, env)
    }

    /// The peer's SYN, or SYN-ACK less its flags; `peer` says what it offers.
    fn peer_syn(&self, irs: Seq, peer: u8) -> Repr {
        Repr {
            src_port: 20,
            dst_port: 10,
            seq: irs,
            ack: Seq(0),
            flags: Flags::SYN,
            window: [65_535, 8_000, 0, 500][usize::from(peer >> 6)],
            urgent: 0,
            options: Options {
                mss: (peer & 8 != 0).then_some(1_000),
                window_scale: (peer & 2 != 0).then_some(peer >> 4 & 3),
                sack_permitted: peer & 4 != 0,
                timestamps: (peer & 1 != 0).then_some(Timestamps {
                    value: self.peer_clock,
                    echo: self.echo,
                }),
                ..Options::default()
            },
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=3 => self.sound(input),
            4..=8 => self.wild(input),
            9 | 10 => self.send(input.word() as usize % 5_000),
            11 => self.recv(input.word() as usize % 9_000),
            12 => self.pass(Nanos::from_millis(u64::from(input.byte()))),
            13 => self.pass(Nanos::from_millis(u64::from(input.word()) * 4)),
            14 if input.byte().is_multiple_of(4) => self.shutdown(),
            15 if input.byte().is_multiple_of(8) => self.close(),
            _ => self.pass(Nanos::from_millis(1)),
        }
    }

    /// A segment such as a peer that keeps the rules might send, in order or not.
    fn sound(&mut self, input: &mut Input<'_>) {
        let ahead = input.byte();
        let len = input.word() as usize % 2_000;
        let window = input.word() as u16;
        self.peer_clock = self.peer_clock.wrapping_add(u32::from(ahead >> 7));
        let skip = if ahead & 7 == 0 {
            u32::from(ahead >> 3) * 100
        } else {
            0
        };
        let mut flags = Flags::ACK;
        flags.set(Flags::PSH, ahead & 8 != 0);
        flags.set(Flags::FIN, ahead & 0x70 == 0x70);
        let seg = self.segment(self.model.rcv_nxt + skip, self.model.snd_nxt, flags, window);
        self.arrive(seg, len, input.byte());
    }

    /// Any segment: near the windows, old, or beyond all.
    fn wild(&mut self, input: &mut Input<'_>) {
        let model = &self.model;
        let near = u32::from(input.byte() % 5);
        let seq = match input.byte() % 8 {
            0 | 1 => model.rcv_nxt + near - 2,
            2 => model.rcv_edge + near - 2,
            3 => model.rcv_nxt + input.word() - 30_000,
            4 => model.irs + near,
            5 => Seq(input.word() << 16 | input.word()),
            6 => model.fin_at.unwrap_or(model.rcv_nxt) + near - 2,
            _ => model.rcv_nxt,
        };
        let near = u32::from(input.byte() % 5);
        let ack = match input.byte() % 6 {
            0 => model.snd_una + near - 2,
            1 => model.snd_nxt + near - 2,
            2 => Seq(input.word() << 16 | input.word()),
            3 => model.snd_una - input.word(),
            4 => model.snd_una + input.word() % 2_000,
            _ => model.snd_nxt,
        };
        let flags = Flags::from_bits_truncate(u16::from(input.byte())).difference(Flags::URG);
        let window = input.word() as u16;
        let len = match input.byte() % 4 {
            0 => 0,
            1 => 1,
            _ => input.word() as usize % 2_000,
        };
        let mut seg = self.segment(seq, ack, flags, window);
        for _ in 0..input.byte() % 4 {
            let start = self.model.snd_una + input.word() - 10;
            seg.options.sack.push(start, start + input.word() % 4_000);
        }
        let clock = input.byte();
        self.arrive(seg, len, clock);
    }

    fn segment(&self, seq: Seq, ack: Seq, flags: Flags, window: u16) -> Repr {
        Repr {
            src_port: 20,
            dst_port: 10,
            seq,
            ack,
            flags,
            window,
            urgent: 0,
            options: Options::default(),
        }
    }

    fn arrive(&mut self, mut seg: Repr, len: usize, clock: u8) {
        if !seg.flags.contains(Flags::ACK) {
            seg.ack = Seq(0);
        }
        let before = self.model.clone();
        if self.model.state == State::SynSent {
            // Options of the peer's SYN come with it.
            let syn = self.peer_syn(seg.seq, clock | 1);
            if seg.flags.contains(Flags::SYN) {
                seg.options = syn.options;
                let scaled = self.model.snd_shift;
                seg.options.window_scale = seg.options.window_scale.map(|_| scaled);
            }
        } else if self.model.timestamps || clock & 32 != 0 {
            let old = if clock & 15 == 15 {
                u32::from(clock >> 4) * 1_000
            } else {
                0
            };
            seg.options.timestamps = (clock & 31 != 16).then_some(Timestamps {
                value: self.peer_clock.wrapping_sub(old),
                echo: self.echo,
            });
        }
        let offset =
            (seg.seq + u32::from(seg.flags.contains(Flags::SYN))) - (self.irs_of(&seg) + 1);
        let text = stream(offset as u32, len);
        say!(self, "{:?} in {seg:?} {len}", self.now);
        let answer = self.model.arrives(&seg, len, self.now);
        say!(self, "   {answer:?}, then {:?}", self.model.state);
        if before.state == State::SynSent && self.model.state != State::SynSent {
            self.note_options(&seg);
        }
        let events = self.with(|tcb, env| tcb.on_segment(env, &seg, Foreign::from(&text[..])));
        self.check_events(&before, events);
        self.drain(Some(answer));
    }

    /// Whose offsets the text counts by: those of a SYN that is about to be taken, else those that are known.
    fn irs_of(&self, seg: &Repr) -> Seq {
        if self.model.state == State::SynSent {
            seg.seq
        } else {
            self.model.irs
        }
    }

    fn note_options(&mut self, syn: &Repr) {
        if syn.options.window_scale.is_none() {
            (self.model.snd_shift, self.rcv_shift) = (0, 0);
        }
    }

    fn check_events(&self, before: &Reference, events: Events) {
        let (was, is) = (before.state, self.model.state);
        let closed = was != State::Closed && is == State::Closed;
        self.must(
            events.contains(Events::CLOSED) == closed,
            "CLOSED is told once, and then",
        );
        let entered = was != State::TimeWait && is == State::TimeWait;
        self.must(
            events.contains(Events::TIME_WAIT) == entered,
            "TIME_WAIT is told once, and then",
        );
    }

    fn send(&mut self, len: usize) {
        let bytes = stream(self.written, len);
        let sent = self.with(|tcb, env| tcb.send(env, Foreign::from(&bytes[..]), true));
        let can =
            matches!(self.model.state, State::Established | State::CloseWait) && !self.model.shut;
        say!(self, "{:?} send {len}: {sent}", self.now);
        self.must(sent == 0 || can, "what cannot be sent is not taken");
        self.written += sent as u32;
        self.drain(None);
    }

    fn recv(&mut self, len: usize) {
        let mut bytes = vec![0; len];
        let (there, got) = self.with(|tcb, env| {
            let there = tcb.recv_len();
            (
                there,
                tcb.recv(env, &mut ForeignMut::from(&mut bytes[..]), false),
            )
        });
        say!(self, "{:?} recv {len}: {got}", self.now);
        self.must(got == there.min(len), "all that is there is given");
        self.must(
            bytes[..got] == stream(self.read, got),
            "bytes are those that came",
        );
        self.read += got as u32;
        self.drain(None);
    }

    fn shutdown(&mut self) {
        say!(self, "{:?} shutdown", self.now);
        self.with(|tcb, env| tcb.shutdown_write(env));
        self.model_shutdown();
        self.drain(None);
    }

    fn model_shutdown(&mut self) {
        let model = &mut self.model;
        model.state = match model.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        };
        model.shut |= model.state != State::Closed;
    }

    fn close(&mut self) {
        say!(self, "{:?} close", self.now);
        if self.model.orphaned {
            return;
        }
        let unread = self.tcb.recv_len() > 0;
        self.with(|tcb, env| tcb.close(env));
        self.model.orphaned = true;
        let answer = match self.model.state {
            State::SynSent => {
                self.model.state = State::Closed;
                Some(Answer::Silence)
            }
            State::Closed => Some(Answer::Silence),
            // RFC 2525 2.17: what was not read is lost, and the peer is told.
            state if unread => {
                self.model.state = State::Closed;
                let tells = !matches!(state, State::Closing | State::LastAck | State::TimeWait);
                Some(if tells {
                    Answer::Reset(self.model.snd_nxt)
                } else {
                    Answer::Silence
                })
            }
            _ => {
                self.model_shutdown();
                None
            }
        };
        self.drain(answer);
    }

    /// Time goes by, each deadline met.
    fn pass(&mut self, span: Nanos) {
        let end = self.now + span;
        for _ in 0..ROUNDS_MAX {
            let due = self.tcb.next_timeout();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            let (before, waits) = (self.model.clone(), self.tcb.info());
            let events = self.with(|tcb, env| tcb.on_timer(env));
            say!(self, "{:?} timer: {events:?}", self.now);
            if self.tcb.state() == State::Closed && before.state != State::Closed {
                let outstanding = waits.unacked_bytes + waits.unsent_bytes > 0
                    || before.shut
                    || !before.state.is_synchronized();
                let over = match before.state {
                    State::TimeWait => true,
                    State::FinWait2 => before.orphaned,
                    _ => outstanding && events.contains(Events::TIMED_OUT),
                };
                self.must(over, "a connection ends by time when it may");
                self.model.state = State::Closed;
            }
            self.check_events(&before, events);
            self.drain(None);
        }
        self.must(self.tcb.next_timeout() > end, "timers come to rest");
        self.now = end;
        self.peer_clock = self.peer_clock.wrapping_add(span.as_millis() as u32);
    }

    /// Takes all that is to be sent, and looks at each segment. `answer` is what must be among it.
    fn drain(&mut self, answer: Option<Answer>) {
        let mut sent = Vec::new();
        while let Some((repr, text)) = self.transmit() {
            say!(self, "{:?} out {repr:?} {}", self.now, text.len());
            self.look(&repr, &text);
            sent.push(repr);
            self.must(sent.len() < OUTPUT_MAX, "output ends");
        }
        self.must(!self.tcb.wants_output(), "all was taken");
        if let Some(answer) = answer {
            let acks = |r: &Repr| {
                r.flags.contains(Flags::ACK) && !r.flags.intersects(Flags::RST | Flags::SYN)
            };
            let right = match answer {
                Answer::Silence => sent.is_empty(),
                Answer::Any => !sent.iter().any(|r| r.flags.contains(Flags::RST)),
                Answer::Ack => sent.iter().any(acks),
                Answer::SynAck => {
                    sent.len() == 1 && sent[0].flags.contains(Flags::SYN | Flags::ACK)
                }
                Answer::Reset(seq) => {
                    sent.len() == 1 && sent[0].flags.contains(Flags::RST) && sent[0].seq == seq
                }
            };
            self.must(right, &format!("{answer:?} is the answer"));
        } else {
            let reset = sent.iter().any(|r| r.flags.contains(Flags::RST));
            self.must(!reset, "nothing is reset");
        }
        self.check();
    }

    fn transmit(&mut self) -> Option<(Repr, Vec<u8>)> {
        let segment = self.with(|tcb, env| {
            let transmit = tcb.poll_transmit(env)?;
            let mut text = vec![0; transmit.payload_len];
            let pool = &*env.pool;
            transmit.copy_payload(pool, &mut ForeignMut::from(&mut text[..]));
            Some((transmit.repr, text))
        })?;
        Some(segment)
    }

    /// A segment leaves: what it says must be true.
    fn look(&mut self, repr: &Repr, text: &[u8]) {
        if let Some(ts) = repr.options.timestamps {
            self.echo = ts.value;
        }
        if repr.flags.contains(Flags::RST) {
            return;
        }
        let model = &mut self.model;
        if repr.flags.contains(Flags::SYN) {
            model.syn_window = u32::from(repr.window);
            if let Some(shift) = repr.options.window_scale {
                self.rcv_shift = shift;
            }
        }
        let len = text.len() as u32;
        let fin = repr.flags.contains(Flags::FIN);
        let first = model.iss + 1;
        let mut right = repr.seq == model.iss || repr.seq.ge(model.snd_una - 1);
        if repr.flags.contains(Flags::ACK) {
            right &= repr.ack == model.rcv_nxt;
            let syn = repr.flags.contains(Flags::SYN);
            let shift = if syn { 0 } else { self.rcv_shift };
            let edge = repr.ack + (u32::from(repr.window) << shift);
            model.rcv_edge = model.rcv_edge.max(edge);
            model.acked = repr.ack;
        }
        if len > 0 {
            let at = (repr.seq - first) as u32;
            right &= repr.seq.ge(model.snd_una);
            right &= text == stream(at, text.len());
            right &= at + len <= self.written;
            right &= (repr.seq + len).le(model.snd_edge);
        }
        if fin {
            let end = first + self.written;
            right &= model.shut && repr.seq + len == end;
            model.fin_sent = Some(end);
        }
        let end = repr.seq + len + u32::from(fin);
        right &= repr.seq.le(model.snd_nxt);
        model.snd_nxt = model.snd_nxt.max(end);
        self.must(right, "what is sent is true and allowed");
    }

    /// What holds whenever nothing is under way.
    fn check(&mut self) {
        let state = self.tcb.state();
        self.must(state == self.model.state, "states are the same");
        let info = self.tcb.info();
        if state != State::Closed && state != State::SynSent {
            let fin = u32::from(
                self.model
                    .fin_at
                    .is_some_and(|at| self.model.rcv_nxt.gt(at))
                    && self.tcb.peer_closed(),
            );
            let stands = self.model.irs + 1 + self.read + self.tcb.recv_len() as u32 + fin;
            self.must(
                stands == self.model.rcv_nxt,
                "as much is there as came in order",
            );
            if self.model.acked != self.model.rcv_nxt {
                let due = self.tcb.next_timeout();
                self.must(due <= self.now + ACK_DELAY_MAX, "it will be acknowledged");
            }
        }
        let waits = info.unacked_bytes + info.unsent_bytes > 0;
        if state != State::Closed && waits {
            self.must(self.tcb.next_timeout() != Nanos::NEVER, "a timer watches");
        }
        self.must(
            info.sacked_bytes + info.lost_bytes <= info.unacked_bytes,
            "no more is known of what is in flight than there is",
        );
        if state == State::Closed {
            self.must(self.tcb.next_timeout() == Nanos::NEVER, "no timer is left");
        }
    }

    /// From here on the peer keeps the rules: all that was written arrives, both ends end, nothing is left.
    fn finish(&mut self) {
        say!(self, "the peer keeps the rules from here on");
        if self.model.state == State::SynSent {
            let mut seg = self.peer_syn(self.model.irs, 0);
            (seg.flags, seg.ack) = (Flags::SYN | Flags::ACK, self.model.snd_nxt);
            self.arrive(seg, 0, 0);
        }
        let mut rounds = 0;
        while self.open() && !(self.all_sent() && self.fin_done()) {
            rounds += 1;
            self.must(rounds < ROUNDS_MAX, "everything gets across");
            self.recv(100_000);
            if self.model.state == State::Closed {
                break;
            }
            if !self.model.shut && self.all_sent() {
                self.shutdown();
            }
            let Some(len) = self.behind_newest_window() else {
                break;
            };
            let seg = self.segment(self.model.rcv_nxt, self.model.snd_nxt, Flags::ACK, 60_000);
            self.arrive(seg, len, 0);
            self.pass(Nanos::from_millis(300));
        }
        // What wild segments said may have left text ahead of a hole, or a FIN within: the holes are filled.
        let mut rounds = 0;
        while self.open() && self.model.fin_at.is_none_or(|at| at.ge(self.model.rcv_nxt)) {
            rounds += 1;
            self.must(rounds < ROUNDS_MAX, "the end comes");
            let fin_at = self.model.fin_at.unwrap_or(self.model.rcv_nxt);
            let len = (fin_at - self.model.rcv_nxt) as usize;
            let flags = if len <= 1_000 {
                Flags::ACK | Flags::FIN
            } else {
                Flags::ACK
            };
            let seg = self.segment(self.model.rcv_nxt, self.model.snd_nxt, flags, 60_000);
            self.arrive(seg, len.min(1_000), 0);
            self.recv(100_000);
        }
        self.recv(100_000);
        self.close();
        self.pass(self.time_wait + Nanos::from_secs(100));
        let mut pool = ChunkPool::new(&mut self.head, &mut self.meta, &mut self.data);
        self.tcb.release(&mut pool);
        let used = pool.used();
        self.must(used == 0, "no buffer is left in use");
    }

    /// Text that brings the peer to where its newest window came from: none of its windows counts before. None where its
    /// FIN is in the way, as wild segments may have it.
    fn behind_newest_window(&self) -> Option<usize> {
        let (next, newest) = (self.model.rcv_nxt, self.model.newest_window());
        if newest.le(next) {
            return Some(0);
        }
        let end = self.model.fin_at.map_or(newest, |at| newest.min(at));
        let len = usize::try_from(end - next).ok().filter(|len| *len > 0)?;
        Some(len.min(1_000))
    }

    const fn open(&self) -> bool {
        !matches!(self.model.state, State::Closed | State::TimeWait)
    }

    fn all_sent(&self) -> bool {
        self.model.snd_una == self.model.snd_nxt && self.tcb.unsent_len() == 0
    }

    fn fin_done(&self) -> bool {
        self.model
            .fin_sent
            .is_some_and(|fin| self.model.snd_una.gt(fin))
    }

    /// What must be so. Where it is not, the script is played once more, and told.
    #[track_caller]
    fn must(&self, holds: bool, what: &str) {
        if holds {
            return;
        }
        let Some(log) = &self.log else {
            run(&self.script, Some(Vec::new()));
            panic!("not so: {what}; but so when it was told");
        };
        panic!(
            "not so: {what}\n{}\nreference: {:#?}\nconnection: {:?}",
            log.join("\n"),
            self.model,
            self.tcb.info()
        );
    }
}
