"""CONNECT and CONNACK (3.1, 3.2): what opens a connection, and what must not."""

import struct

import common  # noqa: F401
import mqtt
from mqtt import CONNACK, PUBLISH
from suite import behaviour, main, normative


def refused_silently(gateway, data):
    """These bytes end a connection, and nothing is answered."""
    client = gateway.socket()
    client.send(data)
    client.expect_silent_close()


@normative("MQTT-3.1.0-1", "MQTT-4.8.0-1")
def first_packet_must_be_connect(gateway):
    for first in (mqtt.publish("a", b"b"), mqtt.subscribe(1, ("a", 0)), mqtt.unsubscribe(1, "a"),
                  mqtt.packet(mqtt.PINGREQ), mqtt.packet(mqtt.DISCONNECT),
                  mqtt.acknowledge(mqtt.PUBACK, 1), mqtt.acknowledge(mqtt.PUBREC, 1),
                  mqtt.acknowledge(mqtt.PUBREL, 1), mqtt.acknowledge(mqtt.PUBCOMP, 1)):
        refused_silently(gateway, first)


@normative("MQTT-3.1.0-2", "MQTT-4.8.0-1")
def second_connect_closes(gateway):
    for level in (3, 4, 5, 9):
        client = gateway.client()
        client.send(mqtt.connect(gateway.name(), level=level))
        client.expect_silent_close()


@normative("MQTT-3.1.2-1")
def unknown_protocol_name_closes_without_connack(gateway):
    for name in (b"", b"MQT", b"mqtt", b"MQTTT", b"MQIsdp\0", b"HTTP"):
        refused_silently(gateway, mqtt.connect("x", name=name))


@normative("MQTT-3.1.2-2", "MQTT-3.2.2-5")
def unknown_level_is_answered_with_code_1(gateway):
    for level in (0, 1, 2, 3, 6, 7, 131, 132, 255):
        client = gateway.socket()
        client.send(mqtt.connect(gateway.name(), level=level, name=b"MQTT"))
        answers = client.expect_close()
        assert len(answers) == 1 and answers[0].kind == CONNACK, (level, answers)
        assert answers[0].body == b"\0\1", (level, answers)


@normative("MQTT-3.1.2-3", "MQTT-3.1.4-1")
def reserved_connect_flag_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), flags=0x03))


@normative("MQTT-3.1.2-9", "MQTT-3.1.4-1")
def will_fields_missing_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), flags=0x06))
    head = mqtt.field("MQTT") + bytes([4, 0x06]) + struct.pack(">H", 0)
    refused_silently(gateway, mqtt.packet(1, 0, head + mqtt.field("x") + mqtt.field("topic")))


@normative("MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15", "MQTT-3.1.4-1")
def will_qos_or_retain_without_will_closes(gateway):
    for flags in (0x0a, 0x12, 0x1a, 0x22, 0x2a):
        refused_silently(gateway, mqtt.connect(gateway.name(), flags=flags))
    head = mqtt.field("MQTT") + bytes([4, 0x02]) + struct.pack(">H", 0)
    unannounced = mqtt.field("x") + mqtt.field("topic") + mqtt.field("message")
    refused_silently(gateway, mqtt.packet(1, 0, head + unannounced))


@normative("MQTT-3.1.2-14", "MQTT-3.1.4-1")
def will_qos_3_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), will=("a", b"b", 3, False)))


@normative("MQTT-3.1.2-18", "MQTT-3.1.2-20", "MQTT-3.1.4-1")
def unannounced_user_name_or_password_closes(gateway):
    for flags, fields in ((0x02, 1), (0x02, 2), (0x82, 2)):
        head = mqtt.field("MQTT") + bytes([4, flags]) + struct.pack(">H", 0)
        refused_silently(gateway, mqtt.packet(1, 0, head + mqtt.field("x")
                                              + fields * mqtt.field("name")))


@normative("MQTT-3.1.2-19", "MQTT-3.1.2-21", "MQTT-3.1.4-1")
def announced_user_name_or_password_missing_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), flags=0x82))
    refused_silently(gateway, mqtt.connect(gateway.name(), user="name", flags=0xc2))


@normative("MQTT-3.1.2-22", "MQTT-3.1.4-1")
def password_without_user_name_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), password="secret"))


@normative("MQTT-3.1.3-1", "MQTT-3.1.3-3")
def payload_fields_are_read_in_order(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic("will"))
    client = gateway.client(will=(gateway.topic("will"), b"message", 0, False), user="user",
                            password="password")
    client.close()
    will = watcher.next_message()
    assert (will.topic, will.payload) == (gateway.topic("will"), b"message")


@normative("MQTT-3.1.3-3", "MQTT-3.1.4-1")
def missing_client_id_closes(gateway):
    head = mqtt.field("MQTT") + bytes([4, 0x02]) + struct.pack(">H", 0)
    refused_silently(gateway, mqtt.packet(1, 0, head))


