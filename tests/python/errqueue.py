"""Errors that packets met on their way, with IP_RECVERR: what MSG_ERRQUEUE tells, and what calls return meanwhile."""

import select
import socket
import struct
import subprocess
import sides

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
V4, V6 = socket.AF_INET, socket.AF_INET6
IP_RECVERR, IP_RECVTTL, IP_MTU_DISCOVER, IP_MTU, IP_PKTINFO = 11, 12, 10, 14, 8
IPV6_RECVERR, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_2292HOPLIMIT = 25, 23, 24, 8
MSG_ERRQUEUE = 0x2000
LEVEL = {V4: IP, V6: IPV6}
RECVERR = {V4: (IP, IP_RECVERR), V6: (IPV6, IPV6_RECVERR)}
HOPS = {V4: (IP, socket.IP_TTL), V6: (IPV6, socket.IPV6_UNICAST_HOPS)}
DISCOVER = {V4: (IP, IP_MTU_DISCOVER), V6: (IPV6, IPV6_MTU_DISCOVER)}
MTU = {V4: (IP, IP_MTU), V6: (IPV6, IPV6_MTU)}
WANT, DO, PROBE = range(1, 4)


def words(t, message):
    """A control message: an error with whoever reported it, or anything else."""
    level, kind, data = message
    if (level, kind) in RECVERR.values() and len(data) >= 32:
        errno, origin, what, code, _, info, more = struct.unpack_from("=IBBBBII", data)
        family = struct.unpack_from("=H", data, 16)[0]
        offender = "nobody"
        if family == V4:
            offender = socket.inet_ntoa(data[20:24])
        elif family == V6:
            offender = socket.inet_ntop(V6, data[24:40])
        return f"error {errno} origin {origin} {what}/{code} info {info} data {more} of {len(data)} bytes from {offender}"
    if level == IP and kind == IP_PKTINFO:
        return f"IP_PKTINFO to {socket.inet_ntoa(data[8:12])}"
    return f"{level} {kind} {data.hex()}"


def take(t, s, room=2000, control=512, flags=0):
    """The next error, if there is one."""
    try:
        data, messages, came, name = s.recvmsg(room, control, MSG_ERRQUEUE | flags)
    except OSError as e:
        t.say("no error", e)
        return
    # Ports are the script's own; unset names are shown as they are.
    t.say("error", data, [words(t, m) for m in messages], f"flags {came:#x}", (name[0], name[1]) if name else name)


def wait(t, s, events=select.POLLIN):
    """Until something is reported."""
    p = select.poll()
    p.register(s, events)
    t.say("poll", [f"{seen:#x}" for _, seen in p.poll(3000)])


def error(t, s):
    t.call("SO_ERROR", s.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)


def open_socket(t, family, recverr=True):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == V6:
        s.setsockopt(IPV6, socket.IPV6_V6ONLY, 0)
    if recverr:
        t.call("set", s.setsockopt, *RECVERR[family], 1)
    s.bind((t.own(family), t.port()))
    return s


def ports(t):
    """Nobody there: with a peer and without, and what calls say before the error is taken and after."""
    for family in (V4, V6):
        for connected in (False, True):
            port = t.port()
            if t.is_server:
                t.port()
                continue
            s = open_socket(t, family)
            t.call("get", s.getsockopt, *RECVERR[family])
            take(t, s)
            if connected:
                s.connect((t.host(family), port))
            send = s.send if connected else lambda data: s.sendto(data, (t.host(family), port))
            t.call("send", send, b"question")
            wait(t, s)
            t.call("recv", s.recv, 100)
            wait(t, s)
            take(t, s)
            error(t, s)
            take(t, s)
            t.call("send", send, b"second question")
            wait(t, s)
            take(t, s)
            error(t, s)
            s.close()
    t.sync()


def several(t):
    """Each has its place in the queue; the pending one is that of the first."""
    port, other = t.port(), t.port()
    own = t.port()
    if not t.is_server:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.bind((t.own(V4), own))
        s.setsockopt(IP, IP_RECVERR, 1)
        for target in (port, other):
            t.call("send", s.sendto, b"to " + (b"one" if target == port else b"other"), (t.host(V4), target))
            wait(t, s)
            error(t, s)
        for _ in range(2):
            take(t, s, flags=socket.MSG_PEEK)
            error(t, s)
        take(t, s)
        t.call("send", s.sendto, b"again", (t.host(V4), port))
        wait(t, s)
        s.setsockopt(IP, IP_RECVERR, 0)
        take(t, s)
        error(t, s)
        s.close()
    t.sync()


