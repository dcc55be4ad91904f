"""The apps whose test lists are Active in a stage. The email log names them to explain why emails went elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from organization.models import App, Stage
from outbox.access.visibility import AnyLogAccess
from testlists.services import lists_in_force

_SHOWN_AT_MOST = 5


@dataclass(frozen=True)
class ActiveLists:
    """The first of these apps, and the number of the other ones."""

    apps: Sequence[App]
    more: int


def active_lists(stage: Stage, access: AnyLogAccess) -> ActiveLists:
    """Look only at the apps whose emails the member may see."""
    lists = lists_in_force().filter(stage=stage).select_related("app").order_by("app__name", "app__key")
    if not access.every_app:
        lists = lists.filter(app__in=access.some_apps)
    apps = [test_list.app for test_list in lists[: _SHOWN_AT_MOST + 1]]
    more = lists.count() - _SHOWN_AT_MOST if len(apps) > _SHOWN_AT_MOST else 0
    return ActiveLists(apps[:_SHOWN_AT_MOST], more)
