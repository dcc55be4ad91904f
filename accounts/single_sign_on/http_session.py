"""The HTTP session with the provider: where it may go, how long it may take, and how much is read."""

from __future__ import annotations

import io
import ssl
import time
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import HTTPAdapter

from emailconfig.connection import networks

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
_MOST_BYTES = 1024 * 1024
_CHUNK = 16 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_safe_url(url: str) -> bool:
    """Whether it is https, or http to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))


class ProviderSession(OAuth2Session):
    """Goes directly to the provider, and follows no redirect: it would take the client's secret elsewhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trust_env = False
        adapter = _LimitedAdapter()
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["allow_redirects"] = False
        response: requests.Response = super().request(method, url, *args, **kwargs)
        return response


class _LimitedAdapter(HTTPAdapter):
    """Asks only addresses that stages' servers may have too (SMTP_ALLOWED_NETWORKS), and reads no endless answer.

    Raises what `networks.resolve()` raises, besides the errors of requests.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_tls_context(), **kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url = urlsplit(request.url or "")
        if not is_safe_url(request.url or ""):
            raise requests.exceptions.InvalidURL(f"{url.scheme}://{url.hostname} isn't https")
        networks.resolve(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        kwargs |= {"stream": True, "timeout": (CONNECT_SECONDS, READ_SECONDS)}
        response = super().send(request, *args, **kwargs)
        with response.raw as raw:
            response.raw = io.BytesIO(_read(raw))
        return response


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts the system's authorities, as elsewhere in the portal, and not only those that requests brings along."""
    return ssl.create_default_context()


def _read(raw: Any) -> bytes:
    deadline, body = time.monotonic() + READ_SECONDS, bytearray()
    while chunk := raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise requests.exceptions.ContentDecodingError(f"The answer has more than {_MOST_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout("The answer takes too long")
    return bytes(body)
