"""What may stand among a stage's allowed addresses: an address, or a domain that isn't everybody's."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ValidationError

from common.addresses import printable, validate_address
from organization.recipient_policy.public_providers import PUBLIC_PROVIDERS

MAX_ALLOWED = 200
TOO_MANY = f"A stage has at most {MAX_ALLOWED} allowed addresses and domains."


def normalize_all(entries: Sequence[str]) -> list[str]:
    """Addresses and domains in their normal form, each once.

    Raises ValidationError with one message for each entry that can't be allowed, or one when there are none or too many.
    """
    if not entries:
        raise ValidationError("Name at least one address or domain.")
    if len(entries) > MAX_ALLOWED:
        raise ValidationError(f"{TOO_MANY} These are {len(entries):,}.")
    patterns, problems = [], []
    for entry in entries:
        try:
            patterns.append(normalize_pattern(entry))
        except ValidationError as error:
            problems.extend(error.messages)
    if problems:
        raise ValidationError(problems)
    return list(dict.fromkeys(patterns))


def normalize_pattern(text: str) -> str:
    """An address as validate_address() writes it, or a domain in the same form. Raises ValidationError."""
    entry = text.strip().removeprefix("@")
    if "*" in entry:
        raise ValidationError(f"“{printable(entry)}”: name each address or domain. A wildcard can't be allowed.")
    if "@" in entry:
        return validate_address(entry)
    return _normalize_domain(entry)


def _normalize_domain(text: str) -> str:
    try:
        domain = validate_address(f"postmaster@{text}").rpartition("@")[2].removesuffix(".")
    except ValidationError as error:
        raise ValidationError(
            f"“{printable(text)}” is neither an address, such as ana@acme.example, nor a domain, such as acme.example."
        ) from error
    if "." not in domain or domain.startswith("["):
        raise ValidationError(f"“{printable(text)}” isn't a whole domain, such as acme.example.")
    if domain in PUBLIC_PROVIDERS:
        raise ValidationError(f"Everybody can have an address of {domain}, so it can't be allowed. Allow single addresses of it.")
    return domain
