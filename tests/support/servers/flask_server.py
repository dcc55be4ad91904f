"""A Flask app that listens on this machine for as long as a test's block lasts."""

from __future__ import annotations

import ssl
import threading

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server


class FlaskServer:
    """What the servers of tests share: they listen on a thread, and end with the block."""

    closing: threading.Event  # for answers that wait
    port: int

    def listen(self, app: Flask, host: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen on `port`, or on any free one, which `self.port` then is."""
        self._server = make_server(host, port, app, threaded=True, request_handler=_Quiet, ssl_context=tls)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join(60)
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass
