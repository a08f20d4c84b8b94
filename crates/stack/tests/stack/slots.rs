//! Processes that share a stack: forks, and deaths.

use crate::harness::{Net, PORT, at_a, at_b};
use sidestep_stack::{Error, Ready, WaitFor};

#[test]
fn a_child_holds_what_its_parent_held() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let parent = net.a.slot;
    let set = net.a.with(|s| s.new_set(parent)).unwrap();
    let child = net.a.with(|s| s.take_slot(0)).unwrap();
    net.a.with(|s| {
        s.inherit(parent, child);
        s.name_slot(child, 4242);
    });
    let pid = std::process::id();
    assert_eq!(
        net.a.with(|s| s.holders(client)),
        [(parent, pid), (child, 4242)]
    );
    let later = net.a.stream();
    assert_eq!(net.a.with(|s| s.holders(later)), [(parent, pid)]);

    // The parent closes; the child's copy goes on.
    net.a.close(client);
    net.a.with(|s| s.close_set(set, parent));
    net.settle();
    assert_eq!(net.a.with(|s| s.holders(client)), [(child, 4242)]);
    assert_eq!(net.a.usage().sets, 1);
    net.a.send(client, b"from the child").unwrap();
    net.settle();
    assert_eq!(net.b.recv(server, 99), Ok(b"from the child".to_vec()));
    assert_eq!(net.b.recv(server, 99), Err(Error::WouldBlock));

    net.a.with(|s| s.on_slot_dead(net.a.now, child));
    net.settle();
    assert_eq!(net.b.recv(server, 99), Ok(vec![]), "closed by the last");
    assert_eq!(net.a.usage().sets, 0);
    assert_eq!(
        net.a.with(|s| s.slots().collect::<Vec<_>>()),
        [(parent, pid)]
    );
    net.a.close(later);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_child_in_a_far_slot_holds_what_its_parent_held() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let (parent, pid) = (net.a.slot, std::process::id());
    let set = net.a.with(|s| s.new_set(parent)).unwrap();
    let takes = |n: u32| net.a.with(|s| s.take_slot(n)).unwrap();
    let others: Vec<u32> = (1..200).map(takes).collect();
    let (near, far, last) = (others[10], others[61], others[198]);
    assert!(!net.a.with(|s| s.is_shared(client, parent)).unwrap());
    net.a.with(|s| s.inherit(parent, far));
    net.a.with(|s| s.inherit(far, last));
    for slot in [parent, far, last] {
        assert!(net.a.with(|s| s.is_shared(client, slot)).unwrap());
    }
    let holders = [(parent, pid), (far, 62), (last, 199)];
    assert_eq!(net.a.with(|s| s.holders(client)), holders);

    net.a.close(client);
    net.a.with(|s| s.close_set(set, parent));
    net.a.with(|s| s.on_slot_dead(net.a.now, near));
    net.a.with(|s| s.on_slot_dead(net.a.now, far));
    net.settle();
    assert_eq!(net.a.with(|s| s.holders(client)), [(last, 199)]);
    assert!(!net.a.with(|s| s.is_shared(client, last)).unwrap());
    assert_eq!(net.a.usage().sets, 1);
    assert_eq!(net.b.recv(server, 99), Err(Error::WouldBlock));

    net.a.with(|s| s.hold_exactly(last, &[]));
    net.settle();
    assert_eq!(net.b.recv(server, 99), Ok(vec![]), "closed by the last");
    net.a.with(|s| s.on_slot_dead(net.a.now, last));
    assert_eq!(net.a.usage().sets, 0);
    // The entry's next life begins without holders from this one.
    let again = net.a.stream();
    assert_eq!(net.a.with(|s| s.holders(again)), [(parent, pid)]);
    for slot in others {
        net.a.with(|s| s.on_slot_dead(net.a.now, slot));
    }
    net.a.close(again);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn the_dead_let_go_of_what_only_they_held() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (shared, far_shared) = net.pair(listener, 5000);
    let (own, far_own) = net.pair(listener, 5001);
    let (parent, child) = (net.a.slot, net.a.with(|s| s.take_slot(99)).unwrap());
    let child_listener = net.a.with(|s| {
        s.inherit(parent, child);
        // `own` is the child's alone from here on.
        s.close(net.a.now, own, parent);
        let r = s.new_stream(sidestep_stack::SocketFlags::NONBLOCK, child)?;
        s.bind(r, at_a(90))?;
        s.listen(r, 4)?;
        Ok::<_, Error>(r)
    });
    let waiting = net.b.connect((at_b(7000), at_a(90)), net.wire_b);
    let datagram = net.a.with(|s| {
        let flags = sidestep_stack::SocketFlags::NONBLOCK;
        s.new_datagram(flags, child).unwrap()
    });
    net.settle();
    net.a.with(|s| s.on_slot_dead(net.a.now, child));
    net.settle();

    assert_eq!(net.b.recv(far_own, 9), Ok(vec![]));
    assert_eq!(net.b.recv(waiting, 9), Err(Error::Reset));
    assert_eq!(
        net.a.with(|s| s.ready(child_listener.unwrap())),
        Err(Error::Stale)
    );
    assert_eq!(net.a.with(|s| s.ready(datagram)), Err(Error::Stale));
    net.b.send(far_shared, b"alive").unwrap();
    net.settle();
    assert_eq!(net.a.recv(shared, 9), Ok(b"alive".to_vec()));

    net.a.close(shared);
    for r in [far_shared, far_own, waiting, listener] {
        net.b.close(r);
    }
    net.finish();
}

