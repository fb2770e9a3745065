"""A way to the gateway that can be cut: every connection to it is carried on to the gateway byte by byte, until
cut() resets them all, whatever is on its way."""

import selectors
import socket
import struct
import threading

WAIT_SECONDS_MAX = 30


def reset(end):
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    end.close()


class Proxy:
    """Use as a context; `port` is where it listens on 127.0.0.1."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.bell, self.ringer = socket.socketpair()
        self.selector.register(self.bell, selectors.EVENT_READ)
        self.peers = {}
        self.is_ending = False
        self.has_cut = threading.Event()
        self.thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.ringer.send(b"!")
        self.thread.join(WAIT_SECONDS_MAX)

    def cut(self):
        """Returns when every connection that stood is reset."""
        self.has_cut.clear()
        self.ringer.send(b"!")
        assert self.has_cut.wait(WAIT_SECONDS_MAX), "the proxy does not cut"

    def _accept(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target_port))
        for end, other in ((client, server), (server, client)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers[end] = other
            self.selector.register(end, selectors.EVENT_READ)

    def _part(self, end):
        for each in (end, self.peers.get(end)):
            if each in self.peers:
                del self.peers[each]
                self.selector.unregister(each)
                reset(each)

    def _pass_on(self, end):
        try:
            data = end.recv(1 << 14)
            if data:
                self.peers[end].sendall(data)
                return
        except OSError:
            pass
        self._part(end)

    def _cut_all(self):
        self.bell.recv(1)
        for end in list(self.peers):
            self._part(end)
        self.has_cut.set()

    def _carry(self):
        while not self.is_ending:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is self.bell:
                    self._cut_all()
                elif key.fileobj in self.peers:
                    self._pass_on(key.fileobj)
        for end in (*self.peers, self.listener, self.bell, self.ringer):
            end.close()
        self.selector.close()
