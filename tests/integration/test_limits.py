"""Every limit that protects a gateway: it is kept, told in a metric, and hurts nobody else."""

import re
import signal
import socket
import time
import urllib.request

from command import Running, file_with, refused
from mqtt import PINGREQ, PUBCOMP, PUBREC, PUBREL, Client, acknowledge, connect, packet, publish
from suite import behaviour, main

SOURCES = ("connection.per_source_max=3", "connection.per_source_on_loopback=yes")


def socket_from(source, port):
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def served_from(source, port):
    """A connection from this address that the gateway has answered a CONNECT on; None: it closed it."""
    try:
        connection = socket_from(source, port)
        connection.sendall(connect(""))
        return connection if len(connection.recv(4)) == 4 else None
    except ConnectionError:
        return None


def counted(gateway, count, name, **labels):
    """Waits until a metric, which a shard publishes now and then, has this value."""
    gateway.eventually(lambda: gateway.daemon.metric(name, **labels) == count)


@behaviour(settings=("connection.count_max=3",))
def connections_beyond_the_gateways_number_are_refused_with_code_3(gateway):
    clients = [gateway.client(f"c{i}") for i in range(3)]
    gateway.socket().connect(gateway.name("over"), expect_code=3)
    counted(gateway, 1, "penstock_connects_refused_total", reason="connections")
    clients[0].disconnect()
    gateway.client("after")


@behaviour(settings=("connection.count_max=2", "session.takeovers_max=0"))
def at_the_gateways_number_a_session_may_still_be_taken_over(gateway):
    older = [gateway.client(f"c{i}") for i in range(2)]
    for i in range(2):
        gateway.client(f"c{i}").ping()
        older[i].expect_silent_close()
    gateway.socket().connect(gateway.name("over"), expect_code=3)
    counted(gateway, 1, "penstock_connects_refused_total", reason="connections")


@behaviour(settings=("broker.type=memory", "broker.memory_bytes=1M"))
def a_message_above_the_brokers_largest_record_closes_that_connection_only(gateway):
    other = gateway.client("other")
    for qos in (0, 1):
        client = gateway.client()
        client.send(publish(gateway.topic(), b"x" * 500000, qos, packet_id=qos))
        client.expect_silent_close()
    counted(gateway, 2, "penstock_rejected_total", reason="too_large")
    assert gateway.daemon.metric("penstock_rejected_total", reason="topic") == 0
    other.ping()


@behaviour()
def a_will_above_the_brokers_largest_record_is_refused_with_its_connect(gateway):
    # The records of many shards share the memory, so that they are smaller than a will may be.
    with Running("--listen", "127.0.0.1:0", "--shards", "16", "--set", "broker.type=memory",
                 "--set", "broker.memory_bytes=1M") as running:
        port = int(running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+)")[1])
        Client(port).connect("small", will=("w", b"x" * 1000, 0, False))
        client = Client(port)
        client.send(connect("large", will=("w", b"x" * 65000, 0, False)))
        client.expect_silent_close()


@behaviour(settings=("log.level=debug", "connection.connect_timeout=300ms", "topic.levels_max=5"))
def a_peers_mistake_is_a_debug_line(gateway):
    gateway.socket().connect("x" * 300, user="u", password="secret", expect_code=2)
    gateway.daemon.wait_for_line('level=debug event=connect_refused reason=client_id peer=127.0.0.1 client_id="xxx')
    gateway.client("bad").send(packet(15))
    gateway.daemon.wait_for_line("level=debug event=connection_closed reason=bad_type peer=127.0.0.1")
    gateway.client("deep").send(publish("1/2/3/4/5/6", b"x"))
    gateway.daemon.wait_for_line("level=debug event=connection_closed reason=limit peer=127.0.0.1")
    gateway.socket()
    gateway.daemon.wait_for_line("level=debug event=connection_closed reason=connect_timeout peer=127.0.0.1")
    gateway.client("good").disconnect()
    lines = [line for line in gateway.daemon.log().splitlines() if "level=debug" in line]
    assert len(lines) == 4 and "secret" not in gateway.daemon.log(), lines


@behaviour(settings=SOURCES)
def connections_beyond_a_sources_number_are_closed_and_others_are_not(gateway):
    first = [served_from("127.0.0.1", gateway.port) for _ in range(3)]
    assert all(first)
    assert not served_from("127.0.0.1", gateway.port)
    assert served_from("127.0.0.2", gateway.port)
    counted(gateway, 1, "penstock_accepts_over_source_total")
    first.pop().close()
    gateway.eventually(lambda: served_from("127.0.0.1", gateway.port))


