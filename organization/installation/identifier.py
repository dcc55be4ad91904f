"""The id of this installation of the portal, and its URL."""

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

# The gateway announces this after EHLO, with the id, so that no stage can send its messages back to the portal.
EHLO_KEYWORD = "XODCPORTAL"
# The id is written in header lines and greetings.
ID_FORMAT = re.compile(r"[A-Za-z0-9-]{1,64}")


def installation_id() -> str:
    """The id that all processes of the installation share.

    It comes from the setting INSTALLATION_ID or else from a file. Raises OSError or ValueError.
    """
    database = settings.DATABASES["default"]
    return _checked_id(settings.INSTALLATION_ID, database["ENGINE"], str(database["NAME"]))


def portal_host() -> str:
    return _host_of(settings.PORTAL_URL)


def portal_url(name: str, *args: str | int) -> str:
    """The full URL of a page, for messages that are read outside the portal."""
    return str(settings.PORTAL_URL).rstrip("/") + reverse(name, args=args)


# Cached, because every message needs them.
@lru_cache(maxsize=8)
def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "localhost"


@lru_cache(maxsize=8)
def _checked_id(chosen: str, engine: str, database: str) -> str:
    """The chosen id, or else the one in the file.

    The file is beside the SQLite database, so that both are moved and backed up together. Raises ValueError.
    """
    installation = chosen or _id_in(_folder(engine, database) / "installation-id")
    if not ID_FORMAT.fullmatch(installation):
        raise ValueError("An installation's id has at most 64 characters: letters, digits and hyphens.")
    return installation


def _folder(engine: str, database: str) -> Path:
    """The folder of the id's file.

    The folder of a database is never created. Otherwise a wrong DATABASE_URL would seem right and lead to an empty database.
    """
    if engine.endswith("sqlite3"):
        return Path(database).parent
    settings.DATA_DIR.mkdir(mode=0o700, exist_ok=True)
    return Path(settings.DATA_DIR)


def _id_in(file: Path) -> str:
    """Read or create the id; if several processes start at once, the first one wins."""
    if not file.exists():
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".installation-id-") as draft:
            draft.write(uuid.uuid4().hex[:12])
            draft.flush()
            with suppress(FileExistsError):
                os.link(draft.name, file)
    return file.read_text().strip()
