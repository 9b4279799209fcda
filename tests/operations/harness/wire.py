"""Just enough of PostgreSQL's protocol to make what the demo's pages never do: errors, cancels, strange sessions."""

import select
import socket
import ssl
import struct

PROTOCOL = 196608
CANCEL = 80877102
TLS = 80877103
SASL = 10


class Session:
    """One session in trust authentication, by simple queries."""

    def __init__(self, port, tls=False, **parameters):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if tls:
            self._begin_tls()
        words = {"user": "postgres", "database": "postgres", **parameters}
        body = struct.pack(">i", PROTOCOL) + b"".join(
            f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
        self.socket.sendall(struct.pack(">i", len(body) + 4) + body)
        self.key = None
        self._until_ready()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _begin_tls(self):
        self.socket.sendall(struct.pack(">ii", 8, TLS))
        if self._read(1) != b"S":
            raise ConnectionError("TLS was declined")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whose certificate it is does not matter here.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def _read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the session was closed")
            data += more
        return data

    def _until_ready(self):
        """Reads one answer; returns the tags of its messages."""
        tags = ""
        while not tags.endswith("Z"):
            tag, length = struct.unpack(">ci", self._read(5))
            body = self._read(length - 4)
            tags += tag.decode()
            if tag == b"R" and struct.unpack(">i", body[:4])[0] == SASL:
                # A mechanism that nobody has: this login fails.
                self.socket.sendall(b"p" + struct.pack(">i", 4 + 8) + b"NOTHING\0")
            if tag == b"K":
                self.key = body
        return tags

    def send(self, sql):
        """Sends a query and leaves its answer where it is."""
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">i", len(body) + 4) + body)

    def query(self, sql):
        """Runs a query; returns the tags of its answer, in which an error is an E."""
        self.send(sql)
        return self._until_ready()

    def cancelled(self, sql):
        """Runs a query and cancels it. One that has not begun is not cancelled, hence again until it is."""
        self.send(sql)
        while not select.select([self.socket], [], [], 0.5)[0]:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as canceller:
                canceller.sendall(struct.pack(">ii", 12 + len(self.key) - 4, CANCEL) + self.key)
                canceller.recv(1)
        return self._until_ready()
