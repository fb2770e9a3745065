"""SIGHUP: the configuration and the password file are read again; what cannot be taken over leaves
everything as it is."""

import base64
import hashlib
import os
import re
import signal
import tempfile

from command import Running
from mqtt import Client, Closed
from suite import behaviour, main


# AddressSanitizer keeps what was freed for a while; not here, where memory is measured.
SMALL_QUARANTINE = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1")


class Files:
    """A gateway with a configuration file that can be rewritten."""

    def __init__(self, shards, text):
        self.directory = tempfile.TemporaryDirectory()
        self.config = os.path.join(self.directory.name, "penstock.conf")
        self.write(text)
        self.running = Running("--config", self.config, "--listen", "127.0.0.1:0", "--shards", str(shards),
                               "--data-dir", self.directory.name, env=SMALL_QUARANTINE)
        self.port = int(self.running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+)")[1])

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def reload(self, event):
        """SIGHUP; the lines that came with it, up to this event."""
        start = len(self.running.lines)
        self.running.signal(signal.SIGHUP)
        self.running.wait_for(f"event={event}( |$)", start)
        return [line for line in self.running.lines[start:] if line is not None]

    def resident_bytes(self):
        with open(f"/proc/{self.running.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def connect(self, client_id, **options):
        client = Client(self.port)
        client.connect(client_id, **options)
        return client

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.running.__exit__(*what)
        self.directory.cleanup()


def password_hash(password):
    """As mosquitto_passwd writes it."""
    salt = os.urandom(12)
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}"


def is_refused(client, topic):
    """Whether a publish to this topic ends the connection."""
    try:
        client.publish(topic, b"x", qos=1)
        return False
    except Closed:
        return True


@behaviour()
def a_reload_applies_what_it_can_and_names_what_needs_a_restart(gateway):
    with Files(gateway.shards, "topic.levels_max = 3\nshards = 1\nsession.expiry = 60s\n") as files:
        assert is_refused(files.connect("a"), "1/2/3/4")
        files.write("topic.levels_max = 4\nbroker.partitions = 8\nsession.expiry = 1m\n")
        lines = files.reload("reloaded")
        assert len(lines) == 3, lines
        assert any(re.search(r'level=info event=config_changed key=topic\.levels_max before="3" after="4"', line)
                   for line in lines), lines
        assert any(re.search(r'level=warning event=config_needs_restart key=broker\.partitions before="16" after="8"',
                             line) for line in lines), lines
        client = files.connect("b")
        # Each shard takes it over in its next turn; a client of it has had one since it connected.
        assert not is_refused(client, "1/2/3/4")
        assert is_refused(client, "1/2/3/4/5")


@behaviour()
def a_bad_file_keeps_the_old_values_and_is_one_error_line(gateway):
    with Files(gateway.shards, "topic.levels_max = 3\n") as files:
        for text, expected in (("topic.levels_max = 4\nnope = 1\n", ":2: "), ("topic.levels_max = 0\n", ":1: "),
                               ("topic.levels_max = 4\nauth.password_file = \"/nonexistent\"\n", "/nonexistent"),
                               ("topic.levels_max = {\n", "penstock.conf:")):
            files.write(text)
            lines = files.reload("reload_failed")
            assert len(lines) == 1 and expected in lines[0] and "level=error" in lines[0], lines
        os.unlink(files.config)
        assert "cannot be read" in files.reload("reload_failed")[0]
        assert is_refused(files.connect("a"), "1/2/3/4")
        files.write("topic.levels_max = 4\n")
        lines = files.reload("reloaded")
        assert len(lines) == 2 and lines[1].endswith("event=reloaded"), lines


@behaviour()
def the_password_file_is_read_again(gateway):
    with tempfile.TemporaryDirectory() as directory:
        users = os.path.join(directory, "users")

        def write_user(user, password):
            with open(users, "w", encoding="ascii") as file:
                file.write(f"{user}:{password_hash(password)}\n")

        write_user("alice", "first")
        with Files(gateway.shards, f'auth.password_file = "{users}"\n') as files:
            connected = files.connect("a", user="alice", password="first")
            Client(files.port).connect("b", user="alice", password="second", expect_code=4)
            Client(files.port).connect("c", expect_code=5)
            write_user("alice", "second")
            assert files.reload("reloaded")[-1].endswith(f'event=reloaded password_file="{users}"')
            files.connect("b", user="alice", password="second")
            Client(files.port).connect("c", user="alice", password="first", expect_code=4)
            with open(users, "w", encoding="ascii") as file:
                file.write("alice\n")
            assert f"{users}:1: " in files.reload("reload_failed")[0]
            files.connect("d", user="alice", password="second")
            connected.ping()  # who is connected stays


@behaviour()
def many_reloads_cost_no_memory(gateway):
    with tempfile.TemporaryDirectory() as directory:
        users = os.path.join(directory, "users")
        line = password_hash("x")
        with open(users, "w", encoding="ascii") as file:
            file.writelines(f"user{i:06}:{line}\n" for i in range(20000))
        with Files(gateway.shards, f'auth.password_file = "{users}"\n') as files:
            for _ in range(5):
                files.reload("reloaded")
            before = files.resident_bytes()
            for _ in range(25):
                files.reload("reloaded")
            # Each file is 4 MB; a few generations may be kept.
            assert files.resident_bytes() - before < 40 << 20
            files.connect("a", user="user000007", password="x")


@behaviour()
def a_limit_is_lowered_while_clients_are_connected(gateway):
    with Files(gateway.shards, "") as files:
        client = files.connect("a")
        client.publish("t", b"x" * 5000, qos=1)
        files.write("connection.packet_bytes_max = 4k\n")
        files.reload("reloaded")
        client.ping()
        client.ping()
        try:
            client.publish("t", b"x" * 5000, qos=1)
            raise AssertionError("a packet above the new limit was taken")
        except (Closed, BrokenPipeError):
            pass


if __name__ == "__main__":
    main()
