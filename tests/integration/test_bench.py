"""The load client against the gateway: every mode for a moment, at every QoS, without a loss; and what it
says when messages are lost, repeated or changed on their way."""

import json
import os
import re
import signal
import struct
import subprocess

from suite import behaviour, main

RUN_SECONDS_MAX = 60
STAMP = struct.Struct(">IIQQ")


def bench_words(gateway, mode, *options):
    program = os.path.join(os.path.dirname(gateway.daemon.process.args[0]), "penstock-bench")
    return [program, mode, "--port", str(gateway.port), "--topic", gateway.topic("x"), "--json", *options]


def run(gateway, mode, *options):
    """The summary of a run that ends by itself with status 0."""
    words = bench_words(gateway, mode, "--seconds", "0.5", "--quiet", "--id", gateway.name(mode), *options)
    answer = subprocess.run(words, stdout=subprocess.PIPE, timeout=RUN_SECONDS_MAX, text=True, check=False)
    result = json.loads(answer.stdout)
    assert answer.returncode == 0 and result["is_good"], answer.stdout
    return result


def assert_clean(result):
    assert result["sent"] > 0 and result["received"] == result["expected"], result
    for fault in ("lost", "duplicates", "misordered", "unacked", "foreign", "corrupt", "wrong_qos", "bad_packets",
                  "lost_connections"):
        assert result[fault] == 0, (fault, result)
    assert result["latency_count"] > 0 and result["latency_max_us"] >= result["latency_p50_us"] > 0, result


@behaviour()
def pairs_lose_nothing(gateway):
    for qos in "012":
        assert_clean(run(gateway, "pairs", "--connections", "10", "--window", "50", "--qos", qos))


@behaviour()
def durable_sessions_lose_nothing_and_are_there_after_the_run(gateway):
    # The second run resumes the sessions of the first.
    for _ in range(2):
        assert_clean(run(gateway, "pairs", "--connections", "10", "--window", "50", "--qos", "2", "--durable"))
    assert gateway.socket().connect(gateway.name("pairs") + "-0", clean=False).session_present


@behaviour()
def fanout_reaches_everyone(gateway):
    for qos in "012":
        result = run(gateway, "fanout", "--connections", "30", "--window", "10", "--qos", qos)
        assert_clean(result)
        assert result["expected"] == 30 * result["sent"], result


@behaviour()
def fanin_brings_everything_to_one(gateway):
    for qos in "012":
        assert_clean(run(gateway, "fanin", "--connections", "30", "--window", "10", "--qos", qos))


@behaviour()
def pingpong_comes_back(gateway):
    for qos in "012":
        result = run(gateway, "pingpong", "--connections", "5", "--qos", qos)
        assert_clean(result)
        assert result["latency_count"] * 2 == result["received"], result


@behaviour()
def publishing_alone_is_read_and_acknowledged(gateway):
    for qos in "012":
        result = run(gateway, "pub", "--connections", "5", "--qos", qos, "--rate", "2000")
        assert result["sent"] > 0 and result["acked"] == (0 if qos == "0" else result["sent"]), result
        assert result["pings_answered"] == result["pings"] > 0, result


@behaviour()
def an_open_loop_sends_what_is_due(gateway):
    result = run(gateway, "pairs", "--connections", "7", "--rate", "1000", "--qos", "1")
    assert_clean(result)
    # Never more than is due; less only by what the last turn before the end came too late for.
    due = result["measured_seconds"] * 1000 + 1
    assert due / 2 <= result["sent"] <= due, result


@behaviour()
def payloads_larger_than_a_receive_come_whole(gateway):
    assert_clean(run(gateway, "pairs", "--connections", "2", "--window", "4", "--payload", "100000", "--qos", "1"))


@behaviour()
def idle_connections_stay_and_are_answered(gateway):
    result = run(gateway, "conn", "--connections", "200", "--subscribe", "--keepalive", "1")
    assert result["up"] == result["up_end"] == 200, result
    assert result["pings"] > 0 and result["pings_late"] == 0, result


