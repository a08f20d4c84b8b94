"""What comes with datagrams: addresses, interfaces, hop limits, types of service; and what is sent with them."""

import socket
import struct
import time
import sides

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
V4, V6 = socket.AF_INET, socket.AF_INET6
IP_PKTINFO, IP_RECVTTL, IP_MTU_DISCOVER, IP_MTU = 8, 12, 10, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
NAMES = {
    (IP, IP_PKTINFO): "IP_PKTINFO",
    (IP, socket.IP_TTL): "IP_TTL",
    (IP, socket.IP_TOS): "IP_TOS",
    (IPV6, socket.IPV6_PKTINFO): "IPV6_PKTINFO",
    (IPV6, socket.IPV6_HOPLIMIT): "IPV6_HOPLIMIT",
    (IPV6, socket.IPV6_TCLASS): "IPV6_TCLASS",
}
ASKED = {
    V4: [(IP, IP_PKTINFO), (IP, IP_RECVTTL), (IP, socket.IP_RECVTOS)],
    V6: [(IPV6, socket.IPV6_RECVPKTINFO), (IPV6, socket.IPV6_RECVHOPLIMIT), (IPV6, socket.IPV6_RECVTCLASS)],
}


def words(message):
    level, kind, data = message
    name = NAMES.get((level, kind), f"{level} {kind}")
    if kind == IP_PKTINFO and level == IP and len(data) == 12:
        index, local, target = struct.unpack("=I4s4s", data)
        return f"{name} {socket.if_indextoname(index)} {socket.inet_ntoa(local)} {socket.inet_ntoa(target)}"
    if kind == socket.IPV6_PKTINFO and level == IPV6 and len(data) == 20:
        target, index = struct.unpack("=16sI", data)
        return f"{name} {socket.if_indextoname(index)} {socket.inet_ntop(V6, target)}"
    return f"{name} {data.hex()}"


def receive(t, s, room=256, flags=0):
    data, messages, came, peer = s.recvmsg(100, room, flags)
    t.say("got", data, [words(m) for m in messages], f"flags {came:#x}", peer)
    return peer


def ask(s, family):
    for level, name in ASKED[family]:
        s.setsockopt(level, name, 1)


def asked_for(t):
    """Each alone, all together, with too little room, and no longer."""
    for family in (V4, V6):
        s, peer = t.udp(family)
        # The two sides speak once each way before anything is asked for.
        s.sendto(b"hello", peer)
        receive(t, s)
        t.sync()
        for level, name in ASKED[family]:
            s.setsockopt(level, name, 1)
            t.call("set", s.getsockopt, level, name)
            t.sync("asked")
            s.sendto(b"one", peer)
            receive(t, s)
            t.sync()
            s.setsockopt(level, name, 0)
        ask(s, family)
        t.sync("all")
        for room in (256, 20, 16, 0, 40, 50, 64):
            s.sendto(b"all", peer)
            receive(t, s, room)
            t.sync()
        s.sendto(b"peeked at", peer)
        receive(t, s, 256, socket.MSG_PEEK)
        receive(t, s)
        t.sync()
        for level, name in ASKED[family]:
            s.setsockopt(level, name, 0)
        t.sync("none")
        s.sendto(b"none", peer)
        receive(t, s)
        t.sync()
        s.close()


def set_for_all(t):
    """Hop limits and types of service of a socket."""
    for family, ttl, tos in ((V4, (IP, socket.IP_TTL), (IP, socket.IP_TOS)), (V6, (IPV6, socket.IPV6_UNICAST_HOPS), (IPV6, socket.IPV6_TCLASS))):
        s, peer = t.udp(family)
        ask(s, family)
        t.sync("asked")
        for hops, kind in ((1, 0), (33, 0x10), (255, 0xB8), (-1, 0x03), (64, 0)):
            t.call("hops", s.setsockopt, *ttl, hops)
            t.call("kind", s.setsockopt, *tos, kind)
            t.say(s.getsockopt(*ttl), s.getsockopt(*tos))
            s.sendto(b"x", peer)
            receive(t, s)
            t.sync()
        for hops in (0, 256, -2):
            t.call("refused", s.setsockopt, *ttl, hops)
        s.close()


def set_for_one(t):
    """What sendmsg(2) says of one datagram."""
    number = struct.Struct("=i").pack
    for family in (V4, V6):
        s, peer = t.udp(family)
        ask(s, family)
        own = s.getsockname()[0]
        t.sync("asked")
        if family == V4:
            info = struct.pack("=I4s4s", 0, socket.inet_aton(own), bytes(4))
            elsewhere = struct.pack("=I4s4s", 0, socket.inet_aton("192.0.2.1"), bytes(4))
            kinds = [(IP, socket.IP_TTL, number(5)), (IP, socket.IP_TOS, number(0x20)), (IP, socket.IP_TOS, b"\x28"), (IP, IP_PKTINFO, info)]
            wrong = [(IP, socket.IP_TTL, number(0)), (IP, socket.IP_TTL, number(256)), (IP, IP_PKTINFO, b"short"), (IP, IP_PKTINFO, elsewhere), (IP, 99, b"")]
        else:
            info = socket.inet_pton(V6, own) + struct.pack("=I", 0)
            elsewhere = socket.inet_pton(V6, "2001:db8::1") + struct.pack("=I", 0)
            kinds = [(IPV6, socket.IPV6_HOPLIMIT, number(5)), (IPV6, socket.IPV6_TCLASS, number(0x20)), (IPV6, socket.IPV6_PKTINFO, info)]
            wrong = [(IPV6, socket.IPV6_HOPLIMIT, number(256)), (IPV6, socket.IPV6_PKTINFO, b"short"), (IPV6, socket.IPV6_PKTINFO, elsewhere), (IPV6, 99, b"")]
        for messages in [*([kind] for kind in kinds), kinds]:
            t.call("send", s.sendmsg, [b"with"], messages, 0, peer)
            receive(t, s)
            t.sync()
        for message in wrong:
            t.call("refused", s.sendmsg, [b"wrong"], [message], 0, peer)
        t.sync()
        s.close()


