"""Non-blocking sockets, and calls that signals interrupt."""

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sides

libc = ctypes.CDLL(None, use_errno=True)


def connect(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        s, _ = listener.accept()
        t.say("got", sides.recv_all(s))
        s.close()
        listener.close()
    else:
        t.sync("listening")
        s = socket.socket()
        s.setblocking(False)
        t.call("connect", s.connect, (sides.V4, port))
        sides.wait_writable(s)
        t.say("SO_ERROR", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        t.call("connect once more", s.connect, (sides.V4, port))
        t.call("and again", s.connect, (sides.V4, port))
        t.call("send", s.send, b"word")
        t.call("recv", s.recv, 10)
        s.close()


def accept(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        listener.setblocking(False)
        t.call("nobody there", listener.accept)
        t.sync("listening")
        t.sync("connected")
        sides.wait_readable(listener)
        s, _ = listener.accept()
        t.say("accepted blocking", s.getblocking())
        t.call("nobody else", listener.accept)
        s.close()
        listener.close()
    else:
        t.sync("listening")
        s = socket.create_connection((sides.V4, port))
        t.sync("connected")
        s.recv(1)
        s.close()


def accept4_flags(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        number = libc.accept4(listener.fileno(), None, None, socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        s = socket.socket(fileno=number)
        import fcntl

        t.say("O_NONBLOCK", bool(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK))
        t.say("FD_CLOEXEC", fcntl.fcntl(number, fcntl.F_GETFD))
        t.say("bad flags", libc.accept4(listener.fileno(), None, None, 0x1234567), os.strerror(ctypes.get_errno()))
        s.close()
        listener.close()
    else:
        t.sync("listening")
        socket.create_connection((sides.V4, port)).recv(1)


def fill_and_drain(t):
    s = t.pair()
    if t.is_server:
        t.sync("full")
        total = 0
        s.settimeout(20)
        while data := s.recv(1 << 20):
            total += len(data)
        s.close()
        t.sync(f"drained")
    else:
        sent = sides.fill(s)
        t.call("full", s.send, b"x")
        t.sync("full")
        sides.wait_writable(s)
        t.say("room again", s.send(bytes(1000)) > 0)
        s.close()
        t.sync("drained")


def large_transfer_without_blocking(t):
    s = t.pair()
    s.setblocking(False)
    data = sides.pattern(6_000_000, 17)
    out, got = memoryview(data), bytearray()
    poller = select.poll()
    poller.register(s, select.POLLIN | select.POLLOUT)
    while out or len(got) < len(data):
        if not out:
            poller.modify(s, select.POLLIN)
        for _, events in poller.poll(10_000):
            if events & select.POLLIN:
                got += s.recv(100_000)
            if events & select.POLLOUT and out:
                out = out[s.send(out[:50_000]) :]
    t.say("equal", bytes(got) == data)
    t.sync()
    s.close()


def interrupted(t):
    s = t.pair()
    u, _ = t.udp()
    if t.is_server:
        t.sync("done")
        s.close()
        return
    s.settimeout(None)
    u.settimeout(None)
    buffer = ctypes.create_string_buffer(10)
    hits = []

    def after_a_signal(label, call, restart=False):
        signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        signal.siginterrupt(signal.SIGALRM, not restart)
        ctypes.set_errno(0)
        # Again and again: the first may come before the call has begun to block.
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        result = call()
        error = ctypes.get_errno()
        signal.setitimer(signal.ITIMER_REAL, 0)
        t.say(label, result, errno.errorcode.get(error) if result < 0 else "")

    after_a_signal("recv", lambda: libc.recv(s.fileno(), buffer, 10, 0))
    after_a_signal("read", lambda: libc.read(s.fileno(), buffer, 10))
    after_a_signal("recv of a datagram", lambda: libc.recv(u.fileno(), buffer, 10, 0))

    class Pollfd(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    entry = Pollfd(s.fileno(), select.POLLIN, 0)
    after_a_signal("poll", lambda: libc.poll(ctypes.byref(entry), 1, 5000))
    after_a_signal("poll with SA_RESTART", lambda: libc.poll(ctypes.byref(entry), 1, 5000), restart=True)
    ep = select.epoll()
    ep.register(s, select.EPOLLIN)
    events = ctypes.create_string_buffer(64)
    after_a_signal("epoll_wait", lambda: libc.epoll_wait(ep.fileno(), events, 4, 5000))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
    after_a_signal("recv with SO_RCVTIMEO", lambda: libc.recv(s.fileno(), buffer, 10, 0), restart=True)
    sides.fill(s)
    s.setblocking(True)
    after_a_signal("send into a full socket", lambda: libc.send(s.fileno(), buffer, 10, 0))
    listener = socket.socket()
    listener.listen()
    after_a_signal("accept", lambda: libc.accept(listener.fileno(), None, None))
    t.say("signals", len(hits) > 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for thing in (s, u, ep, listener):
        thing.close()
    t.sync("done")


def restarted(t):
    s = t.pair()
    if t.is_server:
        t.sync("ready")
        import time

        time.sleep(0.2)
        s.sendall(b"late word")
        t.sync("done")
    else:
        s.settimeout(None)
        buffer = ctypes.create_string_buffer(20)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, False)
        t.sync("ready")
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        result = libc.recv(s.fileno(), buffer, 20, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        t.say("recv under signals with SA_RESTART", result, buffer.raw[: max(result, 0)])
        t.sync("done")
    s.close()


def broken_pipe_signal(t):
    s = t.pair()
    if t.is_server:
        s.close()
        t.sync("closed")
    else:
        t.sync("closed")
        hits = []
        signal.signal(signal.SIGPIPE, lambda *_: hits.append("SIGPIPE"))
        s.shutdown(socket.SHUT_WR)
        t.call("send", s.send, b"x")
        t.say(hits)
        t.call("send with MSG_NOSIGNAL", s.send, b"x", socket.MSG_NOSIGNAL)
        t.say(hits)
        t.call("write", os.write, s.fileno(), b"x")
        t.say(hits)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        s.close()


sides.main(
    connect,
    accept,
    accept4_flags,
    fill_and_drain,
    large_transfer_without_blocking,
    interrupted,
    restarted,
    broken_pipe_signal,
)
