//! What happens to the two stacks, read from bytes: calls of their programs, what becomes of frames on the cable, time.
//! Nothing of it may panic, what is told must agree with itself, streams must arrive as they were written where nobody
//! forges frames, and in the end nothing may be left.

use crate::cable::{self, Passing};
use crate::end::{End, Held, Watched};
use crate::input::{Input, Told, stream};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_stack::{
    Discover, Endpoint, Error, Fast, Ready, SocketFlags, SocketRef, Stamping, WaitFor,
};
use sidestep_tcp::{Algorithm, KeepAlive};
use std::collections::VecDeque;

/// Sockets, sets and children of an end at most.
const HELD_MAX: usize = 12;
const SETS_MAX: usize = 3;
const CHILDREN_MAX: usize = 3;
/// Frames on the cable at most.
const CABLE_MAX: usize = 300;
/// Steps of time in one happening, and in the end, after which the stacks are stuck.
const STEPS_MAX: usize = 20_000;
/// Nothing lasts longer once everybody has let go: some retransmissions minutes apart, then a minute of FIN-WAIT-2.
const END_MAX: Nanos = Nanos::from_secs(3 * 3600);

struct World {
    ends: [End; 2],
    now: Nanos,
    cable: VecDeque<Passing>,
    /// What is read is what was written: nobody has forged anything, nor sent what stands outside of the stream.
    truthful: bool,
}

/// Plays a script to its end; panics where the stacks do not do as they must.
pub(crate) fn play(bytes: &[u8]) {
    let now = Nanos::from_secs(1000);
    let mut world = World {
        ends: [End::new(1, now), End::new(2, now)],
        now,
        cable: VecDeque::new(),
        truthful: true,
    };
    let _told = Told(bytes);
    let input = &mut Input(bytes);
    world.prepare(input.byte());
    while !input.0.is_empty() {
        world.step(input);
    }
    world.finish();
}

