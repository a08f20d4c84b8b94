"""Blocking sockets: echoes of many sizes, addresses, timeouts."""

import socket
import struct
import time
import sides


def echoes(t):
    s = t.pair()
    for size in (1, 2, 31, 32, 1000, 1460, 1461, 4096, 65535, 65536, 1_000_000):
        data = sides.pattern(size, size)
        if t.is_server:
            t.call(f"echo {size}", s.sendall, sides.recv_exactly(s, size))
        else:
            t.call(f"send {size}", s.sendall, data)
            t.say("came back", sides.recv_exactly(s, size), "equal", sides.pattern(size, size) == data)
    s.close()


def ten_megabytes_each_way(t):
    s = t.pair()
    data = sides.pattern(10_000_000, 7)
    if t.is_server:
        t.say("got", sides.recv_exactly(s, len(data)))
        t.call("send", s.sendall, data)
    else:
        t.call("send", s.sendall, data)
        t.say("got", sides.recv_exactly(s, len(data)))
    s.close()


def many_small_writes(t):
    s = t.pair()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if t.is_server:
        t.say("all", sides.recv_all(s))
    else:
        for i in range(2000):
            s.sendall(struct.pack("<I", i))
        t.say("sent")
    s.close()


def ping_pong(t):
    s = t.pair()
    ok = 0
    for i in range(500):
        word = struct.pack("<Q", i)
        if t.is_server:
            s.sendall(sides.recv_exactly(s, 8))
        else:
            s.sendall(word)
            ok += sides.recv_exactly(s, 8) == word
    t.say("right answers", ok)
    s.close()


def names(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.call("listener name", listener.getsockname)
        t.call("listener peer", listener.getpeername)
        t.sync()
        s, peer = listener.accept()
        t.say("accepted from", peer, "same as getpeername", peer == s.getpeername())
        listener.close()
    else:
        t.sync()
        s = socket.socket()
        t.call("unbound name", s.getsockname)
        t.call("unconnected peer", s.getpeername)
        t.call("connect", s.connect, (sides.V4, port))
    t.say("name", s.getsockname(), "peer", s.getpeername())
    t.sync()
    s.close()


def bound_before_connect(t):
    port, own = t.port(), t.port()
    if t.is_server:
        with t.listener(port) as listener:
            t.sync()
            s, peer = listener.accept()
            t.say("from the port it bound", peer[1] == own)
    else:
        t.sync()
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        t.call("bind", s.bind, (t.own(socket.AF_INET), own))
        t.call("connect", s.connect, (sides.V4, port))
        t.say("name", s.getsockname())
    t.sync()
    s.close()


def timeouts(t):
    s = t.pair()
    if t.is_server:
        s.settimeout(0.05)
        t.call("recv with a timeout", s.recv, 10)
        s.settimeout(None)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100_000))
        t.call("recv with SO_RCVTIMEO", s.recv, 10)
        t.say("SO_RCVTIMEO", struct.unpack("@ll", s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)))
        t.sync()
        t.call("recv in time", s.recv, 10)
    else:
        t.sync()
        s.sendall(b"late")
    t.sync()
    s.close()


def send_timeout(t):
    s = t.pair()
    if not t.is_server:
        # Twice: what lies in the link moves on to a peer that is in no socket call only after a while.
        sides.fill(s)
        time.sleep(0.03)
        sides.fill(s)
        s.setblocking(True)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 100_000))
        # More than a byte: a probe of the peer's window may yet make room for that.
        t.call("send into a full socket", s.sendall, bytes(1_000_000))
        s.settimeout(0.1)
        t.call("send with a timeout", s.sendall, bytes(1_000_000))
    t.sync()
    s.close()


def accept_timeout(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        listener.settimeout(0.05)
        t.call("accept", listener.accept)
        listener.settimeout(None)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100_000))
        t.call("accept with SO_RCVTIMEO", listener.accept)
        listener.settimeout(20)
        t.sync()
        s, _ = listener.accept()
        t.say("accepted", s.recv(10))
    else:
        t.sync()
        with socket.create_connection((sides.V4, port)) as s:
            s.sendall(b"hello")


def blocked_sender_goes_on(t):
    s = t.pair()
    data = sides.pattern(8_000_000, 3)
    if t.is_server:
        t.sync("the sender is about to block")
        t.say("got", sides.recv_all(s))
    else:
        t.sync("the sender is about to block")
        t.call("sendall", s.sendall, data)
    s.close()


def backlog(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port, backlog=64)
        t.sync("listening")
        t.sync("all connected")
        got = []
        for _ in range(20):
            s, _ = listener.accept()
            got.append(sides.recv_all(s))
            s.close()
        t.say("in order", got)
        listener.close()
    else:
        t.sync("listening")
        clients = []
        for i in range(20):
            s = socket.create_connection((sides.V4, port))
            s.sendall(b"%d" % i)
            s.shutdown(socket.SHUT_WR)
            clients.append(s)
        t.sync("all connected")
        for s in clients:
            s.recv(1)
            s.close()


sides.main(
    echoes,
    ten_megabytes_each_way,
    many_small_writes,
    ping_pong,
    names,
    bound_before_connect,
    timeouts,
    send_timeout,
    accept_timeout,
    blocked_sender_goes_on,
    backlog,
)
