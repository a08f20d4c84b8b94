"""Messages of several pieces, several messages at once, and the read and write of files on sockets."""

import ctypes
import os
import socket
import struct
import time
import sides


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("header", Msghdr), ("length", ctypes.c_uint)]


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


libc = ctypes.CDLL(None, use_errno=True)


def messages(buffers):
    """An array of messages, one for each buffer; the second value keeps alive what it points to."""
    vectors = [Iovec(ctypes.cast(b, ctypes.c_void_p), len(b)) for b in buffers]
    array = (Mmsghdr * len(buffers))()
    for message, vector in zip(array, vectors):
        message.header.iov = ctypes.pointer(vector)
        message.header.iovlen = 1
    return array, vectors


def failure(result):
    return os.strerror(ctypes.get_errno()) if result < 0 else ""


def gathered_and_scattered(t):
    s = t.pair()
    if t.is_server:
        t.say("gathered", sides.recv_exactly(s, 9))
        sides.wait_readable(s)
        pieces = [bytearray(2), bytearray(0), bytearray(3), bytearray(100)]
        count, _, flags, address = s.recvmsg_into(pieces)
        t.say("scattered", count, pieces[:3], bytes(pieces[3][: count - 5]), "flags", flags, "address", address)
    else:
        t.call("sendmsg", s.sendmsg, [b"abc", b"", b"defg", b"hi"])
        t.call("sendmsg", s.sendmsg, [b"0123456789"])
    t.sync()
    s.close()


def many_pieces(t):
    s = t.pair()
    pieces = [sides.pattern(i, i) for i in range(1, 500)]
    if t.is_server:
        t.say("got", sides.recv_exactly(s, sum(map(len, pieces))))
    else:
        t.call("writev", os.writev, s.fileno(), pieces)
        t.call("too many pieces", os.writev, s.fileno(), [b"x"] * 1025)
    t.sync()
    s.close()


def read_and_write(t):
    s = t.pair()
    s.settimeout(None)
    if t.is_server:
        t.call("read", os.read, s.fileno(), 100)
        t.sync("first read")
        t.sync("second written")
        sides.wait_readable(s)
        pieces = [bytearray(2), bytearray(100)]
        t.call("readv", os.readv, s.fileno(), pieces)
        t.say(pieces[0], pieces[1][:3])
        t.call("read the end", os.read, s.fileno(), 100)
    else:
        t.call("write", os.write, s.fileno(), b"by write")
        t.sync("first read")
        t.call("writev", os.writev, s.fileno(), [b"a", b"b", b"cde"])
        s.shutdown(socket.SHUT_WR)
        t.sync("second written")
    t.sync()
    s.close()


def seeking(t):
    s = t.pair()
    t.call("lseek", os.lseek, s.fileno(), 0, os.SEEK_SET)
    t.call("pread", os.pread, s.fileno(), 10, 0)
    t.call("pwrite", os.pwrite, s.fileno(), b"x", 0)
    t.sync()
    s.close()


def datagrams_of_pieces(t):
    s, peer = t.udp()
    if t.is_server:
        pieces = [bytearray(4), bytearray(4)]
        count, _, flags, sender = s.recvmsg_into(pieces)
        t.say("fits", count, pieces, bool(flags & socket.MSG_TRUNC), sender)
        count, _, flags, _ = s.recvmsg_into(pieces)
        t.say("too long", count, pieces, bool(flags & socket.MSG_TRUNC))
        t.call("read", os.read, s.fileno(), 100)
    else:
        t.call("sendmsg", s.sendmsg, [b"abc", b"de"], [], 0, peer)
        t.call("sendmsg", s.sendmsg, [b"0123456", b"789"], [], 0, peer)
        s.connect(peer)
        t.call("write", os.write, s.fileno(), b"written")
    t.sync()
    s.close()


