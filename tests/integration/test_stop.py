"""The end of the gateway: SIGTERM while clients are connected, publish, or do not read. The exit
status and the sanitizers' silence are checked whenever a daemon is stopped."""

import signal

import mqtt
from suite import behaviour, main


@behaviour(settings=("sys.interval=0",))
def connected_clients_are_closed(gateway):
    clients = [gateway.client(f"c{i}", clean=i % 2 == 0) for i in range(50)]
    for client in clients:
        client.subscribe((gateway.topic("#"), 2))
    gateway.daemon.stop()
    for client in clients:
        client.expect_silent_close()


@behaviour(settings=("sys.interval=0s",))
def what_was_published_before_the_stop_is_acknowledged_or_the_connection_ends(gateway):
    client = gateway.client()
    client.subscribe((gateway.topic(), 1))
    ids = range(1, 1001)
    client.send(*[mqtt.publish(gateway.topic(), b"x", 1, packet_id=i) for i in ids])
    gateway.daemon.stop()
    acknowledged = [p.packet_id for p in client.expect_close() if p.kind == mqtt.PUBACK]
    assert acknowledged == list(ids)[:len(acknowledged)]


@behaviour(settings=("connection.linger=200ms",))
def clients_that_do_not_read_do_not_hold_up_the_stop(gateway):
    deaf = gateway.socket(receive_bytes=4096)
    deaf.connect(gateway.name("deaf"))
    deaf.subscribe((gateway.topic(), 0))
    publisher = gateway.client("publisher")
    for _ in range(200):
        publisher.send(mqtt.publish(gateway.topic(), bytes(10000)))
    publisher.ping()
    gateway.daemon.stop()


@behaviour(settings=("session.window_max=8",))
def sessions_in_the_middle_of_everything_end_cleanly(gateway):
    publisher = gateway.client("publisher")
    for number in range(20):
        client = gateway.client(f"c{number}", clean=number % 2 == 0, will=(gateway.topic("w"), b"w", 1, True))
        client.subscribe((gateway.topic("#"), 2))
        client.send(mqtt.publish(gateway.topic("in"), b"", 2, packet_id=1))
        client.expect(mqtt.PUBREC)
        if number % 3 == 0:
            client.close()
    for number in range(50):
        publisher.publish(gateway.topic(str(number)), bytes(100), 1, retain=True)
    late = gateway.client("late")
    late.send(mqtt.subscribe(1, (gateway.topic("#"), 1)))
    gateway.daemon.stop()


@behaviour(settings=("connection.connect_timeout=60s",))
def connections_without_connect_end_too(gateway):
    clients = [gateway.socket() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(mqtt.connect(gateway.name(str(number)))[:number])
    gateway.client("other").ping()
    gateway.daemon.stop()
    for client in clients:
        client.expect_silent_close()


@behaviour(settings=("connection.backlog=64",))
def sigint_ends_it_as_well(gateway):
    client = gateway.client()
    gateway.daemon.process.send_signal(signal.SIGINT)
    client.expect_silent_close()
    gateway.daemon.stop()


if __name__ == "__main__":
    main()
