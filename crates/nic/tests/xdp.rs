//! The AF_XDP driver over pairs of virtual Ethernet interfaces, in network namespaces that each test makes.
//!
//! Needs root and iproute2. Run by `cargo test -p sidestep-nic --test xdp -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod xdp_ends;

use sidestep_nic::Port;
use sidestep_nic::xdp::{Copying, Link, OpenError, Options, Socket};
use sidestep_steering::Mode;
use sidestep_tests::Seed;
use sidestep_tests::netns::Cable;
use std::time::Duration;
use xdp_ends::{
    End, Packet, copy, frame, is_readable, one_at_a_time, steer_everything, steered, wait,
};

const JUMBO: Options = Options {
    log2_rx: 9,
    log2_tx: 9,
    frame_bytes_max: 9018,
    copying: Copying::Auto,
    huge_pages: true,
    busy_poll: None,
    finish_checksums: false,
};

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn frames_of_every_length_arrive_as_they_were_sent() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    for bytes in 60..=1514 {
        let sent = frame(bytes, bytes);
        near.send(&sent);
        assert_eq!(far.receive(), sent, "{bytes} bytes to far");
        far.send(&sent);
        assert_eq!(near.receive(), sent, "{bytes} bytes to near");
    }
    assert!(!near.port().tx(1519, |_| panic!("longer than may be")));
    let stats = near.port().stats();
    assert_eq!((stats.tx_frames, stats.rx_frames), (1455, 1455));
    assert_eq!(stats.rx_malformed + stats.tx_full, 0);
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn jumbo_frames_go_in_several_buffers() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 9000);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &JUMBO);
    let (_far_steering, mut far) = steered(&cable.far, "far0", &JUMBO);
    assert!(near.report.chained);
    let mut seed = Seed::of_test(9);
    let edges = [
        60, 3839, 3840, 3841, 4095, 4096, 4097, 8191, 8192, 8193, 9014,
    ];
    let any = (0..3000).map(|_| usize::try_from(seed.between(60, 9015)).unwrap());
    for (number, bytes) in edges.into_iter().chain(any).enumerate() {
        let sent = frame(number, bytes);
        near.send(&sent);
        assert_eq!(far.receive(), sent, "{bytes} bytes");
        far.send(&sent);
        assert_eq!(near.receive(), sent, "{bytes} bytes back");
    }
    assert_eq!(far.port().stats().rx_malformed, 0);
    assert_eq!(far.at.kernel_counters().unwrap().rx_dropped, 0);
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn the_kernel_at_the_other_end_sees_the_same_frames() {
    let _one = one_at_a_time();
    for (mtu, options) in [(1500, Options::default()), (9000, JUMBO)] {
        let cable = Cable::silent(1, mtu);
        let (_steering, mut near) = steered(&cable.near, "near0", &options);
        let far = Packet::new(&cable.far, "far0");
        for (number, bytes) in [60, 61, 64, 512, 1500, 1514, 2048, 4096, 8191, 9014]
            .into_iter()
            .filter(|bytes| *bytes <= options.frame_bytes_max)
            .enumerate()
        {
            let sent = frame(number, bytes);
            near.send(&sent);
            assert_eq!(far.receive(), sent, "{bytes} bytes to the kernel");
            far.send(&sent);
            assert_eq!(near.receive(), sent, "{bytes} bytes from the kernel");
        }
    }
}

