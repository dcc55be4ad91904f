"""What the frame around every page shows: the organization, the member, and the two levels of the sidebar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from django.conf import settings
from django.contrib.messages import get_messages
from django.urls import reverse

from organization.permissions import Permission
from outbox.copies.copied_mail import may_answer
from portal.release import RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AnonymousUser
    from django.contrib.messages.storage.base import Message
    from django.http import HttpRequest

    from organization.models import Member

MANAGEMENT = "/management/"
_ACTS_ON_EMAILS = "/monitor/emails/"
THEME_OF_THE_SYSTEM = "system"


@dataclass(frozen=True)
class Item:
    """One entry of the sidebar. `icon` is a lucide name, or empty."""

    label: str
    url: str
    icon: str
    active: bool


@dataclass(frozen=True)
class Group:
    """Entries that stand together, under a label or (if it is empty) without one."""

    label: str
    items: list[Item]


@dataclass(frozen=True)
class Navigation:
    """One level of the sidebar: where its top entry leads, whether that is back up, and the groups below."""

    switch: Item
    back: bool
    groups: list[Group]


class Shell(TypedDict):
    """What the context processor gives to every template."""

    organization_name: str
    navigation: Navigation | None
    theme: str
    release: str
    flash_messages: Iterable[Message]


def shell(request: HttpRequest) -> Shell:
    """The context processor of the frame. Pages for nobody signed in have no navigation.

    Django's messages are called flash messages here: the email log's page has messages of its own.
    """
    member = _member(request)
    return Shell(
        organization_name=settings.ORGANIZATION_NAME,
        navigation=navigation(request.path, member) if member else None,
        theme=member.theme if member else THEME_OF_THE_SYSTEM,
        release=RELEASE,
        flash_messages=get_messages(request),
    )


def navigation(path: str, member: Member) -> Navigation:
    """The level of the sidebar that `path` belongs to, without what `member` may not see."""
    return _management(path, member) if path.startswith(MANAGEMENT) else _main(path, member)


def _member(request: HttpRequest) -> Member | None:
    """Who is signed in. There is no `user` at all when an error came before the authentication middleware."""
    user: Member | AnonymousUser | None = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def _main(path: str, member: Member) -> Navigation:
    groups = [Group("", [_home(path), _item(path, "Apps", "apps", "layout-grid")])]
    if member.has_perm_anywhere(Permission.ACCESS_ASSET_LOGS.path):
        monitor = [
            _item(path, "Analytics", "analytics", "chart-column"),
            _item(path, "Email log", "email-log", "scroll-text", also=_ACTS_ON_EMAILS),
            _item(path, "Guarantee", "guarantee", "shield-check"),
        ]
        groups.append(Group("Monitor", monitor))
    return Navigation(
        switch=Item("Management", reverse("email-configurations"), "settings", active=False), back=False, groups=groups
    )


def _management(path: str, member: Member) -> Navigation:
    configure = [_item(path, "Emails", "email-configurations", "mail")]
    if member.has_perm(Permission.VIEW_STAGES.path):
        configure.append(_item(path, "Stages", "stages", "layers"))
    if may_answer(member):
        configure.append(_item(path, "Installation", "installation", "database-backup"))
    groups = []
    if member.has_perm(Permission.VIEW_AUDIT_TRAIL.path):
        groups.append(Group("View", [_item(path, "Audit trail", "audit-trail", "history")]))
    if member.has_perm(Permission.VIEW_MEMBERS.path):
        govern = [_item(path, "Members", "members", "users-round"), _item(path, "Organization roles", "roles", "shield-check")]
        groups.append(Group("Govern", govern))
    groups.append(Group("Configure", configure))
    if member.is_staff:  # which is what Django admin asks for
        groups.append(Group("", [Item("Django admin", reverse("admin:index"), "database", active=False)]))
    return Navigation(switch=Item("Management", reverse("apps"), "", active=False), back=True, groups=groups)


def _home(path: str) -> Item:
    """Every page is below it, so that it is marked on its own page alone."""
    url = reverse("home")
    return Item("Home", url, "house", active=path == url)


def _item(path: str, label: str, url_name: str, icon: str, also: str | None = None) -> Item:
    """An entry that is marked as active on its own page and on every page below it, or below `also`."""
    url = reverse(url_name)
    return Item(label, url, icon, active=path.startswith((url, also or url)))