def segments(t):
    """One message of which the kernel makes datagrams, by an option and by what comes with it."""
    for family in (V4, V6):
        s, peer = t.udp(family)
        s.sendto(b"hello", peer)
        t.say("got", s.recv(100))
        if t.is_server:
            for _ in range(6):
                data, sender = s.recvfrom(10_000)
                t.say("got", len(data), sender)
        else:
            t.call("send", s.sendmsg, [bytes(2500)], [(17, 103, struct.pack("=H", 1000))], 0, peer)
            t.call("set", s.setsockopt, 17, 103, 1000)
            t.call("send", s.sendto, bytes(2500), peer)
        t.sync()
        s.close()


def unbound(t):
    """A socket of all addresses is told which one was meant, and answers from there."""
    for family in (V4, V6):
        port, other = t.port(), t.port()
        s = socket.socket(family, socket.SOCK_DGRAM)
        if t.is_server:
            s.bind(("", port))
            ask(s, family)
            t.sync("bound")
            data, messages, _, peer = s.recvmsg(100, 256)
            t.say("got", data, [words(m) for m in messages])
            info = [m for m in messages if (m[0], m[1]) in ((IP, IP_PKTINFO), (IPV6, socket.IPV6_PKTINFO))]
            t.call("answer", s.sendmsg, [b"answer"], info, 0, peer)
        else:
            t.sync("bound")
            s.bind((t.own(family), other))
            s.connect((t.host(family), port))
            s.send(b"question")
            t.call("answered", s.recv, 100)
        t.sync()
        s.close()


def mapped(t):
    """An IPv6 socket that serves IPv4."""
    port = t.port()
    if t.is_server:
        s = socket.socket(V6, socket.SOCK_DGRAM)
        s.bind(("::", port))
        ask(s, V6)
        ask(s, V4)
        t.sync("bound")
        data, messages, _, peer = s.recvmsg(100, 256)
        t.say("got", data, [words(m) for m in messages])
        t.call("answer", s.sendto, b"answer", peer)
    else:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        t.sync("bound")
        s.connect((t.host(V4), port))
        s.send(b"question")
        t.call("answered", s.recv, 100)
    t.sync()
    s.close()


def path_mtu(t):
    for family, level, name in ((V4, IP, IP_MTU), (V6, IPV6, IPV6_MTU)):
        s, peer = t.udp(family)
        s.connect(peer)
        t.call("of datagrams", s.getsockopt, level, name)
        for mode in (0, 1, 2, 3):
            t.call("discover", s.setsockopt, level, IP_MTU_DISCOVER if level == IP else IPV6_MTU_DISCOVER, mode)
        t.sync()
        s.close()
        s = t.pair(family)
        t.call("of a stream", s.getsockopt, level, name)
        t.sync()
        s.close()


def await_groups(t, group):
    """Groups of IPv6 can be sent to only a moment after the interface is up."""
    with socket.socket(V6, socket.SOCK_DGRAM) as s:
        s.setsockopt(IPV6, socket.IPV6_MULTICAST_IF, t.link())
        for _ in range(100):
            try:
                s.sendto(b"", (group, 9))
                return
            except OSError:
                time.sleep(0.05)


def groups(t):
    """Multicast and broadcast, beside datagrams to the same socket alone."""
    port, own = t.port(), t.port()
    group, six = "239.9.9.9", "ff05::9:9"
    if t.is_server:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.bind(("", port))
        ask(s, V4)
        s.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(t.own(V4)))
        r = socket.socket(V6, socket.SOCK_DGRAM)
        r.setsockopt(IPV6, socket.IPV6_V6ONLY, 1)
        r.bind(("::", port))
        ask(r, V6)
        t.call("join", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(V6, six) + struct.pack("=I", t.link()))
        t.sync("joined")
        for turn in range(6 if t.broadcast() else 4):
            receive(t, s)
            t.sync()
        for turn in range(2 if t.broadcast() else 1):
            receive(t, r)
            t.sync()
        s.setsockopt(IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(t.own(V4)))
        t.sync("left")
        s.settimeout(0.2)
        t.call("not any more", s.recv, 100)
        r.close()
    else:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton(t.own(V4)))
        if t.broadcast():
            await_groups(t, six)
        t.sync("joined")
        targets = [group, t.host(V4), group, t.host(V4)]
        broadcast = t.broadcast()
        if broadcast:
            t.call("not allowed", s.sendto, b"to all", (broadcast, port))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            targets += [broadcast, t.host(V4)]
        for target in targets:
            t.call("send", s.sendto, b"to " + target.encode(), (target, port))
            t.sync()
        with socket.socket(V6, socket.SOCK_DGRAM) as r:
            r.setsockopt(IPV6, socket.IPV6_MULTICAST_IF, t.link())
            for target in (six, t.host(V6)) if broadcast else (t.host(V6),):
                t.call("send", r.sendto, b"to " + target.encode(), (target, port))
                t.sync()
        t.sync("left")
        t.call("send", s.sendto, b"to nobody", (group, port))
    t.sync()
    s.close()


if __name__ == "__main__":
    sides.main(asked_for, set_for_all, set_for_one, segments, unbound, mapped, path_mtu, groups)