/// Adds up what frames hold, so that one byte in another place shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, frame: &[u8]) {
        for &byte in frame {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// A million frames there and back, in bursts of random size. None may be lost: a burst is shorter than the rings and
/// is taken whole before the next one.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_million_frames_there_and_back_keep_every_byte() {
    const FRAMES: u64 = 1_000_000;
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    let mut seed = Seed::of_test(1);
    let pattern: Vec<u8> = (0..4096).map(|_| seed.draw().to_le_bytes()[0]).collect();
    let (mut sent, mut sent_sum, mut back, mut back_sum) = (0, Sum(0), 0, Sum(0));
    while sent < FRAMES {
        for _ in 0..seed.between(1, 200) {
            let [bytes, from] = [(60, 200), (0, 3800)]
                .map(|(low, high)| usize::try_from(seed.between(low, high)).unwrap());
            let frame = &pattern[from..from + bytes];
            assert!(near.write(frame), "no room");
            sent_sum.add(frame);
            sent += 1;
        }
        near.port().tx_flush();
        wait("end of a burst", || {
            for frame in far.receive_all() {
                assert!(far.write(&frame), "no room");
            }
            far.port().tx_flush();
            near.port().rx_batch(64, |frame| {
                back_sum.add(&copy(frame));
                back += 1;
            });
            (back == sent).then_some(())
        });
    }
    assert_eq!(back_sum, sent_sum);
    let stats = far.port().stats();
    assert_eq!(
        (stats.rx_frames, stats.tx_frames, stats.rx_malformed),
        (sent, sent, 0)
    );
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn each_queue_has_a_socket_of_its_own() {
    let _one = one_at_a_time();
    for queues in [1, 2, 4] {
        let cable = Cable::silent(queues, 1500);
        let open = |netns, name| {
            let mut steering = steer_everything(netns, name, Mode::Native);
            let ends: Vec<End> = (0..queues)
                .map(|queue| {
                    let end = End::bound(netns, name, queue, &Options::default());
                    steering.set_socket(0, queue, end.at.socket_fd()).unwrap();
                    end
                })
                .collect();
            (steering, ends)
        };
        let (_near_steering, mut near) = open(&cable.near, "near0");
        let (_far_steering, mut far) = open(&cable.far, "far0");
        for (queue, (near, far)) in near.iter_mut().zip(&mut far).enumerate() {
            for number in 0..100 {
                let sent = frame(queue * 1000 + number, 64 + number);
                near.send(&sent);
                // A veth's queue leads to the same one of its peer.
                assert_eq!(far.receive(), sent);
                far.send(&sent);
                assert_eq!(near.receive(), sent);
            }
        }
        let ifindex = cable.near.ifindex("near0");
        let again = cable
            .near
            .inside(|| Socket::create(&Options::default())?.bind(ifindex, 0));
        assert!(
            matches!(again, Err(OpenError::Taken { queue: 0, .. })),
            "a queue twice"
        );
        let beyond = cable
            .near
            .inside(|| Socket::create(&Options::default())?.bind(ifindex, queues));
        assert!(
            matches!(beyond, Err(OpenError::NoQueue { .. })),
            "no such queue"
        );
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn full_rings_lose_nothing_that_was_taken() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let small = Options {
        log2_rx: 4,
        log2_tx: 3,
        ..Options::default()
    };
    let (_near_steering, mut near) = steered(&cable.near, "near0", &small);
    let (_far_steering, mut far) = steered(&cable.far, "far0", &small);
    for lap in 0..50 {
        // Without a flush the buffers run out.
        assert_eq!(near.port().tx_room(), 8);
        let written = (0..20)
            .filter(|n| near.write(&frame(lap * 20 + n, 100)))
            .count();
        assert_eq!(written, 8);
        assert_eq!(near.port().tx_room(), 0);
        near.port().tx_flush();
        wait("buffers back", || {
            (near.port().tx_room() == 8).then_some(())
        });
        let got = far.receive_all();
        assert_eq!(got.len(), 8);
        for (n, got) in got.iter().enumerate() {
            assert_eq!(*got, frame(lap * 20 + n, 100));
        }
    }
    assert_eq!(near.port().stats().tx_full, 50 * 12);
    // A receiver that does not look: what finds no buffer is lost and counted by the kernel, the rest stays.
    for n in 0..40 {
        near.send(&frame(n, 64));
    }
    let held = far.receive_all();
    assert!(
        (12..=16).contains(&held.len()),
        "{} of 16 buffers",
        held.len()
    );
    for (n, got) in held.iter().enumerate() {
        assert_eq!(*got, frame(n, 64));
    }
    let lost = far.at.kernel_counters().unwrap();
    let lost = lost.rx_dropped + lost.rx_no_buffer + lost.rx_ring_full;
    assert!(lost > 0, "frames that were lost were not counted");
    // And all goes on.
    far.port().rx_wakeups(true);
    near.send(&frame(7, 64));
    assert_eq!(far.receive(), frame(7, 64));
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_sleeper_is_woken_by_the_socket() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    far.port().rx_wakeups(true);
    assert!(!far.port().rx_pending());
    assert!(!is_readable(far.at.socket_fd(), Duration::from_millis(20)));
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| is_readable(far.at.socket_fd(), Duration::from_secs(10)));
        std::thread::sleep(Duration::from_millis(50));
        near.send(&frame(1, 64));
        assert!(sleeper.join().unwrap(), "never woken");
    });
    assert!(far.port().rx_pending());
    assert_eq!(far.receive(), frame(1, 64));
    far.port().rx_wakeups(true);
    assert!(!is_readable(far.at.socket_fd(), Duration::ZERO));
}

