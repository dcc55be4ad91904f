"""Text that can be stored and shown: what databases refuse, and what people can't see."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError

# For character classes. Line breaks, control characters, what turns the direction of a text, and halves of characters.
CONTROL = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
ZERO_WIDTH = r"\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_NOT_IN_A_NAME = re.compile(f"[{CONTROL}{ZERO_WIDTH}]")
# Many scripts, and emoji, need these two; between ASCII letters they only hide.
_JOINER = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
_REPLACEMENT = "\ufffd"
# PostgreSQL refuses NUL in a text, and no UTF-8 has half of a character.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def validate_one_line(text: str) -> None:
    """For names: what one can see, on one line."""
    if not text.isascii():
        text = _JOINER.sub("", text)
    if _NOT_IN_A_NAME.search(text):
        raise ValidationError("Line breaks, control characters and invisible characters can't be used here.", code="invalid")


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
