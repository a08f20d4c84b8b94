"""sendfile and splice: from files and pipes into streams, and from streams into pipes."""

import fcntl
import os
import socket
import tempfile
import threading
import sides

NONBLOCK = os.SPLICE_F_NONBLOCK


def close(*numbers):
    for number in numbers:
        os.close(number)


def whole_files(t):
    s = t.pair()
    data = sides.pattern(3_000_000, 5)
    if t.is_server:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(1000)
            sent = 0
            while sent < len(data) - 1000:
                sent += os.sendfile(s.fileno(), file.fileno(), None, len(data))
            t.say("position", file.tell() == len(data))
            t.call("nothing left", os.sendfile, s.fileno(), file.fileno(), None, 10)
            t.call("from an offset", os.sendfile, s.fileno(), file.fileno(), 7, 10)
        s.shutdown(socket.SHUT_WR)
    else:
        got = sides.recv_all(s)
        t.say("the file", got == data[1000:] + data[7:17] if isinstance(got, bytes) else got)
    t.sync()
    s.close()


def no_files(t):
    s = t.pair()
    r, w = os.pipe()
    os.write(w, b"word")
    t.call("sendfile from a pipe", os.sendfile, s.fileno(), r, None, 4)
    t.call("with an offset", os.sendfile, s.fileno(), r, 0, 4)
    t.call("splice between streams", os.splice, s.fileno(), s.fileno(), 4)
    with tempfile.TemporaryFile() as file:
        file.write(b"word")
        file.seek(0)
        t.call("splice from a file", os.splice, file.fileno(), s.fileno(), 4)
    t.call("splice with an offset", os.splice, r, s.fileno(), 4, None, 0)
    t.call("splice of nothing", os.splice, r, s.fileno(), 0)
    t.sync()
    close(r, w)
    s.close()


def through_pipes(t):
    """As proxies do: from a stream into a pipe, and from the pipe into a stream."""
    s = t.pair()
    data = sides.pattern(2_000_000, 3)
    r, w = os.pipe()
    if t.is_server:
        # Sends all back.
        moved = 0
        while moved < len(data):
            n = os.splice(s.fileno(), w, 1 << 16)
            while n:
                passed = os.splice(r, s.fileno(), n)
                n -= passed
                moved += passed
        t.say("moved", moved == len(data))
        t.call("the end", os.splice, s.fileno(), w, 1 << 16)
        s.shutdown(socket.SHUT_WR)
    else:
        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = bytearray()
        while part := s.recv(1 << 16):
            got += part
        sender.join()
        t.say("echo", bytes(got) == data)
    t.sync()
    close(r, w)
    s.close()


def without_waiting(t):
    s = t.pair()
    r, w = os.pipe()
    t.call("an empty pipe", os.splice, r, s.fileno(), 10, flags=NONBLOCK)
    s.setblocking(False)
    t.call("an empty stream", os.splice, s.fileno(), w, 10)
    t.sync("empty")
    s.send(b"word")
    t.sync("sent")
    sides.wait_readable(s)
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 16384)
    os.write(w, bytes(16384))
    t.call("a full pipe", os.splice, s.fileno(), w, 10, flags=NONBLOCK)
    os.read(r, 16384)
    t.call("part", os.splice, s.fileno(), w, 3)
    t.call("rest", os.splice, s.fileno(), w, 10)
    t.call("read", os.read, r, 10)
    t.sync("read")
    if not t.is_server:
        sides.fill(s)
        os.write(w, b"more")
        t.call("a full stream", os.splice, r, s.fileno(), 10)
        os.set_blocking(r, False)
        t.call("still there", os.read, r, 10)
        os.set_blocking(r, True)
    t.sync("full")
    os.close(w)
    t.call("a pipe without writers", os.splice, r, s.fileno(), 10)
    t.sync()
    os.close(r)
    s.close()


def waiting(t):
    s = t.pair()
    r, w = os.pipe()
    if t.is_server:
        late = threading.Timer(0.1, os.write, (w, b"from a pipe"))
        late.start()
        t.call("splice from a pipe", os.splice, r, s.fileno(), 100)
        late.join()
        t.sync("sent")
    else:
        t.call("splice into a pipe", os.splice, s.fileno(), w, 100)
        t.call("read", os.read, r, 100)
        t.sync("sent")
    t.sync()
    close(r, w)
    s.close()


def up_to_what_is_urgent(t):
    """A pipe takes what comes before an urgent byte, and neither that nor what follows."""
    s = t.pair()
    r, w = os.pipe()
    if t.is_server:
        s.send(b"word!", socket.MSG_OOB)
        t.sync("sent")
    else:
        t.sync("sent")
        sides.wait_readable(s)
        t.call("splice", os.splice, s.fileno(), w, 4)
        t.call("read", os.read, r, 100)
        t.call("splice at the mark", os.splice, s.fileno(), w, 1)
        t.call("what is urgent", s.recv, 1, socket.MSG_OOB)
    t.sync()
    close(r, w)
    s.close()


sides.main(
    whole_files,
    no_files,
    through_pipes,
    without_waiting,
    waiting,
    up_to_what_is_urgent,
)
