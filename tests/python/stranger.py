"""What a user's program can ask of an agent about another user's, in the agent's own messages: run as
`stranger.py ask PORT HIS FILE`, where HIS is the other's stack. It says what it was told.

It has a stack of its own, if the agent gives it one, and claims a port that the kernel has given to it for as long as nobody
listens there: at the beginning, and when somebody does, which `stranger.py serve PORT FILE` begins once there is the file."""

import array
import json
import os
import socket
import subprocess
import sys
import threading
import time

(HELLO, ADDRESSES, REGISTER, ATTACH, AWAIT, DETACH, MAP, PUBLISH, WITHDRAW, OPEN, MAP_WIRE, RESTORE, ROUTE, SPREAD, CLAIM,
 UNCLAIM, GROUP, PS, STOP) = range(19)
VERSION = 7
REPLIES = {0: "done", 2: "welcome"}
FAULTS = {1: "malformed", 3: "unknown", 6: "not yours", 7: "in use", 8: "other namespace", 16: "not bound"}


def number(n):
    """As postcard writes numbers: seven bits a byte, the lowest first."""
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def publication(protocol, port):
    return bytes([protocol]) + bytes(10) + b"\xff\xff" + bytes(4) + number(port) + b"\0\0"


class Agent:
    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.connect(os.path.join(os.environ["SIDESTEP_RUNTIME_DIR"], "agent.sock"))

    def ask(self, request, body=b"", *fds):
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.s.sendmsg([bytes([request]) + body], beside)
            said, given, _, _ = self.s.recvmsg(5000, 4096)
        except OSError:
            return "turned away"
        if not said:
            return "turned away"
        if said[0] == 1:
            return FAULTS.get(said[1], "fault %d" % said[1])
        return REPLIES.get(said[0], "given %d" % said[0]) + (" with descriptors" if given and said[0] == 0 else "")


def introduced():
    try:
        agent = Agent()
    except OSError:
        return None, "turned away"
    name = b"stranger"
    return agent, agent.ask(HELLO, number(VERSION) + number(0) + bytes([len(name)]) + name)


def ask_of(his):
    """Everything that is asked about a stack, about his."""
    netns = number(os.stat("/proc/self/ns/net").st_ino)
    memory = os.memfd_create("sidestep-stack")
    os.ftruncate(memory, 1 << 20)
    bound = socket.socket()
    bound.bind(("", 0))
    port = bound.getsockname()[1]
    readable, writable = os.pipe()
    what = publication(6, port)
    host = bytes(10) + b"\xff\xff" + bytes([10, 9, 0, 2])
    fd = bound.fileno()
    for name, request, body, *fds in (
        ("register", REGISTER, his + netns + number(0), memory, readable),
        ("attach to his slot", ATTACH, his + number(0)),
        ("attach to a free slot", ATTACH, his + number(1)),
        ("await a child", AWAIT, his + number(1) + number(1), readable),
        ("detach his slot", DETACH, his + number(0)),
        ("map his memory", MAP, his),
        ("publish", PUBLISH, his + what + b"\0", fd),
        ("publish everywhere", PUBLISH, his + what + b"\1", fd),
        ("withdraw his port", WITHDRAW, his + publication(6, 7000)),
        ("open a wire of his", OPEN, his + his),
        ("map his first queue", MAP_WIRE, his + number(0)),
        ("map his second queue", MAP_WIRE, his + number(1)),
        ("restore a wire of his", RESTORE, his + number(0), memory),
        ("a way of his", ROUTE, his + bytes([6]) + host + number(80) + bytes(16) + number(0)),
        ("how his queue is filled", SPREAD, his + number(0)),
        ("claim for him", CLAIM, his + b"\0", fd),
        ("claim and keep for him", CLAIM, his + b"\1", fd),
        ("unclaim his port", UNCLAIM, his + publication(6, 7000)),
        ("a group of his", GROUP, his + host + number(0) + bytes(16) + b"\1", fd),
        ("stop", STOP, b""),
    ):
        agent, _ = introduced()
        print(name + ":", agent.ask(request, body, *fds), flush=True)


def own_stack():
    """The stack that the library has made for us."""
    listener = socket.socket()
    listener.bind(("", 0))
    listener.listen()
    said = subprocess.run([os.environ["SIDESTEP_BIN"], "ps", "--json"], stdout=subprocess.PIPE, check=True).stdout
    for stack in json.loads(said)["stacks"]:
        if os.getpid() in [process["pid"] for process in stack["processes"]]:
            return listener, number(int(stack["id"], 16))
    raise SystemExit("no stack of ours")


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def ask(port, his, path):
    _, welcome = introduced()
    print("hello:", welcome, flush=True)
    if welcome != "welcome":
        return
    kept, own = own_stack()
    shared = socket.socket()
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.bind(("", int(port)))
    agent, _ = introduced()
    print("claim a free port:", agent.ask(CLAIM, own + b"\0", shared.fileno()), flush=True)
    print("publish a free port:", agent.ask(PUBLISH, own + publication(6, int(port)) + b"\0", shared.fileno()), flush=True)
    ask_of(number(int(his, 16)))
    print("asked", flush=True)
    wait_for(path + ".listens")
    print("claim a taken port:", agent.ask(CLAIM, own + b"\0", shared.fileno()), flush=True)
    print("publish a taken port:", agent.ask(PUBLISH, own + publication(6, int(port)) + b"\0", shared.fileno()), flush=True)
    kept.close()


def serve(port, path):
    """An echo server, which has the port from the beginning and listens once there is the file."""
    first, second = (socket.socket() for _ in range(2))
    first.bind(("", 0))
    first.listen()
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    second.bind(("", int(port)))
    print("ready", flush=True)
    wait_for(path)
    second.listen(128)
    open(path + ".listens", "w").close()
    print("listens", flush=True)
    while True:
        s, _ = second.accept()
        threading.Thread(target=echo, args=(s,), daemon=True).start()


def echo(s):
    with s:
        while data := s.recv(65536):
            s.sendall(data)


globals()[sys.argv[1]](*sys.argv[2:])
