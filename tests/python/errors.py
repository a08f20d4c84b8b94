"""What goes wrong, and its errno."""

import fcntl
import os
import socket
import struct
import time
import sides

V4 = sides.V4


def refused(t):
    port = t.port()
    if not t.is_server:
        s = socket.socket()
        t.call("connect", s.connect, (V4, port))
        t.call("connect again", s.connect, (V4, port))
        t.call("recv", s.recv, 10)
        t.call("send", s.send, b"x")
        s.close()


def refused_without_blocking(t):
    port = t.port()
    if not t.is_server:
        s = socket.socket()
        s.setblocking(False)
        t.call("connect", s.connect, (V4, port))
        sides.wait_writable(s)
        t.say("SO_ERROR", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        t.say("SO_ERROR again", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        s.close()


def connect_twice(t):
    s = t.pair()
    if not t.is_server:
        t.call("connect", s.connect, s.getpeername())
        s.setblocking(False)
        t.call("connect without blocking", s.connect, s.getpeername())
        t.call("listen", s.listen)
        t.call("bind", s.bind, (V4, 0))
        t.call("accept", s.accept)
    t.sync()
    s.close()


def reset_in_the_middle(t):
    """What a call has done before the error is what it returns; the error comes with the next."""
    for receives in (True, False):
        s = t.pair()
        if not t.is_server:
            if receives:
                t.call("half", s.recv, 10, socket.MSG_WAITALL)
                t.call("recv", s.recv, 10)
            else:
                sent = s.send(bytes(64 << 20))
                t.say("in part", 0 < sent < 64 << 20)
                t.call("send", s.send, b"x")
            t.call("and then", s.recv, 10)
            t.call("send", s.send, b"x")
        else:
            s.sendall(b"half")
            time.sleep(0.1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        t.sync("reset")


def not_connected(t):
    s = socket.socket()
    t.call("recv", s.recv, 10)
    t.call("send", s.send, b"x")
    t.call("sendto", s.sendto, b"x", (V4, 9))
    t.call("shutdown", s.shutdown, socket.SHUT_WR)
    t.call("getpeername", s.getpeername)
    t.call("accept", s.accept)
    s.close()


def on_a_listener(t):
    port = t.port()
    if t.is_server:
        s = t.listener(port)
        s.setblocking(False)
        t.call("accept", s.accept)
        t.call("recv", s.recv, 10)
        t.call("send", s.send, b"x")
        t.call("connect", s.connect, (V4, port))
        t.call("getpeername", s.getpeername)
        t.call("listen again", s.listen, 5)
        t.call("bind again", s.bind, (V4, 0))
        s.close()


def addresses_in_use(t):
    port = t.port()
    if t.is_server:
        first = t.listener(port)
        for family, host in ((socket.AF_INET, V4), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            s = socket.socket(family)
            t.call(f"bind {host}", s.bind, (host, port))
            s.close()
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        t.call("bind with SO_REUSEADDR", s.bind, (V4, port))
        t.call("other address", s.bind, ("127.0.0.2", port))
        s.close()
        first.close()
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        t.call("bind after close", s.bind, (V4, port))
        s.close()


def bad_addresses(t):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET, kind)
        t.call("bind elsewhere", s.bind, ("192.0.2.1", 0))
        s.close()
        s = socket.socket(socket.AF_INET6, kind)
        t.call("bind elsewhere", s.bind, ("2001:db8::1", 0))
        s.close()


def bound_twice(t):
    s = socket.socket()
    t.call("bind", s.bind, (V4, 0))
    t.call("bind again", s.bind, (V4, 0))
    t.say("name", s.getsockname())
    s.close()


def listen_unbound(t):
    s = socket.socket()
    t.call("listen", s.listen)
    t.say("got a port", s.getsockname()[1] != 0, s.getsockname())
    s.close()


def listen_port_zero(t):
    s = socket.socket()
    s.bind((V4, 0))
    s.listen()
    name = s.getsockname()
    t.say("name", name, "is a port", name[1] > 0)
    s.close()


def datagrams(t):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t.call("listen", s.listen)
    t.call("accept", s.accept)
    t.call("send without a destination", s.send, b"x")
    t.call("getpeername", s.getpeername)
    t.call("shutdown", s.shutdown, socket.SHUT_WR)
    t.call("too long", s.sendto, bytes(65508), (V4, 9))
    t.call("to port 0", s.sendto, b"x", (V4, 0))
    s.setblocking(False)
    t.call("recv", s.recv, 10)
    s.close()


def closed_descriptor(t):
    s = socket.socket()
    number = s.fileno()
    s.close()
    t.call("recv", s.recv, 10)
    # A number that no other thread of the process is given meanwhile.
    fresh = socket.socket()
    number = fcntl.fcntl(fresh, fcntl.F_DUPFD_CLOEXEC, 600 + 100 * t.is_server)
    fresh.close()
    stale = socket.socket(fileno=number)
    os.close(number)
    for label, call in (
        ("recv", lambda: stale.recv(10)),
        ("send", lambda: stale.send(b"x")),
        ("connect", lambda: stale.connect((V4, 9))),
        ("listen", lambda: stale.listen()),
        ("getsockname", lambda: stale.getsockname()),
        ("setsockopt", lambda: stale.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)),
        ("shutdown", lambda: stale.shutdown(socket.SHUT_WR)),
        ("os.close", lambda: os.close(number)),
    ):
        try:
            call()
            t.say(label, "no error")
        except OSError as e:
            t.say(label, e)
    stale.detach()


def no_socket(t):
    read_end, write_end = os.pipe()
    fake = socket.socket(fileno=os.dup(socket.socket(socket.AF_UNIX).detach()))
    os.dup2(read_end, fake.fileno())
    t.call("recv", fake.recv, 10, socket.MSG_DONTWAIT)
    t.call("listen", fake.listen)
    t.call("getsockname", fake.getsockname)
    fake.close()
    os.close(read_end)
    os.close(write_end)


def kinds_of_socket(t):
    for family, kind, protocol in (
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
        (socket.AF_INET6, socket.SOCK_STREAM, 0),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_SEQPACKET, 0),
        (socket.AF_INET, 77, 0),
        (177, socket.SOCK_STREAM, 0),
    ):
        s = t.call(f"socket {int(family)} {int(kind)} {int(protocol)}", socket.socket, family, kind, protocol)
        if s is not None:
            s.close()


def wrong_family(t):
    import ctypes
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    s = socket.socket()

    def raw(name, address, length):
        result = getattr(libc, name)(s.fileno(), address, length)
        error = ctypes.get_errno() if result < 0 else 0
        t.say(name, result, os.strerror(error) if error else "")

    v6 = struct.pack("<HHI16sI", socket.AF_INET6, 0, 0, bytes(15) + b"\1", 0)
    raw("bind", v6, len(v6))
    raw("connect", v6, len(v6))
    v4 = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes([127, 0, 0, 1]))
    raw("bind", v4, 4)
    raw("connect", v4, 2)
    raw("connect", v4, 8)
    raw("bind", 8, 16)
    raw("connect", 8, 16)
    s.close()


