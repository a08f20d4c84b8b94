"""epoll: level and edge, one shot, exclusive, and kernel descriptors in the same set."""

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import sides

IN, OUT, ET, ONESHOT, RDHUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET, select.EPOLLONESHOT, select.EPOLLRDHUP
NAMES = "EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP".split()


def names(events):
    return "|".join(name for name in NAMES if events & getattr(select, name))


def wait(t, ep, things, label, seconds=0):
    """What epoll_wait finds, by the names of the things."""
    by_number = {thing if isinstance(thing, int) else thing.fileno(): name for name, thing in things.items()}
    found = ep.poll(seconds)
    t.say(label, sorted(f"{by_number.get(n, '?')} {names(e)}" for n, e in found))


def level(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, IN | RDHUP)
    wait(t, ep, {"s": s}, "nothing")
    t.sync("looked")
    if t.is_server:
        s.sendall(b"word")
        t.sync("sent")
        t.sync("read")
        s.shutdown(socket.SHUT_WR)
        t.sync("closed")
        t.sync("seen")
    else:
        t.sync("sent")
        wait(t, ep, {"s": s}, "data", 5)
        wait(t, ep, {"s": s}, "again")
        s.recv(2)
        wait(t, ep, {"s": s}, "rest")
        s.recv(2)
        wait(t, ep, {"s": s}, "none")
        t.sync("read")
        t.sync("closed")
        wait(t, ep, {"s": s}, "end", 5)
        ep.modify(s, IN)
        wait(t, ep, {"s": s}, "without RDHUP", 5)
        ep.modify(s, OUT)
        wait(t, ep, {"s": s}, "writable", 5)
        ep.modify(s, 0)
        wait(t, ep, {"s": s}, "no interest")
        t.sync("seen")
    t.sync()
    ep.close()
    s.close()


def edge(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, IN | ET)
    wait(t, ep, {"s": s}, "nothing")
    t.sync("looked")
    if t.is_server:
        s.sendall(b"word")
        t.sync("sent")
        t.sync("seen")
        s.sendall(b"more")
        t.sync("sent more")
        t.sync("seen more")
        s.close()
        t.sync("closed")
        t.sync("seen all")
    else:
        t.sync("sent")
        wait(t, ep, {"s": s}, "data", 5)
        wait(t, ep, {"s": s}, "no edge")
        s.recv(2)
        wait(t, ep, {"s": s}, "no edge after a read")
        t.sync("seen")
        t.sync("sent more")
        wait(t, ep, {"s": s}, "new data is an edge", 5)
        wait(t, ep, {"s": s}, "no edge")
        ep.modify(s, IN | ET)
        wait(t, ep, {"s": s}, "modify shows it again", 5)
        wait(t, ep, {"s": s}, "once")
        s.recv(100)
        t.sync("seen more")
        t.sync("closed")
        wait(t, ep, {"s": s}, "end", 5)
        wait(t, ep, {"s": s}, "no edge")
        t.sync("seen all")
        s.close()
    t.sync()
    ep.close()


def edge_registered_late(t):
    s = t.pair()
    if t.is_server:
        s.sendall(b"word")
        t.sync("sent")
    else:
        t.sync("sent")
        sides.wait_readable(s)
        ep = select.epoll()
        ep.register(s, IN | OUT | ET)
        wait(t, ep, {"s": s}, "what is there at the start", 5)
        wait(t, ep, {"s": s}, "once")
        ep.close()
    t.sync()
    s.close()


def edge_of_writing(t):
    s = t.pair()
    if t.is_server:
        t.sync("full")
        s.settimeout(0.5)
        try:
            while s.recv(1 << 20):
                pass
        except TimeoutError:
            pass
        t.sync("drained")
    else:
        ep = select.epoll()
        ep.register(s, OUT | ET)
        wait(t, ep, {"s": s}, "writable", 5)
        wait(t, ep, {"s": s}, "once")
        sides.fill(s)
        wait(t, ep, {"s": s}, "full")
        t.sync("full")
        wait(t, ep, {"s": s}, "drained", 10)
        t.sync("drained")
        ep.close()
    s.close()


def oneshot(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, IN | ONESHOT)
    t.sync("registered")
    s.sendall(b"ab")
    t.sync("sent")
    wait(t, ep, {"s": s}, "first", 5)
    s.recv(1)
    wait(t, ep, {"s": s}, "not again")
    ep.modify(s, IN | ONESHOT)
    wait(t, ep, {"s": s}, "armed again", 5)
    wait(t, ep, {"s": s}, "not again")
    t.sync()
    ep.close()
    s.close()


