"""What a member may see of a stage's messages.

A member sees the messages of every app over which they hold the permission. A second permission shows the recipients and the
content.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404

from organization.access import Scope, allowed, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from outbox.access.masking import Mask
from outbox.models import Message


@dataclass(frozen=True)
class LogAccess:
    """A member's access to the log of one stage.

    `apps`: the apps whose messages they may see. `open_apps`: those of them whose recipients and contents they may see too.
    `every_app` and `every_app_open` say that these are all apps, so that a query need not name them.
    """

    stage: Stage
    apps: list[App]
    every_app: bool
    open_apps: list[App]
    every_app_open: bool

    def messages(self) -> QuerySet[Message]:
        messages = Message.objects.filter(stage=self.stage).select_related("app")
        return messages if self.every_app else messages.filter(app__in=self.apps)

    @property
    def open_mail(self) -> Q:
        """The messages whose recipients and content the member may see."""
        return Q() if self.every_app_open else Q(app__in=self.open_apps)

    def mask(self, message: Message) -> Mask:
        return Mask(message, open=self.every_app_open or message.app in self.open_apps)


def log_access(member: Member, stage: Stage, everything: list[App] | None = None) -> LogAccess:
    """What the member may see of the stage's log. `everything`: all apps, when they have been read already.

    Raises PermissionDenied when there is no app whose log the member may read.
    """
    everything = list(App.objects.all()) if everything is None else everything
    apps, every_app = _apps(member, stage, everything, Permission.ACCESS_ASSET_LOGS)
    if not every_app and not apps:
        require(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS)
    open_apps, every_app_open = _apps(member, stage, apps, Permission.ACCESS_USER_INFORMATION)
    return LogAccess(stage, apps, every_app, open_apps, every_app_open)


def _apps(member: Member, stage: Stage, apps: list[App], permission: Permission) -> tuple[list[App], bool]:
    """The `apps` over which the member holds the permission, and whether they hold it over all apps of the stage."""
    if allowed(member, Scope(stage=stage), permission):
        return apps, True
    return [app for app in apps if allowed(member, Scope(app, stage), permission)], False


def find_message(member: Member, stage_key: str, number: int) -> Message:
    """The message with its app and stage. Raises Http404 when the stage has no such message that the member may see."""
    access = log_access(member, get_object_or_404(Stage, key=stage_key))
    return get_object_or_404(access.messages().select_related("app", "stage"), pk=number)


def mask_of(member: Member, message: Message) -> Mask:
    return Mask(message, open=may_see_content(member, message))


def may_see_all_mail(member: Member, stage: Stage) -> bool:
    """Whether the member may read the log of every app in the stage, addresses included."""
    needed = (Permission.ACCESS_ASSET_LOGS, Permission.ACCESS_USER_INFORMATION)
    return all(allowed(member, Scope(stage=stage), permission) for permission in needed)


def may_see_content(member: Member, message: Message) -> bool:
    """Whether the member may see recipients, content and attachments, which need a permission of their own."""
    return allowed(member, Scope(message.app, message.stage), Permission.ACCESS_USER_INFORMATION)


def require_content(member: Member, message: Message) -> None:
    if not may_see_content(member, message):
        raise PermissionDenied(f"You need the permission “{Permission.ACCESS_USER_INFORMATION.label}” for this.")
