"""select and poll, with accelerated and kernel descriptors in one set."""

import fcntl
import os
import select
import socket
import struct
import threading
import time
import sides

LINGER_0 = struct.pack("ii", 1, 0)
NAMES = "POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDHUP".split()
ASK = select.POLLIN | select.POLLOUT | select.POLLRDHUP


def names(events):
    return "|".join(name for name in NAMES if events & getattr(select, name)) or "nothing"


def poll(s, milliseconds=0, ask=ASK):
    poller = select.poll()
    poller.register(s, ask)
    found = poller.poll(milliseconds)
    return names(found[0][1]) if found else "nothing"


def selected(things, seconds=0):
    """Which of the named things select finds readable, writable, exceptional."""
    every = list(things.values())
    found = select.select(every, every, every, seconds)
    return [[name for name, thing in things.items() if thing in group] for group in found]


def life_of_a_connection(t):
    s = socket.socket()
    t.say("new", poll(s))
    s.close()
    s = t.pair()
    t.say("connected", poll(s))
    t.sync("looked")
    if t.is_server:
        s.sendall(b"word")
        t.sync("sent")
        t.sync("read")
        s.shutdown(socket.SHUT_WR)
        t.sync("half closed")
        t.say("half closed by us", poll(s))
        t.sync("closing")
        t.sync("closed")
        t.say("closed by both", poll(s))
    else:
        t.sync("sent")
        t.say("data", poll(s))
        s.recv(2)
        t.say("rest of the data", poll(s))
        s.recv(2)
        t.say("no data", poll(s))
        t.sync("read")
        t.sync("half closed")
        t.say("half closed by the peer", poll(s))
        s.recv(1)
        t.say("after the end was read", poll(s))
        t.sync("closing")
        s.shutdown(socket.SHUT_WR)
        t.say("closed by both", poll(s))
        t.sync("closed")
    t.sync()
    s.close()


def life_of_a_listener(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.say("empty", poll(listener))
        t.sync("listening")
        t.sync("two came")
        t.say("two", poll(listener, 5000), selected({"listener": listener}))
        a, _ = listener.accept()
        t.say("one", poll(listener))
        b, _ = listener.accept()
        t.say("none", poll(listener), selected({"listener": listener}))
        a.close()
        b.close()
        listener.close()
        t.sync("done")
    else:
        t.sync("listening")
        kept = [socket.create_connection((sides.V4, port)) for _ in range(2)]
        t.sync("two came")
        t.sync("done")
        for s in kept:
            s.close()


def reset(t):
    s = t.pair()
    if t.is_server:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        s.close()
        t.sync()
    else:
        t.sync()
        sides.wait_readable(s)
        t.say("reset", poll(s), selected({"s": s}))
        t.call("recv", s.recv, 10)
        t.say("after the error", poll(s), selected({"s": s}))
        s.close()


def full_and_drained(t):
    s = t.pair()
    if t.is_server:
        t.sync("full")
        t.sync("waiting")
        time.sleep(0.05)
        got = 0
        s.settimeout(0.5)
        try:
            while True:
                got += len(s.recv(1 << 20))
        except TimeoutError:
            pass
        t.say("drained", got > 0)
        t.sync("done")
    else:
        sides.fill(s)
        t.sync("full")
        t.say("full", poll(s), selected({"s": s}))
        t.sync("waiting")
        t.say("drained", poll(s, 5000), selected({"s": s}))
        t.sync("done")
    s.close()


def mixed_kinds(t):
    s = t.pair()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    a, b = socket.socketpair()
    read_end, write_end = os.pipe()
    reader = os.fdopen(read_end, "rb", 0)
    things = {"tcp": s, "udp": u, "unix": a, "pipe": reader}
    readable = lambda seconds: [n for n, x in things.items() if x in select.select(list(things.values()), [], [], seconds)[0]]
    t.say("none", readable(0))
    os.write(write_end, b"x")
    t.say("pipe", readable(5))
    os.read(read_end, 1)
    b.send(b"x")
    t.say("unix", readable(5))
    a.recv(1)
    u.sendto(b"x", u.getsockname())
    t.say("udp", readable(5))
    t.sync("send")
    if t.is_server:
        s.sendall(b"x")
    else:
        s.sendall(b"y")
    t.sync("sent")
    sides.wait_readable(s)
    t.say("udp and tcp", readable(5))
    t.call("tcp", s.recv, 10)
    t.call("udp", u.recv, 10)
    t.say("none", readable(0))
    late = threading.Timer(0.1, lambda: os.write(write_end, b"x"))
    late.start()
    t.say("a kernel descriptor wakes us", readable(10))
    late.join()
    os.read(read_end, 1)
    t.sync("late")
    if t.is_server:
        time.sleep(0.1)
        s.sendall(b"z")
    else:
        t.say("an accelerated descriptor wakes us", readable(10))
    t.sync("end")
    for thing in (s, u, a, b, reader):
        thing.close()
    os.close(write_end)


def timeouts(t):
    s = t.pair()
    start = time.monotonic()
    t.say(poll(s, 50, select.POLLIN), select.select([s], [], [], 0.05))
    t.say("waited", time.monotonic() - start >= 0.09)
    t.say("no descriptors", select.select([], [], [], 0.01), select.poll().poll(10))
    t.sync()
    s.close()


def closed_descriptors(t):
    # A number that nobody is given in between, also if the other side is in this process.
    s = socket.socket()
    number = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 700 + t.is_server)
    os.close(number)
    s.close()
    t.call("select", select.select, [number], [], [], 0)
    poller = select.poll()
    poller.register(number, ASK)
    t.say("poll", [names(events) for _, events in poller.poll(0)])
    live = t.pair()
    poller.register(live, select.POLLOUT)
    t.say("poll with a live one", sorted(names(events) for _, events in poller.poll(1000)))
    t.sync()
    live.close()


def negative_and_empty(t):
    import ctypes

    class Pollfd(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    libc = ctypes.CDLL(None)
    s = t.pair()
    entries = (Pollfd * 3)((-1, 1, 77), (s.fileno(), 4, 77), (s.fileno(), 0, 77))
    t.say("poll", libc.poll(entries, 3, 1000), [names(entry.revents) for entry in entries])
    t.sync()
    s.close()


def connecting(t):
    port, closed = t.port(), t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        listener.accept()[0].recv(1)
        listener.close()
    else:
        t.sync("listening")
        s = socket.socket()
        s.setblocking(False)
        t.call("connect", s.connect, (sides.V4, port))
        t.say("connected", poll(s, 5000), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        s.close()
        s = socket.socket()
        s.setblocking(False)
        t.call("connect", s.connect, (sides.V4, closed))
        t.say("refused", poll(s, 5000), poll(s, 5000))
        s.close()


sides.main(
    life_of_a_connection,
    life_of_a_listener,
    reset,
    full_and_drained,
    mixed_kinds,
    timeouts,
    closed_descriptors,
    negative_and_empty,
    connecting,
)
