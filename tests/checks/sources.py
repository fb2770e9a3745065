"""Checks the sources against the rules of the house that neither the compiler nor clang-format knows.

Usage: sources.py ROOT          prints one line per breach; exit status 1 when there is one.
       sources.py --self-test   shows every rule a file that breaks it, and one that does not.

A line may break a rule where keeping it would make the code worse, and says so in a comment on the line:
`breaks rule NAME: why`. A rule about a whole file knows no exception.
"""

import os
import re
import sys

FOLDERS = ("core", "net", "broker_client", "session", "bench", "tools", "tests")
MAY_INCLUDE = {
    "core": ("core",),
    "net": ("net", "core"),
    "broker_client": ("broker_client", "net", "core"),
    "session": ("session", "broker_client", "net", "core"),
}
# A library's header, and the only files that may include it.
LIBRARIES = (
    (r"liburing\.h|linux/io_uring\.h", r"core/ring_uring\w*\.[ch]"),
    (r"mimalloc\.h", r"core/heap\.c"),
    (r"numa(if)?\.h", r"core/topology\.c"),
    (r"xxhash\.h", r"core/hash\.c"),
    (r"confuse\.h", r"core/config_file\.c"),
    (r"microhttpd\.h", r"net/admin_http\.c"),
    (r"openssl/.*", r"net/tls_\w+\.c|session/password\w*\.c"),
    (r"lmdb\.h", r"broker_client/embedded/key_file_lmdb\.c"),
    (r"benchmark/.*", r"bench/micro\.cc"),
    (r"cmocka\.h", r"tests/.*"),
)
LINES_MAX = 800
HEADER_LINES_MAX = 250
COLUMNS_MAX = 100
# In two parts, so that this file does not hold the words.
LEFT_OVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
SLEEP = re.compile(r"\b(u|nano|clock_nano)?sleep\s*\(|(^|[;&|]|\bdo\b|\bthen\b)\s*sleep\s+[0-9.$]")
BYTE_ORDER = re.compile(r"\b((hton|ntoh)[slq]|hto[bl]e(16|32|64)|[bl]e(16|32|64)toh|__builtin_bswap\w+)\b")
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else)\b\s*(.*)")
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')
EXCEPTION = re.compile(r"breaks rule (\w+): \w+")


def is_c(path):
    return path.endswith((".c", ".h"))


def conditions(path, lines):
    """No conditional compilation but guards and extern "C": what the kernel offers is probed at run time."""
    if not is_c(path) or re.fullmatch(r"core/base\.h|core/ring_uring\w*\.[ch]", path):
        return
    for number, line in enumerate(lines, 1):
        match = CONDITION.match(line)
        if match is None:
            continue
        rest = match[2].split("/*")[0].strip()
        is_guard = match[1] == "ifndef" and re.fullmatch(r"PENSTOCK_\w+_H", rest)
        if not is_guard and not (match[1] == "ifdef" and rest == "__cplusplus"):
            yield number, line.strip()


def typedefs(path, lines):
    """`struct x`: no typedef but of function types, and no name of ours ends in _t."""
    for number, line in enumerate(lines, 1):
        match = re.match(r"\s*typedef\b(.*)", line) if is_c(path) else None
        if match and ("(" not in match[1] or re.search(r"\w_t\s*[;(]", match[1].split("(")[0] + "(")):
            yield number, line.strip()
        elif is_c(path) and re.match(r"\s*(struct|union|enum)\s+\w+_t\s*\{", line):
            yield number, line.strip()


def libraries(path, lines):
    """Each library is included where its wrapper is, and nowhere else."""
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        for header, place in LIBRARIES if match else ():
            if re.fullmatch(header, match[2]) and not re.fullmatch(place, path):
                yield number, f"{match[2]} belongs to {place}"


