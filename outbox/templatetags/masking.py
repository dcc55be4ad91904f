"""`{{ address|masked:mask }}` and `{{ words|masked_text:mask }}`: what the email log shows of addresses (outbox.masking)."""

from __future__ import annotations

from django import template

from outbox.masking import Mask

register = template.Library()


@register.filter
def masked(address: str, mask: Mask) -> str:
    """An address, or nothing."""
    return mask.address(address)


@register.filter
def masked_text(text: str, mask: Mask) -> str:
    """Words in which addresses may stand, such as a server's reply."""
    return mask.text(text)
