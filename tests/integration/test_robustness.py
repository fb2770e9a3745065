"""What no peer may do to the gateway or to others, whatever it sends, and whenever it goes. Each
test has a bystander whose exchange must go on as if nothing had happened."""

import random
import socket
import threading

import mqtt
from suite import IS_LONG, behaviour, main


class Bystander:
    """A pair of clients that exchange a message whenever asked."""

    def __init__(self, gateway):
        self.topic = gateway.topic("bystander")
        self.subscriber = gateway.client("bystander-s")
        self.subscriber.subscribe((self.topic, 1))
        self.publisher = gateway.client("bystander-p")
        self.count = 0

    def check(self):
        self.count += 1
        self.publisher.publish(self.topic, str(self.count), 1)
        assert self.subscriber.next_message().payload == str(self.count).encode()


def end_of(client, *data):
    """Sends what may well be refused in the middle, and waits for the connection's end."""
    try:
        client.send(*data)
    except ConnectionError:
        pass
    client.socket.settimeout(mqtt.WAIT_SECONDS_MAX)
    try:
        while client.socket.recv(65536):
            pass
    except ConnectionError:
        pass
    client.close()


def samples(gateway, suffix="sample"):
    """A valid stream of every packet that a client sends, packet by packet."""
    topic = gateway.topic(suffix)
    will = (topic + "/will", b"will", 1, False)
    return [mqtt.connect(gateway.name(suffix), will=will, user="user", password="password"),
            mqtt.subscribe(1, (topic, 2), (topic + "/#", 1)),
            mqtt.publish(topic, b"at most once"),
            mqtt.publish(topic, b"at least once", 1, packet_id=2),
            mqtt.publish(topic, b"exactly once", 2, packet_id=3),
            mqtt.acknowledge(mqtt.PUBREL, 3),
            mqtt.acknowledge(mqtt.PUBACK, 100), mqtt.acknowledge(mqtt.PUBREC, 101),
            mqtt.acknowledge(mqtt.PUBCOMP, 102),
            mqtt.unsubscribe(4, topic, topic + "/#"),
            mqtt.packet(mqtt.PINGREQ),
            mqtt.packet(mqtt.DISCONNECT)]


@behaviour()
def random_bytes_end_their_connection_only(gateway):
    bystander = Bystander(gateway)
    source = random.Random(20241126)
    for number in range(3000 if IS_LONG else 300):
        client = gateway.socket()
        if number % 2:
            client.connect("")
        noise = source.randbytes(source.randrange(1, 3000))
        client.send(noise)
        client.socket.shutdown(socket.SHUT_WR)
        end_of(client)
        if number % 50 == 0:
            bystander.check()
    bystander.check()


@behaviour()
def mutated_packets_end_their_connection_at_worst(gateway):
    bystander = Bystander(gateway)
    source = random.Random(3)
    for number in range(5000 if IS_LONG else 500):
        packets = samples(gateway)
        victim = source.randrange(len(packets))
        data = bytearray(packets[victim])
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        packets[victim] = bytes(data)
        client = gateway.socket()
        client.send(*packets)
        client.socket.shutdown(socket.SHUT_WR)
        end_of(client)
        if number % 50 == 0:
            bystander.check()
    bystander.check()


@behaviour()
def truncated_packets_leave_nothing_behind(gateway):
    bystander = Bystander(gateway)
    stream = b"".join(samples(gateway))
    for size in range(1, len(stream)):
        client = gateway.socket()
        client.send(stream[:size])
        client.close()
        if size % 20 == 0:
            bystander.check()
    bystander.check()


@behaviour()
def packets_split_at_every_byte_are_the_same_packets(gateway):
    def run(sizes):
        client = gateway.socket()
        stream = b"".join(samples(gateway)[:-1])
        at = 0
        for size in sizes:
            client.send(stream[at:at + size])
            at += size
        client.send(stream[at:])
        # How many messages came before UNSUBSCRIBE took effect is not determined; the answers are.
        answers = []
        while len(answers) < 8:
            if (packet := client.receive()).kind != mqtt.PUBLISH:
                answers.append((packet.kind, packet.body))
        client.send(mqtt.packet(mqtt.DISCONNECT))
        assert all(p.kind == mqtt.PUBLISH for p in client.expect_close())
        return sorted(answers)

    whole = run([])
    size = len(b"".join(samples(gateway)[:-1]))
    for at in range(1, size):
        assert run([at]) == whole, at
    assert run([1] * size) == whole


