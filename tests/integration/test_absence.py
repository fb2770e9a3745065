"""Persistent sessions over long absences: many more messages than a window or the ring of recent
hand-overs holds, interrupted again and again."""

import mqtt
from suite import IS_LONG, behaviour, main

MISSED = 50000 if IS_LONG else 5000


def publish_many(publisher, topic_of, count, qos, first=0):
    """Numbers as payloads, in order, up to 500 unanswered."""
    for begin in range(first, first + count, 500):
        numbers = range(begin, min(begin + 500, first + count))
        ids = [publisher.next_id() for _ in numbers]
        publisher.send(*[mqtt.publish(topic_of(n), str(n), qos, packet_id=i) for n, i in zip(numbers, ids)])
        for i in ids:
            publisher.expect(mqtt.PUBACK if qos == 1 else mqtt.PUBREC, i)
        if qos == 2:
            publisher.send(*[mqtt.acknowledge(mqtt.PUBREL, i) for i in ids])
            for i in ids:
                publisher.expect(mqtt.PUBCOMP, i)


def absent_session(gateway, name, *filters):
    client = gateway.client(name, clean=False)
    client.subscribe(*filters)
    client.disconnect()


def numbers_of(messages):
    return [int(message.payload) for message in messages]


@behaviour()
def thousands_of_missed_qos_1_messages_come_in_order(gateway):
    absent_session(gateway, "s", (gateway.topic(), 1))
    publish_many(gateway.client("p"), lambda n: gateway.topic(), MISSED, 1)
    client = gateway.client("s", clean=False)
    messages = client.take_messages(MISSED)
    assert numbers_of(messages) == list(range(MISSED))
    assert not any(m.dup for m in messages)
    assert gateway.before_probe(client) == []


@behaviour()
def thousands_of_missed_qos_2_messages_come_once_and_in_order(gateway):
    # Each is two writes of the session's record, one after the other, as this client takes them.
    missed = MISSED // 5
    absent_session(gateway, "s", (gateway.topic(), 2))
    publish_many(gateway.client("p"), lambda n: gateway.topic(), missed, 2)
    client = gateway.client("s", clean=False)
    assert numbers_of(client.take_messages(missed)) == list(range(missed))
    assert gateway.before_probe(client) == []


@behaviour()
def missed_messages_of_many_partitions_all_come(gateway):
    topics = [f"{gateway.prefix}/{i}/x" for i in range(50)]
    absent_session(gateway, "s", (f"{gateway.prefix}/+/x", 2))
    publish_many(gateway.client("p"), lambda n: topics[n % 50], MISSED, 1)
    client = gateway.client("s", clean=False)
    seen = {}
    for message in client.take_messages(MISSED):
        seen.setdefault(message.topic, []).append(int(message.payload))
    assert seen == {topic: list(range(i, MISSED, 50)) for i, topic in enumerate(topics)}


@behaviour(settings=("session.takeovers_max=0",))
def an_interrupted_catching_up_goes_on_where_it_was(gateway):
    absent_session(gateway, "s", (gateway.topic(), 1))
    publish_many(gateway.client("p"), lambda n: gateway.topic(), MISSED, 1)
    got = []
    while len(got) < MISSED:
        client = gateway.client("s", clean=False)
        for _ in range(min(700, MISSED - len(got))):
            message = client.next_message()
            if int(message.payload) < len(got):
                # Acknowledged when the connection broke, but not heard: permitted at QoS 1, and marked.
                assert message.dup
                continue
            assert int(message.payload) == len(got)
            got.append(int(message.payload))
        client.close()


@behaviour(settings=("session.takeovers_max=0",))
def an_interrupted_catching_up_at_qos_2_has_no_duplicates(gateway):
    absent_session(gateway, "s", (gateway.topic(), 2))
    publish_many(gateway.client("p"), lambda n: gateway.topic(), 2000, 2)
    got, held = [], {}  # held: ids received and not released, as a client keeps them
    while len(got) < 2000:
        client = gateway.client("s", clean=False)
        for _ in range(900):
            if len(got) == 2000 and not held:
                break
            packet = client.receive()
            if packet.kind == mqtt.PUBLISH:
                if packet.packet_id not in held:
                    assert not packet.dup or int(packet.payload) == len(got), packet
                    got.append(int(packet.payload))
                    held[packet.packet_id] = True
                client.send(mqtt.acknowledge(mqtt.PUBREC, packet.packet_id))
            elif packet.kind == mqtt.PUBREL:
                held.pop(packet.packet_id, None)
                client.send(mqtt.acknowledge(mqtt.PUBCOMP, packet.packet_id))
        client.close()
    assert got == list(range(2000))


