"""Proves which ring and which disk a binary was linked with, by its symbols: check_ring.py NM SIMULATED REAL.

The simulated one must hold no symbol of liburing, of core/ring_uring*.c or of what core/disk.c calls, and it must have a
ring and a disk; the real one shows that the same look finds them where they are.
"""
import subprocess
import sys

REAL = ("io_uring_", "ring_bank_", "ring_probe_direct", "ring_files_", "fdatasync", "fallocate")


def symbols(nm, program):
    lines = subprocess.run([nm, program], check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1] for line in lines}


def main():
    nm, simulated, real = sys.argv[1:]
    found = sorted(name for name in symbols(nm, simulated) if name.startswith(REAL))
    if found:
        sys.exit(f"{simulated} holds the real ring or disk: {' '.join(found)}")
    if not {"ring_wait", "sim_ring_has_event", "disk_sync", "sim_disk_crash"} <= symbols(nm, simulated):
        sys.exit(f"{simulated} holds no simulated ring or disk")
    for prefix in REAL:
        if not any(name.startswith(prefix) for name in symbols(nm, real)):
            sys.exit(f"{real} holds no {prefix}*, so that its absence elsewhere says nothing")


main()