@behaviour(settings=(*SOURCES, "connection.source_prefix_ipv4=24"))
def addresses_of_one_prefix_are_one_source(gateway):
    first = [served_from(f"127.0.7.{i}", gateway.port) for i in range(1, 4)]
    assert all(first)
    assert not served_from("127.0.7.9", gateway.port)
    assert served_from("127.0.8.9", gateway.port)


@behaviour(settings=("connection.accepts_per_second_max=20",))
def connections_are_accepted_no_faster_than_the_rate(gateway):
    begin = time.monotonic()
    connections = [socket_from("127.0.0.1", gateway.port) for _ in range(100)]
    for connection in connections:
        connection.sendall(connect(""))
    for connection in connections:
        assert connection.recv(4) == b"\x20\x02\x00\x00"
    # 20 may be met at once, 20 more when a second begins just then.
    assert time.monotonic() - begin > 2
    assert gateway.daemon.metric("penstock_accepts_delayed_total") > 0
    for connection in connections:
        connection.close()


@behaviour(settings=("connection.connect_timeout=300ms",))
def a_connect_must_come_in_time_whole(gateway):
    silent, trickling = gateway.socket(), gateway.socket()
    whole = connect(gateway.name())
    trickling.send(whole[:-1])
    silent.expect_silent_close()
    trickling.expect_silent_close()
    counted(gateway, 2, "penstock_connections_closed_total", reason="connect_timeout")


@behaviour(settings=("connection.packet_bytes_max=4k",))
def a_packet_above_the_largest_closes_that_connection_only(gateway):
    other = gateway.client("other")
    client = gateway.client()
    overhead = 2 + 3 + len(gateway.topic())
    client.send(publish(gateway.topic(), b"x" * (4096 - overhead)))
    client.ping()
    client.send(publish(gateway.topic(), b"x" * (4097 - overhead)))
    client.expect_silent_close()
    counted(gateway, 1, "penstock_connections_closed_total", reason="too_large")
    other.ping()


@behaviour(settings=("topic.bytes_max=40", "topic.levels_max=5"))
def topics_are_limited_in_length_and_levels(gateway):
    for topic in ("a" * 41, "1/2/3/4/5/6"):
        assert gateway.client().subscribe((topic, 1)) == [0x80], topic
        publisher = gateway.client()
        publisher.send(publish(topic, b"x"))
        publisher.expect_silent_close()
    counted(gateway, 2, "penstock_rejected_total", reason="topic")
    client = gateway.client()
    assert client.subscribe(("a" * 40, 1), ("1/2/3/4/5", 1)) == [1, 1]
    client.publish("a" * 40, b"x", qos=1)


@behaviour(settings=("session.subscriptions_max=3",))
def subscriptions_of_a_session_are_limited(gateway):
    client = gateway.client()
    topics = [gateway.topic(str(i)) for i in range(5)]
    assert client.subscribe(*topics[:2]) == [0, 0]
    assert client.subscribe(*topics[2:4]) == [0, 0x80]
    assert client.subscribe((topics[0], 1)) == [1]  # not one more
    client.unsubscribe(topics[1])
    assert client.subscribe(topics[4]) == [0]
    counted(gateway, 1, "penstock_subscriptions_refused_total")


@behaviour(settings=("session.window_max=4",))
def deliveries_that_are_not_acknowledged_are_limited(gateway):
    subscriber = gateway.client("subscriber")
    subscriber.subscribe((gateway.topic(), 1))
    publisher = gateway.client("publisher")
    for i in range(10):
        publisher.publish(gateway.topic(), str(i), qos=1)
    received = [subscriber.next_publish() for _ in range(4)]
    subscriber.ping()
    assert not subscriber.messages
    for i in range(4, 10):
        subscriber.answer(received.pop(0))
        received.append(subscriber.next_publish())
        assert received[-1].payload == str(i).encode()


@behaviour(settings=("session.unreleased_max=4",))
def packet_ids_that_are_never_released_are_limited(gateway):
    client = gateway.client("c")
    for packet_id in range(1, 5):
        client.send(publish(gateway.topic(), b"", 2, packet_id=packet_id))
        client.expect(PUBREC, packet_id)
    client.send(acknowledge(PUBREL, 1))
    client.expect(PUBCOMP, 1)
    client.send(publish(gateway.topic(), b"", 2, packet_id=9))
    client.expect(PUBREC, 9)
    client.send(publish(gateway.topic(), b"", 2, packet_id=9))  # known, not one more
    client.expect(PUBREC, 9)
    client.send(publish(gateway.topic(), b"", 2, packet_id=10))
    client.expect_silent_close()
    counted(gateway, 1, "penstock_rejected_total", reason="unreleased")


