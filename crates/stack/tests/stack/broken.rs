//! Memory that somebody has broken, by a wild write or on purpose: whoever works on it, the agent above all, comes to an
//! end. A panic is one, for it gives the stack up; going round for ever is none, nor is a touch of other memory.

use crate::harness::{Net, Node, PORT, at_a, at_b};
use sidestep_shm::{Nanos, Region};
use sidestep_stack::{Ready, SetRef, SocketRef, WaitFor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

/// What lies before the tables: nobody believes another's word about the lock.
const LOCK_BYTES: usize = 64;
/// Long after a round has come to its end on any machine.
const HANGS: Duration = Duration::from_secs(60);
/// What threads are called whose panics are expected.
const QUIET: &str = "breaks";

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).unwrap() % n
    }

    fn word(&mut self) -> u32 {
        self.next().to_le_bytes()[..4]
            .try_into()
            .map(u32::from_le_bytes)
            .unwrap()
    }
}

/// Two stacks with something in every table.
struct Busy {
    net: Net,
    listener: SocketRef,
    set: SetRef,
    clients: Vec<SocketRef>,
    servers: Vec<SocketRef>,
    datagrams: [SocketRef; 2],
}

impl Busy {
    fn new() -> Self {
        let net = Net::new();
        let listener = net.b.listener(at_b(PORT), 8);
        let (clients, servers): (Vec<_>, Vec<_>) =
            (5000..5006).map(|port| net.pair(listener, port)).unzip();
        let set = net.b.with(|s| s.new_set(net.b.slot)).unwrap();
        for (fd, r) in (10..).zip(servers.iter().chain([&listener])) {
            let events = Ready::IN | Ready::OUT;
            net.b.with(|s| s.set_add(set, *r, fd, events, 7)).unwrap();
        }
        let datagrams = [net.a.datagram(at_a(53)), net.b.datagram(at_b(53))];
        for bytes in [10, 3_000, 9_000] {
            let (ends, text) = ((at_a(53), at_b(53)), vec![1; bytes]);
            let sent = net.a.send_to(datagrams[0], ends, net.wire_a, &text);
            sent.unwrap();
        }
        // What is read, what waits, and what is not sent yet.
        for r in &clients[..3] {
            net.a.send(*r, &[2; 20_000]).unwrap();
        }
        net.settle();
        net.b.recv(servers[0], 100).unwrap();
        for waiter in 0..3 {
            net.b.with(|s| {
                let waiter_is = s.take_waiter(net.b.slot);
                assert_eq!(waiter_is, Some(waiter));
                let target = if waiter == 0 {
                    WaitFor::Set(set)
                } else {
                    WaitFor::Socket(servers[3], Ready::IN)
                };
                s.fall_asleep(waiter, target).unwrap();
            });
        }
        // Handshakes under way, connections that nobody has accepted, one in TIME-WAIT.
        for port in 6000..6003 {
            net.a.connect((at_a(port), at_b(PORT)), net.wire_a);
        }
        net.settle();
        net.a.connect((at_a(6003), at_b(PORT)), net.wire_a);
        net.b.poll();
        net.b.close(servers[5]);
        net.settle();
        net.a.close(clients[5]);
        net.settle();
        for r in &servers[..3] {
            net.b.send(*r, &[3; 30_000]).unwrap();
        }
        Self {
            net,
            listener,
            set,
            clients,
            servers,
            datagrams,
        }
    }

    /// Something that the agent does, or a program.
    fn act(&mut self, random: &mut Random) {
        let net = &mut self.net;
        let step = [1, 40, 300, 70_000][random.below(4)];
        let now = net.a.now + Nanos::from_millis(step);
        (net.a.now, net.b.now) = (now, now);
        let place = random.below(5);
        let (client, server) = (self.clients[place], self.servers[place]);
        match random.below(12) {
            0..=2 => drop((net.b.poll(), net.a.poll())),
            3 => drop(net.b.with(|s| (s.report(), s.next_timer(), s.rx_pending()))),
            4 => net.b.with(|s| s.on_slot_dead(now, 0)),
            5 => drop((net.b.recv(server, 50_000), net.a.recv(client, 50_000))),
            6 => drop((net.b.send(server, &[4; 5000]), net.a.send(client, b"x"))),
            7 => drop(net.b.with(|s| {
                let told = s.set_collect(self.set, 3, |_, _| ());
                (told, s.set_looks_ready(self.set), s.memberships(server))
            })),
            8 => drop((
                net.b.accept(self.listener),
                net.b.recv_from(self.datagrams[1], 5_000),
                net.b.datagram(at_b(99)),
            )),
            9 => net.b.with(|s| {
                s.wake_up(1);
                s.leave_sets(server);
                s.close_set(self.set, 0);
            }),
            10 => net
                .b
                .close([server, self.listener, self.datagrams[1]][random.below(3)]),
            _ => net.b.with(|s| s.close_wire(net.wire_b)),
        }
    }
}

