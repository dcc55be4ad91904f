"""What a member may see of a stage's messages.

A member sees the messages of every app over which they hold the permission. A second permission shows the recipients and the
content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404

from organization.access import EVERYWHERE, Scope, allowed, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from outbox.access.masking import Mask
from outbox.models import Message, Recipient


@dataclass(frozen=True)
class LogAccess:
    """A member's access to the log of one stage.

    `apps`: the apps whose messages they may see. `open_apps`: those of them whose recipients and contents they may see too.
    `every_app` and `every_app_open` say that these are all apps, so that neither a query nor a page needs to read them.
    """

    stage: Stage
    every_app: bool
    every_app_open: bool
    some_apps: tuple[App, ...] = ()
    some_open_apps: tuple[App, ...] = ()

    @cached_property
    def apps(self) -> list[App]:
        return list(App.objects.all() if self.every_app else self.some_apps)

    @cached_property
    def some_app_ids(self) -> frozenset[int]:
        return frozenset(app.pk for app in self.some_apps)

    def sees(self, app_id: int) -> bool:
        return self.every_app or app_id in self.some_app_ids

    @cached_property
    def open_apps(self) -> list[App]:
        return self.apps if self.every_app_open else list(self.some_open_apps)

    @property
    def opens_any(self) -> bool:
        """Whether there are any messages whose recipients the member may see."""
        return self.every_app_open or bool(self.some_open_apps)

    @property
    def stages(self) -> list[Stage]:
        return [self.stage]

    def of_app(self, app: App) -> LogAccess:
        """The same access, to one app's messages alone. Raises PermissionDenied when the member may not see them."""
        if not self.every_app and app not in self.some_apps:
            raise PermissionDenied(f"You need the permission “{Permission.ACCESS_ASSET_LOGS.label}” for this.")
        is_open = self.every_app_open or app in self.some_open_apps
        return LogAccess(self.stage, False, False, (app,), (app,) if is_open else ())

    def of_stage(self, key: str) -> LogAccess:
        return self

    def messages(self) -> QuerySet[Message]:
        messages = Message.objects.filter(_in_stage(self.stage)).select_related("app")
        return messages if self.every_app else messages.filter(app__in=self.some_apps)

    def sources(self) -> list[QuerySet[Message]]:
        """What a search reads, the newest first."""
        return [Message.objects.filter(_in_stage(self.stage)).order_by("-stage_id", "-pk")]

    @property
    def open_mail(self) -> Q:
        """The messages whose recipients and content the member may see."""
        return Q() if self.every_app_open else Q(app__in=self.some_open_apps)

    def mask(self, message: Message, recipients: Sequence[str] | None = None) -> Mask:
        return Mask(message, self.every_app_open or message.app in self.some_open_apps, recipients)


@dataclass(frozen=True)
class WideLogAccess:
    """A member's access to the logs of several stages. It answers what LogAccess answers.

    `every_stage`: there are no other stages, so that a search reads all messages in the order of their numbers.
    """

    parts: tuple[LogAccess, ...]
    every_stage: bool

    @property
    def stages(self) -> list[Stage]:
        return [part.stage for part in self.parts]

    @property
    def every_app_open(self) -> bool:
        return all(part.every_app_open for part in self.parts)

    @property
    def opens_any(self) -> bool:
        return any(part.opens_any for part in self.parts)

    @cached_property
    def every_app(self) -> bool:
        return all(part.every_app for part in self.parts)

    @property
    def some_apps(self) -> list[App]:
        return list({app.pk: app for part in self.parts for app in part.some_apps}.values())

    def of_stage(self, key: str) -> WideLogAccess:
        """The same access, to the stage with this key alone. Unchanged if the member sees no such stage."""
        parts = tuple(part for part in self.parts if part.stage.key == key)
        return WideLogAccess(parts, every_stage=self.every_stage and len(self.parts) == 1) if parts else self

    def messages(self) -> QuerySet[Message]:
        messages = Message.objects.select_related("app", "stage")
        if self.every_stage and self.every_app:
            return messages
        return messages.filter(_any_of(_in_stage(part.stage) & _of_apps(part.every_app, part.some_apps) for part in self.parts))

    def sources(self) -> list[QuerySet[Message]]:
        """All messages, or those of each stage: a search must not read its way through the millions of other stages."""
        if self.every_stage:
            return [Message.objects.order_by("-pk")]
        return [source for part in self.parts for source in part.sources()]

    @property
    def open_mail(self) -> Q:
        if self.every_app_open:
            return Q()
        opened = (part for part in self.parts if part.opens_any)
        return _any_of(Q(stage=part.stage) & _of_apps(part.every_app_open, part.some_open_apps) for part in opened)

    def mask(self, message: Message, recipients: Sequence[str] | None = None) -> Mask:
        return self._by_stage[message.stage_id].mask(message, recipients)

    @cached_property
    def _by_stage(self) -> dict[int, LogAccess]:
        return {part.stage.pk: part for part in self.parts}


