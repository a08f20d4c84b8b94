"""Programs for tests over a network. Run as `networks.py PART HOST PORT …`; they check all themselves and say so."""

import asyncio
import errno
import faulthandler
import glob
import hashlib
import os
import random
import select
import socket
import struct
import sys
import threading
import time

from sides import pattern, recv_exactly

# How many times as long as usual everything may take.
PATIENCE = int(os.environ.get("SIDESTEP_TEST_PATIENCE", "1"))


def say(*words):
    print(*words, flush=True)


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listener(host, port):
    s = socket.socket(family_of(host), socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port))
    s.listen(128)
    return s


def echo(s):
    with s:
        try:
            while data := s.recv(65536):
                s.sendall(data)
        except OSError:
            pass


def serve_blocking(host, port):
    """An echo server with a thread for each connection, until killed."""
    with listener(host, port) as listening:
        while True:
            s, _ = listening.accept()
            threading.Thread(target=echo, args=(s,), daemon=True).start()


GIFT = 10_000_000


def serve_gifts(host, port):
    """Sends 10 MB to whoever comes, at once and without a look at what they say."""
    gift = pattern(GIFT, 3)
    with listener(host, port) as listening:
        while True:
            s, _ = listening.accept()
            with s:
                s.sendall(gift)


def take_gifts(host, port, count):
    """Takes so many, one after another."""
    gift = pattern(GIFT, 3)
    for turn in range(int(count)):
        with socket.create_connection((host, port), 20 * PATIENCE) as s:
            if recv_exactly(s, GIFT) != gift or s.recv(1):
                say("wrong", turn)
                return
    say("all right")


def serve_epoll(host, port):
    """The same with one thread and epoll, which also echoes datagrams."""
    listening = listener(host, port)
    listening.setblocking(False)
    datagrams = socket.socket(family_of(host), socket.SOCK_DGRAM)
    datagrams.bind((host, port))
    datagrams.setblocking(False)
    ep = select.epoll()
    ep.register(listening, select.EPOLLIN)
    ep.register(datagrams, select.EPOLLIN)
    connections = {}  # descriptor: socket and what is to be sent back
    while True:
        for fd, events in ep.poll():
            if fd == listening.fileno():
                s, _ = listening.accept()
                s.setblocking(False)
                connections[s.fileno()] = [s, bytearray()]
                ep.register(s, select.EPOLLIN)
            elif fd == datagrams.fileno():
                data, peer = datagrams.recvfrom(65536)
                datagrams.sendto(data, peer)
            else:
                s, pending = connections[fd]
                try:
                    if events & ~select.EPOLLOUT:
                        data = s.recv(65536)
                        if not data:
                            raise EOFError
                        pending += data
                    if pending:
                        del pending[: s.send(pending)]
                except BlockingIOError:
                    pass
                except (OSError, EOFError):
                    ep.unregister(fd)
                    connections.pop(fd)[0].close()
                    continue
                # What cannot be sent back stops the reading, so that the peer is stopped too.
                ep.modify(fd, select.EPOLLOUT if pending else select.EPOLLIN)


