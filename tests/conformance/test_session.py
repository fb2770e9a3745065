"""Sessions: clean and persistent, storing, resuming, order (3.1.2.4, 3.1.4, 4.1, 4.4 to 4.6)."""

import time

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def subscribed(gateway, qos=2, **options):
    client = gateway.client(clean=False, **options)
    client.subscribe((gateway.topic(), qos))
    return client


@normative("MQTT-3.1.2-4", "MQTT-3.1.4-3")
def clean_session_0_resumes_subscriptions(gateway):
    client = gateway.client(clean=False)
    assert client.connack.session_present == 0
    client.subscribe((gateway.topic("a"), 0), (gateway.topic("b"), 1), (gateway.topic("c/+"), 2))
    client.unsubscribe(gateway.topic("a"))
    client.disconnect()
    client = gateway.client(clean=False)
    assert client.connack.session_present == 1
    publisher = gateway.client("publisher")
    for suffix in ("a", "b", "c/1"):
        publisher.publish(gateway.topic(suffix), b"", 2)
    messages = gateway.before_probe(client)
    assert [(m.topic, m.qos) for m in messages] == [(gateway.topic("b"), 1), (gateway.topic("c/1"), 2)]


@normative("MQTT-3.1.2-5", "MQTT-4.5.0-1", "MQTT-4.1.0-1")
def missed_qos_1_and_2_messages_are_stored(gateway):
    for end in ("disconnect", "close"):
        client = subscribed(gateway)
        client.ping()
        getattr(client, end)()
        publisher = gateway.client("publisher")
        for qos in (1, 2, 1, 2):
            publisher.publish(gateway.topic(), f"{end} at {qos}", qos)
        client = gateway.client(clean=False)
        messages = client.take_messages(4)
        assert [(m.payload, m.qos) for m in messages] == \
            [(f"{end} at {qos}".encode(), qos) for qos in (1, 2, 1, 2)]
        client.disconnect()


@behaviour()
def missed_messages_are_stored_at_the_qos_granted(gateway):
    client = gateway.client(clean=False)
    client.subscribe((gateway.topic("0"), 0), (gateway.topic("1"), 1))
    client.disconnect()
    publisher = gateway.client("publisher")
    for suffix in ("0", "1"):
        publisher.publish(gateway.topic(suffix), b"", 2)
    client = gateway.client(clean=False)
    messages = [(m.topic, m.qos) for m in gateway.before_probe(client)]
    assert (gateway.topic("1"), 1) in messages and len(messages) <= 2


@normative("MQTT-3.1.2-6", "MQTT-3.1.4-3")
def clean_session_1_discards_everything(gateway):
    client = subscribed(gateway)
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"unanswered", 2)
    client.next_publish()
    client.send(mqtt.publish(gateway.topic("in"), b"", 2, packet_id=9))
    client.expect(mqtt.PUBREC, 9)
    client.disconnect()
    publisher.publish(gateway.topic(), b"missed", 2)
    client = gateway.client(clean=True)
    assert client.connack.session_present == 0
    publisher.publish(gateway.topic(), b"live", 2)
    assert gateway.before_probe(client) == []
    client.disconnect()
    client = gateway.client(clean=False)
    assert client.connack.session_present == 0
    publisher.publish(gateway.topic(), b"later", 2)
    assert gateway.before_probe(client) == []


@normative("MQTT-3.1.2-6")
def clean_session_ends_with_its_connection(gateway):
    client = gateway.client(clean=True)
    client.subscribe((gateway.topic(), 1))
    client.close()
    gateway.client("publisher").publish(gateway.topic(), b"missed", 1)
    for clean in (False, True):
        client = gateway.client(clean=clean)
        assert client.connack.session_present == 0
        assert gateway.before_probe(client) == []
        client.disconnect()


@normative("MQTT-3.1.3-2")
def sessions_belong_to_their_client_id(gateway):
    names = ("one", "two")
    for name in names:
        client = gateway.client(name, clean=False)
        client.subscribe((gateway.topic(name), 1))
        client.disconnect()
    publisher = gateway.client("publisher")
    for name in names:
        publisher.publish(gateway.topic(name), name, 1)
    for name in reversed(names):
        client = gateway.client(name, clean=False)
        assert [m.payload for m in gateway.before_probe(client)] == [name.encode()]


@normative("MQTT-4.1.0-2")
def session_lasts_as_long_as_its_connection(gateway):
    client = gateway.client(clean=True)
    client.subscribe((gateway.topic(), 2))
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"first", 2)
    first = client.next_publish()
    for number in range(100):
        publisher.publish(gateway.topic(), str(number), 0)
    assert len(gateway.before_probe(client)) == 100
    client.answer(first)
    client.ping()


