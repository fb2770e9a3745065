"""What no peer may do to the gateway or to others, whatever it sends, and whenever it goes."""

import time

import mqtt
from suite import behaviour, main


@behaviour()
def disconnect_is_heard_although_the_peer_resets_at_once(gateway):
    # The gateway sends to the client all the time, so that a send meets the reset before DISCONNECT is read.
    watcher = gateway.client("watcher")
    watcher.subscribe(gateway.topic("will"))
    publisher = gateway.client("publisher")
    flood = mqtt.publish(gateway.topic("flood"), b"x") * 200
    for number in range(300):
        client = gateway.client(f"client-{number}", will=(gateway.topic("will"), b"will", 0, False))
        client.subscribe(gateway.topic("flood"))
        publisher.send(flood)
        client.send(mqtt.packet(mqtt.DISCONNECT))
        client.reset()
    wills = gateway.before_probe(watcher)
    assert not wills, f"{len(wills)} wills of 300"


if __name__ == "__main__":
    main()
