"""Records what passes between a client and a server, byte for byte, and cuts it into messages.

A tap listens on a port of its own and hands everything on. Two records of the same script are compared after
masking what differs from session to session: process ids and cancel keys, and nothing else.
"""

import socket
import threading

JOIN_SECONDS = 20
CHUNK_BYTES = 64 * 1024

CANCEL_REQUEST, SSL_REQUEST, GSSENC_REQUEST = 80877102, 80877103, 80877104

TERMINATE = b"X\0\0\0\4"
# How the body of an ErrorResponse begins after which the server closes.
FATAL = b"SFATAL\0"


class Connection:
    """One connection: the bytes of either side."""

    def __init__(self):
        self.client = bytearray()
        self.server = bytearray()


class Tap:
    """Listens, hands on to `127.0.0.1:upstream`, and records. Use as a context manager."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.threads = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind, value, trace):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            connection = Connection()
            self.connections.append(connection)
            for reader, writer, record in ((client, server, connection.client), (server, client, connection.server)):
                reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=hand_on, args=(reader, writer, record), daemon=True)
                self.threads.append(thread)
                thread.start()

    def take(self):
        """All connections so far, once they are over."""
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
            if thread.is_alive():
                raise TimeoutError("a connection did not end with its client")
        connections, self.connections, self.threads = self.connections, [], []
        return connections


def hand_on(reader, writer, record):
    """Moves bytes one way until their end."""
    try:
        while chunk := reader.recv(CHUNK_BYTES):
            record += chunk
            writer.sendall(chunk)
    except OSError:
        pass
    try:
        writer.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def opening(client):
    """Splits a client's stream into (encryption requests, first packet, the rest)."""
    requests = b""
    while True:
        length = int.from_bytes(client[:4], "big")
        code = int.from_bytes(client[4:8], "big")
        if code not in (SSL_REQUEST, GSSENC_REQUEST):
            return requests, bytes(client[:length]), bytes(client[length:])
        requests += client[:length]
        client = client[length:]


def frames(stream):
    """Cuts tagged messages; what is incomplete at the end is one frame of its own."""
    found, at = [], 0
    while at < len(stream):
        end = at + 1 + int.from_bytes(stream[at + 1 : at + 5], "big")
        found.append(bytes(stream[at:end]))
        at = max(end, at + 5)
    return found


def mask(frame):
    """A server's message without what differs between two sessions that are alike."""
    if frame[:1] == b"K":
        return frame[:5] + bytes(len(frame) - 5)
    if frame[:1] == b"A":
        return frame[:5] + bytes(4) + frame[9:]
    return frame


def said(connection):
    """What a session consisted of, comparable with another's: (first packet, client's messages, server's messages).
    A cancel request is only that: its key differs."""
    requests, first, rest = opening(bytes(connection.client))
    if int.from_bytes(first[4:8], "big") == CANCEL_REQUEST:
        return (requests, b"cancel"), [], []
    answers = bytes(connection.server)
    declined = len(requests) // 8
    return (requests, first), frames(rest), [answers[:declined], *map(mask, frames(answers[declined:]))]


def behind(connection):
    """What of a connection must arrive behind a proxy as it is: (client's bytes, server's bytes)."""
    requests, first, rest = opening(bytes(connection.client))
    answers = bytes(connection.server[len(requests) // 8 :])
    if answers and frames(answers)[-1].startswith(FATAL, 5):
        # A farewell to a server that has hung up arrives nowhere, or does, as chance has it.
        rest = rest.removesuffix(TERMINATE)
    return first + rest, answers
