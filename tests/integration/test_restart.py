"""What outlives the daemon's end, by SIGTERM and by SIGKILL, on the same data directory: sessions and what
waits for them, QoS 2 exchanges half way, retained values, wills. And directories that are not as they
should be."""

import os
import re
import shutil
import struct
import tempfile

import mqtt
from command import refused, run
from daemon import Daemon
from suite import behaviour, main

MESSAGES = 200


class Home:
    """A data directory, and the gateways that have it one after the other."""

    def __init__(self, gateway, *settings):
        self.program = gateway.daemon.program
        self.shards = gateway.shards
        self.settings = settings
        self.directory = tempfile.mkdtemp(prefix="penstock-test-")
        self.daemon = None
        self.clients = []

    def start(self, shards=None):
        self.daemon = Daemon(self.program, shards or self.shards, self.settings, directory=self.directory)
        return self.daemon

    def end(self, how):
        """Ends the gateway, and with it every connection."""
        for client in self.clients:
            client.close()
        self.clients = []
        if how == "kill":
            self.daemon.kill()
        else:
            self.daemon.stop()
        self.daemon = None

    def client(self, name, **options):
        client = mqtt.Client(self.daemon.port)
        self.clients.append(client)
        client.connack = client.connect(name, **options)
        return client

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def segments(self):
        """Paths of the log's segments, oldest first."""
        names = sorted(name for name in os.listdir(self.path("log")) if name.endswith(".seg"))
        return [self.path("log", name) for name in names]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        for client in self.clients:
            client.close()
        try:
            if self.daemon is not None:
                self.daemon.kill() if kind else self.daemon.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)


def other_shards(shards):
    return 3 if shards == 1 else 1


def numbers_of(messages):
    return [int(message.payload) for message in messages]


def nothing_more(home, client, topic):
    """What was on its way to the client comes before what is published now."""
    publisher = home.client("")
    client.subscribe((topic, 1))
    publisher.publish(topic, b"probe", 1)
    message = client.next_message()
    assert message.payload == b"probe", message
    publisher.disconnect()


def leave_messages(home):
    """Two sessions that are away, and what they miss."""
    for name, qos in (("one", 1), ("two", 2)):
        client = home.client(name, clean=False)
        assert client.subscribe(("a/b/#", qos)) == [qos]
        client.disconnect()
    publisher = home.client("publisher")
    for number in range(MESSAGES):
        publisher.publish(f"a/b/{number % 7}", str(number), 1 + number % 2)


def take_missed(home):
    for name in ("one", "two"):
        client = home.client(name, clean=False)
        assert client.connack.session_present == 1
        messages = client.take_messages(MESSAGES)
        assert numbers_of(messages) == list(range(MESSAGES)), numbers_of(messages)
        assert not any(message.dup or message.retain for message in messages)
        nothing_more(home, client, "a/b/probe")
        client.disconnect()


@behaviour()
def messages_for_who_is_away_outlive_every_end(gateway):
    for how in ("stop", "kill"):
        for shards in (gateway.shards, other_shards(gateway.shards)):
            with Home(gateway) as home:
                leave_messages(home)
                home.end(how)
                daemon = home.start(shards)
                line = daemon.wait_for_line("event=recovered")
                assert f"clean={'yes' if how == 'stop' else 'no'}" in line, line
                take_missed(home)


@behaviour()
def a_session_goes_on_after_several_kills(gateway):
    with Home(gateway) as home:
        client = home.client("d", clean=False)
        client.subscribe(("a/b/c", 1))
        sent = 0
        seen = []
        for _ in range(4):
            publisher = home.client("p")
            for _ in range(20):
                publisher.publish("a/b/c", str(sent), 1)
                sent += 1
            seen += numbers_of(client.take_messages(15))
            home.end("kill")
            home.start()
            client = home.client("d", clean=False)
            assert client.connack.session_present == 1
        while len(set(seen)) < sent:
            seen += numbers_of([client.next_message()])
        assert set(seen) == set(range(sent))
        firsts = sorted(set(seen), key=seen.index)
        assert firsts == list(range(sent)), seen