/// Two views of one socket with the state between them, as processes that share a stack have them.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn two_attachments_take_turns() {
    use sidestep_nic::xdp::{Attachment, Xdp};
    use sidestep_shm::Region;
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    let memfd = near.at.umem().fd().unwrap().try_clone_to_owned().unwrap();
    let socket = near.at.socket_fd().try_clone_to_owned().unwrap();
    let other = Attachment::new(
        socket,
        Region::attach(memfd).unwrap(),
        near.state.geometry(),
    )
    .unwrap();
    for number in 0..5000 {
        let sent = frame(number, 60 + number % 1000);
        let at = if number % 3 == 0 { &other } else { &near.at };
        let mut port = Xdp::new(&mut near.state, at);
        assert!(port.tx(sent.len(), |mut room| assert_eq!(
            room.copy_from(&sent),
            sent.len()
        )));
        port.tx_flush();
        let got = far.receive();
        assert_eq!(got, sent);
        far.send(&got);
        let at = if number % 2 == 0 { &other } else { &near.at };
        wait("answer", || {
            Xdp::new(&mut near.state, at)
                .rx_batch(1, |frame| assert_eq!(copy(frame), sent))
                .eq(&1)
                .then_some(())
        });
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn frames_wait_while_the_interface_is_down() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    near.send(&frame(0, 64));
    assert_eq!(far.receive(), frame(0, 64));
    cable.near.run("ip link set near0 down");
    assert_eq!(near.port().link(), Link::Down);
    near.send(&frame(1, 64));
    assert!(far.receive_all().is_empty());
    assert!(!near.port().is_broken());
    cable.near.run("ip link set near0 up");
    assert_eq!(near.port().link(), Link::Up);
    // Nobody flushes: polling alone gets rid of what waited.
    wait("the frame that waited", || {
        near.port().rx_batch(64, |_| {});
        let got = far.receive_all();
        got.contains(&frame(1, 64)).then_some(())
    });
    far.send(&frame(2, 64));
    assert_eq!(near.receive(), frame(2, 64));
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn an_interface_that_goes_ends_the_port() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    far.send(&frame(1, 64));
    cable.near.run("ip link del near0");
    // What had arrived is still there; then both ends learn of it, one by sending, one by asking.
    assert_eq!(near.receive(), frame(1, 64));
    near.send(&frame(2, 64));
    assert!(near.port().is_broken());
    assert_eq!(far.port().link(), Link::Gone);
    for end in [&mut near, &mut far] {
        assert!(!end.write(&frame(3, 64)));
        assert_eq!(end.port().tx_room(), 0);
        assert!(end.receive_all().is_empty());
        assert!(!end.port().rx_pending());
        end.port().tx_flush();
        end.port().rx_wakeups(true);
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn copying_and_generic_mode_carry_the_same_frames() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let options = Options {
        copying: Copying::Copy,
        huge_pages: false,
        ..Options::default()
    };
    let open = |netns, name| {
        let mut steering = steer_everything(netns, name, Mode::Generic);
        let end = End::bound(netns, name, 0, &options);
        steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
        assert_eq!(steering.mode(), Mode::Generic);
        assert!(!end.report.zero_copy && !end.report.huge_pages);
        (steering, end)
    };
    let (_near_steering, mut near) = open(&cable.near, "near0");
    let (_far_steering, mut far) = open(&cable.far, "far0");
    for bytes in (60..=1514).step_by(7) {
        let sent = frame(bytes, bytes);
        near.send(&sent);
        assert_eq!(far.receive(), sent);
        far.send(&sent);
        assert_eq!(near.receive(), sent);
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_the_driver_cannot_is_refused_by_name() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let ifindex = cable.near.ifindex("near0");
    let open = |options: &Options, ifindex| {
        let made = cable
            .near
            .inside(|| Socket::create(options)?.bind(ifindex, 0));
        made.map(|(_, _, report)| report).unwrap_err()
    };
    let zero_copy = Options {
        copying: Copying::ZeroCopy,
        ..Options::default()
    };
    assert!(matches!(
        open(&zero_copy, ifindex),
        OpenError::Unsupported(_)
    ));
    assert!(matches!(
        open(&Options::default(), 9999),
        OpenError::NoQueue { ifindex: 9999, .. }
    ));
    let many = Options {
        log2_rx: 16,
        ..Options::default()
    };
    assert!(matches!(open(&many, ifindex), OpenError::Options));
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn the_mtu_is_followed_as_far_as_the_socket_was_made_for_it() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &JUMBO);
    assert!(near.state.set_frame_bytes_max(600));
    assert!(!near.write(&frame(1, 601)));
    near.send(&frame(1, 600));
    assert_eq!(far.receive(), frame(1, 600));
    // One buffer's worth, both ways.
    cable.near.run("ip link set near0 mtu 1778");
    cable.far.run("ip link set far0 mtu 1778");
    assert!(!near.state.set_frame_bytes_max(9014));
    assert_eq!(near.port().caps().frame_bytes_max, 1792);
    near.send(&frame(2, 1792));
    assert_eq!(far.receive(), frame(2, 1792));
    far.send(&frame(3, 1792));
    assert_eq!(near.receive(), frame(3, 1792));
    assert!(far.state.set_frame_bytes_max(16 * 1024));
    assert!(!far.state.set_frame_bytes_max(16 * 1024 + 1));
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_new_name_changes_nothing_and_another_namespace_ends_the_port() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    cable.near.run("ip link set near0 down");
    cable.near.run("ip link set near0 name other0");
    cable.near.run("ip link set other0 up");
    near.send(&frame(1, 64));
    assert_eq!(far.receive(), frame(1, 64));
    far.send(&frame(2, 64));
    assert_eq!(near.receive(), frame(2, 64));
    let path = cable.far.path();
    cable.near.run(&format!("ip link set other0 netns {path}"));
    assert_eq!(near.port().link(), Link::Gone);
    assert!(near.port().is_broken());
    // The other end stays where it is, with nobody there.
    assert_ne!(far.port().link(), Link::Gone);
}

/// Threads have privileges of their own: what is dropped here is this thread's only.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn memory_that_may_not_be_locked_is_named() {
    use rustix::process::{Resource, Rlimit};
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let _one = one_at_a_time();
    let before = rustix::process::getrlimit(Resource::Memlock);
    let low = Rlimit {
        current: Some(1 << 20),
        ..before
    };
    rustix::process::setrlimit(Resource::Memlock, low).unwrap();
    let open_with = |kept: CapabilitySet| {
        std::thread::spawn(move || {
            let sets = CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, sets).unwrap();
            Socket::create(&Options::default()).err()
        })
        .join()
        .unwrap()
    };
    let limited = open_with(CapabilitySet::NET_RAW);
    let nothing = open_with(CapabilitySet::empty());
    let exempt = open_with(CapabilitySet::NET_RAW | CapabilitySet::IPC_LOCK);
    rustix::process::setrlimit(Resource::Memlock, before).unwrap();
    assert!(
        matches!(limited, Some(OpenError::Memlock(_))),
        "{limited:?}"
    );
    assert!(
        matches!(nothing, Some(OpenError::NotAllowed)),
        "{nothing:?}"
    );
    assert!(exempt.is_none(), "{exempt:?}");
}

