"""What test lists do when the organization changes: every new app has its list in every stage at once, and every new stage
one of every app."""

from __future__ import annotations

from typing import Any

from organization.models import App, Stage
from organization.signals import app_created, stage_created
from testlists.services import make_test_lists


def connect() -> None:
    app_created.connect(_on_app_created)
    stage_created.connect(_on_stage_created)


def _on_app_created(app: App, **_: Any) -> None:
    make_test_lists(apps=[app])


def _on_stage_created(stage: Stage, **_: Any) -> None:
    make_test_lists(stages=[stage])
