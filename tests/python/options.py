"""Socket options, ioctl and fcntl."""

import fcntl
import os
import socket
import struct
import termios
import sides

SOL, TCP, IP, IPV6 = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6
SOCKET_OPTIONS = "SO_TYPE SO_DOMAIN SO_PROTOCOL SO_ACCEPTCONN SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_BROADCAST SO_OOBINLINE SO_ERROR SO_RCVLOWAT SO_PRIORITY SO_MARK"
TCP_OPTIONS = "TCP_NODELAY TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT TCP_USER_TIMEOUT TCP_CORK"


def numbers(t, s, level, names):
    for name in names.split():
        t.call(name, s.getsockopt, level, getattr(socket, name))


def defaults(t):
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            s = socket.socket(family, kind)
            t.say(f"-- {family.name} {kind.name}")
            numbers(t, s, SOL, SOCKET_OPTIONS)
            if kind == socket.SOCK_STREAM:
                numbers(t, s, TCP, TCP_OPTIONS)
            numbers(t, s, IP, "IP_TOS IP_TTL")
            if family == socket.AF_INET6:
                numbers(t, s, IPV6, "IPV6_V6ONLY IPV6_UNICAST_HOPS IPV6_TCLASS")
            s.close()


def set_and_read(t):
    s = socket.socket()
    for level, name, value in (
        (SOL, "SO_REUSEADDR", 1),
        (SOL, "SO_REUSEPORT", 1),
        (SOL, "SO_KEEPALIVE", 5),
        (SOL, "SO_OOBINLINE", 1),
        (SOL, "SO_RCVLOWAT", 7),
        (SOL, "SO_PRIORITY", 3),
        (TCP, "TCP_NODELAY", 1),
        (TCP, "TCP_NODELAY", 0),
        (TCP, "TCP_CORK", 1),
        (TCP, "TCP_CORK", 0),
        (TCP, "TCP_KEEPIDLE", 60),
        (TCP, "TCP_KEEPINTVL", 10),
        (TCP, "TCP_KEEPCNT", 4),
        (TCP, "TCP_USER_TIMEOUT", 5000),
        (TCP, "TCP_SYNCNT", 3),
        (TCP, "TCP_QUICKACK", 1),
        (IP, "IP_TOS", 0x10),
        (IP, "IP_TTL", 33),
    ):
        t.call(f"set {name}", s.setsockopt, level, getattr(socket, name), value)
        t.call(f"get {name}", s.getsockopt, level, getattr(socket, name))
    s.close()


def refused_values(t):
    s = socket.socket()
    for level, name, value in (
        (TCP, "TCP_KEEPIDLE", 0),
        (TCP, "TCP_KEEPIDLE", 40000),
        (TCP, "TCP_KEEPINTVL", 0),
        (TCP, "TCP_KEEPCNT", 0),
        (TCP, "TCP_KEEPCNT", 128),
        (TCP, "TCP_MAXSEG", 10),
        (TCP, "TCP_USER_TIMEOUT", -1),
        (IP, "IP_TTL", 256),
        (SOL, "SO_TYPE", 1),
        (SOL, "SO_ERROR", 1),
        (SOL, "SO_ACCEPTCONN", 1),
    ):
        t.call(f"{name} = {value}", s.setsockopt, level, getattr(socket, name), value)
    t.call("unknown option", s.setsockopt, SOL, 9999, 1)
    t.call("unknown option", s.getsockopt, SOL, 9999)
    t.call("unknown level", s.setsockopt, 9999, 1, 1)
    t.call("too short", s.setsockopt, SOL, socket.SO_REUSEADDR, b"\1")
    t.call("too short", s.setsockopt, TCP, socket.TCP_NODELAY, b"")
    t.call("short linger", s.setsockopt, SOL, socket.SO_LINGER, b"\1\0\0\0")
    t.call("short timeout", s.setsockopt, SOL, socket.SO_RCVTIMEO, b"\1\0\0\0")
    t.call("negative timeout", s.setsockopt, SOL, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1_000_000))
    s.close()


def read_short(t):
    s = socket.socket()
    t.call("two bytes", s.getsockopt, SOL, socket.SO_TYPE, 2)
    t.call("eight bytes", s.getsockopt, SOL, socket.SO_TYPE, 8)
    t.call("one byte", s.getsockopt, TCP, socket.TCP_NODELAY, 1)
    s.close()


def buffers(t):
    s = socket.socket()
    for name in ("SO_SNDBUF", "SO_RCVBUF"):
        option = getattr(socket, name)
        t.call(f"set {name}", s.setsockopt, SOL, option, 50_000)
        t.call(f"get {name}", s.getsockopt, SOL, option)
        t.call(f"set {name} tiny", s.setsockopt, SOL, option, 1)
        t.say("not below the least", s.getsockopt(SOL, option) >= 2048)
    s.close()


