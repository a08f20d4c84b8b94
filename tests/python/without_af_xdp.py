"""Becomes another program, in a kernel that has no AF_XDP as far as that can see. Run as `without_af_xdp.py PROGRAM …`."""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SOCKET, AF_XDP, EAFNOSUPPORT = 41, 44, 97
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE, ALLOW = 0x0005_0000, 0x7FFF_0000

# The number of the call and, of socket(2), its first argument.
FILTER = [
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, 16),
    (JUMP_IF_EQUAL, 0, 1, AF_XDP),
    (RETURN, 0, 0, REFUSE | EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
]

program = b"".join(struct.pack("HBBI", *line) for line in FILTER)
buffer = ctypes.create_string_buffer(program, len(program))
fprog = struct.pack("HxxxxxxQ", len(FILTER), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0):
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
