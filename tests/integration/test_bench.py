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
    due = result["measured_seconds"] * 1000
    assert due - 2 <= result["sent"] <= due + 2, result


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
    answer = subprocess.run(words, stdout=subprocess.PIPE, timeout=RUN_SECONDS_MAX, text=True, check=False)
    result = json.loads(answer.stdout)
    assert answer.returncode == 1 and not result["is_good"], answer
    assert result["connect_failures"] == 3 and result["up"] == 0, result


def hear(gateway, payloads):
    """What a subscriber says of these payloads, published one after the other; its exit status too."""
    words = bench_words(gateway, "sub", "--connections", "1", "--seconds", "60", "--id", gateway.name("sub"))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        publisher = gateway.client("publisher")
        topic = gateway.topic("x") + "/0"
        received = 0
        is_told = False
        # A progress line comes every second; the first ones tell that it is up, and then how much came.
        for line in process.stderr:
            received += int(re.search(r"received=(\d+)", line)[1])
            if not is_told and " up=1 " in line:
                is_told = True
                for payload in payloads:
                    publisher.publish(topic, payload)
            if received >= len(payloads):
                break
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=RUN_SECONDS_MAX)
        return json.loads(text), process.returncode
    finally:
        process.kill()
        process.wait()


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


main()
