"""A wire to a PostgreSQL server that can be cut: at the answer to a commit, before a commit, or for a while; or whose
client seems to stand still.
"""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

COMMITTED = b"COMMIT\x00"
"""In the server's answer to a COMMIT."""
SYNC = b"S\x00\x00\x00\x04"
"""The end of what a client sends before it waits."""


class Wire:
    """Forwards a socket in `directory` to the server's socket. Use as a context."""

    def __init__(self, directory: Path, server: Path) -> None:
        directory.mkdir()
        self._server = str(server / ".s.PGSQL.5432")
        self.url = f"postgresql://postgres@/postgres?host={directory}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen(50)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._away = False
        self._swallow: bytes | None = None
        self._stop_before_next: bytes | None = None
        self._stays_away = self._lets_half_through = self._stands_still = False
        self._thawed = threading.Event()
        self._instead: tuple[bytes, bytes] | None = None
        self.cuts = 0
        self.flights = 0
        """How often the client has sent statements and then waited for what becomes of them."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thaw()
        self.cut()

    # What happens to it

    def swallow(self, words: bytes, *, stays_away: bool = False) -> None:
        """The next answer that has these words does not come, but the wire is cut: until `mend` if it `stays_away`."""
        self._stays_away, self._swallow = stays_away, words

    def stop_after(self, words: bytes, *, stays_away: bool = False, lets_half_through: bool = False) -> None:
        """What the client sends after the next answer that has these words does not arrive, or only the first half of
        it; the wire is cut instead.
        """
        self._stays_away, self._stop_before_next = stays_away, words
        self._lets_half_through = lets_half_through

    def stand_still_after(self, words: bytes) -> None:
        """Of what the client sends after the next answer that has these words the first half arrives, and the rest when
        it is thawed. Meanwhile nothing is cut.
        """
        self._stands_still, self._stop_before_next = True, words

    def thaw(self) -> None:
        """Who stood still goes on."""
        self._thawed.set()

    def say_instead(self, words: bytes, others: bytes) -> None:
        """From now on the server says others, as long as these."""
        assert len(words) == len(others)
        self._instead = words, others

    def cut(self) -> None:
        """All that is connected is so no more."""
        with self._lock:
            cut, self._open = self._open, []
        for one in cut:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def go_away(self) -> None:
        """Cut, and whoever connects is cut off until `mend`."""
        self._away = True
        self.cut()

    def mend(self) -> None:
        self._away = False

    def _fall(self) -> None:
        self.cuts += 1
        self._away = self._stays_away
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                server.close()
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            stopped = threading.Event()
            for forward in (self._requests, self._answers):
                threading.Thread(target=forward, args=(client, server, stopped), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, stopped: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.flights += data.endswith(SYNC)
                if stopped.is_set() and self._stands_still:
                    server.sendall(data[: len(data) // 2])
                    self._thawed.wait()
                    stopped.clear()
                    data = data[len(data) // 2 :]
                elif stopped.is_set():
                    if self._lets_half_through:
                        server.sendall(data[: len(data) // 2])
                    self._fall()
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        server.close()

    def _answers(self, client: socket.socket, server: socket.socket, stopped: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._instead is not None:
                    data = data.replace(*self._instead)
                if self._swallow is not None and self._swallow in data:
                    self._swallow = None
                    self._fall()
                    break
                if self._stop_before_next is not None and self._stop_before_next in data:
                    self._stop_before_next = None
                    stopped.set()
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
        client.close()
