"""A stage through which the portal sends its own emails, and an address for which browsers accept passkeys."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from organization.models import Stage
from tests.support.portal import configure


@pytest.fixture
def portal_stage(qa: Stage, settings: Settings) -> Stage:
    configure(qa)
    settings.PORTAL_STAGE = qa.key
    return qa


@pytest.fixture(autouse=True)
def portal_at_localhost(settings: Settings) -> None:
    """A host for which browsers accept passkeys."""
    settings.PORTAL_URL = "http://localhost"
