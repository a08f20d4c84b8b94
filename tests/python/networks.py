"""Programs for tests over a network. Run as `networks.py PART HOST PORT …`; they check all themselves and say so."""

import asyncio
import errno
import faulthandler
import hashlib
import select
import socket
import struct
import sys
import threading
import time

from sides import pattern, recv_exactly


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
            with socket.create_connection((host, port), 20) as s:
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


def ask_datagrams(host, port, longest=1472):
    """Round trips of datagrams: connected, unconnected and by an address that is bound."""
    for how in ("connected", "unconnected"):
        s = socket.socket(family_of(host), socket.SOCK_DGRAM)
        s.settimeout(10)
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


def bulk(host, port, count):
    """So many small messages there and back, not one by one; a checksum over all bytes."""
    count = int(count)
    faulthandler.dump_traceback_later(50 + count // 10_000, exit=True)
    s = socket.create_connection((host, port), 20)
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


faulthandler.dump_traceback_later(50, exit=True)
globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
