"""SUBSCRIBE, UNSUBSCRIBE and their answers (3.8 to 3.11), topic names and filters (4.7)."""

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def topics_that_match(gateway, topic_filter, topics, qos=0):
    """Which of these topics a subscription of this filter is sent, in the order published."""
    subscriber = gateway.client("subscriber")
    publisher = gateway.client("publisher")
    assert subscriber.subscribe((topic_filter, qos)) == [qos]
    for topic in topics:
        publisher.publish(topic, b"", 1)
    return [message.topic for message in gateway.before_probe(subscriber)]


@normative("MQTT-3.8.3-3")
def subscribe_without_filter_closes(gateway):
    client = gateway.client()
    client.send(mqtt.packet(mqtt.SUBSCRIBE, 2, b"\0\1"))
    client.expect_silent_close()


@normative("MQTT-3-8.3-4")
def reserved_bits_of_requested_qos_close(gateway):
    for options in (3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xfc, 0xff):
        client = gateway.client()
        client.send(mqtt.subscribe(1, ("a", options)))
        client.expect_silent_close()
        client = gateway.client()
        client.send(mqtt.subscribe(1, ("a", 1), ("b", options)))
        client.expect_silent_close()


@normative("MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-5", "MQTT-2.3.1-7")
def subscribe_is_answered_with_its_id_and_a_code_per_filter(gateway):
    client = gateway.client()
    for count in (1, 2, 50):
        filters = [(gateway.topic(str(i)), i % 3) for i in range(count)]
        client.send(mqtt.subscribe(1000 + count, *filters))
        assert client.expect(mqtt.SUBACK, 1000 + count).codes == [i % 3 for i in range(count)]


@normative("MQTT-3.9.3-1", "MQTT-3.9.3-2", settings=("topic.levels_max=4",))
def suback_codes_are_in_the_order_of_the_filters(gateway):
    client = gateway.client()
    codes = client.subscribe((gateway.topic("1"), 2), ("too/many/levels/of/a/filter", 1),
                             (gateway.topic("2"), 0), (gateway.topic("1"), 1), ("#", 2))
    assert codes == [2, 0x80, 0, 1, 2], codes
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic("2"), b"the others hold", 1)
    assert client.next_message().topic == gateway.topic("2")


