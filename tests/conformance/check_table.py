"""Holds normative_ids.txt against the tests: every numbered statement of MQTT 3.1.1 stands there
once; one that binds a server names exactly the tests that @normative marks with it, or says why
there is none. Before it judges the table, it is shown that it finds each kind of mistake.

check_table.py          exits 1 and says what is wrong
check_table.py --write  puts the names of the tests as the files have them into the table"""

import ast
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE / "normative_ids.txt"
FILES = sorted(HERE.glob("test_*.py")) + sorted((HERE.parent / "integration").glob("test_*.py"))

# How many numbered statements each section of the standard has (appendix B).
COUNTS = {
    "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1,
    "3.2.2": 6, "3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4,
    "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1, "3.14.1": 1, "3.14.4": 3,
    "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6, "4.7.1": 3,
    "4.7.2": 1, "4.7.3": 4, "4.8.0": 2, "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1}


def expected_ids():
    """The standard writes one of them MQTT-3-8.3-4."""
    ids = [f"MQTT-{section}-{n + 1}" for section, count in COUNTS.items() for n in range(count)]
    return ["MQTT-3-8.3-4" if text == "MQTT-3.8.3-4" else text for text in ids]


class Row:
    def __init__(self, number, bound, meaning):
        self.id = number
        self.bound = bound
        self.meaning = meaning
        self.below = []


def read_table(text):
    rows = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" "):
            rows[-1].below.append(line.strip())
        else:
            rows.append(Row(*line.split(maxsplit=2)))
    return rows


def tests_of_files():
    """Id to names of the tests that are marked with it, as FILE.TEST."""
    found = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "normative":
                    for argument in mark.args:
                        name = f"{path.stem.removeprefix('test_')}.{node.name}"
                        found.setdefault(argument.value, []).append(name)
    return found


def mistakes(rows, tests):
    ids = [row.id for row in rows]
    wrong = [f"{i}: stands in the table {ids.count(i)} times" for i in expected_ids() if ids.count(i) != 1]
    wrong += [f"{i}: is in the table but not in the standard" for i in ids if i not in expected_ids()]
    wrong += [f"{i}: tests name it, the table does not" for i in tests if i not in ids]
    for row in rows:
        marked = tests.get(row.id, [])
        if row.bound == "server":
            wrong += [f"{row.id}: no test, and it is not in the uncovered list"] if not marked else []
            wrong += [f"{row.id}: no such test: {t}" for t in row.below if t not in marked]
            wrong += [f"{row.id}: the table lacks the test {t}" for t in marked if t not in row.below]
        elif row.bound == "uncovered":
            wrong += [f"{row.id}: uncovered without a reason"] if not "".join(row.below) else []
            wrong += [f"{row.id}: uncovered, but tested by {t}" for t in marked]
        elif row.bound == "client":
            wrong += [f"{row.id}: binds clients, but is tested by {t}" for t in marked]
        else:
            wrong.append(f"{row.id}: bound is server, client or uncovered, not {row.bound!r}")
    return wrong


def assert_mistakes_are_found(text, tests):
    """A check that found nothing would pass everything."""
    def found(changed, changed_tests=None):
        return mistakes(read_table(changed), changed_tests or tests)

    first = read_table(text)[0]
    line = re.search(rf"^{first.id} .*\n(?: .*\n)+", text, re.M)[0]
    assert found(text.replace(line, "")), "a row that is missing"
    assert found(text + line), "a row that stands twice"
    assert found(text + "MQTT-9.9.9-9 client Nothing.\n"), "an id that is none"
    assert found(text.replace(line, line.split("\n")[0] + "\n")), "a row without its tests"
    assert found(text.replace(line, line + "    connect.no_such_test\n")), "a test that is none"
    assert found(text, {**tests, "MQTT-3.1.0-3": ["x.y"]}), "an unknown id in a test"
    assert found(text, {**tests, first.id: []}), "a test that has gone"
    assert found(re.sub(r"^(\S+ uncovered .*\n)(?: .*\n)+", r"\1", text, flags=re.M)), "no reason"


def write_table(text, tests):
    lines = []
    bound = ""
    for line in text.splitlines():
        if line.startswith(" ") and bound == "server":
            continue
        lines.append(line)
        if line.startswith("MQTT-"):
            number, bound = line.split()[:2]
            lines += [f"    {name}" for name in tests.get(number, ()) if bound == "server"]
    TABLE.write_text("\n".join(lines) + "\n")


def main():
    text = TABLE.read_text()
    tests = tests_of_files()
    if sys.argv[1:] == ["--write"]:
        write_table(text, tests)
        return
    wrong = mistakes(read_table(text), tests)
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(1)
    assert_mistakes_are_found(text, tests)
    rows = read_table(text)
    for bound in ("server", "client", "uncovered"):
        print(f"{sum(row.bound == bound for row in rows)} {bound}")


if __name__ == "__main__":
    main()
