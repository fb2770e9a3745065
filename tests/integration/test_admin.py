"""What a gateway says of itself: the administrator's HTTP server, its metrics and $SYS, measured with
traffic that is known."""

import http.client
import os
import re
import signal

from command import Running, run
from mqtt import Client
from suite import behaviour, main

TYPES = {"counter", "gauge"}


def ask(port, path, method="GET"):
    """Status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


@behaviour()
def only_the_three_paths_and_two_methods_are_answered(gateway):
    port = gateway.daemon.admin_port
    assert ask(port, "/healthz")[::2] == (200, "ok\n")
    assert ask(port, "/readyz")[::2] == (200, "ok\n")
    status, headers, body = ask(port, "/metrics", "HEAD")
    assert (status, body) == (200, "") and int(headers["Content-Length"]) > 0
    for path in ("/", "/metric", "/metrics/", "/../etc/passwd"):
        assert ask(port, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = ask(port, "/metrics", method)
        assert (status, headers.get("Allow")) == (405, "GET, HEAD"), method


@behaviour()
def metrics_are_in_prometheus_text_format(gateway):
    status, headers, body = ask(gateway.daemon.admin_port, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert body.endswith("\n")
    family, kinds, helped, seen = None, {}, set(), set()
    for line in body.splitlines():
        if match := re.fullmatch(r"# HELP (penstock_[a-z_0-9]+) (\S.*)", line):
            assert match[1] not in helped, f"twice: {line}"
            helped.add(match[1])
            family = match[1]
        elif match := re.fullmatch(r"# TYPE (penstock_[a-z_0-9]+) (\w+)", line):
            assert match[1] == family and match[2] in TYPES, line
            kinds[family] = match[2]
        else:
            match = re.fullmatch(r"(penstock_[a-z_0-9]+)(\{[a-z_]+=\"[^\"]*\"(,[a-z_]+=\"[^\"]*\")*\})? \d+", line)
            assert match, line
            assert match[1] == family and family in kinds, f"not with its family: {line}"
            assert (kinds[family] == "counter") == family.endswith("_total"), line
            name = line.rsplit(" ", 1)[0]
            assert name not in seen, f"twice: {name}"
            seen.add(name)
    assert len(kinds) == len(helped) > 50


@behaviour()
def the_operators_page_names_metrics_and_keys_that_exist(gateway):
    with open(os.path.join(os.path.dirname(__file__), "../../tools/README.md"), encoding="utf-8") as page:
        text = page.read()
    have = set(re.findall(r"# TYPE (\w+)", gateway.daemon.get("/metrics")))
    named = set(re.findall(r"`(penstock_\w+)`", text))
    assert len(named) > 30 and named <= have, named - have
    keys = set(re.findall(r"(?m)^([a-z0-9_.]+) = ", run("--print-config").stdout))
    named = {key for key in re.findall(r"`([a-z]+\.[a-z0-9_]+)`", text) if key.split(".")[0] in {k.split(".")[0] for k in keys}}
    assert len(named) > 10 and named <= keys, named - keys


@behaviour()
def a_gateway_that_drains_is_healthy_and_not_ready(gateway):
    with Running("--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "connection.linger=1m",
                 "--shards", str(gateway.shards)) as running:
        match = running.wait_for(r"event=ready listen=127\.0\.0\.1:(\d+) admin=127\.0\.0\.1:(\d+)")
        port, admin = int(match[1]), int(match[2])
        assert ask(admin, "/readyz")[0] == 200
        reader, writer = Client(port, receive_bytes=4096), Client(port)
        reader.connect("who never reads")
        reader.subscribe("flood")
        writer.connect("writer")
        for _ in range(100):
            writer.publish("flood", b"x" * 100000)
        writer.ping()
        running.signal(signal.SIGTERM)
        writer.expect_close()
        assert ask(admin, "/readyz")[::2] == (503, "stopping\n")
        assert ask(admin, "/healthz")[0] == 200
        running.signal(signal.SIGTERM)
        status = running.wait()
        assert status == 0, f"status {status}:\n" + running.log()
        reader.close()


class Traffic:
    """Traffic of which every packet and byte is known."""

    payload = b"x" * 100
    rounds = 10

    def __init__(self, gateway):
        topic = gateway.topic()
        self.subscriber, self.publisher = gateway.client("s"), gateway.client("p")
        self.subscriber.subscribe((topic, 2))
        for _ in range(self.rounds):
            for qos in (0, 1, 2):
                self.publisher.publish(topic, self.payload, qos=qos)
        received = self.subscriber.take_messages(3 * self.rounds)
        assert [message.qos for message in received] == [0, 1, 2] * self.rounds
        self.subscriber.ping()
        count = self.rounds
        self.received = {"connect": 2, "subscribe": 1, "publish": 3 * count, "pubrel": count, "pingreq": 1,
                         "puback": count, "pubrec": count, "pubcomp": count}
        self.sent = {"connack": 2, "suback": 1, "publish": 3 * count, "pubrel": count, "pingresp": 1,
                     "puback": count, "pubrec": count, "pubcomp": count}
        self.bytes = 3 * count * len(self.payload)


@behaviour(settings=("sys.interval=0s", "session.window_max=100"))
def metrics_tell_the_truth(gateway):
    metric = gateway.daemon.metric
    traffic = Traffic(gateway)
    gateway.eventually(lambda: metric("penstock_packets_sent_total") == sum(traffic.sent.values()))
    for kind, count in traffic.received.items():
        assert metric("penstock_packets_received_total", type=kind) == count, kind
    assert metric("penstock_packets_received_total") == sum(traffic.received.values())
    for kind, count in traffic.sent.items():
        assert metric("penstock_packets_sent_total", type=kind) == count, kind
    rounds = traffic.rounds
    for qos in "012":
        assert metric("penstock_publishes_total", qos=qos) == rounds, qos
        assert metric("penstock_deliveries_total", qos=qos) == rounds, qos
    for name, value in {"publish_received_bytes_total": traffic.bytes, "publish_sent_bytes_total": traffic.bytes,
                        "clients": 2, "clients_peak": 2, "connections": 2, "sessions": 2, "subscriptions": 1,
                        "connects_total": 2, "finished_total": 2 * rounds, "in_flight": 0, "dropped_total": 0,
                        "committed_total": 2 * rounds, "log_records": 2 * rounds, "unsent_bytes": 0,
                        "matched_total": 3 * rounds}.items():
        assert metric("penstock_" + name) == value, (name, metric("penstock_" + name))
    assert traffic.bytes < metric("penstock_received_bytes_total") < 2 * traffic.bytes
    traffic.publisher.disconnect()
    traffic.subscriber.reset()
    gateway.eventually(lambda: metric("penstock_clients") == 0)
    assert metric("penstock_connections_closed_total", reason="disconnect") == 1
    assert metric("penstock_connections_closed_total", reason="peer") == 1


def sys_values(gateway):
    """$SYS as a new subscriber is told it, retained."""
    client = gateway.socket()
    client.connect("")
    client.subscribe("$SYS/#")
    client.ping()
    values = {message.topic.removeprefix("$SYS/broker/"): message.payload.decode()
              for message in client.messages if message.retain}
    client.disconnect()
    return values


@behaviour(settings=("sys.interval=1s", "session.window_max=99"))
def sys_topics_tell_the_truth(gateway):
    traffic = Traffic(gateway)
    traffic.publisher.publish("retained/1", b"r", qos=1, retain=True)
    for i in range(3):
        away = gateway.client(f"away-{i}", clean=False)
        away.disconnect()
    expected = {"clients/connected": "3", "clients/active": "3", "clients/disconnected": "3",
                "clients/inactive": "3", "clients/total": "6", "clients/expired": "0",
                "publish/messages/received": str(3 * traffic.rounds + 1), "publish/messages/dropped": "0",
                "publish/bytes/received": str(traffic.bytes + 1), "retained messages/count": "1",
                "messages/stored": str(2 * traffic.rounds + 1), "store/messages/count": str(2 * traffic.rounds + 1),
                "subscriptions/count": "1"}
    told = {}

    def look():
        # The one that asks is connected too, and its subscription is not told of itself yet.
        told.update(sys_values(gateway))
        return all(told[name] in (value, "2" if value == "1" and name == "subscriptions/count" else value)
                   for name, value in expected.items() if name not in ("clients/connected", "clients/active",
                                                                       "clients/total"))

    gateway.eventually(look)
    assert int(told["clients/connected"]) in (2, 3) and told["clients/connected"] == told["clients/active"]
    assert int(told["clients/total"]) == int(told["clients/connected"]) + 3
    assert int(told["clients/maximum"]) >= 3
    assert re.fullmatch(r"penstock version \d+\.\d+\.\d+ \([0-9a-f]+\)", told["version"]), told
    assert re.fullmatch(r"\d+ seconds", told["uptime"])
    assert int(told["messages/received"]) > sum(traffic.received.values())
    assert int(told["messages/sent"]) > sum(traffic.sent.values())
    assert int(told["heap/maximum size"]) >= int(told["heap/current size"]) > 1 << 20
    for name in ("connections", "sockets", "messages/received", "messages/sent", "publish/received", "publish/sent",
                 "publish/dropped", "bytes/received", "bytes/sent"):
        for window in ("1min", "5min", "15min"):
            assert re.fullmatch(r"\d+\.\d\d", told[f"load/{name}/{window}"]), name


@behaviour(settings=("sys.interval=1s", "session.window_max=99"))
def sys_topics_are_published_again_and_again_and_by_nobody_else(gateway):
    client = gateway.client()
    client.subscribe("$SYS/broker/uptime")
    assert client.next_publish().retain
    first, second = client.next_publish(), client.next_publish()
    assert not first.retain and not second.retain
    client.publish("$SYS/broker/uptime", b"forged", qos=1)
    client.publish("$SYS/broker/mine", b"forged", qos=1, retain=True)
    assert client.next_publish().payload != b"forged"
    plain = gateway.client("plain")
    plain.subscribe("#")
    assert not [message for message in gateway.before_probe(plain) if message.topic.startswith("$")]


@behaviour(settings=("session.expiry=1s", "sys.interval=1s"))
def sessions_that_expire_are_counted(gateway):
    gateway.client("away", clean=False).disconnect()
    gateway.eventually(lambda: sys_values(gateway)["clients/expired"] == "1", seconds=30)
    assert sys_values(gateway)["clients/disconnected"] == "0"


if __name__ == "__main__":
    main()