def room(t):
    """Too little room for what is told."""
    port = t.port()
    own = t.port()
    if not t.is_server:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.bind((t.own(V4), own))
        s.setsockopt(IP, IP_RECVERR, 1)
        for data, control in ((3, 512), (100, 0), (100, 24), (0, 512)):
            t.call("send", s.sendto, b"some more bytes", (t.host(V4), port))
            wait(t, s)
            take(t, s, data, control)
        t.call("send", s.sendto, b"read by recv", (t.host(V4), port))
        wait(t, s)
        t.call("recv", s.recv, 100, MSG_ERRQUEUE)
        t.call("send", s.sendto, bytes(range(256)) * 5, (t.host(V4), port))
        wait(t, s)
        take(t, s)
        s.close()
    t.sync()


def without(t):
    """Only who is connected hears of it where nobody asked for more."""
    port = t.port()
    own = t.port()
    if not t.is_server:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.bind((t.own(V4), own))
        s.setblocking(False)
        t.call("send", s.sendto, b"question", (t.host(V4), port))
        p = select.poll()
        p.register(s, select.POLLIN)
        t.say("poll", p.poll(50))
        error(t, s)
        s.connect((t.host(V4), port))
        t.call("send", s.send, b"question")
        wait(t, s)
        take(t, s)
        t.call("send", s.send, b"question")
        t.call("recv", s.recv, 100)
        error(t, s)
        s.close()
    t.sync()


