"""PUBLISH and the flows of QoS 0, 1 and 2, both ways (3.3 to 3.7, 4.3)."""

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def publisher_and_subscriber(gateway, qos=2, **options):
    subscriber = gateway.client("subscriber", **options)
    subscriber.subscribe((gateway.topic(), qos))
    return gateway.client("publisher"), subscriber


@normative("MQTT-3.3.1-2")
def dup_at_qos_0_closes_and_is_never_sent(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway, 0)
    publisher.send(mqtt.publish(gateway.topic(), b"", 0, dup=True))
    publisher.expect_silent_close()
    other = gateway.client("other")
    other.send(mqtt.publish(gateway.topic(), b"as qos 0", 1, dup=True, packet_id=1))
    other.expect(mqtt.PUBACK, 1)
    message = subscriber.next_message()
    assert (message.payload, message.qos, message.dup) == (b"as qos 0", 0, False)


@normative("MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
def dup_is_not_passed_on(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for qos in (1, 2):
        publisher.send(mqtt.publish(gateway.topic(), b"again", qos, dup=True, packet_id=qos))
        message = subscriber.next_message()
        assert (message.payload, message.qos, message.dup) == (b"again", qos, False)


@normative("MQTT-3.3.1-4")
def qos_3_closes(gateway):
    for dup in (False, True):
        client = gateway.client()
        client.send(mqtt.publish("a", b"", 3, dup=dup, packet_id=1))
        client.expect_silent_close()


@normative("MQTT-3.3.2-2", "MQTT-4.7.1-1")
def wildcards_in_a_topic_name_close(gateway):
    for topic in ("#", "+", "a/#", "a/+", "a+", "+/a", "a#b", "a/+/b"):
        client = gateway.client()
        client.send(mqtt.publish(topic, b""))
        client.expect_silent_close()


@normative("MQTT-3.3.2-3")
def topic_of_a_delivery_matches_the_filter(gateway):
    publisher = gateway.client("publisher")
    subscriber = gateway.client("subscriber")
    subscriber.subscribe(gateway.topic("a/+"))
    for suffix in ("a/1", "b/1", "a/2", "a/2/x", "a", "a/"):
        publisher.publish(gateway.topic(suffix), suffix, 1)
    assert [m.topic for m in gateway.before_probe(subscriber)] == \
        [gateway.topic(suffix) for suffix in ("a/1", "a/2", "a/")]


@normative("MQTT-3.3.4-1", "MQTT-4.3.1-1")
def qos_0_is_not_acknowledged(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    publisher.send(mqtt.publish(gateway.topic(), b"message", 0), mqtt.packet(mqtt.PINGREQ))
    message = subscriber.next_message()
    assert (message.qos, message.dup, message.payload) == (0, False, b"message")
    assert publisher.receive().kind == mqtt.PINGRESP
    assert not publisher.is_readable()


@normative("MQTT-3.3.4-1", "MQTT-4.3.2-2", "MQTT-2.3.1-6")
def qos_1_is_acknowledged_and_each_publish_is_a_new_message(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for payload in (b"first", b"second"):  # the id is free again after PUBACK
        publisher.send(mqtt.publish(gateway.topic(), payload, 1, dup=True, packet_id=7))
        publisher.expect(mqtt.PUBACK, 7)
    assert [m.payload for m in subscriber.take_messages(2)] == [b"first", b"second"]


@normative("MQTT-4.3.2-1", "MQTT-2.3.1-4")
def qos_1_deliveries_have_ids_that_are_not_in_use(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway, 1)
    for number in range(200):
        publisher.publish(gateway.topic(), str(number), 1)
    messages = [subscriber.next_publish() for _ in range(200)]
    ids = {message.packet_id for message in messages}
    assert len(ids) == 200 and 0 not in ids
    assert all(m.qos == 1 and not m.dup for m in messages)
    for message in messages:
        subscriber.answer(message)
    publisher.publish(gateway.topic(), b"more", 1)
    assert subscriber.next_message().payload == b"more"


@normative("MQTT-4.3.2-1", settings=("session.window_max=10",))
def qos_1_deliveries_are_unacknowledged_until_puback(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway, 1)
    for number in range(25):
        publisher.publish(gateway.topic(), str(number), 1)
    seen = [subscriber.next_publish() for _ in range(10)]
    subscriber.ping()
    assert not subscriber.messages, "more than the window was sent"
    subscriber.answer(seen[4])
    seen.append(subscriber.next_publish())
    assert seen[10].packet_id not in {m.packet_id for i, m in enumerate(seen[:10]) if i != 4}
    for index in [i for i in range(11) if i != 4]:
        subscriber.answer(seen[index])
    seen += subscriber.take_messages(14)
    assert [int(m.payload) for m in seen] == list(range(25))


@normative("MQTT-4.3.3-2", "MQTT-3.3.4-1", "MQTT-2.3.1-6")
def qos_2_is_received_once_however_often_it_is_repeated(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for dup in (False, True, True, False):
        publisher.send(mqtt.publish(gateway.topic(), b"once", 2, dup=dup, packet_id=5))
        publisher.expect(mqtt.PUBREC, 5)
    publisher.release(5)
    publisher.release(5)  # a repeated PUBREL is answered, too
    assert [m.payload for m in gateway.before_probe(subscriber)] == [b"once"]


@normative("MQTT-4.3.3-2")
def qos_2_id_is_free_after_pubcomp(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for payload in (b"first", b"second"):
        publisher.send(mqtt.publish(gateway.topic(), payload, 2, packet_id=5))
        publisher.expect(mqtt.PUBREC, 5)
        publisher.release(5)
    assert [m.payload for m in subscriber.take_messages(2)] == [b"first", b"second"]


@normative("MQTT-4.3.3-1", "MQTT-2.3.1-4")
def qos_2_deliveries_follow_the_whole_flow(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for number in range(50):
        publisher.publish(gateway.topic(), str(number), 2)
    messages = [subscriber.next_publish() for _ in range(50)]
    ids = [message.packet_id for message in messages]
    assert len(set(ids)) == 50 and 0 not in ids
    assert all(m.qos == 2 and not m.dup for m in messages)
    for packet_id in ids:
        subscriber.send(mqtt.acknowledge(mqtt.PUBREC, packet_id))
        assert subscriber.expect(mqtt.PUBREL, packet_id).flags == 2
    for packet_id in ids:
        subscriber.send(mqtt.acknowledge(mqtt.PUBCOMP, packet_id))
    publisher.publish(gateway.topic(), b"more", 2)
    assert subscriber.next_message().payload == b"more"


@normative("MQTT-4.3.3-1")
def qos_2_repeated_pubrec_gets_pubrel_again_and_never_the_publish(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    publisher.publish(gateway.topic(), b"message", 2)
    message = subscriber.next_publish()
    for _ in range(3):
        subscriber.send(mqtt.acknowledge(mqtt.PUBREC, message.packet_id))
        subscriber.expect(mqtt.PUBREL, message.packet_id)
    subscriber.send(mqtt.acknowledge(mqtt.PUBCOMP, message.packet_id))
    assert gateway.before_probe(subscriber) == []


@normative("MQTT-4.3.3-1", settings=("session.window_max=4",))
def qos_2_deliveries_are_unacknowledged_until_pubcomp(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    for number in range(6):
        publisher.publish(gateway.topic(), str(number), 2)
    seen = [subscriber.next_publish() for _ in range(4)]
    for message in seen:
        subscriber.send(mqtt.acknowledge(mqtt.PUBREC, message.packet_id))
        subscriber.expect(mqtt.PUBREL, message.packet_id)
    subscriber.ping()
    assert not subscriber.messages, "PUBREC freed the window"
    for message in seen:
        subscriber.send(mqtt.acknowledge(mqtt.PUBCOMP, message.packet_id))
    seen += subscriber.take_messages(2)
    assert [int(m.payload) for m in seen] == list(range(6))


@normative("MQTT-3.8.4-6")
def qos_of_a_delivery_is_the_lower_of_both(gateway):
    publisher = gateway.client("publisher")
    for granted in (0, 1, 2):
        subscriber = gateway.client(f"subscriber-{granted}")
        assert subscriber.subscribe((gateway.topic(), granted)) == [granted]
        for qos in (0, 1, 2):
            publisher.publish(gateway.topic(), b"message", qos)
            assert subscriber.next_message().qos == min(qos, granted)


@normative("MQTT-3.3.5-1")
def overlapping_filters_deliver_at_the_highest_qos(gateway):
    publisher = gateway.client("publisher")
    subscriber = gateway.client("subscriber")
    subscriber.subscribe((gateway.topic("#"), 1), (gateway.topic("+"), 2), (gateway.topic(), 0))
    for qos in (0, 1, 2):
        publisher.publish(gateway.topic(), str(qos), qos)
    messages = gateway.before_probe(subscriber)
    assert [(m.payload, m.qos) for m in messages] == [(b"0", 0), (b"1", 1), (b"2", 2)]


@normative("MQTT-3.3.5-2", settings=("sys.interval=0",))
def publish_that_is_not_permitted_is_acknowledged_and_not_delivered(gateway):
    subscriber = gateway.client("subscriber")
    subscriber.subscribe(("$SYS/broker/mine", 2))
    publisher = gateway.client("publisher")
    publisher.publish("$SYS/broker/mine", b"", 0)
    publisher.publish("$SYS/broker/mine", b"", 1)
    publisher.publish("$SYS/broker/mine", b"", 2)
    assert gateway.before_probe(subscriber) == []


@behaviour()
def payloads_of_every_size_arrive_unchanged(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    sizes = [0, 1, 2, 100, 127, 128, 129, 16382, 16383, 16384, 16385, 65535, 65536, 70000, 300000]
    for qos in (0, 1, 2):
        for size in sizes:
            payload = bytes(i * 7 & 255 for i in range(256)) * (size // 256 + 1)
            publisher.publish(gateway.topic(), payload[:size], qos)
            assert subscriber.next_message().payload == payload[:size]


@behaviour()
def a_client_gets_what_it_publishes_itself(gateway):
    client = gateway.client()
    client.subscribe((gateway.topic(), 2))
    for qos in (0, 1, 2):
        client.publish(gateway.topic(), b"own", qos)
        assert client.next_message().payload == b"own"


@behaviour()
def many_ids_can_be_in_flight_to_the_server(gateway):
    publisher, subscriber = publisher_and_subscriber(gateway)
    ids = range(1, 501)
    publisher.send(*[mqtt.publish(gateway.topic(), str(i), 2, packet_id=i) for i in ids])
    assert [publisher.expect(mqtt.PUBREC).packet_id for _ in ids] == list(ids)
    publisher.send(*[mqtt.acknowledge(mqtt.PUBREL, i) for i in ids])
    assert [publisher.expect(mqtt.PUBCOMP).packet_id for _ in ids] == list(ids)
    assert [int(m.payload) for m in subscriber.take_messages(500)] == list(ids)


if __name__ == "__main__":
    main()
