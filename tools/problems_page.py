"""The table of docs/reference/connection-problems.md. `python -m tools.problems_page` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import django

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "connection-problems.md"
_HEAD = "| Code | What it means | What to do |\n| --- | --- | --- |\n"


def table() -> str:
    from emailconfig.connection.explanations import EXPLANATIONS

    return _HEAD + "".join(
        f"| `{code}` | {explanation.cause} | {explanation.next_step} |\n" for code, explanation in EXPLANATIONS.items()
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()
    PAGE.write_text(PAGE.read_text().partition(_HEAD)[0] + table())
