"""The byte out of band: MSG_OOB, SO_OOBINLINE, SIOCATMARK, POLLPRI and SIGURG."""

import fcntl
import os
import select
import signal
import socket
import struct
import threading
import sides

SIOCATMARK = 0x8905


def at_mark(s):
    return struct.unpack("i", fcntl.ioctl(s.fileno(), SIOCATMARK, bytes(4)))[0]


def waits(s, events):
    poll = select.poll()
    poll.register(s, events)
    return [found for _, found in poll.poll(5000)]


def out_of_band(t):
    s = t.pair()
    if t.is_server:
        t.call("nothing there", s.recv, 1, socket.MSG_OOB)
        t.sync("send")
        t.say("pollpri", waits(s, select.POLLPRI))
        t.say("at mark", at_mark(s))
        t.say("peeked", s.recv(5, socket.MSG_OOB | socket.MSG_PEEK))
        t.say("urgent", s.recv(5, socket.MSG_OOB))
        t.call("again", s.recv, 1, socket.MSG_OOB)
        t.say("before", s.recv(100))
        t.say("at mark", at_mark(s))
        t.say("after", s.recv(100))
        t.say("at mark", at_mark(s))
        t.sync("read")
    else:
        t.sync("send")
        t.say("sent", s.send(b"abcX", socket.MSG_OOB))
        s.sendall(b"def")
        t.sync("read")
    s.close()


def inline(t):
    s = t.pair()
    if t.is_server:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        t.say(s.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE))
        t.sync("send")
        t.say("pollpri", waits(s, select.POLLPRI))
        t.call("out of band", s.recv, 1, socket.MSG_OOB)
        t.say("before", s.recv(100))
        t.say("at mark", at_mark(s))
        t.say("from there", s.recv(100))
        t.sync("read")
    else:
        t.sync("send")
        s.sendall(b"ab")
        s.send(b"Xcd"[:1], socket.MSG_OOB)
        t.sync("read")
    s.close()


def signalled(t):
    s = t.pair()
    if t.is_server:
        # Handlers can be installed, and run, in the main thread only.
        in_main = threading.current_thread() is threading.main_thread()
        seen = []
        if in_main:
            signal.signal(signal.SIGURG, lambda number, frame: seen.append(number))
        fcntl.fcntl(s.fileno(), fcntl.F_SETOWN, os.getpid())
        t.say("owner", fcntl.fcntl(s.fileno(), fcntl.F_GETOWN) == os.getpid())
        t.sync("send")
        t.say("except", [len(found) for found in select.select([], [], [s], 5)])
        t.say("signal", seen == [signal.SIGURG] * in_main)
        t.say("urgent", s.recv(1, socket.MSG_OOB))
        t.sync("read")
    else:
        t.sync("send")
        s.send(b"!", socket.MSG_OOB)
        t.sync("read")
    s.close()


sides.main(out_of_band, inline, signalled)
