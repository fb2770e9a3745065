"""Retained messages (3.3.1.3)."""

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def retained(gateway, topic_filter, qos=2, name="reader"):
    """What a new subscription is sent of what is retained, as (topic, payload, QoS, RETAIN)."""
    reader = gateway.client(name)
    reader.subscribe((topic_filter, qos))
    messages = gateway.before_probe(reader, with_retained=True)
    reader.disconnect()
    return [(m.topic, m.payload, m.qos, m.retain) for m in messages]


@normative("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8")
def retained_message_is_stored_with_its_qos(gateway):
    publisher, live = gateway.client("publisher"), gateway.client("live")
    live.subscribe(*((gateway.topic(str(qos)), 0) for qos in (0, 1, 2)))
    for qos in (0, 1, 2):
        publisher.publish(gateway.topic(str(qos)), b"value", qos, retain=True)
        assert live.next_message().payload == b"value", "nobody acknowledges QoS 0"
        for granted in (0, 1, 2):
            assert retained(gateway, gateway.topic(str(qos)), granted) == \
                [(gateway.topic(str(qos)), b"value", min(qos, granted), True)]


@normative("MQTT-3.3.1-6")
def new_subscription_gets_the_last_retained_message_of_every_topic(gateway):
    publisher = gateway.client("publisher")
    names = [gateway.topic(f"{i}/value") for i in range(20)]
    for turn in range(3):
        for name in names:
            publisher.publish(name, f"{turn}", 1, retain=True)
    messages = retained(gateway, gateway.topic("+/value"))
    assert sorted(messages) == sorted((name, b"2", 1, True) for name in names)
    messages = retained(gateway, gateway.topic("#"))
    assert sorted(messages) == sorted((name, b"2", 1, True) for name in names)
    assert retained(gateway, gateway.topic("7/value/#")) == [(names[7], b"2", 1, True)]
    assert retained(gateway, gateway.topic("7/+/value")) == []


@normative("MQTT-3.3.1-7")
def retained_qos_0_replaces_what_was_retained(gateway):
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"old", 2, retain=True)
    publisher.publish(gateway.topic(), b"new", 0, retain=True)
    publisher.publish(gateway.topic("other"), b"", 1)  # both have arrived when this is acknowledged
    assert retained(gateway, gateway.topic()) == [(gateway.topic(), b"new", 0, True)]


@normative("MQTT-3.3.1-9")
def established_subscription_gets_retain_0(gateway):
    reader = gateway.client("reader")
    reader.subscribe((gateway.topic(), 2))
    publisher = gateway.client("publisher")
    for qos in (0, 1, 2):
        publisher.publish(gateway.topic(), b"value", qos, retain=True)
        message = reader.next_message()
        assert (message.payload, message.qos, message.retain) == (b"value", qos, False)


@normative("MQTT-3.3.1-10", "MQTT-3.3.1-11")
def empty_retained_message_removes_and_is_not_stored(gateway):
    publisher = gateway.client("publisher")
    reader = gateway.client("established")
    for qos in (0, 1, 2):
        publisher.publish(gateway.topic(), b"value", 1, retain=True)
        assert len(retained(gateway, gateway.topic())) == 1
        reader.subscribe((gateway.topic(), 2))
        assert reader.next_message().retain
        publisher.publish(gateway.topic(), b"", qos, retain=True)
        publisher.publish(gateway.topic("other"), b"", 1)
        messages = gateway.before_probe(reader, with_retained=True)
        assert [(m.payload, m.retain) for m in messages] == [(b"", False)]
        assert retained(gateway, gateway.topic()) == []
        reader.unsubscribe(gateway.topic())
    publisher.publish(gateway.topic(), b"", 1, retain=True)  # nothing is there to be removed
    assert retained(gateway, gateway.topic()) == []


@normative("MQTT-3.3.1-12")
def message_without_retain_changes_nothing(gateway):
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic("a"), b"kept", 1, retain=True)
    for qos in (0, 1, 2):
        publisher.publish(gateway.topic("a"), b"passing", qos)
        publisher.publish(gateway.topic("a"), b"", qos)
        publisher.publish(gateway.topic("b"), b"passing", qos)
    publisher.publish(gateway.topic("c"), b"", 1)
    assert retained(gateway, gateway.topic("#")) == [(gateway.topic("a"), b"kept", 1, True)]


