"""`{{ address|masked:mask }}` and its siblings: what pages show of addresses (outbox.access.masking)."""

from __future__ import annotations

from django import template

from common.addresses import masked_address
from outbox.access.masking import Mask

register = template.Library()


@register.filter
def masked(address: str, mask: Mask) -> str:
    """An address, or nothing."""
    return mask.address(address)


@register.filter
def masked_unless(address: str, sees_addresses: bool) -> str:
    """An address of a test list."""
    return address if sees_addresses else masked_address(address)


@register.filter
def masked_text(text: str, mask: Mask) -> str:
    """Words that may contain addresses, such as a server's reply."""
    return mask.text(text)