@normative("MQTT-3.8.4-3")
def repeated_subscribe_replaces_the_first(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    publisher.publish(gateway.topic(), b"retained", 2, retain=True)
    for qos in (0, 1, 2, 1, 0):
        assert client.subscribe((gateway.topic(), qos)) == [qos]
        message = client.next_message()
        assert (message.payload, message.qos, message.retain) == (b"retained", qos, True)
        publisher.publish(gateway.topic(), b"live", 2)
        message = client.next_message()
        assert (message.payload, message.qos, message.retain) == (b"live", qos, False)
    client.unsubscribe(gateway.topic())
    publisher.publish(gateway.topic(), b"after", 2)
    assert gateway.before_probe(client) == []


@normative("MQTT-3.8.4-3")
def repeating_subscribe_does_not_interrupt_the_flow(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    client.subscribe((gateway.topic(), 1))
    count = 300
    for number in range(count):
        publisher.send(mqtt.publish(gateway.topic(), str(number), 1, packet_id=number + 1))
        if number % 10 == 0:
            client.send(mqtt.subscribe(number + 1, (gateway.topic(), 1)))
    got = []
    while len(got) < count:
        packet = client.receive()
        if packet.kind == mqtt.PUBLISH:
            client.answer(packet)
            got.append(int(packet.payload))
    assert got == list(range(count))


@normative("MQTT-3.8.4-4")
def many_filters_in_one_packet_are_as_many_packets(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    for i in range(3):
        publisher.publish(gateway.topic(str(i)), b"retained", 1, retain=True)
    assert client.subscribe(*((gateway.topic(str(i)), i) for i in range(3))) == [0, 1, 2]
    retained = client.take_messages(3)
    assert sorted((m.topic, m.qos) for m in retained) == \
        [(gateway.topic(str(i)), min(i, 1)) for i in range(3)]
    for i in range(3):
        publisher.publish(gateway.topic(str(i)), b"live", 2)
    assert [(m.topic, m.qos) for m in client.take_messages(3)] == \
        [(gateway.topic(str(i)), i) for i in range(3)]


@behaviour()
def thousands_of_filters_in_one_packet_are_answered(gateway):
    client = gateway.client()
    count = 5000
    assert client.subscribe(*((gateway.topic(str(i)), 1) for i in range(count))) == [1] * count
    publisher = gateway.client("publisher")
    for i in (0, 17, count - 1):
        publisher.publish(gateway.topic(str(i)), b"", 1)
        assert client.next_message().topic == gateway.topic(str(i))
    client.unsubscribe(*(gateway.topic(str(i)) for i in range(count)))
    publisher.publish(gateway.topic("17"), b"", 1)
    assert gateway.before_probe(client) == []


@normative("MQTT-3.10.3-2")
def unsubscribe_without_filter_closes(gateway):
    client = gateway.client()
    client.send(mqtt.packet(mqtt.UNSUBSCRIBE, 2, b"\0\1"))
    client.expect_silent_close()


@normative("MQTT-3.10.4-1")
def unsubscribe_compares_filters_character_by_character(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    client.subscribe((gateway.topic("+"), 1))
    client.unsubscribe(gateway.topic("a"), gateway.topic("#"), gateway.topic("+/"), "#",
                       gateway.topic("+").upper())
    publisher.publish(gateway.topic("a"), b"still", 1)
    assert client.next_message().payload == b"still"
    client.unsubscribe(gateway.topic("+"))
    publisher.publish(gateway.topic("a"), b"gone", 1)
    assert gateway.before_probe(client) == []


@normative("MQTT-3.10.4-2")
def unsubscribe_ends_one_subscription_and_leaves_the_others(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    client.subscribe((gateway.topic("a"), 2), (gateway.topic("+"), 0), (gateway.topic("b"), 1))
    client.unsubscribe(gateway.topic("a"))
    publisher.publish(gateway.topic("a"), b"", 2)
    publisher.publish(gateway.topic("b"), b"", 2)
    messages = gateway.before_probe(client)
    assert [(m.topic, m.qos) for m in messages] == [(gateway.topic("a"), 0), (gateway.topic("b"), 1)]


@normative("MQTT-3.10.4-3")
def unsubscribe_completes_what_was_begun(gateway):
    publisher = gateway.client("publisher")
    client = gateway.client(clean=False)
    client.subscribe((gateway.topic(), 2))
    publisher.publish(gateway.topic(), b"one", 1)
    publisher.publish(gateway.topic(), b"two", 2)
    publisher.publish(gateway.topic(), b"three", 2)
    one, two, three = [client.next_publish() for _ in range(3)]
    client.send(mqtt.acknowledge(mqtt.PUBREC, three.packet_id))
    client.expect(mqtt.PUBREL, three.packet_id)
    client.unsubscribe(gateway.topic())
    client.answer(two)
    client.close()
    again = gateway.client(clean=False)
    packets = [again.receive(), again.receive()]
    assert [(p.kind, p.packet_id) for p in packets] == \
        [(mqtt.PUBLISH, one.packet_id), (mqtt.PUBREL, three.packet_id)], packets
    assert packets[0].dup and packets[0].payload == b"one"


@normative("MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-2.3.1-7")
def unsubscribe_is_answered_whether_or_not_it_removes_something(gateway):
    client = gateway.client()
    client.subscribe(gateway.topic())
    for packet_id in (77, 78):
        client.send(mqtt.unsubscribe(packet_id, gateway.topic()))
        assert client.receive().body == bytes([0, packet_id])


@normative("MQTT-3.10.4-6")
def many_filters_in_one_unsubscribe_are_as_many_packets(gateway):
    client = gateway.client()
    publisher = gateway.client("publisher")
    names = [gateway.topic(str(i)) for i in range(4)]
    client.subscribe(*((name, 1) for name in names))
    client.send(mqtt.unsubscribe(5, names[0], "unknown", names[2], names[0]))
    client.expect(mqtt.UNSUBACK, 5)
    for name in names:
        publisher.publish(name, b"", 1)
    assert [m.topic for m in gateway.before_probe(client)] == [names[1], names[3]]


@normative("MQTT-4.7.1-2", "MQTT-3.8.3-2")
def multi_level_wildcard(gateway):
    base = gateway.topic()
    topics = [base, base + "/a", base + "/a/b", base + "/", base + "//", base + "x", gateway.topic("y")]
    assert topics_that_match(gateway, base + "/#", topics) == topics[:5]


@normative("MQTT-4.7.1-2")
def misplaced_multi_level_wildcards_close(gateway):
    for text in ("a#", "#a", "a/#/b", "#/", "##", "a/b#", "+#", "a/#b"):
        for data in (mqtt.subscribe(1, (text, 0)), mqtt.unsubscribe(1, text)):
            client = gateway.client()
            client.send(data)
            client.expect_silent_close()


@normative("MQTT-4.7.1-3", "MQTT-3.8.3-2")
def single_level_wildcard(gateway):
    base = gateway.topic()
    topics = [base + "/a/c", base + "//c", base + "/a/b/c", base + "/a/c/", base + "/c", base + "/b/c"]
    assert topics_that_match(gateway, base + "/+/c", topics) == [topics[0], topics[1], topics[5]]


@normative("MQTT-4.7.1-3")
def single_level_wildcards_at_every_place(gateway):
    base = gateway.prefix
    topics = [base + "/t/a", base + "/t/a/b", "/" + base, base + "/t/"]
    assert topics_that_match(gateway, f"{base}/+/+", topics) == [topics[0], topics[3]]
    assert topics_that_match(gateway, f"+/t/{base}/+/#", [f"x/t/{base}/1", f"x/t/{base}/2/3"]) == \
        [f"x/t/{base}/1", f"x/t/{base}/2/3"]


@normative("MQTT-4.7.1-3")
def misplaced_single_level_wildcards_close(gateway):
    for text in ("a+", "+a", "a/b+", "a/+b/c", "++", "a/++"):
        for data in (mqtt.subscribe(1, (text, 0)), mqtt.unsubscribe(1, text)):
            client = gateway.client()
            client.send(data)
            client.expect_silent_close()


@normative("MQTT-4.7.2-1")
def wildcards_in_front_do_not_match_dollar_topics(gateway):
    client = gateway.client()
    client.subscribe("#", "+/#", "+/" + gateway.prefix + "/#", "+/+", "+")
    publisher = gateway.client("publisher")
    for topic in ("$mine/" + gateway.prefix, "$mine/" + gateway.prefix + "/x", "$" + gateway.prefix):
        publisher.publish(topic, b"", 1)
    assert [m.topic for m in gateway.before_probe(client) if m.topic.startswith("$")] == []


@normative("MQTT-4.7.2-1")
def filters_that_name_the_dollar_level_match(gateway):
    base = "$mine/" + gateway.prefix
    assert topics_that_match(gateway, base + "/#", [base, base + "/x"]) == [base, base + "/x"]
    assert topics_that_match(gateway, "$mine/+/y", [base + "/y"]) == [base + "/y"]


@behaviour(settings=("sys.interval=100ms",))
def sys_topics_are_sent_to_who_asks_for_them_only(gateway):
    every = gateway.client("every")
    every.subscribe("#")
    client = gateway.client()
    client.subscribe("$SYS/#")
    messages = client.take_messages(40)
    assert all(m.topic.startswith("$SYS/") for m in messages)
    assert "$SYS/broker/version" in {m.topic for m in messages}
    assert not [m for m in gateway.before_probe(every) if m.topic.startswith("$")]


@normative("MQTT-4.7.3-1")
def empty_topics_and_filters_close(gateway):
    for data in (mqtt.publish("", b"x"), mqtt.subscribe(1, ("", 0)), mqtt.unsubscribe(1, "")):
        client = gateway.client()
        client.send(data)
        client.expect_silent_close()


@normative("MQTT-4.7.3-3", settings=("topic.bytes_max=65535", "topic.levels_max=65535"))
def topics_of_65535_bytes_are_carried(gateway):
    client = gateway.client()
    longest = gateway.topic("").ljust(65535, "x")
    many_levels = gateway.topic("") + "/" * (65535 - len(gateway.topic("")))
    for topic in (longest, many_levels):
        assert client.subscribe((topic, 1)) == [1]
        client.publish(topic, b"far", 1)
        assert client.next_message().topic == topic


@normative("MQTT-4.7.3-4")
def topics_are_compared_without_normalization(gateway):
    base = gateway.topic("")
    topics = [base + text for text in ("\u00e9", "e\u0301", "E\u0301", "\u212b", "\u00c5", "A\u030a",
                                       " x", "x", "X", "x ", "\U0001f600", "//", "/", "%78", "\x01",
                                       "\x7f", "\u0080", "\ufdd0", "\uffff")]
    client = gateway.client()
    publisher = gateway.client("publisher")
    for topic in topics:
        client.subscribe((topic, 1))
    for topic in topics:
        publisher.publish(topic, topic, 1)
    messages = gateway.before_probe(client)
    assert [m.topic for m in messages] == topics
    assert [m.payload.decode() for m in messages] == topics


@behaviour()
def a_level_may_be_empty(gateway):
    base = gateway.prefix
    client = gateway.client()
    client.subscribe("/" + base, "/+/" + base, base + "/", "//" + base + "//")
    for topic in ("/" + base, "//" + base, base + "/", "//" + base + "//", base):
        client.publish(topic, b"", 1)
    topics = [client.next_message().topic for _ in range(4)]
    assert sorted(topics) == sorted(["/" + base, "//" + base, base + "/", "//" + base + "//"])


@normative("MQTT-3.3.5-1")
def one_message_is_delivered_once_however_many_filters_match(gateway):
    client = gateway.client()
    base = gateway.topic("a/b/c")
    filters = [base, gateway.topic("#"), gateway.topic("+/b/c"), gateway.topic("a/+/c"),
               gateway.topic("a/b/+"), gateway.topic("+/+/+"), gateway.topic("a/#"), base + "/#"]
    client.subscribe(*((text, 1) for text in filters))
    for number in range(20):
        client.publish(base, str(number), 2)
    assert [int(m.payload) for m in gateway.before_probe(client)] == list(range(20))


if __name__ == "__main__":
    main()