def bad_pointers(t):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    s = t.pair()

    def raw(label, result):
        t.say(label, result, os.strerror(ctypes.get_errno()) if result < 0 else "")

    if t.is_server:
        sides.wait_readable(s)
        raw("recv", libc.recv(s.fileno(), ctypes.c_void_p(8), 4, socket.MSG_DONTWAIT))
        raw("send", libc.send(s.fileno(), ctypes.c_void_p(8), 4, socket.MSG_DONTWAIT))
        raw("getsockname", libc.getsockname(s.fileno(), ctypes.c_void_p(8), ctypes.c_void_p(8)))
        raw("setsockopt", libc.setsockopt(s.fileno(), socket.SOL_SOCKET, socket.SO_KEEPALIVE, ctypes.c_void_p(8), 4))
        t.call("still works", s.recv, 10)
    else:
        s.sendall(b"word")
    t.sync()
    s.close()


sides.main(
    refused,
    refused_without_blocking,
    connect_twice,
    reset_in_the_middle,
    not_connected,
    on_a_listener,
    addresses_in_use,
    bad_addresses,
    bound_twice,
    listen_unbound,
    listen_port_zero,
    datagrams,
    closed_descriptor,
    no_socket,
    kinds_of_socket,
    wrong_family,
    bad_pointers,
)