@behaviour()
def subscriptions_come_and_go_across_kills(gateway):
    with Home(gateway) as home:
        client = home.client("d", clean=False)
        client.subscribe(("a/1", 1), ("a/2", 2), ("a/3", 0))
        client.unsubscribe("a/2")
        home.end("kill")
        home.start()
        client = home.client("d", clean=False)
        publisher = home.client("p")
        for topic in ("a/2", "a/1", "a/3"):
            publisher.publish(topic, topic, 1)
        got = {message.topic: message.qos for message in client.take_messages(2)}
        assert got == {"a/1": 1, "a/3": 0}, got
        # A clean session leaves nothing behind.
        client.disconnect()
        home.client("d", clean=True).disconnect()
        home.end("kill")
        home.start()
        assert home.client("d", clean=False).connack.session_present == 0


@behaviour()
def qos_2_goes_on_where_it_was(gateway):
    with Home(gateway) as home:
        reader = home.client("reader", clean=False)
        reader.subscribe(("q/2", 2))
        writer = home.client("writer", clean=False)
        writer.send(mqtt.publish("q/2", b"once", 2, packet_id=7))
        writer.expect(mqtt.PUBREC, 7)
        first = reader.next_publish()
        assert first.payload == b"once" and first.qos == 2
        home.end("kill")
        home.start()
        writer = home.client("writer", clean=False)
        writer.send(mqtt.publish("q/2", b"once", 2, dup=True, packet_id=7))
        writer.expect(mqtt.PUBREC, 7)
        writer.release(7)
        reader = home.client("reader", clean=False)
        again = reader.next_publish()
        assert (again.payload, again.packet_id, again.dup) == (b"once", first.packet_id, True), again
        reader.send(mqtt.acknowledge(mqtt.PUBREC, again.packet_id))
        reader.expect(mqtt.PUBREL, again.packet_id)
        home.end("kill")
        home.start()
        reader = home.client("reader", clean=False)
        reader.expect(mqtt.PUBREL, again.packet_id)
        reader.send(mqtt.acknowledge(mqtt.PUBCOMP, again.packet_id))
        nothing_more(home, reader, "q/2")


@behaviour()
def qos_2_comes_once_when_new_messages_come_first_after_a_kill(gateway):
    """As some clients do: they publish at once, and repeat what the kill cut off behind that."""
    with Home(gateway) as home:
        home.client("reader", clean=False).subscribe(("q/#", 1))
        home.client("reader", clean=False).disconnect()
        writer = home.client("writer", clean=False)
        cut_off = range(1, 41)
        for i in cut_off:
            writer.send(mqtt.publish(f"q/{i % 5}", b"%d" % i, 2, packet_id=i))
        for kill in range(3):
            home.end("kill")
            home.start(other_shards(home.shards) if kill == 1 else None)
            writer = home.client("writer", clean=False)
            news = range(100 + 10 * kill, 103 + 10 * kill)
            writer.send(*(mqtt.publish(f"q/{i % 5}", b"%d" % i, 2, packet_id=i) for i in news))
            older = [*cut_off, *(i for i in range(100, news[0]) if i % 10 < 3)]
            writer.send(*(mqtt.publish(f"q/{i % 5}", b"%d" % i, 2, dup=True, packet_id=i) for i in older))
            writer.expect(mqtt.PUBREC, news[0])
        for i in [*news[1:], *older]:
            writer.expect(mqtt.PUBREC, i)
        reader = home.client("reader", clean=False)
        numbers = numbers_of(reader.take_messages(len(older) + len(news)))
        assert sorted(numbers) == sorted([*older, *news]), numbers
        for i in range(5):
            nothing_more(home, reader, f"q/{i}")


