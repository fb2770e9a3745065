"""Checks that every C file is as clang-format 14 writes it.

Usage: format.py ROOT   Exit status 0 when all are, 1 when one is not, 77 (skipped) when clang-format-14 is absent.

First a file that is badly written must be refused, so that a clang-format that finds nothing is noticed.
"""

import os
import shutil
import subprocess
import sys

FOLDERS = ("core", "net", "broker_client", "session", "bench", "tools", "tests")
COMMAND = ["clang-format-14", "--dry-run", "--Werror"]


def c_files(root):
    for folder in FOLDERS:
        for place, _folders, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith((".c", ".h", ".cc")):
                    yield os.path.join(place, name)


def main(root):
    if shutil.which(COMMAND[0]) is None:
        print("clang-format-14 is not installed (package clang-format-14)")
        return 77
    bad = subprocess.run(COMMAND + ["--assume-filename", os.path.join(root, "core", "bad.c")],
                         input=b"int  main( ){return 0 ;}\n", capture_output=True, check=False)
    if bad.returncode == 0:
        print("clang-format-14 takes a badly written file for a good one")
        return 1
    files = sorted(c_files(root))
    result = subprocess.run(COMMAND + files, check=False)
    print(f"{len(files)} files")
    return 1 if result.returncode != 0 or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
