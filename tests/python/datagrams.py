"""UDP."""

import ctypes
import select
import socket
import struct
import threading
import time
import sides

V4 = sides.V4


def unconnected(t):
    s, peer = t.udp()
    for size in (0, 1, 32, 1472, 1473, 9000, 65507):
        data = sides.pattern(size, size + 1)
        if t.is_server:
            got, sender = s.recvfrom(70_000)
            t.say("got", got, "from the peer", sender == peer)
            t.call("answer", s.sendto, got, sender)
        else:
            t.call(f"send {size}", s.sendto, data, peer)
            t.say("came back", s.recvfrom(70_000), "equal", True)
    t.call("name", s.getsockname)
    t.sync()
    s.close()


def connected(t):
    s, peer = t.udp()
    t.call("connect", s.connect, peer)
    t.call("peer", s.getpeername)
    t.sync("connected")
    if t.is_server:
        t.call("recv", s.recv, 100)
        t.call("send", s.send, b"answer")
    else:
        t.call("send", s.send, b"question")
        t.call("recv", s.recv, 100)
        t.call("sendto the peer", s.sendto, b"x", peer)
    t.sync()
    s.close()


def strangers_are_not_heard(t):
    s, peer = t.udp()
    if t.is_server:
        s.connect(peer)
        t.sync("connected")
        t.sync("sent")
        sides.wait_readable(s)
        t.call("only the peer's", s.recv, 100)
        s.setblocking(False)
        t.call("nothing else", s.recv, 100)
    else:
        t.sync("connected")
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.sendto(b"stranger", peer)
        s.sendto(b"friend", peer)
        t.sync("sent")
        stranger.close()
    t.sync()
    s.close()


def disconnect(t):
    s, peer = t.udp()
    s.connect(peer)
    libc = ctypes.CDLL(None, use_errno=True)
    unspecified = struct.pack("=H14x", socket.AF_UNSPEC)
    t.say("connect to nobody", libc.connect(s.fileno(), unspecified, len(unspecified)))
    t.call("peer", s.getpeername)
    t.call("send", s.send, b"x")
    t.call("sendto", s.sendto, b"word", peer)
    t.call("recvfrom", s.recvfrom, 100)
    t.sync()
    s.close()


def truncation(t):
    s, peer = t.udp()
    if t.is_server:
        t.call("short recv", s.recv, 4)
        t.call("next", s.recv, 100)
        data, _, flags, _ = s.recvmsg(4)
        t.say("short recvmsg", data, "MSG_TRUNC", bool(flags & socket.MSG_TRUNC))
        data, _, flags, _ = s.recvmsg(100)
        t.say("long recvmsg", data, "MSG_TRUNC", bool(flags & socket.MSG_TRUNC))
        buffer = bytearray(4)
        t.call("real length with MSG_TRUNC", s.recv_into, buffer, 4, socket.MSG_TRUNC)
        t.say("first bytes", buffer)
        t.call("peek the real length", s.recv_into, buffer, 1, socket.MSG_TRUNC | socket.MSG_PEEK)
        t.call("recv", s.recv, 100)
    else:
        for word in (b"0123456789", b"second", b"0123456789", b"fourth", b"0123456789", b"sixth word"):
            s.sendto(word, peer)
    t.sync()
    s.close()


def peek(t):
    s, peer = t.udp()
    if t.is_server:
        t.say("peek", s.recvfrom(100, socket.MSG_PEEK)[0])
        t.say("peek", s.recvfrom(2, socket.MSG_PEEK)[0])
        t.call("recv", s.recv, 100)
        t.call("then nothing", s.recv, 100, socket.MSG_DONTWAIT)
    else:
        s.sendto(b"word", peer)
    t.sync()
    s.close()


