//! Readiness, epoll sets, and threads that sleep.

use crate::harness::{Net, Node, PORT, at_a, at_b};
use sidestep_stack::{Error, Ready, SetRef, SocketRef, Stack, WaitFor};

/// A connection with a set at the client's end.
struct Watched {
    net: Net,
    listener: SocketRef,
    client: SocketRef,
    server: SocketRef,
    set: SetRef,
}

const IN: Ready = Ready::IN;
const FD: i32 = 9;

impl Watched {
    fn new() -> Self {
        let net = Net::new();
        let listener = net.b.listener(at_b(PORT), 8);
        let (client, server) = net.pair(listener, 5000);
        let set = net.a.with(|s| s.new_set(net.a.slot)).unwrap();
        Self {
            net,
            listener,
            client,
            server,
            set,
        }
    }

    fn watching(events: Ready) -> Self {
        let watched = Self::new();
        watched.add(watched.set, events, 77);
        watched
    }

    fn add(&self, set: SetRef, events: Ready, data: u64) {
        let added = self
            .net
            .a
            .with(|s| s.set_add(set, self.client, FD, events, data));
        assert_eq!(added, Ok(Some(())));
    }

    fn modify(&self, events: Ready, data: u64) {
        let modified = self
            .net
            .a
            .with(|s| s.set_modify(self.set, self.client, FD, events, data));
        assert_eq!(modified, Ok(Some(())));
    }

    fn arrive(&self, bytes: &[u8]) {
        self.net.b.send(self.server, bytes).unwrap();
        self.net.settle();
    }

    fn collect(&self) -> Vec<(Ready, u64)> {
        self.net.a.collect(self.set, 16)
    }

    fn read(&self) -> Vec<u8> {
        self.net.a.recv(self.client, 99).unwrap()
    }

    fn finish(self) {
        let Self {
            net,
            listener,
            client,
            server,
            set,
        } = self;
        net.a.with(|s| s.close_set(set, net.a.slot));
        net.a.close(client);
        net.b.close(server);
        net.b.close(listener);
        net.finish();
    }
}

fn waiter(node: &Node) -> u32 {
    node.with(|s| s.take_waiter(node.slot)).unwrap()
}

/// Puts a waiter to sleep, with no wake-ups pending.
fn sleep(node: &Node, waiter: u32, target: WaitFor) {
    node.with(|s| {
        s.fall_asleep(waiter, target).unwrap();
        s.take_wakes();
    });
}

#[test]
fn a_socket_is_ready_for_what_can_be_done() {
    let w = Watched::new();
    let a = &w.net.a;
    let ready = |r| a.with(|s| s.ready(r)).unwrap();
    let fresh = a.stream();
    assert_eq!(ready(fresh), Ready::OUT | Ready::WRNORM | Ready::HUP);
    a.close(fresh);
    let out = Ready::OUT | Ready::WRNORM;
    let readable = Ready::IN | Ready::RDNORM;
    assert_eq!(ready(w.client), out);
    w.arrive(b"x");
    assert_eq!(ready(w.client), out | readable);
    a.with(|s| s.set_rcv_low(w.client, 3)).unwrap();
    assert_eq!(ready(w.client), out, "fewer bytes than it asked for");
    w.arrive(b"yz");
    assert_eq!(ready(w.client), out | readable);
    assert_eq!(w.read(), b"xyz");
    assert_eq!(ready(w.client), out);

    let b = &w.net.b;
    b.with(|s| s.shutdown(b.now, w.server, false, true))
        .unwrap();
    w.net.settle();
    assert_eq!(ready(w.client), out | readable | Ready::RDHUP);
    a.with(|s| s.shutdown(a.now, w.client, false, true))
        .unwrap();
    assert_eq!(ready(w.client), out | readable | Ready::RDHUP | Ready::HUP);
    let listening = || b.with(|s| s.ready(w.listener)).unwrap();
    assert_eq!(listening(), Ready::empty());
    let late = a.connect((at_a(5001), at_b(PORT)), w.net.wire_a);
    assert_eq!(ready(late), Ready::empty());
    w.net.settle();
    assert_eq!(listening(), readable);
    assert_eq!(ready(late), out);
    a.close(late);
    w.finish();
}