AnyLogAccess = LogAccess | WideLogAccess


def _in_stage(stage: Stage) -> Q:
    """Written so that nothing but the log's index (stage, id) gives the order of stage and number.

    For one stage and `ORDER BY id` PostgreSQL may walk down the numbers of all stages instead. It did so when another stage had
    got thousands of emails since it last counted, and the log of a quiet stage took a third of a second.
    """
    return Q(stage__gte=stage.pk, stage__lte=stage.pk)


def _of_apps(every: bool, some: Collection[App]) -> Q:
    return Q() if every else Q(app__in=some)


def _any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, Q(pk__in=[]))


def log_access(member: Member, stage: Stage) -> LogAccess:
    """What the member may see of the stage's log.

    Raises PermissionDenied when there is no app whose log the member may read.
    """
    access = log_access_by_stage(member, [stage]).get(stage)
    if access is None:
        require(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS)
    assert access is not None
    return access


def wide_log_access(member: Member, stages: Collection[Stage] | None = None) -> WideLogAccess:
    """What the member may see of these stages' logs, of all if none are named.

    Raises PermissionDenied when there is no app in any stage whose log the member may read.
    """
    everywhere = list(Stage.objects.all())
    chosen = everywhere if stages is None else stages
    parts = tuple(log_access_by_stage(member, chosen).values())
    if not parts:
        require(member, EVERYWHERE, Permission.ACCESS_ASSET_LOGS)
    return WideLogAccess(parts, len(parts) == len(everywhere))


def log_access_by_stage(member: Member, stages: Collection[Stage]) -> dict[Stage, LogAccess]:
    """What the member may see of each stage's log. Stages in which they may read no app's log are left out."""
    return {stage: access for stage in stages if (access := _access(member, stage))}


def _access(member: Member, stage: Stage) -> LogAccess | None:
    every_app = allowed(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS)
    every_app_open = every_app and allowed(member, Scope(stage=stage), Permission.ACCESS_USER_INFORMATION)
    if every_app_open:
        return LogAccess(stage, True, True)
    some = tuple(app for app in _granted_apps(member) if allowed(member, Scope(app, stage), Permission.ACCESS_ASSET_LOGS))
    some_open = tuple(app for app in some if allowed(member, Scope(app, stage), Permission.ACCESS_USER_INFORMATION))
    if not some and not every_app:
        return None
    return LogAccess(stage, every_app, False, () if every_app else some, some_open)


def _granted_apps(member: Member) -> list[App]:
    """The apps for which a grant names the member; a grant over all apps needs none."""
    apps = {grant.app_id: grant.app for grant in member.grants if grant.app}
    return sorted(apps.values(), key=lambda app: (app.name.lower(), app.key))


def find_message(member: Member, stage_key: str, number: int) -> Message:
    """The message with its app and stage. Raises Http404 when the stage has no such message that the member may see."""
    access = log_access(member, get_object_or_404(Stage, key=stage_key))
    return get_object_or_404(access.messages().select_related("app", "stage"), pk=number)


def masks(access: AnyLogAccess, messages: Sequence[Message]) -> list[Mask]:
    """The masks of these messages. The recipients of those that aren't open are read in one query."""
    closed = [message.pk for message in messages if not access.mask(message).open]
    recipients: defaultdict[int, list[str]] = defaultdict(list)
    if closed:
        for message_id, address in Recipient.objects.filter(message__in=closed).values_list("message_id", "address"):
            recipients[message_id].append(address)
    return [access.mask(message, recipients[message.pk]) for message in messages]


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
