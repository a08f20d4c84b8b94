"""Groups: who joins, by which option, alone on the port or not, and who gets what is sent to them."""

import select
import socket
import struct
import time
import sides

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
V4, V6 = socket.AF_INET, socket.AF_INET6
IP_PKTINFO, IP_RECVTTL = 8, 12
IP_ADD_SOURCE_MEMBERSHIP, IP_BLOCK_SOURCE = 39, 38
MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP = 42, 45
GROUPS = ["239.7.7.1", "239.7.7.2", "239.135.7.1"]
SIX = ["ff05::7:1", "ff05::7:2"]


def group_req(index, group):
    if ":" in group:
        name = struct.pack("=HHI16sI", V6, 0, 0, socket.inet_pton(V6, group), 0)
    else:
        name = struct.pack("=HH4s8x", V4, 0, socket.inet_aton(group))
    return struct.pack("=I4x128s", index, name)


def mreq(t, group):
    return socket.inet_aton(group) + socket.inet_aton(t.own(V4))


def join(t, s, group):
    t.call("join", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(t, group))


def leave(t, s, group):
    t.call("leave", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(t, group))


def receiver(port, host="", family=V4):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == V6:
        s.setsockopt(IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, port))
    return s


def heard(t, *sockets):
    """All that each has got."""
    for s in sockets:
        s.setblocking(False)
        got = []
        while select.select([s], [], [], 0.05 if not got else 0.02)[0]:
            data, messages, flags, peer = s.recvmsg(100, 256)
            words = []
            for level, kind, content in messages:
                if (level, kind) == (IP, IP_PKTINFO):
                    index, spec, target = struct.unpack("=I4s4s", content)
                    words.append([index == t.link(), socket.inet_ntoa(spec), socket.inet_ntoa(target)])
                else:
                    words.append([level, kind, content])
            got.append([data, words, flags, peer])
        t.say("heard", sorted(got, key=repr))


def sender(t, family=V4, loop=0):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == V4:
        s.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton(t.own(V4)))
        s.setsockopt(IP, socket.IP_MULTICAST_LOOP, loop)
    else:
        s.setsockopt(IPV6, socket.IPV6_MULTICAST_IF, t.link())
        s.setsockopt(IPV6, socket.IPV6_MULTICAST_LOOP, loop)
    s.bind((t.own(family), t.port()))
    return s


def tell(t, s, port, groups, words=b"news"):
    for group in groups:
        t.call("send", s.sendto, words + b" of " + group.encode(), (group, port))


def several(t):
    """Several groups of one socket of all addresses; those that it has left are silent."""
    port = t.port()
    if t.is_server:
        t.port()
        s = receiver(port)
        for option in (IP_PKTINFO, IP_RECVTTL):
            s.setsockopt(IP, option, 1)
        join(t, s, GROUPS[0])
        t.call("again", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(t, GROUPS[0]))
        join(t, s, GROUPS[1])
        t.sync("joined")
        t.sync("sent")
        heard(t, s)
        leave(t, s, GROUPS[0])
        t.call("again", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(t, GROUPS[0]))
        t.sync("left")
        t.sync("sent")
        heard(t, s)
    else:
        s = sender(t)
        t.sync("joined")
        tell(t, s, port, GROUPS)
        s.sendto(b"to you alone", (t.host(V4), port))
        t.sync("sent")
        t.sync("left")
        for hops in (7, 1, -1):
            t.call("ttl", s.setsockopt, IP, socket.IP_MULTICAST_TTL, hops)
            t.call("ttl", s.getsockopt, IP, socket.IP_MULTICAST_TTL)
            tell(t, s, port, GROUPS, b"%d" % hops)
        t.sync("sent")
    t.sync()
    s.close()


def bound_to_groups(t):
    """A socket for each group on one port, each bound to its own."""
    port = t.port()
    if t.is_server:
        t.port()
        sockets = [receiver(port, group) for group in GROUPS[:2]]
        for s, group in zip(sockets, GROUPS):
            join(t, s, group)
            t.call("name", s.getsockname)
        t.sync("joined")
        t.sync("sent")
        heard(t, *sockets)
        t.call("answer", sockets[0].sendto, b"thanks", (t.peer(V4), port))
        for s in sockets:
            s.close()
    else:
        s = sender(t)
        r = receiver(port, t.own(V4))
        t.sync("joined")
        tell(t, s, port, GROUPS)
        t.sync("sent")
        t.say("answered", r.recvfrom(100))
        s.close()
        r.close()
    t.sync()


