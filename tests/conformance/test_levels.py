"""Protocol levels: what MQTT 3.1 (level 3) clients may do that 3.1.1 forbids, and what level 5 is
told."""

import struct

import common  # noqa: F401
import mqtt
from suite import behaviour, main


@behaviour()
def level_5_is_refused_in_its_own_format(gateway):
    # A 5.0 CONNECT has a block of properties before its payload.
    head = mqtt.field("MQTT") + bytes([5, 0x02]) + struct.pack(">H", 10)
    client = gateway.socket()
    client.send(mqtt.packet(mqtt.CONNECT, 0, head + b"\0" + mqtt.field(gateway.name())))
    answers = client.expect_close()
    assert [answer.body for answer in answers] == [b"\0\x84\0"], answers


@behaviour()
def level_5_with_properties_is_refused_in_its_own_format(gateway):
    head = mqtt.field("MQTT") + bytes([5, 0x02]) + struct.pack(">H", 10)
    properties = b"\x11\0\0\0\x0a" + b"\x21\0\x14"
    client = gateway.socket()
    client.send(mqtt.packet(mqtt.CONNECT, 0, head + mqtt.varint(len(properties)) + properties
                            + mqtt.field(gateway.name())))
    answers = client.expect_close()
    assert [answer.body for answer in answers] == [b"\0\x84\0"], answers


@behaviour()
def level_3_is_served_at_every_qos(gateway):
    client = gateway.client(level=3)
    assert client.connack.body == b"\0\0"
    assert client.subscribe((gateway.topic(), 2)) == [2]
    for qos in (0, 1, 2):
        client.publish(gateway.topic(), b"message", qos)
        message = client.next_message()
        assert (message.payload, message.qos) == (b"message", qos)


@behaviour()
def level_3_never_sees_session_present(gateway):
    gateway.client(level=3, clean=False).disconnect()
    client = gateway.client(level=3, clean=False)
    assert client.connack.body == b"\0\0"


@behaviour()
def level_3_resumes_its_session(gateway):
    client = gateway.client(level=3, clean=False)
    client.subscribe((gateway.topic(), 1))
    client.disconnect()
    gateway.client("publisher").publish(gateway.topic(), b"missed", 1)
    assert gateway.client(level=3, clean=False).next_message().payload == b"missed"


@behaviour()
def level_3_without_client_id_is_refused(gateway):
    for clean in (False, True):
        client = gateway.socket()
        client.send(mqtt.connect("", level=3, clean=clean))
        assert [answer.body for answer in client.expect_close()] == [b"\0\2"]


@behaviour()
def level_3_may_set_dup_on_what_it_repeats(gateway):
    client = gateway.client(level=3)
    subscribe = mqtt.subscribe(7, (gateway.topic(), 1))
    client.send(bytes([subscribe[0] | 8]) + subscribe[1:])
    client.expect(mqtt.SUBACK, 7)
    unsubscribe = mqtt.unsubscribe(8, gateway.topic())
    client.send(bytes([unsubscribe[0] | 8]) + unsubscribe[1:])
    client.expect(mqtt.UNSUBACK, 8)
    client.send(mqtt.publish(gateway.topic(), b"", 2, packet_id=9))
    client.expect(mqtt.PUBREC, 9)
    client.send(mqtt.packet(mqtt.PUBREL, 0x0a, b"\0\x09"))
    client.expect(mqtt.PUBCOMP, 9)


@behaviour()
def level_3_will_flags_without_will_are_disregarded(gateway):
    client = gateway.socket()
    client.connect(gateway.name(), level=3, flags=0x3a)
    client.ping()


@behaviour()
def level_3_name_goes_with_no_other_level(gateway):
    for level in (4, 5, 6):
        client = gateway.socket()
        client.send(mqtt.connect(gateway.name(), level=level, name=b"MQIsdp"))
        answers = client.expect_close()
        assert len(answers) == 1 and answers[0].code in (1, 0x84), (level, answers)


@behaviour()
def clients_of_both_levels_share_messages(gateway):
    old = gateway.client("old", level=3)
    new = gateway.client("new", level=4)
    for client in (old, new):
        client.subscribe((gateway.topic(), 2))
    for publisher in (old, new):
        publisher.publish(gateway.topic(), b"to both", 2)
        for client in (old, new):
            assert client.next_message().payload == b"to both"


@behaviour()
def a_session_passes_from_one_level_to_the_other(gateway):
    client = gateway.client(level=3, clean=False)
    client.subscribe((gateway.topic(), 1))
    client.disconnect()
    gateway.client("publisher").publish(gateway.topic(), b"missed", 1)
    client = gateway.client(level=4, clean=False)
    assert client.connack.session_present == 1
    assert client.next_message().payload == b"missed"


if __name__ == "__main__":
    main()