def linger(t):
    s = socket.socket()
    t.say(struct.unpack("ii", s.getsockopt(SOL, socket.SO_LINGER, 8)))
    s.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 7))
    t.say(struct.unpack("ii", s.getsockopt(SOL, socket.SO_LINGER, 8)))
    s.close()


def timeouts(t):
    s = socket.socket()
    for name in ("SO_RCVTIMEO", "SO_SNDTIMEO"):
        option = getattr(socket, name)
        t.say(name, struct.unpack("@ll", s.getsockopt(SOL, option, 16)))
        s.setsockopt(SOL, option, struct.pack("@ll", 3, 500_000))
        t.say(name, struct.unpack("@ll", s.getsockopt(SOL, option, 16)))
    s.close()


def inherited(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        listener.setsockopt(TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(SOL, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(TCP, socket.TCP_KEEPIDLE, 99)
        listener.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 4))
        listener.setsockopt(SOL, socket.SO_RCVBUF, 40_000)
        listener.setblocking(False)
        t.say("listening", listener.getsockopt(SOL, socket.SO_ACCEPTCONN))
        t.sync()
        sides.wait_readable(listener)
        s, _ = listener.accept()
        numbers(t, s, TCP, "TCP_NODELAY TCP_KEEPIDLE")
        numbers(t, s, SOL, "SO_KEEPALIVE SO_REUSEADDR SO_ACCEPTCONN SO_RCVBUF")
        t.say("linger", struct.unpack("ii", s.getsockopt(SOL, socket.SO_LINGER, 8)))
        flags = fcntl.fcntl(s.fileno(), fcntl.F_GETFL)
        t.say("O_NONBLOCK", bool(flags & os.O_NONBLOCK))
        s.close()
        listener.close()
    else:
        t.sync()
        socket.create_connection(("127.0.0.1", port)).recv(1)


def of_a_connection(t):
    s = t.pair()
    lowat, pacing, clamp, congestion = 25, 47, 10, socket.TCP_CONGESTION
    numbers(t, s, TCP, "TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT TCP_USER_TIMEOUT")
    for level, name, value in (
        (TCP, "TCP_KEEPIDLE", 0),
        (TCP, "TCP_KEEPIDLE", 77),
        (TCP, "TCP_KEEPCNT", 128),
        (TCP, "TCP_USER_TIMEOUT", -1),
        (TCP, "TCP_USER_TIMEOUT", 9000),
        (TCP, "TCP_SYNCNT", 0),
        (TCP, "TCP_SYNCNT", 4),
        (TCP, "TCP_LINGER2", 200),
        (TCP, "TCP_LINGER2", 7),
        (TCP, "TCP_LINGER2", -3),
        (TCP, "TCP_DEFER_ACCEPT", 5),
    ):
        t.call(f"set {name}", s.setsockopt, level, getattr(socket, name), value)
        t.call(f"get {name}", s.getsockopt, level, getattr(socket, name))
    t.call("MAXSEG", s.setsockopt, TCP, socket.TCP_MAXSEG, 10)
    t.call("MAXSEG", s.setsockopt, TCP, socket.TCP_MAXSEG, 1000)
    t.call("clamp", s.setsockopt, TCP, clamp, 0)
    fast_open_connect, fast_open_no_cookie = 30, 34
    for option in (socket.TCP_FASTOPEN, fast_open_connect, fast_open_no_cookie):
        t.call("too late", s.setsockopt, TCP, option, 1)
    t.call("lowat", s.getsockopt, TCP, lowat)
    t.call("lowat", s.setsockopt, TCP, lowat, 10_000)
    t.call("lowat", s.getsockopt, TCP, lowat)
    t.call("short", s.setsockopt, TCP, socket.TCP_NODELAY, b"\1")
    t.call("congestion", s.setsockopt, TCP, congestion, b"nonsense")
    t.call("congestion", s.setsockopt, TCP, congestion, b"reno")
    t.say(s.getsockopt(TCP, congestion, 16).rstrip(b"\0"))
    t.say(s.getsockopt(SOL, pacing, 8), s.getsockopt(SOL, pacing, 4))
    s.setsockopt(SOL, pacing, struct.pack("I", 5_000_000))
    t.say(s.getsockopt(SOL, pacing, 8), s.getsockopt(SOL, pacing, 4))
    s.setsockopt(SOL, pacing, struct.pack("Q", 2**40))
    t.say(s.getsockopt(SOL, pacing, 8), s.getsockopt(SOL, pacing, 4))
    t.sync()
    s.close()


def opened_with_data(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.call("queue", listener.setsockopt, TCP, socket.TCP_FASTOPEN, 5)
        t.call("queue", listener.getsockopt, TCP, socket.TCP_FASTOPEN)
        t.sync()
        for _ in range(3):
            s, _ = listener.accept()
            t.say(s.recv(100))
            s.sendall(b"answer")
            s.close()
        listener.close()
    else:
        t.sync()
        for _ in range(2):
            s = socket.socket()
            t.say(s.sendto(b"request", socket.MSG_FASTOPEN, ("127.0.0.1", port)))
            t.say(s.recv(100))
            t.call("again", s.sendto, b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))
            s.close()
        s = socket.socket()
        fast_open_connect = 30
        s.setsockopt(TCP, fast_open_connect, 1)
        s.connect(("127.0.0.1", port))
        s.sendall(b"request")
        t.say(s.recv(100))
        s.close()


def descriptor_flags(t):
    s = t.pair()
    s.settimeout(None)
    number = s.fileno()
    t.say("blocking", not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK)
    t.say("access", fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE)
    fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_NONBLOCK)
    t.call("recv", s.recv, 10)
    fcntl.ioctl(number, termios.FIONBIO, struct.pack("i", 0))
    t.say("blocking again", not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK)
    fcntl.ioctl(number, termios.FIONBIO, struct.pack("i", 1))
    t.say("blocking", not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK)
    t.call("recv", s.recv, 10)
    t.say("FD_CLOEXEC", fcntl.fcntl(number, fcntl.F_GETFD))
    fcntl.fcntl(number, fcntl.F_SETFD, 0)
    t.say("FD_CLOEXEC", fcntl.fcntl(number, fcntl.F_GETFD))
    t.sync()
    s.close()


