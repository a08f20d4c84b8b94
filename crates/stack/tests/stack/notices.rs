//! What sockets tell beside data: the queue behind MSG_ERRQUEUE.

use crate::harness::{Net, PORT, at_b};
use sidestep_stack::{Error, Notice, Ready, SocketFlags, SocketRef, Stamping};

/// A connection between two stacks; notices are the client's.
struct Told {
    net: Net,
    listener: SocketRef,
    client: SocketRef,
    server: SocketRef,
}

impl Told {
    fn new() -> Self {
        let net = Net::new();
        let listener = net.b.listener(at_b(PORT), 8);
        let (client, server) = net.pair(listener, 5000);
        Self {
            net,
            listener,
            client,
            server,
        }
    }

    fn notice(&self) -> Result<Notice, Error> {
        self.net.a.with(|s| s.take_notice(self.client))
    }

    /// All that there are: what, and which byte or writes.
    fn all(&self) -> Vec<(u32, u32)> {
        let notices = core::iter::from_fn(|| self.notice().ok());
        notices.map(|n| (n.info, n.data)).collect()
    }

    fn has_error(&self) -> bool {
        let ready = self.net.a.with(|s| s.ready(self.client)).unwrap();
        ready.contains(Ready::ERR)
    }

    fn lend(&self) {
        self.net.a.send(self.client, b"lent").unwrap();
        self.net.a.with(|s| s.note_lent(self.client)).unwrap();
    }

    fn stamp(&self, stamping: Stamping) {
        self.net
            .a
            .with(|s| s.set_stamping(self.client, stamping))
            .unwrap();
    }

    /// Ends it all, with whatever was not read: no memory may be left in use.
    fn finish(self) {
        let Self {
            net,
            listener,
            client,
            server,
        } = self;
        net.a.close(client);
        net.b.close(server);
        net.b.close(listener);
        net.finish();
    }
}

#[test]
fn bytes_lent_were_copied_and_writes_are_told_together() {
    let t = Told::new();
    t.lend();
    assert_eq!(t.notice(), Err(Error::WouldBlock), "nobody asked");
    let a = &t.net.a;
    a.with(|s| s.set_flags(t.client, SocketFlags::ZEROCOPY, true))
        .unwrap();
    assert!(!t.has_error());
    let set = a.with(|s| s.new_set(a.slot)).unwrap();
    let edge = Ready::OUT | Ready::EDGE;
    a.with(|s| s.set_add(set, t.client, 9, edge, 7)).unwrap();
    assert_eq!(a.collect(set, 4), [(Ready::OUT, 7)]);
    t.lend();
    t.lend();
    // The error queue is told of once for each change, like an edge.
    assert_eq!(a.collect(set, 4), [(Ready::OUT | Ready::ERR, 7)]);
    assert_eq!(a.collect(set, 4), []);
    t.lend();
    assert_eq!(a.collect(set, 4), [(Ready::OUT | Ready::ERR, 7)]);
    let told = t.notice().unwrap();
    assert_eq!((told.info, told.data), (0, 2));
    assert!(!told.is_timestamp() && !told.tells_time());
    assert!(!t.has_error());
    assert_eq!(t.notice(), Err(Error::WouldBlock));
    t.lend();
    assert_eq!(t.all(), [(3, 3)]);
    t.lend();
    a.with(|s| s.close_set(set, a.slot));
    t.finish();
}

#[test]
fn writes_are_told_as_they_leave_and_are_acknowledged() {
    const SENT: u32 = 0;
    const SCHEDULED: u32 = 1;
    const ACKNOWLEDGED: u32 = 2;
    let t = Told::new();
    let a = &t.net.a;
    t.stamp(Stamping::SENT | Stamping::SCHEDULED | Stamping::ACKNOWLEDGED | Stamping::ID);
    a.with(|s| s.tcb(t.client).unwrap().set_nodelay(true));
    a.send(t.client, &[1; 3000]).unwrap();
    assert_eq!(t.all(), [(SCHEDULED, 2999), (SENT, 2999)]);
    a.send(t.client, b"short").unwrap();
    assert_eq!(t.all(), [(SCHEDULED, 3004), (SENT, 3004)]);
    assert!(!t.has_error());
    t.net.settle();
    while t.net.b.recv(t.server, 1 << 16).is_ok() {
        t.net.settle();
    }
    t.net.b.send(t.server, b"ok").unwrap();
    t.net.settle();
    assert!(t.has_error());
    assert_eq!(t.all(), [(ACKNOWLEDGED, 2999), (ACKNOWLEDGED, 3004)]);
    // Without numbers, and only what was asked for.
    t.stamp(Stamping::SENT | Stamping::TOLD | Stamping::ONLY);
    a.send(t.client, b"more").unwrap();
    let notice = t.notice().unwrap();
    assert_eq!((notice.info, notice.data), (SENT, 0));
    assert!(notice.tells_time() && !notice.is_cut());
    assert_eq!(t.notice(), Err(Error::WouldBlock));
    t.stamp(Stamping::empty());
    a.send(t.client, b"unseen").unwrap();
    assert_eq!(t.notice(), Err(Error::WouldBlock));
    t.finish();
}
