"""The disk is full: acknowledgements stop, everything else goes on, and when space returns nothing that was
acknowledged is missing. On a small file system of the test's own (full_disk.py)."""

import os

import mqtt
from daemon import Daemon, lasting_port
from full_disk import SmallDisk, enter_namespace, is_possible
from suite import Skipped, behaviour, main

# Nothing may go by retention: what is on the disk is to be found again.
EMBEDDED = ("broker.type=embedded", "broker.commit=synced", "broker.retention_bytes=1000G")
SMALL_SEGMENTS = ("broker.segment_bytes=1M",)
MIB = 1 << 20
PAYLOAD_BYTES = 32 * 1024
UNANSWERED_MAX = 8
MESSAGES_MAX = 100000


class Publisher:
    """Numbered messages at QoS 1, a few at a time; the numbers are acknowledged in order."""

    def __init__(self, gateway, daemon, name):
        self.client = mqtt.Client(daemon.port)
        gateway.clients.append(self.client)
        self.client.connect(gateway.name(name))
        self.topic = gateway.topic("log")
        self.sent = 0
        self.acked = 0

    def send_more(self):
        while self.sent - self.acked < UNANSWERED_MAX:
            payload = self.sent.to_bytes(4, "big") + bytes(PAYLOAD_BYTES)
            self.client.send(mqtt.publish(self.topic, payload, qos=1, packet_id=self.sent % 65535 + 1))
            self.sent += 1

    def take_ack(self, seconds=mqtt.WAIT_SECONDS_MAX):
        answer = self.client.receive(seconds)
        assert answer.kind == mqtt.PUBACK and answer.packet_id == self.acked % 65535 + 1, answer
        self.acked += 1

    def take_acks(self, count):
        for _ in range(count):
            self.send_more()
            self.take_ack()

    def fill(self, is_full):
        """Until the disk is full and nothing is acknowledged any more."""
        while self.sent < MESSAGES_MAX:
            self.send_more()
            try:
                self.take_ack(seconds=0.5)
            except TimeoutError:
                if is_full():
                    return
        raise AssertionError("the disk does not become full")


def is_unhealthy(daemon, shards):
    return daemon.metric("penstock_broker_healthy") < shards


def subscribe_and_leave(gateway, daemon):
    client = mqtt.Client(daemon.port)
    gateway.clients.append(client)
    client.connect(gateway.name("late"), clean=False)
    client.subscribe((gateway.topic("log"), 1))
    client.disconnect()


def take_all(gateway, daemon, count):
    """The offline session comes back and gets at least the first `count` messages, in order but for duplicates."""
    client = mqtt.Client(daemon.port)
    gateway.clients.append(client)
    assert client.connect(gateway.name("late"), clean=False).session_present
    seen = -1
    while seen + 1 < count:
        number = int.from_bytes(client.next_message().payload[:4], "big")
        assert number <= seen + 1, f"{number} came after {seen}: what is between is lost"
        seen = max(seen, number)
    client.disconnect()


class Scene:
    """A daemon on a small disk, a session that is offline, a QoS 0 pair, and a publisher; use as a context."""

    def __init__(self, gateway):
        if not is_possible():
            raise Skipped("neither root nor user namespaces: no file system of our own")
        self.gateway = gateway
        self.disk = SmallDisk(24 * MIB)
        self.settings = EMBEDDED + SMALL_SEGMENTS

    def __enter__(self):
        gateway = self.gateway
        self.disk.__enter__()
        self.daemon = Daemon(gateway.daemon.program, gateway.shards, self.settings, port=lasting_port(),
                             directory=os.path.join(self.disk.directory, "data"))
        subscribe_and_leave(gateway, self.daemon)
        self.listener = mqtt.Client(self.daemon.port)
        self.talker = mqtt.Client(self.daemon.port)
        gateway.clients += [self.listener, self.talker]
        self.listener.connect(gateway.name("listener"))
        self.listener.subscribe((gateway.topic("talk"), 0))
        self.talker.connect(gateway.name("talker"))
        self.publisher = Publisher(gateway, self.daemon, "publisher")
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.daemon.process.kill()
        try:
            self.daemon.stop()
        finally:
            self.disk.__exit__()

    def talk(self):
        """QoS 0 flows."""
        for number in range(50):
            self.talker.publish(self.gateway.topic("talk"), b"%d" % number)
        said = [self.listener.next_message().payload for _ in range(50)]
        assert said == [b"%d" % number for number in range(50)], said

    def fill(self):
        self.publisher.fill(lambda: is_unhealthy(self.daemon, self.gateway.shards))


@behaviour()
def a_full_disk_stops_acknowledgements_and_heals(gateway):
    with Scene(gateway) as scene:
        daemon, publisher = scene.daemon, scene.publisher
        lines = len(daemon.lines)
        scene.fill()
        daemon.wait_for_line("No space left on device")
        assert len(daemon.lines) - lines < 50, "a disk that stays full is told again and again:\n" + daemon.log()
        publisher.client.ping()  # answered, and no PUBACK before it
        scene.talk()
        publisher.client.ping()
        scene.disk.drop_ballast()
        publisher.take_acks(3 * UNANSWERED_MAX)
        gateway.eventually(lambda: not is_unhealthy(daemon, gateway.shards))
        scene.talk()
        daemon.kill()
        daemon.start(gateway.shards)
        take_all(gateway, daemon, publisher.acked)


@behaviour()
def what_was_acknowledged_outlives_a_kill_on_a_full_disk(gateway):
    with Scene(gateway) as scene:
        scene.fill()
        scene.daemon.kill()
        scene.disk.drop_ballast()
        scene.daemon.start(gateway.shards % 4 + 1)
        take_all(gateway, scene.daemon, scene.publisher.acked)


enter_namespace()
main()
