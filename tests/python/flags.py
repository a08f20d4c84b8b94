"""The flags of recv and send."""

import ctypes
import errno
import socket
import time
import sides

# A peer that has just left a socket call is spoken for by the agent some milliseconds later.
ANSWER = 0.03
PEEK, WAITALL, DONTWAIT = socket.MSG_PEEK, socket.MSG_WAITALL, socket.MSG_DONTWAIT


def peek(t):
    s = t.pair()
    if t.is_server:
        sides.wait_readable(s)
        t.call("peek 3", s.recv, 3, PEEK)
        t.call("peek 100", s.recv, 100, PEEK)
        t.call("recv 2", s.recv, 2)
        t.call("peek the rest", s.recv, 100, PEEK)
        t.call("recv the rest", s.recv, 100)
        t.call("peek nothing", s.recv, 10, PEEK | DONTWAIT)
    else:
        s.sendall(b"abcdef")
    t.sync()
    s.close()


def waitall(t):
    s = t.pair()
    if t.is_server:
        t.call("waitall", s.recv, 10, WAITALL)
        t.call("waitall to the end", s.recv, 10, WAITALL)
        t.call("after the end", s.recv, 10, WAITALL)
    else:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"abc", b"def", b"ghi", b"jkl", b"mno"):
            s.sendall(piece)
    s.close()


def waitall_large(t):
    s = t.pair()
    size = 3_000_000
    if t.is_server:
        s.settimeout(None)
        t.call("waitall", s.recv, size, WAITALL)
    else:
        s.sendall(sides.pattern(size, 5))
    s.close()


def peek_waitall(t):
    s = t.pair()
    if t.is_server:
        s.settimeout(None)
        t.call("peek and wait for all", s.recv, 6, PEEK | WAITALL)
        t.call("recv", s.recv, 6)
    else:
        s.sendall(b"abc")
        s.sendall(b"def")
    t.sync()
    s.close()


def dontwait(t):
    s = t.pair()
    s.settimeout(None)
    if t.is_server:
        t.call("nothing there", s.recv, 10, DONTWAIT)
        t.sync("go")
        t.sync("sent")
        t.call("something there", s.recv, 10, DONTWAIT)
        t.call("nothing again", s.recv, 10, DONTWAIT)
        t.sync("close")
        t.sync("closed")
        t.call("end of the stream", s.recv, 10, DONTWAIT)
    else:
        t.sync("go")
        s.sendall(b"word")
        t.sync("sent")
        t.sync("close")
        s.close()
        t.sync("closed")
    s.close()


def send_dontwait(t):
    s = t.pair()
    if t.is_server:
        t.sync()
    else:
        sides.fill(s)
        s.setblocking(True)
        t.call("full", s.send, b"x", DONTWAIT)
        t.sync()
    s.close()


def truncate_stream(t):
    s = t.pair()
    if t.is_server:
        sides.wait_readable(s)
        data, _, flags, _ = s.recvmsg(4)
        t.say("short recvmsg", data, "MSG_TRUNC", bool(flags & socket.MSG_TRUNC))
        t.say("discarded", len(s.recv(3, socket.MSG_TRUNC)))
        t.call("the rest", s.recv, 100)
    else:
        s.sendall(b"0123456789")
    t.sync()
    s.close()


def dropped(t):
    """MSG_TRUNC on a stream drops bytes and writes nowhere, so that any pointer will do."""
    s = t.pair()
    recv = ctypes.CDLL(None, use_errno=True).recv

    def drop(room, length, flags=0):
        got = recv(s.fileno(), room, ctypes.c_size_t(length), socket.MSG_TRUNC | flags)
        return got if got >= 0 else errno.errorcode[ctypes.get_errno()]

    if t.is_server:
        t.sync("sent")
        room = ctypes.create_string_buffer(b"unchanged")
        t.say("to nowhere", drop(None, 4))
        t.say("counted", drop(None, 100, PEEK))
        t.say("to too little room", drop(room, 3), room.value)
        t.say("counted in full", drop(None, 3, PEEK | WAITALL))
        t.call("the rest", s.recv, 2)
        t.say("more than there is", drop(room, 65536), room.value)
        t.say("nothing", drop(None, 10, DONTWAIT), drop(None, 0, DONTWAIT))
        t.sync("dropped")
        t.say("waited for", drop(None, 65536))
        t.sync("dropped again")
        t.say("all", drop(None, 6, WAITALL))
        t.say("at the end", drop(None, 6), drop(None, 6, PEEK))
    else:
        s.sendall(b"0123456789ab")
        t.sync("sent")
        t.sync("dropped")
        time.sleep(ANSWER)
        s.sendall(b"x")
        t.sync("dropped again")
        for _ in range(2):
            time.sleep(ANSWER)
            s.sendall(b"abc")
    s.close()
    t.sync()


def more(t):
    s = t.pair()
    if t.is_server:
        t.say("all", sides.recv_all(s))
    else:
        t.call("with MSG_MORE", s.send, b"head ", socket.MSG_MORE)
        t.call("with MSG_MORE", s.send, b"and ", socket.MSG_MORE)
        t.call("without", s.send, b"tail")
        t.call("left open with MSG_MORE", s.send, b"!", socket.MSG_MORE)
    s.close()


def nosignal(t):
    s = t.pair()
    if t.is_server:
        s.close()
        t.sync()
    else:
        t.sync()
        # The first send after the peer has gone is answered with a reset; the second one is told.
        first = t.call("first send", s.send, b"x", socket.MSG_NOSIGNAL)
        time.sleep(ANSWER)
        sides.wait_readable(s)
        t.call("recv", s.recv, 10)
        t.call("second send", s.send, b"x", socket.MSG_NOSIGNAL)
        t.call("third send", s.send, b"x", socket.MSG_NOSIGNAL)
    s.close()


def zero_lengths(t):
    s = t.pair()
    if t.is_server:
        sides.wait_readable(s)
        t.call("recv 0", s.recv, 0)
        t.call("recv", s.recv, 10)
    else:
        t.call("send nothing", s.send, b"")
        t.call("send", s.send, b"x")
    t.sync()
    s.close()


def out_of_the_ordinary(t):
    s = t.pair()
    t.call("recv from the error queue", s.recvmsg, 10, 100, socket.MSG_ERRQUEUE | DONTWAIT)
    t.call("recvfrom on a stream", s.recvfrom, 10, DONTWAIT)
    t.sync("looked")
    if not t.is_server:
        t.call("sendto on a connected stream", s.sendto, b"word", ("127.0.0.1", 9))
    t.sync()
    if t.is_server:
        t.call("recvfrom", s.recvfrom, 10)
    t.sync()
    s.close()


sides.main(
    peek,
    waitall,
    waitall_large,
    peek_waitall,
    dontwait,
    send_dontwait,
    truncate_stream,
    dropped,
    more,
    nosignal,
    zero_lengths,
    out_of_the_ordinary,
)
