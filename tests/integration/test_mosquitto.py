"""mosquitto_pub, mosquitto_sub and mosquitto_rr, as the README shows them and beyond."""

import queue
import shutil
import subprocess
import threading
from pathlib import Path

from suite import Skipped, behaviour, main, normative

SECONDS_MAX = 30
PASSWORDS = Path(__file__).resolve().parent.parent / "fixtures" / "mosquitto_passwd"
FORMAT = "MSG %t|%q|%r|%p"


def words(gateway, program, *options):
    if shutil.which(program) is None:
        raise Skipped(f"{program} is not installed (package mosquitto-clients)")
    return [program, "-h", "127.0.0.1", "-p", str(gateway.port), *options]


def run(gateway, program, *options, text=None, status=0):
    """Runs to its end; result: standard output."""
    done = subprocess.run(words(gateway, program, *options), input=text, capture_output=True, text=True,
                          timeout=SECONDS_MAX)
    assert status is None or done.returncode == status, (options, done)
    return done.stdout


def publish(gateway, *options, **more):
    return run(gateway, "mosquitto_pub", *options, **more)


class Subscriber:
    """A mosquitto_sub that is subscribed when this is made."""

    def __init__(self, gateway, *options):
        line_buffered = ["stdbuf", "-oL"]
        self.process = subprocess.Popen(
            line_buffered + words(gateway, "mosquitto_sub", "-d", "-F", FORMAT, *options),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        gateway.clients.append(self)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.early = []  # a resumed session's messages come before SUBACK
        while not (line := self._next()).startswith("Subscribed (mid"):
            if line.startswith("MSG "):
                self.early.append(line)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _next(self):
        line = self.lines.get(timeout=SECONDS_MAX)
        assert line is not None, "mosquitto_sub ended"
        return line

    def next(self):
        """The next message: topic, QoS, RETAIN, payload."""
        line = self.early.pop(0) if self.early else self._next()
        while not line.startswith("MSG "):
            line = self._next()
        topic, qos, retain, payload = line[4:].split("|", 3)
        return topic, int(qos), int(retain), payload

    def close(self):
        self.process.kill()
        self.process.wait()


@normative("MQTT-7.0.0-2", "MQTT-7.1.1-1")
def mosquitto_clients_exchange_messages_at_every_qos(gateway):
    for granted in ("0", "1", "2"):
        subscriber = Subscriber(gateway, "-t", gateway.topic(), "-q", granted)
        for qos in ("0", "1", "2"):
            publish(gateway, "-t", gateway.topic(), "-m", "hello", "-q", qos)
            assert subscriber.next() == (gateway.topic(), int(min(qos, granted)), 0, "hello")
        subscriber.close()


@behaviour()
def mosquitto_old_protocol_level_works(gateway):
    subscriber = Subscriber(gateway, "-V", "mqttv31", "-i", gateway.name("s"), "-t", gateway.topic(), "-q",
                            "2")
    for qos in ("0", "1", "2"):
        publish(gateway, "-V", "mqttv31", "-i", gateway.name("p"), "-t", gateway.topic(), "-m", "old", "-q",
                qos)
        assert subscriber.next() == (gateway.topic(), int(qos), 0, "old")


@behaviour()
def mosquitto_is_told_that_level_5_is_not_served(gateway):
    publish(gateway, "-V", "mqttv5", "-t", gateway.topic(), "-m", "new", status=132)


@behaviour()
def mosquitto_retained_values(gateway):
    for name in ("7/temperature", "8/temperature", "7/name"):
        publish(gateway, "-t", gateway.topic(name), "-m", name, "-r", "-q", "1")
    out = run(gateway, "mosquitto_sub", "-t", gateway.topic("+/temperature"), "-C", "2", "-F", FORMAT)
    assert sorted(out.splitlines()) == [f"MSG {gateway.topic(n)}|0|1|{n}"
                                        for n in ("7/temperature", "8/temperature")]
    publish(gateway, "-t", gateway.topic("7/temperature"), "-n", "-r", "-q", "1")
    out = run(gateway, "mosquitto_sub", "-t", gateway.topic("#"), "-C", "2", "-F", FORMAT)
    assert sorted(out.splitlines()) == [f"MSG {gateway.topic(n)}|0|1|{n}"
                                        for n in ("7/name", "8/temperature")]


@behaviour()
def mosquitto_wildcards(gateway):
    many = Subscriber(gateway, "-t", gateway.topic("rooms/#"), "-q", "1")
    one = Subscriber(gateway, "-t", gateway.topic("rooms/+/temperature"), "-q", "1")
    for name in ("rooms/7/temperature", "rooms/7/name", "rooms/7/temperature/x", "rooms/8/temperature"):
        publish(gateway, "-t", gateway.topic(name), "-m", name, "-q", "1")
    assert [many.next()[3] for _ in range(4)] == ["rooms/7/temperature", "rooms/7/name",
                                                  "rooms/7/temperature/x", "rooms/8/temperature"]
    assert [one.next()[3] for _ in range(2)] == ["rooms/7/temperature", "rooms/8/temperature"]


@behaviour()
def mosquitto_many_filters_and_unsubscribe(gateway):
    subscriber = Subscriber(gateway, "-t", gateway.topic("a"), "-t", gateway.topic("b"), "-t",
                            gateway.topic("c"), "-U", gateway.topic("b"), "-q", "1")
    for name in ("a", "b", "c"):
        publish(gateway, "-t", gateway.topic(name), "-m", name, "-q", "1")
    assert subscriber.next()[3] == "a"
    # UNSUBSCRIBE goes out behind the SUBSCRIBE; "b" may have come before it.
    assert subscriber.next()[3] in ("b", "c")


@behaviour()
def mosquitto_session_gets_what_it_missed(gateway):
    session = ("-i", gateway.name("desk"), "-c", "-q", "1", "-t", gateway.topic("mail/#"))
    run(gateway, "mosquitto_sub", *session, "-E")
    for number in range(30):
        publish(gateway, "-t", gateway.topic("mail/1"), "-m", str(number), "-q", str(1 + number % 2))
    subscriber = Subscriber(gateway, *session)
    assert [subscriber.next()[3] for _ in range(30)] == [str(number) for number in range(30)]
    subscriber.close()
    publish(gateway, "-t", gateway.topic("mail/1"), "-m", "more", "-q", "1")
    # Acknowledgements that the killed client had not sent yet make duplicates, which QoS 1 permits.
    subscriber = Subscriber(gateway, *session)
    while (message := subscriber.next()[3]) != "more":
        assert int(message) < 30


@behaviour()
def mosquitto_wills(gateway):
    watcher = Subscriber(gateway, "-t", gateway.topic("gone/#"), "-q", "2")
    for qos, retain in (("0", 0), ("1", 1), ("2", 0)):
        options = ["--will-topic", gateway.topic("gone/" + qos), "--will-payload", "gone", "--will-qos", qos]
        killed = Subscriber(gateway, "-t", "x", *options, *["--will-retain"] * retain)
        killed.close()
        assert watcher.next() == (gateway.topic("gone/" + qos), int(qos), 0, "gone")
    out = run(gateway, "mosquitto_sub", "-t", gateway.topic("gone/#"), "-C", "1", "-F", FORMAT)
    assert out == f"MSG {gateway.topic('gone/1')}|0|1|gone\n"


@behaviour()
def mosquitto_large_payloads(gateway):
    payload = "0123456789abcdef" * 64000  # 1,024,000 bytes: just below the default limit
    for qos in ("0", "1", "2"):
        subscriber = Subscriber(gateway, "-t", gateway.topic(), "-q", qos)
        publish(gateway, "-t", gateway.topic(), "-s", "-q", qos, text=payload)
        assert subscriber.next() == (gateway.topic(), int(qos), 0, payload)


@behaviour()
def mosquitto_publishes_many_lines_in_order(gateway):
    for qos in ("1", "2"):
        subscriber = Subscriber(gateway, "-t", gateway.topic(), "-q", qos)
        publish(gateway, "-t", gateway.topic(), "-l", "-q", qos,
                text="".join(f"{number}\n" for number in range(2000)))
        assert [int(subscriber.next()[3]) for _ in range(2000)] == list(range(2000))


@behaviour()
def mosquitto_many_clients_at_once(gateway):
    subscribers = [Subscriber(gateway, "-t", gateway.topic("+"), "-q", "1") for _ in range(6)]
    publishers = [subprocess.Popen(words(gateway, "mosquitto_pub", "-t", gateway.topic(str(i)), "-l", "-q",
                                         str(i % 3)), stdin=subprocess.PIPE, text=True) for i in range(6)]
    for publisher in publishers:
        publisher.stdin.write("".join(f"{number}\n" for number in range(100)))
        publisher.stdin.close()
    for publisher in publishers:
        assert publisher.wait(SECONDS_MAX) == 0
    for subscriber in subscribers:
        seen = {}
        for _ in range(600):
            topic, _, _, payload = subscriber.next()
            seen.setdefault(topic, []).append(int(payload))
        assert len(seen) == 6 and all(numbers == list(range(100)) for numbers in seen.values())


@behaviour(settings=(f"auth.password_file={PASSWORDS}",))
def mosquitto_user_names_and_passwords(gateway):
    alice = ("-u", "alice", "-P", "wonderland")
    subscriber = Subscriber(gateway, "-t", gateway.topic(), *alice)
    publish(gateway, "-t", gateway.topic(), "-m", "by alice", "-q", "1", *alice)
    assert subscriber.next()[3] == "by alice"
    publish(gateway, "-t", gateway.topic(), "-m", "by bob", "-q", "1", "-u", "user with space", "-P",
            "p\u00e4 ss:word")
    assert subscriber.next()[3] == "by bob"
    for wrong in (("-u", "alice", "-P", "wrong"), ("-u", "nobody", "-P", "wonderland"), ("-u", "alice"), ()):
        done = subprocess.run(words(gateway, "mosquitto_pub", "-t", gateway.topic(), "-m", "x", "-q", "1",
                                    *wrong), capture_output=True, timeout=SECONDS_MAX)
        assert done.returncode in (4, 5), done
    publish(gateway, "-t", gateway.topic(), "-m", "last", "-q", "1", *alice)
    assert subscriber.next()[3] == "last"


@behaviour()
def mosquitto_request_and_response(gateway):
    if shutil.which("mosquitto_rr") is None:
        raise Skipped("mosquitto_rr is not installed (package mosquitto-clients)")
    responder = Subscriber(gateway, "-t", gateway.topic("request"), "-q", "1")
    request = subprocess.Popen(words(gateway, "mosquitto_rr", "-V", "mqttv311", "-t",
                                     gateway.topic("request"), "-e", gateway.topic("response"), "-m", "ask",
                                     "-q", "1"), stdout=subprocess.PIPE, text=True)
    assert responder.next()[3] == "ask"
    publish(gateway, "-t", gateway.topic("response"), "-m", "answer", "-q", "1")
    assert request.communicate(timeout=SECONDS_MAX)[0] == "answer\n"


@behaviour(settings=("sys.interval=200ms",))
def mosquitto_sys_topics(gateway):
    out = run(gateway, "mosquitto_sub", "-t", "$SYS/broker/#", "-v", "-C", "20")
    names = {line.split()[0] for line in out.splitlines()}
    assert "$SYS/broker/version" in names and "$SYS/broker/uptime" in names, names


if __name__ == "__main__":
    main()
