"""Text that can be stored and shown: what databases refuse, and what people can't see."""

from __future__ import annotations

import re
from typing import Any

_REPLACEMENT = "\ufffd"
# PostgreSQL refuses NUL in a text, and no UTF-8 has half of a character.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    return (text.isascii() and "\0" not in text) or not _UNSTORABLE.search(text)


def storable(value: Any) -> Any:
    """`value`, of which JSON can be made, with a mark in place of each character that no database stores."""
    if isinstance(value, str):
        return value if is_storable(value) else _UNSTORABLE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