@behaviour()
def a_server_that_is_not_there_is_a_failure(gateway):
    words = bench_words(gateway, "conn", "--seconds", "0.1", "--quiet", "--connections", "3", "--host", "127.0.0.2")
    answer = subprocess.run(words, capture_output=True, timeout=RUN_SECONDS_MAX, text=True, check=False)
    result = json.loads(answer.stdout)
    assert answer.returncode == 1 and not result["is_good"], answer
    assert result["connect_failures"] == 3 and result["up"] == 0, result
    # Why is told of the first only.
    pattern = r"penstock-bench: connect to 127\.0\.0\.2:\d+: Connection refused\n"
    assert re.fullmatch(pattern, answer.stderr), answer.stderr


class Subscriber:
    """A `penstock-bench sub` of one subscription, which tells every second how much it received."""

    def __init__(self, gateway, *options):
        words = bench_words(gateway, "sub", "--connections", "1", "--seconds", "600", "--id", gateway.name("sub"),
                            *options)
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.received = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def wait_for(self, condition):
        """Until a progress line for which the condition holds; it is given the line's own count."""
        for line, _ in zip(self.process.stderr, range(RUN_SECONDS_MAX)):
            count = int(re.search(r"received=(\d+)", line)[1])
            self.received += count
            if condition(line, count):
                return
        raise AssertionError("the subscriber ended, or told nothing of the kind in time")

    def wait_until_up(self):
        self.wait_for(lambda line, _: " up=1 " in line)

    def finish(self):
        """Its summary and exit status."""
        self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=RUN_SECONDS_MAX)
        return json.loads(text), self.process.returncode


def hear(gateway, payloads):
    """What a subscriber says of these payloads, published one after the other; its exit status too."""
    with Subscriber(gateway) as subscriber:
        subscriber.wait_until_up()
        publisher = gateway.client("publisher")
        for payload in payloads:
            publisher.publish(gateway.topic("x") + "/0", payload)
        subscriber.wait_for(lambda *_: subscriber.received >= len(payloads))
        return subscriber.finish()


def message(sequence, publisher=0):
    """A payload as penstock-bench writes them."""
    rest = bytes((i * 7 + (i >> 8)) & 255 for i in range(STAMP.size, 64))
    return STAMP.pack(0, publisher, sequence, 0) + rest


@behaviour()
def messages_in_order_are_good(gateway):
    result, status = hear(gateway, [message(sequence) for sequence in (5, 6, 7)])
    assert status == 0 and result["is_good"] and result["received"] == 3, result


@behaviour()
def faults_on_the_way_are_counted(gateway):
    strange = message(9, publisher=1)
    changed = message(9)[:-1] + b"?"
    short = message(9)[:-1]
    payloads = [*(message(sequence) for sequence in (0, 1, 1, 4, 3, 8)), strange, changed, short]
    result, status = hear(gateway, payloads)
    assert status == 1 and not result["is_good"], result
    counts = {key: result[key] for key in ("duplicates", "misordered", "lost", "foreign", "corrupt")}
    assert counts == {"duplicates": 1, "misordered": 1, "lost": 4, "foreign": 1, "corrupt": 2}, result


@behaviour()
def a_lost_subscriber_is_told_and_draining_ends_though_pings_are_answered(gateway):
    name = gateway.name("pair")
    words = bench_words(gateway, "pairs", "--connections", "1", "--id", name, "--seconds", "3", "--drain", "2",
                        "--keepalive", "1")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line, _ in zip(process.stderr, range(RUN_SECONDS_MAX)):
            if "phase=measures up=2 " in line:
                break
        # Its subscriber's ClientId is taken over: what it publishes from here on reaches nobody.
        gateway.socket().connect(name + "-0")
        text, _ = process.communicate(timeout=RUN_SECONDS_MAX)
    finally:
        process.kill()
        process.wait()
    result = json.loads(text)
    assert process.returncode == 1 and not result["is_good"], result
    assert result["lost_connections"] == 1 and result["up_end"] == 1, result
    assert result["lost"] > 0 and result["pings_answered"] >= 4, result


