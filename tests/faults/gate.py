"""A server's door, which can be shut and opened: while it is shut the server is as good as killed."""

import socket
import struct
import threading
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)


class Gate:
    """Hands connections at `port` on to another port. Shutting it breaks every connection in the middle."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._door: socket.socket | None = None
        self.port = 0
        self.broken = 0
        self.open()

    def open(self) -> None:
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self.port))
        door.listen(64)
        self.port, self._door = door.getsockname()[1], door
        threading.Thread(target=self._admit, args=(door,), daemon=True).start()

    def shut(self) -> None:
        """Nobody comes in, and who is in is thrown out: the connection is reset, whatever was under way."""
        if self._door is not None:
            with suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()
            self._door = None
        with self._lock:
            live, self._live = self._live, set()
        self.broken += len(live) // 2
        for each in live:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _admit(self, door: socket.socket) -> None:
        while True:
            try:
                inside = door.accept()[0]
            except OSError:
                return
            with suppress(OSError):
                beyond = socket.create_connection(("127.0.0.1", self._behind))
                with self._lock:
                    self._live |= {inside, beyond}
                for pair in ((inside, beyond), (beyond, inside)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                target.sendall(content)
        with self._lock:
            self._live -= {source, target}
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
