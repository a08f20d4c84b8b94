"""Servers that fork: workers accept from an inherited listener."""

import ctypes
import os
import signal
import socket
import struct
import sides

WORKERS = 3


def reap(pids):
    return sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


def child(work):
    """Runs the function in a child that ends with its result."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return pid


def workers_accept(t):
    port = t.port()
    count = 30
    if t.is_server:
        listener = t.listener(port, backlog=64)

        def work():
            while True:
                s, _ = listener.accept()
                word = s.recv(20)
                if word == b"stop":
                    return 0
                s.sendall(word.upper())
                s.close()

        pids = [child(work) for _ in range(WORKERS)]
        t.sync("listening")
        t.say("workers ended with", reap(pids))
        listener.close()
        t.sync("ended")
    else:
        t.sync("listening")
        right = 0
        for i in range(count):
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"word %d" % i)
                right += sides.recv_all(s) == b"WORD %d" % i
        t.say("right", right)
        for _ in range(WORKERS):
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"stop")
                s.recv(1)
        t.sync("ended")
        t.call("nobody listens any more", socket.create_connection, ("127.0.0.1", port))


def many_children(t):
    port = t.port()
    count = 200
    if t.is_server:
        listener = t.listener(port, backlog=count)
        wait, go_on = os.pipe()
        t.sync("listening")

        def work(s):
            os.close(go_on)
            # Until all are there.
            os.read(wait, 1)
            s.sendall(sides.recv_exactly(s, 8)[::-1])
            s.close()
            return 0

        pids = []
        for _ in range(count):
            s, _ = listener.accept()
            pids.append(child(lambda: work(s)))
            s.close()
        os.close(wait)
        os.close(go_on)
        t.say("all ended well", set(reap(pids)))
        listener.close()
    else:
        t.sync("listening")
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for i, s in enumerate(connections):
            s.sendall(b"%08d" % i)
        right = sum(sides.recv_all(s) == (b"%08d" % i)[::-1] for i, s in enumerate(connections))
        t.say("right", right)
        for s in connections:
            s.close()
    t.sync()


def master_closes_its_listener(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)

        def work():
            s, _ = listener.accept()
            s.sendall(s.recv(100))
            s.close()
            return 0

        pids = [child(work)]
        listener.close()
        t.sync("listening")
        t.say("worker ended with", reap(pids))
    else:
        t.sync("listening")
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"hello")
            t.say("answer", sides.recv_all(s))
    t.sync()


def child_serves_a_connection(t):
    s = t.pair()
    if t.is_server:

        def work():
            s.sendall(sides.recv_exactly(s, 5)[::-1])
            return 0

        pid = child(work)
        s.close()
        t.say("child ended with", reap([pid]))
        t.sync("ended")
    else:
        s.sendall(b"abcde")
        t.say("to the end", sides.recv_all(s))
        t.sync("ended")
        s.close()


def parent_and_child_share(t):
    s = t.pair()
    if t.is_server:

        def work():
            s.sendall(b"from the child, ")
            return 0

        t.say("child ended with", reap([child(work)]))
        s.sendall(b"from the parent")
        s.close()
    else:
        t.say("got", sides.recv_all(s))
        s.close()
    t.sync()


def parent_closes_with_patience(t):
    """SO_LINGER: what a child has, too, is not ended by a close(2) of its parent."""
    s = t.pair()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 10))
    if t.is_server:
        wait, go_on = os.pipe()
        pid = child(lambda: os.read(wait, 1) and s.sendall(b"from the child") or 0)
        s.close()
        os.write(go_on, b"x")
        t.say("child ended with", reap([pid]))
        os.close(wait)
        os.close(go_on)
    else:
        t.say("got", sides.recv_all(s))
        s.close()
    t.sync()


def child_with_other_numbers(t):
    """In another namespace of process numbers (where that is allowed) a child closes what is not its alone."""
    s = t.pair()
    if t.is_server:

        def between():
            ctypes.CDLL(None).unshare(0x20000000)
            inner = child(lambda: s.close() or 0)
            s.sendall(b"ended with %d" % reap([inner])[0])
            return 0

        t.say("child ended with", reap([child(between)]))
        s.sendall(b", and the parent goes on")
        s.close()
    else:
        t.say("got", sides.recv_all(s))
        s.close()
    t.sync()


def child_makes_its_own(t):
    port, other = t.port(), t.port()
    if t.is_server:
        keep = t.listener(port)

        def work():
            listener = t.listener(other)
            os.write(ready, b"x")
            s, _ = listener.accept()
            s.sendall(b"by the child")
            s.close()
            return 0

        wait, ready = os.pipe()
        pid = child(work)
        os.read(wait, 1)
        t.sync("listening")
        s, _ = keep.accept()
        s.sendall(b"by the parent")
        s.close()
        t.say("child ended with", reap([pid]))
        keep.close()
        os.close(wait)
        os.close(ready)
    else:
        t.sync("listening")
        for number in (other, port):
            with socket.create_connection(("127.0.0.1", number)) as s:
                t.say("served", sides.recv_all(s))
    t.sync()


def child_connects(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        for _ in range(2):
            s, _ = listener.accept()
            s.sendall(sides.recv_all(s))
            s.close()
        listener.close()
    else:
        t.sync("listening")

        def ask():
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"hello")
                s.shutdown(socket.SHUT_WR)
                return 0 if sides.recv_all(s) == b"hello" else 1

        t.say("child ended with", reap([child(ask)]))
        t.say("parent got", ask())
    t.sync()


def killed_worker(t):
    s = t.pair()
    if t.is_server:
        # Not while it works, which may be in the middle of a change to the stack.
        begun, begin = os.pipe()
        pid = child(lambda: os.write(begin, b"x") and s.recv(100) and 0)
        os.read(begun, 1)
        s.close()
        t.sync("waiting")
        os.kill(pid, signal.SIGKILL)
        t.say("killed", reap([pid]))
        t.sync("killed")
    else:
        t.sync("waiting")
        t.sync("killed")
        t.call("end", s.recv, 10)
        s.close()


def killed_before_it_began(t):
    for _ in range(10):
        s = t.pair()
        if t.is_server:
            # On one processor, of which the parent does not let go: its child has not run when it is killed.
            cpus = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(cpus)})
            policy = os.SCHED_FIFO if os.geteuid() == 0 else os.SCHED_BATCH
            alone = policy | os.SCHED_RESET_ON_FORK if policy == os.SCHED_FIFO else policy
            os.sched_setscheduler(0, alone, os.sched_param(policy == os.SCHED_FIFO))
            pid = child(lambda: s.recv(100) and 0)
            os.kill(pid, signal.SIGKILL)
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(0, cpus)
            t.say("killed", reap([pid]))
            s.close()
        else:
            t.call("end", s.recv, 10)
            s.close()
        t.sync("next")


def datagrams_shared_with_a_child(t):
    s, peer = t.udp()
    if t.is_server:

        def work():
            data, sender = s.recvfrom(100)
            s.sendto(b"child: " + data, sender)
            return 0

        t.sync("ready")
        t.say("child ended with", reap([child(work)]))
        data, sender = s.recvfrom(100)
        s.sendto(b"parent: " + data, sender)
    else:
        t.sync("ready")
        for word in (b"one", b"two"):
            s.sendto(word, peer)
            t.call("answer", s.recv, 100)
    t.sync()
    s.close()


sides.main(
    workers_accept,
    many_children,
    master_closes_its_listener,
    child_serves_a_connection,
    parent_and_child_share,
    parent_closes_with_patience,
    child_with_other_numbers,
    child_makes_its_own,
    child_connects,
    killed_worker,
    killed_before_it_began,
    datagrams_shared_with_a_child,
)
