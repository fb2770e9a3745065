#!/usr/bin/python3
"""Counts the instructions of one iteration of micro-benchmarks, under callgrind.

Usage: bench/count_instructions.py PROGRAM [CASE...]   PROGRAM is build/release/penstock-count; without a case: the way
of a message. Each case runs with N and with 2N iterations; the difference, divided by N, leaves out what making and
destroying the subject costs. The figure does not depend on what else the machine does.
"""

import re
import subprocess
import sys

ITERATIONS = 8192
CASES = ["mqtt_decode/publish_qos_1", "mqtt_encode/publish_head", "message/decode_look_up_encode"]


def instructions(program, case, iterations):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, case, str(iterations)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"Collected\s*:\s*(\d+)", result.stderr)
    if result.returncode != 0 or match is None:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return int(match[1])


def main(program, cases):
    for case in cases or CASES:
        once = instructions(program, case, ITERATIONS)
        twice = instructions(program, case, 2 * ITERATIONS)
        print(f"{case} {(twice - once) / ITERATIONS:.1f} instructions")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
