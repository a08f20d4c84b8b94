"""Many short connections, many at once, and sockets that nobody uses."""

import os
import select
import socket
import struct
import time
import sides


def descriptors():
    """What the process has open, by number; the library's own among them, which have high numbers."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[int(number)] = os.readlink("/proc/self/fd/" + number)
        except FileNotFoundError:
            # That of the listing itself.
            pass
    return found


def opened_since(before):
    """What is open now that was not before."""
    return [f"{n}: {what}" for n, what in sorted(descriptors().items()) if n not in before]


def serve_shortly(listener, count):
    for _ in range(count):
        s, _ = listener.accept()
        with s:
            s.sendall(s.recv(100))


def short_connections(t):
    port = t.port()
    count = 200
    if t.is_server:
        listener = t.listener(port, backlog=64)
        t.sync("listening")
        # What two programs that meet keep, such as a wire, is there after the first, for which the server has slept.
        serve_shortly(listener, 1)
        before = descriptors()
        serve_shortly(listener, count - 1)
        t.say("descriptors left over", t.is_alone and opened_since(before))
        listener.close()
    else:
        t.sync("listening")
        # Longer than anybody spins.
        time.sleep(0.2)
        right = 0
        for i in range(count):
            with socket.create_connection((sides.V4, port)) as s:
                s.sendall(b"%d" % i)
                right += s.recv(100) == b"%d" % i
        t.say("right", right)
    t.sync()


def connections_closed_by_the_client(t):
    port = t.port()
    count = 200
    if t.is_server:
        listener = t.listener(port, backlog=64)
        t.sync("listening")
        total = 0
        for i in range(count):
            s, _ = listener.accept()
            total += len(sides.recv_all(s))
            s.close()
        t.say("bytes", total)
        listener.close()
    else:
        t.sync("listening")
        for i in range(count):
            with socket.create_connection((sides.V4, port)) as s:
                s.sendall(bytes(i))
    t.sync()


def connections_reset(t):
    port = t.port()
    count = 100
    if t.is_server:
        listener = t.listener(port, backlog=64)
        t.sync("listening")
        for i in range(count):
            s, _ = listener.accept()
            s.recv(1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        listener.close()
        t.say("reset", count)
    else:
        t.sync("listening")
        reset = 0
        for i in range(count):
            with socket.create_connection((sides.V4, port)) as s:
                s.sendall(b"x")
                try:
                    s.recv(1)
                except ConnectionResetError:
                    reset += 1
        t.say("were reset", reset)
    t.sync()


def many_at_once(t):
    port = t.port()
    count = 300
    if t.is_server:
        listener = t.listener(port, backlog=512)
        t.sync("listening")
        connections = [listener.accept()[0] for _ in range(count)]
        t.sync("all connected")
        ep = select.epoll()
        by_number = {s.fileno(): s for s in connections}
        for s in connections:
            ep.register(s, select.EPOLLIN)
        ended = 0
        while ended < count:
            for number, _ in ep.poll(10):
                s = by_number[number]
                data = s.recv(100)
                if data:
                    s.sendall(data)
                else:
                    ep.unregister(s)
                    s.close()
                    ended += 1
        ep.close()
        listener.close()
        t.say("ended", ended)
    else:
        t.sync("listening")
        connections = [socket.create_connection((sides.V4, port)) for _ in range(count)]
        t.sync("all connected")
        right = 0
        for turn in range(3):
            for i, s in enumerate(connections):
                s.sendall(b"%d.%d" % (turn, i))
            for i, s in enumerate(connections):
                right += s.recv(100) == b"%d.%d" % (turn, i)
        for s in connections:
            s.close()
        t.say("right", right)
    t.sync()


def sockets_made_and_dropped(t):
    before = descriptors()
    for i in range(500):
        kind = (socket.SOCK_STREAM, socket.SOCK_DGRAM)[i % 2]
        s = socket.socket(socket.AF_INET, kind)
        if i % 3 == 0:
            s.bind(("127.0.0.1", 0))
        if i % 6 == 0 and kind == socket.SOCK_STREAM:
            s.listen()
        s.close()
    t.say("left over", t.is_alone and opened_since(before))
    t.sync()


def listeners_made_and_dropped(t):
    port = t.port()
    if t.is_server:
        for _ in range(100):
            t.listener(port).close()
        listener = t.listener(port)
        t.sync("listening")
        s, _ = listener.accept()
        t.say(s.recv(10))
        s.close()
        listener.close()
    else:
        t.sync("listening")
        with socket.create_connection((sides.V4, port)) as s:
            s.sendall(b"hello")
    t.sync()


sides.main(
    short_connections,
    connections_closed_by_the_client,
    connections_reset,
    many_at_once,
    sockets_made_and_dropped,
    listeners_made_and_dropped,
)
