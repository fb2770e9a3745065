"""Wills (3.1.2.5 to 3.1.2.7): published at every end of a connection but a DISCONNECT."""

import common  # noqa: F401
import mqtt
from suite import behaviour, main, normative


def watcher_of(gateway, topic):
    watcher = gateway.client("watcher")
    watcher.subscribe((topic, 2))
    return watcher


@normative("MQTT-3.1.2-8")
def will_is_published_when_the_client_closes_without_disconnect(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    for end in ("close", "reset"):
        client = gateway.client(will=(gateway.topic(), end, 1, False))
        getattr(client, end)()
        message = watcher.next_message()
        assert (message.payload, message.qos, message.retain) == (end.encode(), 1, False)


@normative("MQTT-3.1.2-8", "MQTT-3.1.2-24")
def will_is_published_when_keepalive_runs_out(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    client = gateway.client(keepalive=1, will=(gateway.topic(), b"late", 0, False))
    assert watcher.next_message().payload == b"late"
    client.expect_silent_close()


@normative("MQTT-3.1.2-8")
def will_is_published_at_a_protocol_error(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    for data in (mqtt.publish("a/#"), b"\0\0", mqtt.connect(gateway.name()), b"\xff\xff\xff\xff\xff"):
        client = gateway.client(will=(gateway.topic(), data, 2, False))
        client.send(data)
        client.expect_silent_close()
        assert watcher.next_message().payload == data


@normative("MQTT-3.1.2-8")
def will_is_published_at_takeover(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    first = gateway.client(will=(gateway.topic(), b"first", 1, False))
    gateway.client(will=(gateway.topic(), b"second", 1, False)).ping()
    first.expect_silent_close()
    messages = gateway.before_probe(watcher)
    assert [m.payload for m in messages] == [b"first"]


@normative("MQTT-3.1.2-10", "MQTT-3.14.4-3")
def will_is_discarded_by_disconnect_and_does_not_come_back(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    for clean in (True, False):
        client = gateway.client(clean=clean, will=(gateway.topic(), b"will", 1, True))
        client.disconnect()
        client = gateway.client(clean=clean)  # without a will
        client.close()
        client = gateway.client(clean=clean)
        client.ping()
        client.close()
    assert gateway.before_probe(watcher) == []


@normative("MQTT-3.1.2-10")
def will_is_published_once(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    gateway.client(clean=False, will=(gateway.topic(), b"once", 1, False)).close()
    assert watcher.next_message().payload == b"once"
    gateway.client(clean=False).close()
    gateway.client(clean=False).close()
    gateway.client(clean=False).disconnect()
    assert gateway.before_probe(watcher) == []


@normative("MQTT-3.1.2-12")
def nothing_is_published_without_a_will(gateway):
    watcher = watcher_of(gateway, gateway.topic("#"))
    gateway.client().close()
    client = gateway.client()
    client.send(b"\0\0")
    client.expect_silent_close()
    assert gateway.before_probe(watcher) == []


@normative("MQTT-3.1.2-14")
def will_has_its_qos(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    for qos in (0, 1, 2):
        gateway.client(will=(gateway.topic(), b"will", qos, False)).close()
        assert watcher.next_message().qos == qos


@normative("MQTT-3.1.2-16")
def will_without_retain_is_not_retained(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    gateway.client("other").publish(gateway.topic(), b"before", 1, retain=True)
    assert watcher.next_message().payload == b"before"
    gateway.client(will=(gateway.topic(), b"will", 1, False)).close()
    assert watcher.next_message().payload == b"will"
    late = gateway.client("late")
    late.subscribe(gateway.topic())
    assert [m.payload for m in gateway.before_probe(late, with_retained=True)] == [b"before"]


@normative("MQTT-3.1.2-17")
def will_with_retain_is_retained(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    gateway.client(will=(gateway.topic(), b"will", 1, True)).close()
    message = watcher.next_message()
    assert (message.payload, message.retain) == (b"will", False)
    late = gateway.client("late")
    late.subscribe((gateway.topic(), 2))
    message = late.next_message()
    assert (message.payload, message.qos, message.retain) == (b"will", 1, True)


@behaviour()
def empty_retained_will_removes_what_is_retained(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    gateway.client("other").publish(gateway.topic(), b"value", 1, retain=True)
    gateway.client(will=(gateway.topic(), b"", 1, True)).close()
    assert [m.payload for m in watcher.take_messages(2)] == [b"value", b""]
    late = gateway.client("late")
    late.subscribe(gateway.topic())
    assert gateway.before_probe(late, with_retained=True) == []


@normative("MQTT-3.1.2-9")
def will_may_be_empty_and_large(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    for payload in (b"", b"\0", bytes(65535)):
        gateway.client(will=(gateway.topic(), payload, 1, False)).close()
        assert watcher.next_message().payload == payload


@behaviour()
def will_topic_with_wildcards_or_empty_is_refused(gateway):
    for topic in ("", "a/#", "+"):
        client = gateway.socket()
        client.send(mqtt.connect(gateway.name(), will=(topic, b"", 0, False)))
        client.expect_silent_close()


@behaviour()
def a_session_gets_its_own_will_when_it_resumes(gateway):
    client = gateway.client(clean=False, will=(gateway.topic(), b"own", 1, False))
    client.subscribe((gateway.topic(), 1))
    client.close()
    client = gateway.client(clean=False)
    assert client.next_message().payload == b"own"


@behaviour()
def a_refused_connect_leaves_no_will(gateway):
    watcher = watcher_of(gateway, gateway.topic())
    client = gateway.socket()
    client.send(mqtt.connect("", clean=False, will=(gateway.topic(), b"will", 1, False)))
    assert [p.body for p in client.expect_close()] == [b"\0\2"]
    assert gateway.before_probe(watcher) == []


@behaviour()
def many_wills_at_once_are_all_published(gateway):
    watcher = watcher_of(gateway, gateway.topic("+"))
    clients = [gateway.client(str(i), will=(gateway.topic(str(i)), b"will", 1, False))
               for i in range(200)]
    for client in clients:
        client.close()
    topics = {message.topic for message in watcher.take_messages(200)}
    assert len(topics) == 200


if __name__ == "__main__":
    main()