@behaviour()
def what_a_stopped_subscriber_does_not_get_is_counted_as_dropped(gateway):
    # More than its socket and what may wait for it hold, at QoS 0: the rest is dropped, and accounted for.
    def dropped():
        return gateway.daemon.metric("penstock_dropped_total") - before

    before = gateway.daemon.metric("penstock_dropped_total")
    with Subscriber(gateway, "--payload", "4096") as subscriber:
        subscriber.wait_until_up()
        subscriber.process.send_signal(signal.SIGSTOP)
        sent = run(gateway, "pub", "--connections", "1", "--payload", "4096", "--seconds", "2")["sent"]
        gateway.eventually(lambda: dropped() > 0)
        subscriber.process.send_signal(signal.SIGCONT)
        # Until a second goes by in which nothing came any more.
        subscriber.wait_for(lambda _, count: count == 0 and subscriber.received > 0)
        result, _ = subscriber.finish()
    # Metrics lag by a moment.
    gateway.eventually(lambda: result["received"] + dropped() == sent)
    assert result["duplicates"] == result["misordered"] == 0, result


@behaviour()
def sessions_that_were_away_get_what_they_missed(gateway):
    name = gateway.name("late")
    options = ("--qos", "1", "--id", name)
    result = run(gateway, "conn", "--subscribe", "--durable", "--connections", "40", *options)
    assert result["up"] == 40, result
    # Two publishers share 150 topics; of them 40 are subscribed to.
    result = run(gateway, "pub", "--connections", "2", "--topics", "150", "--rounds", "7", "--seconds", "60",
                 "--qos", "1", "--id", gateway.name("pub"))
    assert result["sent"] == result["acked"] == 150 * 7, result
    result = run(gateway, "sub", "--missed", "7", "--connections", "40", "--seconds", "60", *options)
    assert result["received"] == result["expected"] == 40 * 7 and result["latency_count"] == 40, result
    served_us = round(result["served_seconds"] * 1e6, 3)  # both are whole nanoseconds; 0.0185929 * 1e6 is less than 18592.9
    assert 0 < served_us >= result["latency_p50_us"], result
    # They have them: nothing comes a second time, and so nothing is there in time.
    words = bench_words(gateway, "sub", "--missed", "7", "--connections", "1", "--seconds", "0.2", "--drain", "0.1",
                        "--quiet", *options)
    answer = subprocess.run(words, stdout=subprocess.PIPE, timeout=RUN_SECONDS_MAX, text=True, check=False)
    result = json.loads(answer.stdout)
    assert answer.returncode == 1 and result["received"] == 0 and result["lost"] == 7, result


@behaviour()
def a_session_that_was_never_there_has_missed_nothing(gateway):
    words = bench_words(gateway, "sub", "--missed", "1", "--connections", "1", "--seconds", "0.2", "--drain", "0.1",
                        "--quiet", "--id", gateway.name("never"))
    answer = subprocess.run(words, stdout=subprocess.PIPE, timeout=RUN_SECONDS_MAX, text=True, check=False)
    result = json.loads(answer.stdout)
    assert answer.returncode == 1 and result["refused"] == 1, result


@behaviour()
def a_wildcard_session_tells_its_topics_from_others(gateway):
    name = gateway.name("wide")
    options = ("--connections", "1", "--qos", "1", "--id", name, "--filter", gateway.prefix + "/#")
    run(gateway, "conn", "--subscribe", "--durable", *options)
    run(gateway, "pub", "--topics", "30", "--rounds", "5", "--connections", "1", "--qos", "1")
    publisher = gateway.client("other")
    publisher.publish(gateway.topic("other"), b"?", qos=1)
    result = run(gateway, "sub", "--missed", "5", "--publishers", "30", "--seconds", "60", *options)
    assert result["received"] == 150 and result["others"] == 1 and result["foreign"] == 0, result


main()
