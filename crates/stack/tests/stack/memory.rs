//! The memory of a stack, and who may map it.

use crate::harness::{Net, PORT, at_a, at_b, config};
use sidestep_shm::{CACHE_LINE, Nanos, Owner, Region};
use sidestep_stack::{SharedStack, SocketFlags, attach, create};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

fn descriptor(region: &Region) -> OwnedFd {
    region.fd().unwrap().try_clone_to_owned().unwrap()
}

fn owner(slot: u32) -> Owner {
    let pid = std::process::id();
    Owner { slot, pid }
}

#[test]
fn a_second_mapping_has_the_same_stack() {
    let first = create(&config()).unwrap();
    let (slot, r) = {
        let mut stack = first.lock(owner(0)).unwrap();
        let slot = stack.take_slot(77).unwrap();
        let r = stack.new_stream(SocketFlags::NONBLOCK, slot).unwrap();
        stack.bind(r, at_a(5000)).unwrap();
        (slot, r)
    };
    let second = attach(descriptor(first.region())).unwrap();
    {
        let held = first.lock(owner(0)).unwrap();
        assert!(second.try_lock(owner(1)).unwrap().is_none());
        drop(held);
        let mut stack = second.lock(owner(1)).unwrap();
        let report = stack.report();
        assert_eq!((report.id, &report.name[..]), (config().id, "test"));
        assert_eq!(report.processes, [(slot, 77)]);
        assert_eq!(report.sockets_used, (1, 64));
        assert_eq!(report.chunks_used, (0, 1024));
        assert_eq!(stack.local(r), Ok(Some(at_a(5000))));
        stack.on_slot_dead(Nanos(1), slot);
    }
    let mut stack = first.lock(owner(0)).unwrap();
    assert!(stack.ready(r).is_err());
    assert!(!stack.has_clients());
}

#[test]
fn memory_that_is_no_stack_is_refused() {
    let refused = |fd| attach(fd).err().map(|error| error.kind());
    let stack = create(&config()).unwrap();
    let bytes = stack.region().bytes();
    let copy = |bytes: usize| {
        let copy = Region::create("test", bytes).unwrap();
        let n = bytes.min(4096);
        let from = stack.region().foreign(0, n).unwrap();
        copy.foreign_mut(0, n).unwrap().copy_from_foreign(from);
        copy
    };
    let invalid = Some(ErrorKind::InvalidData);
    let zeroed = Region::create("test", bytes).unwrap();
    assert_eq!(refused(descriptor(&zeroed)), invalid);
    // The first page of a stack: of the right length, one page longer, and alone.
    assert_eq!(refused(descriptor(&copy(bytes))), None);
    assert_eq!(refused(descriptor(&copy(bytes + 4096))), invalid);
    assert_eq!(refused(descriptor(&copy(4096))), invalid);
    // Capacities that would not fit any memory.
    let huge = copy(bytes);
    // Behind the lock: magic, version, then the number of sockets.
    let sockets_max = CACHE_LINE + 12;
    huge.foreign_mut(sockets_max, 4)
        .unwrap()
        .copy_from(&u32::MAX.to_ne_bytes());
    assert_eq!(refused(descriptor(&huge)), invalid);
}

#[test]
fn a_name_is_cut_and_counters_have_names() {
    let long = sidestep_stack::Config {
        name: "x".repeat(100),
        ..config()
    };
    let stack: SharedStack = sidestep_stack::create_private(&long).unwrap();
    let report = stack.lock(owner(0)).unwrap().report();
    assert_eq!(report.name, "x".repeat(31));
    assert!(
        report
            .counters
            .iter()
            .any(|(name, n)| (name, n) == ("tcp_accepts", 0))
    );
}

#[test]
fn a_death_leaves_those_asleep_who_live() {
    let net = Net::new();
    let (living, dead) = net
        .b
        .with(|s| (s.take_slot(2).unwrap(), s.take_slot(3).unwrap()));
    net.b.with(|s| s.arm(living, || {}));
    net.b.with(|s| s.arm(dead, || {}));
    net.b.with(|s| s.arm(dead, || {}));
    net.b.with(|s| s.on_slot_dead(Nanos::ZERO, dead));
    let rung = || {
        net.a
            .with(|s| s.wire_stats(net.wire_a))
            .unwrap()
            .tx_doorbells
    };
    // One still sleeps, and is woken.
    assert!(net.b.with(|s| s.has_sleepers()));
    let first = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    assert_eq!(rung(), 1);
    net.settle();
    // A thread of the dead process that is late changes nothing.
    net.b.with(|s| s.disarm(dead));
    assert!(net.b.with(|s| s.has_sleepers()));
    net.b.with(|s| s.disarm(living));
    assert!(!net.b.with(|s| s.has_sleepers()));
    let second = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    assert_eq!(rung(), 1, "nobody sleeps any more");
    net.settle();
    net.a.close(first);
    net.a.close(second);
    net.finish();
}

#[test]
fn a_guard_is_woken_until_somebody_polls() {
    let net = Net::new();
    net.settle();
    let rung = || {
        net.a
            .with(|s| s.wire_stats(net.wire_a))
            .unwrap()
            .tx_doorbells
    };
    let before = rung();
    assert!(!net.b.with(|s| s.stand_guard(|| {})));
    let first = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    assert_eq!(rung(), before + 1);
    assert!(net.b.with(|s| s.is_guarded()));
    net.settle();
    assert!(!net.b.with(|s| s.is_guarded()));
    let second = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    assert_eq!(rung(), before + 1, "who polls is not rung for");
    net.settle();
    // A thread that sleeps has its wake-ups, guard or not.
    net.b.with(|s| s.stand_guard(|| {}));
    net.b.with(|s| s.arm(0, || {}));
    net.settle();
    let third = net.a.connect((at_a(5002), at_b(PORT)), net.wire_a);
    assert_eq!(rung(), before + 2);
    net.settle();
    net.b.with(|s| s.disarm(0));
    for socket in [first, second, third] {
        net.a.close(socket);
    }
    net.finish();
}

#[test]
fn who_is_about_to_sleep_sees_frames_that_wait() {
    let net = Net::new();
    assert!(!net.b.with(|s| s.arm(0, || {})));
    assert!(!net.b.with(|s| s.rx_pending()));
    let client = net.a.connect((at_a(5000), at_b(PORT)), net.wire_a);
    assert!(net.b.with(|s| s.rx_pending()));
    assert!(net.b.with(|s| s.arm(0, || {})), "somebody else, too");
    let rung = net.a.with(|s| s.wire_stats(net.wire_a)).unwrap();
    assert_eq!(rung.tx_doorbells, 1);
    net.b.with(|s| s.disarm(0));
    net.b.with(|s| s.disarm(0));
    net.settle();
    // Nobody sleeps, so nobody is woken.
    let late = net.a.connect((at_a(5001), at_b(PORT)), net.wire_a);
    let rung = net.a.with(|s| s.wire_stats(net.wire_a)).unwrap();
    assert_eq!(rung.tx_doorbells, 1);
    net.settle();
    net.a.close(client);
    net.a.close(late);
    net.finish();
}
