"""paho-mqtt of Debian (python3-paho-mqtt), in both of its protocol levels and all of its ways of
running: its own thread, the caller's loop, and the one-shot helpers."""

import threading

from suite import Skipped, behaviour, main

try:
    import paho.mqtt.client as paho
    from paho.mqtt import publish as paho_publish
    from paho.mqtt import subscribe as paho_subscribe
except ImportError:
    paho = None

SECONDS_MAX = 30
LEVELS = (3, 4)  # MQTTv31 and MQTTv311


def make(name, clean, protocol):
    """paho 2 names the version of its callbacks, paho 1 (Debian 12) knows one only."""
    if hasattr(paho, "CallbackAPIVersion"):
        return paho.Client(paho.CallbackAPIVersion.VERSION1, name, clean, protocol=protocol)
    return paho.Client(name, clean, protocol=protocol)


class Client:
    """A paho client on its own thread, with waiting for what its callbacks tell."""

    def __init__(self, gateway, name, clean=True, level=4, keepalive=60, prepare=None):
        if paho is None:
            raise Skipped("paho-mqtt is not installed (package python3-paho-mqtt)")
        self.change = threading.Condition()
        self.messages, self.subscribed, self.published, self.connects = [], {}, set(), []
        self.paho = make(gateway.name(name), clean, level)
        self.paho.max_inflight_messages_set(100)
        self.paho.on_connect = lambda c, u, flags, code: self._note(self.connects, (flags, code))
        self.paho.on_message = lambda c, u, message: self._note(self.messages, message)
        self.paho.on_subscribe = lambda c, u, mid, codes: self._note(self.subscribed, mid, codes)
        self.paho.on_publish = lambda c, u, mid: self._note(self.published, mid)
        if prepare is not None:
            prepare(self.paho)
        self.paho.connect("127.0.0.1", gateway.port, keepalive)
        self.paho.loop_start()
        gateway.clients.append(self)
        self.wait(lambda: self.connects)
        self.session_present = self.connects[0][0]["session present"]

    def _note(self, where, what, value=None):
        with self.change:
            if isinstance(where, dict):
                where[what] = value
            elif isinstance(where, set):
                where.add(what)
            else:
                where.append(what)
            self.change.notify_all()

    def wait(self, condition):
        with self.change:
            assert self.change.wait_for(condition, SECONDS_MAX), "paho's callback did not come"

    def subscribe(self, *filters):
        _, mid = self.paho.subscribe(list(filters))
        self.wait(lambda: mid in self.subscribed)
        return list(self.subscribed[mid])

    def publish(self, *what, **how):
        info = self.paho.publish(*what, **how)
        info.wait_for_publish(SECONDS_MAX)
        assert info.is_published()

    def take(self, count):
        self.wait(lambda: len(self.messages) >= count)
        taken, self.messages[:count] = self.messages[:count], []
        return taken

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def drop(self):
        """An end without DISCONNECT."""
        self.paho._sock_close()
        self.paho.loop_stop()


@behaviour()
def paho_exchanges_messages_at_every_qos(gateway):
    for level in LEVELS:
        subscriber = Client(gateway, f"s{level}", level=level)
        publisher = Client(gateway, f"p{level}", level=level)
        assert subscriber.subscribe((gateway.topic(str(level)), 2)) == [2]
        for qos in (0, 1, 2):
            publisher.publish(gateway.topic(str(level)), f"at {qos}", qos)
            message, = subscriber.take(1)
            assert (message.payload, message.qos, message.retain) == (f"at {qos}".encode(), qos, 0)


@behaviour()
def paho_full_speed_in_order(gateway):
    subscriber = Client(gateway, "s")
    subscriber.subscribe((gateway.topic("+"), 2))
    publisher = Client(gateway, "p")
    for qos in (1, 2):
        for number in range(1000):
            publisher.paho.publish(gateway.topic(str(qos)), str(number), qos)
        assert [int(m.payload) for m in subscriber.take(1000)] == list(range(1000))


@behaviour()
def paho_retained_and_cleared(gateway):
    publisher = Client(gateway, "p")
    publisher.publish(gateway.topic("a"), "kept", 1, retain=True)
    subscriber = Client(gateway, "s")
    subscriber.subscribe((gateway.topic("#"), 1))
    message, = subscriber.take(1)
    assert (message.topic, message.payload, message.retain) == (gateway.topic("a"), b"kept", 1)
    publisher.publish(gateway.topic("a"), "", 1, retain=True)
    message, = subscriber.take(1)
    assert (message.payload, message.retain) == (b"", 0)
    late = Client(gateway, "late")
    late.subscribe((gateway.topic("#"), 1))
    publisher.publish(gateway.topic("b"), "live", 1)
    assert [m.payload for m in late.take(1)] == [b"live"]