@normative("MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-2.3.1-4", "MQTT-4.6.0-1")
def unacknowledged_publishes_are_sent_again_with_dup_their_ids_and_in_order(gateway):
    client = subscribed(gateway)
    publisher = gateway.client("publisher")
    for number in range(20):
        publisher.publish(gateway.topic(), str(number), 1 + number % 2)
    first = [client.next_publish() for _ in range(20)]
    client.answer(first[3])
    client.answer(first[8])
    client.ping()
    client.close()
    left = [m for i, m in enumerate(first) if i not in (3, 8)]
    client = gateway.client(clean=False)
    again = [client.receive() for _ in left]
    assert all(p.kind == (mqtt.PUBREL if m is first[3] else mqtt.PUBLISH) for p, m in zip(again, left))
    assert [(m.packet_id, m.payload, m.qos) for m in again] == \
        [(m.packet_id, m.payload, m.qos) for m in left]
    assert all(m.dup for m in again)
    for message in again:
        client.answer(message)
    assert gateway.before_probe(client) == []


@normative("MQTT-4.4.0-1")
def messages_are_resent_at_every_reconnect_until_acknowledged(gateway):
    client = subscribed(gateway)
    gateway.client("publisher").publish(gateway.topic(), b"message", 1)
    message = client.next_publish()
    for _ in range(3):
        client.close()
        client = gateway.client(clean=False)
        again = client.next_publish()
        assert (again.packet_id, again.payload, again.dup) == (message.packet_id, b"message", True)
    client.answer(again)
    client.disconnect()
    client = gateway.client(clean=False)
    assert gateway.before_probe(client) == []


@normative("MQTT-4.4.0-1", "MQTT-4.3.3-1")
def pubrel_is_resent_after_a_reconnect(gateway):
    client = subscribed(gateway)
    gateway.client("publisher").publish(gateway.topic(), b"message", 2)
    message = client.next_publish()
    client.send(mqtt.acknowledge(mqtt.PUBREC, message.packet_id))
    client.expect(mqtt.PUBREL, message.packet_id)
    for _ in range(2):
        client.close()
        client = gateway.client(clean=False)
        again = client.receive()
        assert (again.kind, again.packet_id, again.flags) == (mqtt.PUBREL, message.packet_id, 2)
    client.send(mqtt.acknowledge(mqtt.PUBCOMP, message.packet_id))
    client.ping()
    client.disconnect()
    client = gateway.client(clean=False)
    assert gateway.before_probe(client) == []


