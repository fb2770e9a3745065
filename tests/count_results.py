"""Counts what ctest's JUnit reports say and prints it as the last line of tools/test.

Usage: count_results.py REPORT...   Prints the reason of every skipped test (the last line that it printed), then
"N passed, N failed, N skipped". Exit status 1 when something failed and when nothing ran. A test that could not
be started counts as failed: only one that says so itself (exit status 77) is skipped.
"""

import os
import sys
import xml.etree.ElementTree as xml

SKIPPED_BY_ITSELF = "SKIP_RETURN_CODE=77"


def outcome(case):
    """One of passed, failed, skipped, or None for a test that is switched off on purpose."""
    status = case.get("status")
    if status == "run":
        return "passed"
    if status == "disabled":
        return None
    skipped = case.find("skipped")
    if skipped is not None and SKIPPED_BY_ITSELF in (skipped.get("message") or ""):
        return "skipped"
    return "failed"


def last_line(case):
    lines = (case.findtext("system-out") or "").strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def main(reports):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for report in reports:
        if not os.path.exists(report):
            continue
        for case in xml.parse(report).getroot().iter("testcase"):
            kind = outcome(case)
            if kind is None:
                continue
            count[kind] += 1
            if kind != "passed":
                print(f"{kind}: {case.get('name')}" + (f": {last_line(case)}" if kind == "skipped" else ""))
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
