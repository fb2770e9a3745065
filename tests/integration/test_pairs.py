"""A hundred pairs of publisher and subscriber at once: no loss, no duplicate, order kept; fan-in
and fan-out. Every subscriber acknowledges as it reads; one thread drives all of them by select."""

import selectors

import mqtt
from suite import IS_LONG, behaviour, main

PAIRS = 100
MESSAGES = 2000 if IS_LONG else 100


def exchange(gateway, pairs, count, qos, is_open_loop=False):
    """Each pair's publisher sends `count` numbers. Result: what each subscriber received."""
    publishers, subscribers, selector = [], [], selectors.DefaultSelector()
    for number in range(pairs):
        subscriber = gateway.client(f"s{number}")
        subscriber.subscribe((f"{gateway.prefix}/{number}/64", qos))
        subscriber.got = []
        publisher = gateway.client(f"p{number}")
        publisher.done = 0
        for client in (subscriber, publisher):
            selector.register(client.socket, selectors.EVENT_READ, client)
        subscribers.append(subscriber)
        publishers.append(publisher)

    def send(publisher, number, first, last):
        publisher.send(*[mqtt.publish(f"{gateway.prefix}/{number}/64", str(n).ljust(64), qos,
                                      packet_id=n + 1 if qos else None) for n in range(first, last)])

    def on_publisher(client, packet):
        if packet.kind == mqtt.PUBREC:
            client.send(mqtt.acknowledge(mqtt.PUBREL, packet.packet_id))
        else:
            client.done += 1

    def on_subscriber(client, packet):
        if packet.kind == mqtt.PUBREL:
            client.send(mqtt.acknowledge(mqtt.PUBCOMP, packet.packet_id))
            return
        client.got.append(int(packet.payload))
        if packet.qos:
            client.send(mqtt.acknowledge(mqtt.PUBACK if packet.qos == 1 else mqtt.PUBREC,
                                         packet.packet_id))

    def is_over():
        return (all(len(s.got) >= count for s in subscribers)
                and (qos == 0 or all(p.done == count for p in publishers)))

    sent = 0
    while not is_over():
        if sent < count:
            for number, publisher in enumerate(publishers):
                send(publisher, number, sent, min(sent + 50, count))
            sent = min(sent + 50, count)
        for key, _ in selector.select(0 if sent < count else mqtt.WAIT_SECONDS_MAX):
            client = key.data
            client.buffer += client.socket.recv(1 << 18)
            while (packet := client._parse()) is not None:
                (on_subscriber if client in subscribers else on_publisher)(client, packet)
    return [subscriber.got for subscriber in subscribers]


@behaviour()
def pairs_at_qos_0(gateway):
    # 100 messages at a time are far below what is dropped for a subscriber that does not drain.
    for got in exchange(gateway, PAIRS, MESSAGES, 0):
        assert got == list(range(MESSAGES))


@behaviour()
def pairs_at_qos_1(gateway):
    for got in exchange(gateway, PAIRS, MESSAGES, 1):
        assert got == list(range(MESSAGES))


@behaviour()
def pairs_at_qos_2(gateway):
    for got in exchange(gateway, PAIRS, MESSAGES, 2):
        assert got == list(range(MESSAGES))


@behaviour()
def fan_out_to_a_hundred(gateway):
    subscribers = [gateway.client(f"s{i}") for i in range(100)]
    for i, subscriber in enumerate(subscribers):
        subscriber.subscribe((gateway.topic("+"), i % 3))
    publisher = gateway.client("p")
    publisher.send(*[mqtt.publish(gateway.topic("x"), str(n), 2, packet_id=n + 1) for n in range(50)])
    for subscriber in subscribers:
        assert [int(m.payload) for m in subscriber.take_messages(50)] == list(range(50))


@behaviour()
def fan_in_from_a_hundred(gateway):
    subscriber = gateway.client("s")
    subscriber.subscribe((gateway.topic("#"), 2))
    for i in range(100):
        publisher = gateway.client(f"p{i}")
        publisher.send(*[mqtt.publish(gateway.topic(str(i)), str(n), i % 3, packet_id=n + 1 if i % 3 else None)
                         for n in range(50)])
    seen = {}
    for message in subscriber.take_messages(5000):
        seen.setdefault(message.topic, []).append(int(message.payload))
    assert len(seen) == 100 and all(numbers == list(range(50)) for numbers in seen.values())


@behaviour(settings=("topic.cached_max=16",))
def many_more_topics_than_are_cached_are_all_delivered(gateway):
    wild = gateway.client("wild")
    wild.subscribe((gateway.prefix + "/#", 1))
    exact = gateway.client("exact")
    names = [f"{gateway.prefix}/{i}/x" for i in range(500)]
    exact.subscribe(*((name, 1) for name in names[::5]))
    publisher = gateway.client("p")
    for _ in range(2):
        for begin in range(0, 500, 100):
            publisher.send(*[mqtt.publish(names[i], str(i), 1, packet_id=i + 1)
                             for i in range(begin, begin + 100)])
            for _ in range(100):
                publisher.expect(mqtt.PUBACK)
    assert sorted(int(m.payload) for m in wild.take_messages(1000)) == sorted(2 * list(range(500)))
    assert sorted(int(m.payload) for m in exact.take_messages(200)) == sorted(2 * list(range(0, 500, 5)))
    gateway.eventually(lambda: gateway.daemon.metric("penstock_topics_evicted_total") > 100)


if __name__ == "__main__":
    main()