@normative("MQTT-3.1.2-7")
def retained_messages_outlive_the_session_that_published_them(gateway):
    for clean in (True, False):
        publisher = gateway.client("publisher", clean=clean)
        publisher.publish(gateway.topic(str(clean)), b"value", 1, retain=True)
        publisher.close()
        gateway.client("publisher").disconnect()
        assert retained(gateway, gateway.topic(str(clean))) == \
            [(gateway.topic(str(clean)), b"value", 1, True)]


@normative("MQTT-3.3.1-6", "MQTT-3.8.4-3")
def repeated_subscription_gets_retained_messages_again(gateway):
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"value", 1, retain=True)
    reader = gateway.client("reader")
    for _ in range(3):
        reader.subscribe((gateway.topic(), 1))
        message = reader.next_message()
        assert (message.payload, message.retain) == (b"value", True)


@behaviour()
def resumed_session_does_not_get_retained_messages_again(gateway):
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"value", 1, retain=True)
    reader = gateway.client("reader", clean=False)
    reader.subscribe((gateway.topic(), 1))
    assert reader.next_message().retain
    reader.ping()
    reader.disconnect()
    reader = gateway.client("reader", clean=False)
    assert gateway.before_probe(reader, with_retained=True) == []


@normative("MQTT-4.3.3-1")
def retained_message_that_was_received_at_qos_2_is_not_sent_again_after_a_reconnect(gateway):
    gateway.client("publisher").publish(gateway.topic(), b"value", 2, retain=True)
    reader = gateway.client("reader", clean=False)
    reader.subscribe((gateway.topic(), 2))
    message = reader.next_publish()
    reader.send(mqtt.acknowledge(mqtt.PUBREC, message.packet_id))
    reader.expect(mqtt.PUBREL, message.packet_id)
    reader.close()
    reader = gateway.client("reader", clean=False)
    reader.expect(mqtt.PUBREL, message.packet_id)
    reader.send(mqtt.acknowledge(mqtt.PUBCOMP, message.packet_id))
    assert gateway.before_probe(reader, with_retained=True) == []


@behaviour()
def retained_message_missed_by_a_session_comes_with_retain_0(gateway):
    reader = gateway.client("reader", clean=False)
    reader.subscribe((gateway.topic(), 1))
    reader.disconnect()
    gateway.client("publisher").publish(gateway.topic(), b"value", 1, retain=True)
    reader = gateway.client("reader", clean=False)
    message = reader.next_message()
    assert (message.payload, message.retain) == (b"value", False)


@behaviour()
def retained_messages_beyond_the_window_arrive_as_it_opens(gateway):
    publisher = gateway.client("publisher")
    count = 1000
    publisher.send(*[mqtt.publish(gateway.topic(f"{i}"), str(i), 1, True, packet_id=i + 1)
                     for i in range(count)])
    for _ in range(count):
        publisher.expect(mqtt.PUBACK)
    reader = gateway.client("reader")
    reader.subscribe((gateway.topic("+"), 1))
    messages = reader.take_messages(count)
    passing = [(i, m) for i, m in enumerate(messages) if not m.retain]
    assert not passing, passing
    assert sorted(int(m.payload) for m in messages) == list(range(count))
    assert gateway.before_probe(reader, with_retained=True) == []


@behaviour()
def overlapping_filters_of_one_subscribe_send_retained_messages_for_each(gateway):
    # 3.8.4-4: as if each had come alone; one copy for both would be permitted, too.
    gateway.client("publisher").publish(gateway.topic("a"), b"value", 2, retain=True)
    reader = gateway.client("reader")
    reader.subscribe((gateway.topic("a"), 1), (gateway.topic("+"), 2))
    messages = gateway.before_probe(reader, with_retained=True)
    assert 1 <= len(messages) <= 2
    assert all((m.payload, m.retain) == (b"value", True) for m in messages)


@behaviour()
def wildcards_do_not_find_retained_dollar_topics(gateway):
    topic = "$mine/" + gateway.prefix
    gateway.client("publisher").publish(topic, b"value", 1, retain=True)
    assert retained(gateway, "+/" + gateway.prefix) == []
    assert retained(gateway, "$mine/" + gateway.prefix) == [(topic, b"value", 1, True)]


@behaviour()
def a_large_retained_message_is_kept_whole(gateway):
    payload = bytes(i * 31 & 255 for i in range(256)) * 3900
    gateway.client("publisher").publish(gateway.topic(), payload, 1, retain=True)
    assert retained(gateway, gateway.topic()) == [(gateway.topic(), payload, 1, True)]


if __name__ == "__main__":
    main()
