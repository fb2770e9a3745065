"""Proves which ring a binary was linked with, by its symbols: check_ring.py NM SIMULATED REAL.

The simulated one must hold no symbol of liburing nor of core/ring_uring*.c, and it must have a ring; the real one
shows that the same look finds them where they are.
"""
import subprocess
import sys

URING = ("io_uring_", "ring_bank_", "ring_probe_direct")


def symbols(nm, program):
    lines = subprocess.run([nm, program], check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1] for line in lines}


def main():
    nm, simulated, real = sys.argv[1:]
    found = sorted(name for name in symbols(nm, simulated) if name.startswith(URING))
    if found:
        sys.exit(f"{simulated} holds the io_uring ring: {' '.join(found)}")
    if not {"ring_wait", "sim_ring_has_event"} <= symbols(nm, simulated):
        sys.exit(f"{simulated} holds no simulated ring")
    for prefix in URING:
        if not any(name.startswith(prefix) for name in symbols(nm, real)):
            sys.exit(f"{real} holds no {prefix}*, so that its absence elsewhere says nothing")


main()
