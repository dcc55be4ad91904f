"""Which installation of the portal this is, and where people reach it."""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse

# What our gateway announces after EHLO, with the id: no stage may send its mail back here.
EHLO_KEYWORD = "XODCPORTAL"
# As it is written in header lines and greetings.
ID_FORMAT = re.compile(r"[A-Za-z0-9-]{1,64}")


def installation_id() -> str:
    """The same for all processes of the installation: the setting, or what a file holds. Raises OSError, ValueError."""
    database = settings.DATABASES["default"]
    return _checked_id(settings.INSTALLATION_ID, database["ENGINE"], str(database["NAME"]))


def portal_host() -> str:
    return _host_of(settings.PORTAL_URL)


def portal_url(name: str, *args: str | int) -> str:
    """The page's full URL, for messages: those who read them may be anywhere."""
    return str(settings.PORTAL_URL).rstrip("/") + reverse(name, args=args)


# Each message asks for them.
@lru_cache(maxsize=8)
def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "localhost"


@lru_cache(maxsize=8)
def _checked_id(chosen: str, engine: str, database: str) -> str:
    """Without one that was chosen, it is beside the SQLite database, so that both are moved and backed up together."""
    installation = chosen or _id_in(_folder(engine, database) / "installation-id")
    if not ID_FORMAT.fullmatch(installation):
        raise ValueError("An installation's id has letters, digits and hyphens, at most 64.")
    return installation


def _folder(engine: str, database: str) -> Path:
    """A database's folder is never made: a wrong DATABASE_URL would seem right, and lead to an empty database."""
    if engine.endswith("sqlite3"):
        return Path(database).parent
    settings.DATA_DIR.mkdir(mode=0o700, exist_ok=True)
    return Path(settings.DATA_DIR)


def _id_in(file: Path) -> str:
    """Several processes may start at once: the first one's id counts."""
    if not file.exists():
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".installation-id-") as draft:
            draft.write(uuid.uuid4().hex[:12])
            draft.flush()
            with suppress(FileExistsError):
                os.link(draft.name, file)
    return file.read_text().strip()