def mapped(t):
    """IPv4 by an IPv6 socket: the option of each family speaks for its own."""
    port = t.port()
    own = t.port()
    if not t.is_server:
        for option in ((IP, IP_RECVERR), (IPV6, IPV6_RECVERR)):
            s = socket.socket(V6, socket.SOCK_DGRAM)
            s.setsockopt(IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", own))
            t.call("set", s.setsockopt, *option, 1)
            t.call("send", s.sendto, b"question", ("::ffff:" + t.host(V4), port))
            p = select.poll()
            p.register(s, select.POLLIN)
            t.say("poll", [f"{seen:#x}" for _, seen in p.poll(100)])
            take(t, s)
            s.close()
    t.sync()


def how_it_came(t):
    """What was asked for of datagrams is told of the message about them."""
    port = t.port()
    own = t.port()
    asked = {V4: [(IP, IP_RECVTTL), (IP, socket.IP_RECVTOS), (IP, IP_PKTINFO)], V6: [(IPV6, socket.IPV6_RECVHOPLIMIT), (IPV6, IPV6_2292HOPLIMIT)]}
    if not t.is_server:
        for family in (V4, V6):
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.bind((t.own(family), own))
            s.setsockopt(*RECVERR[family], 1)
            for option in asked[family]:
                s.setsockopt(*option, 1)
            t.call("send", s.sendto, b"question", (t.host(family), port))
            wait(t, s)
            take(t, s)
            s.close()
    t.sync()


def too_long(t):
    """Nothing is cut where that is forbidden: the caller hears of it at once."""
    port = t.port()
    own = t.port()
    if not t.is_server:
        for family in (V4, V6):
            for connected in (False, True):
                s = socket.socket(family, socket.SOCK_DGRAM)
                s.bind((t.own(family), own))
                s.setsockopt(*RECVERR[family], 1)
                peer = (t.host(family), port)
                if connected:
                    s.connect(peer)
                for mode in (DO, PROBE):
                    t.call("discover", s.setsockopt, *DISCOVER[family], mode)
                    t.call("get", s.getsockopt, *DISCOVER[family])
                    for size in (1453 if family == V6 else 1473, 9000):
                        t.call("send", s.send if connected else lambda data: s.sendto(data, peer), bytes(size))
                        wait(t, s)
                        take(t, s)
                        error(t, s)
                s.setsockopt(*RECVERR[family], 0)
                t.call("send", s.send if connected else lambda data: s.sendto(data, peer), bytes(9000))
                take(t, s)
                s.close()
    t.sync()


def hops(t):
    """A router's word on what has gone too far. One that is left to itself is no error of a connected socket."""
    port = t.port()
    own = t.port()
    if not t.is_server:
        for family in (V4, V6):
            # What the kernel has learned of the path before.
            subprocess.run(["ip", "-6" if family == V6 else "-4", "route", "flush", "cache"], check=True)
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.bind((t.own(family), own))
            s.connect((t.host(family), port))
            s.setsockopt(*HOPS[family], 1)
            t.call("send", s.send, b"unheard")
            p = select.poll()
            p.register(s, select.POLLIN)
            t.say("poll", p.poll(50))
            s.setsockopt(*RECVERR[family], 1)
            if family == V4:
                s.setsockopt(IP, IP_RECVTTL, 1)
            else:
                s.setsockopt(IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            t.call("send", s.send, b"one hop")
            wait(t, s)
            t.call("recv", s.recv, 100)
            take(t, s)
            s.setsockopt(*HOPS[family], 2)
            t.call("send", s.send, b"two hops")
            wait(t, s)
            take(t, s)
            s.close()
    t.sync()


def paths(t):
    """A path that carries less than its first link."""
    port = t.port()
    own = t.port()
    for family, header in ((V4, 28), (V6, 48)):
        if t.is_server:
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.bind((t.host(family), port))
            t.sync("bound")
            if family == V4:
                t.call("cut", lambda: len(s.recv(2000)))
            t.sync()
            s.close()
        else:
            t.sync("bound")
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.bind((t.own(family), own))
            s.connect((t.host(family), port))
            s.setsockopt(*RECVERR[family], 1)
            s.setsockopt(*DISCOVER[family], DO)
            t.call("mtu", s.getsockopt, *MTU[family])
            t.call("send", s.send, bytes(1500 - header))
            wait(t, s)
            take(t, s, 10)
            t.call("mtu", s.getsockopt, *MTU[family])
            t.call("send", s.send, bytes(1500 - header))
            wait(t, s)
            take(t, s)
            s.setsockopt(*DISCOVER[family], PROBE)
            t.call("send", s.send, bytes(1500 - header))
            wait(t, s)
            take(t, s, 10)
            if family == V4:
                s.setsockopt(*DISCOVER[family], WANT)
                t.call("send", s.send, bytes(1500 - header))
                t.call("get", s.getsockopt, *DISCOVER[family])
            t.sync()
            s.close()


def streams(t):
    """Connections: errors end those that are not there yet, and others hear of them."""
    port = t.port()
    t.call("of a fresh one", socket.socket().getsockopt, IP, IP_RECVERR)
    for family in (V4, V6):
        s = t.pair(family)
        t.call("get", s.getsockopt, *RECVERR[family])
        t.call("set", s.setsockopt, *RECVERR[family], 1)
        t.call("get", s.getsockopt, *RECVERR[family])
        take(t, s)
        t.sync()
        s.close()


def streams_over_routers(t):
    port = t.port()
    if not t.is_server:
        for family in (V4, V6):
            for option in (False, True):
                s = socket.socket(family, socket.SOCK_STREAM)
                s.setsockopt(*HOPS[family], 1)
                if option:
                    s.setsockopt(*RECVERR[family], 1)
                t.call("connect", s.connect, (t.host(family), port))
                take(t, s, 0)
                s.close()
    t.sync()
    for family in (V4, V6):
        s = t.pair(family)
        if not t.is_server:
            s.setsockopt(*RECVERR[family], 1)
            s.setsockopt(*HOPS[family], 1)
            t.call("send", s.send, b"lost")
            wait(t, s)
            take(t, s)
            t.call("recv", s.recv, 100)
            s.setsockopt(*HOPS[family], 64)
        t.sync()
        if t.is_server:
            t.call("recv", s.recv, 100)
        t.sync()
        s.close()


if __name__ == "__main__":
    if sides.hosts_of("server")[V4].startswith("10.9.1."):
        sides.main(hops, paths, streams_over_routers)
    else:
        sides.main(ports, several, room, without, mapped, how_it_came, too_long, streams)
