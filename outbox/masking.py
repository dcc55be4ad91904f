"""A mail's addresses as one member may see them: as they are, or masked wherever they occur."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from django.conf import settings

from organization.addresses import masked_address
from outbox.models import Message

_WORD = re.compile(r"""[^\s<>()\[\],;:"“”]+""")
_REPLY_CODE = re.compile(r"[2-5]\d\d")


def masked_words(text: str) -> str:
    """`text` with all that looks like an address masked."""
    return _WORD.sub(lambda word: masked_address(word[0]) if "@" in word[0] else word[0], text)


def for_log(text: str) -> str:
    """`text` as the log may have it: with its addresses only where the operator wants them there."""
    return text if settings.LOG_ADDRESSES else masked_words(text)


@dataclass(frozen=True)
class Mask:
    """How what stands on `message` is shown. An `open` mask changes nothing."""

    message: Message
    open: bool

    def address(self, address: str) -> str:
        return address if self.open else masked_address(address)

    def text(self, text: str) -> str:
        """`text` with the addresses in it masked: those of the mail's recipients, however they are written, and all that
        looks like one. So is their part before the @-sign alone, as in “550 ana.silva: no such user”."""
        if self.open:
            return text
        text = masked_words(text)
        return self._names.sub(lambda name: masked_address(name[0]), text) if self._names else text

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        """The recipients' parts before the @-sign, the longest first. A reply code is none."""
        routed = self.message.recipients.values_list("address", flat=True)
        names = {address.rpartition("@")[0] for address in (*self.message.requested, *routed)}
        telling = sorted((one for one in names if len(one) > 1 and not _REPLY_CODE.fullmatch(one)), key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, telling))})(?!\w)", re.IGNORECASE) if telling else None
