"""Runs a program in which io_uring_setup is answered with an error by a seccomp filter, as container
runtimes do:  forbid_io_uring.py EPERM PROGRAM [ARGUMENT]...  Exits 77 when the filter cannot be had."""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
IO_URING_SETUP = 425  # the same on every architecture
RETURN_ERRNO, RETURN_ALLOW = 0x00050000, 0x7fff0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def instruction(code, jump_true, jump_false, value):
    return struct.pack("HBBI", code, jump_true, jump_false, value)


class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def main():
    number = getattr(errno, sys.argv[1])
    code = (instruction(LOAD_WORD, 0, 0, 0) + instruction(JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP)
            + instruction(RETURN, 0, 0, RETURN_ERRNO | number) + instruction(RETURN, 0, 0, RETURN_ALLOW))
    program = Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(
            PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0) != 0:
        print(f"no seccomp filter: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(77)
    os.execvp(sys.argv[2], sys.argv[2:])


main()