@normative("MQTT-3.1.3-4", "MQTT-1.5.3-1")
def client_id_that_is_not_utf8_closes(gateway):
    for text in (b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
        refused_silently(gateway, mqtt.connect(text))


@normative("MQTT-3.1.3-5")
def client_ids_of_1_to_23_letters_and_digits_are_accepted(gateway):
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [letters[i:i + 23] for i in range(0, len(letters), 23)] + ["Q", "7z"]
    for name in names:
        gateway.socket().connect(name)


@behaviour()
def long_client_ids_are_accepted_up_to_the_limit_and_told_apart(gateway):
    base = gateway.name("").ljust(255, "n")
    first, second = gateway.socket(), gateway.socket()
    first.connect(base + "1")
    second.connect(base + "2")
    first.ping()
    gateway.socket().connect(base + "12", expect_code=2)


@normative("MQTT-3.1.3-6")
def empty_client_ids_get_sessions_of_their_own(gateway):
    clients = [gateway.socket() for _ in range(5)]
    for client in clients:
        answer = client.connect("")
        assert answer.session_present == 0
    for client in clients:
        client.subscribe(gateway.topic())
    clients[0].publish(gateway.topic(), b"to all", qos=1)
    for client in clients:
        assert client.next_message().payload == b"to all"


@normative("MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
def empty_client_id_without_clean_session_is_rejected(gateway):
    client = gateway.socket()
    client.send(mqtt.connect("", clean=False))
    answers = client.expect_close()
    assert [answer.body for answer in answers] == [b"\0\2"], answers


@normative("MQTT-3.1.3-10", "MQTT-1.5.3-1", "MQTT-3.1.4-1")
def will_topic_that_is_not_utf8_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), will=(b"a\xff", b"", 0, False)))


@normative("MQTT-3.1.3-11", "MQTT-1.5.3-1", "MQTT-3.1.4-1")
def user_name_that_is_not_utf8_closes(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), user=b"a\xff", password=b""))


@normative("MQTT-3.1.4-1")
def trailing_bytes_and_cut_fields_close_without_connack(gateway):
    whole = mqtt.connect(gateway.name())
    refused_silently(gateway, mqtt.packet(1, 0, whole[2:] + b"x"))
    for size in range(1, len(whole) - 2):
        refused_silently(gateway, mqtt.packet(1, 0, whole[2:2 + size]))


@normative("MQTT-3.1.4-2", "MQTT-3.1.3-2")
def second_connection_of_a_client_closes_the_first(gateway):
    first = gateway.client()
    second = gateway.client()
    first.expect_silent_close()
    second.ping()


@normative("MQTT-3.1.4-4", "MQTT-3.2.0-1")
def connack_is_the_first_packet(gateway):
    durable = gateway.client(clean=False)
    durable.subscribe((gateway.topic(), 1))
    durable.close()
    gateway.client("publisher").publish(gateway.topic(), b"stored", qos=1)
    again = gateway.socket()
    again.send(mqtt.connect(gateway.name(), clean=False))
    assert again.receive().body == b"\1\0"
    assert again.receive().kind == PUBLISH


@normative("MQTT-3.1.4-5")
def packets_after_a_refused_connect_are_not_processed(gateway):
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic())
    client = gateway.socket()
    client.send(mqtt.connect("", clean=False), mqtt.publish(gateway.topic(), b"not to be seen"))
    assert [answer.body for answer in client.expect_close()] == [b"\0\2"]
    assert gateway.before_probe(watcher) == []


@normative("MQTT-3.2.2-6", settings=("topic.levels_max=8",))
def connect_that_no_code_describes_is_closed_without_connack(gateway):
    refused_silently(gateway, mqtt.connect(gateway.name(), will=("a/" * 9, b"will", 0, False)))


@behaviour()
def packets_sent_with_the_connect_are_processed(gateway):
    client = gateway.socket()
    client.send(mqtt.connect(gateway.name()), mqtt.subscribe(9, (gateway.topic(), 0)),
                mqtt.publish(gateway.topic(), b"early"), mqtt.packet(mqtt.PINGREQ))
    assert client.receive().kind == CONNACK
    answers = sorted(client.receive().kind for _ in range(3))
    assert answers == [PUBLISH, mqtt.SUBACK, mqtt.PINGRESP], answers


@normative("MQTT-3.2.0-1")
def connack_comes_before_the_answers_to_packets_sent_with_the_connect(gateway):
    client = gateway.socket()
    client.send(mqtt.connect(gateway.name(), clean=False), mqtt.packet(mqtt.PINGREQ))
    assert client.receive().kind == CONNACK
    client.expect(mqtt.PINGRESP)


@normative("MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3")
def session_present_tells_what_the_server_holds(gateway):
    def connect(clean):
        client = gateway.client(clean=clean)
        client.disconnect()
        return client.connack.session_present

    assert connect(False) == 0
    assert connect(False) == 1
    assert connect(True) == 0
    assert connect(False) == 0
    assert connect(False) == 1


@normative("MQTT-3.2.2-4", "MQTT-3.2.2-5")
def refusals_have_no_session_present(gateway):
    gateway.client(clean=False).disconnect()
    client = gateway.socket()
    client.send(mqtt.connect(gateway.name(), clean=False, level=9))
    assert [answer.body for answer in client.expect_close()] == [b"\0\1"]


if __name__ == "__main__":
    main()
