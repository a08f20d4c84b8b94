"""Programs started while sockets are open: what the child closes before it execs is not the parent's."""

import os
import signal
import socket
import subprocess
import time
import sides


def connection_survives(t):
    s = t.pair()
    for close_fds in (True, False):
        done = subprocess.run(["echo", "word"], stdout=subprocess.PIPE, close_fds=close_fds, check=True)
        t.say("said", done.stdout)
    os.system("true")
    if t.is_server:
        t.call("recv", s.recv, 100)
        t.call("send", s.sendall, b"answer")
    else:
        t.call("send", s.sendall, b"question")
        t.call("recv", s.recv, 100)
    t.sync()
    s.close()


def becomes_another_program(pid):
    """Waits until a forked child has called exec."""
    while True:
        with open(f"/proc/{pid}/comm") as name:
            if name.read() == "sleep\n":
                return
        time.sleep(0.001)


def what_exec_leaves_is_closed(t):
    """A child that became another program holds nothing: the connection ends when its parent closes it."""
    s = t.pair()
    s.settimeout(10)
    if t.is_server:
        child = os.fork()
        if child == 0:
            os.execvp("sleep", ["sleep", "30"])
        becomes_another_program(child)
        t.call("recv", s.recv, 100)
        s.close()
    else:
        t.call("send", s.sendall, b"question")
        t.call("recv", s.recv, 100)
    t.sync()
    if t.is_server:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    else:
        s.close()


def listener_survives(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        subprocess.run(["true"], check=True)
        t.sync("listening")
        s, _ = listener.accept()
        t.call("recv", s.recv, 100)
        s.close()
        listener.close()
    else:
        t.sync("listening")
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"word")
    t.sync()


sides.main(
    connection_survives,
    what_exec_leaves_is_closed,
    listener_survives,
)
