"""The bar on every page while the database is a copy that nobody has answered about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.utils.functional import SimpleLazyObject

from organization.installation.seal import asking_copy
from outbox.copies.copied_mail import may_answer

if TYPE_CHECKING:
    from django.http import HttpRequest


class CopyBanner(TypedDict):
    """Looked up by pages that show it, not by parts of pages."""

    asking_copy: SimpleLazyObject[Any]  # an Installation, or None
    may_answer_copy: SimpleLazyObject[bool]


def copy_banner(request: HttpRequest) -> CopyBanner:
    """The context processor, also for pages before the sign-in."""
    member: Any = getattr(request, "user", None)
    return {
        "asking_copy": SimpleLazyObject(asking_copy),
        "may_answer_copy": SimpleLazyObject(lambda: member is not None and member.is_authenticated and may_answer(member)),
    }
