"""MQTT.js, the npm package that tools/test installs into build/; its scenarios are in
mqttjs_client.js."""

import os
import shutil
import subprocess
from pathlib import Path

from suite import Skipped, behaviour, main

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent.parent / "build" / "node_modules"
SECONDS_MAX = 60


def run(gateway, scenario):
    node = shutil.which("node")
    if node is None:
        raise Skipped("node is not on PATH (package nodejs)")
    if not (MODULES / "mqtt" / "package.json").exists():
        raise Skipped(f"MQTT.js is not in {MODULES}: tools/test installs it")
    done = subprocess.run(
        [node, str(HERE / "mqttjs_client.js"), str(gateway.port), scenario, gateway.prefix],
        env={**os.environ, "NODE_PATH": str(MODULES)}, capture_output=True, text=True,
        timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stderr


@behaviour()
def mqttjs_every_qos(gateway):
    run(gateway, "every_qos")


@behaviour()
def mqttjs_retained(gateway):
    run(gateway, "retained")


@behaviour()
def mqttjs_session(gateway):
    run(gateway, "session")


@behaviour()
def mqttjs_will(gateway):
    run(gateway, "will")


@behaviour()
def mqttjs_many_clients(gateway):
    run(gateway, "many_clients")


@behaviour()
def mqttjs_full_speed(gateway):
    run(gateway, "full_speed")


@behaviour()
def mqttjs_large_payload(gateway):
    run(gateway, "large_payload")


@behaviour()
def mqttjs_level_5_is_refused(gateway):
    run(gateway, "level_5")


@behaviour()
def mqttjs_reconnects(gateway):
    run(gateway, "reconnect")


if __name__ == "__main__":
    main()