def port_unreachable(t):
    closed = t.port()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((V4, closed))
    t.call("send", s.send, b"x")
    sides.wait_readable(s)
    t.call("recv", s.recv, 10)
    t.call("send", s.send, b"x")
    sides.wait_readable(s)
    t.call("send is told too", s.send, b"x")
    t.call("send", s.send, b"x")
    sides.wait_readable(s)
    t.say("SO_ERROR", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    t.sync()
    s.close()


def port_unreachable_unconnected(t):
    closed = t.port()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t.call("send", s.sendto, b"x", (V4, closed))
    t.call("send", s.sendto, b"x", (V4, closed))
    t.call("nobody tells", s.recv, 10, socket.MSG_DONTWAIT)
    t.sync()
    s.close()


def peer_goes_away(t):
    s, peer = t.udp()
    s.connect(peer)
    t.sync("connected")
    if t.is_server:
        s.close()
        t.sync("closed")
    else:
        t.sync("closed")
        t.call("send", s.send, b"x")
        sides.wait_readable(s)
        t.call("recv", s.recv, 10)
        s.close()


def readiness(t):
    s, peer = t.udp()

    def ready(seconds=0):
        r, w, _ = select.select([s], [s], [], seconds)
        return [len(r), len(w)]

    t.say("empty", ready())
    t.sync("looked")
    if t.is_server:
        t.sync("sent")
        sides.wait_readable(s)
        t.say("two", ready())
        s.recv(10)
        t.say("one", ready())
        s.recv(10)
        t.say("none", ready())
    else:
        s.sendto(b"a", peer)
        s.sendto(b"", peer)
        t.sync("sent")
    t.sync()
    s.close()


def many(t):
    s, peer = t.udp()
    if t.is_server:
        got = [s.recv(100) for _ in range(100)]
        t.say("in order", got == [b"%d" % i for i in range(100)])
    else:
        for i in range(100):
            s.sendto(b"%d" % i, peer)
    t.sync()
    s.close()


def ping_pong(t):
    s, peer = t.udp()
    s.connect(peer)
    t.sync("connected")
    right = 0
    for i in range(500):
        word = struct.pack("<I", i)
        if t.is_server:
            s.send(s.recv(10))
        else:
            s.send(word)
            right += s.recv(10) == word
    t.say("right", right)
    t.sync()
    s.close()


def more_than_fits(t):
    s, peer = t.udp()
    if t.is_server:
        t.sync("flooded")
        s.settimeout(0.2)
        got = 0
        try:
            while True:
                s.recv(2000)
                got += 1
        except TimeoutError as e:
            t.say("some came", got > 10, e)
        t.sync("room again")
        s.settimeout(5)
        t.call("later ones come", s.recv, 100)
    else:
        for i in range(5000):
            s.sendto(bytes(1000), peer)
        t.sync("flooded")
        t.sync("room again")
        s.sendto(b"later", peer)
    t.sync()
    s.close()


def timeouts(t):
    s, _ = t.udp()
    s.settimeout(0.05)
    t.call("recv", s.recv, 10)
    s.settimeout(None)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
    t.call("recv with SO_RCVTIMEO", s.recv, 10)
    s.setblocking(False)
    t.call("recv without blocking", s.recv, 10)
    t.sync()
    s.close()


def ports(t):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t.call("unbound", s.getsockname)
    port = t.port()
    s.sendto(b"x", (V4, port))
    t.say("bound by sending", s.getsockname()[1] != 0)
    s.close()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((V4, port))
    t.call("bound by connecting", s.getsockname)
    s.close()
    if t.is_server:
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        first.bind((V4, port))
        second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        t.call("in use", second.bind, (V4, port))
        first.close()
        t.call("free again", second.bind, (V4, port))
        second.close()
    t.sync()


def wildcard(t):
    port = t.port()
    if t.is_server:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", port))
        s.settimeout(5)
        t.sync("bound")
        for _ in range(2):
            data, sender = s.recvfrom(100)
            t.say(data, sender[0])
            s.sendto(b"answer", sender)
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(5)
        t.sync("bound")
        for host in (V4, "127.0.0.9"):
            s.sendto(host.encode(), (host, port))
            t.say("answer from", s.recvfrom(100))
    t.sync()
    s.close()


def ipv6(t):
    s, peer = t.udp(socket.AF_INET6)
    if t.is_server:
        data, sender = s.recvfrom(100)
        t.say(data, sender)
        s.sendto(b"answer", sender)
    else:
        s.sendto(b"question", peer)
        t.call("answer", s.recvfrom, 100)
    t.sync()
    s.close()


def shut_down(t):
    s, peer = t.udp()
    s.connect(peer)
    t.call("shutdown", s.shutdown, socket.SHUT_RD)
    t.call("recv", s.recv, 10)
    t.call("shutdown", s.shutdown, socket.SHUT_WR)
    t.call("send", s.send, b"x")
    t.sync()
    s.close()


def shut_for_reading(t):
    """What comes after that is delivered all the same; only waiting ends."""
    s, peer = t.udp()
    s.connect(peer)
    if not t.is_server:
        t.call("shutdown", s.shutdown, socket.SHUT_RD)
        t.sync("shut")
        t.sync("sent")
        t.call("recv", s.recv, 10)
        t.call("recvfrom", s.recvfrom, 10)
        t.call("the end", s.recv, 10)
        t.call("the end, from nobody", s.recvfrom, 10)
        t.call("not waiting", s.recv, 10, socket.MSG_DONTWAIT)
        s.setblocking(False)
        t.call("non-blocking", s.recv, 10)
        poll = select.poll()
        poll.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
        t.say("poll", [events for _, events in poll.poll(1000)])
        t.call("send", s.send, b"x")
        t.call("shutdown", s.shutdown, socket.SHUT_RDWR)
        t.say("poll", [events for _, events in poll.poll(1000)])
    else:
        t.sync("shut")
        s.send(b"one")
        s.send(b"two")
        time.sleep(0.1)
        t.sync("sent")
        t.call("recv", s.recv, 10)
    t.sync()
    s.close()


def shut_while_waiting(t):
    s, peer = t.udp()
    s.connect(peer)
    late = threading.Timer(0.1, s.shutdown, (socket.SHUT_RD,))
    late.start()
    t.call("recv", s.recv, 10)
    late.join()
    t.sync()
    s.close()


sides.main(
    unconnected,
    connected,
    strangers_are_not_heard,
    disconnect,
    truncation,
    peek,
    port_unreachable,
    port_unreachable_unconnected,
    peer_goes_away,
    readiness,
    many,
    ping_pong,
    more_than_fits,
    timeouts,
    ports,
    wildcard,
    ipv6,
    shut_down,
    shut_for_reading,
    shut_while_waiting,
)