@behaviour()
def absent_sessions_do_not_hold_up_those_that_are_there(gateway):
    for number in range(20):
        absent_session(gateway, f"s{number}", (gateway.topic(), 1 + number % 2))
    live = gateway.client("live")
    live.subscribe((gateway.topic(), 1))
    publisher = gateway.client("p")
    for begin in range(0, 1000, 100):
        publish_many(publisher, lambda n: gateway.topic(), 100, 1, begin)
        assert numbers_of(live.take_messages(100)) == list(range(begin, begin + 100))
    for number in range(20):
        client = gateway.client(f"s{number}", clean=False)
        assert numbers_of(client.take_messages(1000)) == list(range(1000))


@behaviour()
def publishing_goes_on_while_a_session_catches_up(gateway):
    absent_session(gateway, "s", (gateway.topic(), 1))
    publisher = gateway.client("p")
    publish_many(publisher, lambda n: gateway.topic(), 3000, 1)
    client = gateway.client("s", clean=False)
    got = []
    for begin in range(3000, 6000, 500):
        publish_many(publisher, lambda n: gateway.topic(), 500, 1, begin)
        got += client.take_messages(400)
    got += client.take_messages(6000 - len(got))
    assert numbers_of(got) == list(range(6000))


@behaviour(settings=("broker.segment_bytes=1M", "broker.tail_bytes=1M", "broker.cache_bytes=8M"))
def a_session_of_everything_reads_the_log_once(gateway):
    # Its partitions share segments; apart from each other each would fetch every block by itself.
    count, padding = 16000, 1000
    topics = [f"{gateway.prefix}/{i}" for i in range(64)]
    absent_session(gateway, "s", (f"{gateway.prefix}/+", 1))
    publisher = gateway.client("p")
    for begin in range(0, count, 200):
        publisher.send(*[mqtt.publish(topics[n % 64], str(n).ljust(padding), 1, packet_id=n + 1)
                         for n in range(begin, begin + 200)])
        for _ in range(200):
            publisher.expect(mqtt.PUBACK)
    before = gateway.daemon.metric("penstock_file_bytes_read_total")
    seen = numbers_of(gateway.client("s", clean=False).take_messages(count))
    assert sorted(seen) == list(range(count))
    read = gateway.daemon.metric("penstock_file_bytes_read_total") - before
    assert count * padding // 2 < read < 3 * count * padding, read


def lose_to_retention(gateway):
    """A session misses more than is kept. It gets the rest in order, and what is lost is told. Result: the numbers
    that it got, of how many, and the log's line."""
    absent_session(gateway, "s", (gateway.topic(), 1))
    publisher = gateway.client("p")
    count, padding = 8000, 1000
    for begin in range(0, count, 200):
        publisher.send(*[mqtt.publish(gateway.topic(), str(n).ljust(padding), 1, packet_id=n + 1)
                         for n in range(begin, begin + 200)])
        for _ in range(200):
            publisher.expect(mqtt.PUBACK)
    # What nobody needs any more is known once a second, so a log on disk is not shortened at once.
    gateway.eventually(lambda: gateway.daemon.metric("penstock_retention_records_total") > 0)
    client = gateway.client("s", clean=False)
    got = numbers_of(gateway.before_probe(client, 1))
    assert 100 < len(got) < count, len(got)
    assert got == sorted(set(got)) and got[-1] == count - 1, got
    gateway.eventually(lambda: gateway.daemon.metric("penstock_dropped_total", reason="retention")
                       == count - len(got))
    gateway.eventually(lambda: "event=retention" in gateway.daemon.log())
    lines = [line for line in gateway.daemon.log().splitlines() if "event=retention" in line]
    assert len(lines) == 1 and f'client_id="{gateway.name("s")}"' in lines[0], lines
    return got, count, lines[0]


@behaviour(settings=("broker.type=memory", "broker.memory_bytes=2M"))
def what_retention_took_in_memory_is_counted_and_the_rest_comes_in_order(gateway):
    got, count, line = lose_to_retention(gateway)
    assert len(got) < 3000 and got[0] == count - len(got)
    assert f"removed={count - len(got)} " in line, line


@behaviour(settings=("broker.retention_bytes=2M", "broker.segment_bytes=1M"))
def what_retention_took_on_disk_is_counted_and_the_rest_comes_in_order(gateway):
    lose_to_retention(gateway)  # by segments, and while the session is reading


@behaviour(settings=("session.expiry=1s",))
def a_session_expires(gateway):
    absent_session(gateway, "s", (gateway.topic(), 1))
    gateway.client("p").publish(gateway.topic(), b"missed", 1)

    def is_gone():
        client = gateway.socket()
        answer = client.connect(gateway.name("s"), clean=False)
        client.disconnect()
        return not answer.session_present

    gateway.client("p").publish(gateway.topic(), b"missed, too", 1)
    idle = gateway.client("idle", keepalive=1)  # its end, 1.5 s away, is the clock
    idle.expect_silent_close()
    gateway.client("idle2", keepalive=1).expect_silent_close()
    assert is_gone()


if __name__ == "__main__":
    main()
