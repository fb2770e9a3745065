"""The format of packets (1.5, 2), PINGREQ and DISCONNECT (3.12, 3.14), protocol errors (4.8)."""

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def closes(gateway, data, setup=None):
    """These bytes end a connected client's connection without another packet from the server."""
    client = gateway.client()
    if setup is not None:
        setup(client)
    client.send(data)
    client.expect_silent_close()


BAD_UTF8 = (b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf8\x88\x80\x80\x80",
            b"\xe2\x28\xa1", b"a\xf0\x9f\x98")


@normative("MQTT-1.5.3-1", "MQTT-3.3.2-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1")
def ill_formed_utf8_closes(gateway):
    for text in BAD_UTF8:
        closes(gateway, mqtt.publish(text))
        closes(gateway, mqtt.subscribe(1, (text, 0)))
        closes(gateway, mqtt.unsubscribe(1, text))


@normative("MQTT-1.5.3-2", "MQTT-4.7.3-2")
def null_character_closes(gateway):
    closes(gateway, mqtt.publish(b"a\0b"))
    closes(gateway, mqtt.subscribe(1, (b"a\0b", 0)))
    closes(gateway, mqtt.unsubscribe(1, b"\0"))
    for data in (mqtt.connect(b"a\0"), mqtt.connect("a", user=b"\0"),
                 mqtt.connect("a", will=(b"\0", b"", 0, False))):
        client = gateway.socket()
        client.send(data)
        client.expect_silent_close()


@normative("MQTT-1.5.3-3", "MQTT-4.7.3-4")
def byte_order_mark_is_a_character_like_any_other(gateway):
    client = gateway.client()
    marked = "\ufeff" + gateway.topic()
    client.subscribe(marked, gateway.topic("\ufeff"), gateway.topic(""))
    client.publish(gateway.topic(), b"unmarked", 1)
    client.publish(marked, b"in front", 1)
    client.publish(gateway.topic("\ufeff"), b"alone", 1)
    topics = sorted(client.next_message().topic for _ in range(2))
    assert topics == sorted([marked, gateway.topic("\ufeff")])
    assert gateway.before_probe(client) == []


RESERVED_FLAGS = (
    (mqtt.PUBACK, b"\0\1"), (mqtt.PUBREC, b"\0\1"), (mqtt.PUBREL, b"\0\1"), (mqtt.PUBCOMP, b"\0\1"),
    (mqtt.SUBSCRIBE, b"\0\1\0\1a\0"), (mqtt.UNSUBSCRIBE, b"\0\1\0\1a"), (mqtt.PINGREQ, b""),
    (mqtt.DISCONNECT, b""))


def assert_wrong_flags_close(gateway, kind, body):
    right = 2 if kind in (mqtt.PUBREL, mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE) else 0
    for flags in range(16):
        if flags != right:
            closes(gateway, mqtt.packet(kind, flags, body))


@normative("MQTT-2.2.2-1", "MQTT-2.2.2-2")
def wrong_reserved_flags_close(gateway):
    for kind, body in RESERVED_FLAGS:
        assert_wrong_flags_close(gateway, kind, body)
    whole = mqtt.connect(gateway.name())
    for flags in range(1, 16):
        client = gateway.socket()
        client.send(bytes([whole[0] | flags]) + whole[1:])
        client.expect_silent_close()


@normative("MQTT-3.6.1-1")
def wrong_flags_of_pubrel_close(gateway):
    assert_wrong_flags_close(gateway, mqtt.PUBREL, b"\0\1")


@normative("MQTT-3.8.1-1")
def wrong_flags_of_subscribe_close(gateway):
    assert_wrong_flags_close(gateway, mqtt.SUBSCRIBE, b"\0\1\0\1a\0")


@normative("MQTT-3.10.1-1")
def wrong_flags_of_unsubscribe_close(gateway):
    assert_wrong_flags_close(gateway, mqtt.UNSUBSCRIBE, b"\0\1\0\1a")


@normative("MQTT-3.14.1-1")
def wrong_flags_of_disconnect_close_and_the_will_is_published(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic())
    for flags in range(1, 16):
        client = gateway.client(will=(gateway.topic(), bytes([flags]), 0, False))
        client.send(mqtt.packet(mqtt.DISCONNECT, flags))
        client.expect_silent_close()
        assert watcher.next_message().payload == bytes([flags])


@normative("MQTT-2.3.1-1")
def packet_id_0_closes(gateway):
    closes(gateway, mqtt.subscribe(0, ("a", 0)))
    closes(gateway, mqtt.unsubscribe(0, "a"))
    closes(gateway, mqtt.publish("a", b"", 1, packet_id=0))
    closes(gateway, mqtt.publish("a", b"", 2, packet_id=0))


@normative("MQTT-2.3.1-5")
def qos_0_has_no_packet_id(gateway):
    client = gateway.client()
    client.subscribe((gateway.topic(), 2))
    client.publish(gateway.topic(), b"\0\1payload", 0)
    message = client.next_message()
    assert message.body == mqtt.field(gateway.topic()) + b"\0\1payload"