@behaviour(settings=("session.client_id_bytes_max=23",))
def client_ids_are_limited(gateway):
    gateway.socket().connect("x" * 23)
    gateway.socket().connect("x" * 24, expect_code=2)
    counted(gateway, 1, "penstock_connects_refused_total", reason="client_id")


@behaviour(settings=("connection.publish_messages_per_second_max=100",))
def a_client_that_publishes_too_fast_is_slowed_and_loses_nothing(gateway):
    subscriber, publisher, other = gateway.client("s"), gateway.client("p"), gateway.client("o")
    subscriber.subscribe((gateway.topic(), 0))
    begin = time.monotonic()
    publisher.send(*[publish(gateway.topic(), str(i)) for i in range(350)])
    other.ping()
    assert time.monotonic() - begin < 2, "another client waited"
    received = [int(subscriber.next_publish().payload) for _ in range(350)]
    assert received == list(range(350))
    assert time.monotonic() - begin > 2, "100 at once, then 100 a second"
    publisher.ping()
    assert gateway.daemon.metric("penstock_publishers_held_total") > 0


@behaviour(settings=("connection.publish_bytes_per_second_max=10000",))
def bytes_of_publishes_are_limited_too(gateway):
    publisher = gateway.client("p")
    begin = time.monotonic()
    for _ in range(4):
        publisher.publish(gateway.topic(), b"x" * 9900, qos=1)
    assert time.monotonic() - begin > 1.5, "10,000 at once, then 10,000 a second"


@behaviour(settings=("connection.pending_bytes_max=4096",))
def a_client_that_asks_and_never_reads_is_closed(gateway):
    client = gateway.socket(receive_bytes=4096)
    client.connect(gateway.name())
    pings = packet(PINGREQ) * 50000
    client.socket.settimeout(20)
    try:
        for _ in range(400):
            client.send(pings)
        raise AssertionError("40 MB of answers were kept for a client that reads none")
    except (ConnectionError, TimeoutError):
        pass
    counted(gateway, 1, "penstock_connections_closed_total", reason="limit")
    counted(gateway, 0, "penstock_unsent_bytes")


@behaviour(settings=("topic.filters_max=2",))
def filters_of_a_shard_are_limited(gateway):
    clients = [gateway.client(f"c{i}") for i in range(20)]
    codes = [client.subscribe(gateway.topic(str(i)))[0] for i, client in enumerate(clients)]
    assert codes.count(0) >= 2 and codes.count(0x80) >= 20 - 2 * gateway.shards, codes
    # Who was told 0 gets what is published.
    publisher = gateway.client("publisher")
    for i, client in enumerate(clients):
        publisher.publish(gateway.topic(str(i)), b"here", qos=1)
        if codes[i] == 0:
            assert client.take_messages(1)[0].payload == b"here", i
        else:
            client.ping()
    # A filter that is known needs no room.
    known = codes.index(0)
    assert clients[known].subscribe(gateway.topic(str(known))) == [0]


@behaviour(settings=("retained.count_max=3",))
def retained_values_are_limited_and_those_that_are_there_go_on(gateway):
    client, watcher = gateway.client(), gateway.client("watcher")
    for i in range(3):
        client.publish(gateway.topic(str(i)), b"old", qos=1, retain=True)

    def refused_so_far():
        return gateway.daemon.metric("penstock_retained_refused_total")

    def is_refusing():
        """What an earlier run may have left is listed first; until then nothing is refused."""
        client.publish(gateway.topic("5"), b"old", qos=1, retain=True)
        client.publish(gateway.topic("5"), b"", qos=1, retain=True)
        return refused_so_far() > 0

    gateway.eventually(is_refusing)
    client.ping()
    watcher.subscribe((gateway.topic("#"), 1))
    assert sorted(m.payload for m in watcher.take_messages(3)) == [b"old"] * 3
    refused_before = refused_so_far()
    for i in (3, 4):
        client.publish(gateway.topic(str(i)), b"old", qos=1, retain=True)
    assert len(watcher.take_messages(2)) == 2, "what is not retained is delivered all the same"
    client.publish(gateway.topic("1"), b"new", qos=1, retain=True)
    client.publish(gateway.topic("2"), b"", qos=1, retain=True)
    client.publish(gateway.topic("6"), b"old", qos=1, retain=True)
    late = gateway.client("late")
    late.subscribe((gateway.topic("#"), 1))
    values = {message.topic[-1]: message.payload for message in late.take_messages(3)}
    assert values == {"0": b"old", "1": b"new", "6": b"old"}, values
    assert gateway.before_probe(late) == []
    counted(gateway, 3, "penstock_retained_values")
    gateway.eventually(lambda: refused_so_far() >= refused_before + 2)