@behaviour()
def retained_values_outlive_every_end(gateway):
    for how in ("stop", "kill"):
        with Home(gateway) as home:
            publisher = home.client("p")
            for number in range(50):
                publisher.publish(f"r/{number}", b"old", 1, retain=True)
            for number in range(0, 50, 2):
                publisher.publish(f"r/{number}", f"new{number}", 1 + number // 2 % 2, retain=True)
            for number in range(0, 50, 5):
                publisher.publish(f"r/{number}", b"", 1, retain=True)
            publisher.ping()
            home.end(how)
            daemon = home.start(other_shards(gateway.shards))
            client = home.client("s")
            client.subscribe(("r/#", 1))
            expected = {f"r/{n}": f"new{n}".encode() if n % 2 == 0 else b"old" for n in range(50) if n % 5}
            got = {message.topic: message.payload for message in client.take_messages(len(expected))}
            assert got == expected, got
            nothing_more(home, client, "r/x/probe")
            gateway.eventually(lambda: daemon.metric("penstock_retained_values") == len(expected))


@behaviour()
def retained_values_of_an_earlier_run_count(gateway):
    with Home(gateway, "retained.count_max=3") as home:
        publisher = home.client("p")
        for number in range(3):
            publisher.publish(f"r/{number}", b"x", 1, retain=True)
        home.end("kill")
        daemon = home.start()
        publisher = home.client("p")
        published = []

        def is_refused():
            """Values are refused once the store was looked through, which nothing waits for."""
            published.append(3 + len(published))
            publisher.publish(f"r/{published[-1]}", b"x", 1, retain=True)
            return daemon.metric("penstock_retained_refused_total") > 0

        gateway.eventually(is_refused)
        gateway.eventually(lambda: daemon.metric("penstock_retained_values")
                           == 3 + len(published) - daemon.metric("penstock_retained_refused_total"))


@behaviour()
def wills_of_a_killed_gateway_are_published_once(gateway):
    with Home(gateway) as home:
        client = home.client("heir", clean=False)
        client.subscribe(("w/#", 2))
        client.disconnect()
        home.client("mortal", will=("w/mortal", b"gone", 1, False))
        home.client("durable", clean=False, will=("w/durable", b"gone", 2, False))
        home.client("polite", will=("w/polite", b"gone", 1, False)).disconnect()
        # Its will is deleted before this session is stored.
        home.client("polite", clean=False).disconnect()
        home.end("kill")
        home.start(other_shards(gateway.shards))
        client = home.client("heir", clean=False)
        got = sorted(message.topic for message in client.take_messages(2))
        assert got == ["w/durable", "w/mortal"], got
        nothing_more(home, client, "w/probe")
        client.disconnect()
        home.end("kill")
        home.start()
        nothing_more(home, home.client("heir", clean=False), "w/probe")


@behaviour()
def a_directory_belongs_to_one_gateway(gateway):
    with Home(gateway) as home:
        error = refused("--listen", "127.0.0.1:0", "--data-dir", home.directory)
        assert home.directory in error and "another" in error, error
        error = refused("--repair", "--data-dir", home.directory)
        assert "another" in error, error
        home.client("c").ping()


@behaviour()
def what_the_directory_was_made_with_cannot_be_changed(gateway):
    with Home(gateway) as home:
        home.end("stop")
        for key, value in (("broker.partitions", "8"), ("broker.partition_levels", "1")):
            error = refused("--listen", "127.0.0.1:0", "--data-dir", home.directory, "--set", f"{key}={value}")
            assert home.directory in error and "partition" in error, error
        home.start()


@behaviour()
def a_format_that_is_not_known_is_refused(gateway):
    with Home(gateway) as home:
        home.end("stop")
        with open(home.path("manifest"), encoding="ascii") as file:
            text = file.read()
        assert text.startswith("penstock-data 1\n"), text
        with open(home.path("manifest"), "w", encoding="ascii") as file:
            file.write(text.replace("penstock-data 1", "penstock-data 2"))
        error = refused("--listen", "127.0.0.1:0", "--data-dir", home.directory)
        assert "format" in error, error


def batches(path):
    """(offset, bytes) of the batches of a segment; broker_client/README.md."""
    with open(path, "rb") as file:
        data = file.read()
    at = struct.unpack_from("<I", data, 20)[0] if data[8:16] == b"PSSEGMNT" else len(data)
    found = []
    while at + 32 <= len(data) and data[at + 8:at + 12] == b"PSBT":
        count = struct.unpack_from("<I", data, at + 12)[0]
        found.append((at, count))
        at += count
    return found


def written_segment(home):
    """The segment of the most batches, with their places."""
    path = max(home.segments(), key=lambda path: len(batches(path)))
    return path, batches(path)


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@behaviour()
def a_torn_tail_is_cut_and_told(gateway):
    with Home(gateway) as home:
        leave_messages(home)
        home.end("kill")
        path, places = written_segment(home)
        with open(path, "rb") as file:
            file.seek(places[0][0])
            torn = file.read(places[0][1])
        # As a batch that was being written when the power went: its beginning is there.
        overwrite(path, sum(places[-1]), torn[:24])
        line = home.start().wait_for_line("event=recovered")
        assert int(re.search(r"torn_bytes=(\d+)", line)[1]) > 0, line
        take_missed(home)


@behaviour()
def damage_is_refused_and_cut_on_purpose_only(gateway):
    with Home(gateway) as home:
        leave_messages(home)
        home.end("kill")
        path, places = written_segment(home)
        assert len(places) > 2
        offset, count = places[len(places) // 2]
        overwrite(path, offset + count // 2, b"\xff\x00\xff")
        words = ("--data-dir", home.directory)
        for _ in range(2):  # the first changed nothing
            error = refused("--listen", "127.0.0.1:0", *words)
            assert os.path.basename(path) in error and "--repair" in error, error
        done = run("--repair", *words)
        assert done.returncode == 0, done.stderr
        line = re.search(r"event=repaired .*", done.stderr)[0]
        assert int(re.search(r"cut_bytes=(\d+)", line)[1]) > 0, done.stderr
        done = run("--repair", *words)
        assert done.returncode == 0 and "cut_bytes=0 " in done.stderr, done.stderr
        home.start()
        # What is left is in order.
        client = home.client("one", clean=False)
        client.subscribe(("x/probe", 1))
        home.client("p").publish("x/probe", b"", 1)
        left = []
        while (message := client.next_message()).topic != "x/probe":
            left.append(int(message.payload))
        assert left and left == sorted(set(left)), left


@behaviour()
def keys_that_are_gone_are_refused_and_begun_on_purpose_only(gateway):
    for is_empty in (False, True):
        with Home(gateway) as home:
            leave_messages(home)
            home.end("stop")
            os.remove(home.path("keys.mdb"))
            if is_empty:
                open(home.path("keys.mdb"), "wb").close()
            words = ("--data-dir", home.directory)
            for _ in range(2):  # the first changed nothing
                error = refused("--listen", "127.0.0.1:0", *words)
                assert "keys.mdb" in error and "missing" in error and "--repair" in error, error
            done = run("--repair", *words)
            assert done.returncode == 0 and "event=keys_begun" in done.stderr, done.stderr
            home.start()
            assert home.client("one", clean=False).connack.session_present == 0


@behaviour()
def a_repair_of_what_is_whole_changes_nothing(gateway):
    with Home(gateway) as home:
        leave_messages(home)
        home.end("kill")
        done = run("--repair", "--data-dir", home.directory)
        assert done.returncode == 0 and "cut_bytes=0 " in done.stderr, done.stderr
        home.start()
        take_missed(home)


@behaviour()
def directories_that_cannot_be_had_are_named(gateway):
    with tempfile.TemporaryDirectory() as directory:
        missing = os.path.join(directory, "a", "b")
        for words in ((), ("--check",)):
            error = refused("--listen", "127.0.0.1:0", "--data-dir", missing, *words)
            assert "data_dir" in error and "No such file" in error, error
        path = os.path.join(directory, "data")
        os.mkdir(path)
        with open(os.path.join(path, "manifest"), "w", encoding="ascii") as file:
            file.write("something else\n")
        error = refused("--listen", "127.0.0.1:0", "--data-dir", path)
        assert path in error and "manifest" in error, error


@behaviour()
def nothing_is_kept_in_memory(gateway):
    with Home(gateway, "broker.type=memory") as home:
        client = home.client("d", clean=False)
        client.subscribe(("a", 1))
        assert os.listdir(home.directory) == []
        home.end("stop")
        home.start()
        assert home.client("d", clean=False).connack.session_present == 0


@behaviour()
def every_commit_mode_keeps_what_it_promises_on_a_clean_end(gateway):
    for mode in ("written", "memory"):
        with Home(gateway, f"broker.commit={mode}") as home:
            leave_messages(home)
            home.end("stop")
            home.start()
            take_missed(home)


if __name__ == "__main__":
    main()
