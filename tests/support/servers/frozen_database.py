"""A proxy to PostgreSQL that can be frozen: connections stay open and pass no data, as when the server is stopped."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path


class FreezablePath:
    """Forward connections on 127.0.0.1 to the socket of a real server. It runs in a `with` block; `url` leads to it."""

    def __init__(self, settings: dict[str, object]) -> None:
        folder = settings["OPTIONS"]["host"]  # type: ignore[index]
        self._server = str(Path(folder) / f".s.PGSQL.{settings['PORT'] or 5432}")
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgres://{settings['USER']}@127.0.0.1:{port}/{settings['NAME']}"

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def __enter__(self) -> FreezablePath:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._server)
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