def created_with_flags(t):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    t.say("O_NONBLOCK", bool(fcntl.fcntl(s.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK))
    t.say("SO_TYPE", s.getsockopt(SOL, socket.SO_TYPE))
    s.close()


def bytes_waiting(t):
    s = t.pair()

    def waiting():
        return struct.unpack("i", fcntl.ioctl(s.fileno(), termios.FIONREAD, bytes(4)))[0]

    if t.is_server:
        t.say("before", waiting())
        t.sync("send")
        t.sync("sent")
        sides.wait_readable(s)
        t.say("after", waiting())
        s.recv(3)
        t.say("after three", waiting())
        s.recv(100)
        t.say("after all", waiting())
        t.sync("read")
    else:
        t.sync("send")
        s.sendall(b"0123456789")
        t.sync("sent")
        t.sync("read")
        t.say("unsent", struct.unpack("i", fcntl.ioctl(s.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    t.sync()
    s.close()


def bytes_waiting_udp(t):
    s, peer = t.udp()
    if t.is_server:
        t.sync("sent")
        sides.wait_readable(s)
        for _ in range(3):
            t.say(struct.unpack("i", fcntl.ioctl(s.fileno(), termios.FIONREAD, bytes(4)))[0])
            t.call("recv", s.recv, 100, socket.MSG_DONTWAIT)
    else:
        s.sendto(b"12345", peer)
        s.sendto(b"123", peer)
        t.sync("sent")
    t.sync()
    s.close()


def information(t):
    s = t.pair()
    info = s.getsockopt(TCP, socket.TCP_INFO, 104)
    t.say("state", info[0], "has fields", len(info) >= 100)
    t.say("congestion", info[1], "options", info[5], "unacked", info[24:28])
    if t.is_server:
        t.sync("closing")
        t.sync("closed")
        sides.wait_readable(s)
        t.say("state after the peer closed", s.getsockopt(TCP, socket.TCP_INFO, 104)[0])
        t.sync("seen")
    else:
        t.sync("closing")
        s.shutdown(socket.SHUT_WR)
        t.sync("closed")
        t.sync("seen")
    s.close()
    t.say("fresh", socket.socket().getsockopt(TCP, socket.TCP_INFO, 104)[0])


def congestion_control(t):
    s = socket.socket()
    t.call("set reno", s.setsockopt, TCP, socket.TCP_CONGESTION, b"reno")
    t.call("get", s.getsockopt, TCP, socket.TCP_CONGESTION, 16)
    t.call("set unknown", s.setsockopt, TCP, socket.TCP_CONGESTION, b"nonesuch")
    s.close()


def low_water(t):
    s = t.pair()
    if t.is_server:
        import select

        s.setsockopt(SOL, socket.SO_RCVLOWAT, 5)
        t.sync("three")
        t.sync("sent three")
        t.say("readable with 3", bool(select.select([s], [], [], 0.05)[0]))
        t.sync("more")
        t.sync("sent more")
        t.say("readable with 6", bool(select.select([s], [], [], 5)[0]))
        t.call("recv", s.recv, 100)
    else:
        t.sync("three")
        s.sendall(b"abc")
        t.sync("sent three")
        t.sync("more")
        s.sendall(b"def")
        t.sync("sent more")
    t.sync()
    s.close()


sides.main(
    defaults,
    set_and_read,
    refused_values,
    read_short,
    buffers,
    linger,
    timeouts,
    inherited,
    of_a_connection,
    opened_with_data,
    descriptor_flags,
    created_with_flags,
    bytes_waiting,
    bytes_waiting_udp,
    information,
    congestion_control,
    low_water,
)
