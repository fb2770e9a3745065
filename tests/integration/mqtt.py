"""MQTT 3.1 and 3.1.1 over a blocking socket, packet by packet, for tests that say exactly which
bytes go out and check exactly which come back. Knows no retries and no threads; every wait has a
bound."""

import select
import socket
import struct
import time
from collections import deque

WAIT_SECONDS_MAX = 20

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
NAMES = ("0 CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK "
         "PINGREQ PINGRESP DISCONNECT 15").split()

SENT_BY_SERVERS = {CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP}

PROTOCOL_NAMES = {3: b"MQIsdp", 4: b"MQTT", 5: b"MQTT"}


class Closed(Exception):
    """The peer ended the connection."""


def to_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def field(text):
    """A string or block with its 16-bit length."""
    data = to_bytes(text)
    return struct.pack(">H", len(data)) + data


def varint(number):
    data = bytearray()
    while True:
        number, low = divmod(number, 128)
        data.append(low | (0x80 if number else 0))
        if not number:
            return bytes(data)


def packet(kind, flags=0, body=b""):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client_id="", clean=True, level=4, keepalive=0, will=None, user=None, password=None,
            name=None, flags=None):
    """A CONNECT. `will` is (topic, payload, qos, retain); `flags` replaces the computed flags."""
    bits = 0x02 if clean else 0
    payload = field(client_id)
    if will is not None:
        topic, message, qos, retain = will
        bits |= 0x04 | qos << 3 | (0x20 if retain else 0)
        payload += field(topic) + field(message)
    if user is not None:
        bits |= 0x80
        payload += field(user)
    if password is not None:
        bits |= 0x40
        payload += field(password)
    head = field(PROTOCOL_NAMES.get(level, b"MQTT") if name is None else name)
    head += bytes([level, bits if flags is None else flags]) + struct.pack(">H", keepalive)
    return packet(CONNECT, 0, head + payload)


def publish(topic, payload=b"", qos=0, retain=False, dup=False, packet_id=None):
    body = field(topic)
    if packet_id is not None:
        body += struct.pack(">H", packet_id)
    flags = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return packet(PUBLISH, flags, body + to_bytes(payload))


def acknowledge(kind, packet_id):
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack(">H", packet_id))


def subscribe(packet_id, *filters):
    """`filters` are (filter, qos)."""
    return packet(SUBSCRIBE, 2, struct.pack(">H", packet_id)
                  + b"".join(field(text) + bytes([qos]) for text, qos in filters))


def unsubscribe(packet_id, *filters):
    return packet(UNSUBSCRIBE, 2, struct.pack(">H", packet_id) + b"".join(map(field, filters)))


class Packet:
    """A packet as it came, of a type and with the flags that a server may send; the fields that its
    type does not have are absent."""

    def __init__(self, first_byte, body):
        self.kind = first_byte >> 4
        self.flags = first_byte & 15
        self.body = body
        assert self.kind in SENT_BY_SERVERS, self
        assert self.kind == PUBLISH or self.flags == (2 if self.kind == PUBREL else 0), self
        if self.kind == PUBLISH:
            self.dup = bool(self.flags & 8)
            self.qos = self.flags >> 1 & 3
            self.retain = bool(self.flags & 1)
            end = 2 + struct.unpack_from(">H", body)[0]
            self.topic = body[2:end].decode()
            self.packet_id = struct.unpack_from(">H", body, end)[0] if self.qos else None
            self.payload = body[end + (2 if self.qos else 0):]
            assert self.qos < 3 and self.packet_id != 0 and (self.qos or not self.dup), self
            assert self.topic and not set(self.topic) & set("+#\0"), self
        elif self.kind == CONNACK:
            self.session_present = body[0]
            self.code = body[1]
        elif len(body) >= 2:
            self.packet_id = struct.unpack_from(">H", body)[0]
            self.codes = list(body[2:])

    def __repr__(self):
        return f"{NAMES[self.kind]}(flags={self.flags}, {len(self.body)} bytes: {self.body[:60]!r})"


