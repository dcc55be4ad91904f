"""A stage's back-off ends when its settings change."""

from __future__ import annotations

from typing import Any

from delivery import backoff
from emailconfig.models import SmtpSettings
from emailconfig.signals import smtp_settings_deleted, smtp_settings_saved
from organization.models import Stage


def connect() -> None:
    smtp_settings_saved.connect(_on_settings_saved)
    smtp_settings_deleted.connect(_on_settings_deleted)


def _on_settings_saved(settings: SmtpSettings, **_: Any) -> None:
    backoff.reset(settings.stage_id)


def _on_settings_deleted(stage: Stage, **_: Any) -> None:
    backoff.reset(stage.pk)
