use super::super::lines::{Held, State};
use super::super::spec::Spec;
use super::*;
use std::collections::VecDeque;
use zerocopy::FromZeros;

/// A port that keeps what is sent and lends what it was given.
#[derive(Default)]
struct Plain {
    sent: Vec<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    flushes: usize,
}

impl Port for &mut Plain {
    fn caps(&self) -> Caps {
        Caps {
            frame_bytes_max: 1 << 16,
            rx_checksum_vouched: false,
            tx_checksum_unneeded: false,
            cut_bytes_max: 0,
            finishes_checksums: false,
        }
    }

    fn rx_batch(&mut self, frames_max: usize, mut on_frame: impl FnMut(Foreign<'_>)) -> usize {
        let count = frames_max.min(self.waiting.len());
        for frame in self.waiting.drain(..count) {
            on_frame(Foreign::from(&frame[..]));
        }
        count
    }

    fn rx_pending(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn tx_room(&mut self) -> usize {
        1
    }

    fn tx(&mut self, bytes: usize, fill: impl FnOnce(ForeignMut<'_>)) -> bool {
        let mut frame = vec![0; bytes];
        fill(ForeignMut::from(&mut frame[..]));
        self.sent.push(frame);
        true
    }

    fn tx_flush(&mut self) {
        self.flushes += 1;
    }

    fn rx_wakeups(&mut self, _wanted: bool) {}

    fn stats(&self) -> PortStats {
        PortStats::default()
    }
}

/// A port behind a link, and time.
struct Rig {
    plain: Plain,
    state: State,
    held: Vec<Held>,
    frames: Vec<[u8; FRAME_BYTES]>,
    now: Nanos,
}

impl Rig {
    fn new(spec: &str) -> Self {
        let mut rig = Self {
            plain: Plain::default(),
            state: State::new_zeroed(),
            held: vec![Held::new_zeroed(); 64],
            frames: vec![[0; FRAME_BYTES]; 64],
            now: Nanos::from_secs(1),
        };
        let spec: Spec = spec.parse().unwrap();
        rig.with(0, |port| port.lines.begin(&spec));
        rig
    }

    fn with<T>(&mut self, wire: u32, f: impl FnOnce(&mut Faulty<'_, &mut Plain>) -> T) -> T {
        let lines = Lines::new(&mut self.state, &mut self.held, &mut self.frames);
        f(&mut Faulty::new(&mut self.plain, lines, wire, self.now))
    }

    fn send(&mut self, wire: u32, byte: u8) {
        self.with(wire, |port| {
            assert!(port.tx(100, |mut room| {
                room.copy_from(&[byte; 100]);
            }));
            port.tx_flush();
        });
    }

    fn receive(&mut self, wire: u32) -> Vec<u8> {
        let mut first_bytes = Vec::new();
        self.with(wire, |port| {
            port.rx_batch(64, |frame| {
                first_bytes.push(frame.to_array::<1>().unwrap()[0]);
            })
        });
        first_bytes
    }

    fn sent(&self) -> Vec<u8> {
        self.plain.sent.iter().map(|frame| frame[0]).collect()
    }
}

#[test]
fn frames_take_their_time_both_ways() {
    let mut rig = Rig::new("delay=20ms");
    rig.send(0, 1);
    rig.plain.waiting.push_back(vec![2; 60]);
    assert_eq!((rig.receive(0), rig.sent()), (vec![], vec![]));
    let due = rig.with(0, |port| port.lines.next_due());
    assert_eq!(due, rig.now + Nanos::from_millis(20));
    rig.now = due - Nanos(1);
    assert_eq!((rig.receive(0), rig.sent()), (vec![], vec![]));
    rig.now = due;
    assert!(rig.with(0, |port| port.rx_pending()));
    assert_eq!((rig.receive(0), rig.sent()), (vec![2], vec![1]));
    assert_eq!(rig.with(0, |port| port.lines.next_due()), Nanos::NEVER);
    assert_eq!(rig.with(0, |port| port.lines.room()), 64);
}

#[test]
fn one_direction_can_be_left_alone() {
    let mut rig = Rig::new("in.delay=5ms,out.loss=100%");
    rig.send(0, 1);
    rig.plain.waiting.push_back(vec![2; 60]);
    assert!(rig.receive(0).is_empty());
    rig.now = rig.now + Nanos::from_millis(5);
    assert_eq!(rig.receive(0), [2]);
    assert!(rig.sent().is_empty());
    let [out, back] =
        [Direction::Out, Direction::In].map(|way| rig.with(0, |p| p.lines.count(way)));
    assert_eq!((out.passed, out.lost), (0, 1));
    assert_eq!((back.passed, back.lost), (1, 0));
}

#[test]
fn wires_are_apart_and_can_be_forgotten() {
    let mut rig = Rig::new("delay=1ms");
    for (wire, byte) in [(0, 1), (1, 2), (0, 3)] {
        rig.send(wire, byte);
    }
    rig.with(1, |port| port.lines.forget(1));
    rig.now = rig.now + Nanos::from_millis(1);
    rig.with(1, |port| port.tx_flush());
    assert!(rig.sent().is_empty());
    rig.with(0, |port| port.tx_flush());
    assert_eq!(rig.sent(), [1, 3]);
    assert_eq!(rig.with(0, |port| port.lines.room()), 64);
}

#[test]
fn damage_shows_where_checksums_are_looked_at() {
    let mut rig = Rig::new("corrupt=100%");
    rig.send(0, 0);
    let flipped: u32 = rig.plain.sent[0].iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(flipped, 1);
    rig.plain.waiting.push_back(vec![2; 60]);
    assert!(rig.receive(0).is_empty());
    assert_eq!(
        rig.with(0, |port| port.lines.count(Direction::In)).damaged,
        1
    );
    assert_eq!(rig.with(0, |port| port.lines.room()), 64);
}

#[test]
fn frames_overtake_and_come_twice() {
    let mut rig = Rig::new("delay=10ms,reorder=50%,duplicate=30%");
    for byte in 0..30 {
        rig.send(0, byte);
    }
    rig.now = rig.now + Nanos::from_secs(1);
    rig.with(0, |port| port.tx_flush());
    let sent = rig.sent();
    assert!(sent.len() > 30, "{sent:?}");
    assert!(!sent.is_sorted(), "{sent:?}");
    assert!((0..30).all(|byte| sent.contains(&byte)), "{sent:?}");
}

#[test]
fn what_finds_no_room_waits() {
    let mut rig = Rig::new("delay=1s");
    for byte in 0..64 {
        rig.send(0, byte);
    }
    assert_eq!(rig.with(0, |port| port.tx_room()), 0);
    assert!(!rig.with(0, |port| port.tx(10, |_| {})));
    rig.plain.waiting.push_back(vec![2; 60]);
    assert!(rig.receive(0).is_empty());
    assert_eq!(rig.plain.waiting.len(), 1);
    rig.now = rig.now + Nanos::from_secs(1);
    rig.with(0, |port| port.tx_flush());
    assert_eq!(rig.plain.sent.len(), 64);
}