#[test]
fn a_full_send_buffer_is_not_writable_until_there_is_room() {
    let w = Watched::new();
    let a = &w.net.a;
    let bytes = vec![1; 1 << 20];
    while a.send(w.client, &bytes).is_ok() {
        w.net.settle();
    }
    let writable = || a.with(|s| s.ready(w.client)).unwrap().contains(Ready::OUT);
    assert!(!writable());
    w.add(w.set, Ready::OUT, 1);
    assert_eq!(w.collect(), []);
    for _ in 0..100 {
        while w.net.b.recv(w.server, 1 << 20).is_ok() {
            w.net.settle();
        }
    }
    assert!(writable());
    assert_eq!(w.collect(), [(Ready::OUT, 1)]);
    w.finish();
}

#[test]
fn level_triggered_members_are_told_again_until_they_are_read() {
    let w = Watched::watching(IN);
    assert_eq!(w.collect(), []);
    w.arrive(b"abc");
    assert!(w.net.a.with(|s| s.set_pending(w.set)));
    assert_eq!(w.collect(), [(IN, 77)]);
    assert_eq!(w.collect(), [(IN, 77)], "queued again");
    w.read();
    assert_eq!(w.collect(), []);
    assert!(!w.net.a.with(|s| s.set_pending(w.set)));
    w.arrive(b"d");
    assert_eq!(w.collect(), [(IN, 77)]);
    w.finish();
}

#[test]
fn edge_triggered_members_are_told_of_changes() {
    let w = Watched::watching(IN | Ready::EDGE);
    w.arrive(b"abc");
    assert_eq!(w.collect(), [(IN, 77)]);
    assert_eq!(w.collect(), []);
    w.arrive(b"d");
    assert_eq!(w.collect(), [(IN, 77)], "more came");
    assert_eq!(w.collect(), []);
    // A change of interest looks anew.
    w.modify(IN | Ready::EDGE, 78);
    assert_eq!(w.collect(), [(IN, 78)]);
    assert_eq!(w.collect(), []);
    w.finish();
}

#[test]
fn oneshot_members_are_told_once_until_rearmed() {
    let w = Watched::watching(IN | Ready::ONESHOT);
    w.arrive(b"abc");
    assert_eq!(w.collect(), [(IN, 77)]);
    w.arrive(b"d");
    assert_eq!(w.collect(), []);
    w.modify(IN | Ready::ONESHOT, 78);
    assert_eq!(w.collect(), [(IN, 78)]);
    w.read();
    w.modify(IN | Ready::ONESHOT, 79);
    assert_eq!(w.collect(), []);
    w.arrive(b"e");
    assert_eq!(w.collect(), [(IN, 79)]);
    w.finish();
}

