"""The gateway's program as an operator calls it: run to its end, or started and watched. For tests of the
command line; those of a running gateway use daemon.py."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

SECONDS_MAX = 30
PROGRAM = os.path.abspath(sys.argv[sys.argv.index("--program") + 1])
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")


def with_data_dir(arguments):
    """The arguments with a data directory of their own, unless they name one or start nothing, and that
    directory."""
    if {"--data-dir", "--check", "--print-config", "--version", "--help"} & set(arguments):
        return list(arguments), None
    directory = tempfile.mkdtemp(prefix="penstock-test-")
    return ["--data-dir", directory, *arguments], directory


def run(*arguments, before=(), **options):
    """The program with these arguments, to its end. `before`: words that start it, such as setarch."""
    arguments, directory = with_data_dir(arguments)
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    done = subprocess.run([*before, PROGRAM, *arguments], timeout=SECONDS_MAX, check=False, text=True,
                          errors="replace", **options)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    assert not SANITIZER.search(done.stderr or ""), done.stderr
    return done


def refused(*arguments, **options):
    """The error of a start that must fail: status 2, and one fatal line on standard error, before which
    only what a start tells may stand."""
    done = run(*arguments, **options)
    lines = [line for line in done.stderr.splitlines() if " event=recovered " not in line]
    assert done.returncode == 2, f"status {done.returncode} of {arguments}: {done.stderr}"
    assert len(lines) == 1, f"{len(lines)} lines of {arguments}: {done.stderr}"
    match = re.fullmatch(r'ts=\S+ level=fatal event=\w+ error="([^"]*)"', lines[0])
    assert match, lines[0]
    return match[1]


def file_with(text):
    """A file that lives as long as what is returned."""
    file = tempfile.NamedTemporaryFile("w", suffix=".conf")
    file.write(text)
    file.flush()
    return file


class Running:
    """A gateway that was started with exactly these arguments; use as a context."""

    def __init__(self, *arguments, before=(), **options):
        self.lines = []
        self.change = threading.Condition()
        arguments, self.directory = with_data_dir(arguments)
        self.process = subprocess.Popen([*before, PROGRAM, *arguments], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace", **options)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.change:
                self.lines.append(line.rstrip("\n"))
                self.change.notify_all()
        with self.change:
            self.lines.append(None)
            self.change.notify_all()

    def wait_for(self, pattern, start=0):
        """Match of the first line from number `start` on."""
        def look():
            for line in self.lines[start:]:
                match = line is not None and re.search(pattern, line)
                if match:
                    return match
            return None in self.lines[start:]

        with self.change:
            found = self.change.wait_for(look, SECONDS_MAX)
        assert found and found is not True, f"no line with {pattern}:\n" + self.log()
        return found

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit status."""
        status = self.process.wait(SECONDS_MAX)
        self.reader.join(SECONDS_MAX)
        assert not SANITIZER.search(self.log()), self.log()
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self._end(kind)
        finally:
            if self.directory is not None:
                shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, kind):
        if self.process.poll() is not None:
            self.reader.join(SECONDS_MAX)
            return
        self.process.send_signal(signal.SIGKILL if kind else signal.SIGTERM)
        status = self.process.wait(SECONDS_MAX)
        self.reader.join(SECONDS_MAX)
        assert kind or status == 0, f"status {status}:\n" + self.log()
