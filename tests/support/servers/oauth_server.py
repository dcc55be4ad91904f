"""A real OAuth 2.0 server for tests (authlib's). It issues tokens for client credentials, and fails as a test tells it."""

from __future__ import annotations

import json
import logging
import os
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, list_to_scope, scope_to_list
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from flask import Flask, Response, request

from tests.support.servers.flask_server import FlaskServer

os.environ.setdefault("AUTHLIB_INSECURE_TRANSPORT", "true")  # on loopback
SCOPES = "https://smtp.example.com/.default"


@dataclass
class Client(ClientMixin):
    """A client that may request tokens, and how it does."""

    client_id: str = "portal"
    client_secret: str = "client-secret"
    scopes: str = SCOPES
    authentication: str = "client_secret_post"
    grants: tuple[str, ...] = ("client_credentials",)

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str | None:
        requested = set(scope_to_list(scope or self.scopes))
        return list_to_scope(requested) if requested <= set(scope_to_list(self.scopes)) else None

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.authentication

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


@dataclass
class OAuthServer(FlaskServer):
    """A server that gives `client` tokens for `lifetime` seconds, and says whether a token is valid for a mailbox.

    `before` is called with each request, and may block or answer in the token's place. `changes` replaces parts of what is
    answered with a token, and leaves out those that are `...`.
    """

    client: Client = field(default_factory=Client)
    lifetime: int = 3600
    mailboxes: set[str] = field(default_factory=lambda: {"no-reply@acme.example"})
    before: Callable[[], Response | None] = lambda: None
    changes: dict[str, Any] = field(default_factory=dict)
    token: Callable[[], str] = lambda: secrets.token_urlsafe(900)  # as long as Microsoft's
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0  # while it runs
    forms: list[dict[str, str]] = field(default_factory=list)
    issued: dict[str, float] = field(default_factory=dict)  # when each ends
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def requests(self) -> int:
        return len(self.forms)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/tenant/token?api=2"

    @property
    def values(self) -> dict[str, str]:
        """The settings of a stage that signs in with this server's tokens, `new_secret` included."""
        return {
            "authentication": "oauth2",
            "token_url": self.url,
            "client_id": self.client.client_id,
            "new_secret": self.client.client_secret,
            "scopes": self.client.scopes,
            "client_authentication": self.client.authentication,
        }

    def refusal(self, mailbox: str, token: str) -> str | None:
        """How an SMTP server refuses this sign-in, or None if the token is valid."""
        if mailbox in self.mailboxes and self.issued.get(token, 0) > time.time():
            return None
        return "535 5.7.3 Authentication unsuccessful"

    def revoke(self) -> None:
        self.issued.clear()

    def __enter__(self) -> OAuthServer:
        app = Flask(__name__)
        app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = lambda *_, **__: self.token()
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": self.lifetime}
        authlib = AuthorizationServer(app, self._client, self._save)
        authlib.register_grant(_Grant)

        @app.post("/tenant/token")
        def token() -> Response:
            self.forms.append({**request.form, "authorization": request.headers.get("Authorization", "")})
            return self.before() or self._changed(authlib.create_token_response())

        self.listen(app, self.host, tls=self.tls)
        return self

    def _client(self, client_id: str) -> Client | None:
        return self.client if client_id == self.client.client_id else None

    def _save(self, token: dict[str, Any], _: object) -> None:
        self.issued[token["access_token"]] = time.time() + token["expires_in"]

    def _changed(self, answer: Response) -> Response:
        if answer.status_code == 200 and self.changes:
            answer.set_data(json.dumps({k: v for k, v in {**answer.get_json(), **self.changes}.items() if v is not ...}))
        return answer

    # What `before` may be told to do.

    def hangs(self) -> Response:
        self.closing.wait(30)
        return Response(status=503)

    def drips(self) -> Response:
        def drops() -> Iterator[bytes]:
            while not self.closing.wait(0.05):
                yield b" "

        return Response(drops(), mimetype="application/json")


class _Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


logging.getLogger("authlib").setLevel(logging.WARNING)  # says each token it issues
