"""Starts the servers that are measured and the load client that measures them, for the scripts of perf/.

A server runs on core 0 and on a free port from `with` to the end of the block, whatever happens in it; the load
client runs on core 1. Nothing here waits without a bound.
"""
import contextlib
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
SERVER_CORE = "0"
CLIENT_CORE = "1"
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60


class Server:
    """A running server: its process id and where it listens."""

    def __init__(self, name, process, port, admin_port=None):
        self.name = name
        self.process = process
        self.pid = process.pid
        self.port = port
        self.admin_port = admin_port


def require_build():
    """The release programs, built from this checkout."""
    for program in ("penstock", "penstock-bench"):
        if not (BUILD / program).exists():
            raise SystemExit(f"perf: {BUILD / program} is missing: cmake --preset release && "
                             "cmake --build --preset release -j 2")


def broker(kind, commit="synced"):
    """The gateway's options for a broker: "embedded" or "memory"."""
    words = ["--set", f"broker.type={kind}"]
    return [*words, "--set", f"broker.commit={commit}"] if kind == "embedded" else words


def add_type(parser):
    """The option --type: the broker behind the gateway."""
    parser.add_argument("--type", choices=["embedded", "memory"], default="embedded",
                        help="on disk, synced (the gateway's default), or in memory")


def many_connections(count):
    """The gateway's options for so many loopback connections, spread over addresses other than 127.0.0.1; it has to
    listen on 0.0.0.0."""
    return ["--set", "auth.allow_anonymous=yes", "--set", f"connection.count_max={count + 1000}", "--set",
            "connection.accepts_per_second_max=0"]


def checked(result, what="a load"):
    """The summary of a load that has to be good."""
    if not result["is_good"]:
        raise SystemExit(f"perf: {what} failed: {result}")
    return result


class Memory(threading.Thread):
    """The most private memory that a process has while it runs, looked at twice a second. A context."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path = pathlib.Path(f"/proc/{pid}/smaps_rollup")
        self.ended = threading.Event()
        self.peak = self.now()

    def now(self):
        """Private_Dirty bytes: pages of files, such as the key-value store's map, do not count."""
        found = re.search(r"Private_Dirty:\s+(\d+) kB", self.path.read_text())
        return int(found.group(1)) * 1024

    def run(self):
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, self.now())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.peak = max(self.peak, self.now())


def cpu_seconds(pid):
    """User and system time of a process up to now."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def directory_bytes(path):
    """What the files take on disk."""
    return sum(entry.stat().st_blocks * 512 for entry in pathlib.Path(path).rglob("*") if entry.is_file())


def forget_pages(path):
    """Lets the system drop the pages of all files, so that they are read from the disk again."""
    for entry in pathlib.Path(path).rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _stop(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(what, ready):
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"perf: {what} did not start in {START_SECONDS_MAX} s")


@contextlib.contextmanager
def penstock(*options, host="127.0.0.1", core=SERVER_CORE, shards=1, data=None):
    """The gateway of this checkout. `options` are further words of its command line; `data` its data directory, or
    None: one that is removed with it."""
    with tempfile.TemporaryDirectory(prefix="perf-") as directory:
        log_path = pathlib.Path(directory) / "log"
        words = ["taskset", "-c", core, str(BUILD / "penstock"), "--listen", f"{host}:0", "--shards", str(shards),
                 "--data-dir", str(data or pathlib.Path(directory) / "data"), "--set", "admin.listen=127.0.0.1:0", *options]
        with open(log_path, "wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            def ready():
                text = log_path.read_text()
                if process.poll() is not None:
                    raise SystemExit(f"perf: penstock ended at its start:\n{text}")
                line = re.search(r"event=ready .*", text)
                return line.group(0) if line else None
            line = _wait_for("penstock", ready)
            port = int(re.search(r" listen=\S+:(\d+)", line).group(1))
            admin = int(re.search(r" admin=\S+:(\d+)", line).group(1))
            yield Server("penstock", process, port, admin)
        finally:
            _stop(process)


@contextlib.contextmanager
def mosquitto():
    """Mosquitto with perf/peers/mosquitto.conf."""
    program, libraries = _mosquitto()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="perf-") as directory:
        path = pathlib.Path(directory) / "mosquitto.conf"
        path.write_text((ROOT / "perf/peers/mosquitto.conf").read_text().replace("@PORT@", str(port)))
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, program, "-c", str(path)],
                                   env={**os.environ, "LD_LIBRARY_PATH": libraries},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def ready():
                if process.poll() is not None:
                    raise SystemExit(f"perf: mosquitto ended at its start with {process.returncode}")
                with socket.socket() as client:
                    return client.connect_ex(("127.0.0.1", port)) == 0
            _wait_for("mosquitto", ready)
            yield Server("mosquitto", process, port)
        finally:
            _stop(process)


def _mosquitto():
    answer = subprocess.run([ROOT / "perf/peers/get-mosquitto"], stdout=subprocess.PIPE, text=True, check=True)
    program, libraries = answer.stdout.splitlines()[:2] if answer.stdout.count("\n") > 1 else (answer.stdout.strip(), "")
    return program, libraries


def mosquitto_version():
    program, libraries = _mosquitto()
    answer = subprocess.run([program, "-h"], env={**os.environ, "LD_LIBRARY_PATH": libraries},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return answer.stdout.splitlines()[0]


def bench_words(server, mode, *options, core=CLIENT_CORE):
    """How penstock-bench is started; `core` None: on any."""
    return [str(BUILD / "penstock-bench"), mode, "--port", str(server.port), "--server-pid", str(server.pid),
            *(["--cpu", core] if core is not None else []), "--json", "--quiet", *map(str, options)]


def bench(server, mode, *options, seconds_max, core=CLIENT_CORE, is_first=False):
    """One run of penstock-bench against the server: its summary. `is_first`: before other clients on its core, which
    asks for root."""
    words = bench_words(server, mode, *options, core=core)
    if is_first and os.geteuid() == 0:
        words = ["nice", "-n", "-15", *words]
    answer = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=seconds_max, check=False)
    if not answer.stdout.startswith("{"):
        raise SystemExit(f"perf: {' '.join(words)} gave no summary (exit status {answer.returncode})")
    return json.loads(answer.stdout)


def where():
    """What a figure has to be quoted with: commit, machine, versions."""
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True,
                            check=False).stdout.strip()
    return f"commit {commit}, {os.cpu_count()} cores, kernel {platform.release()}"


def spread(values, digits=3):
    """Median and range as text."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def load():
    return f"{os.getloadavg()[0]:.1f}"