def exclusive(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        listener.setblocking(False)
        sets = [select.epoll() for _ in range(2)]
        for ep in sets:
            ep.register(listener, IN | select.EPOLLEXCLUSIVE)
        t.call("modify", sets[0].modify, listener, IN | select.EPOLLEXCLUSIVE)
        t.sync("listening")
        t.sync("connected")
        woken = sum(bool(ep.poll(1)) for ep in sets)
        t.say("somebody was woken", woken >= 1)
        s, _ = listener.accept()
        t.say("then nobody", [ep.poll(0) for ep in sets])
        s.close()
        for ep in sets:
            ep.close()
        listener.close()
    else:
        t.sync("listening")
        s = socket.create_connection((sides.V4, port))
        t.sync("connected")
        s.recv(1)
        s.close()


def hang_up(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, IN | OUT | RDHUP)
    t.sync("registered")
    if t.is_server:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ep.close()
        s.close()
        t.sync("reset")
    else:
        t.sync("reset")
        sides.wait_readable(s)
        wait(t, ep, {"s": s}, "reset", 5)
        t.call("recv", s.recv, 1)
        wait(t, ep, {"s": s}, "after the error", 5)
        ep.close()
        s.close()


def unconnected(t):
    s = socket.socket()
    ep = select.epoll()
    ep.register(s, IN | OUT)
    wait(t, ep, {"s": s}, "a new socket")
    ep.modify(s, 0)
    wait(t, ep, {"s": s}, "no interest")
    ep.close()
    s.close()


def mistakes(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, IN)
    t.call("register twice", ep.register, s, IN)
    ep.unregister(s)
    t.call("unregister twice", ep.unregister, s)
    t.call("modify what is not there", ep.modify, s, IN)
    t.call("register itself", ep.register, ep, IN)
    t.call("register a bad number", ep.register, 999_999, IN)
    with open("/etc/hostname") as regular:
        t.call("register a file", ep.register, regular, IN)
    t.sync()
    s.close()
    ep.close()


def closing_removes(t):
    s = t.pair()
    ep = select.epoll()
    ep.register(s, OUT)
    wait(t, ep, {"s": s}, "there", 5)
    s.close()
    t.say("gone", ep.poll(0))
    fresh = socket.socket()
    t.call("its number can be registered anew", ep.register, fresh, 0)
    fresh.close()
    ep.close()
    t.sync()


def duplicates_in_a_set(t):
    s = t.pair()
    other = s.dup()
    ep = select.epoll()
    ep.register(s, OUT)
    ep.register(other, OUT)
    t.say("both", len(ep.poll(5)))
    other.close()
    found = ep.poll(5)
    t.say("one of them at least", len(found) >= 1)
    t.sync()
    s.close()
    ep.close()


def two_sets(t):
    s = t.pair()
    one, two = select.epoll(), select.epoll()
    one.register(s, IN)
    two.register(s, IN | ET)
    t.sync("registered")
    s.sendall(b"x")
    t.sync("sent")
    wait(t, one, {"s": s}, "level", 5)
    wait(t, two, {"s": s}, "edge", 5)
    wait(t, one, {"s": s}, "level", 5)
    wait(t, two, {"s": s}, "no edge")
    t.sync()
    s.close()
    one.close()
    two.close()


def nested(t):
    s = t.pair()
    inner, outer = select.epoll(), select.epoll()
    inner.register(s, IN)
    outer.register(inner, IN)
    things = {"inner": inner}
    poll = select.poll()
    poll.register(inner, select.POLLIN)

    def everywhere(label, seconds=0):
        wait(t, outer, things, f"{label}: epoll", seconds)
        t.say(f"{label}: poll", [names(e) for _, e in poll.poll(seconds * 1000)])
        t.say(f"{label}: select", len(select.select([inner], [], [], seconds)[0]))

    everywhere("nothing")
    t.sync("looked")
    s.sendall(b"x")
    t.sync("sent")
    everywhere("ready", 5)
    wait(t, inner, {"s": s}, "s is ready", 5)
    everywhere("still ready", 5)
    s.recv(10)
    everywhere("read")
    t.sync("read")
    # What comes while we wait ends each wait.
    for kind in ("epoll", "poll", "select"):
        if t.is_server:
            time.sleep(0.1)
            s.sendall(b"y")
        else:
            began = time.monotonic()
            if kind == "epoll":
                wait(t, outer, things, "woken", 5)
            elif kind == "poll":
                t.say("woken", [names(e) for _, e in poll.poll(5000)])
            else:
                t.say("woken", len(select.select([inner], [], [], 5)[0]))
            t.say("soon", time.monotonic() - began < 2)
            s.recv(10)
        t.sync(kind)
    inner.unregister(s)
    s.sendall(b"z")
    t.sync("removed")
    everywhere("no member")
    inner.register(s, IN)
    everywhere("member again", 5)
    outer.unregister(inner)
    wait(t, outer, things, "not nested")
    t.sync()
    for thing in (s, inner, outer):
        thing.close()


def nested_deeply(t):
    s = t.pair()
    sets = [select.epoll() for _ in range(4)]
    for inner, outer in zip(sets, sets[1:]):
        outer.register(inner, IN)
    # The member comes last, while somebody waits at the top.
    found = []
    waiter = threading.Thread(target=lambda: found.extend(sets[3].poll(10)))
    waiter.start()
    time.sleep(0.1)
    sets[0].register(s, IN)
    t.sync("waiting")
    s.sendall(b"x")
    waiter.join()
    t.say("at the top", [(n == sets[2].fileno(), names(e)) for n, e in found])
    for i in (0, 1, 2):
        wait(t, sets[i + 1], {"inner": sets[i]}, f"level {i}", 5)
    try:
        sets[0].register(sets[3], IN)
    except OSError as error:
        t.say("no loops", error.errno)
    s.recv(1)
    for i in (0, 1, 2):
        wait(t, sets[i + 1], {"inner": sets[i]}, f"level {i} is empty")
    t.sync("empty")
    s.sendall(b"y")
    t.sync("full")
    wait(t, sets[3], {"inner": sets[2]}, "full", 5)
    sets[1].close()
    wait(t, sets[3], {"inner": sets[2]}, "cut in the middle")
    t.sync()
    s.close()
    for ep in sets:
        ep.close()


def nested_edge_and_once(t):
    s = t.pair()
    inner, edge, once = select.epoll(), select.epoll(), select.epoll()
    inner.register(s, IN)
    edge.register(inner, IN | ET)
    once.register(inner, IN | ONESHOT)
    things = {"inner": inner}
    wait(t, edge, things, "nothing")
    t.sync("looked")
    s.sendall(b"x")
    t.sync("sent")
    wait(t, edge, things, "edge", 5)
    wait(t, edge, things, "no edge")
    wait(t, once, things, "once", 5)
    wait(t, once, things, "not twice")
    once.modify(inner, IN | ONESHOT)
    wait(t, once, things, "armed again", 5)
    t.sync("told")
    s.sendall(b"y")
    t.sync("more")
    sides.wait_readable(s)
    wait(t, edge, things, "another edge", 5)
    wait(t, once, things, "still not")
    t.sync()
    for thing in (s, inner, edge, once):
        thing.close()


def nested_kinds(t):
    """Members of the kernel and ours inside, and waits that have other descriptors beside."""
    s = t.pair()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    read_end, write_end = os.pipe()
    inner, outer = select.epoll(), select.epoll()
    for thing in (s, u, read_end):
        inner.register(thing, IN)
    outer.register(inner, IN)
    outer.register(s, IN)
    things = {"inner": inner, "s": s}
    wait(t, outer, things, "nothing")
    os.write(write_end, b"x")
    wait(t, outer, things, "a pipe", 5)
    os.read(read_end, 1)
    wait(t, outer, things, "nothing")
    u.sendto(b"x", u.getsockname())
    sides.wait_readable(u)
    wait(t, outer, things, "a datagram", 5)
    u.recv(1)
    wait(t, outer, things, "nothing")
    t.sync("looked")
    s.sendall(b"x")
    t.sync("sent")
    sides.wait_readable(s)
    wait(t, outer, things, "a stream", 5)
    t.say("select", [len(found) for found in select.select([inner, s, read_end], [s], [], 5)])
    s.recv(1)
    late = threading.Timer(0.1, lambda: os.write(write_end, b"x"))
    late.start()
    wait(t, outer, things, "woken by the pipe", 5)
    late.join()
    t.sync()
    for thing in (s, u, inner, outer):
        thing.close()
    os.close(read_end)
    os.close(write_end)


def mixed_kinds(t):
    s = t.pair()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    a, b = socket.socketpair()
    read_end, write_end = os.pipe()
    things = {"tcp": s, "udp": u, "unix": a, "pipe": read_end}
    ep = select.epoll()
    for thing in things.values():
        ep.register(thing, IN)
    wait(t, ep, things, "none")
    t.sync("looked")
    s.sendall(b"x")
    t.sync("sent")
    sides.wait_readable(s)
    wait(t, ep, things, "tcp", 5)
    os.write(write_end, b"x")
    wait(t, ep, things, "tcp and pipe", 5)
    s.recv(1)
    wait(t, ep, things, "pipe", 5)
    os.read(read_end, 1)
    b.send(b"x")
    u.sendto(b"x", u.getsockname())
    sides.wait_readable(u)
    wait(t, ep, things, "udp and unix", 5)
    a.recv(1)
    u.recv(1)
    wait(t, ep, things, "none")
    late = threading.Timer(0.1, lambda: os.write(write_end, b"x"))
    late.start()
    wait(t, ep, things, "the pipe wakes us", 10)
    late.join()
    os.read(read_end, 1)
    t.sync("late")
    if t.is_server:
        time.sleep(0.1)
        s.sendall(b"z")
    else:
        wait(t, ep, things, "tcp wakes us", 10)
    t.sync("end")
    for thing in (s, u, a, b, ep):
        thing.close()
    os.close(read_end)
    os.close(write_end)


def wait_in_one_thread_add_in_another(t):
    s = t.pair()
    ep = select.epoll()
    found = []
    waiter = threading.Thread(target=lambda: found.extend(ep.poll(10)))
    waiter.start()
    time.sleep(0.1)
    ep.register(s, OUT)
    waiter.join()
    t.say("woken by the registration", [names(e) for _, e in found])
    t.sync()
    s.close()
    ep.close()


def few_at_a_time(t):
    ep = select.epoll()
    numbers = []
    for _ in range(4):
        s = t.pair()
        ep.register(s, OUT)
        numbers.append(s)
    seen = set()
    for _ in range(20):
        for number, _ in ep.poll(1, 1):
            seen.add(number)
    t.say("each had its turn", len(seen))
    t.say("two at most", len(ep.poll(1, 2)))
    t.sync()
    for s in numbers:
        s.close()
    ep.close()


def once_from_either_side(t):
    """A socket that peers of both kinds reach is reported once until it is armed again, whoever comes."""
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        listener.setblocking(False)
        ep = select.epoll()
        ep.register(listener, select.EPOLLIN | select.EPOLLONESHOT)
        t.sync("listening")
        t.sync("connected")
        for _ in range(3):
            t.say("events", [event for _, event in ep.poll(1)])
            t.say("again", ep.poll(0), ep.poll(0.05))
            ep.modify(listener, select.EPOLLIN | select.EPOLLONESHOT)
        for _ in range(4):
            listener.accept()[0].close()
        t.call("no more", listener.accept)
        ep.close()
        listener.close()
        t.sync()
    else:
        t.sync("listening")
        for n in range(4):
            # Every other one by a program that is never accelerated.
            if n % 2:
                s = socket.create_connection(("127.0.0.1", port))
                keep.append(s)
            else:
                keep.append(Plain(port))
        t.sync("connected")
        t.sync()
        for other in keep:
            other.close()
        keep.clear()


def nobody_waits_for_ever(t):
    """Room for one event, and a connection that always has one: others are reported, too."""
    s = t.pair()
    if t.is_server:
        ep = select.epoll()
        ready, write = os.pipe()
        os.write(write, b"x")
        ep.register(s, select.EPOLLIN)
        ep.register(ready, select.EPOLLIN)
        t.sync("sent")
        sides.wait_readable(s)
        seen = set()
        deadline = time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < deadline:
            seen |= {number for number, _ in ep.poll(1, 1)}
        t.say("seen", len(seen))
        ep.close()
        os.close(ready)
        os.close(write)
    else:
        s.sendall(b"never read")
        t.sync("sent")
    t.sync()
    s.close()


keep = []


class Plain:
    """A connection by a process that is never accelerated."""

    def __init__(self, port):
        script = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); print(flush=True); input()"
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.process.stdout.readline()

    def close(self):
        self.process.communicate(b"\n")


sides.main(
    level,
    edge,
    edge_registered_late,
    edge_of_writing,
    oneshot,
    exclusive,
    hang_up,
    unconnected,
    mistakes,
    closing_removes,
    duplicates_in_a_set,
    two_sets,
    nested,
    nested_deeply,
    nested_edge_and_once,
    nested_kinds,
    mixed_kinds,
    wait_in_one_thread_add_in_another,
    few_at_a_time,
    once_from_either_side,
    nobody_waits_for_ever,
)
