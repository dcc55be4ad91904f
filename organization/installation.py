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
    chosen = str(settings.INSTALLATION_ID) or _id_in(_folder() / "installation-id")
    if not ID_FORMAT.fullmatch(chosen):
        raise ValueError("An installation's id has letters, digits and hyphens, at most 64.")
    return chosen


def portal_host() -> str:
    return urlsplit(str(settings.PORTAL_URL)).hostname or "localhost"


def portal_url(name: str, *args: str | int) -> str:
    """The page's full URL, for messages: those who read them may be anywhere."""
    return str(settings.PORTAL_URL).rstrip("/") + reverse(name, args=args)


def _folder() -> Path:
    """Beside the SQLite database, so that both are moved and backed up together."""
    database = settings.DATABASES["default"]
    is_file = database["ENGINE"].endswith("sqlite3")
    return Path(database["NAME"]).parent if is_file else settings.DATA_DIR


@lru_cache(maxsize=8)
def _id_in(file: Path) -> str:
    """Several processes may start at once: the first one's id counts."""
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".installation-id-") as draft:
            draft.write(uuid.uuid4().hex[:12])
            draft.flush()
            with suppress(FileExistsError):
                os.link(draft.name, file)
    return file.read_text().strip()
