"""Search apps by what a member types into a filter: an organization may have thousands, too many for a menu."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from organization.models import App

# A filter matches no more apps, and a field proposes no more.
MATCHED_AT_MOST = 100
PROPOSED_AT_MOST = 20


def apps_called(text: str, limit: int = MATCHED_AT_MOST, among: QuerySet[App] | None = None) -> list[App]:
    """The app with this key, or else the apps whose names or keys contain the text."""
    text = text.replace("\0", "").strip()
    apps = App.objects.all() if among is None else among
    exact = list(apps.filter(key=text.lower()))
    return exact or list(apps.filter(Q(name__icontains=text) | Q(key__icontains=text)).order_by("name", "key")[:limit])