#[test]
fn members_are_changed_and_removed() {
    let w = Watched::watching(IN);
    let a = &w.net.a;
    let of_set = |f: &dyn Fn(&mut Stack<'static>) -> Result<Option<()>, Error>| a.with(|s| f(s));
    assert_eq!(
        of_set(&|s| s.set_add(w.set, w.client, FD, IN, 1)),
        Ok(None),
        "it is there already"
    );
    // Another descriptor of the same socket is another member.
    assert_eq!(
        of_set(&|s| s.set_add(w.set, w.client, FD + 1, IN, 1)),
        Ok(Some(()))
    );
    assert_eq!(a.with(|s| s.set_members(w.set)), 2);
    assert_eq!(
        of_set(&|s| s.set_remove(w.set, w.client, FD + 1)),
        Ok(Some(()))
    );
    assert_eq!(of_set(&|s| s.set_remove(w.set, w.client, FD + 1)), Ok(None));
    assert_eq!(
        of_set(&|s| s.set_modify(w.set, w.client, FD + 1, IN, 1)),
        Ok(None)
    );
    w.modify(Ready::OUT, 5);
    assert_eq!(w.collect(), [(Ready::OUT, 5)]);
    w.arrive(b"x");
    assert_eq!(w.collect(), [(Ready::OUT, 5)], "nobody asked for IN");
    let asked = Ready::OUT | Ready::ALWAYS;
    assert_eq!(a.with(|s| s.memberships(w.client)), [(w.set, FD, asked, 5)]);
    // Removed while it is on the ready list.
    assert_eq!(a.with(|s| s.leave_sets(w.client)), [(w.set, FD, asked, 5)]);
    assert_eq!(a.with(|s| s.set_members(w.set)), 0);
    assert_eq!(w.collect(), []);
    assert_eq!(w.net.a.usage().watches, 0);
    w.finish();
}

#[test]
fn a_set_reports_in_turns() {
    let w = Watched::new();
    let (net, set) = (&w.net, w.set);
    let pairs: Vec<_> = (6000..6005).map(|p| net.pair(w.listener, p)).collect();
    for (data, (client, _)) in (0..).zip(&pairs) {
        net.a
            .with(|s| s.set_add(set, *client, FD, IN, data))
            .unwrap();
    }
    for (_, server) in &pairs {
        net.b.send(*server, b"x").unwrap();
    }
    net.settle();
    // Whoever was told goes to the end of the line, so that a short list does not starve anyone.
    let mut told = Vec::new();
    for _ in 0..5 {
        told.extend(net.a.collect(set, 2).into_iter().map(|(_, data)| data));
    }
    assert_eq!(told, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    assert_eq!(net.a.collect(set, 99).len(), 5, "each once in a call");
    // A closed socket leaves its sets.
    for (client, server) in pairs {
        net.a.close(client);
        net.b.close(server);
    }
    assert_eq!(net.a.collect(set, 99), []);
    assert_eq!(net.a.with(|s| s.set_members(set)), 0);
    w.finish();
}

#[test]
fn a_set_of_another_life_is_stale() {
    let w = Watched::new();
    let a = &w.net.a;
    a.with(|s| s.close_set(w.set, a.slot));
    let again = a.with(|s| s.new_set(a.slot)).unwrap();
    assert_eq!(again.index, w.set.index);
    assert_ne!(again, w.set);
    assert_eq!(
        a.with(|s| s.set_add(w.set, w.client, FD, IN, 0)),
        Err(Error::Stale)
    );
    assert_eq!(
        a.with(|s| s.set_collect(w.set, 9, |_, _| ())),
        Err(Error::Stale)
    );
    // Closing the old one does not close the new one.
    a.with(|s| s.close_set(w.set, a.slot));
    assert_eq!(a.usage().sets, 1);
    a.with(|s| s.close_set(again, a.slot));
    w.finish();
}

#[test]
fn who_sleeps_is_woken_and_who_is_awake_is_not() {
    let w = Watched::new();
    let a = &w.net.a;
    let me = waiter(a);
    let bit = 1 << me;
    w.arrive(b"x");
    assert_eq!(a.take_wakes(), 0, "nobody sleeps");
    w.read();
    sleep(a, me, WaitFor::Socket(w.client, IN));
    w.net.settle();
    assert_eq!(a.take_wakes(), 0, "nothing happened");
    w.arrive(b"x");
    assert_eq!(a.take_wakes(), bit);
    w.arrive(b"y");
    assert_eq!(a.take_wakes(), 0, "rung once is enough");
    a.with(|s| s.wake_up(me));
    assert_eq!(a.usage().watches, 0);
    w.read();
    w.arrive(b"z");
    assert_eq!(a.take_wakes(), 0, "awake");
    a.with(|s| s.give_waiter(me));
    w.finish();
}

#[test]
fn one_sleeper_waits_for_several_sockets() {
    let w = Watched::new();
    let a = &w.net.a;
    let (other, far) = w.net.pair(w.listener, 5001);
    let me = waiter(a);
    for first in [true, false] {
        sleep(a, me, WaitFor::Socket(w.client, IN));
        a.with(|s| s.fall_asleep_also(me, other, IN)).unwrap();
        assert_eq!(a.usage().watches, 2);
        let from = if first { w.server } else { far };
        w.net.b.send(from, b"x").unwrap();
        w.net.settle();
        assert_eq!(a.take_wakes(), 1 << me);
        a.with(|s| s.wake_up(me));
        assert_eq!(a.usage().watches, 0);
    }
    // A socket that ends wakes its sleepers, and their other watches stay.
    sleep(a, me, WaitFor::Socket(w.client, IN));
    a.with(|s| s.fall_asleep_also(me, other, IN)).unwrap();
    a.close(other);
    assert_eq!(a.take_wakes(), 1 << me);
    assert_eq!(a.usage().watches, 1);
    a.with(|s| s.give_waiter(me));
    // Every watch was given back once: those taken next are different ones.
    let sets = [(); 3].map(|()| a.with(|s| s.new_set(a.slot)).unwrap());
    for (data, set) in (0..).zip(sets) {
        w.add(set, Ready::OUT, data);
    }
    for (data, set) in (0..).zip(sets) {
        assert_eq!(a.collect(set, 9), [(Ready::OUT, data)]);
        a.with(|s| s.close_set(set, a.slot));
    }
    w.net.b.close(far);
    w.finish();
}

#[test]
fn a_sleeper_on_a_set_is_woken_by_its_members() {
    let w = Watched::watching(IN);
    let a = &w.net.a;
    let (me, you) = (waiter(a), waiter(a));
    sleep(a, me, WaitFor::Set(w.set));
    sleep(a, you, WaitFor::Set(w.set));
    w.arrive(b"x");
    let woken = a.take_wakes();
    assert_eq!(woken.count_ones(), 1, "one event, one thread");
    assert_eq!(woken & !(1 << me | 1 << you), 0);
    for waiter in [me, you] {
        a.with(|s| s.wake_up(waiter));
    }
    w.arrive(b"y");
    assert_eq!(a.take_wakes(), 0, "both are awake");
    // A member that is ready when it is added or changed wakes, too.
    sleep(a, me, WaitFor::Set(w.set));
    w.modify(IN | Ready::OUT, 1);
    assert_eq!(a.take_wakes(), 1 << me);
    for waiter in [me, you] {
        a.with(|s| s.give_waiter(waiter));
    }
    w.finish();
}

#[test]
fn of_exclusive_sets_one_is_woken() {
    for (exclusive, expected) in [(Ready::EXCLUSIVE, 1), (Ready::empty(), 3)] {
        let w = Watched::new();
        let a = &w.net.a;
        let sets: Vec<_> = (0..3)
            .map(|_| a.with(|s| s.new_set(a.slot)).unwrap())
            .collect();
        let waiters = [(); 3].map(|()| waiter(a));
        for (set, waiter) in sets.iter().zip(waiters) {
            w.add(*set, IN | exclusive, 1);
            sleep(a, waiter, WaitFor::Set(*set));
        }
        w.arrive(b"x");
        assert_eq!(a.take_wakes().count_ones(), expected);
        for (set, waiter) in sets.into_iter().zip(waiters) {
            a.with(|s| s.give_waiter(waiter));
            a.with(|s| s.close_set(set, a.slot));
        }
        w.finish();
    }
}

#[test]
fn only_one_keeps_the_time() {
    let w = Watched::new();
    let a = &w.net.a;
    assert!(a.with(|s| s.keep_time(3)));
    assert!(a.with(|s| s.keep_time(3)));
    assert!(!a.with(|s| s.keep_time(4)));
    a.with(|s| s.leave_time(4));
    assert!(!a.with(|s| s.keep_time(4)));
    a.with(|s| s.leave_time(3));
    assert!(a.with(|s| s.keep_time(4)));
    w.finish();
}
