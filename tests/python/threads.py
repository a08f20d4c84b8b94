"""Threads: one for each connection, many on one socket, one reading while another writes."""

import socket
import struct
import threading
import time
import sides

WORD = struct.Struct("<I")


def together(*functions):
    threads = [threading.Thread(target=f) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def thread_for_each_connection(t):
    port = t.port()
    count = 16
    if t.is_server:
        listener = t.listener(port, backlog=64)
        t.sync("listening")
        served = []

        def serve(s):
            with s:
                while data := s.recv(4096):
                    s.sendall(data)
            served.append(1)

        threads = []
        for _ in range(count):
            thread = threading.Thread(target=serve, args=(listener.accept()[0],))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        t.say("served", len(served))
        listener.close()
    else:
        t.sync("listening")
        right = []

        def ask(number):
            with socket.create_connection((sides.V4, port)) as s:
                for i in range(50):
                    data = sides.pattern(1 + (i * 97) % 3000, number)
                    s.sendall(data)
                    right.append(sides.recv_exactly(s, len(data)) == data)

        together(*[lambda n=n: ask(n) for n in range(count)])
        t.say("right", sum(right))


def reader_and_writer_on_one_socket(t):
    s = t.pair()
    data = sides.pattern(4_000_000, 21)
    got = []
    together(lambda: s.sendall(data), lambda: got.append(sides.recv_exactly(s, len(data))))
    t.say("equal", got[0] == data)
    t.sync()
    s.close()


def many_readers_of_one_stream(t):
    s = t.pair()
    s.settimeout(None)
    count, readers = 4000, 8
    if t.is_server:
        got = [[] for _ in range(readers)]

        def read(mine):
            while data := s.recv(4, socket.MSG_WAITALL):
                mine.append(data)

        together(*[lambda mine=mine: read(mine) for mine in got])
        every = sorted(WORD.unpack(d)[0] for mine in got for d in mine)
        t.say("every word once", every == list(range(count)))
    else:
        for i in range(count):
            s.sendall(WORD.pack(i))
        s.shutdown(socket.SHUT_WR)
    t.sync()
    s.close()


def many_writers_of_one_stream(t):
    s = t.pair()
    count, writers = 500, 8
    if t.is_server:
        data = sides.recv_all(s)
        words = [WORD.unpack_from(data, i)[0] for i in range(0, len(data), 4)]
        t.say("all", sorted(words) == list(range(count * writers)))
        inner = [[w for w in words if w // count == n] for n in range(writers)]
        t.say("each writer in order", all(mine == sorted(mine) for mine in inner))
    else:

        def write(number):
            for i in range(count):
                s.sendall(WORD.pack(number * count + i))

        together(*[lambda n=n: write(n) for n in range(writers)])
    s.close()


def many_acceptors(t):
    port = t.port()
    count = 40
    if t.is_server:
        listener = t.listener(port, backlog=64)
        lock = threading.Lock()
        left = [count]
        got = []

        def accept():
            while True:
                with lock:
                    if left[0] == 0:
                        return
                    left[0] -= 1
                s, _ = listener.accept()
                with s:
                    got.append(s.recv(10))
                    s.sendall(b"ok")

        acceptors = [threading.Thread(target=accept) for _ in range(6)]
        for thread in acceptors:
            thread.start()
        t.sync("listening")
        for thread in acceptors:
            thread.join()
        t.say("each once", sorted(got) == sorted(b"%d" % i for i in range(count)))
        listener.close()
    else:
        t.sync("listening")
        right = 0
        for i in range(count):
            with socket.create_connection((sides.V4, port)) as s:
                s.sendall(b"%d" % i)
                right += s.recv(10) == b"ok"
        t.say("right", right)


def many_readers_of_datagrams(t):
    s, peer = t.udp()
    count, readers = 300, 6
    if t.is_server:
        got = []

        def read():
            while True:
                data = s.recv(100)
                if data == b"end":
                    return
                got.append(data)
                if len(got) % 50 == 0:
                    s.sendto(b"go on", peer)

        together(*[read] * readers)
        t.say("each once", sorted(got) == sorted(b"%d" % i for i in range(count)))
    else:
        for i in range(count):
            s.sendto(b"%d" % i, peer)
            if i % 50 == 49:
                s.recv(10)
        for _ in range(readers):
            s.sendto(b"end", peer)
    t.sync()
    s.close()


def woken_by_another_thread(t):
    """A thread blocks in recv while others work on the same and on other sockets."""
    s, other = t.pair(), t.pair()
    s.settimeout(None)
    if t.is_server:
        got = []
        reader = threading.Thread(target=lambda: got.append(s.recv(100)))
        reader.start()
        time.sleep(0.05)
        for i in range(100):
            other.sendall(b"x")
            other.recv(1)
        t.sync("now")
        reader.join()
        t.say("got", got)
    else:
        for i in range(100):
            other.recv(1)
            other.sendall(b"y")
        t.sync("now")
        s.sendall(b"wake up")
    t.sync()
    s.close()
    other.close()


def connect_from_many_threads(t):
    port = t.port()
    count = 60
    if t.is_server:
        listener = t.listener(port, backlog=128)
        t.sync("listening")
        for _ in range(count):
            s, _ = listener.accept()
            s.sendall(s.recv(10))
            s.close()
        listener.close()
    else:
        t.sync("listening")
        right = []

        def work(number):
            for i in range(count // 6):
                with socket.create_connection((sides.V4, port)) as s:
                    word = b"%d.%d" % (number, i)
                    s.sendall(word)
                    right.append(s.recv(10) == word)

        together(*[lambda n=n: work(n) for n in range(6)])
        t.say("right", sum(right))


sides.main(
    thread_for_each_connection,
    reader_and_writer_on_one_socket,
    many_readers_of_one_stream,
    many_writers_of_one_stream,
    many_acceptors,
    many_readers_of_datagrams,
    woken_by_another_thread,
    connect_from_many_threads,
)