@behaviour(settings=("session.takeovers_max=3", "session.takeover_delay=500ms"))
def clients_that_fight_over_a_client_id_are_slowed_down(gateway):
    older = gateway.client("fought-over")
    begin = time.monotonic()
    for _ in range(3):
        newer = gateway.client("fought-over")
        older.expect_silent_close()
        older = newer
    assert time.monotonic() - begin < 5
    for _ in range(2):
        begin = time.monotonic()
        newer = gateway.client("fought-over")
        assert time.monotonic() - begin >= 0.5
        older.expect_silent_close()
        older = newer
    # Who gives up while it waits does no harm.
    leaver = gateway.socket()
    leaver.send(connect(gateway.name("fought-over")))
    leaver.close()
    gateway.client("another").ping()
    older.expect_silent_close()
    gateway.client("fought-over").ping()
    gateway.eventually(lambda: gateway.daemon.metric("penstock_takeovers_delayed_total") >= 3)


@behaviour()
def a_gateway_short_of_memory_refuses_new_clients_and_keeps_those_it_has(gateway):
    # The budget is set by what the gateway has in use when it rests.
    used = gateway.daemon.metric("penstock_memory_bytes")
    assert used > 1 << 20
    arguments = ("--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--shards", str(gateway.shards))
    # Or by the least that a start needs; then the share from which on it protects itself is set accordingly.
    least = int(re.search(r"allowed: at least (\d+)k", refused(*arguments, "--set", "memory.bytes_max=1"))[1]) * 1024
    budget = max(least, used * 100 // 90)
    percent = max(1, (2 * used - budget) * 100 // budget)  # half way from there to the end: level 3 of 5
    with Running(*arguments, "--set", f"memory.bytes_max={budget}",
                 "--set", f"overload.memory_percent={percent}") as running:
        port = int(running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+)")[1])
        gateway.eventually(lambda: refusing(port))
    with Running(*arguments, "--set", f"memory.bytes_max={budget * 2}") as running:
        port = int(running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+)")[1])
        Client(port).connect("roomy")


@behaviour()
def nearly_out_of_memory_who_does_not_drain_is_closed_and_others_are_served(gateway):
    budget = gateway.daemon.metric("penstock_memory_bytes") + (32 << 20)
    head = f"memory.bytes_max = {budget}\nadmin.listen = \"127.0.0.1:0\"\nbroker.type = memory\n"
    with file_with(head + "overload.memory_percent = 100\n") as file, Running(
            "--config", file.name, "--listen", "127.0.0.1:0", "--shards", str(gateway.shards)) as running:
        match = running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+) admin=127\.0\.0\.1:(\d+)")
        port, admin = int(match[1]), int(match[2])
        stalled, reader, writer = Client(port, receive_bytes=4096), Client(port), Client(port)
        for name, client in (("stalled", stalled), ("reader", reader), ("writer", writer)):
            client.connect(name)
        stalled.subscribe("flood")
        reader.subscribe(("calm", 1))
        for _ in range(100):
            writer.publish("flood", b"x" * 100000)
        writer.ping()
        while told(admin, r"penstock_memory_bytes (\d+)") < budget * 0.92:  # the log keeps them
            writer.publish("log", b"x" * 100000, qos=1)
        # From here on 1 percent is much: of the five levels it is at the last one.
        with open(file.name, "w", encoding="ascii") as again:
            again.write(head + "overload.memory_percent = 1\n")
        running.signal(signal.SIGHUP)
        running.wait_for("event=reloaded")
        gateway.eventually(lambda: refusing(port))
        for i in range(20):
            writer.publish("calm", str(i), qos=1)
            assert reader.next_message().payload == str(i).encode()
        gateway.eventually(lambda: told(admin, r'connections_closed_total\{.*reason="overload"\} (\d+)') >= 1)
        stalled.close()


def told(admin, pattern):
    """The sum of what the administrator's page says of a metric."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(map(int, re.findall(pattern, text)))


def refusing(port):
    client = Client(port)
    client.send(connect("short of memory"))
    code = client.receive().code
    client.close()
    return code == 3


if __name__ == "__main__":
    main()
