"""`penstock-bench endure` beside a test: pairs of sessions that stay, whose progress the test waits for while it
does things to the server."""

import json
import os
import re
import signal
import subprocess
import threading

WAIT_SECONDS_MAX = 60
FINISH_SECONDS_MAX = 120
LINE = re.compile(r"t=\S+ phase=(\w+) up=(\d+) sent=(\d+) received=(\d+) acked=(\d+) .* lost_connections=(\d+) ")


class Endure:
    """Use as a context: it runs until finish(), or at most 15 minutes. `acked` and `received` are sums up to now."""

    def __init__(self, program, port, *options):
        words = [os.path.join(os.path.dirname(program), "penstock-bench"), "endure", "--port", str(port), "--seconds",
                 "900", "--progress", "0.05", "--json", *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.acked = 0
        self.received = 0
        self.up = 0
        self.lost = 0
        self.lines = 0
        self.rest = []
        self.has_ended = False
        self.change = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            found = LINE.match(line)
            with self.change:
                if found:
                    self.lines += 1
                    self.up = int(found[2])
                    self.received += int(found[4])
                    self.acked += int(found[5])
                    self.lost = int(found[6])
                else:
                    self.rest.append(line)
                self.change.notify_all()
        with self.change:
            self.has_ended = True
            self.change.notify_all()

    def wait_for(self, condition, seconds=WAIT_SECONDS_MAX):
        with self.change:
            self.change.wait_for(lambda: condition() or self.has_ended, seconds)
            assert condition(), (f"the load does not go on: up {self.up}, acknowledged {self.acked}, received "
                                 f"{self.received}, ended {self.has_ended}\n" + "".join(self.rest))

    def wait_for_acks(self, count, seconds=WAIT_SECONDS_MAX):
        """Until so many more messages are acknowledged, and as many more deliveries have come: it flows."""
        with self.change:
            acked, received = self.acked + count, self.received + count
        self.wait_for(lambda: self.acked >= acked and self.received >= received, seconds)

    def wait_until_up(self, count):
        """Until a line that is written from now on says that so many connections are up."""
        with self.change:
            lines = self.lines + 1  # one may be on its way
        self.wait_for(lambda: self.lines > lines and self.up == count)

    def wait_for_return(self, lost, count):
        """Until every one of `count` connections was lost since there were `lost` losses, and is back."""
        self.wait_for(lambda: self.lost >= lost + count and self.up == count)

    def finish(self):
        """Ends publishing; its summary when everything has come or nothing comes any more, and exit status."""
        self.process.send_signal(signal.SIGINT)
        text = self.process.stdout.read()
        status = self.process.wait(FINISH_SECONDS_MAX)
        self.reader.join(WAIT_SECONDS_MAX)
        assert text, f"no summary, exit status {status}:\n" + "".join(self.rest)
        return json.loads(text), status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join(WAIT_SECONDS_MAX)
        self.process.stdout.close()
