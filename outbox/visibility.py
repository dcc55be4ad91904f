"""Whose mail a member may see in a stage: that of every app over which they hold the permission."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404

from organization.models import App, Member, Stage
from organization.permissions import Permission, Scope, allowed, require
from outbox.models import Message


def visible_apps(member: Member, stage: Stage) -> list[App]:
    """The apps whose log of `stage` the member may read. Raises PermissionDenied when there is none at all."""
    apps = list(App.objects.all())
    if allowed(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS):
        return apps
    visible = [app for app in apps if allowed(member, Scope(app, stage), Permission.ACCESS_ASSET_LOGS)]
    if not visible:
        require(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS)
    return visible


def visible_messages(member: Member, stage: Stage) -> QuerySet[Message]:
    """The stage's mail that the member may see."""
    messages = Message.objects.filter(stage=stage).select_related("app")
    if allowed(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS):
        return messages
    return messages.filter(app__in=visible_apps(member, stage))


def find_message(member: Member, stage: str, number: int) -> Message:
    """The mail with its app and stage. A 404 when the stage has no such mail, or none that the member may see."""
    found = get_object_or_404(Stage, key=stage)
    return get_object_or_404(visible_messages(member, found).select_related("app", "stage"), pk=number)


def may_see_content(member: Member, message: Message) -> bool:
    """What mails say, and their attachments, needs a permission of its own."""
    return allowed(member, Scope(message.app, message.stage), Permission.ACCESS_USER_INFORMATION)


def require_content(member: Member, message: Message) -> None:
    if not may_see_content(member, message):
        raise PermissionDenied(f"You need the permission “{Permission.ACCESS_USER_INFORMATION.label}” for this.")