/// What a program is handed is enough: without any privilege it maps the rings and exchanges frames.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn who_is_handed_the_descriptors_needs_no_privilege() {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    use sidestep_nic::xdp::Attachment;
    use sidestep_shm::Region;
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near_steering, near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    let memfd = near.at.umem().fd().unwrap().try_clone_to_owned().unwrap();
    let socket = near.at.socket_fd().try_clone_to_owned().unwrap();
    let (state, report) = (near.state, near.report);
    drop(near);
    std::thread::scope(|scope| {
        let program = scope.spawn(|| {
            let none = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, none).unwrap();
            let umem = Region::attach(memfd).unwrap();
            let at = Attachment::new(socket, umem, state.geometry()).unwrap();
            let mut near = End { state, at, report };
            for number in 0..1000 {
                near.send(&frame(number, 60 + number));
                assert_eq!(near.receive(), frame(number + 1, 60 + number));
            }
        });
        for number in 0..1000 {
            assert_eq!(far.receive(), frame(number, 60 + number));
            far.send(&frame(number + 1, 60 + number));
        }
        program.join().unwrap();
    });
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_socket_can_be_bound_before_its_interface_is_up() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    cable.near.run("ip link set near0 down");
    let (_near_steering, mut near) = steered(&cable.near, "near0", &Options::default());
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    assert_eq!(near.port().link(), Link::Down);
    cable.near.run("ip link set near0 up");
    far.send(&frame(1, 64));
    assert_eq!(near.receive(), frame(1, 64));
    near.send(&frame(2, 64));
    assert_eq!(far.receive(), frame(2, 64));
}
