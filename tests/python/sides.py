"""Two sides that meet: the frame of every script here.

A script is a list of cases. A case is one function that both sides run, a server and a client; it asks
`t.is_server` where they differ, and `t.sync()` where one must wait for the other. What every call returned goes
to a transcript, one for each side, in words that do not depend on ports, descriptors or time. The harness runs the
script over the kernel and accelerated, and the transcripts must be equal.

Started as `script.py server`, `script.py client`, or `script.py both` (two threads of one process). From the
harness, in the environment: SIDES_DIR (where transcripts and the meeting point are), SIDES_PORTS, and SIDES_SKIP
(cases to leave out). Over a network also SIDES_SERVER_HOST and SIDES_CLIENT_HOST (an address of each family), SIDES_LINK
(the interface's name on this host) and SIDES_BROADCAST. Set SIDES_ONLY by hand to play only some.
"""

import errno
import faulthandler
import hashlib
import os
import select
import socket
import struct
import sys
import threading
import time
import traceback

PATIENCE = 15  # seconds until a case that hangs shows where, and the script ends
LOOPBACK = "127.0.0.1 ::1"


def hosts_of(role):
    v4, v6 = os.environ.get(f"SIDES_{role.upper()}_HOST", LOOPBACK).split()
    return {socket.AF_INET: v4, socket.AF_INET6: v6}


# The server's address of IPv4.
V4 = hosts_of("server")[socket.AF_INET]


class Side:
    def __init__(self, role):
        self.role = role
        self.is_server = role == "server"
        # Whether the process is this side's own, so that counting its descriptors makes sense.
        self.is_alone = sys.argv[1] != "both"
        self.ports = [int(p) for p in os.environ["SIDES_PORTS"].split(",")]
        self.taken = 0
        directory = os.environ["SIDES_DIR"]
        self.transcript = open(f"{directory}/{role}.txt", "w")
        # A socket that is never accelerated, so that meeting does not disturb what is tested.
        self.meeting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.meeting.connect(f"{directory}/meet")

    def host(self, family):
        """The server's address."""
        return hosts_of("server")[family]

    def own(self, family):
        """This side's address."""
        return hosts_of(self.role)[family]

    def peer(self, family):
        """The other side's address."""
        return hosts_of("client" if self.is_server else "server")[family]

    def link(self):
        """The index of the interface that has this side's address."""
        return socket.if_nametoindex(os.environ.get("SIDES_LINK", "lo"))

    def broadcast(self):
        """The address of all hosts; none where the two sides are on one."""
        return os.environ.get("SIDES_BROADCAST")

    def sync(self, name="sync"):
        """Waits until the other side is here too."""
        self.meeting.sendall(name.encode() + b"\n")
        answer = self.meeting.recv(64)
        if answer != b"go\n":
            raise RuntimeError(f"the other side did not come to {name!r}")

    def say(self, *words):
        print(*[show(self, word) for word in words], file=self.transcript, flush=True)

    def call(self, label, function, *arguments, **options):
        """Calls the function, writes down what came of it, and returns it (None if it failed)."""
        try:
            result = function(*arguments, **options)
        except Exception as e:
            self.say(label, "->", e)
            return None
        self.say(label, "->", result)
        return result

    def port(self):
        """The next port; both sides ask in the same order and so agree."""
        self.taken += 1
        return self.ports[(self.taken - 1) % len(self.ports)]

    def listener(self, port, family=socket.AF_INET, backlog=16, host=None):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host or self.host(family), port))
        s.listen(backlog)
        return s

    def pair(self, family=socket.AF_INET):
        """A connection between the two sides: each gets its end."""
        port = self.port()
        if self.is_server:
            with self.listener(port, family) as listener:
                self.sync("listening")
                s, _ = listener.accept()
        else:
            self.sync("listening")
            s = socket.create_connection((self.host(family), port))
        self.sync("connected")
        return s

    def udp(self, family=socket.AF_INET):
        """A UDP socket bound to a port of its own, and the address of the other side's."""
        mine, theirs = self.port(), self.port()
        if not self.is_server:
            mine, theirs = theirs, mine
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.bind((self.own(family), mine))
        self.sync("bound")
        return s, (self.peer(family), theirs)


