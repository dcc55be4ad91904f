"""Read the settings in the environment. An error names in one line the variable and what is wrong with it."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_FILE = "_FILE"
UNIX_SOCKET = "unix"  # in a list of proxies: one that connects through a Unix socket, which has no address
GroupGrants = dict[str, list[dict[str, Any]]]  # a role for each, and the app and the stages if it has limits
# A name as close as this to one of ours is probably a misspelling: DATABSE_URL, GATEWAY_HOSTS.
_CLOSE = 0.86
# Names of other programs that happen to be close to ours.
_OTHERS = ("LOGNAME",)


class Environment(environ.Env):
    """The environment. It remembers the names that were read, and its errors name the variable with the wrong value."""

    def __init__(self, values: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.values = values
        self.names: set[str] = set()

    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False) -> Any:
        self.names.add(var)
        text = self._text(var)
        if text is None:
            return default
        try:
            return self.parse_value(text, cast)
        except ValueError as error:
            kind = "a whole number" if cast is int else "another value"
            raise ImproperlyConfigured(f"{var} is “{text}”; it must be {kind}.") from error

    def _text(self, var: str) -> str | None:
        """Return the value. `NAME_FILE` takes precedence over `NAME`. A line end that an editor adds to a secret is removed."""
        file = self.values.get(var + _FILE)
        if not file:
            return self.values.get(var)
        try:
            return Path(file).read_text().rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            raise ImproperlyConfigured(f"{var}{_FILE} names a file that can't be read: {error}") from error

    def positive(self, var: str, default: int, least: int = 0, most: int | None = None) -> int:
        """Return a whole number, `least` or more, and `most` or less."""
        number: int = self.int(var, default=default)
        if number < least:
            raise ImproperlyConfigured(f"{var} is {number}; it must be {least} or more.")
        if most is not None and number > most:
            raise ImproperlyConfigured(f"{var} is {number}; it must be {most} or less.")
        return number

    def bool(self, var: str, default: Any = environ.Env.NOTSET) -> bool:
        """Return true or false. Other words are refused, because BEHIND_PROXY=treu must not silently mean false."""
        value = self.str(var, default=default)
        if isinstance(value, bool):
            return value
        if value.strip().lower() not in (*_TRUE, *_FALSE):
            raise ImproperlyConfigured(f"{var} is “{value}”; it must be true or false.")
        return value.strip().lower() in _TRUE

    def choice(self, var: str, *choices: str) -> str:
        """Return one of `choices`. The first is the default."""
        value: str = self.str(var, default=choices[0])
        if value not in choices:
            raise ImproperlyConfigured(f"{var} is “{value}”; it must be one of: {', '.join(choices)}.")
        return value

    def networks(self, var: str) -> list[IPv4Network | IPv6Network]:
        return [_network(var, text) for text in self.list(var, default=[])]

    def proxies(self, var: str, default: str) -> list[IPv4Network | IPv6Network | str]:
        """Return networks, and the word `unix` for clients of a Unix socket."""
        names = [text.strip() for text in str(self.str(var, default=default)).split(",")]
        return [name if name == UNIX_SOCKET else _network(var, name) for name in names if name]

    def database(self, var: str, default: str) -> dict[str, Any]:
        """Return Django's settings for the database at a URL. Errors don't repeat the URL, because it has a password."""
        url = str(self.str(var, default=default))
        if not url.startswith(("postgres://", "postgresql://", "sqlite://")):
            raise ImproperlyConfigured(f"{var} must begin with postgres:// or sqlite:///.")
        try:
            config = dict(self.db_url_config(url))
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{var} isn't a valid URL. Characters such as @ : / # in a password are written as %40 %3A %2F %23."
            ) from error
        return {**config, "HOST": unquote(config.get("HOST", ""))}  # postgres://%2Fvar%2Frun%2Fpostgresql/name: a socket's folder

    def https_url(self, var: str) -> str:
        """Return a URL, or nothing. It is https, or http to this machine."""
        url: str = self.str(var, default="")
        parts = urlsplit(url)
        is_here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        if url and not is_here and (parts.scheme != "https" or not parts.hostname):
            raise ImproperlyConfigured(f"{var} is “{url}”; it must begin with https://.")
        return url

    def group_grants(self, var: str) -> GroupGrants:
        """Return what groups stand for: `{"group": [{"role": "Developer", "app": "crm", "stages": ["qa"]}]}`."""
        text: str = self.str(var, default="") or "{}"
        try:
            groups = json.loads(text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} isn't JSON: {error}.") from error
        if not isinstance(groups, dict) or not all(isinstance(grants, list) for grants in groups.values()):
            raise ImproperlyConfigured(f'{var} must be like {{"group": [{{"role": "Developer"}}]}}.')
        for grant in (grant for grants in groups.values() for grant in grants):
            if not _is_grant(grant):
                raise ImproperlyConfigured(f"{var} has {json.dumps(grant)}. It needs a role, and may have an app and stages.")
        return groups

    def refuse_misspelled(self) -> None:
        """Raise ImproperlyConfigured for a variable whose name is nearly one of ours. Its value would be ignored silently."""
        known = {*self.names, *(name + _FILE for name in self.names)}
        for name in sorted(set(self.values) - known - set(_OTHERS)):
            if close := difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE):
                raise ImproperlyConfigured(f"{name} is not a setting of the portal. Did you mean {close[0]}?")


def _is_grant(grant: object) -> bool:
    if not isinstance(grant, dict) or not {"role"} <= set(grant) <= {"role", "app", "stages"}:
        return False
    stages = grant.get("stages", [])
    return isinstance(stages, list) and all(isinstance(name, str) for name in (grant["role"], grant.get("app", ""), *stages))


def _network(var: str, text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"{var} has “{text.strip()}”, which isn't a network: {error}.") from error