def layers(path, lines):
    """A layer includes its own headers and those of the layers below, never by a way around its view."""
    layer = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match is None or match[1] == "<":
            continue
        folder = match[2].split("/")[0] if "/" in match[2] else layer
        if ".." in match[2] or match[2].startswith("/"):
            yield number, "includes by a path around the view"
        elif layer in MAY_INCLUDE and folder not in MAY_INCLUDE[layer]:
            yield number, f"{layer} may not include {match[2]}"
        elif match[2].endswith("_internal.h") and "/" in match[2]:
            yield number, "a private header is included from its own folder only"


def left_overs(_path, lines):
    """What is not done stands in an issue, not in the source."""
    for number, line in enumerate(lines, 1):
        if LEFT_OVER.search(line):
            yield number, line.strip()


def length(path, lines):
    """One subject a file; a header is a manual."""
    limit = HEADER_LINES_MAX if path.endswith(".h") else LINES_MAX
    if len(lines) > limit:
        yield len(lines), f"{len(lines)} lines, at most {limit}"


def columns(path, lines):
    """What clang-format does not break: long comments and strings."""
    for number, line in enumerate(lines, 1):
        if path.endswith((".c", ".h", ".cc")) and len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns"


def opening(path, lines):
    """A file says first what it is for."""
    if path.endswith((".c", ".h", ".cc")) and not (lines and lines[0].startswith("/*")):
        yield 1, "opens without a comment"


def sleeps(path, lines):
    """A test waits for the event, with a bound, never for time to pass."""
    for number, line in enumerate(lines, 1):
        if path.startswith("tests/") and SLEEP.search(line):
            yield number, line.strip()


def byte_order(path, lines):
    """Integers on the wire are read and written by core/wire.h and its parts."""
    for number, line in enumerate(lines, 1):
        if is_c(path) and not re.fullmatch(r"core/wire\w*\.h", path) and BYTE_ORDER.search(line):
            yield number, line.strip()


def mains(path, lines):
    """Programs live in tools/, bench/ and tests/."""
    for number, line in enumerate(lines, 1):
        if path.split("/")[0] in MAY_INCLUDE and re.match(r"int main\(", line):
            yield number, "a layer has no main()"


RULES = (conditions, typedefs, libraries, layers, left_overs, length, columns, opening, sleeps, byte_order, mains)


def breaches(path, text):
    """Every breach in one file, as (line, rule, what)."""
    lines = text.splitlines()
    for rule in RULES:
        for number, what in rule(path, lines):
            exception = EXCEPTION.search(lines[number - 1]) if 0 < number <= len(lines) else None
            if rule in (length, opening) or exception is None or exception[1] != rule.__name__:
                yield number, rule.__name__, what


def sources(root):
    for folder in FOLDERS:
        for place, _folders, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(place, name), root)
                is_script = "." not in name and folder == "tools"
                is_source = name.endswith((".c", ".h", ".cc", ".py", ".sh", ".cmake", ".js", ".mjs"))
                if (is_source or is_script) and path != "tests/checks/sources.py":
                    yield path


def check(root):
    count = 0
    checked = 0
    for path in sources(root):
        checked += 1
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for number, rule, what in breaches(path, file.read()):
                print(f"{path}:{number}: {rule}: {what}")
                count += 1
    print(f"{checked} files, {count} breaches")
    return 1 if count or not checked else 0


