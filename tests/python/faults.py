"""Programs that the tests of faults start, kill and starve. Run as `faults.py PART PORT …`; they report by lines."""

import ctypes
import errno
import faulthandler
import fcntl
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time

from sides import pattern, recv_exactly

HOST = os.environ.get("SIDES_HOST", "127.0.0.1")


def say(*words):
    print(*words, flush=True)


def listen(port, backlog=128):
    s = socket.socket(socket.AF_INET6 if ":" in HOST else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((HOST, port))
    s.listen(backlog)
    return s


def how_it_ended(work):
    """Runs the work, which goes on until the peer is gone, and says how the end looked."""
    say("busy")
    try:
        work()
        say("ended: end of file")
    except (ConnectionResetError, BrokenPipeError) as e:
        say("ended:", errno.errorcode[e.errno])


def echo(s):
    while data := s.recv(65536):
        s.sendall(data)


def ask(s):
    """Round trips until the peer is gone; what comes back is compared."""
    turn = 0
    while True:
        word = struct.pack("<Q", turn) * (1 + turn % 50)
        s.sendall(word)
        got = recv_exactly(s, len(word))
        if len(got) < len(word):
            return
        if got != word:
            say("WRONG DATA")
        turn += 1


def flood(s):
    block = pattern(65536)
    while True:
        s.sendall(block)


def drain(s):
    while s.recv(1 << 20):
        pass


WORK = {"echo": echo, "ask": ask, "flood": flood, "drain": drain}


def serve_one(port, work):
    """Accepts one connection and works on it until the peer is gone."""
    listener = listen(int(port))
    s, _ = listener.accept()
    how_it_ended(lambda: WORK[work](s))


def connect_one(port, work):
    s = socket.create_connection((HOST, int(port)))
    how_it_ended(lambda: WORK[work](s))


def serve(port):
    """An echo server with a thread for each connection, until killed."""
    listener = listen(int(port))
    say("listening")
    while True:
        s, _ = listener.accept()
        threading.Thread(target=guarded_echo, args=(s,), daemon=True).start()


def guarded_echo(s):
    with s:
        try:
            echo(s)
        except OSError:
            pass


def serve_while_told(port):
    """An epoll echo server that needs no threads and bears running out of descriptors."""
    listener = listen(int(port))
    listener.setblocking(False)
    ep = select.epoll()
    ep.register(listener, select.EPOLLIN)
    connections = {}
    refused = 0
    say("listening")
    while True:
        for number, events in ep.poll(0.5):
            if number == listener.fileno():
                try:
                    s, _ = listener.accept()
                except OSError as e:
                    if e.errno == errno.EAGAIN:
                        continue
                    refused += 1
                    if refused == 1:
                        say("accept:", errno.errorcode[e.errno])
                    # The listener stays readable; give others time to close.
                    time.sleep(0.01)
                    continue
                connections[s.fileno()] = s
                ep.register(s, select.EPOLLIN)
                continue
            s = connections[number]
            try:
                data = s.recv(65536)
                if data:
                    s.setblocking(True)
                    s.sendall(data)
                    continue
            except OSError:
                pass
            ep.unregister(number)
            connections.pop(number).close()


def connect_many(port, count):
    """Opens so many connections or as many as it may, uses each, closes all; then does it with a few again."""
    for turn, wanted in enumerate((int(count), 5)):
        connections, failures = [], {}
        for _ in range(wanted):
            s = None
            try:
                s = socket.socket()
                # A server without room does not answer: not for long, there may be many.
                s.settimeout((0.3, 5)[turn])
                s.connect((HOST, int(port)))
                connections.append(s)
            except OSError as e:
                name = errno.errorcode.get(e.errno, type(e).__name__)
                failures[name] = failures.get(name, 0) + 1
                if s is not None:
                    s.close()
        right = 0
        for i, s in enumerate(connections):
            word = b"%d" % i
            # Nor is a connection answered that the server could not accept.
            s.settimeout((0.2, 5)[turn])
            try:
                s.sendall(word)
                right += s.recv(100) == word
            except OSError as e:
                name = "use " + errno.errorcode.get(e.errno, type(e).__name__)
                failures[name] = failures.get(name, 0) + 1
        for s in connections:
            s.close()
        say(f"turn {turn}: {len(connections)} connected, {right} right, failures {sorted(failures)}")
        time.sleep(0.5)
    say("done")


def make_many(port, count):
    """Makes sockets until there is no descriptor left, closes them, and makes one again."""
    sockets = []
    try:
        for _ in range(int(count)):
            sockets.append(socket.socket())
        say("no limit")
    except OSError as e:
        say("socket:", errno.errorcode[e.errno])
    for s in sockets[:-3]:
        s.close()
    say("made", len(sockets) >= 3)
    s = socket.create_connection((HOST, int(port)))
    s.sendall(b"word")
    say("after closing:", s.recv(10).decode())


def transfer_many(port, count, megabytes):
    """So many connections at once, each with so much data there and back."""
    wrong = []
    data = pattern(int(float(megabytes) * 1e6), 5)

    def work():
        s = socket.create_connection((HOST, int(port)))
        sender = threading.Thread(target=s.sendall, args=(data,))
        sender.start()
        got = recv_exactly(s, len(data))
        sender.join()
        s.close()
        if got != data:
            wrong.append(len(got))

    threads = [threading.Thread(target=work) for _ in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("wrong", wrong)


def ask_for_ever(port):
    """Keeps a connection busy and says so now and then, until killed."""
    s = socket.create_connection((HOST, int(port)))
    s.settimeout(10)
    say("busy")
    turns = 0
    said = time.monotonic()
    while True:
        word = struct.pack("<Q", turns)
        s.sendall(word)
        if recv_exactly(s, 8) != word:
            say("WRONG DATA")
            return
        turns += 1
        if time.monotonic() - said > 0.05:
            said = time.monotonic()
            say("turns", turns)


def stack_memory():
    """Where this process has its stack, which begins with the lock."""
    with open("/proc/self/maps") as maps:
        return next(int(m.split("-")[0], 16) for m in maps if "memfd:sidestep-stack" in m)


def die_inside():
    """Dies as one does that is killed while it changes the stack: with the lock in its hand."""
    base = stack_memory()
    lock = ctypes.c_uint64.from_address(base)
    while lock.value & 0xffffffff:
        pass
    lock.value = os.getpid() << 32 | 1
    os._exit(0)


def survivors(port):
    """A server with workers, of which one dies inside the stack, seen from its accepted connection and its listener."""
    listener = listen(int(port))
    s, _ = listener.accept()
    s.sendall(b"x")
    ep = select.epoll()
    ep.register(s, select.EPOLLIN)
    said, saying = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.write(saying, b"x")
        while True:
            c, _ = listener.accept()
            c.sendall(c.recv(5))
            c.close()
    os.read(said, 1)
    time.sleep(0.2)
    dying = os.fork()
    if dying == 0:
        die_inside()
    os.waitpid(dying, 0)
    events = ep.poll(10)
    say("events", [(number == s.fileno(), event) for number, event in events])
    for _ in range(2):
        try:
            say("read", s.recv(1))
        except OSError as e:
            say("read", errno.errorcode[e.errno])
    say("blocking", listener.getblocking(), bool(fcntl.fcntl(listener, fcntl.F_GETFL) & os.O_NONBLOCK))
    # Long enough that one who does not sleep in accept is seen not to.
    time.sleep(0.3)
    with open(f"/proc/{worker}/stat") as stat:
        say("sleeps", stat.read().split()[2] == "S")
    say("ready")
    os.waitpid(worker, 0)


class Slot(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("pid", "taken", "sleepers", "times", "keeper")]


def slots():
    """The table of who has the stack, found by its first entry, which is this process's."""
    base = stack_memory()
    for at in range(base, base + (1 << 16), 64):
        first = Slot.from_address(at)
        if (first.pid, first.taken, first.times, first.keeper) == (os.getpid(), 1, 1, 0):
            return (Slot * 1023).from_address(at)
    raise RuntimeError("no table of slots")


def crowd(port):
    """A child that finds all places in its stack taken is told that it has lost what it inherited."""
    listener = listen(int(port))
    s, _ = listener.accept()
    places = slots()
    free = [slot for slot in places if not slot.taken]
    for slot in free:
        slot.taken = 1
    said, saying = os.pipe()
    if os.fork() == 0:
        os.close(said)
        sys.stdout.flush()
        os.dup2(saying, 1)
        try:
            try:
                say("read", s.recv(1))
            except OSError as e:
                say("read", errno.errorcode[e.errno])
            number = s.fileno()
            s.close()
            with open(__file__) as f:
                say("reads a file", f.fileno() == number, f.read(11))
            say("blocking", listener.getblocking())
            c, _ = listener.accept()
            c.sendall(c.recv(5))
            c.close()
        finally:
            os._exit(0)
    os.close(saying)
    with open(said) as told:
        for line in told:
            say(line.strip())
            if line.startswith("blocking"):
                say("crowded")
    s.sendall(b"alive")
    os.wait()
    for slot in free:
        slot.taken = 0
    say("done")


def five_bytes(port):
    with socket.create_connection((HOST, int(port))) as s:
        say("got", recv_exactly(s, 5).decode())


def ask_once(port):
    with socket.create_connection((HOST, int(port)), 10) as s:
        s.sendall(b"hello")
        say("answer", recv_exactly(s, 5).decode())


def spin(port):
    """A connection that asks all the time whether there is something to read, and so is in its stack much of it."""
    listener = listen(int(port))
    s, _ = listener.accept()
    s.sendall(b"x")
    s.setblocking(False)
    say("busy")
    while True:
        try:
            s.recv(1)
        except BlockingIOError:
            pass


def read_only(port):
    """A connection that only reads."""
    s = socket.create_connection((HOST, int(port)))
    s.recv(1)
    say("busy")
    how_it_ended(lambda: s.recv(1))


def hold(port):
    """A connection that is idle, until killed."""
    s = socket.create_connection((HOST, int(port)))
    s.sendall(b"x")
    s.recv(1)
    say("busy")
    s.recv(1)


def kill_children(port, count):
    """Forks a child for each connection, and kills it within two milliseconds; one more connection goes on meanwhile."""
    listener = listen(int(port))
    steady, _ = listener.accept()
    for _ in range(int(count)):
        s, _ = listener.accept()
        pid = os.fork()
        if pid == 0:
            signal.pause()
        s.close()
        until = time.perf_counter() + random.random() ** 2 * 2 / 1000
        while time.perf_counter() < until:
            pass
        os.kill(pid, signal.SIGKILL)
        # Before the child is reaped, as long as it may be the holder of something.
        steady.sendall(recv_exactly(steady, 5))
        os.waitpid(pid, 0)
    steady.recv(1)


def outlive_children(port, count):
    """The other end of `kill_children`: each connection must end, and the steady one go on."""
    steady = socket.create_connection((HOST, int(port)))
    ends = set()
    for turn in range(int(count)):
        with socket.create_connection((HOST, int(port))) as s:
            s.settimeout(5)
            steady.sendall(b"%05d" % turn)
            if recv_exactly(steady, 5) != b"%05d" % turn:
                say("WRONG DATA")
            try:
                while s.recv(100):
                    pass
                ends.add("end of file")
            except ConnectionResetError:
                ends.add("reset")
    say("over:", *sorted(ends))
    steady.recv(1)


faulthandler.dump_traceback_later(100, exit=True)
globals()[sys.argv[1]](*sys.argv[2:])
