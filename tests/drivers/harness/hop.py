"""A relay that looks at nothing: what one hop more does to a test of timing, whoever makes it."""

import socket
import threading

CHUNK_BYTES = 64 * 1024


class Hop:
    """Listens on a port of its own and passes every byte on to a local port, as a context manager."""

    def __init__(self, upstream_port):
        self._upstream = ("127.0.0.1", upstream_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Wakes the thread that accepts, too.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            for source, sink in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=forward, args=(source, sink), daemon=True).start()


def forward(source, sink):
    """Passes on what comes until nothing more does; then tells so."""
    try:
        while chunk := source.recv(CHUNK_BYTES):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: the other hears of it from its own thread.
        sink.close()