impl World {
    /// What most scripts begin with: sockets that listen, and connections of both families.
    fn prepare(&mut self, choice: u8) {
        if choice & 7 == 0 {
            return;
        }
        let mut step = |bytes: &[u8]| self.step(&mut Input(bytes));
        for end in [0, 0x80] {
            for family in 0..2 {
                step(&[end, 0]);
                step(&[end | 6, family | 12 | choice & 0x30, family]);
            }
        }
        for i in 0..choice & 3 {
            let (end, family) = (i << 7, i >> 1);
            step(&[end | 10, family | 0x18]);
            step(&[93]);
            step(&[(end ^ 0x80) | 22, family]);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let end = usize::from(choice >> 7);
        match choice & 0x7f {
            0..=5 => self.open(end, input),
            6..=9 => self.listen(end, input),
            10..=21 => self.connect(end, input),
            22..=29 => self.accept(end, input),
            30..=43 => self.send(end, input),
            44..=55 => self.receive(end, input),
            56..=58 => self.shut(end, input),
            59..=61 => self.close(end, input),
            62..=67 => self.choose(end, input),
            68..=70 => self.urgent(end, input),
            71..=75 => self.datagram(end, input),
            76..=82 => self.watch(end, input),
            83..=85 => self.fork(end, input),
            86..=88 => self.sleep(end, input),
            89..=90 => self.neighbours(end, input),
            91..=92 => self.hear(end, input),
            93..=104 => self.settle(),
            105..=109 => self.carry(input),
            110..=118 => self.disturb(input),
            _ => {
                let span = [0, 10, 500, 5_000, 50_000, 300_000, 2_000_000, 70_000_000];
                let us = span[input.of(span.len())];
                self.pass_time(Nanos::from_micros(us));
            }
        }
        self.collect();
    }

    /// One of an end's sockets.
    fn pick(&self, end: usize, input: &mut Input<'_>) -> Option<usize> {
        let count = self.ends[end].held.len();
        let place = input.of(count);
        (count > 0).then_some(place)
    }

    fn keep(&mut self, end: usize, r: SocketRef) {
        self.ends[end].held.push(Held {
            r,
            written: 0,
            read: 0,
        });
    }

    /// A new socket, bound if it is one for datagrams.
    fn open(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        if self.ends[end].held.len() >= HELD_MAX {
            return;
        }
        let this = &self.ends[end];
        let (flags, slot) = (SocketFlags::NONBLOCK, this.slot);
        let local = Endpoint::new(
            this.addresses[usize::from(choice >> 1 & 1)],
            90 + u16::from(choice >> 2 & 1),
        );
        let opened = this.with(|stack| {
            if choice & 1 == 0 {
                return stack.new_stream(flags, slot);
            }
            let r = stack.new_datagram(flags, slot)?;
            if let Err(error) = stack.bind(r, local) {
                stack.close(self.now, r, slot);
                return Err(error);
            }
            Ok(r)
        });
        if let Ok(r) = opened {
            self.keep(end, r);
        }
    }

    fn listen(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let this = &self.ends[end];
        let r = this.held[place].r;
        let local = Endpoint::new(
            this.addresses[usize::from(choice & 1)],
            80 + u16::from(choice >> 1 & 1),
        );
        let backlog = u32::from(choice >> 2 & 3);
        this.with(|stack| {
            if !stack.is_stream(r) || stack.local(r) != Ok(None) {
                // One that listens may change its backlog, or stop.
                let listens = stack.listen(r, backlog).is_ok();
                if listens && choice & 64 != 0 {
                    stack.unlisten(r).unwrap();
                }
                return;
            }
            if stack.bind(r, local).is_ok() && stack.listen(r, backlog).is_ok() {
                let tcb = stack.tcb(r).unwrap();
                tcb.set_fast_open(u16::from(choice >> 4 & 3));
                tcb.set_defer_accept(u32::from(choice >> 7) * 3);
            }
        });
    }

    fn connect(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        if self.ends[end].held.len() >= HELD_MAX {
            return;
        }
        let (is_v6, known) = (choice & 1 != 0, choice & 0x30 != 0);
        let [first, second] = &mut self.ends;
        let (this, other) = if end == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let ends = this.ends(other, is_v6, 80 + u16::from(choice >> 1 & 1));
        let Some(way) = this.way(other, is_v6, known) else {
            return;
        };
        let (now, slot) = (self.now, this.slot);
        let text = stream(0, usize::from(choice >> 6) * 700);
        let opened = this.with(|stack| {
            let r = stack.new_stream(SocketFlags::NONBLOCK, slot).ok()?;
            let parts = [Foreign::from(&text[..])];
            let fast = Fast::Send {
                parts: &parts,
                whole: choice & 8 != 0,
            };
            let queued = match choice >> 2 & 3 {
                0 => stack.connect_fast(now, r, ends, way, fast),
                1 => stack.connect_fast(now, r, ends, way, Fast::Defer),
                _ => stack.connect(now, r, ends, way).map(|()| 0),
            };
            Some((r, queued.unwrap_or(0)))
        });
        if let Some((r, queued)) = opened {
            self.keep(end, r);
            self.ends[end].held.last_mut().unwrap().written = queued as u32;
        }
    }

    fn accept(&mut self, end: usize, input: &mut Input<'_>) {
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let this = &self.ends[end];
        let (listener, slot) = (this.held[place].r, this.slot);
        let (told, accepted) = this.with(|stack| {
            let told = stack.ready(listener).map(|ready| ready.contains(Ready::IN));
            (told, stack.accept(listener, slot))
        });
        match accepted {
            Ok(accepted) => {
                assert_eq!(told, Ok(true), "a listener is ready");
                self.keep(end, accepted.socket);
            }
            Err(Error::WouldBlock) => assert_eq!(told, Ok(false), "a listener is not ready"),
            Err(_) => {}
        }
    }

    fn send(&mut self, end: usize, input: &mut Input<'_>) {
        let (choice, len) = (input.byte(), input.byte());
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let sizes = [1, 100, 536, 1460, 3000, 9000, 20_000, 70_000];
        let len = sizes[usize::from(len) % sizes.len()] + usize::from(len >> 3);
        let this = &mut self.ends[end];
        let Held { r, written, .. } = this.held[place];
        let bytes = stream(written, len);
        let now = self.now;
        let (told, sent) = this.with(|stack| {
            if !stack.is_stream(r) {
                return (None, Err(Error::WrongKind));
            }
            let told = stack.ready(r).ok();
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            let parts = [Foreign::from(head), Foreign::from(tail)];
            let sent = match choice % 8 {
                _ if stack.is_held(r) => stack.open_held(now, r, &parts, choice & 8 != 0),
                0..=2 => match stack.send_at_once(now, r, Foreign::from(&bytes[..])) {
                    Some(sent) => Ok(sent),
                    None => stack.send(now, r, &parts, false),
                },
                3 => stack.send_record(now, r, &parts),
                4 => stack.send(now, r, &parts, true),
                5 => {
                    let _ = stack.note_lent(r);
                    stack.send(now, r, &parts, false)
                }
                _ => stack.send(now, r, &parts, false),
            };
            (told, sent)
        });
        if sent == Err(Error::WouldBlock) {
            let writable = told.is_some_and(|ready| ready.contains(Ready::OUT));
            assert!(!writable, "told to be writable, and is not");
        }
        let sent = sent.unwrap_or(0);
        assert!(sent <= len);
        this.held[place].written = written.wrapping_add(sent as u32);
    }

    fn receive(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let this = &mut self.ends[end];
        let Held { r, read, .. } = this.held[place];
        let mut bytes = vec![0; [1, 300, 5000, 70_000][usize::from(choice & 3)]];
        let (peek, fresh) = (choice & 12 == 4, choice & 12 == 8);
        let now = self.now;
        let (told, got) = this.with(|stack| {
            if !stack.is_connected_stream(r) {
                return (None, Err(Error::WrongKind));
            }
            // What is about to be looked at first may come with the next frame; and who waits for more is not told of less.
            let plain = !fresh && stack.rcv_low(r).is_ok_and(|bytes| bytes <= 1);
            let told = plain.then(|| stack.ready(r).unwrap());
            let mut parts = [ForeignMut::from(&mut bytes[..])];
            let got = if fresh {
                stack.recv_new(now, r, &mut parts, peek)
            } else {
                stack.recv(now, r, &mut parts, peek)
            };
            (told, got)
        });
        match (told, got) {
            (Some(told), Ok(_)) => assert!(told.contains(Ready::IN), "read though not readable"),
            (Some(told), Err(Error::WouldBlock)) => {
                assert!(!told.contains(Ready::IN), "readable, and nothing to read");
            }
            _ => {}
        }
        let Ok(got) = got else { return };
        if self.truthful {
            assert!(bytes[..got] == stream(read, got), "not what was written");
        }
        if !peek {
            this.held[place].read = read.wrapping_add(got as u32);
        }
    }

    fn shut(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let r = self.ends[end].held[place].r;
        let (reading, writing) = (choice & 3 == 1, choice & 3 != 1);
        self.ends[end].with(|stack| {
            let _ = stack.shutdown(self.now, r, reading, writing || choice & 4 != 0);
        });
    }

    fn close(&mut self, end: usize, input: &mut Input<'_>) {
        let linger = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let (this, now) = (&mut self.ends[end], self.now);
        let Held { r, .. } = this.held.swap_remove(place);
        let is_held = this.with(|stack| {
            if linger & 7 == 0 {
                let _ = stack.set_linger(r, Some(0));
            }
            stack.close(now, r, this.slot);
            !stack.holders(r).is_empty()
        });
        if !is_held {
            for watched in &mut this.sets {
                watched.members.retain(|(member, ..)| *member != r);
            }
        }
    }

    /// Options of a socket.
    fn choose(&mut self, end: usize, input: &mut Input<'_>) {
        let (choice, value) = (input.byte(), input.byte());
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let (this, now) = (&self.ends[end], self.now);
        let r = this.held[place].r;
        let (on, bytes) = (value & 1 != 0, u32::from(value) << (value & 7));
        this.with(|stack| match choice % 20 {
            0 => {
                let _ = stack.set_buffers(r, Some(bytes), None);
            }
            1 => {
                let _ = stack.set_buffers(r, None, Some(bytes));
            }
            2 => {
                let _ = stack.set_rcv_low(r, bytes);
            }
            3 => {
                let _ = stack.set_ip(r, Some(value & 0xfc), Some(value | 1));
            }
            4 => {
                let _ = stack.set_stamping(r, Stamping::from_bits_retain(bytes));
            }
            5 => {
                let _ = stack.set_recverr(r, value & 2 != 0, on);
            }
            6 => {
                let mode = Discover::of(i32::from(value % 6)).unwrap();
                let _ = stack.set_discover(r, value & 64 != 0, mode);
            }
            7 => {
                let _ = stack.set_flags(r, SocketFlags::ZEROCOPY, on);
            }
            _ if !stack.is_stream(r) => {}
            other => {
                let tcb = stack.tcb(r).unwrap();
                match other {
                    8 => tcb.set_nodelay(on),
                    9 => tcb.set_cork(on),
                    10 => tcb.set_quickack(on),
                    11 => {
                        let parameters = KeepAlive {
                            idle_s: u16::from(value >> 1) + 1,
                            interval_s: 1 + u16::from(value & 7),
                            count: 2,
                        };
                        tcb.set_keepalive_parameters(parameters, now);
                        tcb.set_keepalive(on, now);
                    }
                    12 => tcb.set_user_timeout(u32::from(value) * 40),
                    13 => {
                        let all = [Algorithm::Reno, Algorithm::Cubic, Algorithm::Bbr];
                        tcb.set_congestion(all[usize::from(value) % 3]);
                    }
                    14 => tcb.set_unsent_low(bytes),
                    15 => tcb.set_window_clamp(bytes),
                    16 => tcb.set_linger2(i32::from(value)),
                    17 => tcb.set_max_segment(100 + u16::from(value) * 5),
                    18 => tcb.set_syn_retries(value & 3),
                    _ => tcb.set_oob_inline(on),
                }
                stack.flush(now, r);
            }
        });
    }

    /// The byte out of band.
    fn urgent(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let (this, now) = (&mut self.ends[end], self.now);
        let r = this.held[place].r;
        if choice & 1 == 0 {
            self.truthful = false;
            let _ = this.with(|stack| stack.send_urgent(now, r, &[Foreign::from(&b"now"[..])]));
        } else {
            this.with(|stack| {
                if stack.is_stream(r) {
                    let _ = (stack.recv_urgent(r, choice & 2 != 0), stack.at_mark(r));
                    let _ = stack.readable_len(r);
                }
                stack.take_owners();
            });
        }
    }

    fn datagram(&mut self, end: usize, input: &mut Input<'_>) {
        let (choice, len) = (input.byte(), input.byte());
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let (this, other) = (&self.ends[end], &self.ends[1 - end]);
        let r = this.held[place].r;
        let is_v6 = choice & 1 != 0;
        let Some(way) = this.way(other, is_v6, choice & 0x70 != 0) else {
            return;
        };
        let target = Endpoint::new(
            other.addresses[usize::from(is_v6)],
            90 + u16::from(choice >> 1 & 1),
        );
        let text = stream(0, usize::from(len) * usize::from(choice >> 4));
        this.with(|stack| {
            if !matches!(stack.served(r), Some(served) if !served.is_tcp) {
                return;
            }
            let Ok(Some(local)) = stack.local(r) else {
                return;
            };
            match choice >> 2 & 3 {
                0 => {
                    let _ = stack.connect_datagram(r, Some((target, way)));
                }
                1 => {
                    let mut bytes = [0; 100];
                    let mut parts = [ForeignMut::from(&mut bytes[..])];
                    if let Ok(got) = stack.recv_from(r, &mut parts, choice & 16 != 0) {
                        assert!(got.copied <= 100);
                    }
                }
                _ if local.addr.is_v4() == target.addr.is_v4() => {
                    let parts = [Foreign::from(&text[..])];
                    let _ = stack.send_to(self.now, r, (local, target), way, &parts);
                }
                _ => {}
            }
        });
    }

    /// Sets, which must tell of what is ready for as long as it is.
    fn watch(&mut self, end: usize, input: &mut Input<'_>) {
        let (choice, events) = (input.byte(), input.byte());
        let place = self.pick(end, input);
        let this = &mut self.ends[end];
        let slot = this.slot;
        if this.sets.len() < SETS_MAX && choice & 0x0f == 0 || this.sets.is_empty() {
            if let Ok(set) = this.with(|stack| stack.new_set(slot)) {
                this.sets.push(Watched {
                    set,
                    members: Vec::new(),
                });
            }
            return;
        }
        let at = usize::from(choice >> 6) % this.sets.len();
        let mut watched = this.sets.swap_remove(at);
        let set = watched.set;
        let all = [
            Ready::EDGE,
            Ready::ONESHOT,
            Ready::OUT,
            Ready::RDHUP,
            Ready::PRI,
        ];
        let mut wanted = Ready::IN;
        for (bit, event) in all.into_iter().enumerate() {
            wanted.set(event, events & 1 << bit != 0);
        }
        match (choice & 7, place.map(|place| this.held[place].r)) {
            (0 | 1, Some(r)) => {
                let fd = i32::from(events >> 7);
                let data = u64::from(r.index) << 8 | u64::from(events >> 7);
                if this.with(|stack| stack.set_add(set, r, fd, wanted, data)) == Ok(Some(())) {
                    watched.members.push((r, fd, wanted));
                }
            }
            (2, _) if !watched.members.is_empty() => {
                let member = usize::from(events) % watched.members.len();
                let (r, fd, _) = watched.members[member];
                let data = u64::from(r.index) << 8 | u64::from(fd as u8);
                let done = this.with(|stack| stack.set_modify(set, r, fd, wanted, data));
                assert_eq!(done, Ok(Some(())), "a member");
                watched.members[member].2 = wanted;
            }
            (3, _) if !watched.members.is_empty() => {
                let member = usize::from(events) % watched.members.len();
                let (r, fd, _) = watched.members.swap_remove(member);
                let done = this.with(|stack| stack.set_remove(set, r, fd));
                assert_eq!(done, Ok(Some(())), "a member");
            }
            (4, _) if choice & 0x30 == 0 => {
                this.with(|stack| stack.close_set(set, slot));
                return;
            }
            _ => this.look_at(&watched),
        }
        this.sets.push(watched);
    }

    /// Children, which hold what their parent had, and die.
    fn fork(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let (this, now) = (&mut self.ends[end], self.now);
        if choice & 1 == 0 && this.children.len() < CHILDREN_MAX {
            let child = this.with(|stack| {
                let child = stack.take_slot(2000).unwrap();
                stack.inherit(this.slot, child);
                child
            });
            this.children.push(child);
        } else if let Some(child) = this.children.pop() {
            this.bury(now, child);
        }
    }

    /// A thread that is about to sleep, and does not.
    fn sleep(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let place = self.pick(end, input);
        let this = &mut self.ends[end];
        let (slot, set) = (this.slot, this.sets.first().map(|watched| watched.set));
        let socket = place.map(|place| this.held[place].r);
        match this.waiters.pop() {
            Some(waiter) if choice & 1 == 0 => this.with(|stack| {
                stack.wake_up(waiter);
                stack.take_wakes();
                stack.give_waiter(waiter);
            }),
            kept => {
                this.waiters.extend(kept);
                let taken = this.with(|stack| {
                    let waiter = stack.take_waiter(slot)?;
                    match (socket, set) {
                        (Some(r), _) if choice & 2 == 0 => {
                            let _ = stack.fall_asleep(waiter, WaitFor::Socket(r, Ready::IN));
                            let _ = stack.fall_asleep_also(waiter, r, Ready::OUT);
                        }
                        (_, Some(set)) => {
                            let _ = stack.fall_asleep(waiter, WaitFor::Set(set));
                        }
                        _ => {}
                    }
                    Some(waiter)
                });
                this.waiters.extend(taken);
            }
        }
    }

    /// What the kernel says of the neighbour and of the interface.
    fn neighbours(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let (this, other) = (&self.ends[end], &self.ends[1 - end]);
        let to = this.neighbour(other, choice & 1 != 0);
        this.with(|stack| match choice >> 1 & 3 {
            0 => stack.set_hop(&to, Some(other.station)),
            1 => stack.set_hop(&to, None),
            2 => stack.set_network_mtu(this.wire, [1500, 1300, 1400][usize::from(choice >> 4) % 3]),
            _ => {
                let _ = stack.incomplete_hops().count();
            }
        });
    }

    /// Errors and notices.
    fn hear(&mut self, end: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(place) = self.pick(end, input) else {
            return;
        };
        let r = self.ends[end].held[place].r;
        self.ends[end].with(|stack| {
            let mut bytes = [0; 200];
            match choice % 5 {
                0 => {
                    let _ = stack.take_error(r);
                }
                1 => {
                    let _ = stack.take_notice(r);
                }
                2 => {
                    let _ = stack.take_complaint(r, &mut [ForeignMut::from(&mut bytes[..])]);
                }
                3 => {
                    let _ = stack.connect_state(r);
                }
                _ => {
                    let _ = stack.path_mtu(r);
                }
            }
        });
    }

    /// All frames arrive, and what is sent for them.
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some(passing) = self.cable.pop_front() else {
                self.poll();
                self.collect();
                if self.cable.is_empty() {
                    return;
                }
                continue;
            };
            self.ends[passing.to].give(&passing.frame);
        }
        panic!("the cable does not come to rest");
    }

    /// Some arrive, in order.
    fn carry(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        for _ in 0..=choice & 15 {
            let Some(passing) = self.cable.pop_front() else {
                break;
            };
            self.ends[passing.to].give(&passing.frame);
        }
        self.poll();
    }

    /// Something becomes of a frame on the cable, or one is made up.
    fn disturb(&mut self, input: &mut Input<'_>) {
        let (choice, place) = (input.byte(), input.byte());
        if self.cable.is_empty() {
            return;
        }
        let place = usize::from(place) % self.cable.len();
        match choice % 10 {
            0 | 1 => drop(self.cable.remove(place)),
            2 => {
                let again = self.cable[place].clone();
                self.cable.push_back(again);
            }
            3 => self.cable.swap(0, place),
            4 => {
                let passing = &mut self.cable[place];
                let at = usize::from(input.byte()) % passing.frame.len();
                if !passing.changed {
                    passing.frame[at] ^= input.byte() | 1;
                    passing.changed = true;
                }
            }
            5 | 6 => {
                // One that somebody forges: the checksum is right.
                let passing = &mut self.cable[place];
                let at = usize::from(input.byte()) % passing.frame.len().min(100);
                passing.frame[at] = input.byte();
                if choice & 0x80 != 0 {
                    let len = passing
                        .frame
                        .len()
                        .saturating_sub(usize::from(input.byte()) % 60);
                    passing.frame.truncate(len.max(15));
                }
                cable::finish(&mut passing.frame);
                self.truthful = false;
            }
            7 => {
                let passing = &mut self.cable[place];
                passing.frame = cable::tagged(&passing.frame, input.byte() & 3);
            }
            8 => {
                let kind = (input.byte(), input.byte());
                let mtu = input.word() % 1600;
                let said = cable::complaint(&self.cable[place].frame, kind, mtu);
                let to = 1 - self.cable[place].to;
                self.cable.extend(said.map(|frame| Passing {
                    to,
                    frame,
                    changed: true,
                }));
            }
            _ => {
                let passing = &mut self.cable[place];
                let len = passing.frame.len();
                let at = usize::from(input.byte()) % len;
                for byte in passing.frame[at..].iter_mut().take(8) {
                    *byte = input.byte();
                }
                self.truthful = false;
            }
        }
    }

    fn poll(&self) {
        for end in &self.ends {
            end.with(|stack| stack.poll(self.now));
        }
    }

    /// What was sent lies on the cable, as far as that has room.
    fn collect(&mut self) {
        for from in 0..2 {
            for frame in self.ends[from].take() {
                if self.cable.len() < CABLE_MAX {
                    self.cable.push_back(Passing {
                        to: 1 - from,
                        frame,
                        changed: false,
                    });
                }
            }
        }
    }

    /// The next moment at which a stack has something to do.
    fn due(&self) -> Nanos {
        let due = [0, 1].map(|end| self.ends[end].with(|stack| stack.next_timer()));
        due[0].min(due[1]).max(self.now + Nanos(1))
    }

    fn pass_time(&mut self, span: Nanos) {
        let until = self.now + span;
        for _ in 0..STEPS_MAX {
            self.now = self.due().min(until);
            self.poll();
            self.collect();
            if self.now >= until {
                return;
            }
        }
        panic!("timers do not come to rest");
    }

    /// Everybody lets go, and the cable does nothing any more.
    fn finish(mut self) {
        let now = self.now;
        for end in &mut self.ends {
            end.let_go(now);
        }
        let until = now + END_MAX;
        for _ in 0..STEPS_MAX {
            self.settle();
            if self.ends.iter().all(End::is_as_at_first) {
                return;
            }
            let due = self.due();
            if due > until {
                break;
            }
            self.now = due;
            self.poll();
        }
        panic!("{}\n{}", self.ends[0].left(), self.ends[1].left());
    }
}