@normative("MQTT-2.3.1-6", "MQTT-2.3.1-7")
def answers_carry_the_packet_id_they_answer(gateway):
    client = gateway.client()
    for packet_id in (1, 2, 255, 256, 32767, 65535):
        client.send(mqtt.subscribe(packet_id, (gateway.topic(), 0)))
        client.expect(mqtt.SUBACK, packet_id)
        client.send(mqtt.publish(gateway.topic("other"), b"", 1, packet_id=packet_id))
        client.expect(mqtt.PUBACK, packet_id)
        client.send(mqtt.publish(gateway.topic("other"), b"", 2, packet_id=packet_id))
        client.expect(mqtt.PUBREC, packet_id)
        client.send(mqtt.acknowledge(mqtt.PUBREL, packet_id))
        client.expect(mqtt.PUBCOMP, packet_id)
        client.send(mqtt.unsubscribe(packet_id, gateway.topic()))
        client.expect(mqtt.UNSUBACK, packet_id)


@normative("MQTT-4.8.0-1")
def packets_that_only_servers_send_close(gateway):
    for kind, body in ((mqtt.CONNACK, b"\0\0"), (mqtt.SUBACK, b"\0\1\0"), (mqtt.UNSUBACK, b"\0\1"),
                       (mqtt.PINGRESP, b"")):
        closes(gateway, mqtt.packet(kind, 0, body))


@normative("MQTT-4.8.0-1")
def reserved_packet_types_close(gateway):
    for kind in (0, 15):
        for flags in (0, 2, 15):
            closes(gateway, mqtt.packet(kind, flags))


@normative("MQTT-4.8.0-1")
def remaining_length_of_five_bytes_closes(gateway):
    for kind in (mqtt.PUBLISH, mqtt.PINGREQ, mqtt.DISCONNECT):
        closes(gateway, bytes([kind << 4]) + b"\xff\xff\xff\xff\x01")
        closes(gateway, bytes([kind << 4]) + b"\x80\x80\x80\x80\x00")


@normative("MQTT-4.8.0-1")
def bodies_that_are_too_short_or_too_long_close(gateway):
    for kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP, mqtt.PUBREL):
        flags = 2 if kind == mqtt.PUBREL else 0
        for body in (b"", b"\0", b"\0\1\0"):
            closes(gateway, mqtt.packet(kind, flags, body))
    for kind in (mqtt.PINGREQ, mqtt.DISCONNECT):
        closes(gateway, mqtt.packet(kind, 0, b"\0"))
    for body in (b"", b"\0", b"\0\5topi"):
        closes(gateway, mqtt.packet(mqtt.PUBLISH, 0, body))
    closes(gateway, mqtt.packet(mqtt.PUBLISH, 2, b"\0\1a\0"))
    for body in (b"", b"\0", b"\0\1\0", b"\0\1\0\2a\0", b"\0\1\0\1a"):
        closes(gateway, mqtt.packet(mqtt.SUBSCRIBE, 2, body))
    for body in (b"", b"\0", b"\0\1\0", b"\0\1\0\2a"):
        closes(gateway, mqtt.packet(mqtt.UNSUBSCRIBE, 2, body))


@behaviour()
def length_may_be_written_longer_than_needed(gateway):
    client = gateway.client()
    client.send(bytes([mqtt.PINGREQ << 4]) + b"\x80\x00", bytes([mqtt.PINGREQ << 4]) + b"\x80\x80\x80\0")
    client.expect(mqtt.PINGRESP)
    client.expect(mqtt.PINGRESP)


@behaviour()
def acknowledgements_of_unknown_packets_are_tolerated(gateway):
    client = gateway.client()
    for kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP):
        client.send(mqtt.acknowledge(kind, 777))
    client.send(mqtt.acknowledge(mqtt.PUBREL, 778))
    kinds = []
    client.send(mqtt.packet(mqtt.PINGREQ))
    while mqtt.PINGRESP not in kinds or mqtt.PUBCOMP not in kinds:
        kinds.append(client.receive().kind)
    assert set(kinds) <= {mqtt.PUBREL, mqtt.PUBCOMP, mqtt.PINGRESP}, kinds


@normative("MQTT-3.12.4-1")
def pingreq_is_answered(gateway):
    client = gateway.client()
    client.send(*[mqtt.packet(mqtt.PINGREQ)] * 100)
    for _ in range(100):
        assert client.receive().body == b""


@normative("MQTT-3.14.4-3", "MQTT-3.1.2-10")
def disconnect_discards_the_will(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic())
    client = gateway.client(will=(gateway.topic(), b"will", 1, True))
    client.disconnect()
    assert gateway.before_probe(watcher) == []


@behaviour()
def disconnect_is_answered_by_closing(gateway):
    client = gateway.client()
    client.send(mqtt.packet(mqtt.DISCONNECT))
    client.expect_silent_close()


@behaviour()
def packets_after_disconnect_are_not_processed(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic())
    client = gateway.client()
    client.send(mqtt.packet(mqtt.DISCONNECT), mqtt.publish(gateway.topic(), b"too late"))
    client.expect_silent_close()
    assert gateway.before_probe(watcher) == []


@normative("MQTT-4.8.0-2", settings=("connection.packet_bytes_max=1000",))
def what_cannot_be_processed_ends_the_connection_that_sent_it(gateway):
    bystander = gateway.client("bystander")
    client = gateway.client()
    client.send(mqtt.publish(gateway.topic(), bytes(2000), 1, packet_id=1))
    client.expect_silent_close()
    bystander.ping()


if __name__ == "__main__":
    main()
