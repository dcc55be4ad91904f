"""The apps whose test lists are Active in a stage. The email log names them to explain why emails went elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from organization.models import App, Stage
from testlists.services import lists_in_force

_SHOWN_AT_MOST = 5


@dataclass(frozen=True)
class ActiveLists:
    """The first of these apps, and the number of the other ones."""

    apps: Sequence[App]
    more: int


def active_lists(stage: Stage, visible: Collection[App]) -> ActiveLists:
    """Look only at the `visible` apps."""
    lists = lists_in_force().filter(stage=stage).select_related("app").order_by("app__name", "app__key")
    may_see = {app.pk for app in visible}
    apps = [test_list.app for test_list in lists if test_list.app_id in may_see]
    return ActiveLists(apps[:_SHOWN_AT_MOST], max(0, len(apps) - _SHOWN_AT_MOST))
