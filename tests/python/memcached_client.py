"""Speaks memcached's text protocol and checks every answer. Run as `memcached_client.py PART PORT`."""

import faulthandler
import os
import socket
import struct
import sys
import threading

from sides import pattern, recv_exactly

HOST = os.environ.get("SIDES_HOST", "127.0.0.1")


class Client:
    def __init__(self, port):
        self.s = socket.create_connection((HOST, port))
        self.f = self.s.makefile("rb")

    def line(self, request):
        self.s.sendall(request + b"\r\n")
        return self.f.readline().rstrip(b"\r\n")

    def set(self, key, value):
        self.s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        expect(self.f.readline(), b"STORED\r\n")

    def get(self, key):
        head = self.line(b"get " + key)
        if head == b"END":
            return None
        size = int(head.split()[3])
        value = self.f.read(size + 2)[:-2]
        expect(self.f.readline(), b"END\r\n")
        return value

    def close(self):
        self.f.close()
        self.s.close()


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got[:100]!r} ({len(got)}), wanted {wanted[:100]!r} ({len(wanted)})")


def values(port):
    client = Client(port)
    for size in (0, 1, 100, 1460, 65536, 1_000_000, 7_000_000):
        value = pattern(size, size + 1)
        client.set(b"key", value)
        expect(client.get(b"key"), value)
    expect(client.line(b"delete key"), b"DELETED")
    if client.get(b"key") is not None:
        raise AssertionError("deleted and still there")
    client.set(b"n", b"10")
    expect(client.line(b"incr n 5"), b"15")
    expect(client.line(b"nonsense"), b"ERROR")
    # Many requests at once, answered in order.
    client.s.sendall(b"".join(b"set p%d 0 0 3\r\nabc\r\n" % i for i in range(500)))
    expect(recv_from(client.f, 500), [b"STORED"] * 500)
    client.close()


def recv_from(f, lines):
    return [f.readline().rstrip(b"\r\n") for _ in range(lines)]


def clients(port):
    failures = []

    def work(number):
        try:
            client = Client(port)
            for i in range(200):
                key = b"k%d.%d" % (number, i % 20)
                value = pattern(1 + (i * 53) % 5000, number * 1000 + i)
                client.set(key, value)
                expect(client.get(key), value)
                if i % 50 == 49:
                    client.close()
                    client = Client(port)
            client.close()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((HOST, port))

    def ask(number, request):
        s.send(struct.pack("!HHHH", number, 0, 1, 0) + request)
        pieces = {}
        while True:
            data = s.recv(70_000)
            got, index, total, _ = struct.unpack("!HHHH", data[:8])
            expect(got, number) if got != number else None
            pieces[index] = data[8:]
            if len(pieces) == total:
                return b"".join(pieces[i] for i in range(total))

    tcp = Client(port)
    for number, size in enumerate((1, 100, 1300, 1400, 5000, 60_000), 1):
        value = pattern(size, number)
        tcp.set(b"big", value)
        expect(ask(number, b"get big\r\n"), b"VALUE big 0 %d\r\n%s\r\nEND\r\n" % (size, value))
    tcp.close()
    for i in range(300):
        word = b"%d" % i
        expect(ask(i, b"set u 0 0 %d\r\n%s\r\n" % (len(word), word)), b"STORED\r\n")
        expect(ask(i, b"get u\r\n"), b"VALUE u 0 %d\r\n%s\r\nEND\r\n" % (len(word), word))
    s.close()


faulthandler.dump_traceback_later(50, exit=True)
{"values": values, "clients": clients, "udp": udp}[sys.argv[1]](int(sys.argv[2]))
print("all right")
