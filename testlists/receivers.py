"""Make test lists when an app or a stage is created.

Every new app gets a list in every stage, and every new stage gets a list of every app.
"""

from __future__ import annotations

from typing import Any

from organization.models import App, Stage
from organization.signals import instance_created, stage_narrowing
from testlists.services import lock_stage_against_hand_over, make_test_lists


def connect() -> None:
    instance_created.connect(_on_app_created, App)
    instance_created.connect(_on_stage_created, Stage)
    stage_narrowing.connect(_on_stage_narrowing, Stage)


def _on_app_created(instance: App, **_: Any) -> None:
    make_test_lists(apps=[instance])


def _on_stage_created(instance: Stage, **_: Any) -> None:
    make_test_lists(stages=[instance])


def _on_stage_narrowing(stage: Stage, **_: Any) -> None:
    """As an activation of every list of the stage: what hand-over claims from here on sees the narrower policy."""
    lock_stage_against_hand_over(stage)