# Per rule: files that break it, then files that come close and do not. `/**/` opens them where the opening is
# not what is tried.
EXAMPLES = {
    "conditions": (
        [("net/a.c", "/**/\n#ifdef HAVE_X\n#endif\n"), ("core/base.c", "/**/\n#if 1\n"), ("net/a.h", "/**/\n # if X\n")],
        [("net/a.h", "/**/\n#ifndef PENSTOCK_NET_A_H\n#endif\n"), ("core/ring_uring_x.c", "/**/\n#if 1\n"),
         ("bench/a.h", "/**/\n#ifdef __cplusplus\n"), ("core/base.h", "/**/\n#elif 1\n")]),
    "typedefs": (
        [("net/a.h", "/**/\ntypedef struct a a;\n"), ("net/a.h", "/**/\ntypedef void a_t(int b);\n"),
         ("net/a.h", "/**/\nstruct a_t {\n")],
        [("net/a.h", "/**/\ntypedef void a_done(uint32_t b);\n"), ("net/a.c", "/**/\nuint32_t a;\n")]),
    "libraries": (
        [("net/net.c", "/**/\n#include <liburing.h>\n"), ("session/a.c", "/**/\n#include <openssl/evp.h>\n"),
         ("core/pool.c", "/**/\n#include <mimalloc.h>\n"), ("broker_client/embedded/keys.c", "/**/\n#include <lmdb.h>\n")],
        [("core/ring_uring.c", "/**/\n#include <liburing.h>\n"), ("session/password_file.c", "/**/\n#include <openssl/evp.h>\n"),
         ("broker_client/embedded/key_file_lmdb.c", "/**/\n#include <lmdb.h>\n")]),
    "layers": (
        [("core/a.c", '/**/\n#include "net/net.h"\n'), ("net/a.c", '/**/\n#include "../session/hub.h"\n'),
         ("broker_client/a.h", '/**/\n#include "session/hub.h"\n'), ("net/a.c", '/**/\n#include "core/config_internal.h"\n')],
        [("session/a.c", '/**/\n#include "broker_client/broker.h"\n'), ("net/a.c", '/**/\n#include "net_internal.h"\n'),
         ("tests/sim/a.c", '/**/\n#include "session/hub.h"\n')]),
    "left_overs": ([("core/a.c", "/**/\n/* TO" "DO: later */\n"), ("tools/run", "# FIX" "ME\n")], [("core/a.c", "/**/\nint x;\n")]),
    "length": ([("core/a.c", "/**/\n" * 801), ("core/a.h", "/**/\n" * 251)], [("core/a.c", "/**/\n" * 800), ("core/a.h", "/**/\n" * 250)]),
    "columns": ([("core/a.c", "/*" + "x" * 99)], [("core/a.c", "/*" + "x" * 98), ("core/a.c", "/*" + "\u00e4" * 98)]),
    "opening": ([("core/a.c", "int a;\n"), ("core/a.h", "")], [("core/a.c", "/* What it is for. */\n")]),
    "sleeps": (
        [("tests/a.c", "/**/\n usleep(1);\n"), ("tests/a.py", "time.sleep(0.1)\n"), ("tests/a.sh", "do sleep 1; done\n"),
         ("tests/a.c", "/**/\n nanosleep(&a, NULL);\n")],
        [("tests/a.c", "/**/\n is_sleeping(a);\n"), ("tests/a.py", "# a test that does not sleep\n"),
         ("tests/a.c", "/**/\n sleep(1); /* breaks rule sleeps: the kernel tells nobody */\n")]),
    "byte_order": ([("net/a.c", "/**/\n a = ntohs(b);\n"), ("tests/a.c", "/**/\n htonl(1);\n")], [("core/wire_big.h", "/**/\n htons(1);\n")]),
    "mains": ([("core/a.c", "/**/\nint main(void)\n")], [("tools/a.c", "/**/\nint main(void)\n")]),
}


def self_test():
    failures = 0
    for rule in RULES:
        bad, good = EXAMPLES[rule.__name__]
        for path, text in bad:
            if rule.__name__ not in [name for _line, name, _what in breaches(path, text)]:
                print(f"{rule.__name__}: lets pass: {path}: {text[:60]!r}")
                failures += 1
        for path, text in good:
            found = list(breaches(path, text))
            if found:
                print(f"{rule.__name__}: refuses: {path}: {text[:60]!r}: {found}")
                failures += 1
    print(f"{len(RULES)} rules, {failures} of them wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else check(sys.argv[1]))
