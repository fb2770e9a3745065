"""`penstock-bench endure` itself: sessions that are cut and come back lose nothing, and what is lost is told."""

from daemon import Daemon, lasting_port
from endure import Endure
from proxy import Proxy
from suite import behaviour, main


@behaviour()
def sessions_endure_connections_that_are_cut(gateway):
    # Everybody's connection at once, again and again, at whatever byte it is: what is sent again must be what
    # was open, and what came twice be told from what was received twice.
    with Proxy(gateway.port) as proxy, Endure(gateway.daemon.program, proxy.port, "--connections", "8", "--window",
                                              "40", "--id", gateway.name("e"), "--topic", gateway.name()) as load:
        for _ in range(6):
            load.wait_for_acks(300)
            lost = load.lost
            proxy.cut()
            load.wait_for_return(lost, 17)
        load.wait_for_acks(300)
        result, status = load.finish()
    assert status == 0 and result["is_good"], result
    assert result["reconnects"] >= 6 * 17 and result["retained_checks"] >= 1, result
    assert result["messages_received"] == result["messages_acked"] == result["sent"] > 2100, result
    # Of PUBLISH packets on their way when a connection is cut, some were received.
    assert result["duplicates_qos_1"] + result["repeats_qos_2"] > 0, result


@behaviour()
def what_a_server_forgets_is_told(gateway):
    # Its memory is all it has: killed, it knows no session and no message that a subscriber waits for.
    daemon = Daemon(gateway.daemon.program, gateway.shards, ("broker.type=memory",), port=lasting_port())
    try:
        with Endure(daemon.program, daemon.port, "--connections", "4", "--drain", "2") as load:
            load.wait_for_acks(300)
            daemon.kill()
            daemon.start(gateway.shards)
            load.wait_for_return(0, 9)
            result, status = load.finish()
    finally:
        daemon.stop()
    assert status == 1 and not result["is_good"], result
    # Every subscriber's at least; what reached the server before they were there again is nobody's.
    assert result["sessions_lost"] >= 4, result


@behaviour()
def a_retained_value_that_is_gone_is_told(gateway):
    with Endure(gateway.daemon.program, gateway.port, "--connections", "1", "--rate", "20", "--drain", "1", "--topic",
                gateway.topic("e")) as load:
        load.wait_for_acks(1)
        gateway.client().publish(gateway.topic("e/0/state"), b"", retain=True, qos=1)
        result, status = load.finish()
    assert status == 1 and result["retained_lost"] == 1 and result["lost"] == 0, result


@behaviour()
def a_message_that_is_gone_is_told(gateway):
    # The subscriber's session is taken over by somebody who takes what comes, and hides it.
    name = gateway.name("e")
    with Endure(gateway.daemon.program, gateway.port, "--connections", "1", "--qos", "1", "--rate", "200", "--drain",
                "1", "--topic", gateway.topic("e"), "--id", name) as load:
        load.wait_for_acks(1)
        thief = gateway.socket()
        thief.connect(name + "-0", clean=False)
        while thief.next_message().dup:
            pass
        load.wait_for(lambda: load.lost == 1)
        load.wait_for_acks(1)
        result, status = load.finish()
    assert status == 1 and not result["is_good"], result
    assert result["lost"] == result["lost_acked"] >= 1, result


main()
