"""The daemon is killed with SIGKILL while sessions publish and receive at QoS 1 and 2, and started again on the same
data, often with another number of shards: nothing acknowledged may be lost, nothing may come twice at QoS 2. The
moments are counts of acknowledged messages, drawn from a seed that is printed; PENSTOCK_KILL_SEED repeats it."""

import os
import random

from daemon import Daemon, lasting_port
from endure import Endure
from suite import IS_LONG, behaviour, main

PAIRS = 12
CONNECTIONS = 2 * PAIRS + 1
KILLS = 100 if IS_LONG else 10
KILLS_WRITTEN = 20 if IS_LONG else 3
RATE = 3000
ACKS_MAX = 4 * RATE  # between two kills: above --duplicate-age-ms, so that a duplicate can be too old


def draw_acks(source):
    """From at once to seconds of load, each order of magnitude as often as the other."""
    return int(ACKS_MAX ** source.random()) - 1


def kill_under_load(gateway, commit, kills):
    settings = ("broker.type=embedded", f"broker.commit={commit}")
    seed = int(os.environ.get("PENSTOCK_KILL_SEED") or random.SystemRandom().getrandbits(32))
    print(f"PENSTOCK_KILL_SEED={seed}", flush=True)
    source = random.Random(seed)
    shards = gateway.shards
    daemon = Daemon(gateway.daemon.program, shards, settings, port=lasting_port())
    try:
        with Endure(daemon.program, daemon.port, "--connections", str(PAIRS), "--rate", str(RATE), "--drain",
                    "30") as load:
            for _ in range(kills):
                if source.random() < 0.5:
                    load.wait_until_up(CONNECTIONS)
                load.wait_for_acks(draw_acks(source))
                daemon.kill()
                shards = source.choice([shards, source.randint(1, 6)])
                daemon.start(shards)
            load.wait_for_acks(RATE // 2)
            result, status = load.finish()
    except BaseException:
        daemon.process.kill()
        raise
    finally:
        daemon.stop()
    print(f"{kills} kills, commit {commit}: " + ", ".join(
        f"{name} {result[name]}" for name in ("sent", "reconnects", "duplicates_qos_1", "duplicates_qos_1_resent",
                                              "duplicates_qos_1_old", "duplicates_qos_1_age_ms",
                                              "repeats_qos_2", "retained_checks")), flush=True)
    # The sums first: what they say is easier to read than a status.
    for fault in ("lost_acked", "lost", "duplicates_qos_2", "duplicates_qos_1_old", "misordered", "sessions_lost",
                  "retained_lost", "id_conflicts", "unreleased", "unacked", "answers_misordered", "bad_packets"):
        assert result[fault] == 0, (fault, seed, result)
    assert status == 0 and result["is_good"], (seed, result)
    # The load was there: everybody came back, if not from each of two kills that followed at once.
    assert result["reconnects"] >= CONNECTIONS and result["retained_checks"] > 0, (seed, result)


@behaviour()
def kill_loses_nothing_acknowledged(gateway):
    kill_under_load(gateway, "synced", KILLS)


@behaviour()
def kill_loses_nothing_that_the_system_was_given(gateway):
    # Not synced: safe from the daemon's end, if not from the host's.
    kill_under_load(gateway, "written", KILLS_WRITTEN)


main()
