"""Helpers for the views of all layers.

They cover a signed-in member's request, the stage selector, the gateway's address, and clean input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, QueryDict
from django_htmx.middleware import HtmxDetails

from organization.models import Member, Stage


class MemberRequest(HttpRequest):
    """A request that passed LoginRequiredMiddleware, so that its user is a member."""

    user: Member
    htmx: HtmxDetails  # true if HTMX requests a part of a page (HtmxMiddleware)


def gateway_context() -> dict[str, object]:
    """The gateway's address and TLS settings, for pages that show them to developers."""
    return {
        "gateway_host": settings.GATEWAY_PUBLIC_HOST,
        "gateway_port": settings.GATEWAY_PORT,
        "gateway_tls_port": settings.GATEWAY_TLS_PORT,
        "gateway_starttls": bool(settings.GATEWAY_TLS_CERT),
    }


def search_words(data: QueryDict, name: str) -> str:
    """The search text, without NUL, which PostgreSQL refuses."""
    return data.get(name, "").replace("\0", "").strip()


def is_row_number(text: str) -> bool:
    """Whether `text` from a browser can be the id of a row.

    A database refuses numbers of more than 63 bits.
    """
    return text.isascii() and text.isdecimal() and len(text) <= 18


class StageLink(NamedTuple):
    stage: Stage
    url: str


def stage_links(current: Stage, url_of: Callable[[Stage], str]) -> list[StageLink]:
    """Links to the same page in every stage, for the stage selector.

    An archived stage is listed only if it is the current one.
    """
    return [StageLink(stage, url_of(stage)) for stage in Stage.objects.all() if stage == current or not stage.archived]