@normative("MQTT-4.3.3-2", "MQTT-4.4.0-1")
def incoming_qos_2_state_survives_a_reconnect(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe((gateway.topic("in"), 2))
    client = gateway.client(clean=False)
    client.send(mqtt.publish(gateway.topic("in"), b"once", 2, packet_id=5))
    client.expect(mqtt.PUBREC, 5)
    client.close()
    client = gateway.client(clean=False)
    client.send(mqtt.publish(gateway.topic("in"), b"once", 2, dup=True, packet_id=5))
    client.expect(mqtt.PUBREC, 5)
    client.close()
    client = gateway.client(clean=False)
    client.release(5)
    assert [m.payload for m in gateway.before_probe(watcher)] == [b"once"]
    client.send(mqtt.publish(gateway.topic("in"), b"new", 2, packet_id=5))
    client.expect(mqtt.PUBREC, 5)
    client.release(5)
    assert watcher.next_message().payload == b"new"


@behaviour()
def nothing_is_resent_while_a_connection_lasts(gateway):
    client = subscribed(gateway)
    gateway.client("publisher").publish(gateway.topic(), b"message", 1)
    message = client.next_publish()
    assert gateway.before_probe(client) == []
    client.answer(message)


@normative("MQTT-4.5.0-1")
def every_matching_session_gets_the_message(gateway):
    here = [gateway.client(f"here-{i}") for i in range(10)]
    away = [gateway.client(f"away-{i}", clean=False) for i in range(10)]
    for client in here + away:
        client.subscribe((gateway.topic("+"), 2))
    for client in away:
        client.disconnect()
    gateway.client("publisher").publish(gateway.topic(), b"to all", 2)
    for client in here:
        assert client.next_message().payload == b"to all"
    for i in range(10):
        assert gateway.client(f"away-{i}", clean=False).next_message().payload == b"to all"


@normative("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def acknowledgements_come_in_the_order_of_the_publishes(gateway):
    client = gateway.client()
    ids = [(number, 1 + number % 2) for number in range(1, 301)]
    client.send(*[mqtt.publish(gateway.topic(str(i % 7)), b"", qos, packet_id=i) for i, qos in ids])
    answers = [client.receive() for _ in ids]
    for qos, kind in ((1, mqtt.PUBACK), (2, mqtt.PUBREC)):
        assert [p.packet_id for p in answers if p.kind == kind] == [i for i, q in ids if q == qos]


@normative("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def acknowledgements_come_in_order_over_all_topics(gateway):
    client = gateway.client()
    count = 300
    client.send(*[mqtt.publish(f"{gateway.prefix}/{i}/x", b"", 1, packet_id=i + 1)
                  for i in range(count)])
    assert [client.expect(mqtt.PUBACK).packet_id for _ in range(count)] == list(range(1, count + 1))


@normative("MQTT-4.6.0-4")
def pubrels_come_in_the_order_of_the_pubrecs(gateway):
    client = subscribed(gateway)
    publisher = gateway.client("publisher")
    for number in range(50):
        publisher.publish(gateway.topic(), str(number), 2)
    ids = [client.next_publish().packet_id for _ in range(50)]
    order = ids[::2] + ids[1::2]
    client.send(*[mqtt.acknowledge(mqtt.PUBREC, i) for i in order])
    assert [client.expect(mqtt.PUBREL).packet_id for _ in order] == order
    client.close()
    # Sent again, they come in the order in which they were sent first.
    client = gateway.client(clean=False)
    assert [client.expect(mqtt.PUBREL).packet_id for _ in order] == order


@normative("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def every_topic_keeps_the_order_of_each_publisher(gateway):
    subscribers = [gateway.client(f"subscriber-{i}") for i in range(3)]
    for subscriber in subscribers:
        subscriber.subscribe((gateway.topic("+"), 2))
    publishers = [gateway.client(f"publisher-{i}") for i in range(3)]
    count = 100
    for number in range(count):
        for index, publisher in enumerate(publishers):
            for qos in (0, 1, 2):
                publisher.send(mqtt.publish(gateway.topic(str(qos)), f"{index} {number}", qos,
                                            packet_id=1 + number * 3 + qos if qos else None))
    for subscriber in subscribers:
        seen = {}
        for message in subscriber.take_messages(count * 9):
            index, number = message.payload.split()
            seen.setdefault((index, message.topic), []).append(int(number))
        assert len(seen) == 9 and all(numbers == list(range(count)) for numbers in seen.values())


@normative("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def order_is_kept_between_missed_and_live_messages(gateway):
    client = subscribed(gateway, 1)
    client.disconnect()
    publisher = gateway.client("publisher")
    for number in range(300):
        publisher.publish(gateway.topic(), str(number), 1)
    client = gateway.client(clean=False)
    got = client.take_messages(100)
    publisher.send(*[mqtt.publish(gateway.topic(), str(n), 1, packet_id=n) for n in range(300, 600)])
    got += client.take_messages(500)
    assert [int(m.payload) for m in got] == list(range(600))


@normative("MQTT-3.1.4-2")
def takeover_resumes_the_session_of_the_older_connection(gateway):
    first = subscribed(gateway)
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"unanswered", 1)
    message = first.next_publish()
    second = gateway.client(clean=False)
    assert second.connack.session_present == 1
    first.expect_silent_close()
    again = second.next_publish()
    assert (again.packet_id, again.dup, again.payload) == (message.packet_id, True, b"unanswered")
    publisher.publish(gateway.topic(), b"next", 1)
    assert second.next_message().payload == b"next"


@normative("MQTT-3.1.4-2", "MQTT-3.1.2-6")
def clean_takeover_discards_the_session_of_the_older_connection(gateway):
    first = subscribed(gateway)
    second = gateway.client(clean=True)
    assert second.connack.session_present == 0
    first.expect_silent_close()
    gateway.client("publisher").publish(gateway.topic(), b"message", 1)
    assert gateway.before_probe(second) == []


@normative("MQTT-3.1.4-2", settings=("session.takeovers_max=0",))
def a_chain_of_takeovers_leaves_the_last(gateway):
    clients = [gateway.client(clean=False) for _ in range(20)]
    last = clients.pop()
    last.subscribe((gateway.topic(), 1))
    for client in clients:
        client.expect_silent_close()
    last.publish(gateway.topic(), b"message", 1)
    assert last.next_message().payload == b"message"


@normative("MQTT-3.1.4-2", settings=("session.takeovers_max=0",))
def of_many_connections_at_once_one_remains(gateway):
    clients = [gateway.socket() for _ in range(20)]
    for client in clients:
        client.send(mqtt.connect(gateway.name(), clean=False))
    left = list(clients)
    while len(left) > 1:
        for client in mqtt.readable(left):
            try:
                assert client.receive().kind == mqtt.CONNACK
            except mqtt.Closed:
                left.remove(client)
    left[0].send(mqtt.subscribe(1, (gateway.topic(), 1)))
    while left[0].receive().kind != mqtt.SUBACK:
        pass


@normative("MQTT-3.1.2-24")
def keepalive_is_enforced_at_one_and_a_half_times(gateway):
    client = gateway.socket()
    begin = time.monotonic()
    client.connect(gateway.name(), keepalive=2)
    client.expect_silent_close()
    passed = time.monotonic() - begin
    assert 2.9 <= passed < 10, passed


@normative("MQTT-3.1.2-24")
def any_packet_keeps_the_connection_alive(gateway):
    client = gateway.client(keepalive=1)
    idle = gateway.client("idle", keepalive=1)
    begin = time.monotonic()
    while time.monotonic() - begin < 3.5:  # each wait below ends by its bound: nothing is due
        assert not client.is_readable(0.5)
        client.send(mqtt.publish(gateway.topic()))
    client.ping()
    idle.expect_silent_close()


@behaviour()
def keepalive_0_never_closes(gateway):
    client = gateway.client(keepalive=0)
    other = gateway.client("other", keepalive=1)
    other.expect_silent_close()
    client.ping()


if __name__ == "__main__":
    main()
