"""A message's addresses as one member may see them: as they are, or masked wherever they occur."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.conf import settings

from common.addresses import masked_address
from outbox.models import Message

_WORD = re.compile(r"""[^\s<>()\[\],;:"“”]+""")
_REPLY_CODE = re.compile(r"[2-5]\d\d")


def masked_words(text: str, addresses: Iterable[str] = ()) -> str:
    """`text` with the addresses in it masked.

    That is every word with an @-sign. Of `addresses` the part before the @-sign alone is masked too, as in “550 ana.silva: no
    such user”.
    """
    for address in addresses:
        if address and address in text and ("@" not in address or not _WORD.fullmatch(address)):
            text = text.replace(address, masked_address(address))  # refused as an address, and not one word
    if "@" in text:
        text = _WORD.sub(lambda word: masked_address(word[0]) if "@" in word[0] else word[0], text)
    names = _names_before_the_at(addresses, text)
    return names.sub(lambda name: masked_address(name[0]), text) if names else text


def _names_before_the_at(addresses: Iterable[str], text: str) -> re.Pattern[str] | None:
    """The parts before the @-sign that `text` repeats, the longest first. A reply code doesn't count."""
    folded = text.casefold()
    names = {address.rpartition("@")[0] for address in addresses}
    repeated = (name for name in names if len(name) > 1 and name.casefold() in folded and not _REPLY_CODE.fullmatch(name))
    telling = sorted(repeated, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, telling))})(?!\w)", re.IGNORECASE) if telling else None


def for_log(text: str, addresses: Iterable[str] = ()) -> str:
    """`text` as the log may show it: with addresses only where the operator wants them."""
    return text if settings.LOG_ADDRESSES else masked_words(text, addresses)


@dataclass(frozen=True)
class Mask:
    """How the addresses of `message` are shown. An `open` mask changes nothing.

    `recipients`: the message's, or None to read them when they are needed.
    """

    message: Message
    open: bool
    recipients: Sequence[str] | None = None

    def address(self, address: str) -> str:
        return address if self.open else masked_address(address)

    def text(self, text: str) -> str:
        """`text` with the addresses in it masked, those of the message's recipients however they are written."""
        return text if self.open else masked_words(text, self._addresses)

    @cached_property
    def _addresses(self) -> list[str]:
        if self.recipients is None:
            return [*self.message.requested, *self.message.recipients.values_list("address", flat=True)]
        return [*self.message.requested, *self.recipients]
