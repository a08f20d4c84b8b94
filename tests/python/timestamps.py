"""When datagrams and bytes came: by which messages it is told, with what else, and that the times are true."""

import socket
import struct
import time
import sides

V4, V6 = socket.AF_INET, socket.AF_INET6
SOL = socket.SOL_SOCKET
TIMESTAMP, TIMESTAMPNS, TIMESTAMPING = 29, 35, 37
NEW = {TIMESTAMP: 63, TIMESTAMPNS: 64, TIMESTAMPING: 65}
RX_SOFTWARE, SOFTWARE = 1 << 3, 1 << 4
IP_RECVTTL, IP_RECVERR, MSG_ERRQUEUE, TCP_INQ = 12, 11, 0x2000, 36


def words(t, message, since):
    """A message; of times only how many there are, whether they are true, and of which unit."""
    level, kind, data = message
    if level != SOL or len(data) % 16:
        return f"{level} {kind} of {len(data)} bytes"
    unit = 1e6 if kind in (TIMESTAMP, NEW[TIMESTAMP]) else 1e9
    parts = struct.unpack(f"={len(data) // 8}q", data)
    times = [s + f / unit for s, f in zip(parts[::2], parts[1::2])]
    true = [since - 1 <= at <= time.time() + 0.001 if at else None for at in times]
    return f"{kind} {true}"


def receive(t, s, since, flags=0, room=256):
    data, messages, came, _ = s.recvmsg(100, room, flags)
    t.say("got", data, [words(t, m, since) for m in messages], f"flags {came:#x}")


def asked_for(t):
    """By each option, old and new, with others, and no longer."""
    for family in (V4, V6):
        s, peer = t.udp(family)
        for name in (TIMESTAMP, TIMESTAMPNS, TIMESTAMPING, NEW[TIMESTAMP], NEW[TIMESTAMPNS], NEW[TIMESTAMPING]):
            on = RX_SOFTWARE | SOFTWARE if name in (TIMESTAMPING, NEW[TIMESTAMPING]) else 1
            t.call("set", s.setsockopt, SOL, name, on)
            for other in (TIMESTAMP, TIMESTAMPNS, TIMESTAMPING):
                t.call("get", s.getsockopt, SOL, other)
            t.sync("asked")
            since = time.time()
            s.sendto(b"timed", peer)
            receive(t, s, since, socket.MSG_PEEK)
            receive(t, s, since)
            t.call("off", s.setsockopt, SOL, name, 0)
            t.sync("not")
            s.sendto(b"untimed", peer)
            receive(t, s, since)
        s.close()
        t.sync()


def with_others(t):
    s, peer = t.udp()
    s.setsockopt(SOL, TIMESTAMPNS, 1)
    s.setsockopt(SOL, TIMESTAMPING, RX_SOFTWARE | SOFTWARE)
    s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    t.sync("asked")
    since = time.time()
    for room in (256, 40, 20, 0):
        s.sendto(b"timed", peer)
        receive(t, s, since, 0, room)
    t.sync()
    s.close()


def of_errors(t):
    port = t.port()
    own = t.port()
    if not t.is_server:
        s = socket.socket(V4, socket.SOCK_DGRAM)
        s.bind((t.own(V4), own))
        s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        s.setsockopt(SOL, TIMESTAMPNS, 1)
        since = time.time()
        s.sendto(b"question", (t.host(V4), port))
        for _ in range(200):
            try:
                receive(t, s, since, MSG_ERRQUEUE)
                break
            except BlockingIOError:
                time.sleep(0.01)
        s.close()
    t.sync()


def of_streams(t):
    """Of bytes, with how many are left; accepted connections have it from their listening socket."""
    for name in (TIMESTAMP, TIMESTAMPNS, TIMESTAMPING):
        on = RX_SOFTWARE | SOFTWARE if name == TIMESTAMPING else 1
        port = t.port()
        since = time.time()
        if t.is_server:
            with t.listener(port) as listener:
                listener.setsockopt(SOL, name, on)
                t.sync("listening")
                s, _ = listener.accept()
            t.call("inherited", s.getsockopt, SOL, name)
            t.sync("connected")
            receive(t, s, since)
            s.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1)
            t.sync("more")
            t.sync("sent")
            receive(t, s, since, socket.MSG_PEEK)
            data, messages, _, _ = s.recvmsg(4, 256)
            t.say("got", data, [words(t, m, since) for m in messages])
            t.call("plain", s.recv, 100)
            t.sync("read")
            receive(t, s, since)
        else:
            t.sync("listening")
            s = socket.create_connection((t.host(V4), port))
            t.call("get", s.getsockopt, SOL, name)
            t.call("set", s.setsockopt, SOL, name, on)
            t.call("get", s.getsockopt, SOL, name)
            t.sync("connected")
            s.sendall(b"first")
            t.sync("more")
            s.sendall(b"second and third")
            t.sync("sent")
            t.sync("read")
            s.close()
        t.sync()
        s.close()


if __name__ == "__main__":
    # The kernel begins to note times a moment after the first socket asks for them.
    first = socket.socket(V4, socket.SOCK_DGRAM)
    first.setsockopt(SOL, TIMESTAMPNS, 1)
    time.sleep(0.1)
    sides.main(asked_for, with_others, of_errors, of_streams)
