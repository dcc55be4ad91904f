"""The SMTP settings of stages as a worker has read them last, and what their servers have said about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from delivery.claims.claim import ANY_NUMBER
from delivery.claims.in_force import StageInForce
from delivery.values import MessageResult
from emailconfig.models import SmtpSettings

log = structlog.get_logger(__name__)


class KnownSettings:
    """One worker's. They are read again only when their version changed."""

    def __init__(self) -> None:
        self._settings: dict[int, SmtpSettings] = {}
        # How many recipients a stage's server accepts in one transaction, where it refused more, and the settings' version then.
        self._most_recipients: dict[int, tuple[int, int]] = {}

    def get(self, stage_id: int) -> SmtpSettings | None:
        return self._settings.get(stage_id)

    def of(self, stage_ids: Iterable[int]) -> dict[int, SmtpSettings]:
        return {stage_id: self._settings[stage_id] for stage_id in stage_ids if stage_id in self._settings}

    def learn(self, stage_id: int, in_force: StageInForce) -> bool:
        """Bring a stage's settings in line with what is in force, and return whether they were others."""
        known, version = self._settings.get(stage_id), in_force.settings_version
        if version == (known.version if known else None):
            return False
        self._settings.pop(stage_id, None)
        if version is not None:
            self._settings.update(SmtpSettings.objects.in_bulk([stage_id], field_name="stage_id"))
        return True

    def most_recipients(self, settings: SmtpSettings) -> int:
        """How many recipients one transaction with the server may have."""
        noted_with, most = self._most_recipients.get(settings.stage_id, (0, ANY_NUMBER))
        return min(most if noted_with == settings.version else ANY_NUMBER, settings.recipients_per_transaction)

    def note_most_recipients(self, stage_id: int, results: Sequence[MessageResult]) -> None:
        """Remember where the server said that it accepts fewer recipients."""
        for result in results:
            if result.most_recipients and result.settings:
                version, most = self._most_recipients.get(stage_id, (0, ANY_NUMBER))
                most = min(most, result.most_recipients) if version == result.settings.version else result.most_recipients
                self._most_recipients[stage_id] = result.settings.version, most
                log.info("fewer_recipients_per_transaction", stage=stage_id, recipients=most)