fn word_at(region: &Region, offset: usize) -> u32 {
    let mut word = [0; 4];
    region.foreign(offset, 4).unwrap().copy_to(&mut word);
    u32::from_le_bytes(word)
}

/// Writes something to a few words that are in use, mostly what might be a place in a table.
fn scribble(node: &Node, random: &mut Random) {
    let region = node.region();
    let used: Vec<usize> = (LOCK_BYTES..region.bytes())
        .step_by(4)
        .filter(|offset| word_at(region, *offset) != 0)
        // Text is the peer's anyway, and most of what there is.
        .filter(|offset| {
            ![0x0101_0101, 0x0202_0202, 0x0303_0303].contains(&word_at(region, *offset))
        })
        .collect();
    for _ in 0..=random.below(12) {
        let at = used[random.below(used.len())];
        let word = match random.below(6) {
            0 => random.word(),
            1 => u32::MAX,
            2 => 0,
            3 => word_at(region, used[random.below(used.len())]),
            4 => word_at(region, at) ^ 1 << random.below(32),
            _ => u32::try_from(random.below(24)).unwrap(),
        };
        let mut room = region.foreign_mut(at, 4).unwrap();
        room.copy_from(&word.to_le_bytes());
    }
}

/// Breaks a stack and works on it until that panics. Whether it did.
fn round(seed: u64) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut busy = Busy::new();
    scribble(&busy.net.b, &mut random);
    (0..12).any(|_| catch_unwind(AssertUnwindSafe(|| busy.act(&mut random))).is_err())
}

/// Panics of the threads that break things are told to nobody: there are many, and a backtrace takes long.
fn expect_panics() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().name() != Some(QUIET) {
                usual(info);
            }
        }));
    });
}

fn rounds(seeds: std::ops::Range<u64>) {
    expect_panics();
    let (tell, told) = mpsc::channel();
    let all = seeds.clone();
    let worker = thread::Builder::new().name(QUIET.to_owned());
    worker
        .spawn(move || {
            for seed in all {
                let panicked = round(seed);
                tell.send(panicked).unwrap();
            }
        })
        .unwrap();
    let mut panicked = 0;
    for seed in seeds.clone() {
        match told.recv_timeout(HANGS) {
            Ok(did) => panicked += u64::from(did),
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    // Else nothing was broken that matters.
    let count = seeds.end - seeds.start;
    assert!(panicked * 20 > count, "{panicked} of {count}");
}

#[test]
fn broken_memory_hangs_nobody() {
    rounds(0..150);
}

#[test]
#[ignore = "takes a minute"]
fn much_broken_memory_hangs_nobody() {
    let from = std::env::var("SEED").map_or(1_000, |seed| seed.parse().unwrap());
    rounds(from..from + 5_000);
}

#[test]
fn a_timer_that_is_in_no_slot_ends_the_wheel() {
    expect_panics();
    let mut busy = Busy::new();
    // As above, by name: every socket's deadline is taken for none.
    let region = busy.net.b.region();
    let never = u64::MAX.to_le_bytes();
    let timers = busy.net.b.with(|s| s.next_timer());
    assert!(timers < Nanos::NEVER);
    let base = busy.net.b.now.0 >> 20;
    let mut broken = 0;
    for offset in (LOCK_BYTES..region.bytes() - 8).step_by(8) {
        let mut word = [0; 8];
        region.foreign(offset, 8).unwrap().copy_to(&mut word);
        let at = u64::from_le_bytes(word);
        // Places in the wheel are whole ticks.
        if at & 0xf_ffff == 0 && (base..base + 400_000).contains(&(at >> 20)) && at != 0 {
            region.foreign_mut(offset, 8).unwrap().copy_from(&never);
            broken += 1;
        }
    }
    assert!(broken > 0);
    busy.net.b.now = busy.net.b.now + Nanos::from_secs(300);
    let worker = thread::Builder::new().name(QUIET.to_owned());
    let worker =
        worker.spawn(move || catch_unwind(AssertUnwindSafe(|| busy.net.b.poll())).is_err());
    assert!(worker.unwrap().join().unwrap());
}
