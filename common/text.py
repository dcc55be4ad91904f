"""Find characters that databases refuse or that people can't see."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError

# For character classes: line breaks, control characters, characters that change the direction of text, and surrogates.
CONTROL = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
ZERO_WIDTH = r"\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_NOT_IN_A_NAME = re.compile(f"[{CONTROL}{ZERO_WIDTH}]")
# Many scripts and emoji need these two. Between ASCII letters they are only invisible.
_JOINER = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
_REPLACEMENT = "\ufffd"
# PostgreSQL refuses NUL in a text, and UTF-8 can't encode a surrogate.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def validate_one_line(text: str) -> None:
    """Check that a name is on one line and has only visible characters.

    Raises ValidationError.
    """
    if not text.isascii():
        text = _JOINER.sub("", text)
    if _NOT_IN_A_NAME.search(text):
        raise ValidationError("Line breaks, control characters and invisible characters can't be used here.", code="invalid")


def is_storable(text: str) -> bool:
    return (text.isascii() and "\0" not in text) or not _UNSTORABLE.search(text)


def storable(value: Any) -> Any:
    """`value` (JSON types) with U+FFFD for each character that can't be stored."""
    if isinstance(value, str):
        return value if is_storable(value) else _UNSTORABLE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
