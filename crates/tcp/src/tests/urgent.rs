//! The byte out of band.

use super::bench::{Bench, OURS, PEERS};
use super::with_env;
use crate::{Events, OutOfBand};
use sidestep_shm::Foreign;
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;

impl Bench {
    fn send_urgent(&mut self, bytes: &[u8]) -> usize {
        with_env!(self.memory, self.now, |env| self
            .tcb
            .send_urgent(env, Foreign::from(bytes)))
    }

    /// A segment whose urgent byte is the one at `offset`.
    fn urgent(&mut self, seq: Seq, payload: &[u8], offset: u16) -> Events {
        let mut repr = self.repr(seq, OURS, Flags::ACK | Flags::PSH | Flags::URG);
        repr.urgent = offset + 1;
        let events = self.feed(&repr, payload);
        self.out();
        events
    }
}

#[test]
fn the_last_byte_sent_is_urgent_until_it_is_acknowledged() {
    let mut bench = Bench::established();
    bench.send(b"abc");
    assert!(!bench.one().repr.flags.contains(Flags::URG));
    assert_eq!(bench.send_urgent(b"de"), 2);
    let sent = bench.one();
    assert_eq!(
        (&sent.payload[..], sent.repr.urgent),
        (&b"de"[..], 2),
        "not held back by Nagle's algorithm"
    );
    assert!(sent.repr.flags.contains(Flags::URG));
    // An acknowledgement that leaves behind it says nothing of it; what is sent again does.
    bench.segment(PEERS, OURS, Flags::ACK | Flags::PSH, b"x");
    assert!(bench.one().is_pure_ack());
    bench.now = bench.tcb.next_timeout();
    bench.fire();
    let again = &bench.out()[0].repr;
    assert!(again.flags.contains(Flags::URG));
    assert_eq!((again.seq, again.urgent), (OURS, 5));
    bench.ack(PEERS + 1, OURS + 5, &[]);
    bench.send(b"f");
    assert!(!bench.one().repr.flags.contains(Flags::URG));
    bench.finish();
}

#[test]
fn the_stream_stops_at_the_mark_and_goes_on_without_it() {
    let mut bench = Bench::established();
    let events = bench.urgent(PEERS, b"abXcd", 2);
    assert!(events.contains(Events::URGENT | Events::URGENT_READABLE | Events::READABLE));
    assert!(bench.tcb.has_urgent() && !bench.tcb.at_mark());
    assert_eq!(bench.tcb.recv_len(), 2);
    assert_eq!(bench.recv(10), b"ab");
    assert!(bench.tcb.at_mark());
    assert_eq!(bench.tcb.recv_urgent(true), OutOfBand::Byte(b'X'));
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Byte(b'X'));
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Nothing);
    assert!(bench.tcb.at_mark() && !bench.tcb.has_urgent());
    assert_eq!(bench.tcb.recv_len(), 2);
    assert_eq!(bench.recv(10), b"cd");
    assert!(!bench.tcb.at_mark());
    // From here on segments go the short way again.
    bench.ack(PEERS + 5, OURS, b"ef");
    assert_eq!(bench.recv(10), b"ef");
    bench.finish();
}

#[test]
fn inline_the_byte_is_read_where_it_is() {
    let mut bench = Bench::established();
    bench.tcb.set_oob_inline(true);
    bench.urgent(PEERS, b"abXcd", 2);
    assert_eq!(bench.recv(10), b"ab");
    assert!(bench.tcb.at_mark());
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Nothing);
    assert_eq!(bench.recv(10), b"Xcd");
    assert!(!bench.tcb.at_mark());
    bench.finish();
}

#[test]
fn the_byte_may_come_after_its_announcement() {
    let mut bench = Bench::established();
    let events = bench.urgent(PEERS, b"ab", 3);
    assert!(events.contains(Events::URGENT) && !events.contains(Events::URGENT_READABLE));
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Coming);
    assert_eq!(bench.recv(10), b"ab");
    let events = bench.ack(PEERS + 2, OURS, b"cXd");
    assert!(events.contains(Events::URGENT_READABLE) && !events.contains(Events::URGENT));
    assert_eq!(bench.recv(10), b"c");
    assert_eq!(bench.recv(10), b"d");
    bench.finish();
}

#[test]
fn a_newer_mark_takes_the_place_of_the_old_one() {
    let mut bench = Bench::established();
    bench.urgent(PEERS, b"X", 0);
    assert!(bench.tcb.at_mark());
    assert_eq!(bench.tcb.recv_len(), 0);
    let events = bench.urgent(PEERS + 1, b"abY", 2);
    assert!(events.contains(Events::URGENT));
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Byte(b'Y'));
    assert_eq!(bench.recv(10), b"ab");
    assert_eq!(bench.recv(10), b"");
    // Said again, the old one is no news.
    assert_eq!(
        bench.urgent(PEERS + 4, b"e", 0) & Events::URGENT,
        Events::URGENT
    );
    assert_eq!(
        bench.urgent(PEERS, b"X", 0) & Events::URGENT,
        Events::empty()
    );
    bench.finish();
}

#[test]
fn a_byte_out_of_band_does_not_hide_the_end() {
    let mut bench = Bench::established();
    bench.urgent(PEERS, b"X", 0);
    assert!(!bench.tcb.at_eof());
    bench.segment(PEERS + 1, OURS, Flags::ACK | Flags::FIN, &[]);
    assert!(bench.tcb.at_eof());
    assert_eq!(bench.tcb.recv_urgent(false), OutOfBand::Byte(b'X'));
    assert_eq!(bench.recv(10), b"");
    assert!(bench.tcb.at_eof());
    bench.finish();
}