#[test]
fn the_dead_sleep_no_more() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let (parent, child) = (net.a.slot, net.a.with(|s| s.take_slot(99)).unwrap());
    let waiter = net.a.with(|s| {
        s.inherit(parent, child);
        let waiter = s.take_waiter(child).unwrap();
        s.fall_asleep(waiter, WaitFor::Socket(client, Ready::IN))
            .unwrap();
        assert!(s.keep_time(waiter) && s.claim_spin(child));
        assert!(!s.claim_spin(parent));
        waiter
    });
    net.a.take_wakes();
    net.a.with(|s| s.on_slot_dead(net.a.now, child));
    assert_eq!(net.a.take_wakes(), u64::MAX, "everybody looks again");
    assert_eq!(net.a.usage().watches, 0);
    net.b.send(server, b"x").unwrap();
    net.settle();
    assert_eq!(net.a.take_wakes(), 0);
    net.a.with(|s| {
        assert_eq!(s.spinner(), None);
        assert!(s.claim_spin(parent));
        s.release_spin(parent);
        assert!(s.keep_time(waiter + 1));
        assert_eq!(s.take_waiter(parent), Some(waiter), "the waiter is free");
        s.give_waiter(waiter);
    });
    net.a.recv(client, 9).unwrap();
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}

#[test]
fn a_new_program_holds_what_it_says_and_no_more() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (kept, far_kept) = net.pair(listener, 5000);
    let (left, far_left) = net.pair(listener, 5001);
    let slot = net.a.slot;
    net.a.with(|s| s.hold_exactly(slot, &[kept]));
    net.settle();
    assert_eq!(net.b.recv(far_left, 9), Ok(vec![]));
    assert_eq!(net.b.recv(far_kept, 9), Err(Error::WouldBlock));
    // What nobody holds any more is not taken up again.
    net.a.with(|s| s.hold_exactly(slot, &[kept, left]));
    assert_eq!(net.a.with(|s| s.holders(left)), []);
    net.a.close(kept);
    for r in [far_kept, far_left, listener] {
        net.b.close(r);
    }
    net.finish();
}

#[test]
fn a_slot_kept_for_a_child_is_free_again_if_the_parent_dies_before_it_is_told_what_it_holds() {
    let net = Net::new();
    let listener = net.b.listener(at_b(PORT), 8);
    let (client, server) = net.pair(listener, 5000);
    let (parent, me) = (net.a.slot, std::process::id());
    let other = net.a.with(|s| s.take_slot(99)).unwrap();
    let (kept, first) = net.a.with(|s| s.keep_slot(other)).unwrap();
    assert!(net.a.with(|s| s.awaits_child(kept, first)));
    net.a.with(|s| s.on_slot_dead(net.a.now, other));
    let slots = || net.a.with(|s| s.slots().collect::<Vec<_>>());
    assert_eq!(slots(), [(parent, me)]);
    // One that holds what its parent held outlives the parent: it may have been forked.
    let other = net.a.with(|s| s.take_slot(99)).unwrap();
    let (again, second) = net.a.with(|s| s.keep_slot(other)).unwrap();
    assert_eq!((again, second), (kept, first + 1));
    net.a.with(|s| {
        s.inherit(parent, other);
        assert!(s.holds_exactly(other, &[client]));
        assert!(!s.holds_exactly(other, &[]));
        assert!(s.holds_exactly(again, &[]));
        assert!(!s.holds_exactly(again, &[client]));
        s.inherit(other, again);
        s.on_slot_dead(net.a.now, other);
    });
    assert_eq!(slots(), [(parent, me), (again, 0)]);
    net.a.with(|s| s.on_slot_dead(net.a.now, again));
    net.a.close(client);
    net.b.close(server);
    net.b.close(listener);
    net.finish();
}
