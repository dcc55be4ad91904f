"""What the views of all layers share: a request of a signed-in member, and the stage selector's links."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpRequest

from organization.models import Member, Stage


class MemberRequest(HttpRequest):
    """A request that LoginRequiredMiddleware let pass: its user is a member."""

    user: Member


class StageLink(NamedTuple):
    stage: Stage
    url: str


def stage_links(current: Stage, url_of: Callable[[Stage], str]) -> list[StageLink]:
    """The same page in every stage, for the stage selector; an archived stage only while it is the current one."""
    return [StageLink(stage, url_of(stage)) for stage in Stage.objects.all() if stage == current or not stage.archived]
