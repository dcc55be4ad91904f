"""A real OpenID provider for tests (authlib's): signs its person in without asking, and lies as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode, UserInfo
from flask import Flask, Response, jsonify
from joserfc.jwk import OctKey, RSAKey

from tests.support.servers.flask_server import FlaskServer
from tests.support.servers.oauth_server import Client

_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})  # of the same name
CALLBACK = "http://127.0.0.1:8000/accounts/single-sign-on/callback/"


@dataclass
class _RegisteredClient(Client):
    """The portal, as it is registered at the provider."""

    scopes: str = "openid profile email"
    authentication: str = "client_secret_basic"
    grants: tuple[str, ...] = ("authorization_code",)

    def get_default_redirect_uri(self) -> str:
        return CALLBACK

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == CALLBACK

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"


@dataclass
class _Code:
    """What is remembered of a request until its code is redeemed."""

    code: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass
class OidcServer(FlaskServer):
    """`person` is who signs in there. `claims` are put over the ID token's own. `userinfo` is what its endpoint says."""

    person: dict[str, Any] = field(default_factory=lambda: {"sub": "person-1"})
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    key: RSAKey | OctKey = field(default_factory=lambda: _KEY)  # it signs with; published is always the same
    algorithm: str = "RS256"
    discovery: dict[str, Any] = field(default_factory=dict)  # replaces what it says about itself
    before: Callable[[], Response | None] = lambda: None  # may block, or answer in its place
    client: _RegisteredClient = field(default_factory=_RegisteredClient)
    port: int = 0
    codes: dict[str, _Code] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> OidcServer:
        app = Flask(__name__)
        authlib = AuthorizationServer(app, self._client, lambda *_: None)
        authlib.register_grant(_grant(self), [_id_token(self)(require_nonce=True), CodeChallenge(required=True)])
        app.before_request(lambda: self.before())
        app.add_url_rule("/.well-known/openid-configuration", view_func=self._discovery)
        app.add_url_rule("/jwks", "jwks", lambda: jsonify({"keys": [_KEY.as_dict(private=False)]}))
        app.add_url_rule("/userinfo", "userinfo", lambda: jsonify(self.userinfo))
        app.add_url_rule("/token", "token", authlib.create_token_response, methods=["POST"])
        app.add_url_rule("/authorize", "authorize", lambda: authlib.create_authorization_response(grant_user=self.person))
        self.listen(app, "127.0.0.1", self.port)
        return self

    def _client(self, client_id: str) -> Client | None:
        return self.client if client_id == self.client.client_id else None

    def _discovery(self) -> Response:
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": [self.client.authentication],
        }
        if self.userinfo is not None:
            said["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        return jsonify({**said, **self.discovery})


def _grant(server: OidcServer) -> type[AuthorizationCodeGrant]:
    class Grant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

        def save_authorization_code(self, code: str, asked: Any) -> None:
            data = asked.payload.data
            server.codes[code] = _Code(
                code,
                data["redirect_uri"],
                data["scope"],
                data["nonce"],
                data["code_challenge"],
                data["code_challenge_method"],
            )

        def query_authorization_code(self, code: str, client: Client) -> _Code | None:
            return server.codes.get(code)

        def delete_authorization_code(self, authorization_code: _Code) -> None:
            del server.codes[authorization_code.code]

        def authenticate_user(self, authorization_code: _Code) -> dict[str, Any]:
            return server.person

    return Grant


def _id_token(server: OidcServer) -> type[OpenIDCode]:
    class IdToken(OpenIDCode):
        def exists_nonce(self, nonce: str, asked: Any) -> bool:
            return False

        def resolve_client_private_key(self, client: Client) -> RSAKey | OctKey:
            return server.key

        def get_client_claims(self, client: Client) -> dict[str, Any]:
            return {"iss": server.issuer, "aud": [client.client_id]}

        def get_client_algorithm(self, client: Client) -> str:
            return server.algorithm

        def get_encode_header(self, client: Client) -> dict[str, str]:
            return {"alg": server.algorithm, "kid": "one"}

        def generate_user_info(self, user: dict[str, Any], scope: str) -> UserInfo:
            return UserInfo({**user, **server.claims})

    return IdToken
