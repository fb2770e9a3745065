"""The command line as a careless or hostile user types it: what is wrong ends the start with one line
that says what and where, and status 2."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import command
from command import Running, file_with, refused, run
from mqtt import Client
from suite import Skipped, behaviour, main

HERE = os.path.dirname(os.path.abspath(__file__))


@behaviour()
def version_and_help_are_told_on_standard_output(gateway):
    assert re.fullmatch(r"penstock \d+\.\d+\.\d+ \(([0-9a-f]+|unknown)\)\n", run("--version").stdout)
    told = run("--help")
    assert told.returncode == 0 and told.stdout.startswith("usage: penstock "), told


@behaviour()
def wrong_options_are_named(gateway):
    assert "'--bogus'" in refused("--bogus")
    assert "missing after '--listen'" in refused("--listen")
    assert "'extra'" in refused("--check", "extra")
    assert "too many" in refused(*["--set", "shards=1"] * 300)


@behaviour()
def wrong_values_are_named_with_what_is_allowed(gateway):
    assert refused("--set", "nope=1") == "command line: unknown key 'nope'; --print-config lists what is allowed"
    assert refused("--shards", "65") == "command line: shards: '65' is out of range; allowed: 0 to 64 threads"
    assert refused("--shards", "0x2").startswith("command line: shards: '0x2' is not a whole number; allowed:")
    assert "allowed: KEY=VALUE" in refused("--set", "shards")
    assert "auto or direct or plain" in refused("--set", "ring.descriptors=maybe")


@behaviour()
def wrong_files_are_named_with_their_line(gateway):
    assert refused("--config", "/nonexistent/x.conf") == (
        "/nonexistent/x.conf: cannot be read: No such file or directory")
    assert refused("--config", "/").endswith("Is a directory")
    for text, expected in (("\n\nsession.expirey = 7d\n", ":3: "), ("shards = 1\nshards = 2\n", ":2: "),
                           ("session {\n expiry = 5\n}\n", ":2: session.expiry: "),
                           ("nope = 1\n", ":1: unknown key 'nope'; --print-config lists what is allowed"),
                           ("\nlisten = {\"127.0.0.1:0\", \"nowhere\"}\n", ":2: listen: 'nowhere'"),
                           ("auth.password_file = \"/nonexistent\"", ":1: auth.password_file: /nonexistent: ")):
        with file_with(text) as file:
            error = refused("--config", file.name, "--check")
            assert error.startswith(file.name + expected), error


@behaviour()
def addresses_that_cannot_be_had_are_named(gateway):
    for text in ("1883", "127.0.0.1:65536", "::1:1883", "127.0.0.1:", "[::1]"):
        error = refused("--listen", text)
        assert error.startswith(f"command line: listen: '{text}' is no address; allowed: HOST:PORT"), error
    assert "is no host that is known" in refused("--listen", "penstock.invalid:1883")
    assert "allowed: 1 to 16 texts" in refused("--set", "listen=")
    assert "allowed: 1 to 16 texts" in refused(*["--listen", "127.0.0.1:0"] * 17)
    assert "Allowed: 1 to 16 texts" in run("--print-config").stdout
    # 192.0.2.0/24 is kept for documentation; no host has it.
    assert "allowed: an address of this host" in refused("--listen", "192.0.2.1:1883")


@behaviour()
def a_port_in_use_is_named(gateway):
    error = refused("--listen", f"127.0.0.1:{gateway.port}")
    assert error.startswith(f"listen: 127.0.0.1:{gateway.port}: Address already in use"), error
    error = refused("--listen", "127.0.0.1:0", "--set", f"admin.listen=127.0.0.1:{gateway.daemon.admin_port}")
    assert error.startswith("admin.listen: ") and "already in use" in error, error
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert "already in use" in refused("--listen", address)


@behaviour()
def an_address_that_is_given_twice_is_named_by_check(gateway):
    error = "is an address of listen already; allowed: each address once"
    twice = ("--listen", "127.0.0.1:7", "--listen", "localhost:7")
    assert refused(*twice, "--check") == f"command line: listen: 'localhost:7' {error}"
    once = ("--listen", "127.0.0.1:7", "--listen", "127.0.0.1:8")
    assert refused(*once, "--set", "admin.listen=127.0.0.1:8", "--check") == (
        f"command line: admin.listen: '127.0.0.1:8' {error}")
    run("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0",
        "--check").check_returncode()


@behaviour()
def memory_that_does_not_suffice_for_a_start_is_named(gateway):
    for shards in ("1", "3"):
        arguments = ("--listen", "127.0.0.1:0", "--shards", shards, "--set")
        for value in ("100", "1M", "4M"):
            for more in ((), ("--check",)):
                error = refused(*arguments, f"memory.bytes_max={value}", *more)
                assert re.match(rf"command line: memory\.bytes_max: \d+ bytes are too few for {shards} shards; allowed: ",
                                error), error
        least = re.search(r"allowed: at least (\d+k)", error)[1]
        with Running(*arguments, f"memory.bytes_max={least}") as running:
            running.wait_for("event=ready")


@behaviour()
def packets_that_no_record_can_hold_are_told(gateway):
    words = ("--check", "--shards", "2", "--set", "connection.packet_bytes_max=4M", "--set")
    for kind, key in (("memory", "broker.memory_bytes"), ("embedded", "broker.tail_bytes")):
        told = run(*words, f"broker.type={kind}", "--set", f"{key}=8M").stderr
        assert re.search(r"level=warning event=packets_too_large packet_bytes_max=4194304 record_bytes_max=\d+ "
                         f'.* or raise {key}"', told), told
        assert run(*words, f"broker.type={kind}", "--set", f"{key}=32M").stderr == ""


@behaviour()
def a_pipe_that_nobody_writes_to_is_not_waited_for(gateway):
    with tempfile.TemporaryDirectory() as directory:
        pipe = os.path.join(directory, "pipe")
        os.mkfifo(pipe)
        assert refused("--config", pipe, "--check") == f"{pipe}: cannot be read: Connection timed out"
        with Running("--config", pipe) as running:  # and it can be interrupted
            running.signal(signal.SIGINT)
            assert running.wait() == -signal.SIGINT


@behaviour()
def a_data_directory_must_be_one(gateway):
    with file_with("") as file:
        assert "Not a directory" in refused("--data-dir", file.name, "--check")


@behaviour()
def a_start_tells_where_everything_is_kept(gateway):
    gateway.daemon.wait_for_line("level=info event=storage kind=embedded "
                                 f'data_dir="{gateway.daemon.directory}" commit=synced ')
    with tempfile.TemporaryDirectory() as directory:
        words = ("--listen", "127.0.0.1:0", "--data-dir", directory, "--set", "broker.type=memory")
        with Running(*words) as running:
            running.wait_for('level=info event=storage kind=memory remark="sessions, ')
            running.wait_for(f'level=warning event=data_dir_unused data_dir="{directory}" ')
        assert os.listdir(directory) == []
        missing = os.path.join(directory, "missing")
        assert "No such file" in refused("--data-dir", os.path.join(missing, "data"), "--check")
        assert run("--data-dir", missing + "/", "--check").stderr == ""
        assert os.listdir(directory) == []


@behaviour()
def a_listener_whose_clients_would_all_be_refused_is_told(gateway):
    told = run("--listen", "127.0.0.1:1883", "--listen", ":1884", "--check").stderr.splitlines()
    assert len(told) == 1, told
    assert 'level=warning event=clients_refused listen=":1884" reason=' in told[0], told
    assert 'remedy="set auth.password_file, or auth.allow_anonymous=yes"' in told[0], told
    assert run("--listen", ":1884", "--set", "auth.allow_anonymous=yes", "--check").stderr == ""
    with Running("--listen", "0.0.0.0:0") as running:
        running.wait_for("event=ready")
        running.wait_for('event=clients_refused listen="0.0.0.0:0"')


@behaviour()
def a_bad_password_file_is_named_with_its_line(gateway):
    with file_with("# users\nalice:plain\n") as file:
        for arguments in (("--check",), ("--listen", "127.0.0.1:0")):
            error = refused("--set", f"auth.password_file={file.name}", *arguments)
            assert f"{file.name}:2: " in error, error


@behaviour()
def check_validates_without_listening(gateway):
    done = run("--listen", f"127.0.0.1:{gateway.port}", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "penstock: the configuration is good\n", "")


@behaviour()
def print_config_prints_every_key_and_can_be_read_back(gateway):
    done = run("--print-config", "--set", "session.expiry=3d", "--listen", "[::1]:7", "--listen", ":0")
    lines = done.stdout.splitlines()
    assert "session.expiry = 3d" in lines and 'listen = {"[::1]:7", ":0"}' in lines, done.stdout
    assert len(lines) % 2 == 0
    for remark, setting in zip(lines[::2], lines[1::2]):
        assert re.fullmatch(r"# .+\. Default: .+\. Allowed: .+\.( SIGHUP applies changes\.)?", remark), remark
        assert re.fullmatch(r"[a-z0-9_.]+ = .+", setting), setting
    with file_with(done.stdout) as file:
        assert run("--config", file.name, "--print-config").stdout == done.stdout
    with open("/dev/full", "w", encoding="ascii") as full:
        assert run("--print-config", stdout=full).returncode == 2


@behaviour()
def a_kernel_that_is_too_old_is_named(gateway):
    if shutil.which("setarch") is None:
        raise Skipped("there is no setarch")
    error = refused("--listen", "127.0.0.1:0", before=["setarch", os.uname().machine, "--uname-2.6"])
    assert re.fullmatch(r"kernel 2\.6\.\S+ is too old; remedy: Linux 6\.1 or newer", error), error


@behaviour()
def a_limit_of_descriptors_that_is_too_small_is_named(gateway):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    error = refused("--listen", "127.0.0.1:0", preexec_fn=limit)
    assert error.startswith("RLIMIT_NOFILE is 100, at least 256 are needed; remedy: "), error


@behaviour()
def descriptors_that_do_not_suffice_for_the_connections_are_told(gateway):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    for settings, is_told in ((("--set", "ring.descriptors=plain"), True),
                              (("--set", "ring.descriptors=plain", "--set", "connection.count_max=500"), False)):
        with Running("--listen", "127.0.0.1:0", *settings, preexec_fn=limit) as running:
            running.wait_for("event=ready")
            told = re.search(r"level=warning event=few_descriptors connections_max=1000000 possible=(\d+) "
                             r'remedy="raise RLIMIT_NOFILE', running.log())
            assert (told is not None) == is_told, running.log()
            # Beside the margin of 128 the log has two of 32, and some for each shard.
            assert told is None or 760 <= int(told[1]) <= 896 - 2 * 1024 // 32, told


def forbidding(errno_name):
    """Words that start a program in which io_uring_setup fails with this error."""
    words = [sys.executable, os.path.join(HERE, "forbid_io_uring.py"), errno_name]
    if subprocess.run([*words, "true"], check=False).returncode == 77:
        raise Skipped("seccomp filters are not to be had here")
    return words


@behaviour()
def a_seccomp_filter_that_forbids_io_uring_is_named(gateway):
    for errno_name in ("EPERM", "ENOSYS"):
        error = refused("--listen", "127.0.0.1:0", before=forbidding(errno_name))
        assert error.startswith("io_uring is forbidden by a seccomp filter"), error
        assert "remedy: allow io_uring_setup" in error, error


@behaviour()
def a_sysctl_that_forbids_io_uring_is_named(gateway):
    # In a mount namespace of its own, where the sysctl seems to say 2; the refusal itself is the filter's.
    with file_with("2\n") as file:
        script = 'mount --bind "$1" /proc/sys/kernel/io_uring_disabled || exit 77; shift; exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", script, "sh", file.name]
        if subprocess.run([*words, "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
            raise Skipped("a mount namespace needs root")
        error = refused("--listen", "127.0.0.1:0", before=[*words, *forbidding("EPERM")])
        assert error.startswith("io_uring is forbidden by kernel.io_uring_disabled=2; remedy: sysctl -w"), error


@behaviour()
def ready_is_told_once_with_every_real_port(gateway):
    listen = ["--listen", "127.0.0.1:0", "--listen", "localhost:0"]
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        listen += ["--listen", "[::1]:0"]
    except OSError:
        print("without IPv6, which this host has not")
    with Running("--shards", str(gateway.shards), *listen) as running:
        running.wait_for("event=ready")
        line = [line for line in running.lines if line and "event=ready" in line]
        ports = re.findall(r"\blisten=(\S+):(\d+)", line[0])
        assert len(ports) == len(listen) // 2 and len(set(ports)) == len(ports), line
        for host, port in ports:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
                pass
        running.signal(signal.SIGTERM)
        status = running.wait()
        assert status == 0, f"status {status}:\n" + running.log()
        assert running.log().count("event=ready") == 1, running.log()


@behaviour()
def standard_streams_that_are_closed_do_no_harm(gateway):
    with tempfile.TemporaryDirectory() as directory:
        port = gateway.port
        script = f'exec "$0" --listen 127.0.0.1:{port} --data-dir {directory} <&- >&- 2>&-'
        # The port is in use: the start fails, and its line goes nowhere, above all not into a socket.
        done = subprocess.run(["sh", "-c", script, command.PROGRAM], timeout=60, check=False)
        assert done.returncode == 2
    reader, writer = os.pipe()
    data = tempfile.TemporaryDirectory()
    process = subprocess.Popen([command.PROGRAM, "--listen", "127.0.0.1:0", "--data-dir", data.name], stderr=writer)
    os.close(writer)
    text = b""
    while b"event=ready" not in text or not text.endswith(b"\n"):
        part = os.read(reader, 4096)
        assert part, text  # it ended
        text += part
    os.close(reader)  # what is logged from here on meets a broken pipe
    try:
        client = Client(int(re.search(rb"listen=127\.0\.0\.1:(\d+)", text)[1]))
        client.connect("after the reader has gone")
        process.send_signal(signal.SIGHUP)
        client.ping()
        client.disconnect()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        data.cleanup()


@behaviour()
def a_stop_drains_and_a_second_signal_ends_at_once(gateway):
    with Running("--shards", str(gateway.shards), "--listen", "127.0.0.1:0", "--set", "connection.linger=1m") as running:
        port = int(running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+)")[1])
        reader = Client(port, receive_bytes=4096)
        reader.connect("who never reads")
        reader.subscribe("flood")
        writer = Client(port)
        writer.connect("writer")
        for _ in range(100):
            writer.publish("flood", b"x" * 100000)
        writer.ping()
        running.signal(signal.SIGTERM)
        running.wait_for("event=stopping signal=15")
        writer.expect_close()  # it had nothing to drain
        running.signal(signal.SIGTERM)
        running.wait_for("event=stopping_at_once")
        status = running.wait()
        assert status == 0, f"status {status}:\n" + running.log()
        assert "drain_ended" not in running.log()
        reader.close()


if __name__ == "__main__":
    main()
