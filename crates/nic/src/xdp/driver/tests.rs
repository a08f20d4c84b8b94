use super::super::layout::CHAIN_BYTES_MAX;
use super::super::{Options, Socket};
use super::*;
use sidestep_tests::netns::Netns;

/// A socket that is bound to nothing, so that nobody but the test writes into its rings.
fn unbound(frame_bytes_max: usize) -> (State, Attachment) {
    let options = Options {
        log2_rx: 4,
        log2_tx: 3,
        frame_bytes_max,
        huge_pages: false,
        ..Options::default()
    };
    Socket::create(&options)
        .expect("an AF_XDP socket")
        .unbound()
}

/// Has a frame arrive as the kernel would say it, or as somebody says who shares the socket.
fn arrive(at: &Attachment, index: u32, address: u64, bytes: u32, options: u32) {
    let desc = Desc {
        address,
        bytes,
        options,
    };
    at.rx.write(index, desc.words());
    at.rx.produce(index + 1);
}

fn received(state: &mut State, at: &Attachment) -> Vec<usize> {
    let mut lengths = Vec::new();
    Xdp::new(state, at).rx_batch(64, |frame| lengths.push(frame.len()));
    lengths
}

#[test]
#[ignore = "needs root"]
fn descriptors_that_make_no_sense_are_counted_and_dropped() {
    let (mut state, at) = unbound(1514);
    let end = state.geometry().bytes() as u64;
    // Sound; beyond the end; across it; at an address that overflows; sound again.
    arrive(&at, 0, 256, 100, 0);
    arrive(&at, 1, end, 1, 0);
    arrive(&at, 2, end - 10, 11, 0);
    arrive(&at, 3, u64::MAX, u32::MAX, 0);
    arrive(&at, 4, 2048 + 256, 60, 0);
    assert_eq!(received(&mut state, &at), [100, 60]);
    // One count for the frame and one for the buffer that is none of ours, of each of the three.
    assert_eq!((state.stats.rx_frames, state.stats.rx_malformed), (2, 6));
    // Sixteen buffers were posted at first, two were given back.
    assert_eq!(state.fill.next, 18);
    assert_eq!([at.fill.read(16), at.fill.read(17)], [[0], [2048]]);
    assert!(!Xdp::new(&mut state, &at).is_broken());
}

#[test]
#[ignore = "needs root"]
fn chains_that_do_not_end_or_are_too_long_are_dropped_whole() {
    let (mut state, at) = unbound(9014);
    arrive(&at, 0, 256, 3840, PKT_CONTD);
    arrive(&at, 1, 4096, 4096, PKT_CONTD);
    arrive(&at, 2, 8192, 1000, 0);
    assert_eq!(received(&mut state, &at), [3840 + 4096 + 1000]);
    // The end of this one never comes.
    arrive(&at, 3, 256, 3840, PKT_CONTD);
    arrive(&at, 4, 4096, 4096, PKT_CONTD);
    assert!(received(&mut state, &at).is_empty());
    assert_eq!(state.stats.rx_malformed, 1);
    // More than fits, and then a sound frame.
    let parts = u32::try_from(CHAIN_BYTES_MAX / 4096).expect("a few") + 1;
    for part in 0..parts {
        let options = if part + 1 < parts { PKT_CONTD } else { 0 };
        arrive(&at, 5 + part, u64::from(part) * 4096, 4096, options);
    }
    arrive(&at, 5 + parts, 256, 64, 0);
    assert_eq!(received(&mut state, &at), [64]);
    assert_eq!(state.stats.rx_malformed, 2);
}

#[test]
#[ignore = "needs root"]
fn indices_that_make_no_sense_end_the_port() {
    for break_it in [
        |at: &Attachment| at.rx.produce(17),
        |at: &Attachment| at.rx.produce(u32::MAX),
        |at: &Attachment| at.done.produce(9),
        |at: &Attachment| at.done.produce(0x8000_0000),
    ] {
        let (mut state, at) = unbound(1514);
        break_it(&at);
        assert!(received(&mut state, &at).is_empty());
        let mut port = Xdp::new(&mut state, &at);
        assert_eq!(port.tx_room(), 0);
        assert!(!port.tx(64, |_| panic!("there is no buffer")));
        assert!(port.is_broken());
        assert!(!port.rx_pending());
        assert_eq!(port.link(), Link::Gone);
    }
}

#[test]
#[ignore = "needs root"]
fn sending_buffers_are_taken_from_those_that_came_back() {
    let (mut state, at) = unbound(1514);
    let first = 16 * 2048;
    let send = |state: &mut State| {
        let mut port = Xdp::new(state, &at);
        let sent = port.tx(64, |mut room| {
            room.copy_from(&[1; 64]);
        });
        let [address, _] = at.tx.read(state.tx.next.wrapping_sub(1));
        sent.then_some(address)
    };
    assert_eq!(send(&mut state), Some(first));
    assert_eq!(send(&mut state), Some(first + 2048));
    // Back come an address outside, a receiving buffer, and the second one, as an address within it.
    at.done.write(0, [u64::MAX]);
    at.done.write(1, [0]);
    at.done.write(2, [first + 2048 + 17]);
    at.done.produce(3);
    assert_eq!(send(&mut state), Some(first + 2048));
    assert_eq!(state.stats.rx_malformed, 2);
    for n in 2..8 {
        assert_eq!(send(&mut state), Some(first + n * 2048));
    }
    assert_eq!(send(&mut state), None);
    assert_eq!(state.stats.tx_full, 1);
    // Nobody is there to send it: an unbound socket is as good as an interface that is gone.
    let mut port = Xdp::new(&mut state, &at);
    port.tx_flush();
    assert!(port.is_broken());
    assert_eq!((at.tx.produced(), at.done.consumed()), (9, 3));
}

#[test]
#[ignore = "needs root"]
fn nobody_sleeps_while_the_kernel_has_no_room_for_a_moment() {
    let netns = Netns::new();
    let loopback = netns.ifindex("lo");
    let options = Options {
        log2_tx: 3,
        huge_pages: false,
        ..Options::default()
    };
    let bound = netns.inside(|| Socket::create(&options)?.bind(loopback, 0));
    let (mut state, at, _) = bound.expect("a socket on the loopback");
    let send = |state: &mut State| {
        let mut port = Xdp::new(state, &at);
        assert!(port.tx(64, |mut room| {
            room.copy_from(&[0; 64]);
        }));
    };
    (0..8).for_each(|_| send(&mut state));
    Xdp::new(&mut state, &at).tx_flush();
    assert_eq!((at.tx.consumed(), state.tx_owed), (8, 0));
    // The next one gets a buffer that came back, but the kernel is not told that its place in the ring is free.
    send(&mut state);
    state.done.published = state.done.next;
    let mut port = Xdp::new(&mut state, &at);
    port.tx_flush();
    assert!(port.rx_pending());
    for _ in 2..OWED_TRIES_MAX {
        port.rx_wakeups(true);
    }
    assert!(port.rx_pending());
    // It is no matter of moments: whoever has nothing else to do may sleep.
    port.rx_wakeups(true);
    assert!(!port.rx_pending());
    // There is room again.
    at.done.consume(1);
    port.tx_flush();
    assert_eq!(
        (at.tx.consumed(), state.tx_owed, state.owed_tries),
        (9, 0, 0)
    );
}