def copies(t):
    """Several sockets of one group and port get a copy each, whoever comes and goes."""
    port = t.port()
    if t.is_server:
        t.port()
        one = receiver(port)
        join(t, one, GROUPS[0])
        t.sync("one")
        t.sync("sent")
        heard(t, one)
        two = receiver(port)
        join(t, two, GROUPS[0])
        t.sync("two")
        t.sync("sent")
        heard(t, one, two)
        one.close()
        t.sync("the other")
        t.sync("sent")
        heard(t, two)
        # One that has joined nothing hears what others of the host have joined.
        three = receiver(port)
        t.sync("listens")
        t.sync("sent")
        heard(t, two, three)
        two.close()
        three.close()
    else:
        s = sender(t)
        for step in ("one", "two", "the other", "listens"):
            t.sync(step)
            tell(t, s, port, GROUPS[:2], step.encode())
            t.sync("sent")
        s.close()
    t.sync()


def by_other_options(t):
    """By the index of an interface, before there is a port, and from some sources only."""
    port = t.port()
    if t.is_server:
        t.port()
        s = socket.socket(V4, socket.SOCK_DGRAM)
        t.call("join", s.setsockopt, IP, MCAST_JOIN_GROUP, group_req(t.link(), GROUPS[0]))
        t.call("join", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", socket.inet_aton(GROUPS[1]), bytes(4), t.link()))
        s.bind(("", port))
        t.sync("joined")
        t.sync("sent")
        heard(t, s)
        t.call("leave", s.setsockopt, IP, MCAST_LEAVE_GROUP, group_req(t.link(), GROUPS[0]))
        block = socket.inet_aton(GROUPS[1]) + socket.inet_aton(t.own(V4)) + socket.inet_aton(t.peer(V4))
        t.call("block", s.setsockopt, IP, IP_BLOCK_SOURCE, block)
        wrong = socket.inet_aton("232.1.1.1") + socket.inet_aton(t.own(V4)) + socket.inet_aton("10.9.0.77")
        right = socket.inet_aton("232.1.1.2") + socket.inet_aton(t.own(V4)) + socket.inet_aton(t.peer(V4))
        for source in (wrong, right):
            t.call("join source", s.setsockopt, IP, IP_ADD_SOURCE_MEMBERSHIP, source)
        t.sync("chosen")
        t.sync("sent")
        heard(t, s)
    else:
        s = sender(t)
        t.sync("joined")
        tell(t, s, port, GROUPS)
        t.sync("sent")
        t.sync("chosen")
        tell(t, s, port, GROUPS[:2] + ["232.1.1.1", "232.1.1.2"])
        t.sync("sent")
    t.sync()
    s.close()


def six(t):
    port = t.port()
    if t.is_server:
        t.port()
        s = receiver(port, "::", V6)
        t.call("join", s.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(V6, SIX[0]) + struct.pack("=I", t.link()))
        t.call("join", s.setsockopt, IPV6, MCAST_JOIN_GROUP, group_req(t.link(), SIX[1]))
        s.setsockopt(IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        t.sync("joined")
        t.sync("sent")
        heard(t, s)
    else:
        s = sender(t, V6)
        for _ in range(100):
            # Groups of IPv6 can be sent to only a moment after the interface is up.
            try:
                s.sendto(b"", (SIX[0], 9))
                break
            except OSError:
                time.sleep(0.05)
        t.sync("joined")
        tell(t, s, port, SIX)
        t.call("hops", s.setsockopt, IPV6, socket.IPV6_MULTICAST_HOPS, 5)
        tell(t, s, port, SIX, b"farther")
        t.sync("sent")
    t.sync()
    s.close()


def heard_at_home(t):
    """What is sent with IP_MULTICAST_LOOP comes to members here and there; without, to those there."""
    port = t.port()
    t.port()
    member = receiver(port)
    join(t, member, GROUPS[2])
    t.sync("joined")
    for loop in (1, 0):
        if not t.is_server:
            s = sender(t, loop=loop)
            t.call("loop", s.getsockopt, IP, socket.IP_MULTICAST_LOOP)
            tell(t, s, port, GROUPS[2:], b"loop %d" % loop)
        else:
            t.port()
        t.sync("sent")
        heard(t, member)
        t.sync("heard")
        if not t.is_server:
            s.close()
    member.close()


def connected(t):
    """A group is the peer of its sender."""
    port = t.port()
    if t.is_server:
        t.port()
        s = receiver(port)
        join(t, s, GROUPS[0])
        t.sync("joined")
        t.sync("sent")
        heard(t, s)
    else:
        s = sender(t)
        t.sync("joined")
        t.call("connect", s.connect, (GROUPS[0], port))
        t.call("name", s.getsockname)
        for _ in range(3):
            t.call("send", s.send, b"by the peer")
        t.call("recv", s.setblocking, False)
        t.sync("sent")
    t.sync()
    s.close()


if __name__ == "__main__":
    sides.main(several, bound_to_groups, copies, by_other_options, six, heard_at_home, connected)