@behaviour()
def many_packets_in_one_segment_are_all_processed(gateway):
    client = gateway.client()
    client.subscribe((gateway.topic(), 2))
    packets = [mqtt.publish(gateway.topic(), str(number), number % 2,
                            packet_id=number if number % 2 else None) for number in range(1, 1001)]
    client.send(*packets, mqtt.packet(mqtt.PINGREQ))
    acknowledged, messages = [], []
    while len(acknowledged) < 500 or len(messages) < 1000:
        packet = client.receive()
        if packet.kind == mqtt.PUBACK:
            acknowledged.append(packet.packet_id)
        elif packet.kind == mqtt.PUBLISH:
            client.answer(packet)
            messages.append(int(packet.payload))
    assert acknowledged == list(range(1, 1001, 2))
    assert sorted(messages) == list(range(1, 1001))


@behaviour(settings=("connection.packet_bytes_max=1000",))
def packets_beyond_the_limit_close_and_those_at_it_pass(gateway):
    bystander = Bystander(gateway)
    client = gateway.client()
    client.subscribe((gateway.topic(), 1))
    overhead = len(mqtt.publish(gateway.topic(), bytes(200), 1, packet_id=1)) - 200
    client.publish(gateway.topic(), bytes(1000 - overhead), 1)
    assert len(client.next_message().payload) == 1000 - overhead
    for data in (mqtt.publish(gateway.topic(), bytes(1001 - overhead), 1, packet_id=1),
                 b"\x30\xff\xff\xff\x7f", b"\x82\x80\x80\x80\x01"):
        client = gateway.client("large")
        client.send(data)
        client.expect_silent_close()
        bystander.check()
    gateway.eventually(lambda: gateway.daemon.metric("penstock_connections_closed_total",
                                                     reason="too_large") == 3)


@behaviour(settings=("connection.connect_timeout=300ms",))
def connect_has_to_come_in_time(gateway):
    bystander = Bystander(gateway)
    silent = gateway.socket()
    partial = gateway.socket()
    partial.send(mqtt.connect(gateway.name("partial"))[:-3])
    silent.expect_silent_close()
    partial.expect_silent_close()
    trickling = gateway.socket()
    closed = False
    for byte in mqtt.connect(gateway.name("trickling").ljust(200, "x"))[:-1]:
        try:
            trickling.send(bytes([byte]))
            closed = trickling.is_readable(0.01)
        except ConnectionError:
            closed = True
        if closed:
            break
    assert closed, "trickling kept the connection"
    bystander.check()
    gateway.eventually(lambda: gateway.daemon.metric("penstock_connections_closed_total",
                                                     reason="connect_timeout") == 3)


@behaviour(settings=("connection.keepalive_max=1",))
def keepalive_has_a_limit(gateway):
    for keepalive in (0, 600):
        gateway.client(str(keepalive), keepalive=keepalive).expect_silent_close()
    gateway.eventually(lambda: gateway.daemon.metric("penstock_connections_closed_total",
                                                     reason="keepalive") == 2)


@behaviour()
def a_peer_that_sends_a_byte_at_a_time_delays_nobody(gateway):
    bystander = Bystander(gateway)
    slow = [gateway.client(f"slow-{i}") for i in range(10)]
    for client in slow:
        client.subscribe((gateway.topic("slow"), 1))
    for byte in mqtt.publish(gateway.topic("slow"), b"x" * 300, 1, packet_id=1):
        for client in slow:
            client.send(bytes([byte]))
        if byte == ord("/"):
            bystander.check()
    for client in slow:
        client.expect(mqtt.PUBACK, 1)
        for _ in slow:
            assert client.next_message().payload == b"x" * 300


