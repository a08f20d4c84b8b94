"""What a program with a socket of the agent's can hear of other users' programs by it: run as `nosy.py HOST PORT FILE`.

It binds a port, so that it has what there is to be had of the interface. Then it ties each packet socket that it holds to
every interface that there is beside it, and listens until the file is there."""

import os
import socket
import sys
import time

# Not in the module.
SOL_PACKET, PACKET_RX_RING, SO_DETACH_FILTER = 263, 5, 27
EVERYTHING = 3


def packet_sockets():
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            s = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if s.family == socket.AF_PACKET:
            found.append(s)
        else:
            s.close()
    return found


def main(host, port, path):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind((host, int(port)))
    with socket.socket() as listener:
        listener.bind((host, int(port)))
        listener.listen()
        held = packet_sockets()
        print("held", len(held), flush=True)
        tied = set()
        for s in held:
            s.setblocking(False)
            try:
                s.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            except OSError:
                pass
            for index in range(1, 300):
                try:
                    # By the C library's own call, which knows interfaces by number.
                    bind(s, index)
                    tied.add(index)
                except OSError:
                    pass
            # Back to the one that has a wire.
            bind(s, max(tied))
        print("tied to", len(tied), flush=True)
        heard = 0
        while not os.path.exists(path):
            for s in held:
                try:
                    s.recv(70000)
                    heard += 1
                except OSError:
                    pass
            time.sleep(0.001)
        print("heard", heard, flush=True)


def bind(s, index):
    import ctypes
    import struct

    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(EVERYTHING), index, 0, 0, 0, bytes(8))
    if ctypes.CDLL(None, use_errno=True).bind(s.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "bind")


main(*sys.argv[1:])
