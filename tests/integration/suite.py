"""The runner of these tests. A test is a function of one argument, the gateway, marked by
@normative (it shows what those statements of MQTT 3.1.1 ask) or @behaviour. Tests of one file share
a daemon per set of settings; each names its clients and topics after itself, so that none sees
another's.

A file runs as  test_x.py --program build/asan/penstock --shards 4 [--only NAME]  and exits 0 when
all passed, 77 when none could run, else 1. PENSTOCK_TEST_LONG=1 adds the tests marked long."""

import argparse
import os
import sys
import time
import traceback

from daemon import Daemon
from mqtt import Client

TESTS = []
IS_LONG = os.environ.get("PENSTOCK_TEST_LONG", "0") not in ("", "0")


class Skipped(Exception):
    """The test cannot run here; the text says why."""


class Test:
    def __init__(self, function, ids, settings, is_long):
        self.function = function
        self.name = function.__name__
        self.module = function.__module__
        self.ids = ids
        self.settings = tuple(settings)
        self.is_long = is_long


def normative(*ids, settings=(), long=False):
    """Marks a test of these statements, named as "MQTT-3.1.0-1"."""
    assert ids, "a normative test names its statements"

    def mark(function):
        TESTS.append(Test(function, ids, settings, long))
        return function
    return mark


def behaviour(settings=(), long=False):
    """Marks a test of what no numbered statement asks."""
    def mark(function):
        TESTS.append(Test(function, (), settings, long))
        return function
    return mark


class Gateway:
    """What a test is given: the daemon, and connections to it that end with the test."""

    def __init__(self, daemon, test, shards):
        self.daemon = daemon
        self.port = daemon.port
        self.shards = shards
        self.prefix = test.name
        self.clients = []
        self.probe_count = 0

    def name(self, suffix="client"):
        """A ClientId of this test's own."""
        return f"{self.prefix}-{suffix}"

    def topic(self, suffix="x"):
        """A topic of this test's own. All have the same first two levels, hence one order."""
        return f"{self.prefix}/t/{suffix}"

    def socket(self, **options):
        """A connection on which nothing was sent."""
        client = Client(self.port, **options)
        self.clients.append(client)
        return client

    def client(self, suffix="client", **options):
        """A connected client."""
        client = self.socket()
        client.connack = client.connect(self.name(suffix), **options)
        return client

    def before_probe(self, client, qos=0, with_retained=False):
        """Everything that was on its way to a client when this was called: subscribes it to a
        topic, publishes there after all that went before, and collects what came until that
        arrives. All topics of a test have one order, so nothing that was due can come later. But
        retained values come when the store has been read: `with_retained` waits for those too."""
        self.probe_count += 1
        topic = self.topic(f"probe-{self.probe_count}")
        client.subscribe((topic, qos))
        publisher = self.socket()
        publisher.connect("")
        publisher.publish(topic, b"probe", qos=1)
        messages = []
        while (message := client.next_message()).topic != topic:
            messages.append(message)
        client.unsubscribe(topic)
        if with_retained:
            messages += self._before_retained_probe(client, publisher)
        publisher.disconnect()
        return messages

    def _before_retained_probe(self, client, publisher):
        """A client is sent retained values subscription by subscription: the value of a later one
        comes behind them all."""
        topic = self.topic(f"probe-{self.probe_count}-retained")
        publisher.publish(topic, b"probe", qos=1, retain=True)
        client.subscribe((topic, 1))
        messages = []
        while (message := client.next_message()).topic != topic or not message.retain:
            if message.topic != topic:
                messages.append(message)
        client.unsubscribe(topic)
        publisher.publish(topic, b"", qos=1, retain=True)
        return messages

    def eventually(self, condition, seconds=20):
        """Waits for a fact that no packet announces; every look costs a round trip to the
        daemon."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come true within its bound"
            self.daemon.get("/healthz")

    def close(self):
        for client in self.clients:
            client.close()


def run_one(test, daemons, options):
    daemon = daemons.get(test.settings)
    if daemon is None:
        settings = (*options.set, *test.settings)
        daemon = daemons[test.settings] = Daemon(options.program, options.shards, settings)
    gateway = Gateway(daemon, test, options.shards)
    try:
        test.function(gateway)
    finally:
        gateway.close()
        if not daemon.is_running():
            del daemons[test.settings]
            daemon.stop()


def selected(options):
    tests = [test for test in TESTS if test.module == "__main__"]
    names = [test.name for test in tests]
    assert len(names) == len(set(names)), "two tests have one name"
    return [test for test in tests if options.only in (None, test.name)]


def run_all(daemons, options, results):
    for test in selected(options):
        begin = time.monotonic()
        text = ""
        try:
            if test.is_long and not IS_LONG:
                raise Skipped("it runs with PENSTOCK_TEST_LONG=1")
            run_one(test, daemons, options)
            result = "passed"
        except Skipped as reason:
            result, text = "skipped", f": {reason}"
        except Exception:  # a failed test must not hide the others
            result, text = "failed", "\n" + traceback.format_exc()
        results[result] += 1
        ids = " ".join(test.ids)
        print(f"{result} {test.name} {ids} {time.monotonic() - begin:.2f} s{text}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting of every daemon")
    parser.add_argument("--only")
    options = parser.parse_args()
    daemons = {}
    results = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        run_all(daemons, options, results)
    except BaseException:
        for daemon in daemons.values():
            daemon.process.kill()
        raise
    for settings, daemon in daemons.items():
        try:
            daemon.stop()
        except Exception:
            results["failed"] += 1
            print(f"failed: stopping the daemon of {settings}\n{traceback.format_exc()}", flush=True)
    print(", ".join(f"{count} {result}" for result, count in results.items()))
    if results["failed"]:
        sys.exit(1)
    sys.exit(0 if results["passed"] else 77)