def show(side, value):
    """The value in words that are the same each time."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseException):
        number = getattr(value, "errno", None)
        name = errno.errorcode.get(number, "") if isinstance(number, int) else ""
        # timeout and gaierror carry no errno; their type says it.
        return f"{type(value).__name__} {name}".strip()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return show_bytes(bytes(value))
    if isinstance(value, socket.socket):
        return "socket"
    if is_address(value):
        return f"{value[0]}:{show_port(side, value[1])}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(show(side, item) for item in value) + "]"
    return repr(value)


def show_bytes(data):
    if len(data) <= 40:
        return repr(data)
    return f"{len(data)} bytes {hashlib.sha1(data).hexdigest()[:12]}"


def is_address(value):
    return isinstance(value, tuple) and len(value) in (2, 4) and isinstance(value[0], str) and isinstance(value[1], int)


def show_port(side, port):
    return "PORT" if port in side.ports else "0" if port == 0 else "OTHER"


def pattern(count, seed=1):
    """So many bytes in which a lost, doubled or moved piece shows."""
    block = b"".join(hashlib.sha256(struct.pack("<II", seed, i)).digest() for i in range(min(count, 8192) // 32 + 1))
    return (block * (count // len(block) + 1))[:count]


def recv_exactly(s, count):
    """Reads so many bytes, or fewer if the stream ends before."""
    data = bytearray()
    while len(data) < count:
        piece = s.recv(min(count - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)


def recv_all(s):
    """Reads to the end of the stream."""
    return recv_exactly(s, 1 << 40)


def wait_readable(s, seconds=10):
    """Waits until there is something to read, so that a call that must not block finds it."""
    poller = select.poll()
    poller.register(s, select.POLLIN)
    if not poller.poll(seconds * 1000):
        raise TimeoutError("nothing to read")


def wait_writable(s, seconds=10):
    poller = select.poll()
    poller.register(s, select.POLLOUT)
    if not poller.poll(seconds * 1000):
        raise TimeoutError("no room to write")


def fill(s):
    """Writes until the socket takes no more, and says how much it took.

    What was written may still be on its way to the peer's queue and make room: full is what stays full. Half a second,
    since TCP holds the last bytes of a window back for 200 ms (RFC 9293, 3.8.6.2.1) if they are less than a segment.
    """
    s.setblocking(False)
    total = 0
    block = bytes(65536)
    refused_since = None
    while refused_since is None or time.monotonic() - refused_since < 0.5:
        try:
            total += s.send(block)
            refused_since = None
        except BlockingIOError:
            refused_since = refused_since or time.monotonic()
            time.sleep(0.03)
    return total


def play(role, cases):
    side = Side(role)
    side.sync("begin")
    for case in cases:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        side.sync(case.__name__)
        side.say(f"== {case.__name__}")
        case(side)
    side.sync("END")
    return side


def main(*cases):
    skipped, only = os.environ.get("SIDES_SKIP", "").split(), os.environ.get("SIDES_ONLY", "").split()
    cases = [c for c in cases if c.__name__ not in skipped and (not only or c.__name__ in only)]
    failed = []

    def guarded(role):
        try:
            play(role, cases)
        except BaseException:
            traceback.print_exc()
            failed.append(role)
            os._exit(1)

    if sys.argv[1] == "both":
        # Signals reach the main thread, and the cases with signals play the client.
        server = threading.Thread(target=guarded, args=("server",), daemon=True)
        server.start()
        guarded("client")
        server.join()
    else:
        guarded(sys.argv[1])
    sys.exit(1 if failed else 0)
