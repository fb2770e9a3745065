"""The real gateway as a test drives it: started on a free port of 127.0.0.1 with a private data
directory, awaited until event=ready, stopped by SIGTERM. Stopping fails the test when the exit
status is not 0 or when a sanitizer reported something. Every wait has a bound; nothing here
sleeps."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.request

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")


def lasting_port():
    """A free port for a server that ends and comes back. One that the system gives away by itself would not
    do: while the server is away a client's own end may get it, and then is connected with itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first = int(file.read().split()[0])
    for port in random.sample(range(10000, first), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("a hundred ports were taken")


class Daemon:
    """One gateway process after the other, on one data directory. `settings` are KEY=VALUE texts for --set; those
    in capitals are for its environment instead. `port` 0: a free one. `before`: words that start the program. A
    `directory` that is given stays when the daemon is stopped."""

    def __init__(self, program, shards, settings=(), arguments=(), port=0, directory=None, before=()):
        self.program = program
        self.settings = settings
        self.arguments = arguments
        self.before = before
        self.port = port
        self.change = threading.Condition()
        self.is_directory_given = directory is not None
        self.directory = directory or tempfile.mkdtemp(prefix="penstock-test-")
        self.start(shards)

    def start(self, shards):
        """A process, again on the port of the one before if that was given."""
        words = [*self.before, self.program, "--listen", f"127.0.0.1:{self.port}"]
        words += ["--data-dir", self.directory, "--shards", str(shards)]
        environment = dict(os.environ)
        for setting in ("admin.listen=127.0.0.1:0", *self.settings):
            name, value = setting.split("=", 1)
            if name.isupper():
                environment[name] = value
            else:
                words += ["--set", setting]
        self.lines = []
        self.process = subprocess.Popen(
            words + list(self.arguments), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace", env=environment)
        self.reader = threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True)
        self.reader.start()
        try:
            ready = self.wait_for_line("event=ready", START_SECONDS_MAX)
            self.port = int(re.search(r"\blisten=127\.0\.0\.1:(\d+)", ready)[1])
            self.admin_port = int(re.search(r"\badmin=127\.0\.0\.1:(\d+)", ready)[1])
        except BaseException:
            self.process.kill()
            self._clean()
            raise

    def _read(self, process, lines):
        for line in process.stderr:
            with self.change:
                lines.append(line.rstrip("\n"))
                self.change.notify_all()
        with self.change:
            lines.append(None)
            self.change.notify_all()

    def kill(self):
        """SIGKILL, as when the power goes: nothing is kept but what the system was given. It must have run until
        then, and no sanitizer may have spoken."""
        self.process.kill()
        status = self.process.wait(STOP_SECONDS_MAX)
        self.reader.join(STOP_SECONDS_MAX)
        if status != -signal.SIGKILL or SANITIZER.search(self.log()):
            self._clean()
            raise AssertionError(f"the daemon had ended by itself, with {status}:\n" + self.log())

    def wait_for_line(self, text, seconds=10, start=0):
        """The first log line from number `start` on that contains `text`."""
        found = []

        def look():
            found[:] = [line for line in self.lines[start:] if line is not None and text in line]
            return found or None in self.lines

        with self.change:
            self.change.wait_for(look, seconds)
            if not found:
                raise AssertionError(f"no log line with {text!r}:\n" + self.log())
        return found[0]

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def get(self, path):
        """Body of a GET at the administrator's port."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name, **labels):
        """The sum of a metric over all shards and over all labels that are not given."""
        total = 0
        for line in self.get("/metrics").splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if match is None or match[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(have.get(label) == value for label, value in labels.items()):
                total += int(float(match[3]))
        return total

    def resident_bytes(self):
        """Of the process; under ThreadSanitizer, whose shadow is four times the memory, an
        estimate."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            resident = int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024
        with open(f"/proc/{self.pid}/exe", "rb") as program:
            return resident // 5 if b"__tsan_init" in program.read() else resident

    def stop(self):
        """SIGTERM, then the checks."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS_MAX)
            status = "none: it had to be killed"
        self.reader.join(STOP_SECONDS_MAX)
        self._clean()
        if status != 0 or SANITIZER.search(self.log()):
            raise AssertionError(f"the daemon's exit status was {status}:\n" + self.log())

    def _clean(self):
        self.process.wait(STOP_SECONDS_MAX)
        if not self.is_directory_given:
            shutil.rmtree(self.directory, ignore_errors=True)

