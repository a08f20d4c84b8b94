"""dup, dup2, dup3 and descriptors that are used again."""

import fcntl
import os
import socket
import sides


def dup(t):
    s = t.pair()
    other = s.dup()
    if t.is_server:
        s.sendall(b"by the first, ")
        s.close()
        other.sendall(b"by the second, still open")
        t.sync("sent")
        t.call("recv", other.recv, 100)
        other.close()
    else:
        t.sync("sent")
        sides.wait_readable(s)
        t.say("got", sides.recv_exactly(s, 39))
        other.close()
        s.sendall(b"answer")
        s.settimeout(20)
        t.call("end only after the last close", s.recv, 10)
        s.close()


def shared_state(t):
    s = t.pair()
    s.settimeout(None)
    other = socket.socket(fileno=os.dup(s.fileno()))
    other.setblocking(False)
    t.say("non-blocking through both", bool(fcntl.fcntl(s.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    t.say("options are shared", other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    t.say("names are shared", s.getsockname() == other.getsockname())
    t.sync()
    s.close()
    other.close()


def dup2_over(t):
    s = t.pair()
    read_end, write_end = os.pipe()
    os.dup2(s.fileno(), read_end)
    t.sync("ready")
    os.write(read_end, b"hello")
    sides.wait_readable(s)
    t.call("recv through the other number", os.read, read_end, 100)
    t.sync("read")
    s.close()
    os.write(read_end, b"again")
    t.call("still open", os.read, read_end, 100)
    os.close(read_end)
    os.close(write_end)
    t.sync()


def dup2_replaces_a_socket(t):
    s = t.pair()
    if t.is_server:
        read_end, write_end = os.pipe()
        # The connection is closed by giving its number to something else.
        os.dup2(read_end, s.fileno())
        os.write(write_end, b"from the pipe")
        t.call("the number is a pipe now", os.read, s.fileno(), 100)
        t.sync("replaced")
        os.close(read_end)
        os.close(write_end)
    else:
        t.sync("replaced")
        t.call("the peer closed", s.recv, 10)
    t.sync()
    s.close()


def dup2_onto_itself(t):
    s = t.pair()
    t.say("same number", os.dup2(s.fileno(), s.fileno()) == s.fileno())
    t.sync("done")
    s.sendall(b"x")
    t.call("alive", s.recv, 1)
    t.sync()
    s.close()


def by_fcntl(t):
    s = t.pair()
    number = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, 200)
    t.say("at least 200", number >= 200)
    t.say("FD_CLOEXEC", fcntl.fcntl(number, fcntl.F_GETFD))
    s.close()
    t.sync("closed")
    os.write(number, b"x")
    t.call("read", os.read, number, 10)
    t.sync()
    os.close(number)


def listener(t):
    port = t.port()
    if t.is_server:
        first = t.listener(port)
        second = first.dup()
        first.close()
        t.sync("listening")
        s, _ = second.accept()
        t.call("recv", s.recv, 10)
        s.close()
        second.close()
        t.sync("closed")
    else:
        t.sync("listening")
        with socket.create_connection((sides.V4, port)) as s:
            s.sendall(b"hello")
            t.call("end", s.recv, 10)
        t.sync("closed")
        t.call("connect", socket.create_connection, (sides.V4, port))


def numbers_are_used_again(t):
    for turn in range(20):
        s = t.pair()
        number = s.fileno()
        s.close()
        with open("/etc/passwd", "rb") as f:
            if not f.read(1):
                t.say("empty")
        read_end, write_end = os.pipe()
        os.write(write_end, b"p")
        assert os.read(read_end, 1) == b"p"
        os.close(read_end)
        os.close(write_end)
    t.say("done")


def closed_in_one_go(t):
    s = t.pair()
    if t.is_server:
        number = s.detach()
        os.closerange(number, number + 1)
        t.sync("closed")
        t.call("closed", os.read, number, 1)
    else:
        t.sync("closed")
        t.call("end", s.recv, 10)
        s.close()
    t.sync()


sides.main(
    dup,
    shared_state,
    dup2_over,
    dup2_replaces_a_socket,
    dup2_onto_itself,
    by_fcntl,
    listener,
    numbers_are_used_again,
    closed_in_one_go,
)