def several_at_once(t):
    s, peer = t.udp()
    if t.is_server:
        t.sync("sent")
        sides.wait_readable(s)
        buffers = [ctypes.create_string_buffer(8) for _ in range(6)]
        array, keep = messages(buffers)
        result = libc.recvmmsg(s.fileno(), array, 6, socket.MSG_DONTWAIT, None)
        t.say("recvmmsg", result, failure(result))
        for message, buffer in list(zip(array, buffers))[: max(result, 0)]:
            t.say(message.length, buffer.raw[: message.length], bool(message.header.flags & socket.MSG_TRUNC))
        result = libc.recvmmsg(s.fileno(), array, 6, socket.MSG_DONTWAIT, None)
        t.say("nothing left", result, failure(result))
        s.setblocking(True)
        pause = Timespec(0, 50_000_000)
        t.sync("one more")
        result = libc.recvmmsg(s.fileno(), array, 6, 0x10000, ctypes.byref(pause))
        t.say("MSG_WAITFORONE", result, failure(result), array[0].length)
    else:
        s.connect(peer)
        array, keep = messages([ctypes.create_string_buffer(w, len(w)) for w in (b"a", b"bb", b"too long!!", b"dddd")])
        result = libc.sendmmsg(s.fileno(), array, 4, 0)
        t.say("sendmmsg", result, failure(result), [message.length for message in array])
        t.sync("sent")
        t.sync("one more")
        s.send(b"one more")
    t.sync()
    s.close()


def several_on_a_stream(t):
    s = t.pair()
    if t.is_server:
        t.say("got", sides.recv_exactly(s, 6))
    else:
        array, keep = messages([ctypes.create_string_buffer(w, len(w)) for w in (b"a", b"bb", b"ccc")])
        result = libc.sendmmsg(s.fileno(), array, 3, 0)
        t.say("sendmmsg", result, failure(result), [message.length for message in array])
    t.sync()
    s.close()


def several_and_an_error(t):
    s = t.pair()
    if t.is_server:
        t.sync("reset")
        time.sleep(0.05)
        array, keep = messages([ctypes.create_string_buffer(8) for _ in range(3)])
        result = libc.recvmmsg(s.fileno(), array, 3, 0, None)
        t.say("recvmmsg", result, failure(result), array[0].length)
        for _ in range(2):
            result = libc.recvmmsg(s.fileno(), array, 3, 0, None)
            t.say("recvmmsg", result, failure(result))
    else:
        s.sendall(b"word")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        t.sync("reset")
    t.sync()
    s.close()


def several_in_time(t):
    """The time that recvmmsg(2) is given is looked at when a datagram has come."""
    s, peer = t.udp()
    if t.is_server:
        s.settimeout(None)
        t.sync("sent")
        for pause in (Timespec(0, 0), Timespec(100, 0), Timespec(0, 1_000_000_000)):
            array, keep = messages([ctypes.create_string_buffer(8) for _ in range(2)])
            result = libc.recvmmsg(s.fileno(), array, 2, 0, ctypes.byref(pause))
            t.say("recvmmsg", result, failure(result), pause.seconds)
    else:
        for word in (b"one", b"two", b"three"):
            s.sendto(word, peer)
        t.sync("sent")
    t.sync()
    s.close()


def file_to_socket(t):
    s = t.pair()
    data = sides.pattern(1_500_000, 13)
    if t.is_server:
        t.say("got", sides.recv_all(s))
    else:
        s.settimeout(None)
        path = os.environ["SIDES_DIR"] + "/file.bin"
        with open(path, "wb") as f:
            f.write(data)
        with open(path, "rb") as f:
            sent = 0
            while sent < len(data):
                sent += os.sendfile(s.fileno(), f.fileno(), sent, len(data) - sent)
            t.say("sent", sent)
        s.shutdown(socket.SHUT_WR)
    t.sync()
    s.close()


def as_a_file(t):
    s = t.pair()
    if t.is_server:
        with s.makefile("rw", newline="\n") as f:
            for line in f:
                f.write(line.upper())
                f.flush()
                if line == "last\n":
                    break
    else:
        with s.makefile("rw", newline="\n") as f:
            for word in ("first", "second", "last"):
                f.write(word + "\n")
                f.flush()
                t.call("line", f.readline)
    t.sync()
    s.close()


sides.main(
    gathered_and_scattered,
    many_pieces,
    read_and_write,
    seeking,
    datagrams_of_pieces,
    several_at_once,
    several_on_a_stream,
    several_and_an_error,
    several_in_time,
    file_to_socket,
    as_a_file,
)