def serve_asyncio(host, port):
    """The same with asyncio."""

    async def on_connection(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def serve():
        server = await asyncio.start_server(on_connection, host, port)
        await server.serve_forever()

    asyncio.run(serve())


def ask(host, port, connections=8, turns=50):
    """Connections beside each other, each with round trips of many sizes and a stream both ways at once."""
    wrong = []

    def work(number):
        try:
            with socket.create_connection((host, port), 20 * PATIENCE) as s:
                for turn in range(int(turns)):
                    data = pattern(1 + turn * 97, number * 1000 + turn)
                    s.sendall(data)
                    if recv_exactly(s, len(data)) != data:
                        wrong.append((number, turn))
                data = pattern(2_000_000, number)
                sender = threading.Thread(target=s.sendall, args=(data,))
                sender.start()
                if recv_exactly(s, len(data)) != data:
                    wrong.append((number, "stream"))
                sender.join()
                s.shutdown(socket.SHUT_WR)
                if s.recv(1):
                    wrong.append((number, "more than all"))
        except OSError as e:
            wrong.append((number, repr(e)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("wrong", wrong) if wrong else say("all right")


def ask_from(host, port, source):
    """Round trips from an address."""
    with socket.create_connection((host, port), 20 * PATIENCE, (source, 0)) as s:
        for turn in range(50):
            data = pattern(1 + turn * 97, turn)
            s.sendall(data)
            if recv_exactly(s, len(data)) != data:
                say("wrong", turn)
                return
    say("all right")


def ask_datagrams(host, port, longest=1472):
    """Round trips of datagrams: connected, unconnected and by an address that is bound."""
    for how in ("connected", "unconnected"):
        s = socket.socket(family_of(host), socket.SOCK_DGRAM)
        s.settimeout(10 * PATIENCE)
        if how == "connected":
            s.connect((host, port))
        for size in (1, 2, 100, 1000, int(longest)):
            data = pattern(size, size)
            s.send(data) if how == "connected" else s.sendto(data, (host, port))
            got, peer = s.recvfrom(65536)
            if got != data or peer[:2] != (host, port):
                say("wrong", how, size, len(got), peer)
                return
        s.close()
    say("all right")


def lose_neighbour(host, port, gone, back):
    """Connections whose neighbour does not answer any more, once there is a file, until there is another: what the program
    is told, and after how many seconds."""

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    def connection():
        s = socket.create_connection((host, port), 20 * PATIENCE)
        s.settimeout(None)
        s.sendall(b"there")
        return s if recv_exactly(s, 5) == b"there" else None

    timed, told, patient = (connection() for _ in range(3))
    timed.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4000)
    told.setsockopt(socket.IPPROTO_IP, 11, 1)
    say("connected")
    wait_for(gone)
    begun = time.monotonic()
    for s in (timed, told, patient):
        s.sendall(b"gone?")
    ends = {}
    polled = select.poll()
    for name, s in (("timed", timed), ("told", told), ("patient", patient)):
        polled.register(s, select.POLLIN)
        ends[s.fileno()] = (name, s)
    while len(ends) > 1:
        for fd, events in polled.poll(20000):
            name, s = ends.pop(fd)
            after = time.monotonic() - begun
            polled.unregister(fd)
            error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                got = s.recv(10, socket.MSG_DONTWAIT)
            except OSError as e:
                got = errno.errorcode[e.errno]
            try:
                _, beside, flags, _ = s.recvmsg(100, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                beside = [data[:8].hex() for _, _, data in beside]
            except OSError as e:
                beside = errno.errorcode[e.errno]
            say(name, "%d" % events, errno.errorcode.get(error, error), got, beside, "after %.1f" % after)
    say("over")
    wait_for(back)
    got = recv_exactly(patient, 5)
    say("patient", got)


def keep(host, port, count, done):
    """So many connections at once, each with some round trips; then writes a file, and keeps them."""
    connections = [socket.create_connection((host, port), 20 * PATIENCE) for _ in range(int(count))]
    for turn in range(5):
        for number, s in enumerate(connections):
            s.sendall(pattern(200, number + turn))
        for number, s in enumerate(connections):
            if recv_exactly(s, 200) != pattern(200, number + turn):
                raise ValueError(f"connection {number}, turn {turn}")
    with open(done, "w"):
        pass
    time.sleep(60 * PATIENCE)


def bulk(host, port, count):
    """So many small messages there and back, not one by one; a checksum over all bytes."""
    count = int(count)
    faulthandler.dump_traceback_later((50 + count // 10_000) * PATIENCE, exit=True)
    s = socket.create_connection((host, port), 20 * PATIENCE)
    batch = 1000
    sent, received = hashlib.blake2b(), hashlib.blake2b()

    def messages(first):
        return b"".join(struct.pack("<I", n) * (1 + n % 16) for n in range(first, min(first + batch, count)))

    def send():
        for first in range(0, count, batch):
            data = messages(first)
            sent.update(data)
            # One call for each message, as a program with small messages makes.
            view, at = memoryview(data), 0
            for n in range(first, min(first + batch, count)):
                size = 4 * (1 + n % 16)
                s.sendall(view[at : at + size])
                at += size
        s.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    total = 0
    while data := s.recv(65536):
        received.update(data)
        total += len(data)
    sender.join()
    right = sent.digest() == received.digest()
    say("all right" if right else "WRONG DATA", total)


def watched():
    """How many sockets this process's epoll sets watch."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/self/fdinfo/{fd}") as info:
                members = [line.split()[1] for line in info if line.startswith("tfd:")]
            count += sum(os.readlink(f"/proc/self/fd/{m}").startswith("socket:") for m in members)
        except FileNotFoundError:
            pass
    return count


def stay_awake(host, port, accelerated):
    """Sleeps for an answer, asks again and again without sleep, and sleeps again."""
    with socket.create_connection((host, port), 20 * PATIENCE) as s:
        for turn in range(3):
            s.settimeout(20 * PATIENCE)
            threading.Timer(0.1, s.sendall, (b"late",)).start()
            assert recv_exactly(s, 4) == b"late"
            if accelerated == "true":
                assert watched() > 0, f"turn {turn}: slept, and networks would not have woken it"
            s.setblocking(False)
            for _ in range(100):
                try:
                    raise AssertionError(f"{s.recv(1)} came of nothing")
                except BlockingIOError:
                    pass
            assert watched() == 0, f"turn {turn}: does not sleep, and is woken all the same"
    say("all right")


def connect(host, port, seconds=20):
    """Tries to connect once, and says what came of it and after how many seconds."""
    began = time.monotonic()
    try:
        socket.create_connection((host, port), None if seconds == "-" else float(seconds)).close()
        result = "connected"
    except TimeoutError as e:
        result = errno.errorcode.get(e.errno, "timeout")
    except OSError as e:
        result = errno.errorcode.get(e.errno, repr(e))
    say(result, round(time.monotonic() - began, 2))


def by_device(kind, name, port=0, reuse=False):
    """A socket that is bound to an interface and, unless the port is 0, to that port."""
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
    s.settimeout(0.2)
    if port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", port))
    return s


def tried(function, *arguments):
    """What the function returns, or the name of its error."""
    try:
        return function(*arguments)
    except OSError as e:
        return errno.errorcode.get(e.errno, repr(e))


def serve_devices(host, port, device):
    """Sockets bound to interfaces, which greet whoever comes with their names: one port at two interfaces, and one at one."""
    ep = select.epoll()
    sockets = {}
    for kind, name, number in (
        (socket.SOCK_STREAM, device, port),
        (socket.SOCK_STREAM, "lo", port + 1),
        (socket.SOCK_STREAM, device, port + 1),
        (socket.SOCK_DGRAM, device, port),
        (socket.SOCK_DGRAM, "lo", port + 1),
        (socket.SOCK_DGRAM, device, port + 1),
    ):
        s = by_device(kind, name, number)
        if kind == socket.SOCK_STREAM:
            s.listen()
        sockets[s.fileno()] = (s, name)
        ep.register(s, select.EPOLLIN)
    # Bound to an interface only after it was to be reached by all.
    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.bind(("0.0.0.0", port + 2))
    late.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    sockets[late.fileno()] = (late, "late")
    ep.register(late, select.EPOLLIN)
    say("ready")
    while True:
        for fd, _ in ep.poll():
            s, name = sockets[fd]
            if s.type == socket.SOCK_STREAM:
                connection, _ = s.accept()
                own = connection.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
                connection.sendall(name.encode() + b" " + own.rstrip(b"\0"))
                connection.close()
            else:
                data, peer = s.recvfrom(2048)
                s.sendto(name.encode() + b" " + data, peer)


def ask_devices(host, port, *devices):
    """Asks those, by sockets that are bound to interfaces themselves, and says what came of it."""

    def stream(name, number):
        with by_device(socket.SOCK_STREAM, name) as s:
            s.connect((host, number))
            return recv_exactly(s, 100)

    def datagram(name, number, option=None):
        with by_device(socket.SOCK_DGRAM, name) as s:
            if option:
                s.setsockopt(socket.IPPROTO_IP, 50, struct.pack("!I", socket.if_nametoindex(option)))
            if number > port:
                s.connect((host, number))
                s.send(b"connected")
            else:
                s.sendto(b"to", (host, number))
            return s.recv(100)

    for name in ("", *devices):
        for number in (port, port + 1, port + 2) if name in ("", devices[0]) else (port,):
            say(name or "any", number - port, tried(stream, name, number), tried(datagram, name, number))
    for name in devices[:2]:
        say("by IP_UNICAST_IF", name, *[tried(datagram, "", port + n, name) for n in (0, 1)])


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sound_packet(rng, src, dst, port, protocol):
    """A packet of that protocol to the port, right in all that a receiver looks at first."""
    is_v4 = ":" not in dst
    family = socket.AF_INET if is_v4 else socket.AF_INET6
    ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
    payload = rng.randbytes(rng.choice((0, 1, 7, 100, 1400)))
    from_port = rng.randrange(1024, 65536)
    if protocol == socket.IPPROTO_TCP:
        flags = rng.choice((0x02, 0x10, 0x18, 0x04, 0x11, 0x3F, 0x00, 0x12))
        options = rng.choice((b"", b"\x02\x04\x05\xb4", b"\x08\x0a" + rng.randbytes(8) + b"\1\1", rng.randbytes(4 * rng.randrange(11))))
        head = struct.pack("!HHIIBBHHH", from_port, port, rng.randrange(2**32), rng.randrange(2**32), (5 + len(options) // 4) << 4, flags, 1000, 0, 0)
        body, at = head + options + payload, 16
    elif protocol == socket.IPPROTO_UDP:
        body, at = struct.pack("!HHHH", from_port, port, 8 + len(payload), 0) + payload, 6
    else:
        # An error about a packet that the host is said to have sent.
        quoted = ip_packet(rng, socket.inet_pton(family, dst) + socket.inet_pton(family, src), socket.IPPROTO_TCP, struct.pack("!HHI", port, from_port, rng.randrange(2**32)) + bytes(12))
        kinds = ((3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0)) if is_v4 else ((1, 0), (1, 4), (2, 0), (3, 0), (4, 0))
        body, at = struct.pack("!BBHI", *rng.choice(kinds), 0, rng.choice((0, 552, 1400))) + quoted, 2
    pseudo = b"" if protocol == socket.IPPROTO_ICMP else ends + struct.pack("!IHH", len(body), 0, protocol)
    body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
    return ip_packet(rng, ends, protocol, body)


def ip_packet(rng, ends, protocol, body):
    if len(ends) == 8:
        head = struct.pack("!BBHHHBBH", 0x45, rng.randrange(256), 20 + len(body), rng.randrange(65536), 0x4000, 64, protocol, 0) + ends
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body


def spoil(rng, packet):
    """The packet with something wrong in it, at any layer."""
    packet = bytearray(packet)
    head = 20 if packet[0] >> 4 == 4 else 40
    what = rng.randrange(7)
    if what == 0:
        return bytes(packet[: rng.randrange(len(packet))])
    if what == 1:
        return bytes(packet) + rng.randbytes(rng.randrange(1, 60))
    if what == 2:
        # A flipped bit behind the headers of IP, which the checksum tells.
        at = rng.randrange(head, len(packet))
        packet[at] ^= 1 << rng.randrange(8)
    elif what == 3:
        # A length that is not the packet's.
        at = 2 if head == 20 else 4
        packet[at : at + 2] = struct.pack("!H", rng.randrange(2048))
    elif what == 4:
        # A header of TCP that is too long or too short, or a length of UDP that is.
        packet[head + 12 if len(packet) > head + 12 else head] = rng.randrange(256)
        packet[head + 4 : head + 6] = rng.randbytes(2)
    elif what == 5:
        for _ in range(rng.randrange(1, 8)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
    else:
        packet[head:] = rng.randbytes(len(packet) - head)
    if head == 20 and rng.random() < 0.8 and len(packet) >= 20:
        # Believed as far as IP goes.
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
    return bytes(packet)


def noise(host, port, device, station, count, corpus):
    """So many frames with something wrong in them, and what a fuzzer has found, to a host's port."""
    rng = random.Random(7)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((device, 0))
    link = bytes.fromhex(station) + raw.getsockname()[4]
    ends = (("10.9.0.2", host), ("fd09::2", "fd09::1"))
    protocols = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP), (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6)
    sent = 0
    for path in sorted(glob.glob(f"{corpus}/*")):
        with open(path, "rb") as file:
            frame = file.read(1500)
        raw.send((link + frame[12:] + bytes(60))[:1514])
        raw.send(link + b"\x08\0" + sound_packet(rng, *ends[0], port, socket.IPPROTO_TCP)[:20] + frame[34:1400] + bytes(60))
        sent += 2
    while sent < int(count):
        family = rng.randrange(2)
        packet = sound_packet(rng, *ends[family], port, rng.choice(protocols[family]))
        kind = (b"\x08\0", b"\x86\xdd")[family]
        tag = rng.choice((b"", b"", b"", b"\x81\0\0\7", b"\x81\0\0\0"))
        raw.send((link + tag + kind + spoil(rng, packet))[:1514])
        sent += 1
    say("sent", sent)


def answer_names(host, port):
    """A name server that knows two addresses of every name: 10.9.8.7 and fd09::87."""
    s = socket.socket(family_of(host), socket.SOCK_DGRAM)
    s.bind((host, port))
    while True:
        query, peer = s.recvfrom(512)
        end = query.index(b"\0", 12) + 1
        kind = struct.unpack("!H", query[end : end + 2])[0]
        address = {1: socket.inet_aton("10.9.8.7"), 28: socket.inet_pton(socket.AF_INET6, "fd09::87")}.get(kind, b"")
        record = struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(address)) + address if address else b""
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if address else 0, 0, 0)
        s.sendto(head + query[12 : end + 4] + record, peer)


def resolve(name, port):
    """Resolves a name as the C library does."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    say(sorted({entry[4][0] for entry in found}))


faulthandler.dump_traceback_later(50 * PATIENCE, exit=True)
globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
