"""Who may connect: user names and passwords from a file, anonymous clients beside it, and how many
checks at once are survived."""

from pathlib import Path

import mqtt
from suite import behaviour, main

PASSWORDS = Path(__file__).resolve().parent.parent / "fixtures" / "mosquitto_passwd"
FILE = f"auth.password_file={PASSWORDS}"


def code_of(gateway, name="client", **options):
    client = gateway.socket()
    client.send(mqtt.connect(gateway.name(name), **options))
    answer = client.receive()
    assert answer.kind == mqtt.CONNACK
    if answer.code != 0:
        client.expect_silent_close()
    return answer.code


@behaviour(settings=(FILE,))
def known_users_enter_with_their_passwords(gateway):
    for user, password in (("alice", "wonderland"), ("bob", ""), ("user with space", "p\u00e4 ss:word")):
        assert code_of(gateway, user=user, password=password) == 0


@behaviour(settings=(FILE,))
def wrong_passwords_and_unknown_users_are_refused_alike(gateway):
    for user, password in (("alice", "wrong"), ("alice", ""), ("nobody", "wonderland"), ("Alice", "wonderland"),
                           ("", ""), ("alice", b"\xff\xfe"), ("alice", b"\0")):
        code = code_of(gateway, user=user, password=password)
        assert code == 4, (user, password, code)


@behaviour(settings=(FILE,))
def a_missing_password_or_user_is_refused(gateway):
    assert code_of(gateway, user="alice") in (4, 5)
    assert code_of(gateway) == 5


@behaviour(settings=(FILE, "auth.allow_anonymous=yes"))
def anonymous_clients_may_be_allowed_beside_the_file(gateway):
    assert code_of(gateway) == 0
    assert code_of(gateway, user="alice", password="wrong") == 4


@behaviour()
def anonymous_clients_are_allowed_on_loopback_without_a_file(gateway):
    assert code_of(gateway) == 0
    assert code_of(gateway, user="anybody", password="anything") == 0


@behaviour(settings=(FILE,))
def a_refused_client_takes_over_nothing_and_leaves_nothing(gateway):
    client = gateway.client(user="alice", password="wonderland")
    client.subscribe((gateway.topic(), 1))
    will = (gateway.topic(), b"will", 1, False)
    assert code_of(gateway, user="alice", password="wrong", will=will) == 4
    client.publish(gateway.topic(), b"still here", 1)
    assert client.next_message().payload == b"still here"


@behaviour(settings=(FILE,))
def packets_sent_with_a_connect_wait_for_its_check(gateway):
    client = gateway.socket()
    client.send(mqtt.connect(gateway.name(), user="alice", password="wonderland"),
                mqtt.subscribe(1, (gateway.topic(), 0)), mqtt.packet(mqtt.PINGREQ))
    assert client.receive().body == b"\0\0"
    assert sorted(client.receive().kind for _ in range(2)) == [mqtt.SUBACK, mqtt.PINGRESP]


@behaviour(settings=(FILE,))
def many_checks_at_once_are_all_answered(gateway):
    clients = []
    for number in range(150):
        client = gateway.socket()
        password = "wrong" if number % 2 else "wonderland"
        client.send(mqtt.connect(gateway.name(str(number)), user="alice", password=password))
        clients.append(client)
    codes = [client.receive().code for client in clients]
    assert codes[1::2] == [4] * 75
    assert codes[::2] == [0] * 75


@behaviour(settings=(FILE,))
def a_client_that_goes_during_its_check_is_forgotten(gateway):
    for number in range(50):
        client = gateway.socket()
        client.send(mqtt.connect(gateway.name(str(number)), user="alice", password="wonderland"))
        (client.reset if number % 2 else client.close)()
    assert code_of(gateway, user="alice", password="wonderland") == 0


@behaviour(settings=(FILE,))
def a_stop_does_not_wait_for_the_clients_that_are_being_checked(gateway):
    for number in range(200):
        client = gateway.socket()
        client.send(mqtt.connect(gateway.name(str(number)), user="alice", password="wonderland"))
    gateway.daemon.stop()  # the checks of its end are the test


if __name__ == "__main__":
    main()