@behaviour()
def paho_session_gets_what_it_missed(gateway):
    for level in LEVELS:
        topic = gateway.topic(str(level))
        session = Client(gateway, f"s{level}", clean=False, level=level)
        assert not session.session_present
        session.subscribe((topic, 2))
        session.close()
        publisher = Client(gateway, f"p{level}", level=level)
        for number in range(500):
            publisher.paho.publish(topic, str(number), 1 + number % 2)
        publisher.publish(topic, "500", 2)
        session = Client(gateway, f"s{level}", clean=False, level=level)
        assert session.session_present == (level == 4)
        messages = session.take(501)  # paho gives a QoS 2 message out when it is released
        assert [int(m.payload) for m in messages if m.qos == 1] == list(range(0, 500, 2))
        assert [int(m.payload) for m in messages if m.qos == 2] == [*range(1, 500, 2), 500]


@behaviour()
def paho_will(gateway):
    watcher = Client(gateway, "watcher")
    watcher.subscribe((gateway.topic("gone"), 2))
    for qos in (0, 1, 2):
        client = Client(gateway, "client",
                        prepare=lambda p, qos=qos: p.will_set(gateway.topic("gone"), "gone", qos))
        client.drop()
        message, = watcher.take(1)
        assert (message.payload, message.qos) == (b"gone", qos)
    client = Client(gateway, "client", prepare=lambda p: p.will_set(gateway.topic("gone"), "never"))
    client.close()
    Client(gateway, "p").publish(gateway.topic("gone"), "end", 2)
    assert [m.payload for m in watcher.take(1)] == [b"end"]


@behaviour()
def paho_reconnects_and_goes_on(gateway):
    session = Client(gateway, "s", clean=False)
    session.subscribe((gateway.topic(), 1))
    publisher = Client(gateway, "p")
    for number in range(5):
        publisher.publish(gateway.topic(), str(number), 1)
        session.drop()
        session.paho.reconnect()
        session.paho.loop_start()
        session.wait(lambda: len(session.connects) == number + 2)
    publisher.publish(gateway.topic(), "last", 1)
    session.wait(lambda: b"last" in [m.payload for m in session.messages])
    first_of_each = list(dict.fromkeys(m.payload for m in session.messages))
    assert first_of_each == [str(n).encode() for n in range(5)] + [b"last"]


@behaviour()
def paho_helpers(gateway):
    if paho is None:
        raise Skipped("paho-mqtt is not installed (package python3-paho-mqtt)")
    messages = [{"topic": gateway.topic(str(i)), "payload": f"{i}", "qos": i % 3, "retain": True}
                for i in range(10)]
    paho_publish.multiple(messages, "127.0.0.1", gateway.port)
    got = paho_subscribe.simple(gateway.topic("+"), 2, 10, True, "127.0.0.1", gateway.port)
    assert sorted((m.topic, m.payload) for m in got) == \
        [(gateway.topic(str(i)), str(i).encode()) for i in range(10)]


@behaviour()
def paho_in_the_callers_loop(gateway):
    if paho is None:
        raise Skipped("paho-mqtt is not installed (package python3-paho-mqtt)")
    got = []
    client = make(gateway.name(), True, 4)
    client.on_connect = lambda c, u, flags, code: c.subscribe(gateway.topic(), 1)
    client.on_subscribe = lambda c, u, mid, codes: c.publish(gateway.topic(), "to myself", 1)
    client.on_message = lambda c, u, message: got.append(message.payload)
    client.connect("127.0.0.1", gateway.port)
    for _ in range(1000):
        client.loop(1)
        if got:
            break
    assert got == [b"to myself"]
    client.disconnect()


@behaviour()
def paho_large_payload_and_unsubscribe(gateway):
    client = Client(gateway, "c")
    client.subscribe((gateway.topic("big"), 1), (gateway.topic("small"), 1))
    payload = bytes(range(256)) * 4000
    client.publish(gateway.topic("big"), payload, 1)
    assert client.take(1)[0].payload == payload
    client.paho.unsubscribe(gateway.topic("big"))
    client.publish(gateway.topic("big"), "unheard", 1)
    client.publish(gateway.topic("small"), "heard", 1)
    assert [m.payload for m in client.take(1)] == [b"heard"]


if __name__ == "__main__":
    main()