# The memory that AddressSanitizer keeps aside after it was freed would count as the daemon's.
LITTLE_QUARANTINE = "ASAN_OPTIONS=quarantine_size_mb=1:detect_leaks=1"


@behaviour(settings=("connection.pending_bytes_max=64k", LITTLE_QUARANTINE))
def a_peer_that_never_reads_costs_bounded_memory_and_loses_counted_messages(gateway):
    deaf = [gateway.socket(receive_bytes=4096) for _ in range(5)]
    for number, client in enumerate(deaf):
        client.connect(gateway.name(f"deaf-{number}"))
        client.subscribe((gateway.topic(), 0))
    reader = gateway.client("reader")
    reader.subscribe((gateway.topic(), 0))
    publisher = gateway.client("publisher")
    sent, payload = 0, bytes(1000)

    def flood(count):
        nonlocal sent
        for _ in range(count // 50):
            publisher.send(mqtt.publish(gateway.topic(), payload) * 50)
            for _ in range(50):
                assert reader.next_message().payload == payload
            sent += 50

    flood(2000)  # what is allocated once has been allocated
    before = gateway.daemon.resident_bytes()
    flood(20000)
    grown = gateway.daemon.resident_bytes() - before
    assert grown < 8 << 20, f"{grown} bytes more after {sent} messages of 1,000 bytes for each of 5"
    for client in deaf:
        client.send(mqtt.packet(mqtt.PINGREQ))
        got = 0
        while (packet := client.receive()).kind != mqtt.PINGRESP:
            got += 1
        client.received = got
    assert all(client.received < sent for client in deaf)
    lost = sent * len(deaf) - sum(client.received for client in deaf)
    gateway.eventually(lambda: gateway.daemon.metric("penstock_dropped_total", reason="pending") == lost)


@behaviour(settings=("connection.pending_bytes_max=64k",))
def a_peer_that_does_not_read_loses_nothing_at_qos_1(gateway):
    slow = gateway.socket(receive_bytes=4096)
    slow.connect(gateway.name("slow"))
    slow.subscribe((gateway.topic(), 1))
    publisher = gateway.client("publisher")
    count = 2000
    for first in range(0, count, 100):
        publisher.send(*[mqtt.publish(gateway.topic(), f"{n}".ljust(500), 1, packet_id=n + 1)
                         for n in range(first, first + 100)])
        for _ in range(100):
            publisher.expect(mqtt.PUBACK)
    assert [int(m.payload) for m in slow.take_messages(count)] == list(range(count))


@behaviour()
def a_flood_does_not_starve_others(gateway):
    bystander = Bystander(gateway)
    stop = threading.Event()
    flooders = [gateway.client(f"flooder-{i}") for i in range(3)]
    data = mqtt.publish(gateway.topic("flood"), bytes(50)) * 1000

    def flood(client):
        while not stop.is_set():
            client.socket.sendall(data)

    threads = [threading.Thread(target=flood, args=(client,)) for client in flooders]
    for client in flooders:
        client.socket.settimeout(mqtt.WAIT_SECONDS_MAX)
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            bystander.check()
    finally:
        stop.set()
        for thread in threads:
            thread.join(mqtt.WAIT_SECONDS_MAX)


@behaviour(settings=(LITTLE_QUARANTINE,))
def masses_come_and_go(gateway):
    bystander = Bystander(gateway)

    def turn(count):
        clients = []
        for number in range(count):
            client = gateway.socket()
            client.send(mqtt.connect(gateway.name(str(number)), clean=number % 3 != 0),
                        mqtt.subscribe(1, (gateway.topic(str(number)), 1)))
            clients.append(client)
        for client in clients:
            assert client.receive().code == 0
            client.expect(mqtt.SUBACK)
        for number, client in enumerate(clients):
            if number % 3 == 0:
                client.send(mqtt.packet(mqtt.DISCONNECT))
            (client.reset if number % 2 else client.close)()
        gateway.clients = [client for client in gateway.clients if client not in clients]

    turn(400)
    gateway.eventually(lambda: gateway.daemon.metric("penstock_connections") == 2)
    before = gateway.daemon.resident_bytes()
    for _ in range(20 if IS_LONG else 4):
        turn(400)
        bystander.check()
    gateway.eventually(lambda: gateway.daemon.metric("penstock_connections") == 2)
    grown = gateway.daemon.resident_bytes() - before
    assert grown < 8 << 20, grown


@behaviour()
def a_half_closed_connection_ends(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe((gateway.topic(), 1))
    client = gateway.client(will=(gateway.topic(), b"will", 1, False))
    client.send(mqtt.publish(gateway.topic(), b"said before", 1, packet_id=1))
    client.expect(mqtt.PUBACK)
    client.socket.shutdown(socket.SHUT_WR)
    client.expect_silent_close()
    assert [m.payload for m in watcher.take_messages(2)] == [b"said before", b"will"]


@behaviour()
def a_reset_in_the_middle_of_a_packet_is_an_end_like_any(gateway):
    bystander = Bystander(gateway)
    watcher = gateway.client("watcher")
    watcher.subscribe((gateway.topic(), 1))
    data = mqtt.publish(gateway.topic(), bytes(5000), 1, packet_id=1)
    for size in (1, 2, 10, 100, 4000, len(data) - 1):
        client = gateway.client(will=(gateway.topic(), b"will", 1, False))
        client.send(data[:size])
        client.reset()
        assert watcher.next_message().payload == b"will"
        bystander.check()


@behaviour()
def disconnect_is_heard_although_the_peer_resets_at_once(gateway):
    # The gateway sends to the client all the time, so that a send meets the reset before DISCONNECT is read.
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic("will"))
    publisher = gateway.client("publisher")
    flood = mqtt.publish(gateway.topic("flood"), b"x") * 200
    for number in range(300):
        client = gateway.client(f"client-{number}", will=(gateway.topic("will"), b"will", 0, False))
        client.subscribe(gateway.topic("flood"))
        publisher.send(flood)
        client.send(mqtt.packet(mqtt.DISCONNECT))
        client.reset()
    wills = gateway.before_probe(watcher)
    assert not wills, f"{len(wills)} wills of 300"


@behaviour(settings=("session.takeovers_max=0",))
def disconnect_is_answered_by_closing_however_it_comes(gateway):
    # What comes while the segment before it is processed must not keep the socket: its wake-up may be late.
    publisher = gateway.client("publisher")
    for number in range(400):
        client = gateway.socket()
        client.connect(gateway.name(str(number % 40)))
        client.subscribe((gateway.topic(), 1))
        publisher.send(*[mqtt.publish(gateway.topic(), b"x", 1, packet_id=i) for i in range(1, 6)])
        for message in [client.next_publish() for _ in range(5)]:
            client.answer(message)
        client.send(mqtt.packet(mqtt.DISCONNECT))
        client.expect_silent_close()
        client.close()
        gateway.clients.remove(client)


@behaviour()
def reasons_of_refusal_are_counted(gateway):
    cases = {
        "type": b"\x00\x00", "flags": b"\xc1\x00", "remaining_length": b"\x30\xff\xff\xff\xff\x01",
        "truncated": b"\x30\x03\x00\x05a", "trailing_bytes": b"\xc0\x01x", "utf8": mqtt.publish(b"\xff"),
        "qos": mqtt.publish("a", b"", 3, packet_id=1), "dup": mqtt.publish("a", b"", 0, dup=True),
        "packet_id": mqtt.subscribe(0, ("a", 0)), "topic": mqtt.publish("a/#"),
        "filter": mqtt.subscribe(1, ("a#", 0)), "empty_list": mqtt.packet(mqtt.SUBSCRIBE, 2, b"\0\1")}
    count = {reason: gateway.daemon.metric("penstock_malformed_total", reason=reason) for reason in cases}
    for data in cases.values():
        client = gateway.client()
        client.send(data)
        client.expect_silent_close()
    for reason in cases:
        gateway.eventually(lambda reason=reason: gateway.daemon.metric(
            "penstock_malformed_total", reason=reason) == count[reason] + 1)


if __name__ == "__main__":
    main()