class Client:
    """One connection. Packet ids count up from 1. PUBLISHes that come while another packet is
    awaited wait in `messages`."""

    def __init__(self, port, **socket_options):
        self.socket = socket.socket()
        if "receive_bytes" in socket_options:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                   socket_options["receive_bytes"])
        self.socket.settimeout(WAIT_SECONDS_MAX)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.messages = deque()
        self.last_id = 0

    def close(self):
        """An abrupt end: without DISCONNECT."""
        self.socket.close()

    def reset(self):
        """Ends with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, *packets):
        self.socket.sendall(b"".join(packets))

    def next_id(self):
        self.last_id = self.last_id % 65535 + 1
        return self.last_id

    # Receiving

    def _parse(self):
        """Takes one packet out of the buffer, or None."""
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self.buffer):
                return None
            size |= (self.buffer[at] & 127) << shift
            at += 1
            if not self.buffer[at - 1] & 128:
                break
            shift += 7
            assert shift < 28, "a remaining length of five bytes"
        if len(self.buffer) < at + size:
            return None
        result = Packet(self.buffer[0], bytes(self.buffer[at:at + size]))
        del self.buffer[:at + size]
        return result

    def receive(self, seconds=WAIT_SECONDS_MAX):
        """The next packet of any type. Raises Closed when the peer closed, TimeoutError at the
        bound."""
        end = time.monotonic() + seconds
        while (result := self._parse()) is None:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionError as error:
                raise Closed() from error
            if not data:
                raise Closed()
            self.buffer += data
        return result

    def expect(self, kind, packet_id=None):
        """The next packet but PUBLISHes, which has to be of this type."""
        while True:
            result = self.receive()
            if result.kind != PUBLISH or kind == PUBLISH:
                break
            self.messages.append(result)
        assert result.kind == kind, f"expected {NAMES[kind]}, got {result}"
        assert packet_id is None or result.packet_id == packet_id, f"expected {packet_id}: {result}"
        return result

    def next_publish(self):
        return self.messages.popleft() if self.messages else self.expect(PUBLISH)

    def expect_close(self, seconds=WAIT_SECONDS_MAX):
        """Waits for the end of the connection; result: the packets that came before it."""
        packets = []
        try:
            while True:
                packets.append(self.receive(seconds))
        except Closed:
            return packets

    def expect_silent_close(self, seconds=WAIT_SECONDS_MAX):
        packets = self.expect_close(seconds)
        assert not packets, f"expected nothing before the close, got {packets}"

    def is_readable(self, seconds=0):
        return bool(self.buffer) or bool(select.select([self.socket], [], [], seconds)[0])

    # Exchanges

    def connect(self, client_id="", expect_code=0, **options):
        """CONNECT and its CONNACK, which is returned."""
        self.send(connect(client_id, **options))
        answer = self.receive()
        assert answer.kind == CONNACK, answer
        assert answer.code == expect_code, f"CONNACK code {answer.code}"
        return answer

    def subscribe(self, *filters):
        """SUBSCRIBE and its SUBACK; a filter is (text, qos) or text for QoS 0. Result: the
        codes."""
        packet_id = self.next_id()
        self.send(subscribe(packet_id, *(f if isinstance(f, tuple) else (f, 0) for f in filters)))
        return self.expect(SUBACK, packet_id).codes

    def unsubscribe(self, *filters):
        packet_id = self.next_id()
        self.send(unsubscribe(packet_id, *filters))
        return self.expect(UNSUBACK, packet_id)

    def publish(self, topic, payload=b"", qos=0, retain=False):
        """Publishes, and at QoS 1 and 2 waits until the flow has ended."""
        packet_id = self.next_id() if qos else None
        self.send(publish(topic, payload, qos, retain, packet_id=packet_id))
        if qos == 1:
            self.expect(PUBACK, packet_id)
        elif qos == 2:
            self.expect(PUBREC, packet_id)
            self.release(packet_id)

    def release(self, packet_id):
        self.send(acknowledge(PUBREL, packet_id))
        self.expect(PUBCOMP, packet_id)

    def answer(self, message):
        """The receiver's whole part of a delivery's flow."""
        if message.qos == 1:
            self.send(acknowledge(PUBACK, message.packet_id))
        elif message.qos == 2:
            self.send(acknowledge(PUBREC, message.packet_id))
            self.expect(PUBREL, message.packet_id)
            self.send(acknowledge(PUBCOMP, message.packet_id))

    def next_message(self):
        """The next PUBLISH, acknowledged as its QoS asks."""
        message = self.next_publish()
        self.answer(message)
        return message

    def take_messages(self, count):
        return [self.next_message() for _ in range(count)]

    def ping(self):
        """PINGREQ and its PINGRESP: what was sent before has been processed by the connection."""
        self.send(packet(PINGREQ))
        self.expect(PINGRESP)

    def disconnect(self):
        """DISCONNECT; returns when the server has closed."""
        self.send(packet(DISCONNECT))
        self.messages.extend(p for p in self.expect_close() if p.kind == PUBLISH)
        self.socket.close()


def readable(clients, seconds=WAIT_SECONDS_MAX):
    """The clients for whom something came, or whose connection ended; at least one."""
    found = [client for client in clients if client.buffer]
    if not found:
        ready = select.select([client.socket for client in clients], [], [], seconds)[0]
        found = [client for client in clients if client.socket in ready]
    assert found, "nothing came within the bound"
    return found
